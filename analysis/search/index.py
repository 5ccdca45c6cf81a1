"""The words of a run's trajectories, in a SQLite file in the user's cache folder.

A run's folder is never written to, so its index lies elsewhere: in a folder of its own below
``$XDG_CACHE_HOME/metaopt/search``, named by machine, path and first event.  It holds no text, only
which words stand where (FTS5, contentless), so it is a tenth of what it speaks of; whoever shows a
hit reads it anew from the trajectory.

One process writes (``python -m analysis.search.index``, held by a lock, at idle priority, the
newest iterations first), any number read.  It commits every few dozen files and can be killed at
any time.  A trajectory is never rewritten; one that is gone, or there anew, is struck off.  A file
that turns out damaged is marked by whoever notices, and the next writer makes a new one beside it.

Words are Unicode letters and digits without case or accents.  Trigrams, which would find any
substring, were measured at 6 times the size and 10 times the time, and a phrase in quotes finds
``def build_rubric`` as it is.
"""

import errno
import fcntl
import json
import os
import re
import shutil
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path

from analysis.cache import cache_home
from analysis.inside import read_inside
from analysis.search.texts import KINDS, MOST, Told, told
from inner_agent.papers import file_name

FORMAT = 1  # of the file; another one is made anew
TOKENIZER = "unicode61 remove_diacritics 2"
SCHEMA = f"""
CREATE VIRTUAL TABLE words USING fts5(text, content='', tokenize='{TOKENIZER}');
CREATE TABLE documents (
  id INTEGER PRIMARY KEY,      -- iteration and a number within it, as Place has them
  candidate INTEGER NOT NULL,
  part TEXT NOT NULL,
  iteration INTEGER NOT NULL,
  file TEXT NOT NULL,          -- in trajectories/<candidate>/<part>/
  size INTEGER NOT NULL,
  changed INTEGER NOT NULL,    -- ns since the epoch
  paper TEXT NOT NULL,
  title TEXT NOT NULL,
  reason TEXT NOT NULL,        -- how the paper ended; empty where it can't be read
  problem TEXT NOT NULL        -- why it can't be read
);
CREATE TABLE rounds (          -- those of a document, by outcome
  outcome TEXT NOT NULL, document INTEGER NOT NULL, round INTEGER NOT NULL,
  PRIMARY KEY (outcome, document, round)
) WITHOUT ROWID;
CREATE TABLE gone (id INTEGER PRIMARY KEY);  -- documents whose words are still in the index
CREATE TABLE progress (total INTEGER NOT NULL);  -- one row
INSERT INTO progress VALUES (-1);
PRAGMA user_version = {FORMAT};
"""
MOST_BYTES = 2 << 30  # of one index
MOST_CACHED = 4 << 30  # bytes of all indices together
UNUSED_S = 60 * 86_400  # after which an index is removed
LARGEST_FILE = 16 << 20  # bytes of a trajectory; reading takes some ten times its size of memory
BATCH = 64  # files between two commits
NUMBERS = tuple(KINDS)

