"""What syncing to disk costs: the same run with and without it, alternately.

    python benchmarks/durability.py [--latency 0.2] [--pairs 3]

Whole runs of metaopt on the simulator, which takes ``--latency`` seconds a call, as a fast provider
does.  Without: ``PRAGMA synchronous = OFF``, no fsync of our own, none of git's.
"""

import argparse
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from common import ROOT, against, machine, own_cpu, table

from inner_agent import calls as calls_module
from inner_agent import durable
from metaopt import repo, runner, store
from metaopt.config import load_config

COST = 0.05  # the aim: of a run's time
SMALLER = (
    "search.iterations=2", "search.minibatch=8", "search.validation_papers=8", "limits.items=3",
)  # fmt: skip


@dataclass(frozen=True)
class Figures:
    """One run: seconds, calls, and commits of calls.db."""

    wall_s: float
    cpu_s: float
    calls: int
    commits: int
    syncs: int


@contextmanager
def unsynced() -> Iterator[None]:
    """Nothing waits for the disk in here."""

    def open_database(*arguments: Any, synchronous: str, **options: Any) -> sqlite3.Connection:
        return opened(*arguments, synchronous="OFF", **options)

    opened = durable.open_database
    with ExitStack() as patches:
        for module in (calls_module, store):
            patches.enter_context(patch.object(module, "open_database", open_database))
        patches.enter_context(patch.object(durable, "_sync", lambda path: None))
        patches.enter_context(patch.object(os, "fsync", lambda fd: None))
        patches.enter_context(patch.dict(repo._ENV, {"GIT_CONFIG_VALUE_0": "none"}))
        yield


def run(latency: float) -> Figures:
    """One whole run, in a folder of its own."""
    commits, syncs = 0, 0
    commit, sync = calls_module.CallStore._commit, os.fsync

    def counted(self: calls_module.CallStore) -> None:
        nonlocal commits
        commits += 1
        commit(self)

    def counted_sync(fd: int) -> None:
        nonlocal syncs
        syncs += 1
        sync(fd)

    simulator = {"kind": "simulator", "simulator": {"latency_s": latency}}
    text = f"endpoints.simulator={_inline(simulator)}"
    with (
        tempfile.TemporaryDirectory(dir=ROOT / "populations") as folder,
        patch.object(calls_module.CallStore, "_commit", counted),
        patch.object(os, "fsync", counted_sync),
    ):
        config = load_config(ROOT / "configs" / "demo.toml", [*SMALLER, text])
        wall, cpu = time.perf_counter(), own_cpu()
        runner.run(config, Path(folder, "run"))
        wall, cpu = time.perf_counter() - wall, own_cpu() - cpu
        with closing(sqlite3.connect(Path(folder, "run", "calls.db"))) as db:
            [made] = db.execute("SELECT COUNT(*) FROM calls").fetchone()
    return Figures(wall, cpu, made, commits, syncs)


def _inline(given: dict[str, Any]) -> str:
    parts = (f"{k} = {_inline(v) if isinstance(v, dict) else repr(v)}" for k, v in given.items())
    return "{" + ", ".join(parts) + "}"


def main() -> None:
    """Alternate, so that a machine that gets slower is no result; then compare medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    synced: list[Figures] = []
    free: list[Figures] = []
    for _ in range(options.pairs):
        synced.append(run(options.latency))
        with unsynced():
            free.append(run(options.latency))
    walls = [median(f.wall_s for f in kind) for kind in (synced, free)]
    cost, one = walls[0] / walls[1] - 1, synced[-1]
    table(
        f"A run of {one.calls} calls of {1e3 * options.latency:.0f} ms, median of {options.pairs}",
        [
            ("", "synced", "not"),
            ("wall s", *(f"{w:.2f}" for w in walls)),
            ("CPU s", *(f"{median(f.cpu_s for f in kind):.2f}" for kind in (synced, free))),
            ("replies a commit of calls.db", f"{one.calls / one.commits:.1f}", ""),
            ("syncs of other files and folders", f"{one.syncs}", ""),
            ("cost of syncing", f"{cost:.1%}", against(100 * cost, 100 * COST)),
        ],
    )


if __name__ == "__main__":
    main()
