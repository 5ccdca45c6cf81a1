"""What a data set shares with another: the question whether one has leaked into the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.inspect.near import Index
from analysis.inspect.rows import Items, Text, read_texts
from analysis.inspect.words import Numbers, among, runs

LONG = 13  # words in a row that two texts don't share by chance (Brown et al. 2020, appendix C)


@dataclass(frozen=True, slots=True)
class Twin:
    """An item whose question is near one of the other set's: position in each, and similarity."""

    item: int
    other: int
    similarity: float
    question: str
    other_question: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """Items that are in the other set too, as counts; ``other`` is its name, ``size`` its items.

    ``exact`` and ``near`` (which has the exact ones) go by the question, ``contexts`` by the
    context; ``long_runs``: question or answer has ``LONG`` words in a row that stand somewhere in
    the other set; ``contaminated``: one of near, contexts and long runs; ``papers``: items of a
    paper that the other set names, by its id or its file's hash.
    """

    other: str
    size: int
    items: int
    exact: int
    near: int
    contexts: int
    long_runs: int
    contaminated: int
    papers: int
    twins: tuple[Twin, ...]


def overlap(items: Items, other: Path) -> Overlap:
    """Compare with ``other``, a data set or a .jsonl file whose lines have a ``question``.

    Raises ``UserError`` as ``read_texts``.
    """
    texts, papers = read_texts(other)
    ours = [row.text for row in items.rows]
    twins = _twins(ours, texts)
    near = {t.item for t in twins}
    contexts = _near_contexts(ours, texts)
    long_runs = _long_runs(ours, texts)
    known = {(key, value) for paper in papers for key, value in paper.items() if value}
    shared = sum(
        ("id", row.paper) in known or ("sha256", row.sha256) in known for row in items.rows
    )
    exact = sum(np.array_equal(ours[t.item].question, texts[t.other].question) for t in twins)
    return Overlap(
        other=other.resolve().name, size=len(texts), items=len(ours), exact=exact, near=len(near),
        contexts=len(contexts), long_runs=len(long_runs),
        contaminated=len(near | contexts | long_runs), papers=shared, twins=tuple(twins),
    )  # fmt: skip


def _twins(ours: Sequence[Text], others: Sequence[Text]) -> list[Twin]:
    """The most similar question of the other set, for each item that is near one."""
    index, found = Index([t.question for t in others]), []
    for n, text in enumerate(ours):
        near = dict(index.near(text.question))
        if near:
            # Word for word first: another order of the same runs is as similar.
            same = index.same(text.question)
            best = max(near, key=lambda k: (near[k], -k)) if same is None else same
            place = index.copies[best][0]
            found.append(Twin(n, place, near[best], text.shown, others[place].shown))
    return found


def _near_contexts(ours: Sequence[Text], others: Sequence[Text]) -> set[int]:
    index = Index([t.context for t in others])
    return {n for n, text in enumerate(ours) if any(True for _ in index.near(text.context))}


def _long_runs(ours: Sequence[Text], others: Sequence[Text]) -> set[int]:
    parts = [runs(t, LONG) for o in others for t in (o.context, o.question, o.answer)]
    there: Numbers = np.unique(np.concatenate(parts))
    return {
        n
        for n, text in enumerate(ours)
        if any(among(runs(t, LONG), there).any() for t in (text.question, text.answer))
    }
