"""The classical methods as harnesses: through the gate, on simulated papers, by name."""

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from inner_agent import sandbox
from inner_agent.calls import CallStore
from inner_agent.gateway import Gateway
from inner_agent.items import ItemRefused
from inner_agent.papers import Paper, PaperText
from inner_agent.run_paper import Rig, Rollout, run_paper
from inner_agent.settings import INNER_ROLES, InnerConfig, Limits
from inner_agent.simulator.lexicon import directives
from inner_agent.simulator.reading import read_paper, split
from inner_agent.synthetic import generate_papers
from metaopt import classics
from metaopt.cli import app, invoke
from metaopt.config import Harness
from metaopt.gate import GateRules, gate
from metaopt.harnesses import export_harness, open_harnesses
from metaopt.repo import read_folder
from metaopt.smoke import Smoke

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "populations" / "classics"
NAMES = sorted(path.stem for path in FOLDER.glob("*.diff"))
FEW_SHOT = ("self_instruct", "grounded_self_instruct")
ONE_SHOT = (*FEW_SHOT, "cot_self_instruct", "self_challenging")
PAPERS = [
    PaperText(Paper(p.id, p.title, Path(), p.id, p.topic), p.text, 0)
    for p in generate_papers(4, seed=1)
]


def harness(name: str, folder: Path) -> Path:
    """A classic's files in a folder; "baseline" is the baseline's."""
    wanted = None if name == "baseline" else f"classic:{name}"
    return export_harness(Harness(), wanted, folder).folder


def prompt(name: str, folder: Path, agent: str = "challenger") -> str:
    return (harness(name, folder) / "prompts" / f"{agent}.md").read_text(encoding="utf-8")


async def play(folder: Path, scratch: Path) -> list[Rollout]:
    """One rollout on each paper, every role on the simulator."""
    settings = InnerConfig.model_validate({
        "papers": {"path": ""},
        "endpoints": {"simulator": {"kind": "simulator"}},
        "models": {
            role: {"endpoint": "simulator", "model": f"sim-{role.replace('_', '-')}"}
            for role in INNER_ROLES
        },
        "limits": {"items": 5},
    })  # fmt: skip
    gateway = Gateway(settings, CallStore(":memory:"))
    rig = Rig(settings, gateway, sandbox.choose_mode(settings), scratch)
    done = [await run_paper(rig, folder, paper, "t", fresh=False) for paper in PAPERS]
    await gateway.close()
    return done


def chats(rollout: Rollout, agent: str) -> list[dict[str, Any]]:
    return [s for s in rollout.trajectory["steps"] if s.get("agent") == agent]


@pytest.mark.parametrize("name", NAMES)
async def test_each_passes_the_gate(name: str, tmp_path: Path, bubblewrap: None) -> None:
    tree = read_folder(harness(name, tmp_path / "h"))
    smoke = Smoke("bubblewrap", Limits(), tmp_path / "smoke")
    assert await gate(tree, read_folder(ROOT / "baseline_harness"), GateRules(), smoke) == []
    await smoke.close()


@pytest.mark.parametrize("name", ONE_SHOT)
def test_a_one_shot_method_on_simulated_papers(name: str, tmp_path: Path) -> None:
    rollouts = asyncio.run(play(harness(name, tmp_path / "h"), tmp_path / "papers"))
    made = 0
    for paper, rollout in zip(PAPERS, rollouts, strict=True):
        assert rollout.result.reason != "crashed", rollout.result.detail
        assert rollout.result.rounds <= 1
        assert chats(rollout, "main_agent") == []
        asked = chats(rollout, "challenger")
        assert len(asked) == 1 if name != "self_challenging" else 2 < len(asked) <= 16
        assert len(chats(rollout, "quality_verifier")) <= 1
        assert rollout.submitted is not None
        if final := rollout.submitted.final():
            made += _is_item(rollout)
            lines = {s.text for s in read_paper(paper.text).prose}
            drawn = [s for s in split(final.context) if s in lines]
            assert bool(drawn) == (name != "self_instruct"), final.context
        sent = json.dumps([s["messages"] for s in rollout.trajectory["steps"] if "agent" in s])
        if name == "self_instruct":  # a paper that was sent as a whole is noted as [paper]
            assert "[paper]" not in sent
            assert not [line for line in paper.text.splitlines() if len(line) > 60 and line in sent]
        if name == "self_challenging":
            tools = [c["name"] for s in asked for c in s["reply"]["tool_calls"]]
            assert tools[:2] == ["list_sections", "read_section"]
            assert {"search_paper", "check_quote"} <= set(tools)
            assert "[paper]" not in json.dumps([s["messages"] for s in asked])
    assert made >= 2


