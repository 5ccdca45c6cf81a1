"""The runs that pages are made of, each read again only when something was recorded."""

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from analysis.course import Point, course
from analysis.spending import Ledger, Spent, spending
from inner_agent.calls import Usage
from inner_agent.errors import UserError
from metaopt.record import RunRecord, database_of, open_record, running_process
from metaopt.store import Store


@dataclass(slots=True)
class Shelf:
    """One run under a name.  ``record`` may be called from any thread."""

    name: str
    folder: Path
    ledger: Ledger = field(default_factory=Ledger)
    _newest: tuple[float, int] = (0.0, -1)
    _record: RunRecord | None = None
    _points: tuple[RunRecord | None, list[Point]] = (None, [])
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def version(self) -> str:
        """Another one whenever an event is recorded, or another run has taken the folder; cheap.

        Raises ``UserError``.
        """
        first, last = self._look()
        return f"{first}-{last}"

    def _look(self) -> tuple[float, int]:
        path = database_of(self.folder)
        try:
            with closing(Store(path, readonly=True)) as store:
                return store.newest()
        except sqlite3.Error as e:
            raise UserError(f"{path}: can't be read ({e})") from None

    def record(self) -> RunRecord:
        """The run as it is now.  Raises ``UserError`` when it can't be read."""
        with self._guard:
            newest = self._look()
            if self._record is None or newest != self._newest:
                if newest[0] != self._newest[0]:  # another run
                    self.ledger = Ledger()
                self._record, self._newest = open_record(self.folder), newest
            return self._record

    def points(self) -> list[Point]:
        """The run's course."""
        record = self.record()
        with self._guard:
            if self._points[0] is not record:
                self._points = (record, course(record))
            return self._points[1]

    def used(self) -> dict[str, Usage]:
        """What each role used so far.  Raises ``UserError``."""
        self.record()  # another run may have taken the folder
        with self._guard:
            self.ledger.update(self.folder)
            return self.ledger.by_role()

    def spent(self) -> list[Spent]:
        """What was spent by each decision.  Raises ``UserError``."""
        record = self.record()
        with self._guard:
            return spending(record, self.ledger)

    @property
    def running(self) -> bool:
        """Is a process on the run?"""
        return running_process(self.folder) is not None


def shelves(folders: Sequence[Path]) -> dict[str, Shelf]:
    """The runs by name: their folders' names, numbered where two are alike.

    Raises ``UserError`` for a folder that isn't a run's.
    """
    found: dict[str, Shelf] = {}
    for folder in folders:
        word = folder.resolve().name.encode(errors="replace").decode() or "run"  # maybe no UTF-8
        if word in ("static", ".", ".."):
            word = f"run-{word}"
        name, n = word, 1
        while name in found:
            n += 1
            name = f"{word}-{n}"
        shelf = Shelf(name, folder)
        shelf.record()
        found[name] = shelf
    return found
