"""Does a run's winner hold on papers that nobody chose by?

For each seed: a whole run of a config, then its best candidate and the baseline with fresh samples
on synthetic papers that are in no part of the split.  Prints these pass rates beside the one that
the run reports: the winner's re-runs where there were finalists, else the average of its runs.

    python benchmarks/unseen.py --config configs/demo.toml --seeds 10 --papers 200
    python benchmarks/unseen.py --set search.policy=thompson --set search.iterations=40
"""

import argparse
import asyncio
import sqlite3
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

from inner_agent.calls import CallStore
from inner_agent.gateway import Gateway
from inner_agent.papers import Paper, find_papers, read_paper
from inner_agent.run_paper import PaperResult, Rig, run_paper
from inner_agent.sandbox import choose_mode
from inner_agent.synthetic import write_papers
from metaopt.config import RunConfig, load_config
from metaopt.repo import HarnessRepo
from metaopt.runner import run
from metaopt.state import State, replay, winner
from metaopt.store import Store

UNSEEN_SEED = 1  # the configs' own papers come from seed 0


def main() -> None:
    """Print the table."""
    options = _options()
    print("simulated; pass rates on unseen papers, and what the run reports of its best")
    print("seed  baseline   best  reported  candidate  accepted  rollouts")
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = [
            pool.submit(pair, options.config, seed, options.papers, options.set)
            for seed in range(options.seeds)
        ]
        rows = [job.result() for job in jobs]
    for seed, (baseline, top, told, candidate, accepted, rollouts) in enumerate(rows):
        print(f"{seed:4}  {baseline:8.1%}  {top:5.1%}  {told:8.1%}  {candidate:9}  {accepted:8}"
              f"  {rollouts:8}")  # fmt: skip
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    print(f"mean  {means[0]:8.1%}  {means[1]:5.1%}  {means[2]:8.1%}  {'':9}  {means[4]:8.1f}"
          f"  {means[5]:8.0f}")  # fmt: skip
    print(f"best above baseline in {sum(w > b for b, w, *_ in rows)} of {len(rows)} seeds")


def pair(config: Path, seed: int, papers: int, overrides: list[str]) -> tuple[float, ...]:
    """One seed: rates of baseline and winner, the reported one, the winner's number, how many were
    accepted, and rollouts on training and validation papers."""
    settings = load_config(config, [*overrides, f"seed={seed}"])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sys.stderr = open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115  (ten live views)
        run(settings, folder / "run")
        state = replay(Store(folder / "run" / "run.db", readonly=True).events())
        state.advance_all()
        top = winner(state)
        write_papers(folder / "unseen", papers, UNSEEN_SEED)
        unseen = list(find_papers(folder / "unseen").values())
        repo = HarnessRepo(folder / "run" / "harness.git", settings.harness)
        rates = [
            asyncio.run(rate(settings, repo.export(commit, folder / "trees"), unseen, folder))
            for commit in (repo.baseline, top.commit)
        ]
        accepted = len(state.population) - 1
        return (*rates, reported(state), top.id, accepted, spent(folder / "run" / "run.db"))


def reported(state: State) -> float:
    """What the run says of its winner."""
    if state.finalists is None:
        return winner(state).rate
    again = [passed for run in state.finalists.data["report"] for passed in run]
    return sum(again) / len(again)


def spent(database: Path) -> int:
    """The run's rollouts, those on honeypots aside."""
    with closing(sqlite3.connect(database)) as db:
        (count,) = db.execute("SELECT COUNT(*) FROM results WHERE part != 'honeypot'").fetchone()
    return int(count)


async def rate(config: RunConfig, harness: Path, papers: list[Paper], folder: Path) -> float:
    """Pass rate of a harness folder on ``papers``, one rollout each, fresh samples."""
    gateway = Gateway(config, CallStore(":memory:"))
    rig = Rig(config, gateway, choose_mode(config), folder / "papers")
    slots = asyncio.Semaphore(config.limits.rollouts_in_flight)

    async def one(paper: Paper) -> PaperResult:
        async with slots:
            text = read_paper(paper, config.papers.max_paper_tokens)
            return (
                await run_paper(rig, harness, text, f"unseen/{harness.name}", fresh=True)
            ).result

    results = await asyncio.gather(*(one(p) for p in papers))
    await gateway.close()
    return sum(r.passed for r in results) / len(results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--config", type=Path, default=Path("configs/demo.toml"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--papers", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
