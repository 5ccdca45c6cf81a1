"""calls.db: every reply that was paid for, by content key and sample.

Asking again with the same content and sample gives the recorded reply, so a crash repeats
nothing that was paid for, and a finished run replays at no cost.  A reply is on disk, synced,
before anybody uses it.  Syncing takes milliseconds, so a thread does it: while it waits for the
disk, the replies that come in gather and go with the next commit, all of them at the price of one.
"""

import json
import sqlite3
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from inner_agent.durable import open_database, read_database
from inner_agent.llm import Reply, ToolCall

FORMAT = 2  # of the file; 1 had no seconds
SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
  key BLOB NOT NULL,          -- sha256 of model, sampling settings and messages
  sample TEXT NOT NULL,       -- which of several draws of the same content
  role TEXT NOT NULL,
  model TEXT NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  usd REAL NOT NULL,
  seconds REAL NOT NULL,      -- from sending the request that was answered to having its reply
  at REAL NOT NULL,           -- seconds since the epoch
  reply TEXT NOT NULL,        -- JSON
  PRIMARY KEY (key, sample)   -- beside a rowid: random keys must not scatter replies of 1 kB
);
-- What was used is summed from this alone: it is a fiftieth of the table with its replies.
CREATE INDEX IF NOT EXISTS calls_usage
  ON calls (role, at, prompt_tokens, completion_tokens, cached_tokens, usd, seconds)
"""


@dataclass(slots=True)
class Usage:
    """What was used: calls, tokens, USD, seconds of waiting for replies.  Adds up."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    usd: float = 0.0
    seconds: float = 0.0

    def add(self, reply: Reply, usd: float, seconds: float = 0.0) -> None:
        """Count one reply."""
        self.calls += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.cached_tokens += reply.cached_tokens
        self.usd += usd
        self.seconds += seconds

    def __add__(self, other: "Usage") -> "Usage":
        """What both used."""
        return Usage(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


class CallStore:
    """Recorded replies in one SQLite file (WAL).  ``put`` may be called from one thread only."""

    def __init__(self, path: Path | str, *, readonly: bool = False) -> None:
        """Open or make the file; ``":memory:"`` keeps nothing.

        Raises ``UserError`` for a file that another version of metaopt wrote.
        """
        self._gathered: list[tuple[tuple[Any, ...], Future[None]]] = []
        self._guard = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "calls.db")
        if readonly:
            self._db = self._writing = read_database(path, FORMAT)
            return
        self._writing = open_database(path, SCHEMA, FORMAT, synchronous="FULL", any_thread=True)
        # A connection of its own to read with: it never waits for a sync.
        self._db = self._writing if path == ":memory:" else sqlite3.connect(path)

    def get(self, key: bytes, sample: str) -> tuple[Reply, float] | None:
        """The recorded reply and its USD, or ``None``."""
        row = self._db.execute(
            "SELECT reply, usd FROM calls WHERE key = ? AND sample = ?", (key, sample)
        ).fetchone()
        return (_decode(row[0]), row[1]) if row else None

    def put(
        self, key: bytes, sample: str, role: str, reply: Reply, usd: float, at: float,
        seconds: float = 0.0,
    ) -> Future[None]:  # fmt: skip
        """Record a reply; it is on disk when the future is done (or has failed with the disk)."""
        row = (
            key, sample, role, reply.model, reply.prompt_tokens, reply.completion_tokens,
            reply.cached_tokens, usd, seconds, at, _encode(reply),
        )  # fmt: skip
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # nobody's cancelling takes back what was paid for
        with self._guard:
            self._gathered.append((row, done))
            first = len(self._gathered) == 1
        if self._writing is self._db:  # in memory there is no disk to wait for
            self._commit()
        elif first:  # otherwise a commit is due that takes this one along
            self._thread.submit(self._commit)
        return done

    def _commit(self) -> None:
        """Write what has gathered, in one transaction (in the thread)."""
        with self._guard:
            batch, self._gathered = self._gathered, []
        marks = ", ".join("?" * 11)
        try:
            self._writing.execute("BEGIN IMMEDIATE")
            self._writing.executemany(
                f"INSERT INTO calls VALUES ({marks})", [row for row, _ in batch]
            )
            self._writing.execute("COMMIT")
        except Exception as e:  # whatever it is, somebody waits for each of them
            if self._writing.in_transaction:
                self._writing.execute("ROLLBACK")
            for _, done in batch:
                done.set_exception(e)
        else:
            for _, done in batch:
                done.set_result(None)

    def usage_by_role(self) -> dict[str, Usage]:
        """Everything recorded so far, summed by role."""
        rows = self._db.execute(
            "SELECT role, COUNT(*), SUM(prompt_tokens), SUM(completion_tokens),"
            " SUM(cached_tokens), SUM(usd), SUM(seconds) FROM calls GROUP BY role"
        )
        return {row[0]: Usage(*row[1:]) for row in rows}

    def close(self) -> None:
        """Close the file, when what was put is on disk."""
        self._thread.shutdown()
        self._db.close()
        self._writing.close()


def _encode(reply: Reply) -> str:
    return json.dumps(
        {
            "content": reply.content,
            "tool_calls": [[t.id, t.name, t.arguments] for t in reply.tool_calls],
            "finish_reason": reply.finish_reason,
            "tokens": [reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens],
            "model": reply.model,
            "first_logprobs": reply.first_logprobs,
        }
    )


def _decode(text: str) -> Reply:
    d = json.loads(text)
    prompt, completion, cached = d["tokens"]
    calls = tuple(ToolCall(*t) for t in d["tool_calls"])
    return Reply(
        d["content"], calls, d["finish_reason"], prompt, completion, cached,
        d["model"], d["first_logprobs"],
    )  # fmt: skip
