"""A data set looked at as a whole: everything that the report, the figure and the rules tell."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.inspect.corpus import Corpus, read_corpus
from analysis.inspect.diversity import Diversity, diversity
from analysis.inspect.embeddings import Embedded, Embedder, embedded
from analysis.inspect.near import Repeats, repeats
from analysis.inspect.overlap import Overlap, overlap
from analysis.inspect.rows import Row, items_file, read_items, read_questions
from analysis.inspect.spread import Labels, Spread, labels, spread

FORMAT = 1
EXAMPLES = 3  # clusters, and questions of each


@dataclass(frozen=True, slots=True)
class Rubrics:
    """The shape of rubrics.  ``top`` and ``penalties`` are, of each rubric, the largest weight and
    the sum of the negative ones, as shares of what there is to earn.

    The counts are of criteria; ``with_negative`` and ``with_bare`` of items.  ``bare`` criteria
    ask for a figure that the context doesn't hold and for little else, ``told`` ones stand in it.
    """

    criteria: Spread
    weights: Spread
    top: Spread
    penalties: Spread
    count: int
    positive: int
    negative: int
    bare: int
    told: int
    with_negative: int
    with_bare: int


@dataclass(frozen=True, slots=True)
class Answers:
    """Final answers of items without a rubric: which, and of which kinds.  Those that are one when
    texts are compared go by how the first is written.

    The counts are of items: ``guessable`` is one of a few that a guess hits, ``shown`` stands in
    context or question word for word; ``weak_never`` and ``strong_always`` are those that no
    attempt of the weak solver, and each of the strong one, got right.
    """

    answers: Labels
    kinds: Labels
    guessable: int
    shown: int
    weak_never: int
    strong_always: int


@dataclass(frozen=True, slots=True)
class Reviews:
    """What a judge said of all attempts at each item: suitabilities, how many items' rubrics it had
    something against (``concerns``), and how its suggestions for the next question repeat."""

    suitabilities: Labels
    concerns: int
    suggestions: Repeats
    diversity: Diversity


@dataclass(frozen=True, slots=True)
class Leakage:
    """What the context gives away, with the question: ``items`` whose answer or rubric it holds by
    the audit's measure, and the shares of the answer's words and runs of three that it has."""

    items: int
    words: Spread | None
    runs: Spread | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """A data set.  ``rubrics`` is ``None`` of items without one, ``answers`` of those with, and
    ``reviews`` where the task has none; ``corpus`` of a file of items alone, ``against`` and
    ``embedded`` where it wasn't asked for.

    ``examples`` are the questions of the largest clusters, some of each.  What ends in ``by_item``
    is in the order of the data set's lines."""

    data: str
    task: str
    simulated: bool
    items: int
    papers: int
    questions: Repeats
    contexts: Repeats
    question_diversity: Diversity
    context_diversity: Diversity
    types: Labels
    skills: Labels
    rubrics: Rubrics | None
    answers: Answers | None
    reviews: Reviews | None
    leakage: Leakage
    question_words: Spread
    context_words: Spread
    answer_words: Spread
    weak: Spread
    strong: Spread
    gap: Spread
    rounds: Spread
    weak_by_item: tuple[float, ...]
    strong_by_item: tuple[float, ...]
    gap_by_item: tuple[float, ...]
    rounds_by_item: tuple[int, ...]
    criteria_by_item: tuple[int, ...]
    examples: tuple[tuple[str, ...], ...]
    corpus: Corpus | None
    against: Overlap | None
    embedded: Embedded | None
    embedded_examples: tuple[tuple[str, ...], ...]


