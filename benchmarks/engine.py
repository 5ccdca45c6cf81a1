"""The outer loop with everything taken out that takes time: what an iteration costs by itself.

    python benchmarks/engine.py [--iterations 2000]

Rollouts, analyzer and implementer answer at once; events, results and state are as in a real run:
demo-sized (10 training papers, 2 x 25 validation papers) and committed to disk.
"""

import argparse
import asyncio
import random
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from common import ROOT, against, machine, own_cpu, table

from inner_agent.papers import Paper
from inner_agent.run_paper import PaperResult
from inner_agent.settings import Audit
from metaopt import loop
from metaopt.analyzer import Diagnosis, FailureMode
from metaopt.config import RunConfig, load_config
from metaopt.implementer import Edit
from metaopt.lab import Lab
from metaopt.monitor import Monitor
from metaopt.population import Candidate
from metaopt.repo import HarnessRepo
from metaopt.state import replay
from metaopt.store import Event, Store

MS = 4.0  # the aim, per iteration
GROWTH = 1.3  # the aim: a late iteration against an early one
EARLY, LATE, WIDTH = 75, 1_950, 50  # windows of iterations
TEXT = "the rubric rewards what the context already gives away, so that the weak solver passes "


class NoGit:
    """In place of the repository: every edit is a new commit, and nothing is written."""

    baseline = "baseline"

    def read(self, commit: str) -> dict[str, bytes]:
        """The one file of every harness."""
        return {"harness.py": commit.encode()}

    def commit(self, parent: str, tree: Mapping[str, bytes], message: str) -> str:
        """A name for the commit."""
        return message.split(",")[0]

    def tree_id(self, commit: str) -> str:
        """A name for the tree."""
        return f"tree of {commit}"

    def keep(self, iteration: int, commit: str) -> None:
        """Nothing to keep."""

    def mark_best(self, commit: str) -> None:
        """Nothing to mark."""


class StubLab(Lab):
    """Rollouts that have their result at once; it is recorded as any other."""

    async def evaluate(
        self, i: int, candidate: Candidate, part: str, papers: Sequence[Paper], draws: str = "",
        shown: int | None = None,
    ) -> dict[str, PaperResult]:  # fmt: skip
        """Results by chance alone, so that every other mutant is let in: a large population."""
        done = self.store.results(candidate.id, part, i)
        draw = random.Random(f"{candidate.id}/{part}/{i}")
        for paper in papers:
            if paper.id not in done:
                passed = draw.random() < 0.4
                result = PaperResult(
                    paper=paper.id, passed=passed, accepted=passed, rounds=5,
                    reason="passed" if passed else "not_accepted",
                    outcomes={"too_easy": 3, "failed_on_strong": 1, "accepted": 1},
                    weak_avg=0.4123, strong_avg=0.7131, gap=0.3008, calls=68,
                    prompt_tokens=180_000, completion_tokens=9_000, usd=0.0123,
                    question=f"What, on paper {paper.id}, follows from {TEXT}?" if passed else "",
                )  # fmt: skip
                self.store.put_result(candidate.id, part, i, result, {"wall_s": 60.0})
                done[paper.id] = result
        return done


async def _analyze(ask: object, traces: object, history: object, *rest: object) -> Diagnosis:
    mode = FailureMode(name=TEXT, share=0.4, evidence=(TEXT, TEXT), papers=("paper-1", "paper-2"))
    return Diagnosis(
        failure_modes=(mode, mode), root_cause=TEXT * 3, proposed_change=TEXT * 3,
        predicted_fixes=("paper-1",), papers_at_risk=("paper-2",),
    )  # fmt: skip


async def _implement(*_: object) -> Edit:
    return Edit({"harness.py": b"pass\n"}, TEXT * 2, 9, 0)


def _papers(name: str, count: int) -> list[Paper]:
    return [Paper(f"{name}-{n}", name, Path(), "") for n in range(count)]


