"""kill -9 at random moments, over and over: is the end the same, is anything paid for twice?

    python tests/soak/kill.py --kills 200 --seed 1 --what run

A small simulated run (or data set, or comparison) behind an HTTP provider is killed again and
again and resumed to its end, which is compared with that of one that nobody touched.  Victims: the
process itself (its jailed children must die with it), a jailed child alone (bubblewrap's outer or
inner process, or the harness), or both.  Prints a table in Markdown; exit status 1 if anything was
lost.
"""

import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from fake_openai import FakeOpenAI  # noqa: E402
from soak.command import command  # noqa: E402
from whole_runs import IN_FLIGHT, Provider, small_config, story  # noqa: E402

from inner_agent.gateway import idempotency_key  # noqa: E402

VICTIMS = ("parent", "child", "both")
PAPERS = 8
ROLLOUTS = 8  # of the comparison: two arms, two papers, two repeats
NEXT = {"selected": "trace", "traced": "diagnose", "diagnosed": "edit", "implemented": "validate",
        "validated": "decide"}  # fmt: skip
POLL_S = 0.003
PATIENCE_S = 120.0  # of one start, far more than it takes
# Beside the rollouts, each iteration's analyzer or implementer may have a call on the wire.
ON_THE_WIRE = IN_FLIGHT + 2


@dataclass
class Tally:
    """What a campaign came to."""

    kills: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    same: int = 0
    asked_again: int = 0
    lost: int = 0
    charged_twice: int = 0
    paid_twice: int = 0
    left_alive: int = 0
    problems: list[str] = field(default_factory=list)

    def table(self, seed: int, what: str) -> str:
        """One row of Markdown, with its heading."""
        victims = ", ".join(f"{v} {self.kills[v]}" for v in VICTIMS)
        stages = ", ".join(f"{s} {n}" for s, n in sorted(self.stages.items()))
        cells = {
            "what": what, "seed": seed, "kills": self.kills.total(), "victims": victims,
            "stages": stages, "runs": self.runs, "same end": f"{self.same}/{self.runs}",
            "asked again": self.asked_again, "lost on the wire": self.lost,
            "recorded, yet asked again": self.paid_twice, "charged twice": self.charged_twice,
            "children left alive": self.left_alive,
        }  # fmt: skip
        rows = (cells.keys(), ["---"] * len(cells), cells.values())
        return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


@dataclass
class Subject:
    """What is killed: how it is started, and what it comes to."""

    command: Callable[[Path], list[str]]
    end: Callable[[Path], Any]
    stage: Callable[[Path], str]


def command_line(arguments: list[str], log: str) -> None:
    """The command, in a process that was forked from a warm one."""
    os.setpgid(0, 0)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    from analysis.cli import app
    from metaopt.cli import invoke

    sys.exit(invoke(app, arguments))


def warm() -> multiprocessing.context.ForkServerContext:
    """Where processes are forked from, all imports done."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["soak.warm"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # the server doesn't take it over
    forkserver.ensure_running()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
    return context


def run_stage(folder: Path) -> str:
    """What a run's first undecided iteration was about to do, by its last event."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True)) as db:
            last = dict(db.execute("SELECT iteration, kind FROM events ORDER BY seq").fetchall())
    except sqlite3.Error:
        return "open"
    undecided = [NEXT[last[i]] for i in sorted(last) if i and last[i] != "decided"]
    return undecided[0] if undecided else "trace" if len(last) < 3 else "end"


