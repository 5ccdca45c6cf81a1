"""How long ``metaopt compare`` takes to answer from what is recorded.

    python benchmarks/recorded.py [--starts N]

Made-up results: two harnesses on 25 papers, 50 times each; and a run's 50 candidates on 25 papers.
The command is started anew each time, imports and reading included.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from common import ROOT, against, machine, table

sys.path.insert(0, str(ROOT / "tests"))

from whole_runs import decided, made_run, measured_by_hand

from analysis.compare import named_arms
from metaopt.config import RunConfig, load_config
from metaopt.harnesses import open_harnesses
from metaopt.measure import Arm, Plan, part_papers

CONFIG = ROOT / "configs" / "demo.toml"
FIXES = str(ROOT / "populations" / "classics" / "published_fixes.diff")
PAPERS, TIMES, CANDIDATES = 25, 50, 50
AIM_S = 2.0
WORDS = ("gradient", "latency", "cache", "kernel", "estimate", "bound", "sample", "lemma",
         "pruning", "shard", "quorum", "drift")  # fmt: skip


def fill(folder: Path, config: RunConfig, arms: list[str], repeats: int) -> None:
    """Record results, with questions as long as real ones: they are compared with each other."""
    rng = np.random.default_rng(0)
    papers = {p.id: p.sha256 for p in part_papers(config, folder.with_name("papers"), "val")}
    with open_harnesses(config.harness, list(named_arms(arms).values())) as sources:
        named = tuple(Arm(n, s.commit, s.tree) for n, s in zip(arms, sources, strict=True))
    passes = rng.random((len(arms), repeats, len(papers))) < 0.4

    def question(paper: int) -> str:
        return " ".join([*rng.choice(WORDS, 40), *map(str, rng.integers(0, 9_999, 30))])

    measured_by_hand(folder, config, Plan(named, "val", papers, repeats), passes, question)


def run_of(folder: Path, config: RunConfig, candidates: int) -> None:
    """A run of so many candidates, the baseline among them."""
    with made_run(folder, config) as (repo, store):
        tree = repo.read(repo.baseline)
        for i in range(1, candidates):
            commit = repo.commit(repo.baseline, tree | {"notes.md": b"%d\n" % i}, f"edit {i}")
            decided(store, repo, i, commit, 0, (5, 6))


def timed(arguments: list[str], starts: int) -> tuple[float, float]:
    """Median wall and CPU seconds of the command."""
    walls, cpus = [], []
    for _ in range(starts):
        before, began = os.times(), time.perf_counter()
        command = [sys.executable, "-m", "analysis", "compare", *arguments]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        walls.append(time.perf_counter() - began)
        after = os.times()
        cpus.append(sum(after[2:4]) - sum(before[2:4]))
    return median(walls), median(cpus)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=5)
    starts = parser.parse_args().starts
    config = load_config(CONFIG)
    rows: list[tuple[str, ...]] = [("recorded", "rollouts", "wall s", "CPU s", "aim")]
    with tempfile.TemporaryDirectory(prefix="metaopt-recorded-") as place:
        run, two, many = (Path(place, name) for name in ("run", "two", "many"))
        run_of(run, config, CANDIDATES)
        pair, arms = ["baseline", FIXES], [f"{run}:{i}" for i in range(CANDIDATES)]
        fill(two, config, pair, TIMES)
        fill(many, config, arms, 1)
        for name, given, repeats in (
            ("2 harnesses x 25 papers x 50 repeats",
             [*pair, "--config", str(CONFIG), "--out", str(two)], TIMES),
            ("50 candidates x 25 papers", [*arms, "--out", str(many)], 1),
        ):  # fmt: skip
            wall, cpu = timed([*given, "--repeats", str(repeats)], starts)
            rollouts = PAPERS * max(2 * repeats, len(given) - 2)
            rows.append((name, str(rollouts), f"{wall:.2f}", f"{cpu:.2f}", against(wall, AIM_S)))
    table(f"metaopt compare, {machine()}", rows)


if __name__ == "__main__":
    main()
