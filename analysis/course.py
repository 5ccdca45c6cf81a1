"""The course of a run, decision by decision: the numbers behind its figures and pages.

A single validation score is noisy, and the best of many is high by luck (Autodata, Kulikov et
al. 2026, reports averages over re-evaluations for that reason).  So the best is the one with the
highest shrunk rate, and rates are averages over every run that a candidate has had by then.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from metaopt.history import HistoryEntry
from metaopt.population import Candidate, Posterior, posterior
from metaopt.record import RunRecord
from metaopt.state import State, replay
from metaopt.statistics import clustered
from metaopt.validations import Validation, validations

# What the meter's figures of the best are called where there is little room.
SHORT = {
    "highest single score": "highest score",
    "best, when accepted": "when accepted",
    "best, its runs in the search": "in the search",
    "best, shrunk": "shrunk",
    "finalist, run again": "run again",
    "sealed test, best": "sealed test",
    "sealed test, the best then": "test, best then",
}


@dataclass(frozen=True, slots=True)
class Point:
    """The run after one decision.  Rates are fractions; intervals are 95 %.

    ``outcome``: accepted, rejected, stopped (rejected before it was run on all papers), control or
    failed.  ``rate`` is the mutant's in its one validation run, ``None`` when the iteration failed.
    ``best``: the candidate with the highest shrunk rate by then, its average over all its runs
    by then, the interval, and the shrunk rate.  ``baseline`` likewise: its average by then.
    """

    iteration: int
    parent: int
    outcome: str
    rate: float | None
    best: int
    best_rate: float | None
    best_low: float
    best_high: float
    best_shrunk: float
    baseline_rate: float | None
    baseline_low: float
    baseline_high: float


@dataclass(slots=True)
class _Intervals:
    """The candidates' 95 % intervals by each iteration, going forward: ``validations.interval``
    of every iteration anew would make long runs slow."""

    coming: Sequence[Validation]
    taken: int = 0
    counts: dict[int, dict[str, tuple[int, int]]] = field(default_factory=dict)
    known: dict[int, tuple[float, float]] = field(default_factory=dict)

    def advance(self, to: int) -> None:
        """Take in the validations up to iteration ``to``."""
        while self.taken < len(self.coming) and self.coming[self.taken].iteration <= to:
            v = self.coming[self.taken]
            counts = self.counts.setdefault(v.candidate, {})
            for paper, passed in zip(v.papers, v.passed, strict=True):
                passes, runs = counts.get(paper, (0, 0))
                counts[paper] = passes + passed, runs + 1
            self.known.pop(v.candidate, None)
            self.taken += 1

    def of(self, candidate: int) -> tuple[float, float]:
        """A candidate's interval by now; (0, 1) before its first validation."""
        if candidate not in self.counts:
            return 0.0, 1.0
        if candidate not in self.known:
            counts = self.counts[candidate].values()
            self.known[candidate] = clustered([x for x, _ in counts], [n for _, n in counts])
        return self.known[candidate]


def course(record: RunRecord) -> list[Point]:
    """The run decision by decision, in the iterations' order."""
    state, points = replay(record.events), list[Point]()
    intervals, known, runs = _Intervals(validations(record)), None, -1
    while state.done(state.advanced + 1, "decided"):
        state.advance(state.advanced + 1)
        intervals.advance(state.advanced)
        count = sum(len(c.runs) for c in state.candidates.values())
        if known is None or count != runs:  # a failed iteration tells nothing of anybody
            known, runs = posterior(state.candidates.values()), count
        points.append(_point(state, known, intervals))
    return points


def _point(state: State, known: Posterior, intervals: _Intervals) -> Point:
    entry, rates, baseline = state.history[-1], known.rates, state.candidates[0]
    top = min(known.members, key=lambda c: (-rates[c.id], c.id))
    return Point(
        entry.iteration, entry.parent, outcome_of(entry), entry.mutant_rate,
        top.id, _average(top), *intervals.of(top.id), rates[top.id],
        _average(baseline), *intervals.of(0),
    )  # fmt: skip


def outcome_of(entry: HistoryEntry) -> str:
    """What came of an iteration, as ``Point`` has it."""
    outcome = entry.decision.partition(":")[0]
    return "stopped" if entry.stopped and outcome == "rejected" else outcome


def _average(candidate: Candidate) -> float | None:
    return candidate.rate if candidate.papers else None
