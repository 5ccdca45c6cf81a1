"""run.db: an append-only log of events, and the paper results they were made from.

SQLite in WAL mode; an append is committed when it returns.  Cost per event is constant: nothing
is ever rewritten.  Usage isn't kept twice: calls.db has it, call by call.

**What is on disk before what.**  A power cut may take back whatever wasn't synced.  run.db isn't
synced at each commit, so it may lose its last events and results, in order: they are made again
from what they were made from, which is synced first, always:

1. a reply is in calls.db, synced, before anybody uses it (``inner_agent/calls.py``);
2. a rollout's trajectory, or in a data set its files, before its result;
3. a candidate's git objects and its ref before the event that names them (``repo.keep``);
4. harness.git, the first event and calls.db before config.toml, which binds the run;
5. ``items.jsonl`` of a data set is written from results.db at each start and end.

So run.db may be behind, never ahead; and what it is behind, replaying makes up for at no cost.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from inner_agent.durable import make_folder, open_database, read_database
from inner_agent.errors import UserError
from inner_agent.run_paper import PaperResult
from metaopt.text import one_line

FORMAT = 1  # of the file
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
        """Open (or make) ``run.db``; readers take no locks and never write.

        Raises ``UserError`` for a file that another version of metaopt wrote.
        """
        self._path = path
        self._db = (
            read_database(path, FORMAT)
            if readonly
            else open_database(path, SCHEMA, FORMAT, synchronous="NORMAL")
        )

    def sync(self) -> None:
        """Put on disk what was appended so far."""
        self._db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()

    def append(self, event: Event) -> None:
        """Record an event; committed when this returns."""
        self._db.execute(
            "INSERT INTO events (iteration, kind, data, at) VALUES (?, ?, ?, ?)",
            (event.iteration, event.kind, json.dumps(event.data, sort_keys=True), time.time()),
        )

    def events(self) -> Iterator[Event]:
        """All events, in the order in which they were recorded.

        Raises ``UserError`` for one that isn't what was written.
        """
        for row in self._db.execute("SELECT iteration, kind, data FROM events ORDER BY seq"):
            yield Event(row[0], row[1], self._object(row[2], f"{row[1]!r} of iteration {row[0]}"))

    def _object(self, text: Any, what: str) -> dict[str, Any]:
        try:
            data = json.loads(text)
        except (ValueError, TypeError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise self._odd(what)
        return data

    def _result(self, text: Any) -> PaperResult:
        try:
            return PaperResult.model_validate_json(text)
        except ValidationError as e:
            where = ".".join(map(str, e.errors()[0]["loc"]))
            raise self._odd(f"a result ({where or e.errors()[0]['msg']})") from None

    def _odd(self, what: str) -> UserError:
        return UserError(
            f"{self._path}: {one_line(what)} isn't as metaopt wrote it; restore it from a copy"
        )

    def times(self) -> tuple[float, float] | None:
        """When the first event, and the last event or result, were recorded (seconds since the
        epoch)."""
        first, last = self._db.execute("SELECT MIN(at), MAX(at) FROM events").fetchone()
        if first is None:
            return None
        [result] = self._db.execute("SELECT MAX(at) FROM results").fetchone()
        return first, max(last, result or last)

    def decided_since(self, at: float) -> tuple[int, float]:
        """How many iterations were decided after that time, and when the last of them was."""
        sql = "SELECT COUNT(*), MAX(at) FROM events WHERE kind = 'decided' AND at > ?"
        count, last = self._db.execute(sql, (at,)).fetchone()
        return count, last or at

    def newest(self) -> tuple[float, int]:
        """When the first event was recorded (seconds since the epoch) and the number of the last
        one, 0 before any: they tell whether this is still the same run, and anything is new."""
        first = self._db.execute("SELECT at FROM events ORDER BY seq LIMIT 1").fetchone()
        (last,) = self._db.execute("SELECT MAX(seq) FROM events").fetchone()
        return (first[0], last) if first else (0.0, 0)

    def count(self, candidate: int, part: str, iteration: int) -> int:
        """How many results one evaluation has so far."""
        row = self._db.execute(
            "SELECT COUNT(*) FROM results WHERE candidate = ? AND part = ? AND iteration = ?",
            (candidate, part, iteration),
        ).fetchone()
        return int(row[0])

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
        found = (self._result(r[0]) for r in rows)
        return {r.paper: r for r in found}

    def results_of(self, candidate: int) -> list[tuple[str, int, PaperResult]]:
        """Every result of a candidate as (part, iteration, result), in a fixed order."""
        rows = self._db.execute(
            "SELECT part, iteration, data FROM results WHERE candidate = ?"
            " ORDER BY part, iteration, paper",
            (candidate,),
        )
        return [(r[0], r[1], self._result(r[2])) for r in rows]

    def iterations(self, candidate: int, part: str, paper: str) -> list[int]:
        """The iterations in which a candidate was run on a paper."""
        rows = self._db.execute(
            "SELECT iteration FROM results WHERE candidate = ? AND part = ? AND paper = ?",
            (candidate, part, paper),
        )
        return sorted(r[0] for r in rows)

    def finished(self) -> set[tuple[int, str, int, str]]:
        """(candidate, part, iteration, paper) of every result."""
        rows = self._db.execute("SELECT candidate, part, iteration, paper FROM results")
        return set(rows)

    def timed_results(self, part: str) -> Iterator[tuple[int, int, PaperResult, dict[str, float]]]:
        """Every result of a part, as (candidate, iteration, result, timing)."""
        rows = self._db.execute(
            "SELECT candidate, iteration, data, timing FROM results WHERE part = ?", (part,)
        )
        for candidate, iteration, data, timing in rows:
            yield candidate, iteration, self._result(data), self._object(timing, "a timing")

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class Lock:
    """A run's folder held for this process, until ``close`` or the process's end."""

    def __init__(self, *held: int) -> None:
        """``held``: locked file descriptors."""
        self._held = held

    def close(self) -> None:
        """Let go."""
        for fd in self._held:
            os.close(fd)
        self._held = ()

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def claim(folder: Path) -> Lock:
    """Make ``folder`` if need be and hold it.  Raises ``UserError`` where that can't be done."""
    try:
        make_folder(folder)
    except OSError as e:
        raise UserError(f"{folder}: can't be made ({e.strerror}); give another --out") from None
    return lock(folder)