def _is_item(rollout: Rollout) -> bool:
    assert rollout.submitted is not None
    final = rollout.submitted.final()
    assert final is not None
    try:
        return bool(rollout.submitted.item_of(final).rubric)
    except ItemRefused:
        return False  # weights as strings: a one-shot method has no second try


def test_one_shot_methods_ask_for_less_than_the_loop(tmp_path: Path) -> None:
    calls = {
        name: sum(r.result.calls for r in asyncio.run(
            play(harness(name, tmp_path / name), tmp_path / "papers")
        ))
        for name in ("baseline", "published_fixes", "cot_self_instruct")
    }  # fmt: skip
    assert calls["cot_self_instruct"] < min(calls["baseline"], calls["published_fixes"])


def test_methods_don_t_slip_the_fixes_in(tmp_path: Path) -> None:
    """What sets a method apart is the method, not a sentence of the fixes in its prompt."""
    plain = directives(prompt("baseline", tmp_path), "challenger")
    for name in ("cot_self_instruct", "self_challenging", "grounded_self_instruct"):
        assert directives(prompt(name, tmp_path), "challenger") == plain, name
    assert directives(prompt("self_instruct", tmp_path), "challenger") < plain
    seeds = (harness("self_instruct", tmp_path) / "seeds.json").read_text(encoding="utf-8")
    assert directives(seeds, "challenger") == {"curb:string_weight"}  # its weights are numbers
    for name in ONE_SHOT:
        assert not directives(prompt(name, tmp_path, "quality_verifier"), "quality_verifier")


def test_the_pools_are_one(tmp_path: Path) -> None:
    for file in ("seeds.json", "few_shot.py"):
        one, two = (harness(name, tmp_path) / file for name in FEW_SHOT)
        assert one.read_bytes() == two.read_bytes()


def test_the_command_lists_what_there_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke(app, ["classics"]) == 0
    listed = capsys.readouterr().out
    assert re.findall(r"^classic:(\w+)$", listed, re.MULTILINE) == NAMES
    assert "files: +exploring.py, main_agent.py, prompts/challenger.md, -prompts/main" in listed
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(\w+)\.diff` \|", page, re.MULTILINE)) == NAMES
    shutil.copytree(FOLDER, tmp_path / "own")
    (tmp_path / "own" / "mine.diff").write_text("diff --git a/x b/x\n", encoding="utf-8")
    monkeypatch.setattr(classics, "shipped", lambda _: tmp_path / "own")
    assert invoke(app, ["classics"]) == 2
    assert "mine.diff: must begin with a line 'Changes: …'" in capsys.readouterr().err


def test_a_classic_goes_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_path = str(FOLDER / "scripted.diff")
    with open_harnesses(Harness(), ["classic:scripted", by_path]) as (named, found):
        assert named.tree == found.tree
    demo = ["--config", str(ROOT / "configs/demo.toml"), "--set", "papers.split=''"]
    out = ["--papers", "synthetic:2:0", "--out", str(tmp_path / "data")]
    assert invoke(app, ["generate", *demo, *out, "--harness", "classic:cot_self_instruct"]) == 0
    assert "papers          2" in capsys.readouterr().out
    assert invoke(app, ["generate", *demo, *out, "--harness", "classic:no_such"]) == 2
    assert "no classic has this name; metaopt classics lists them" in capsys.readouterr().err
