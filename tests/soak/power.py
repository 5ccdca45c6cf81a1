"""Power cuts: what if only what was synced, and some of the rest, had reached the disk?

    python tests/soak/power.py --cuts 200 --seed 1 --what run

A small simulated run (or data set) is recorded with ``strace``: every write with its data, every
truncate, rename, link, unlink, mkdir and sync below its folder.  Then the folder is rebuilt as a
power cut at a random point might leave it.  What was synced by then is there: a file's content
after a sync of that file, a name after a sync of the folder that holds it.  Of the rest

* ``order``: a random beginning of it, as a file system that keeps the order of writes leaves it;
* ``any``: any part of it, file by file and page by page, which is all that POSIX promises.

Each rebuilt folder is looked through (what run.db names must be there) and resumed; the end must
be that of the run that nobody cut.  Prints a table in Markdown; exit status 1 if anything was lost.
"""

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from soak.command import command  # noqa: E402
from soak.kill import (  # noqa: E402
    PATIENCE_S,
    Subject,
    command_line,
    data_end,
    data_stage,
    run_stage,
    warm,
)
from whole_runs import small_config, story  # noqa: E402

MODELS = ("order", "any")
PAGE = 4096
PAPERS = 4
CALLS = (
    "openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,"
    "rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,"
    "fsync,fdatasync,sync,syncfs,sync_file_range,copy_file_range,sendfile"
)
# What the model can't replay: seen below the folder it would make the test a lie.
UNKNOWN = {"writev", "pwritev", "pwritev2", "truncate", "fallocate", "sync",
           "syncfs", "copy_file_range", "sendfile"}  # fmt: skip
