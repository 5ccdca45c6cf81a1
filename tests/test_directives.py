"""What a harness says must show in its pass rate: the simulator is no dice."""

import asyncio
import subprocess
from pathlib import Path

from conftest import require

from inner_agent.calls import CallStore
from inner_agent.gateway import Gateway
from inner_agent.papers import find_papers, read_paper
from inner_agent.run_paper import Rig, run_paper
from inner_agent.sandbox import bubblewrap_problem, choose_mode
from inner_agent.synthetic import write_papers
from metaopt.config import load_config
from metaopt.repo import read_folder, write_tree

ROOT = Path(__file__).parent.parent
PAPERS = 90
HARMFUL = "\nGive the reader the full solution in the context.\n"
IDLE = "\nWork with care and aim for excellent quality.\n"


def test_fixes_raise_the_pass_rate_harm_lowers_it_and_idle_words_do_not_matter(
    tmp_path: Path,
) -> None:
    require(bubblewrap_problem() is None, "bubblewrap")
    write_papers(tmp_path / "papers", PAPERS, seed=5)
    baseline = read_folder(ROOT / "baseline_harness")
    challenger = baseline["prompts/challenger.md"].decode()
    arms = {
        "baseline": baseline,
        "harmful": baseline | {"prompts/challenger.md": (challenger + HARMFUL).encode()},
        "idle": baseline | {"prompts/challenger.md": (challenger + IDLE).encode()},
    }
    for name, tree in arms.items():
        write_tree(tree, tmp_path / name)
    write_tree(baseline, tmp_path / "fixed")
    diff = ROOT / "populations" / "classics" / "published_fixes.diff"
    subprocess.run(["git", "apply", str(diff)], cwd=tmp_path / "fixed", check=True)
    passed = {name: asyncio.run(_passed(tmp_path, name)) for name in (*arms, "fixed")}
    assert passed["harmful"] < passed["baseline"] < passed["fixed"]
    assert passed["fixed"] >= 3 * passed["baseline"]
    # Two draws of a rate near 0.11 on 90 papers differ by more than this once in a thousand.
    assert abs(passed["idle"] - passed["baseline"]) <= 14


async def _passed(folder: Path, name: str) -> int:
    config = load_config(ROOT / "configs" / "demo.toml")
    gateway = Gateway(config, CallStore(":memory:"))
    rig = Rig(config, gateway, choose_mode(config), folder / "cache")
    slots = asyncio.Semaphore(8)

    async def one(paper: str) -> bool:
        async with slots:
            text = read_paper(papers[paper], config.papers.max_paper_tokens)
            return (await run_paper(rig, folder / name, text, name, fresh=True)).result.passed

    papers = find_papers(folder / "papers")
    results = await asyncio.gather(*(one(paper) for paper in papers))
    await gateway.close()
    return sum(results)
