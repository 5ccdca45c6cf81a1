"""calls.db: every reply that was paid for, by content key and sample.

Asking again with the same content and sample gives the recorded reply, so a crash repeats
nothing that was paid for, and a finished run replays at no cost.  A reply is committed before
anybody uses it.
"""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from inner_agent.llm import Reply, ToolCall

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
  at REAL NOT NULL,           -- seconds since the epoch
  reply TEXT NOT NULL,        -- JSON; last, so that sums over the others needn't read it
  PRIMARY KEY (key, sample)   -- beside a rowid: random keys must not scatter replies of 1 kB
)
"""


@dataclass(slots=True)
class Usage:
    """What was used: calls, tokens, USD.  Adds up."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    usd: float = 0.0

    def add(self, reply: Reply, usd: float) -> None:
        """Count one reply."""
        self.calls += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.cached_tokens += reply.cached_tokens
        self.usd += usd

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


class CallStore:
    """Recorded replies in one SQLite file (WAL)."""

    def __init__(self, path: Path | str, *, readonly: bool = False) -> None:
        """Open or make the file; ``":memory:"`` keeps nothing."""
        if readonly:
            self._db = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
            return
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(SCHEMA)

    def get(self, key: bytes, sample: str) -> tuple[Reply, float] | None:
        """The recorded reply and its USD, or ``None``."""
        row = self._db.execute(
            "SELECT reply, usd FROM calls WHERE key = ? AND sample = ?", (key, sample)
        ).fetchone()
        return (_decode(row[0]), row[1]) if row else None

    def put(self, key: bytes, sample: str, role: str, reply: Reply, usd: float, at: float) -> None:
        """Record a reply; committed when this returns."""
        self._db.execute(
            "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, sample, role, reply.model, reply.prompt_tokens, reply.completion_tokens,
             reply.cached_tokens, usd, at, _encode(reply)),
        )  # fmt: skip

    def usage_by_role(self) -> dict[str, Usage]:
        """Everything recorded so far, summed by role."""
        rows = self._db.execute(
            "SELECT role, COUNT(*), SUM(prompt_tokens), SUM(completion_tokens),"
            " SUM(cached_tokens), SUM(usd) FROM calls GROUP BY role"
        )
        return {row[0]: Usage(*row[1:]) for row in rows}

    def close(self) -> None:
        """Close the file."""
        self._db.close()


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
