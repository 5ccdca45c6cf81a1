"""What several items a paper and learnings between batches do to yield and repeats (SIMULATED).

    python benchmarks/batches.py [--papers 60] [--seeds 3] [--batch 10] [--workers 2]

Data sets of synthetic papers, every role played by the simulator, with and without ``--batch`` and
with one and three items a paper, by the baseline and by the published fixes.  Prints the tables of
docs/generate.md.  What a directive does was put into the simulator; see docs/simulator.md.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from common import ROOT, machine

from inner_agent.generate import Results
from inner_agent.intake import Slot, slots_of
from metaopt.config import load_config
from metaopt.generate import Wanted, make_dataset
from metaopt.lab import papers_of

HARNESSES = {"baseline": None, "published fixes": "classic:published_fixes"}
EACH = (1, 3)


@dataclass(frozen=True, slots=True)
class Arm:
    """How a data set is made."""

    harness: str
    each: int
    batch: int | None


@dataclass(frozen=True, slots=True)
class Made:
    """What came of one: whether each slot passed, how many repeats were left out, calls."""

    arm: Arm
    passed: dict[Slot, bool]
    repeats: int
    calls: int


def made(arm: Arm, papers: int, seed: int) -> Made:
    """Make a data set."""
    config = load_config(ROOT / "configs/demo.toml", [f'papers.path="synthetic:{papers}:{seed}"'])
    wanted = Wanted(items_per_paper=arm.each, batch=arm.batch)
    with tempfile.TemporaryDirectory(prefix="metaopt-batches-") as folder:
        out = Path(folder, "data")
        make_dataset(config, out, HARNESSES[arm.harness], wanted)
        slots = slots_of(list(papers_of(config, out / "cache").values()), arm.each)
        with closing(Results(out / "results.db")) as results:
            rows = {slot: row for slot in slots if (row := results.get(slot))}
            repeats = len(results.repeated(config.audit.repeat_max))
    calls = sum(row.result.calls for row in rows.values())
    return Made(arm, {slot: row.result.passed for slot, row in rows.items()}, repeats, calls)


def yields(found: Sequence[Made]) -> Iterator[str]:
    """The first table, a row an arm; rates by seed, then of all."""
    yield ("| harness | items a paper | `--batch` | passed, by seed | passed | first batch, later"
           " ones | repeats left out | kept | calls an item |")  # fmt: skip
    yield "|---|---|---|---|---|---|---|---|---|"
    for arm in dict.fromkeys(one.arm for one in found):
        same = [one for one in found if one.arm == arm]
        rates = [sum(one.passed.values()) / len(one.passed) for one in same]
        size, repeats = sum(len(one.passed) for one in same), sum(one.repeats for one in same)
        passed = sum(sum(one.passed.values()) for one in same)
        kept = passed - repeats
        yield " | ".join(
            [f"| {arm.harness}", str(arm.each), str(arm.batch or "no"),
             " / ".join(f"{rate:.0%}" for rate in rates), f"{passed / size:.0%} of {size}",
             _by_batch(same), str(repeats), str(kept),
             f"{sum(one.calls for one in same) / max(1, kept):.0f} |"]
        )  # fmt: skip


def _by_batch(same: Sequence[Made]) -> str:
    batch = same[0].arm.batch
    if not batch:
        return ""
    flags = [list(one.passed.values()) for one in same]
    first = [flag for one in flags for flag in one[:batch]]
    later = [flag for one in flags for flag in one[batch:]]
    return f"{sum(first) / len(first):.0%}, {sum(later) / len(later):.0%}"


def second_chances(found: Sequence[Made]) -> Iterator[str]:
    """The second table: does a paper that gave nothing give the next item?"""
    yield "| harness | `--batch` | next item passes where the one before passed | where it failed |"
    yield "|---|---|---|---|"
    for arm in dict.fromkeys(one.arm for one in found if one.arm.each > 1):
        wins, tries = Counter[bool](), Counter[bool]()
        for one in (one for one in found if one.arm == arm):
            for slot, passed in one.passed.items():
                if slot.number > 1:
                    before = one.passed[Slot(slot.paper, slot.number - 1)]
                    wins[before] += passed
                    tries[before] += 1
        cells = (f"{wins[x] / max(1, tries[x]):.0%} of {tries[x]}" for x in (True, False))
        yield f"| {arm.harness} | {arm.batch or 'no'} | {' | '.join(cells)} |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--papers", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    arms = [Arm(*one) for one in product(HARNESSES, EACH, (None, given.batch))]
    wanted = list(product(arms, range(given.seeds)))
    with ProcessPoolExecutor(given.workers) as pool:
        jobs = [pool.submit(made, arm, given.papers, seed) for arm, seed in wanted]
        found = [job.result() for job in jobs]
    print(f"SIMULATED. {machine()}\n")
    print("\n".join([*yields(found), "", *second_chances(found)]))


if __name__ == "__main__":
    main()