def _lab(folder: Path, config: RunConfig, monitor: Monitor) -> Lab:
    store = Store(folder / "run.db")
    opened = Event(0, "opened", {"commit": "baseline", "tree": "tree of baseline"})
    store.append(opened)
    split = {"train": _papers("train", 50), "val": _papers("val", 25), "test": []}
    nothing: Any = SimpleNamespace(ask=None)
    rollouts: Any = SimpleNamespace(traces=lambda *_: [])  # the analyzer is a stub
    return StubLab(
        folder, config, store, replay([opened]), cast(HarnessRepo, NoGit()), nothing, rollouts,
        split, _papers("honeypot", 2), cast(Any, _no_problems), monitor, nothing,
    )  # fmt: skip


async def _no_problems(_tree: Mapping[str, bytes]) -> list[str]:
    return []


def run(iterations: int, folder: Path) -> tuple[list[float], int]:
    """CPU seconds at each decision since the start, and the size of the population at the end."""
    settings = [f"search.iterations={iterations}", "search.audit_analyzer=0"]
    config = load_config(ROOT / "configs" / "demo.toml", settings)
    config = config.model_copy(update={"audit": Audit(honeypots=False)})  # no model is there
    decided: list[float] = []
    monitor = Monitor(say=lambda line: decided.append(own_cpu()) if "ALARM" not in line else None)
    lab = _lab(folder, config, monitor)
    start = own_cpu()
    with patch.object(loop, "analyze", _analyze), patch.object(loop, "implement", _implement):
        asyncio.run(loop.optimize(lab))
    lab.store.close()
    return [t - start for t in decided], len(lab.state.population)


def git_cost(folder: Path, candidates: int) -> tuple[float, float]:
    """Wall and CPU seconds per candidate: read the parent, commit, name it, its tree, export."""
    config = load_config(ROOT / "configs" / "demo.toml")
    repo = HarnessRepo(folder / "harness.git", config.harness)
    wall, cpu = time.perf_counter(), _all_cpu()
    for n in range(1, candidates + 1):
        tree = repo.read(repo.baseline) | {"prompts/extra.md": f"edit {n}\n".encode()}
        commit = repo.commit(repo.baseline, tree, f"Candidate {n}\n")
        repo.keep(n, commit)
        repo.tree_id(commit)
        repo.export(commit, folder / "trees")
    return (time.perf_counter() - wall) / candidates, (_all_cpu() - cpu) / candidates


def _all_cpu() -> float:
    kids = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own_cpu() + kids.ru_utime + kids.ru_stime


def report(iterations: int) -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        decided, population = run(iterations, Path(folder))
        git_wall, git_cpu = git_cost(Path(folder), 20)
    mean = decided[-1] / len(decided)
    rows = [
        ("CPU ms per iteration", "", ""),
        (f"mean of {iterations}", f"{1e3 * mean:.2f}", against(1e3 * mean, MS)),
    ]
    if iterations >= LATE + WIDTH:
        early, late = (
            fmean(b - a for a, b in zip(decided[s:], decided[s + 1 : s + WIDTH + 1], strict=False))
            for s in (EARLY, LATE - 1)
        )
        rows += [
            (f"iterations {EARLY}-{EARLY + WIDTH}", f"{1e3 * early:.2f}", ""),
            (f"iterations {LATE}-{LATE + WIDTH}", f"{1e3 * late:.2f}", ""),
            ("late / early", f"{late / early:.2f}", against(late / early, GROWTH)),
        ]
    rows += [
        ("population at the end", f"{population}", ""),
        ("git, per candidate, CPU ms", f"{1e3 * git_cpu:.0f}", "processes included"),
        ("git, per candidate, wall ms", f"{1e3 * git_wall:.0f}", ""),
    ]
    table("The outer loop, persisted, 60 results an iteration", rows)


def main() -> None:
    """Run it alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=2_000)
    print(machine())
    report(parser.parse_args().iterations)


if __name__ == "__main__":
    main()
