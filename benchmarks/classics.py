"""What each classical method would put into a data set, all items judged alike.

    METAOPT_PAPERS=FOLDER python benchmarks/classics.py [--papers 50] [--repeats 4] [--arms A,B]

Every role is played by the simulator.  Each harness works on each paper (of METAOPT_PAPERS, or
synthetic ones) several times, at most five items evaluated.  The item that it hands in as final,
accepted or not, is then tried afresh: all attempts of both solvers, and the audit.  So what was
accepted by luck doesn't count, and one-shot items are measured that the weak solver got right.
Averages are over papers, each with the average of its items.  Prints a Markdown table for
docs/results.md.
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from common import machine
from simulator_table import IN_FLIGHT, config, corpus

from inner_agent import sandbox
from inner_agent.calls import CallStore
from inner_agent.evaluation import Evaluator
from inner_agent.gateway import Gateway
from inner_agent.items import Item, ItemRefused
from inner_agent.papers import PaperText
from inner_agent.run_paper import Rig, Rollout, run_paper
from inner_agent.settings import InnerConfig
from metaopt.classics import PREFIX, classics
from metaopt.config import Harness
from metaopt.dataquality import try_item
from metaopt.harnesses import export_harness
from metaopt.statistics import clustered, student

BASELINE = "baseline"
FIRST = (
    "self_instruct", "grounded_self_instruct", "cot_self_instruct", "self_challenging",
    BASELINE, "scripted",
)  # fmt: skip
HEADINGS = (
    "harness", "an item", "accepted", "95 %", "weak", "strong", "gap", "95 %", "stand the audit",
    "new question", "calls",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Handed:
    """An item that was handed in as final: its question, averages of fresh attempts, the audit."""

    question: str
    weak: float
    strong: float
    stands: bool


@dataclass(frozen=True, slots=True)
class Played:
    """A harness on one paper, once; no item where none was handed in that can be evaluated."""

    paper: str
    accepted: bool
    calls: int
    item: Handed | None


def final_item(rollout: Rollout) -> Item | None:
    """The item that the harness names as final, accepted or not."""
    result = rollout.submitted
    final = result.final() if result else None
    try:
        return result.item_of(final) if result and final else None
    except ItemRefused:
        return None


async def handed_in(rig: Rig, paper: PaperText, item: Item, sample: str) -> Handed | None:
    """An item tried afresh; None where nothing was readable."""
    evaluator = Evaluator(rig.gateway.ask, rig.config, paper.text, proven=rig.proven)
    found, _ = await try_item(evaluator, item, sample)
    if found.problem:
        return None
    return Handed(item.question, fmean(found.weak), fmean(found.strong), not found.findings)


async def play(
    folder: Path, papers: Sequence[PaperText], repeats: int, own: InnerConfig
) -> list[Played]:
    """A harness on each paper; its calls are those up to its end, without the trial after."""
    settings = own.model_copy(update={"short_circuit": False})
    unaudited = own.audit.model_copy(update={"llm": False, "probes": False})
    own = own.model_copy(update={"audit": unaudited})
    gateway = Gateway(settings, CallStore(":memory:"))
    places = asyncio.Semaphore(IN_FLIGHT)
    with tempfile.TemporaryDirectory() as scratch:
        mode = sandbox.choose_mode(settings)
        rig, after = (Rig(one, gateway, mode, Path(scratch)) for one in (own, settings))

        async def once(paper: PaperText, repeat: int) -> Played:
            async with places:
                done = await run_paper(rig, folder, paper, f"classics/{repeat}", fresh=False)
                result, item = done.result, final_item(done)
                if result.reason not in ("passed", "audit_failed", "not_accepted"):
                    raise SystemExit(f"{folder}: {result.reason} ({result.detail})")
                sample = f"afresh/{repeat}/{paper.paper.id}"
                handed = await handed_in(after, paper, item, sample) if item else None
                return Played(paper.paper.id, result.accepted, result.calls, handed)

        played = await asyncio.gather(*(once(p, r) for r in range(repeats) for p in papers))
    await gateway.close()
    return list(played)


def by_paper(played: Sequence[Played], of: Callable[[Handed], float]) -> list[float]:
    """A number of the items, as each paper's average; papers without an item are left out."""
    found: dict[str, list[float]] = {}
    for one in played:
        if one.item:
            found.setdefault(one.paper, []).append(of(one.item))
    return [fmean(values) for values in found.values()]


def row(name: str, played: Sequence[Played]) -> str:
    """One line of the table."""
    items = [p.item for p in played if p.item]
    papers = sorted({p.paper for p in played})
    passes = [sum(p.accepted for p in played if p.paper == paper) for paper in papers]
    low, high = clustered(passes, [len(played) // len(papers)] * len(papers))
    known = [""] * 6
    if items:
        gaps = by_paper(played, lambda item: item.strong - item.weak)
        interval = student(gaps)
        known = [
            f"{fmean(by_paper(played, lambda item: item.weak)):.1%}",
            f"{fmean(by_paper(played, lambda item: item.strong)):.1%}",
            f"{100 * fmean(gaps):.1f}",
            f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}" if interval else "",
            f"{fmean(by_paper(played, lambda item: item.stands)):.0%}",
            f"{len({item.question for item in items}) / len(items):.0%}",
        ]
    cells = [
        name, f"{len(items) / len(played):.0%}", f"{sum(passes) / len(played):.1%}",
        f"{low:.0%} to {high:.0%}", *known, f"{fmean(p.calls for p in played):.1f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def announced(parser: argparse.ArgumentParser, args: argparse.Namespace) -> list[PaperText]:
    """The papers to play on; prints what is measured, and on which machine."""
    folder = os.environ.get("METAOPT_PAPERS")
    papers = corpus(Path(folder) if folder else None, args.papers)
    if len({p.paper.id for p in papers}) < args.papers:
        parser.error(f"METAOPT_PAPERS has only {len({p.paper.id for p in papers})} papers")
    size = f"{args.papers} {'real' if folder else 'synthetic'} papers x {args.repeats}"
    print(f"SIMULATED; {size}, seed {args.seed}; {machine()}\n")
    return papers


def main() -> None:
    """Play the harnesses, printing each row as it is done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = dict.fromkeys([*FIRST, *(one.name for one in classics())])
    parser.add_argument("--papers", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--arms", default=",".join(names))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    papers = announced(parser, args)
    print(f"| {' | '.join(HEADINGS)} |\n{'|---' * len(HEADINGS)}|")
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.arms.split(","):
            wanted = None if name == BASELINE else f"{PREFIX}{name}"
            made = export_harness(Harness(), wanted, Path(scratch)).folder
            print(
                row(name, asyncio.run(play(made, papers, args.repeats, config(args.seed)))),
                flush=True,
            )


if __name__ == "__main__":
    main()