def inspect(
    data: Path, against: Path | None = None, embedder: Embedder | None = None
) -> Inspection:
    """Look at a data set, at what it shares with ``against``, and at its questions' vectors.

    Raises ``UserError`` for what isn't one, has no items or has some that don't parse, and where
    ``embedder`` gives no vectors.
    """
    if against:
        items_file(against)
    items = read_items(data)
    rows = items.rows
    questions, contexts = [r.text.question for r in rows], [r.text.context for r in rows]
    same, papers = repeats(questions), Counter(row.paper for row in rows)
    weak, strong = tuple(row.weak for row in rows), tuple(row.strong for row in rows)
    gap, rounds = tuple(row.gap for row in rows), tuple(row.rounds for row in rows)
    by_model = embedded(read_questions(data)[: len(rows)], embedder) if embedder else None
    return Inspection(
        data=items.name, task=items.task, simulated=items.simulated,
        items=len(rows), papers=len(papers),
        questions=same, contexts=repeats(contexts),
        question_diversity=diversity(questions), context_diversity=diversity(contexts),
        types=labels([[row.type] for row in rows]), skills=labels([row.skills for row in rows]),
        rubrics=_rubrics(rows), answers=_answers(rows), reviews=_reviews(rows),
        leakage=_leakage(rows),
        question_words=_some(map(len, questions)), context_words=_some(map(len, contexts)),
        answer_words=_some(len(row.text.answer) for row in rows),
        weak=_some(weak), strong=_some(strong), gap=_some(gap), rounds=_some(rounds),
        weak_by_item=weak, strong_by_item=strong, gap_by_item=gap, rounds_by_item=rounds,
        criteria_by_item=tuple(len(row.weights) for row in rows),
        examples=_examples(rows, same.clusters),
        corpus=read_corpus(data, papers) if data.is_dir() else None,
        against=overlap(items, against) if against else None,
        embedded=by_model,
        embedded_examples=_examples(rows, by_model.clusters) if by_model else (),
    )  # fmt: skip


def _examples(
    rows: Sequence[Row], clusters: Sequence[Sequence[int]]
) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(rows[k].text.shown for k in cluster[:EXAMPLES]) for cluster in clusters[:EXAMPLES]
    )


def _some(values: Iterable[float]) -> Spread:
    """Of numbers that there are, for a data set has items."""
    found = spread(values)
    assert found is not None
    return found


def _rubrics(rows: Sequence[Row]) -> Rubrics | None:
    if not rows[0].weights:
        return None
    earned = [[w for w in row.weights if w > 0] for row in rows]
    lost = [[-w for w in row.weights if w < 0] for row in rows]
    count, positive = sum(len(row.weights) for row in rows), sum(map(len, earned))
    return Rubrics(
        criteria=_some(len(row.weights) for row in rows),
        weights=_some(w for row in rows for w in row.weights),
        top=_some(max(weights) / sum(weights) for weights in earned),
        penalties=_some(sum(lost[n]) / sum(weights) for n, weights in enumerate(earned)),
        count=count, positive=positive, negative=count - positive,
        bare=sum(row.bare for row in rows), told=sum(row.told for row in rows),
        with_negative=sum(map(bool, lost)), with_bare=sum(row.bare > 0 for row in rows),
    )  # fmt: skip


def _answers(rows: Sequence[Row]) -> Answers | None:
    finals = [row.final for row in rows]
    if not any(finals):
        return None
    first: dict[str, str] = {}
    return Answers(
        answers=labels([[first.setdefault(f.compared, f.written)] if f else [] for f in finals]),
        kinds=labels([[f.kind] if f else [] for f in finals]),
        guessable=sum(f.guessable for f in finals if f),
        shown=sum(f.shown for f in finals if f),
        weak_never=sum(row.weak == 0 for row in rows),
        strong_always=sum(row.strong == 1 for row in rows),
    )


def _reviews(rows: Sequence[Row]) -> Reviews | None:
    reviews = [row.review for row in rows]
    if not any(reviews):
        return None
    suggestions = [r.suggestion for r in reviews if r]
    return Reviews(
        suitabilities=labels([[r.suitability] if r else [] for r in reviews]),
        concerns=sum(r.concern for r in reviews if r),
        suggestions=repeats(suggestions), diversity=diversity(suggestions),
    )  # fmt: skip


def _leakage(rows: Sequence[Row]) -> Leakage:
    words = spread(row.words_given for row in rows if row.words_given is not None)
    three = spread(row.runs_given for row in rows if row.runs_given is not None)
    return Leakage(sum(row.leaks for row in rows), words, three)
