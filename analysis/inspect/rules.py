"""Thresholds for pipelines: ``near_duplicates>0.05`` says when a data set won't do."""

import difflib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from analysis.inspect.embeddings import Embedded
from analysis.inspect.inspection import Answers, Inspection, Reviews, Rubrics
from analysis.inspect.overlap import Overlap
from inner_agent.errors import UserError

_RULE = re.compile(
    r"\s*(\w+)\s*(<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)(%?)\s*", re.I
)
_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """Fails where the figure ``name`` stands in this relation to ``limit``."""

    name: str
    relation: str
    limit: float

    def __str__(self) -> str:
        return f"{self.name}{self.relation}{self.limit:g}"


@dataclass(frozen=True, slots=True)
class Checked:
    """A rule, the figure's value, and whether the data set failed by it."""

    rule: str
    value: float
    failed: bool


def _other(i: Inspection, count: Callable[[Overlap], int]) -> float | None:
    return count(i.against) / i.items if i.against else None


# Every figure that a rule may name, as docs/inspect.md describes it, by what it is a figure of;
# ``None``: there is none here.
_OF_ALL: dict[str, Callable[[Inspection], float | None]] = {
    "items": lambda i: i.items,
    "papers": lambda i: i.papers,
    "duplicates": lambda i: i.questions.exact,
    "near_duplicates": lambda i: i.questions.near,
    "largest_cluster": lambda i: i.questions.largest,
    "context_duplicates": lambda i: i.contexts.exact,
    "context_near_duplicates": lambda i: i.contexts.near,
    "context_largest_cluster": lambda i: i.contexts.largest,
    "vendi": lambda i: i.question_diversity.vendi,
    "vendi_share": lambda i: i.question_diversity.share,
    "context_vendi": lambda i: i.context_diversity.vendi,
    "context_vendi_share": lambda i: i.context_diversity.share,
    "distinct_1": lambda i: i.question_diversity.distinct[0],
    "distinct_2": lambda i: i.question_diversity.distinct[1],
    "distinct_3": lambda i: i.question_diversity.distinct[2],
    "types": lambda i: len(i.types.counts),
    "effective_types": lambda i: i.types.effective,
    "top_type": lambda i: i.types.top,
    "untyped": lambda i: i.types.unlabelled / i.items,
    "skills": lambda i: len(i.skills.counts),
    "effective_skills": lambda i: i.skills.effective,
    "top_skill": lambda i: i.skills.top,
    "leaks": lambda i: i.leakage.items / i.items,
    "answer_given": lambda i: i.leakage.runs.mean if i.leakage.runs else None,
    "question_words": lambda i: i.question_words.median,
    "context_words": lambda i: i.context_words.median,
    "answer_words": lambda i: i.answer_words.median,
    "weak": lambda i: i.weak.mean,
    "strong": lambda i: i.strong.mean,
    "gap": lambda i: i.gap.mean,
    "least_gap": lambda i: i.gap.least,
    "rounds": lambda i: i.rounds.mean,
    "coverage": lambda i: i.corpus.coverage if i.corpus else None,
    "topics": lambda i: len(i.corpus.topics) or None if i.corpus else None,
    "topics_covered": lambda i: i.corpus.topics_covered if i.corpus else None,
    "contaminated": lambda i: _other(i, lambda o: o.contaminated),
    "exact_overlap": lambda i: _other(i, lambda o: o.exact),
    "near_overlap": lambda i: _other(i, lambda o: o.near),
    "shared_papers": lambda i: _other(i, lambda o: o.papers),
}
_OF_RUBRICS: dict[str, Callable[[Rubrics, int], float]] = {
    "criteria": lambda r, items: r.criteria.mean,
    "negative_criteria": lambda r, items: r.negative / r.count,
    "negative_items": lambda r, items: r.with_negative / items,
    "largest_weight": lambda r, items: r.weights.most,
    "top_weight": lambda r, items: r.top.mean,
    "penalties": lambda r, items: r.penalties.mean,
    "bare_numbers": lambda r, items: r.bare / r.positive,
    "bare_number_items": lambda r, items: r.with_bare / items,
    "told_criteria": lambda r, items: r.told / r.positive,
}
_OF_ANSWERS: dict[str, Callable[[Answers, int], float]] = {
    "answers": lambda a, items: len(a.answers.counts),
    "effective_answers": lambda a, items: a.answers.effective,
    "top_answer": lambda a, items: a.answers.top,
    "number_answers": lambda a, items: a.kinds.counts.get("number", 0) / items,
    "expression_answers": lambda a, items: a.kinds.counts.get("expression", 0) / items,
    "word_answers": lambda a, items: a.kinds.counts.get("words", 0) / items,
    "unanswered": lambda a, items: a.answers.unlabelled / items,
    "guessable": lambda a, items: a.guessable / items,
    "shown_answers": lambda a, items: a.shown / items,
    "weak_never": lambda a, items: a.weak_never / items,
    "strong_always": lambda a, items: a.strong_always / items,
}
_OF_REVIEWS: dict[str, Callable[[Reviews, int], float]] = {
    "high": lambda r, items: r.suitabilities.counts.get("high", 0) / items,
    "medium": lambda r, items: r.suitabilities.counts.get("medium", 0) / items,
    "low": lambda r, items: r.suitabilities.counts.get("low", 0) / items,
    "concerns": lambda r, items: r.concerns / items,
    "suggestion_duplicates": lambda r, items: r.suggestions.exact,
    "suggestion_near_duplicates": lambda r, items: r.suggestions.near,
    "suggestion_vendi": lambda r, items: r.diversity.vendi,
}
_OF_VECTORS: dict[str, Callable[[Embedded], float | None]] = {
    "embedded_near_duplicates": lambda e: e.near,
    "embedded_largest_cluster": lambda e: e.largest,
    "embedded_vendi": lambda e: e.vendi,
    "embedded_vendi_share": lambda e: e.share,
    "nearest_cosine": lambda e: e.nearest.median if e.nearest else None,
}
METRICS = (*_OF_ALL, *_OF_RUBRICS, *_OF_ANSWERS, *_OF_REVIEWS, *_OF_VECTORS)


