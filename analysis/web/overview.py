"""A run's first page: how it stands, and everything that was tried."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from analysis.web.library import Shelf
from inner_agent.calls import Usage
from metaopt.history import HistoryEntry
from metaopt.optimism import Figure as Told
from metaopt.optimism import rerun, sealed
from metaopt.population import Candidate
from metaopt.record import RunRecord, seconds_left
from metaopt.standing import standing
from metaopt.state import winner
from metaopt.status import outcome_text, rate_text
from metaopt.store import Store
from metaopt.text import duration, moment


@dataclass(frozen=True, slots=True)
class Row:
    """An iteration in the table.  Rates are fractions, ``None`` where nothing was measured."""

    iteration: int
    parent: int
    outcome: str
    word: str  # the outcome's first word, by which it is coloured
    parent_rate: float | None
    rate: float | None
    pooled: float | None
    runs: int
    edit: str
    alarm: str
    best: bool

    @property
    def why_failed(self) -> str:
        """Why it came to nothing; empty where it came to something."""
        return self.outcome.removeprefix("failed: ") if self.word == "failed" else ""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """An iteration that isn't decided yet: what it does, and how far that has come."""

    iteration: int
    parent: int
    stage: str
    done: int
    wanted: int


@dataclass(frozen=True, slots=True)
class Overview:
    """``facts``: what a colleague asks first, as (question, answer).  ``word`` says how the run
    stands, as ``metaopt.standing`` does, ``state`` the same in a phrase."""

    name: str
    simulated: bool
    policy: str
    word: str
    state: str
    facts: Sequence[tuple[str, str]]
    best: Candidate
    rows: Sequence[Row]
    under_way: Sequence[UnderWay]


@dataclass(frozen=True, slots=True)
class News:
    """By what a page that follows a run sees that there is something new: iterations ``decided``,
    rollouts ``done`` of those under way; and a line that tells it."""

    decided: int
    done: int
    line: str


def news(record: RunRecord) -> News:
    """Asked every two seconds while somebody looks: it takes no more than a few lookups."""
    stands = standing(record)
    told = stands.told(max(0.0, time.time() - record.times[1]))
    decided = sum("decided" in stages for stages in record.stages.values())
    done = sum(u.done for u in _under_way(record))
    return News(decided, done, f"{_iterations(record)}; {told}")


def _iterations(record: RunRecord) -> str:
    made = [s["decided"]["entry"]["decision"] for s in record.stages.values() if "decided" in s]
    wanted = record.config.search.iterations
    return f"{len(made)} of {wanted} decided, {made.count('accepted')} accepted"


def overview(record: RunRecord) -> Overview:
    """The page's content; nothing in it takes long."""
    top, decisions = winner(record.state), record.decisions
    best = f"candidate {top.id}: {rate_text(record, top)}" if top.id else "still the baseline"
    stands, left = standing(record), None
    if stands.process:
        left = seconds_left(record)
    facts = [
        ("Iterations", _iterations(record)),
        ("Baseline", rate_text(record, record.state.candidates[0])),
        ("Best", best),
        ("Last recorded", moment(record.times[1])),
        ("Time", f"{duration(record.times[1] - record.times[0])}, pauses included"),
    ]
    if left is not None:
        facts.append(("Left", f"about {duration(left)}"))
    return Overview(
        record.folder.resolve().name,
        record.config.simulated,
        record.config.search.policy,
        stands.word,
        stands.told(max(0.0, time.time() - record.times[1])),
        facts,
        top,
        [_row(record, d, top.id) for d in decisions],
        _under_way(record),
    )


def spending_rows(shelf: Shelf) -> list[tuple[str, Usage]]:
    """What each role used, and all of them."""
    used = shelf.used()
    return [*sorted(used.items()), ("all", sum(used.values(), Usage()))]


def summaries(record: RunRecord) -> dict[int, str]:
    """What each iteration's edit was, in its maker's words."""
    told = {d.iteration: d.summary or d.proposed_change for d in record.decisions}
    return told | {c.id: c.summary for c in record.state.candidates.values()}


def unchosen(record: RunRecord) -> list[Told]:
    """Figures of runs that had no part in choosing the best."""
    return [*rerun(record), *sealed(record)]


def _row(record: RunRecord, d: HistoryEntry, best: int) -> Row:
    known = record.state.candidates.get(d.iteration)
    runs = len(known.runs) if known else 0
    return Row(
        iteration=d.iteration,
        parent=d.parent,
        outcome=outcome_text(d),
        word=outcome_text(d).partition(":")[0],
        parent_rate=d.parent_rate,
        rate=d.mutant_rate,
        pooled=known.rate if known and runs > 1 else None,
        runs=runs,
        edit=d.summary or d.proposed_change,
        alarm=d.alarm,
        best=d.iteration == best,
    )


def _under_way(record: RunRecord) -> list[UnderWay]:
    search, found = record.config.search, []
    known = [s["validated"]["papers"] for s in record.stages.values() if "validated" in s]
    papers = max(map(len, known), default=0)
    with closing(Store(record.folder / "run.db", readonly=True)) as store:
        for i, stages in sorted(record.stages.items()):
            if i == 0 or "decided" in stages or "selected" not in stages:
                continue
            parent = stages["selected"]["parent"]
            stage, done, wanted = "editing", 0, 0
            if "traced" not in stages and "implemented" not in stages:
                stage, wanted = "parent on training papers", search.minibatch
                done = store.count(parent, "train", i)
            elif "diagnosed" not in stages and "implemented" not in stages:
                stage = "analyzing"
            elif "implemented" in stages:
                stage, done = "on validation papers", store.count(i, "val", i)
                wanted = papers
            found.append(UnderWay(i, parent, stage, done, wanted))
    return found