LINE = re.compile(r"(\d+) +([\d.]+) (?:<\.\.\. )?(\w+)(?:\((.*)| resumed>(.*))$", re.DOTALL)
HEX = re.compile(r"(?:\\x[0-9a-f]{2})+")
FD = re.compile(r"(?:\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Change:
    """Something done to an inode at one moment: content of a file, or names in a folder."""

    at: int
    inode: int
    offset: int = 0
    data: bytes | None = None  # None with no names: cut off at ``offset``
    names: tuple[tuple[int, str, int | None], ...] = ()  # (folder, name, inode or removed)


@dataclass(slots=True)
class Recording:
    """All that was done below one folder, in order; inode 0 is the folder itself."""

    changes: list[Change] = field(default_factory=list)
    syncs: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # inode: (begun, done)
    folders: set[int] = field(default_factory=lambda: {0})
    moments: int = 0


class Reader:
    """Reads strace's output into a ``Recording``."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.recording = Recording()
        self.live: dict[int, dict[str, int]] = {0: {}}
        self.sizes: dict[int, int] = {}
        self.where: dict[str, str] = {}  # of each process
        self.begun: dict[str, tuple[int, str, str]] = {}  # calls on their way, by thread
        self.inodes = 0

    def read(self, path: Path) -> Recording:
        """All of it.  Raises ``RuntimeError`` for what the model doesn't know."""
        with open(path, encoding="latin-1") as file:
            for number, line in enumerate(file):
                self.recording.moments = number
                found = LINE.match(line.rstrip("\n"))
                if " +++ " in line[:60]:  # numbers of processes come back
                    self.where.pop(line.split(" ", 1)[0], None)
                elif found:
                    self._line(number, *found.group(1, 3, 4, 5))
        return self.recording

    def _line(self, number: int, thread: str, call: str, rest: str, resumed: str | None) -> None:
        start = number
        if resumed is not None:
            if thread not in self.begun:
                return
            start, call, before = self.begun.pop(thread)
            rest = before + resumed
        elif rest.endswith("<unfinished ...>"):
            self.begun[thread] = (number, call, rest.removesuffix("<unfinished ...>"))
            return
        arguments, _, result = rest.rpartition(" = ")
        if "AT_FDCWD<" in arguments:
            self.where[thread] = _text(FD.search(arguments).group(1))  # type: ignore[union-attr]
        if not result.startswith("-1"):
            self._call(number, start, thread, call, arguments)

    def _call(self, number: int, start: int, thread: str, call: str, rest: str) -> None:
        paths = [p for p in self._paths(thread, call, rest) if p is not None]
        if not paths:
            return
        if call in UNKNOWN:
            raise RuntimeError(f"a {call} below the folder ({paths}): the model doesn't know it")
        if call in ("openat", "open", "creat"):
            self._opened(number, paths[0], rest + " O_CREAT|O_TRUNC" * (call == "creat"))
        elif call in ("write", "pwrite64"):
            self._wrote(number, paths[0], call, rest)
        elif call == "ftruncate":
            self._cut(number, paths[0], int(rest.rpartition(", ")[2].rstrip(")")))
        elif call in ("fsync", "fdatasync", "sync_file_range"):
            if call != "sync_file_range":  # it promises nothing
                inode = self._find(paths[0])
                self.recording.syncs.setdefault(inode, []).append((start, number))
        elif call.startswith("rename"):
            self._named(number, paths[-1], self._find(paths[0]), gone=paths[0])
        elif call.startswith("link"):
            self._named(number, paths[-1], self._find(paths[0]))
        elif call.startswith("symlink"):  # git tries one out; nothing else makes any
            self._named(number, paths[-1], self._new())
        elif call.startswith(("unlink", "rmdir")):
            self._named(number, paths[0], None)
        elif call.startswith("mkdir"):
            self._named(number, paths[0], self._new(folder=True))

    def _paths(self, thread: str, call: str, rest: str) -> Iterator[str | None]:
        """The paths of a call, below the folder (``""``: itself), ``None`` where they aren't."""
        if call in ("write", "pwrite64", "ftruncate", "fsync", "fdatasync", "sync_file_range"):
            found = FD.match(rest)
            yield self._below(_text(found.group(1))) if found else None
            return
        base: str | None = None
        for match in re.finditer(f"{FD.pattern}|{TEXT.pattern}", rest):
            if match.group(1) is not None:
                base = _text(match.group(1))
            else:
                given = _text(match.group(2))
                full = os.path.join(base or self.where.get(thread, "/"), given)
                yield self._below(os.path.normpath(full))

    def _below(self, path: str) -> str | None:
        path = path.removesuffix(" (deleted)")
        if path == self.root:
            return ""
        inside = path.removeprefix(self.root + "/")
        # Shared memory of SQLite's, made anew from the -wal: it isn't data.
        return None if inside == path or inside.endswith("-shm") else inside

    def _find(self, path: str) -> int:
        inode = 0
        for name in filter(None, path.split("/")):
            inode = self.live[inode][name]
        return inode

    def _new(self, *, folder: bool = False) -> int:
        self.inodes += 1
        if folder:
            self.live[self.inodes] = {}
            self.recording.folders.add(self.inodes)
        else:
            self.sizes[self.inodes] = 0
        return self.inodes

    def _named(self, number: int, path: str, inode: int | None, gone: str | None = None) -> None:
        names = []
        for where, what in ((gone, None), (path, inode)):
            if where is not None:
                above, _, name = where.rpartition("/")
                folder = self._find(above)
                names.append((folder, name, what))
                if what is None:
                    self.live[folder].pop(name, None)
                else:
                    self.live[folder][name] = what
        self.recording.changes.append(Change(number, names[-1][0], names=tuple(names)))

    def _opened(self, number: int, path: str, flags: str) -> None:
        above, _, name = path.rpartition("/")
        folder = self.live[self._find(above)] if path else {}
        if "O_CREAT" in flags and name not in folder:
            self._named(number, path, self._new())
        elif "O_TRUNC" in flags:
            self._cut(number, path, 0)

    def _wrote(self, number: int, path: str, call: str, rest: str) -> None:
        inode = self._find(path)
        data = bytes.fromhex(TEXT.search(rest).group(1).replace("\\x", ""))  # type: ignore[union-attr]
        # A plain write goes to the end: nobody here seeks.  ``check`` would find it out.
        offset = self.sizes[inode]
        if call == "pwrite64":
            offset = int(rest.rpartition(", ")[2].rstrip(")"))
        self.recording.changes.append(Change(number, inode, offset, data))
        self.sizes[inode] = max(self.sizes[inode], offset + len(data))

    def _cut(self, number: int, path: str, size: int) -> None:
        inode = self._find(path)
        self.recording.changes.append(Change(number, inode, size))
        self.sizes[inode] = size


def _text(given: str) -> str:
    return bytes.fromhex(given.replace("\\x", "")).decode()


def rebuild(recording: Recording, cut: int, model: str, rng: random.Random, folder: Path) -> None:
    """Write ``folder`` as a power cut at moment ``cut`` might leave it."""
    until = rng.randint(0, cut)
    luck: dict[int, float] = {}
    files: dict[int, bytearray] = {}
    names: dict[int, dict[str, int]] = {inode: {} for inode in recording.folders}

    def survives(change: Change) -> bool:
        synced = recording.syncs.get(change.inode, ())
        if model == "all" or any(change.at < begun and done <= cut for begun, done in synced):
            return True
        if model == "order":
            return change.at <= until
        # Some files are lucky as a whole, some not at all, some in part.
        chance = luck.setdefault(change.inode, rng.choice((0.0, 0.5, 0.9, 1.0)))
        return rng.random() < chance

    for change in recording.changes:
        if change.at > cut:
            break
        content = files.setdefault(change.inode, bytearray())
        if change.names:
            if survives(change):
                for place, name, inode in change.names:
                    if inode is None:
                        names[place].pop(name, None)
                    else:
                        names[place][name] = inode
        elif change.data is None:
            if survives(change):
                del content[change.offset :]
                content.extend(bytes(change.offset - len(content)))
        else:
            for start in range(0, len(change.data), PAGE):
                if survives(change):
                    page = change.data[start : start + PAGE]
                    at = change.offset + start
                    content.extend(bytes(max(0, at - len(content))))
                    content[at : at + len(page)] = page
    _write(0, folder, names, files)


def _write(
    inode: int, path: Path, names: dict[int, dict[str, int]], files: dict[int, bytearray]
) -> None:
    if inode not in names:
        path.write_bytes(files.get(inode, b""))
        return
    path.mkdir()
    for name, below in names[inode].items():
        _write(below, path / name, names, files)


def check(recording: Recording, real: Path, scratch: Path) -> None:
    """With nothing lost the folder must be the real one, or the recording is worth nothing."""
    rebuild(recording, recording.moments, "all", random.Random(0), scratch)
    caches = ("trees", "smoke", "cache")  # a jail's writes to them have other names
    theirs, ours = (
        {
            str(p.relative_to(top)): p.read_bytes()
            for p in top.rglob("*")
            if p.is_file() and p.relative_to(top).parts[0] not in caches
        }
        for top in (real, scratch)
    )
    differing = [n for n in theirs.keys() | ours.keys() if theirs.get(n) != ours.get(n)]
    differing = [n for n in differing if not n.endswith("-shm")]
    if differing:
        raise RuntimeError(f"the recording misses something: {sorted(differing)[:5]}")
    shutil.rmtree(scratch)


def missing(folder: Path, whole: Path) -> list[str]:
    """What the databases of a rebuilt folder name, but isn't there."""
    problems = []
    prefixes: dict[str, int] = {}
    if (folder / "run.db").exists():
        trees = dict(_rows(whole / "run.db", "SELECT iteration, json_extract(data, '$.tree')"
                           " FROM events WHERE kind IN ('opened', 'implemented')"))  # fmt: skip
        for candidate, part, paper, i, calls in _rows(
            folder / "run.db",
            "SELECT candidate, part, paper, iteration, json_extract(data, '$.calls') FROM results",
        ):
            name = f"{paper}.{i}.json"
            path = folder / "trajectories" / str(candidate) / part / name
            problems += _unreadable(path)
            prefixes[f"{trees[candidate][:16]}/{part}/{i}/{paper}/"] = calls
        for i, kind, commit in _rows(
            folder / "run.db", "SELECT iteration, kind, json_extract(data, '$.commit') FROM events"
        ):
            role = {"diagnosed": "analyzer", "implemented": "implementer"}.get(kind)
            query = f"SELECT COUNT(*) FROM calls WHERE role = '{role}' AND sample = '{i}'"
            if role:
                have, want = (_rows(f / "calls.db", query)[0][0] for f in (folder, whole))
                problems += [f"{kind} {i}: {have} of {want} calls"] * (have != want)
            if commit:
                problems += _no_commit(folder / "harness.git", i, commit)
    if (folder / "results.db").exists():
        tree = json.loads((whole / "harness.json").read_text())["tree"][:16]
        for paper, calls in _rows(
            folder / "results.db", "SELECT paper, json_extract(data, '$.calls') FROM results"
        ):
            kept = sorted(p for p in (whole / "papers" / paper).rglob("*") if p.is_file())
            for path in kept:
                problems += _unreadable(folder / path.relative_to(whole))
            prefixes[f"{tree}/generate/{paper}/{paper}/"] = calls
    for prefix, want in prefixes.items():
        query = f"SELECT COUNT(*) FROM calls WHERE sample LIKE '{prefix}%'"
        have = _rows(folder / "calls.db", query)[0][0]
        problems += [f"{prefix}: {have} of {want} calls"] * (have != want)
    return problems


def _rows(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as db:
        if not db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            return [(0,)] if "COUNT" in query else []
        return db.execute(query).fetchall()


def _unreadable(path: Path) -> list[str]:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        return [f"{path}: {e}"]
    return []


def _no_commit(repo: Path, i: int, commit: str) -> list[str]:
    ref = f"refs/candidates/{i}"
    command = ["git", "-C", str(repo), "rev-list", "--objects", ref]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or done.stdout.split()[:1] != [commit]:
        return [f"{ref}: {done.stderr.strip() or 'another commit'}"]
    return []


@dataclass
class Tally:
    """What a campaign came to."""

    cuts: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    same: int = 0
    problems: list[str] = field(default_factory=list)

    def table(self, seed: int, what: str) -> str:
        """One row of Markdown, with its heading."""
        cells = {
            "what": what, "seed": seed, "cuts": self.cuts.total(),
            "models": ", ".join(f"{m} {self.cuts[m]}" for m in MODELS),
            "stages": ", ".join(f"{s} {n}" for s, n in sorted(self.stages.items())),
            "same end": f"{self.same}/{self.cuts.total()}", "problems": len(self.problems),
        }  # fmt: skip
        rows = (cells.keys(), ["---"] * len(cells), cells.values())
        return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def subject(what: str, place: Path) -> Subject:
    """A small run, or a small data set, on the simulator."""
    config = str(small_config(place, 'kind = "simulator"', iterations=2, minibatch=2, validation=2))
    if what == "run":
        return Subject(lambda out: ["run", config, "--out", str(out)], story, run_stage)
    harness = str(TESTS.parent / "populations/classics/published_fixes.diff")
    given = ["generate", "--config", config, "--papers", f"synthetic:{PAPERS}:0"]
    return Subject(
        lambda out: [*given, "--harness", harness, "--out", str(out)], data_end, data_stage
    )


def record(command: list[str], root: Path, trace: Path) -> Recording:
    """Run the command under strace."""
    strace = ["strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", str(2**24), "-ttt", "-e",
              f"trace={CALLS}", "-e", "signal=none", "-o", str(trace)]  # fmt: skip
    root.mkdir()  # before it: inode 0 is there from the beginning
    done = subprocess.run(
        [*strace, sys.executable, "-m", "analysis", *command], cwd=TESTS.parent,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode} under strace: {done.stderr[-1500:]}")
    return Reader(str(root)).read(trace)


def campaign(what: str, seed: int, cuts: int, place: Path) -> Tally:
    """Record once, cut the power ``cuts`` times."""
    tally, rng = Tally(), random.Random(f"{what}/{seed}")
    victim, whole = subject(what, place), place / "whole"
    recording = record(victim.command(whole), whole, place / "trace")
    (place / "trace").unlink()
    check(recording, whole, place / "rebuilt")
    expected = victim.end(whole)
    context, moments = warm(), [change.at for change in recording.changes]
    for number in range(cuts):
        model = MODELS[number % len(MODELS)]
        folder = place / f"cut-{number}"
        rebuild(recording, rng.choice(moments), model, rng, folder)
        tally.cuts[model] += 1
        tally.stages[victim.stage(folder)] += 1
        problems = missing(folder, whole)
        log = str(place / "log")
        command = victim.command(folder)
        process = context.Process(target=command_line, args=(command, log))
        process.start()
        process.join(PATIENCE_S)
        if process.exitcode != 0:
            process.kill()
            problems.append(f"exit status {process.exitcode}: {Path(log).read_text()[-600:]}")
        elif victim.end(folder) == expected:
            tally.same += 1
        else:
            problems.append("another end than the whole one's")
        tally.problems += [f"{folder.name} ({model}): {problem}" for problem in problems]
        if not problems:
            shutil.rmtree(folder, ignore_errors=True)
    return tally


def play(what: str, seed: int, cuts: int) -> Tally:
    """A campaign in a folder of its own."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    with tempfile.TemporaryDirectory(prefix="metaopt-power-") as place:
        return campaign(what, seed, cuts, Path(place))


if __name__ == "__main__":
    sys.exit(command(__doc__, "cuts", play))
