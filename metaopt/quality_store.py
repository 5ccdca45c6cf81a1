"""quality.db: what came of each item that was tried and of each pair that was compared.

One row each, committed when ``put`` returns.  As a run's results (``metaopt.store``) it may be
behind ``calls.db`` after a power cut, never ahead: what is missing is replayed at no cost.
"""

import json
import time
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from inner_agent.durable import as_written, open_database, read_database
from inner_agent.evaluation import Phase
from metaopt.comparer import Said

FORMAT = 1
Fraction = Annotated[float, Field(ge=0, le=1)]
SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
  key TEXT PRIMARY KEY,        -- of paper and item
  paper TEXT NOT NULL,         -- its id
  data TEXT NOT NULL,          -- Tried as JSON
  attempts TEXT NOT NULL,      -- JSON: every answer and what the judge said of it
  at REAL NOT NULL             -- seconds since the epoch
);
CREATE TABLE IF NOT EXISTS pairs (
  one TEXT NOT NULL,
  other TEXT NOT NULL,
  data TEXT NOT NULL,          -- Compared as JSON
  at REAL NOT NULL,
  PRIMARY KEY (one, other)
)
"""


class Tried(BaseModel):
    """An item's fresh attempts: their scores, whether it would be accepted for them, and what the
    audit found.  ``problem`` says why there are no scores."""

    model_config = ConfigDict(frozen=True)
    weak: tuple[Fraction, ...] = ()
    strong: tuple[Fraction, ...] = ()
    accepted: bool = False
    findings: tuple[str, ...] = ()
    problem: str = ""

    @model_validator(mode="after")
    def _scored_or_not(self) -> Self:
        if not (self.problem or (self.weak and self.strong)):
            raise ValueError("neither scores nor a problem")
        return self


class Compared(BaseModel):
    """What was said of a pair, with the first item shown first and with the second; ``None`` and
    a ``problem`` where that couldn't be read."""

    model_config = ConfigDict(frozen=True)
    said: tuple[Said, Said] | None = None
    problem: str = ""


class QualityStore:
    """The results of one measurement."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        """Open or make the file.  Raises ``UserError`` for another version's."""
        self._db = (
            read_database(path, FORMAT)
            if readonly
            else open_database(path, SCHEMA, FORMAT, synchronous="NORMAL")
        )
        self._path = path

    def put_tried(self, key: str, paper: str, found: Tried, phases: tuple[Phase, ...]) -> None:
        """Record an item; ``phases`` are what its scores come from."""
        attempts = json.dumps([phase.for_record() for phase in phases], ensure_ascii=False)
        self._put("items", key, paper, found.model_dump_json(), attempts, time.time())

    def put_compared(self, key: tuple[str, str], found: Compared) -> None:
        """Record a pair."""
        self._put("pairs", *key, found.model_dump_json(), time.time())

    def _put(self, table: str, *values: Any) -> None:
        marks = ", ".join("?" * len(values))
        self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", values)

    def keys(self) -> tuple[set[str], set[tuple[str, str]]]:
        """Items and pairs that are done."""
        items = {row[0] for row in self._db.execute("SELECT key FROM items")}
        return items, set(self._db.execute("SELECT one, other FROM pairs"))

    def tried(self) -> dict[str, Tried]:
        """All items that are done.  Raises ``UserError``, as below, for one that isn't what was
        written."""
        rows = self._db.execute("SELECT key, data FROM items")
        with as_written(self._path, "an item's result"):
            return {key: Tried.model_validate_json(data) for key, data in rows}

    def compared(self) -> dict[tuple[str, str], Compared]:
        """All pairs that are done."""
        rows = self._db.execute("SELECT one, other, data FROM pairs")
        with as_written(self._path, "a pair's result"):
            return {(one, other): Compared.model_validate_json(data) for one, other, data in rows}

    def close(self) -> None:
        """Close the file."""
        self._db.close()