# A place is one number, the rowid of its words, so that kinds and documents are ranges of it:
# 5 bits of kind, 38 of document (22 of iteration, 16 of number), 10 of round, 10 of order.
ORDER_BITS, ROUND_BITS, NUMBER_BITS, ITERATION_BITS = 10, 10, 16, 22
DOCUMENT_BITS = NUMBER_BITS + ITERATION_BITS


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text stands; ``order`` counts those of its kind in its round, from 0."""

    kind: str
    document: int
    round: int
    order: int

    def number(self) -> int:
        """As the index keeps it."""
        place = NUMBERS.index(self.kind) << DOCUMENT_BITS | self.document
        return (place << ROUND_BITS | self.round) << ORDER_BITS | self.order


def place_of(number: int) -> Place:
    """The place that a number in the index means."""
    order, number = number & ((1 << ORDER_BITS) - 1), number >> ORDER_BITS
    round_, number = number & ((1 << ROUND_BITS) - 1), number >> ROUND_BITS
    kind, document = number >> DOCUMENT_BITS, number & ((1 << DOCUMENT_BITS) - 1)
    return Place(NUMBERS[kind], document, round_, order)


def numbers_of(kind: str) -> tuple[int, int]:
    """The first and the last place of a kind."""
    first = Place(kind, 0, 0, 0).number()
    return first, first + (1 << DOCUMENT_BITS + ROUND_BITS + ORDER_BITS) - 1


def placed(document: int, of: Told) -> dict[int, list[int]]:
    """Every place in a document with the texts that stand there, by their index in ``of.texts``.

    More than there are places share the last one.
    """
    found: dict[int, list[int]] = {}
    counts: dict[tuple[str, int], int] = {}
    for k, text in enumerate(of.texts):
        order = counts.get((text.kind, text.round), 0)
        counts[text.kind, text.round] = order + 1
        place = Place(text.kind, document, text.round, min(order, MOST))
        found.setdefault(place.number(), []).append(k)
    return found


@dataclass(frozen=True, slots=True)
class File:
    """A trajectory as the folder lists it; sizes in bytes, ``changed`` in ns since the epoch."""

    candidate: int
    part: str
    iteration: int
    file: str
    size: int
    changed: int

    def path(self) -> Path:
        """Where it lies, below the run's folder."""
        return Path("trajectories", str(self.candidate), self.part, self.file)


def files_of(run: Path) -> Iterator[File]:
    """The trajectories of a run.  Links aren't followed: they may lead anywhere."""
    top = run / "trajectories"
    for candidate in _folders(top) if not top.is_symlink() else ():
        if not re.fullmatch("[0-9]{1,9}", candidate.name):
            continue
        for part in _folders(candidate.path):
            with os.scandir(part.path) as entries:
                for entry in entries:
                    name = _NAME.fullmatch(entry.name)
                    if name is None or int(name[1]) >> ITERATION_BITS:
                        continue
                    if entry.is_file(follow_symlinks=False):
                        found = entry.stat(follow_symlinks=False)
                        yield File(
                            int(candidate.name), part.name, int(name[1]), entry.name,
                            found.st_size, found.st_mtime_ns,
                        )  # fmt: skip


_NAME = re.compile(r"[^\udc80-\udcff]*\.([0-9]{1,9})\.json")  # in UTF-8, as all that metaopt writes


def _folders(place: Path | str) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(place) as entries:
            found = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    return [entry for entry in found if entry.name.isprintable()]


def read_told(run: Path, file: File) -> Told:
    """A trajectory's texts.  Raises ``ValueError`` for what can't be read, and ``OSError``.

    Where it names another paper than its file does, the file is right: others find it by that.
    """
    found = told(json.loads(read_inside(run, file.path(), LARGEST_FILE)))
    named = file.file.removesuffix(f".{file.iteration}.json")
    return found if file_name(found.paper) == named else replace(found, paper=named)


# Where indices lie


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one run's index; ``note`` is what people should know of it."""

    folder: Path
    note: str = ""

    def database(self) -> Path | None:
        """The file to read from, or ``None`` where there is none yet."""
        numbers = sorted(int(p.stem) for p in self.folder.glob("*.db") if p.stem.isdecimal())
        return self.folder / f"{numbers[-1]}.db" if numbers else None

    def mark_damaged(self) -> None:
        """Have the next writer make a new file."""
        with suppress(OSError):
            (self.folder / "damaged").touch()

    def remove(self) -> None:
        """Take the whole index away."""
        shutil.rmtree(self.folder, ignore_errors=True)


