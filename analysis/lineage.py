"""The family tree of a run, laid out: where each candidate stands, and whose child it is.

Time runs to the right, so every iteration has a place of its own there.  An accepted candidate has
a lane from its making to its last use as a parent; whatever else came of an iteration is a stub
beside its parent's lane.  An edge leaves the parent's lane at the child's own iteration, where no
other node is: no edge goes through one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from analysis.course import outcome_of
from metaopt.history import HistoryEntry
from metaopt.record import RunRecord
from metaopt.state import State, winner

STUB = 0.4  # lanes between a parent's lane and what didn't join
APART = 2  # iterations at least between two candidates on one lane

Taken = dict[int, list[tuple[int, int, int]]]  # by lane: first and last iteration, and whose


@dataclass(frozen=True, slots=True)
class Node:
    """The baseline (``id`` 0) or a decided iteration, and its place in a drawn tree.

    ``x`` is its iteration, ``y`` its lane: the baseline's is 0, others are whole numbers on both
    sides of it, and stubs lie between them.  ``until``: the last iteration that it is the parent
    of, where its lane ends.  ``outcome`` is as in ``analysis.course.Point``, or baseline.
    ``rate``: over all its validations, ``None`` before any.  ``on_best_line``: the run's winner,
    or an ancestor of it.  ``children``: iterations that it is the parent of, whatever came of them.
    """

    id: int
    parent: int | None
    iteration: int
    x: float
    y: float
    until: float
    outcome: str
    rate: float | None
    on_best_line: bool
    children: int


def lineage(record: RunRecord) -> list[Node]:
    """The baseline, then a node for each decided iteration, in their order."""
    state = record.state
    used: dict[int, list[int]] = {0: []}
    for entry in state.history:
        used.setdefault(entry.parent, []).append(entry.iteration)
    places, line = _lanes(state, used), _best_line(state)
    entries: dict[int, HistoryEntry | None] = {0: None}
    entries |= {e.iteration: e for e in state.history}
    return [_node(i, entry, places[i], used.get(i, ()), i in line, state)
            for i, entry in entries.items()]  # fmt: skip


def _node(
    i: int, entry: HistoryEntry | None, y: float, used: Sequence[int], best: bool, state: State
) -> Node:
    known = state.candidates.get(i)
    return Node(
        id=i,
        parent=entry.parent if entry else None,
        iteration=i,
        x=float(i),
        y=y,
        until=float(max(used, default=i)),
        outcome=outcome_of(entry) if entry else "baseline",
        rate=known.rate if known and known.papers else entry.mutant_rate if entry else None,
        on_best_line=best,
        children=len(used),
    )


def _best_line(state: State) -> set[int]:
    """The winner and its ancestors."""
    line = set[int]()
    at: int | None = winner(state).id
    while at is not None:
        line.add(at)
        at = state.candidates[at].parent
    return line


def _lanes(state: State, used: Mapping[int, Sequence[int]]) -> dict[int, float]:
    """Each iteration's ``y``: the free lane nearest to its parent's, or a stub beside that."""
    taken: Taken = {0: [(0, max(used[0], default=0), 0)]}
    lanes, stubs = {0: 0}, dict[int, float]()
    for entry in state.history:
        i, parent = entry.iteration, entry.parent
        if i in state.candidates and state.candidates[i].accepted:
            last = max(used.get(i, ()), default=i)
            lanes[i] = next(n for n in _around(lanes[parent]) if _free(taken, n, i, last, parent))
            taken.setdefault(lanes[i], []).append((i, last, i))
        else:
            stubs[i] = lanes[parent] + STUB
    return lanes | stubs


def _around(lane: int) -> Iterator[int]:
    """The lane itself, then those next to it, and so on."""
    yield lane
    for away in count(1):
        yield lane + away
        yield lane - away


def _free(taken: Taken, lane: int, first: int, last: int, parent: int) -> bool:
    """Can a candidate lie there?  After its parent it may, as that one's lane going on."""
    return all(
        first >= end + (0 if owner == parent else APART) or last + APART <= start
        for start, end, owner in taken.get(lane, ())
    )
