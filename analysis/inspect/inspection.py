"""A data set looked at as a whole: everything that the report, the figure and the rules tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.inspect.corpus import Corpus, read_corpus
from analysis.inspect.diversity import Diversity, diversity
from analysis.inspect.near import Repeats, repeats
from analysis.inspect.overlap import Overlap, overlap
from analysis.inspect.rows import Row, items_file, read_items
from analysis.inspect.spread import Labels, Spread, labels, spread

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Rubrics:
    """The shape of rubrics.  ``top`` and ``penalties`` are, of each rubric, the largest weight and
    the sum of the negative ones, as shares of what there is to earn.

    The counts are of criteria; ``with_negative`` and ``mostly_bare`` of items.  ``bare`` criteria
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
class Leakage:
    """What the context gives away, with the question: ``items`` whose answer or rubric it holds by
    the audit's measure, and the shares of the answer's words and runs of three that it has."""

    items: int
    words: Spread | None
    runs: Spread | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """A data set.  ``corpus`` is ``None`` of a file of items alone, ``against`` where nothing was
    compared; ``examples`` are the questions of the largest clusters, some of each.  What ends in
    ``by_item`` is in the order of the data set's lines."""

    data: str
    simulated: bool
    items: int
    papers: int
    questions: Repeats
    contexts: Repeats
    question_diversity: Diversity
    context_diversity: Diversity
    types: Labels
    skills: Labels
    rubrics: Rubrics
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


def inspect(data: Path, against: Path | None = None) -> Inspection:
    """Look at a data set, and at what it shares with ``against``.

    Raises ``UserError`` for what isn't one, has no items or has some that don't parse.
    """
    if against:
        items_file(against)
    items = read_items(data)
    rows, texts = items.rows, [row.text for row in items.rows]
    same = repeats([t.question for t in texts])
    papers = {row.paper for row in rows}
    weak, strong = tuple(row.weak for row in rows), tuple(row.strong for row in rows)
    gap, rounds = tuple(row.gap for row in rows), tuple(row.rounds for row in rows)
    return Inspection(
        items.name, items.simulated, len(rows), len(papers), same,
        repeats([t.context for t in texts]),
        diversity([t.question for t in texts]), diversity([t.context for t in texts]),
        labels([[row.type] for row in rows]), labels([row.skills for row in rows]),
        _rubrics(rows), _leakage(rows),
        _some(len(t.question) for t in texts), _some(len(t.context) for t in texts),
        _some(len(t.answer) for t in texts), _some(weak), _some(strong), _some(gap), _some(rounds),
        weak, strong, gap, rounds, tuple(len(row.weights) for row in rows),
        tuple(tuple(texts[k].shown for k in cluster[:3]) for cluster in same.clusters[:3]),
        read_corpus(data, papers) if data.is_dir() else None,
        overlap(items, against) if against else None,
    )  # fmt: skip


def _some(values: Any) -> Spread:
    """Of numbers that there are, for a data set has items."""
    found = spread(values)
    assert found is not None
    return found


def _rubrics(rows: Sequence[Row]) -> Rubrics:
    earned = [[w for w in row.weights if w > 0] for row in rows]
    lost = [[-w for w in row.weights if w < 0] for row in rows]
    count, positive = sum(len(row.weights) for row in rows), sum(map(len, earned))
    return Rubrics(
        _some(len(row.weights) for row in rows), _some(w for row in rows for w in row.weights),
        _some(max(weights) / sum(weights) for weights in earned),
        _some(sum(lost[n]) / sum(weights) for n, weights in enumerate(earned)),
        count, positive, count - positive, sum(row.bare for row in rows),
        sum(row.told for row in rows), sum(map(bool, lost)), sum(row.bare > 0 for row in rows),
    )  # fmt: skip


def _leakage(rows: Sequence[Row]) -> Leakage:
    words = spread(row.words_given for row in rows if row.words_given is not None)
    three = spread(row.runs_given for row in rows if row.runs_given is not None)
    return Leakage(sum(row.leaks for row in rows), words, three)