def lock(folder: Path) -> Lock:
    """Hold a run for this process.  Raises ``UserError`` naming the process that has it.

    The folder itself is locked too, where its file system can do that: somebody may remove the
    file ``lock``.
    """
    try:
        file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as e:
        raise UserError(f"{folder}: can't be written to ({e.strerror})") from None
    place = os.open(folder, os.O_RDONLY)
    held = Lock(file, place)
    for fd in (file, place):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _holder(fd) or os.pread(file, 20, 0).decode().strip() or "unknown"
            held.close()
            raise UserError(f"{folder}: process {owner} is on this run; stop it first") from None
        except OSError:
            if fd == file:
                held.close()
                raise
    os.ftruncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)
    return held


def owner_of(path: Path) -> str | None:
    """The id of the process that has locked a file or folder, or ``None``."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go again on closing
    except BlockingIOError:
        said = "" if path.is_dir() else path.read_text(encoding="utf-8").strip()
        return _holder(fd) or said or "unknown"
    except OSError:
        return None  # a file system that can't lock folders
    finally:
        os.close(fd)
    return None


def _holder(fd: int) -> str | None:
    """Who has locked a file, as the kernel tells it: the file itself may not say so yet."""
    try:
        lines = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    inode = str(os.fstat(fd).st_ino)
    for fields in map(str.split, lines):  # 1: FLOCK ADVISORY WRITE 4711 fe:00:123456 0 EOF
        if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == inode and fields[4] != "0":
            return fields[4]
    return None
