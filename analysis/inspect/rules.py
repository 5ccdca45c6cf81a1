"""Thresholds for pipelines: ``near_duplicates>0.05`` says when a data set won't do."""

import difflib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from analysis.inspect.inspection import Inspection
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


# Every figure that a rule may name, as docs/inspect.md describes it; ``None``: there is none here.
METRICS: dict[str, Callable[[Inspection], float | None]] = {
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
    "criteria": lambda i: i.rubrics.criteria.mean,
    "negative_criteria": lambda i: i.rubrics.negative / i.rubrics.count,
    "negative_items": lambda i: i.rubrics.with_negative / i.items,
    "largest_weight": lambda i: i.rubrics.weights.most,
    "top_weight": lambda i: i.rubrics.top.mean,
    "penalties": lambda i: i.rubrics.penalties.mean,
    "bare_numbers": lambda i: i.rubrics.bare / i.rubrics.positive,
    "bare_number_items": lambda i: i.rubrics.with_bare / i.items,
    "leaks": lambda i: i.leakage.items / i.items,
    "told_criteria": lambda i: i.rubrics.told / i.rubrics.positive,
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


def metrics(found: Inspection) -> dict[str, float | None]:
    """All of ``METRICS``, of one data set."""
    return {name: figure(found) for name, figure in METRICS.items()}


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


def check(rules: Sequence[Rule], values: Mapping[str, float | None]) -> list[Checked]:
    """Which rules fail.  Raises ``UserError`` for a figure that this data set doesn't have."""
    checked = []
    for rule in rules:
        value = values[rule.name]
        if value is None:
            why = "give --against" if rule.name in OF_ANOTHER else "this data set has none"
            raise UserError(f"--fail-on '{rule}': {rule.name} isn't known; {why}")
        checked.append(Checked(str(rule), value, _HOLDS[rule.relation](value, rule.limit)))
    return checked
