"""A campaign of small runs on a provider that fails: every class of fault, alone and mixed.

    python tests/soak/faults.py --runs 3 --seed 0

For each class ``--runs`` runs with seeds of their own; each is compared, event by event and
result by result, with the same run on a sound provider, its calls are added up, and a planted
key is looked for in every file.  Prints a Markdown table; the exit status is 1 if anything
differs.  Pauses take no time, hangs do: half a second each.
"""

import argparse
import contextlib
import io
import os
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from clock import SkippingClock  # noqa: E402
from fake_openai import FakeOpenAI  # noqa: E402
from faults import ALL, Faulty, files_with  # noqa: E402
from whole_runs import Provider, small_config, story  # noqa: E402

from inner_agent import llm  # noqa: E402
from metaopt.cli import app, invoke  # noqa: E402

KEY = "sk-planted-0123456789abcdef"
ALONE, MIXED = 0.2, 0.4  # shares of the requests that fail
SLOW = {"hang": 0.05, "drip": 0.05}  # each of these costs half a second
OUTAGES = (5, 20, 100)  # requests that find the server down


@dataclass(frozen=True)
class Outcome:
    """What one run came to; ``leaks`` are files, and lines of output, with the key in them."""

    status: int
    injected: int
    story: Any
    recorded: int
    aside: int
    whole: int
    pauses: int
    leaks: int


def play(folder: Path, faulty: Faulty) -> Outcome:
    """One run from start to end."""
    said = io.StringIO()
    with FakeOpenAI(key=KEY) as server, contextlib.redirect_stderr(said):
        server.reply = faulty
        endpoint = f'base_url = "{server.base_url}"\napi_key_env = "FAKE_KEY"\ntimeout_s = 0.5'
        config = small_config(folder, endpoint)
        with contextlib.redirect_stdout(said):
            status = invoke(app, ["run", str(config), "--out", str(folder / "run")])
    with contextlib.closing(sqlite3.connect(folder / "run" / "calls.db")) as db:
        names = [row[0] for row in db.execute("SELECT sample FROM calls")]
    return Outcome(
        status=status,
        injected=faulty.injected.total() + faulty.down,
        story=story(folder / "run"),
        recorded=len(names),
        aside=sum(re.search(r"#unusable\d+$", name) is not None for name in names),
        whole=faulty.whole,
        pauses=said.getvalue().count(": paused, "),
        leaks=len(files_with(folder, KEY)) + said.getvalue().count(KEY),
    )


def classes() -> dict[str, Callable[[int], Faulty]]:
    """By name: how to make the provider of one run, given its seed."""

    def share(kinds: tuple[str, ...], part: float) -> Callable[[int], Faulty]:
        return lambda seed: Faulty(Provider(), seed, part, kinds, secret=KEY)

    def outage(length: int) -> Callable[[int], Faulty]:
        return lambda seed: Faulty(
            Provider(), seed, 0, secret=KEY, outage_at=50 + 97 * (seed % 8), outage=length
        )

    made = {kind: share((kind,), SLOW.get(kind, ALONE)) for kind in ALL}
    made["all of them"] = share(ALL, ALONE)
    made["all of them, more"] = share(ALL, MIXED)
    return made | {f"outage of {n} requests": outage(n) for n in OUTAGES}


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1, help="for each class of faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="the one class to run")
    options = parser.parse_args()
    os.environ["FAKE_KEY"] = KEY
    llm.SystemClock = SkippingClock  # type: ignore[assignment, misc]
    with tempfile.TemporaryDirectory(prefix="metaopt-soak-") as scratch:
        sound = play(Path(scratch, "sound"), Faulty(Provider(), 0, 0))
    wanted = {k: v for k, v in classes().items() if options.only in (None, k)}
    print("| faults | runs | injected | runs that ended | decisions or results changed"
          " | replies set aside | calls not added up | pauses | leaks of the key |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    return max([campaign(name, make, sound, options) for name, make in wanted.items()], default=2)


def campaign(
    name: str, make: Callable[[int], Faulty], sound: Outcome, options: argparse.Namespace
) -> int:
    """The runs of one class: prints their row, returns 1 if anything is wrong."""
    outcomes = []
    for number in range(options.runs):
        with tempfile.TemporaryDirectory(prefix="metaopt-soak-") as scratch:
            outcomes.append(play(Path(scratch), make(1_000 * options.seed + number)))
    ended = sum(o.status == 0 for o in outcomes)
    changed = sum(o.story != sound.story for o in outcomes)
    wrong = sum(
        o.recorded != o.whole or o.recorded - o.aside != sound.recorded - sound.aside
        for o in outcomes
    )
    leaks = sum(o.leaks for o in outcomes)
    cells = (
        name, len(outcomes), sum(o.injected for o in outcomes), ended, changed,
        sum(o.aside for o in outcomes), wrong, sum(o.pauses for o in outcomes), leaks,
    )  # fmt: skip
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    return int(ended < len(outcomes) or changed > 0 or wrong > 0 or leaks > 0)


if __name__ == "__main__":
    sys.exit(main())
