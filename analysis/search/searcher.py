"""Search over everything that a run tells: its own record, diffs, and its trajectories.

The record and the diffs are small and are put into an index in memory on the spot; trajectories
are looked up in the index on disk (``index``), which a process of its own makes and keeps up
to date.  What it hasn't got yet isn't found, and the answer says so.  Every hit is read anew from
where it stands and matched once more, so nothing is shown that isn't there.
"""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from analysis.search import index
from analysis.search.answer import Answer, Group
from analysis.search.index import (
    Home,
    Progress,
)  # fmt: skip
from analysis.search.lookup import Lookup
from analysis.search.own import (
    MOST_OF_FILE,
    Changed,
    Said,
    changed_lines,
    edits,
    own_words,
    recorded,
    stops,
)
from analysis.search.query import Query, parse
from analysis.search.texts import KINDS, RECORDED
from inner_agent.errors import UserError
from metaopt.record import RunRecord
from metaopt.text import several

ON_PAGE = 5  # hits of one kind, where all kinds are shown
MOST_HITS = 50  # of one kind
AT_ONCE = 4  # commits whose whole diffs are in memory
AGAIN_S = 3.0  # between two looks for new trajectories


@dataclass(slots=True)
class Searcher:
    """Searches one run; may be called from any thread, close it at the end."""

    run: Path
    home: Home
    first: str = ""  # what the run began with
    _writer: subprocess.Popen[bytes] | None = None
    _looked: float = -AGAIN_S
    _said: list[Said] = field(default_factory=list)
    _events: int = -1
    _changed: dict[str, list[Changed]] = field(default_factory=dict)  # by commit
    _note: str = ""  # on the diffs
    _trouble: str = ""  # on the index
    _held: ExitStack = field(default_factory=ExitStack)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def search(self, record: RunRecord, typed: str, limit: int = ON_PAGE) -> Answer:
        """The best ``limit`` hits of each kind; sees to it that the index is brought up to date."""
        started, query = time.monotonic(), parse(typed)
        with self._guard:
            self._keep_up()
            self._learn(record)
            said = [*self._said, *stops(record.folder)]
        groups, progress, trouble = self._trajectories(query, limit)
        own = recorded(said, query, limit) if query.asks else []
        found = sorted((g for g in (*own, *groups) if g.count), key=lambda g: _ORDER[g.kind])
        faults = (self.home.note, self._note, self._trouble, trouble)
        notes = [*query.wrong, *dict.fromkeys(filter(None, faults))]
        return Answer(query, found, progress, notes, time.monotonic() - started)

    def index_now(self, going_on: Callable[[int, int], bool]) -> None:
        """Bring the index up to date in this process, at its priority."""
        self._trouble = index.write(self.run, self.home, going_on)
        self._looked = time.monotonic()

    def close(self) -> None:
        """Stop the writer; what it has committed stays."""
        with self._guard:
            if self._writer is not None:
                self._writer.terminate()
                self._writer.communicate()
                self._writer = None
            self._held.close()
            if self.home.note:
                self.home.remove()

    @property
    def indexing(self) -> bool:
        """Is the writer this one started at work?"""
        return self._writer is not None and self._writer.poll() is None

    def _keep_up(self) -> None:
        """Have a process look for new trajectories, unless that was done just now."""
        if self.indexing:
            return
        if self._writer is not None:
            said, status = self._writer.communicate()[0], self._writer.returncode
            self._trouble = said.decode(errors="replace") or "it broke off" * bool(status)
            self._writer = None
        if time.monotonic() - self._looked < AGAIN_S:
            return
        self._looked = time.monotonic()
        arguments = [str(self.run.absolute()), str(self.home.folder)]
        self._writer = subprocess.Popen(
            [sys.executable, "-m", index.__name__, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip

    def _learn(self, record: RunRecord) -> None:
        """Take in what the run has recorded since."""
        if len(record.events) == self._events:
            return
        commits = {i: made["commit"] for i, made in edits(record)}
        new = [c for c in dict.fromkeys(commits.values()) if c not in self._changed]
        try:
            with closing(record.repo()) as repo:
                for start in range(0, len(new), AT_ONCE):
                    for commit, diff in repo.patches(new[start : start + AT_ONCE]).items():
                        self._changed[commit] = list(changed_lines(diff))
            self._note = _cut_note(self._changed.values())
        except UserError as e:
            self._note = f"diffs aren't searched: {e}"
        diffs = (
            Said("diff", i, file.path, file.text)
            for i, commit in commits.items()
            for file in self._changed.get(commit, ())
        )
        self._said = [s for s in (*own_words(record), *diffs) if s.text.strip()]
        self._events = len(record.events)

    def _trajectories(self, query: Query, limit: int) -> tuple[list[Group], Progress, str]:
        """What the index has, how far it is, and what is wrong with it."""
        path, progress = self.home.database(), Progress()
        if path is None:
            return [], progress, ""
        try:
            with closing(index.open_to_read(path)) as db:
                progress = index.read_progress(db)
                groups = Lookup(db, self.run, query, limit).groups() if query.asks else []
                return groups, progress, ""
        except sqlite3.OperationalError as e:  # busy for long, or replaced just now
            return [], progress, f"the index can't be read now ({e}); search again"
        except sqlite3.DatabaseError as e:
            self.home.mark_damaged()
            self._looked = -AGAIN_S
            return [], progress, f"the index is damaged ({e}) and is made anew; search again"


def _cut_note(changed: Iterable[Iterable[Changed]]) -> str:
    cut = sum(file.cut for files in changed for file in files)
    if not cut:
        return ""
    return (
        f"diffs: of {several(cut, 'file')} only the first {MOST_OF_FILE:,} characters are searched"
    )


_ORDER = {kind: n for n, kind in enumerate((*RECORDED, *KINDS))}


def open_searcher(record: RunRecord) -> Searcher:
    """Ready to search a run; the index is made when it is first asked."""
    home = index.home_of(record.folder, _first(record))
    searcher = Searcher(record.folder, home, _first(record))
    with suppress(OSError):
        searcher._held.enter_context(index.in_use(home))
        if not home.note:
            index.tidy(home.folder.parent, home.folder)
    return searcher


def _first(record: RunRecord) -> str:
    return f"{record.times[0]} {record.events[0].data}"


@dataclass(slots=True)
class Searchers:
    """One for each run, opened when it is first wanted; for any thread."""

    _open: dict[Path, Searcher] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def of(self, record: RunRecord) -> Searcher:
        """The run's searcher; a new one where another run has taken its folder."""
        with self._guard:
            searcher = self._open.get(record.folder)
            if searcher is None or searcher.first != _first(record):
                if searcher is not None:
                    searcher.close()
                searcher = self._open[record.folder] = open_searcher(record)
            return searcher

    def close(self) -> None:
        """Stop what they do."""
        with self._guard:
            for searcher in self._open.values():
                searcher.close()
            self._open.clear()
