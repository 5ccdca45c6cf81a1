"""A run as readers see it: opened without a lock and never written to, finished or running."""

import json
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inner_agent.calls import CallStore, Usage
from inner_agent.durable import refuse_odd
from inner_agent.errors import UserError
from metaopt.config import RunConfig, load_config
from metaopt.history import HistoryEntry
from metaopt.monitor import PAUSED
from metaopt.population import Candidate, highest_average
from metaopt.repo import HarnessRepo
from metaopt.state import State, replay, winner
from metaopt.store import Event, Store, owner_of

ARMS = "arms.json"  # what a measurement outside of a run compares
QUALITY = "quality.json"  # which data sets were measured


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run has recorded up to now.

    ``state`` has taken in every decision that has no gap before it; ``stages`` has what every
    iteration recorded, by event kind; ``times`` are when the first thing was recorded and the last,
    in seconds since the epoch.
    """

    folder: Path
    config: RunConfig
    events: Sequence[Event]
    state: State
    stages: dict[int, dict[str, dict[str, Any]]]
    times: tuple[float, float]

    @property
    def decisions(self) -> list[HistoryEntry]:
        """Every decision there is, by iteration."""
        found = sorted((i, s["decided"]["entry"]) for i, s in self.stages.items() if "decided" in s)
        return [HistoryEntry.model_validate(entry) for _, entry in found]

    @property
    def owes_finalists(self) -> bool:
        """Is every iteration decided, and the re-run of the finalists, by which the best is chosen,
        still to come?"""
        search, last = self.config.search, self.state.finalists
        if not search.finalists or len(self.decisions) != search.iterations:
            return False
        return last is None or last.iteration < search.iterations

    def repo(self) -> HarnessRepo:
        """The run's harnesses.  Raises ``UserError`` when they aren't there."""
        path = self.folder / "harness.git"
        if not path.exists():  # opening it would make a new one
            raise UserError(f"{path}: missing, so there are no harnesses to show; restore it")
        return HarnessRepo(path, self.config.harness)


@dataclass(frozen=True, slots=True)
class Found:
    """An iteration that somebody asked for, and its candidate if it came to one."""

    id: int
    candidate: Candidate | None

    def made(self) -> Candidate:
        """The candidate.  Raises ``UserError`` when the iteration has none."""
        if self.candidate is None:
            raise UserError(f"iteration {self.id} made no candidate; --analysis may say why")
        return self.candidate


def open_record(folder: Path) -> RunRecord:
    """Read a run's folder.  Raises ``UserError`` when it isn't one."""
    database = database_of(folder)
    for name in ("config.toml", "lock", "stopped.json", "test.json", PAUSED):
        refuse_odd(folder / name)
    try:
        with closing(Store(database, readonly=True)) as store:
            events, times = list(store.events()), store.times()
    except sqlite3.Error as e:
        raise UserError(f"{database}: can't be read ({e})") from None
    if times is None:
        raise UserError(f"{folder}: nothing is recorded yet; start it with metaopt run")
    _refuse_unaudited(folder, events)
    config = load_config(folder / "config.toml")
    stages: dict[int, dict[str, dict[str, Any]]] = {}
    for event in events:
        stages.setdefault(event.iteration, {})[event.kind] = event.data
    try:
        state = replay(events)
        state.advance_all()
    except (LookupError, TypeError, ValueError, AttributeError) as e:  # they may hold anything
        raise UserError(
            f"{database}: its events aren't as metaopt wrote them ({type(e).__name__}: {e});"
            " restore it from a copy"
        ) from None
    return RunRecord(folder, config, events, state, stages, times)


def database_of(folder: Path) -> Path:
    """The file that a run records into.  Raises ``UserError`` where there is none."""
    refuse_odd(path := folder / "run.db")
    if path.is_file():
        return path
    if other := what_else(folder):
        raise UserError(f"{folder}: {other}; it isn't a run")
    raise UserError(f"{folder}: not a run's folder (no run.db); metaopt runs lists those there are")


def what_else(folder: Path) -> str:
    """What a folder that isn't a run's was made by; empty where that can't be seen."""
    if (folder / "results.db").is_file():
        return "a data set, made by metaopt generate"
    if (folder / QUALITY).is_file():
        return "made by metaopt dataquality"
    return "made by metaopt compare, aa, ablate or test" if (folder / ARMS).is_file() else ""


def _refuse_unaudited(folder: Path, events: Sequence[Event]) -> None:
    """Older versions counted as passed what nobody audited: such rates mustn't be mixed up."""
    if any(e.kind == "validated" and "audit" not in e.data for e in events):
        made_by = next((e.data["metaopt"] for e in events if e.kind == "opened"), "an older one")
        raise UserError(
            f"{folder}: a run from before accepted items were audited (version {made_by}); read it"
            " with that version"
        )


def find(record: RunRecord, name: str) -> Found:
    """The candidate that ``name`` (a number, ``best``, ``paper``, ``baseline``) means.

    ``paper`` is what the published procedure would report.  Raises ``UserError`` when the run
    has none of that name.
    """
    if name in ("best", "paper"):
        state = record.state
        top = winner(state) if name == "best" else highest_average(state.population)
        return Found(top.id, top)
    ident = 0 if name == "baseline" else int(name) if re.fullmatch(r"[0-9]{1,9}", name) else -1
    if ident not in record.stages:
        last = max(record.stages)
        raise UserError(
            f"{record.folder}: no candidate {name!r}; give best, paper, or a number to {last}"
        )
    if ident in record.state.candidates:
        return Found(ident, record.state.candidates[ident])
    stages = record.stages[ident]  # it was made, but isn't validated, or never was to be
    made = stages.get("implemented")
    if made is None:
        return Found(ident, None)
    parent, scores = stages["selected"]["parent"], stages.get("validated")
    found = Candidate(ident, parent, made["commit"], made["tree"], made["summary"], accepted=False)
    if scores:  # a live control, or not decided yet
        found.add_run(ident, sum(scores["mutant"]), len(scores["mutant"]))
    return Found(ident, found)


def usage(folder: Path) -> dict[str, Usage]:
    """What the run's calls used, by role."""
    path = folder / "calls.db"
    if not path.exists():
        return {}
    with closing(CallStore(path, readonly=True)) as calls:
        return calls.usage_by_role()


def running_process(folder: Path) -> str | None:
    """The process that holds the run, or ``None``."""
    for path in (folder / "lock", folder):  # somebody may have removed the file
        if path.exists() and (owner := owner_of(path)):
            return owner
    return None


def seconds_left(record: RunRecord) -> float | None:
    """Until a running run's last iteration, at the pace of its process so far; ``None`` before that
    has decided anything."""
    try:
        started = (record.folder / "lock").stat().st_mtime  # who takes it writes its number
    except OSError:
        return None
    with closing(Store(record.folder / "run.db", readonly=True)) as store:
        decided, last = store.decided_since(started)
    left = record.config.search.iterations - len(record.decisions)
    return (last - started) / decided * max(0, left) if decided else None


def paused(folder: Path) -> tuple[str, float] | None:
    """What a running process said when an endpoint went down, and when (s since the epoch)."""
    try:
        note = json.loads((folder / PAUSED).read_text(encoding="utf-8"))
        return str(note["line"]).partition(": paused")[0], float(note["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stop_reason(folder: Path) -> str | None:
    """Why the run's last process stopped before the end, or ``None`` where it left no word."""
    try:
        return str(json.loads((folder / "stopped.json").read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