def home_of(run: Path, first: str) -> Home:
    """The index's folder of a run whose first event is ``first``, made and marked as in use.

    Where the cache can't be written to, a temporary one, which is the caller's to remove.
    """
    name = f"{socket.gethostname()}\0{run.resolve()}\0{first}"
    cache = cache_home() / "metaopt" / "search"
    folder = cache / sha256(os.fsencode(name)).hexdigest()[:24]
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "used").write_text(f"{run.resolve()}\n", encoding="utf-8", errors="replace")
    except OSError as e:
        note = f"{cache} can't be written to ({e.strerror}), so the index is made anew each time"
        return Home(Path(tempfile.mkdtemp(prefix="metaopt-search-")), note)
    return Home(folder)


@contextmanager
def in_use(home: Home) -> Iterator[None]:
    """Nobody removes the index within."""
    with _locked(home.folder / "used", fcntl.LOCK_SH):
        yield


def tidy(cache: Path, keep: Path) -> None:
    """Remove indices that nobody used for long, then the oldest, until the rest is small enough."""
    sizes: list[tuple[float, int, Path]] = []
    for folder in cache.iterdir():
        with suppress(OSError):
            used = (folder / "used").stat().st_mtime
            sizes.append((used, sum(p.stat().st_size for p in folder.iterdir()), folder))
    total = sum(size for _, size, _ in sizes)
    for used, size, folder in sorted(sizes):
        if folder != keep and (total > MOST_CACHED or time.time() - used > UNUSED_S):
            with suppress(OSError), _locked(folder / "used", fcntl.LOCK_EX):
                shutil.rmtree(folder, ignore_errors=True)
                total -= size


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    """Hold a file's lock.  Raises ``BlockingIOError`` where somebody else does."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


# Writing


def write(run: Path, home: Home, going_on: Callable[[int, int], bool]) -> str:
    """Bring the index up to date, unless another process is at it.

    ``going_on(done, total)`` is asked before each batch and told at the end; ``False`` ends it
    there.  Returns why it had to end early, if so; what was committed stays.
    """
    try:
        home.folder.mkdir(parents=True, exist_ok=True)  # somebody may have emptied the cache
        with _locked(home.folder / "writing", fcntl.LOCK_EX), closing(_open_to_write(home)) as db:
            return _write(db, run, going_on)
    except BlockingIOError:
        return ""
    except OSError as e:
        return f"{home.folder}: {e.strerror}"
    except sqlite3.DatabaseError as e:
        if e.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            home.mark_damaged()
        return f"{home.folder}: {e}"


def _open_to_write(home: Home) -> sqlite3.Connection:
    """The index's file, or a new one where there is none that can be gone on with."""
    damaged, old = home.folder / "damaged", home.database()
    if old is not None and not damaged.exists():
        db = sqlite3.connect(old, isolation_level=None)
        with suppress(sqlite3.DatabaseError):
            if db.execute("PRAGMA user_version").fetchone() == (FORMAT,):
                return db
        db.close()
    path = home.folder / f"{int(old.stem) + 1 if old else 1}.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
    for other in home.folder.glob("*.db*"):  # who reads one keeps it until its next search
        if not other.name.startswith(path.name):
            other.unlink(missing_ok=True)
    damaged.unlink(missing_ok=True)
    return db


def _write(db: sqlite3.Connection, run: Path, going_on: Callable[[int, int], bool]) -> str:
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA cache_size = -8000")
    there = {(f.candidate, f.part, f.file): f for f in files_of(run)}
    rows = db.execute("SELECT id, candidate, part, file, size, changed FROM documents").fetchall()
    kept, struck = set(), []
    for document, *key, size, changed in rows:
        file = there.get(tuple(key))
        if file and (file.size, file.changed) == (size, changed):
            kept.add(tuple(key))
        else:
            struck.append((document,))
    with _commit(db):
        db.executemany("INSERT INTO gone VALUES (?)", struck)
        db.executemany("DELETE FROM documents WHERE id = ?", struck)
        db.executemany("DELETE FROM rounds WHERE document = ?", struck)
        db.execute("UPDATE progress SET total = ?", (len(there),))
    owed = sorted((f for key, f in there.items() if key not in kept), key=_newest_first)
    done, numbers = len(kept), _Numbers(db)
    while going_on(done, len(there)) and owed:
        if _size(db) > MOST_BYTES:
            return f"the index has reached its limit of {MOST_BYTES >> 20} MiB"
        batch, owed = owed[:BATCH], owed[BATCH:]
        with _commit(db):
            for file in batch:
                with suppress(FileNotFoundError):  # removed meanwhile; the next pass sees that
                    _add(db, run, file, numbers.take(file.iteration))
        done += len(batch)
    return ""