def data_stage(folder: Path) -> str:
    """How far a data set was, in thirds of its papers."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'results.db'}?mode=ro", uri=True)) as db:
            [done] = db.execute("SELECT COUNT(*) FROM results").fetchone()
    except sqlite3.Error:
        return "open"
    return "end" if done == PAPERS else ("first", "second", "last")[3 * done // PAPERS] + " third"


def data_end(folder: Path) -> Any:
    """A data set: items, results and files, times aside."""
    with closing(sqlite3.connect(folder / "results.db")) as db:
        rows = db.execute("SELECT paper, sha256, data, item FROM results ORDER BY paper").fetchall()
    files = {}
    for path in sorted((folder / "papers").rglob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("timing", None)
        files[str(path.relative_to(folder))] = content
    return rows, (folder / "items.jsonl").read_bytes(), files


def measured_stage(folder: Path) -> str:
    """How far a comparison was, in halves of its rollouts."""
    done = _rows(folder)
    return "open" if not done else "first half" if 2 * done < ROLLOUTS else "second half"


def measured_end(folder: Path) -> Any:
    """A comparison: what was measured, times aside."""
    with closing(sqlite3.connect(folder / "measured.db")) as db:
        rows = db.execute(
            "SELECT candidate, iteration, paper, data FROM results"
            " ORDER BY candidate, iteration, paper"
        ).fetchall()
    return rows, (folder / "arms.json").read_bytes()


def subject(what: str, place: Path, server: FakeOpenAI) -> Subject:
    """A small run, a small data set, or a small comparison."""
    endpoint = f'base_url = "{server.base_url}"\napi_key_env = "FAKE_KEY"\nmax_retries = 0'
    config = str(small_config(place, endpoint, iterations=2, minibatch=2, validation=2))
    if what == "run":
        return Subject(lambda out: ["run", config, "--out", str(out)], story, run_stage)
    harness = str(TESTS.parent / "populations/classics/published_fixes.diff")
    if what == "compare":
        arms = ["compare", "baseline", harness, "--config", config, "--repeats", "2"]
        return Subject(lambda out: [*arms, "--out", str(out)], measured_end, measured_stage)
    given = ["generate", "--config", config, "--papers", f"synthetic:{PAPERS}:0"]
    return Subject(
        lambda out: [*given, "--harness", harness, "--out", str(out)], data_end, data_stage
    )


def recorded(folder: Path) -> set[str]:
    """The idempotency keys of all replies that are in calls.db."""
    try:
        seed = tomllib.loads((folder / "config.toml").read_text())["seed"]
        with closing(sqlite3.connect(f"file:{folder / 'calls.db'}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT key, sample FROM calls").fetchall()
    except (sqlite3.Error, FileNotFoundError):  # it has asked for nothing yet
        return set()
    return {idempotency_key(seed, key, sample) for key, sample in rows}


class Campaign:
    """Kills one subject after the other, until there were ``kills``."""

    def __init__(self, what: str, seed: int, place: Path, server: FakeOpenAI) -> None:
        self.rng = random.Random(f"{what}/{seed}")
        self.server, self.place = server, place
        self.provider = Provider()
        server.reply, server.honour_keys = self.provider, True
        self.subject = subject(what, place, server)
        self.context = warm()
        self.tally = Tally()
        self.recorded_before: set[str] = set()
        self.asked_before = 0

    def run(self, kills: int) -> Tally:
        """Do it."""
        began = time.monotonic()
        unbroken = self.place / "unbroken"
        self._await(self._start(unbroken))
        self.expected = self.subject.end(unbroken)
        self.whole_s = time.monotonic() - began
        self.calls, self.rows = len(self.server.requests), _rows(unbroken)
        # A reply that nobody can read is bought again by the unbroken one too.
        self.asked, self.charged = Counter(self._asked(0)), Counter(self.provider.charged)
        while (left := kills - self.tally.kills.total()) > 0 and len(self.tally.problems) < 3:
            self._one(self.place / f"broken-{self.tally.runs}", min(left, self.rng.randint(4, 12)))
        return self.tally

    def _start(self, folder: Path) -> ForkServerProcess:
        log = str(self.place / "log")
        command = self.subject.command(folder)
        process = self.context.Process(target=command_line, args=(command, log))
        process.start()
        return process

    def _await(self, process: ForkServerProcess) -> None:
        """Wait for the end.  Raises ``RuntimeError`` unless it is a good one."""
        process.join(PATIENCE_S)
        if process.exitcode != 0:
            process.kill()
            log = self.place / "log"
            tail = log.read_text()[-1500:] if log.exists() else "it said nothing"
            raise RuntimeError(f"exit status {process.exitcode}: {tail}")

    def _one(self, folder: Path, kills: int) -> None:
        """Kill a run at ``kills`` moments, let it come to its end, compare."""
        self.server.requests.clear()
        self.server.kept.clear()
        self.provider.charged.clear()
        self.tally.runs += 1
        self.recorded_before, self.asked_before = set(), 0
        process = self._start(folder)
        try:
            for left in range(kills, 0, -1):
                moment = self._moment(folder, left)
                while process.is_alive() and not moment():
                    time.sleep(POLL_S)
                if not process.is_alive():
                    break
                self._kill(folder, process, self.rng.choice(VICTIMS))
                if process.exitcode == -signal.SIGKILL:
                    process = self._start(folder)
            self._await(process)
        except RuntimeError as e:
            self._problem(folder, str(e))
            return
        self._compare(folder)

    def _compare(self, folder: Path) -> None:
        again = set(self._asked(self.asked_before)) & self.recorded_before
        self.tally.paid_twice += len(again)
        self.tally.asked_again += (Counter(self._asked(0)) - self.asked).total()
        self.tally.charged_twice += (self.provider.charged - self.charged).total()
        if again or self.provider.charged.total() != self.calls:
            self._problem(folder, f"{self.provider.charged.total()} charged, not {self.calls}")
        if self.subject.end(folder) == self.expected:
            self.tally.same += 1
            shutil.rmtree(folder, ignore_errors=True)
        else:
            self._problem(folder, "another end than the unbroken one's")

    def _kill(self, folder: Path, process: ForkServerProcess, victim: str) -> None:
        """Kill somebody, if there is somebody, and look at what that cost."""
        try:
            parent = psutil.Process(process.pid)
            jailed = _jailed(parent)
            while victim != "parent" and not jailed and process.is_alive():
                time.sleep(POLL_S)
                jailed = _jailed(parent)
            family = parent.children(recursive=True)
        except psutil.NoSuchProcess:
            return
        stage = self.subject.stage(folder)
        struck = victim != "parent" and bool(jailed) and _strike(self.rng.choice(jailed))
        if victim != "child":
            process.kill()
            process.join(PATIENCE_S)
            struck = process.exitcode == -signal.SIGKILL
            self._look(folder, family)
        self.tally.kills[victim] += struck
        self.tally.stages[stage] += struck

    def _look(self, folder: Path, family: list[psutil.Process]) -> None:
        """After the parent's death: who lives on, which calls are lost, which asked for again."""
        alive = psutil.wait_procs(family, timeout=10)[1]
        self.tally.left_alive += len(alive)
        have = recorded(folder)
        lost = set(self._asked(self.asked_before)) - have
        self.tally.lost += len(lost)
        again = set(self._asked(self.asked_before)) & self.recorded_before
        self.tally.paid_twice += len(again)
        if alive or again or len(lost) > ON_THE_WIRE:
            found = f"{alive} alive, {len(again)} recorded calls asked again, {len(lost)} lost"
            self._problem(folder, found)
        self.recorded_before, self.asked_before = have, len(self.server.requests)

    def _asked(self, first: int) -> list[str]:
        """The keys of all requests from number ``first`` on."""
        return [r.headers["idempotency-key"] for r in self.server.requests[first:]]

    def _problem(self, folder: Path, what: str) -> None:
        self.tally.problems.append(f"{folder}: {what}")

    def _moment(self, folder: Path, left: int) -> Callable[[], bool]:
        """The first of ``left`` moments, spread at random over what is still to be done.

        Counted in requests, in rows of the databases, or in time.
        """
        share = self.rng.betavariate(1, left)
        how = self.rng.choice(("requests", "rows", "time"))
        asked, rows = len(self.server.requests), _rows(folder)
        if how == "requests":
            at = asked + share * (self.calls - asked)
            return lambda: len(self.server.requests) >= at
        if how == "rows":
            row = rows + share * (self.rows - rows)
            return lambda: _rows(folder) >= row
        until = time.monotonic() + share * self.whole_s * (1 - rows / self.rows)
        return lambda: time.monotonic() >= until


