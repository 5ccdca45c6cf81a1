"""The run as its events tell it.  Live and recovered runs take the same path: ``apply``.

Iterations run ``parallel`` at a time and may decide in any order; the population takes their
decisions in theirs.  ``advance`` moves it on: iteration *i* sees the decisions of iterations up
to *i − parallel* and no others, so a run is a function of its config whatever the timing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from metaopt.history import HistoryEntry
from metaopt.population import Candidate, best
from metaopt.store import Event


@dataclass(slots=True)
class Traces:
    """Which training evaluation of a parent serves an iteration.

    ``last``, by parent: the iteration of its last evaluation, and how many iterations used that.
    """

    last: dict[int, tuple[int, int]] = field(default_factory=dict)

    def source(self, parent: int, i: int, uses: int) -> int:
        """The iteration whose evaluation serves iteration ``i``: its own, unless a recorded one
        has served fewer than ``uses``."""
        source, used = self.last.get(parent, (i, uses))
        return source if used < uses else i

    def take(self, parent: int, source: int) -> None:
        """An iteration that used ``source`` is decided."""
        last, used = self.last.get(parent, (source, 0))
        self.last[parent] = (source, used + 1 if source == last else 1)


@dataclass(slots=True)
class State:
    """``candidates`` by id (rejected ones too), the ``population`` of accepted ones, the history.

    ``stages[i]`` has what iteration ``i`` did so far, by event kind; it is dropped once the
    decision has been taken into the population.  ``finalists`` is the last re-run of the best, if
    there was one.
    """

    opened: dict[str, Any] | None = None
    candidates: dict[int, Candidate] = field(default_factory=dict)
    population: list[Candidate] = field(default_factory=list)
    by_tree: dict[str, int] = field(default_factory=dict)
    history: list[HistoryEntry] = field(default_factory=list)
    stages: dict[int, dict[str, Any]] = field(default_factory=dict)
    traces: Traces = field(default_factory=Traces)
    finalists: Event | None = None
    advanced: int = 0

    def apply(self, event: Event) -> None:
        """Take in one event, new or recorded."""
        if event.kind == "opened":
            self.opened = event.data
            self._join(Candidate(0, None, event.data["commit"], event.data["tree"], "Baseline"))
        else:
            self.stages.setdefault(event.iteration, {})[event.kind] = event.data
        if event.kind == "finalists":
            self.finalists = event
        elif event.kind == "baseline":
            self.candidates[0].add_run(0, sum(event.data["passed"]), len(event.data["passed"]))

    def advance(self, to: int) -> None:
        """Take the decisions up to iteration ``to`` into the population, in order."""
        while self.advanced < to:
            i = self.advanced + 1
            stages = self.stages[i]
            if "decided" not in stages:
                raise ValueError(f"iteration {i} has no decision yet")
            self._decide(i, stages)
            del self.stages[i]
            self.advanced = i

    def advance_all(self) -> None:
        """Take in every decision that has no gap before it (for readers)."""
        while "decided" in self.stages.get(self.advanced + 1, {}):
            self.advance(self.advanced + 1)

    def done(self, i: int, kind: str) -> Any:
        """What iteration ``i`` recorded as ``kind``, or ``None``."""
        return self.stages.get(i, {}).get(kind)

    def is_decided(self, i: int) -> bool:
        """Has iteration ``i`` come to its end?"""
        return i <= self.advanced or self.done(i, "decided") is not None

    def first_undecided(self) -> int:
        """The iteration at which a resumed run goes on."""
        i = self.advanced + 1
        while self.is_decided(i):
            i += 1
        return i

    def _decide(self, i: int, stages: dict[str, Any]) -> None:
        entry = HistoryEntry.model_validate(stages["decided"]["entry"])
        self.history.append(entry)
        if "traced" in stages:
            self.traces.take(entry.parent, stages["traced"].get("source", i))
        made, scores = stages.get("implemented"), stages.get("validated")
        if made and scores:
            if scores["parent"]:
                self.candidates[entry.parent].add_run(
                    i, sum(scores["parent"]), len(scores["parent"])
                )
            if not made.get("control"):
                accepted = stages["decided"]["accepted"]
                mutant = Candidate(
                    i, entry.parent, made["commit"], made["tree"], made["summary"], accepted
                )
                mutant.add_run(i, sum(scores["mutant"]), len(scores["mutant"]))
                self._join(mutant)

    def _join(self, candidate: Candidate) -> None:
        self.candidates[candidate.id] = candidate
        self.by_tree.setdefault(candidate.tree, candidate.id)
        if candidate.accepted:
            self.population.append(candidate)


def winner(state: State) -> Candidate:
    """The candidate to take away: chosen among the finalists, or the best while there are none.

    A re-run of finalists says nothing once the run has gone on.
    """
    final = state.finalists
    if final and final.iteration >= state.advanced:
        return state.candidates[final.data["chosen"]]
    return best(state.candidates.values())


def replay(events: Iterable[Event]) -> State:
    """The state after ``events``."""
    state = State()
    for event in events:
        state.apply(event)
    return state