@contextmanager
def _commit(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _size(db: sqlite3.Connection) -> int:
    [pages] = db.execute("PRAGMA page_count").fetchone()
    [bytes_each] = db.execute("PRAGMA page_size").fetchone()
    return int(pages * bytes_each)


def _newest_first(file: File) -> tuple[int, int, str, str]:
    return -file.iteration, -file.candidate, file.part, file.file


class _Numbers:
    """Gives documents their numbers: the iteration's, with the next one within it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._next: dict[int, int] = {}
        for table in ("documents", "gone"):
            for (taken,) in db.execute(f"SELECT id FROM {table}"):
                i, n = taken >> NUMBER_BITS, taken & ((1 << NUMBER_BITS) - 1)
                self._next[i] = max(self._next.get(i, 0), n + 1)

    def take(self, i: int) -> int:
        """Raises ``OSError`` where there are no more."""
        n = self._next.get(i, 0)
        if n >> NUMBER_BITS or i >> ITERATION_BITS:
            raise OSError(errno.EOVERFLOW, f"more than {1 << NUMBER_BITS} papers in iteration {i}")
        self._next[i] = n + 1
        return i << NUMBER_BITS | n


def _add(db: sqlite3.Connection, run: Path, file: File, document: int) -> None:
    try:
        found, problem = read_told(run, file), ""
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError, MemoryError) as e:
        found, problem = Told(file.file, "", "", (), ()), str(e)[:300] or type(e).__name__
    db.execute(
        "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (document, file.candidate, file.part, file.iteration, file.file, file.size, file.changed,
         found.paper, found.title, found.reason, problem),
    )  # fmt: skip
    outcomes = {(o, document, n) for n, o in enumerate(found.outcomes[:MOST], start=1)}
    db.executemany("INSERT INTO rounds VALUES (?, ?, ?)", outcomes)
    rows = (
        (place, "\n".join(found.texts[k].text for k in texts))
        for place, texts in placed(document, found).items()
    )
    db.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", rows)


# Reading


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an index is.  ``total`` is -1 before the trajectories have been counted;
    ``unreadable`` of those done can't be read."""

    done: int = 0
    total: int = -1
    unreadable: int = 0

    @property
    def complete(self) -> bool:
        """Is everything in it that was there when the writer last looked?"""
        return self.done >= self.total >= 0


def read_progress(db: sqlite3.Connection) -> Progress:
    """What the writer last committed."""
    [total] = db.execute("SELECT total FROM progress").fetchone()
    done, bad = db.execute("SELECT COUNT(*), TOTAL(problem != '') FROM documents").fetchone()
    return Progress(done, total, int(bad))


def open_to_read(path: Path) -> sqlite3.Connection:
    """Raises ``sqlite3.Error`` where it can't be opened."""
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    db.execute("PRAGMA cache_size = -8000")
    return db


def main(run: str, folder: str) -> None:
    """The writing process: at idle priority, until it is done or nobody waits for it any more."""
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.nice(19)
    parent = os.getppid()
    print(write(Path(run), Home(Path(folder)), lambda done, total: os.getppid() == parent), end="")


if __name__ == "__main__":
    main(*islice(sys.argv, 1, 3))