def _jailed(parent: psutil.Process) -> list[psutil.Process]:
    """Bubblewrap's processes and what runs in them, without git and the like."""
    found: list[psutil.Process] = []
    for child in parent.children():
        with suppress(psutil.NoSuchProcess):
            if child.name() == "bwrap":
                found += [child, *child.children(recursive=True)]
    return found


def _rows(folder: Path) -> int:
    """Events and results so far, as one number."""
    total = 0
    tables = [(f"{name}.db", "results") for name in ("run", "results", "measured")]
    for name, table in (("run.db", "events"), *tables):
        if (folder / name).exists():
            try:
                with closing(sqlite3.connect(f"file:{folder / name}?mode=ro", uri=True)) as db:
                    total += db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
            except sqlite3.Error:
                continue
    return total


def _strike(process: psutil.Process) -> bool:
    try:
        process.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return False
    return True


def play(what: str, seed: int, kills: int) -> Tally:
    """A campaign in a folder of its own, behind a provider of its own."""
    with tempfile.TemporaryDirectory(prefix="metaopt-kill-") as place, FakeOpenAI() as server:
        os.environ["FAKE_KEY"] = server.key
        return Campaign(what, seed, Path(place), server).run(kills)


if __name__ == "__main__":
    sys.exit(command(__doc__, "kills", play, ("run", "generate", "compare")))
