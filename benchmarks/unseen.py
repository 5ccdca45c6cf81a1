"""Does a run's winner hold on papers that nobody chose by?

For each seed: a whole run of a config, then its best candidate and the baseline with fresh samples
on synthetic papers that are in no part of the split.  Prints one pair of pass rates a seed.

    python benchmarks/unseen.py --config configs/demo.toml --seeds 10 --papers 200
"""

import argparse
import asyncio
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
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
from metaopt.state import replay, winner
from metaopt.store import Store

UNSEEN_SEED = 1  # the configs' own papers come from seed 0


def main() -> None:
    """Print the table."""
    options = _options()
    print("seed  baseline  best  candidate  accepted   (simulated, pass rate on unseen papers)")
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = [
            pool.submit(pair, options.config, seed, options.papers, options.set)
            for seed in range(options.seeds)
        ]
        rows = [job.result() for job in jobs]
    for seed, (baseline, top, candidate, accepted) in enumerate(rows):
        print(f"{seed:4}  {baseline:8.1%}  {top:5.1%}  {candidate:9}  {accepted:8}")
    print(f"best above baseline in {sum(w > b for b, w, *_ in rows)} of {len(rows)} seeds")


def pair(config: Path, seed: int, papers: int, overrides: list[str]) -> tuple[float, ...]:
    """One seed: rates of baseline and winner, the winner's number, how many were accepted."""
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
        return (*rates, top.id, len(state.population) - 1)


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
