"""What the simulator makes of single edits: pass rates of the baseline harness and of variants.

    python benchmarks/simulator_table.py [--papers 400] [--corpus FOLDER] [--arms baseline,hardest]

Every arm plays the same papers through ``run_paper`` (sandbox, broker, fresh evaluation), five
items a paper.  The published fixes are the diffs in populations/classics; the other arms add one
sentence to a prompt.  Prints a Markdown table for docs/simulator.md.
"""

import argparse
import asyncio
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import ROOT

from inner_agent import sandbox
from inner_agent.calls import CallStore
from inner_agent.gateway import Gateway
from inner_agent.papers import Paper, PaperText, find_papers, read_paper
from inner_agent.run_paper import PaperResult, Rig, run_paper
from inner_agent.settings import INNER_ROLES, InnerConfig
from inner_agent.synthetic import generate_papers
from metaopt.statistics import wilson

ITEMS = 5
IN_FLIGHT = 4


@dataclass(frozen=True, slots=True)
class Arm:
    """A variant of the baseline: a diff, or a sentence under a heading of a prompt."""

    diff: str = ""
    prompt: str = ""
    heading: str = ""
    sentence: str = ""


ARMS: Mapping[str, Arm] = {
    "baseline": Arm(),
    "paper-specific insight": Arm(diff="fix_paper_specific"),
    "no context leak": Arm(diff="fix_context_leak"),
    "positive rubric": Arm(diff="fix_positive_rubric"),
    "strict JSON rubric": Arm(diff="fix_strict_json"),
    "all four": Arm(diff="published_fixes"),
    "scripted main agent": Arm(diff="scripted"),
    "idle": Arm("", "challenger", "## The question", "Work with care and aim for excellence."),
    "three to five steps": Arm(
        "", "challenger", "## The question", "A good question takes three to five linked steps."
    ),
    "no style criteria": Arm(
        "", "challenger", "## The rubric", "No criterion rewards style or general virtues."
    ),
    "never gives up": Arm(
        "", "main_agent", "## Process", "Never give up: go on until the allowance is used up."
    ),
    "hardest": Arm(
        "", "challenger", "## The question", "Make the question as hard as possible."
    ),
    "exact numbers": Arm(
        "", "challenger", "## The question", "Tie the question to exact numbers of the paper."
    ),
    "full solution": Arm(
        "", "challenger", "## The context", "Put the full solution into the context."
    ),
    "harsh verifier": Arm(
        "", "quality_verifier", "# Quality verifier", "When in doubt, fail the item."
    ),
    "stops early": Arm("", "main_agent", "## Process", "Call `finish` after two failed rounds."),
}  # fmt: skip


def build(arm: Arm, folder: Path) -> Path:
    """The arm's harness as a folder."""
    shutil.copytree(ROOT / "baseline_harness", folder, ignore=shutil.ignore_patterns("__pycache__"))
    if arm.diff:
        patch = ROOT / "populations" / "classics" / f"{arm.diff}.diff"
        subprocess.run(["git", "apply", str(patch)], cwd=folder, check=True)
    if arm.sentence:
        path = folder / "prompts" / f"{arm.prompt}.md"
        text = path.read_text(encoding="utf-8")
        if text.count(arm.heading + "\n") != 1:
            raise SystemExit(f"{path.name}: the heading {arm.heading!r} isn't there just once")
        new = f"{arm.heading}\n\n{arm.sentence}\n"
        path.write_text(text.replace(arm.heading + "\n", new), encoding="utf-8")
    return folder


def corpus(folder: Path | None, count: int, tokens: int = 24_000) -> list[PaperText]:
    """``count`` papers: synthetic ones, or those of a folder, over and over, cut to ``tokens``."""
    if folder is not None:
        real = [read_paper(paper, tokens) for paper in find_papers(folder).values()]
        return [real[n % len(real)] for n in range(count)]
    return [
        PaperText(Paper(p.id, p.title, Path(), p.id, p.topic), p.text, 0)
        for p in generate_papers(count, seed=1)
    ]


def config(seed: int) -> InnerConfig:
    """Every role on the simulator."""
    models = {
        role: {"endpoint": "simulator", "model": f"sim-{role.replace('_', '-')}"}
        for role in INNER_ROLES
    }
    return InnerConfig.model_validate(
        {
            "seed": seed,
            "papers": {"path": ""},
            "endpoints": {"simulator": {"kind": "simulator"}},
            "models": models,
            "limits": {"items": ITEMS},
        }
    )


async def play(harness: Path, papers: Sequence[PaperText], seed: int) -> list[PaperResult]:
    """One rollout a paper."""
    settings = config(seed)
    gateway = Gateway(settings, CallStore(":memory:"))
    places = asyncio.Semaphore(IN_FLIGHT)
    with tempfile.TemporaryDirectory() as scratch:
        rig = Rig(settings, gateway, sandbox.choose_mode(settings), Path(scratch))

        async def one(number: int, paper: PaperText) -> PaperResult:
            async with places:
                done = await run_paper(rig, harness, paper, f"table/{number}", fresh=True)
                return done.result

        results = await asyncio.gather(*(one(n, paper) for n, paper in enumerate(papers)))
    await gateway.close()
    return list(results)


def row(name: str, results: Sequence[PaperResult]) -> str:
    """One line of the Markdown table."""
    passed = sum(r.passed for r in results)
    low, high = wilson(passed, len(results))
    outcomes = sum((Counter(r.outcomes) for r in results), Counter())
    judged = ("too_easy", "failed_on_strong", "failed_quality_check")
    failed = max(1, sum(outcomes[o] for o in judged))
    mix = " / ".join(f"{outcomes[o] / failed:.0%}" for o in judged)
    final = [r for r in results if r.passed]
    means = [
        sum(getattr(r, k) for r in final) / max(1, len(final)) for k in ("weak_avg", "strong_avg")
    ]
    cells = (
        name,
        f"{passed / len(results):.1%}",
        f"{low:.1%} to {high:.1%}",
        f"{sum(r.accepted for r in results) / len(results):.1%}",
        f"{sum(r.rounds for r in results) / len(results):.1f}",
        mix,
        f"{outcomes['invalid_item'] / max(1, outcomes.total()):.0%}",
        f"{means[0]:.0%} / {means[1]:.0%}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Play the arms, printing each row as it is done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--papers", type=int, default=400)
    parser.add_argument("--corpus", type=Path, help="a folder of papers instead of synthetic ones")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    papers = corpus(args.corpus, args.papers)
    print(f"{args.papers} rollouts an arm, seed {args.seed}\n")
    print("| arm | pass rate | 95 % interval | accepted in the loop | rounds |"
          " too easy / strong / quality | refused | weak / strong |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(args.arms.split(",")):
            harness = build(ARMS[name], Path(folder) / str(number))
            print(row(name, asyncio.run(play(harness, papers, args.seed))), flush=True)


if __name__ == "__main__":
    main()
