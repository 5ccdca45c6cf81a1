"""The command line that the campaigns of kills and of power cuts share."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol


class Tally(Protocol):
    """What a campaign came to."""

    problems: list[str]

    def table(self, seed: int, what: str) -> str:
        """One row of Markdown, with its heading."""
        ...


def command(
    doc: str | None,
    counted: str,
    play: Callable[[str, int, int], Tally],
    subjects: Sequence[str] = ("run", "generate"),
) -> int:
    """Parse the arguments, ``play(what, seed, count)``, print its table; the exit status."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument(f"--{counted}", dest="count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--what", choices=subjects, default="run")
    options = parser.parse_args()
    began = time.monotonic()
    tally = play(options.what, options.seed, options.count)
    print(tally.table(options.seed, options.what))
    print(f"\n{time.monotonic() - began:.0f} s")
    for problem in tally.problems:
        print(problem, file=sys.stderr)
    return 1 if tally.problems else 0
