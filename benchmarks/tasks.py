"""The tasks side by side: what the baseline, made for each, gets accepted.

    METAOPT_PAPERS=FOLDER python benchmarks/tasks.py [--papers 50] [--repeats 4]

Every role is played by the simulator.  As ``classics.py`` measures a method: each harness works on
each paper (of METAOPT_PAPERS, or synthetic ones) several times, at most five items evaluated; the
accepted items are then tried afresh with all attempts of both solvers, and audited.  A score is a
share of the rubric, or where answers are checked the share of right attempts, so gaps of different
tasks are not to be compared.  Prints a Markdown table for docs/tasks.md.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from classics import HEADINGS, announced, play, row
from simulator_table import config

from inner_agent.settings import InnerConfig
from metaopt.config import Harness
from metaopt.harnesses import export_harness
from metaopt.resources import shipped


@dataclass(frozen=True, slots=True)
class Arm:
    """A task's settings, the diff that makes a harness for it, and attempts of each solver."""

    diff: str = ""
    task: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 3


ARMS: Mapping[str, Arm] = {
    "rubric": Arm(),
    "verifiable, majority": Arm("verifiable", {"name": "verifiable"}),
    "verifiable, at most 1 and at least 3 of 4": Arm(
        "verifiable", {"name": "verifiable", "rule": "count"}, 4
    ),
    "verifiable, the judge compares": Arm(
        "verifiable", {"name": "verifiable", "answer": "verifier"}
    ),
    "learnable, high": Arm("learnable", {"name": "learnable"}),
    "learnable, high or medium": Arm(
        "learnable", {"name": "learnable", "accept": ("high", "medium")}
    ),
}


def settings(arm: Arm, seed: int) -> InnerConfig:
    """The benchmarks' simulated config with the arm's task."""
    given = config(seed).model_dump(exclude_defaults=True)
    for tier in ("weak", "strong"):
        given["models"][tier]["attempts"] = arm.attempts
    return InnerConfig.model_validate({**given, "task": dict(arm.task)})


def main() -> None:
    """Play the tasks, printing each row as it is done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--papers", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    papers = announced(parser, args)
    print(f"| task | {' | '.join(HEADINGS[1:])} |\n{'|---' * len(HEADINGS)}|")
    with tempfile.TemporaryDirectory() as scratch:
        for name, arm in ARMS.items():
            diff = shipped("populations/tasks") / f"{arm.diff}.diff"
            wanted = str(diff) if arm.diff else None
            made = export_harness(Harness(), wanted, Path(scratch)).folder
            played = asyncio.run(play(made, papers, args.repeats, settings(arm, args.seed)))
            print(row(name, played), flush=True)


if __name__ == "__main__":
    main()
