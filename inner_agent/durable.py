"""Files that outlast a power cut: written aside, synced, renamed, and their folders synced.

A write without a sync may be lost, in part and in any order, until the kernel gets to it; so may
the name of a new file until its folder is synced.  What others build on goes through here.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from inner_agent import strict_json
from inner_agent.errors import UserError
from inner_agent.items import first_error

M = TypeVar("M", bound=BaseModel)


def write_files(texts: Mapping[Path, str]) -> None:
    """Write each text to its path; when this returns, all of them are on disk, whole.

    Folders are made as needed.  A crash on the way leaves each file as it was, or new.
    """
    for path, text in texts.items():
        make_folder(path.parent)
        part = path.with_name(f"{path.name}.part")
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    sync_folders({path.parent for path in texts})


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that their names are on disk too."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folders([folder.parent])


def sync_folders(folders: Iterable[Path]) -> None:
    """Put the names in these folders on disk."""
    for folder in folders:
        _sync(folder)


def sync_tree(folder: Path) -> None:
    """Put everything below ``folder`` on disk, its own name too."""
    for place, _, names in os.walk(folder):
        for name in names:
            _sync(Path(place, name))
        _sync(Path(place))
    _sync(folder.parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_database(
    path: Path | str, schema: str, version: int, *, synchronous: str, any_thread: bool = False,
    upgrade: str = "",
) -> sqlite3.Connection:  # fmt: skip
    """Open or make a SQLite file (WAL) whose ``user_version`` is ``version``.

    ``upgrade`` are statements that make one of this version out of one of the version before.

    ``synchronous``: ``FULL`` puts each commit on disk before it returns; with ``NORMAL`` a power
    cut may take the last ones back, never one without those after it.  Raises ``UserError`` for
    a file of another version.
    """
    if path != ":memory:":
        refuse_odd(Path(path))
    with _named(path):
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=not any_thread)
    try:
        with _named(path):
            old = upgrade and db.execute("PRAGMA user_version").fetchone() == (version - 1,)
            check_version(db, path, version - 1 if old else version)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        # One transaction: a crash leaves no tables without their version.
        made = f"{upgrade if old else ''}; {schema}; PRAGMA user_version = {version}"
        db.executescript(f"BEGIN IMMEDIATE; {made}; COMMIT;")
    except BaseException:
        db.close()
        raise
    return db


def read_database(path: Path | str, *versions: int) -> sqlite3.Connection:
    """Open a SQLite file of one of ``versions`` without ever writing to it.  Raises ``UserError``
    as above.

    SQLite makes ``-wal`` and ``-shm`` beside a WAL database that has none, even to read it.
    Where it can't, the file is read as one that nobody changes: whoever wrote to it would have
    them there.
    """
    path = Path(path)
    refuse_odd(path)
    with _named(path):
        try:
            return _opened(f"{path.absolute().as_uri()}?mode=ro", path, versions)
        except sqlite3.OperationalError as e:
            other = e.sqlite_errorcode != sqlite3.SQLITE_CANTOPEN
            if other or os.access(path.parent, os.W_OK) or not os.access(path, os.R_OK):
                raise
            if _size(_wal(path)):
                raise UserError(
                    f"{path}: {_wal(path).name} beside it has more of it, and SQLite reads that"
                    " only where it can write; copy the folder to such a place"
                ) from None
        return _opened(f"{path.absolute().as_uri()}?mode=ro&immutable=1", path, versions)


def read_json(path: Path, kind: type[M]) -> M:
    """What a file that metaopt wrote says.  Raises ``UserError`` for one that can't be read."""
    try:
        return kind.model_validate(strict_json.loads(path.read_bytes()))
    except OSError as e:
        raise UserError(f"{path}: can't be read ({e.strerror})") from None
    except strict_json.JSONRefused as e:
        raise UserError(f"{path}: {e}; restore it from a copy") from None
    except ValidationError as e:
        raise UserError(f"{path}: {first_error(e, 'file')}; restore it from a copy") from None


@contextmanager
def as_written(path: Path | str, what: str) -> Iterator[None]:
    """Raise ``UserError`` where ``what`` is read from a file in the body, and isn't of the form in
    which it was written: somebody changed it, or the disk lost some of it."""
    try:
        yield
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as e:
        raise UserError(
            f"{path}: {what} isn't as metaopt wrote it ({type(e).__name__}); restore it from a copy"
        ) from None


def _opened(uri: str, path: Path, versions: Sequence[int]) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True)
    try:
        check_version(db, path, *versions)
    except BaseException:
        db.close()
        raise
    return db


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _size(path: Path) -> int:
    """In bytes; 0 where there is nothing."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def refuse_odd(path: Path) -> None:
    """Raise ``UserError`` where ``path``, or what SQLite keeps beside it, is there and is no plain
    file: opening a FIFO waits for ever."""
    for near in (path, _wal(path), path.with_name(f"{path.name}-shm")):
        if near.exists() and not near.is_file():
            raise UserError(f"{near}: not a plain file; mend it, or give another --out")


@contextmanager
def _named(path: Path | str) -> Iterator[None]:
    """SQLite doesn't say which file it can't open, or what is none of its own."""
    try:
        yield
    except sqlite3.DatabaseError as e:
        known = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
        if e.sqlite_errorcode not in known:
            raise
        raise UserError(f"{path}: can't be opened ({e}); mend it, or give another --out") from None
    except UnicodeDecodeError:  # SQLite's own message quotes what is damaged
        raise UserError(f"{path}: its tables are damaged; restore it from a copy") from None


def check_version(db: sqlite3.Connection, path: Path | str, *versions: int) -> None:
    """Raise ``UserError`` unless the file is empty or has the tables of one of ``versions``, of
    which the last is this metaopt's."""
    [found] = db.execute("PRAGMA user_version").fetchone()
    [tables] = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if tables and found not in versions:
        raise UserError(
            f"{path}: written by another version of metaopt (format {found}, this one has"
            f" {versions[-1]}); go on with that version, or give another --out"
        )