def metrics(found: Inspection) -> dict[str, float | None]:
    """The figures of one data set: those of ``METRICS`` that its task has, and that were asked
    for."""
    values = {name: figure(found) for name, figure in _OF_ALL.items()}
    if found.rubrics:
        values |= {name: f(found.rubrics, found.items) for name, f in _OF_RUBRICS.items()}
    if found.answers:
        values |= {name: f(found.answers, found.items) for name, f in _OF_ANSWERS.items()}
    if found.reviews:
        values |= {name: f(found.reviews, found.items) for name, f in _OF_REVIEWS.items()}
    if found.embedded:
        values |= {name: f(found.embedded) for name, f in _OF_VECTORS.items()}
    return values


OF_ANOTHER = ("contaminated", "exact_overlap", "near_overlap", "shared_papers")


def parse_rules(given: Sequence[str]) -> list[Rule]:
    """Rules from the command line; several in one text stand apart by commas.

    Raises ``UserError`` for one that can't be read or names no figure of ``METRICS``.
    """
    rules = []
    for text in (part for one in given for part in one.split(",")):
        found = _RULE.fullmatch(text)
        if not found:
            raise UserError(
                f"--fail-on {text.strip()!r}: write a figure, one of < <= > >=, and a number, such"
                " as 'near_duplicates>0.05'"
            )
        name, relation, number, percent = found.groups()
        if name not in METRICS:
            near = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(METRICS)}"
            raise UserError(f"--fail-on {text.strip()!r}: no figure {name!r}; {hint}")
        rules.append(Rule(name, relation, float(number) / (100 if percent else 1)))
    return rules


def check(rules: Sequence[Rule], values: Mapping[str, float | None], task: str) -> list[Checked]:
    """Which rules fail.  Raises ``UserError`` for a figure that this data set, or its task, doesn't
    have."""
    checked = []
    for rule in rules:
        value = values.get(rule.name)
        if value is None:
            raise UserError(f"--fail-on '{rule}': {rule.name} isn't known; {_why(rule, task)}")
        checked.append(Checked(str(rule), value, _HOLDS[rule.relation](value, rule.limit)))
    return checked


def _why(rule: Rule, task: str) -> str:
    if rule.name in OF_ANOTHER:
        return "give --against"
    if rule.name in _OF_VECTORS:
        return "give --embeddings"
    of = (("rubrics", _OF_RUBRICS), ("final answers", _OF_ANSWERS), ("reviews", _OF_REVIEWS))
    for what, figures in of:
        if rule.name in figures:
            return f"it is a figure of {what}, and these items, of task {task!r}, have none"
    return "this data set has none"
