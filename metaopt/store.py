"""run.db: an append-only log of events, and the paper results they were made from.

SQLite in WAL mode; an append is committed when it returns.  Cost per event is constant: nothing
is ever rewritten.  Usage isn't kept twice: calls.db has it, call by call.
"""

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from inner_agent.errors import UserError
from inner_agent.run_paper import PaperResult

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY,
  iteration INTEGER NOT NULL,
  kind TEXT NOT NULL,
  data TEXT NOT NULL,          -- JSON
  at REAL NOT NULL,            -- seconds since the epoch
  UNIQUE (iteration, kind)
);
CREATE TABLE IF NOT EXISTS results (
  candidate INTEGER NOT NULL,
  part TEXT NOT NULL,          -- train, val
  paper TEXT NOT NULL,
  iteration INTEGER NOT NULL,  -- the iteration that asked for this rollout
  data TEXT NOT NULL,          -- PaperResult as JSON
  timing TEXT NOT NULL,        -- JSON: wall_s, in_flight
  at REAL NOT NULL,
  PRIMARY KEY (candidate, part, iteration, paper)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in an iteration; ``data`` is plain JSON."""

    iteration: int
    kind: str
    data: dict[str, Any]


class Store:
    """The events and results of one run."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        """Open (or make) ``run.db``; readers take no locks and never write."""
        uri = f"file:{path}?mode=ro" if readonly else f"file:{path}"
        self._db = sqlite3.connect(uri, uri=True, isolation_level=None)
        if not readonly:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(SCHEMA)

    def append(self, event: Event) -> None:
        """Record an event; committed when this returns."""
        self._db.execute(
            "INSERT INTO events (iteration, kind, data, at) VALUES (?, ?, ?, ?)",
            (event.iteration, event.kind, json.dumps(event.data, sort_keys=True), time.time()),
        )

    def events(self) -> Iterator[Event]:
        """All events, in the order in which they were recorded."""
        for row in self._db.execute("SELECT iteration, kind, data FROM events ORDER BY seq"):
            yield Event(row[0], row[1], json.loads(row[2]))

    def times(self) -> tuple[float, float] | None:
        """When the first and the last event were recorded (seconds since the epoch)."""
        first, last = self._db.execute("SELECT MIN(at), MAX(at) FROM events").fetchone()
        return None if first is None else (first, last)

    def put_result(
        self,
        candidate: int,
        part: str,
        iteration: int,
        result: PaperResult,
        timing: dict[str, float],
    ) -> None:
        """Record one rollout's result."""
        self._db.execute(
            "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?)",
            (candidate, part, result.paper, iteration, result.model_dump_json(),
             json.dumps(timing), time.time()),
        )  # fmt: skip

    def results(self, candidate: int, part: str, iteration: int) -> dict[str, PaperResult]:
        """The results of one evaluation, by paper id."""
        rows = self._db.execute(
            "SELECT data FROM results WHERE candidate = ? AND part = ? AND iteration = ?",
            (candidate, part, iteration),
        )
        found = (PaperResult.model_validate_json(r[0]) for r in rows)
        return {r.paper: r for r in found}

    def results_of(self, candidate: int) -> list[tuple[str, int, PaperResult]]:
        """Every result of a candidate as (part, iteration, result), in a fixed order."""
        rows = self._db.execute(
            "SELECT part, iteration, data FROM results WHERE candidate = ?"
            " ORDER BY part, iteration, paper",
            (candidate,),
        )
        return [(r[0], r[1], PaperResult.model_validate_json(r[2])) for r in rows]

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def lock(folder: Path) -> IO[str]:
    """Hold a run for this process.  Raises ``UserError`` naming the process that has it."""
    try:
        file = open(folder / "lock", "a+", encoding="utf-8")  # noqa: SIM115  (held while we run)
    except OSError as e:
        raise UserError(f"{folder}: can't be written to ({e.strerror})") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise UserError(f"{folder}: process {owner} is on this run; stop it first") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
