"""The runs in a folder, one a row: what each is, how it stands, what it came to and cost."""

import json
import shlex
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from inner_agent.errors import UserError
from metaopt.population import Candidate
from metaopt.record import RunRecord, open_record, usage, what_else
from metaopt.standing import standing
from metaopt.state import winner
from metaopt.text import amount, clean, dollars, duration, grid, one_line, render, screen_width

# A file that is damaged may hold anything.
DAMAGED = (
    UserError, sqlite3.Error, OSError, ValueError, LookupError, TypeError, AttributeError,
)  # fmt: skip
PARTS = ("run.db", "calls.db", "harness.git")  # a folder that has one of them is, or was, a run


@dataclass(frozen=True, slots=True)
class Rate:
    """A candidate's pass rate over all its validations in the search, a fraction; ``None`` before
    the first."""

    candidate: int
    rate: float | None
    rollouts: int


@dataclass(frozen=True, slots=True)
class Row:
    """A folder.  ``state``: running, testing, paused, stopped, finished; broken, with why it can't
    be read as ``why``; or other, for what isn't a run.

    What follows is a run's alone.  ``recorded``: when the last thing was, seconds since the epoch.
    """

    name: str
    state: str
    why: str = ""
    process: str | None = None
    decided: int = 0
    wanted: int = 0
    baseline: Rate | None = None
    best: Rate | None = None
    usd: float = 0.0
    calls: int = 0
    recorded: float = 0.0
    simulated: bool = False
    policy: str = ""


def list_runs(folder: Path) -> list[Row]:
    """What is in ``folder``, the newest run first; other folders last, most of them left out.

    Raises ``UserError`` when there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; name the one that your runs are in, metaopt runs FOLDER, or"
            " make one: metaopt run"
        )
    inside = [folder] if (folder / "run.db").is_file() else sorted(folder.iterdir())
    rows = [row for path in inside if path.is_dir() and (row := _row(path))]
    return sorted(rows, key=lambda row: (row.state == "other", -row.recorded, row.name))


def _row(path: Path) -> Row | None:
    name = path.resolve().name
    if not (path / "run.db").is_file() and (made_by := what_else(path)):
        return Row(name, "other", made_by)
    if not any((path / part).exists() for part in PARTS):
        return None
    return row_or_why(name, path, lambda: open_record(path))


def row_or_why(name: str, path: Path, read: Callable[[], RunRecord]) -> Row:
    """How the run in ``path`` stands, or why it can't be read: the others are to be seen."""
    try:
        return run_row(name, read())
    except DAMAGED as e:
        why = str(e) if isinstance(e, UserError) else f"{type(e).__name__}: {e}"
        return Row(name, "broken", why.removeprefix(f"{path}: ").removeprefix(f"{path}/"))


def run_row(name: str, record: RunRecord) -> Row:
    """How a run stands."""
    stands, spent = standing(record), usage(record.folder).values()
    return Row(
        name, stands.word, stands.why, stands.process,
        decided=len(record.decisions),
        wanted=record.config.search.iterations,
        baseline=_rate(record.state.candidates[0]),
        best=_rate(winner(record.state)),
        usd=sum(u.usd for u in spent),
        calls=sum(u.calls for u in spent),
        recorded=record.times[1],
        simulated=record.config.simulated,
        policy=record.config.search.policy,
    )  # fmt: skip


def _rate(candidate: Candidate) -> Rate:
    rate = candidate.rate if candidate.papers else None
    return Rate(candidate.id, rate, candidate.papers)


def as_table(folder: Path, rows: Sequence[Row]) -> str:
    """The rows as text, with a line below for each one that there is more to say of."""
    if not rows:
        return f"no run in {folder} yet; metaopt run CONFIG --out {shlex.quote(str(folder))}/NAME"
    table = grid("run", "state", ">done", ">base", ">best", ">cost", ">age", "policy")
    for short in ("state", "policy"):
        next(c for c in table.columns if c.header == short).no_wrap = True  # long names fold
    for row in rows:
        if row.state not in ("broken", "other"):
            table.add_row(clean(row.name) + "*" * row.simulated, row.state, *_cells(row))
    lines = [render(table)] if table.row_count else []
    told = [f"{row.name}: {_more(row)}" for row in rows if _more(row)]
    if told:
        lines += [""] * bool(lines) + [one_line(line, screen_width()) for line in told]
    if any(row.simulated for row in rows):
        lines += ["", "*: SIMULATED, says nothing about real models"]
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    cost = dollars(row.usd) if row.usd else f"{amount(row.calls)} calls"
    best = _told(row.best)
    if row.best and row.best.candidate:
        best += f" ({row.best.candidate})"
    age = duration(max(0.0, time.time() - row.recorded))
    done = f"{row.decided}/{row.wanted}"
    return done, _told(row.baseline), best, cost, age, row.policy


def _told(rate: Rate | None) -> str:
    return "" if rate is None or rate.rate is None else f"{rate.rate:.1%}"


def _more(row: Row) -> str:
    return f"broken: {row.why}" if row.state == "broken" else row.why


def to_json(rows: Sequence[Row]) -> str:
    """The rows as JSON; rates are fractions, times are seconds since the epoch."""
    return json.dumps([asdict(row) for row in rows], indent=1)
