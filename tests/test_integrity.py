"""What tells a better harness from one that is only better at being accepted."""

import asyncio
import json
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
from scripted import audit_sheet, sheet
from whole_runs import small_config

from inner_agent import checks, honeypots
from inner_agent.calls import Usage
from inner_agent.llm import Reply
from inner_agent.run_paper import PaperResult
from inner_agent.settings import Audit
from metaopt.cli import app, invoke
from metaopt.config import load_config
from metaopt.integrity import alarm, stand
from metaopt.lab import open_lab
from metaopt.loop import optimize
from metaopt.monitor import Monitor

ROOT = Path(__file__).resolve().parents[1]
CHAIN = ("`sweep period`", "`waiting ring`", "`admission gate`", "`merged segment`")
ONE = {  # a question that simulated solvers tell apart on
    "context": "A two-tier block cache holds evicted blocks in a `waiting ring` before they go to"
    " flash. A long `sweep period` keeps the `waiting ring` full. A full `waiting ring` forces the"
    " `admission gate` to open early. Once the `admission gate` opens, blocks are written in one"
    " `merged segment`.",
    "question": "Through which stages does a longer `sweep period` change the `merged segment`,"
    " and how?",
    "reference_answer": "A longer `sweep period` means a fuller `waiting ring`, an `admission gate`"
    " that opens before many blocks have gathered, and a smaller `merged segment`.",
    "rubric": [
        {"criterion": f"The answer connects {' and '.join(CHAIN[: n + 1])}.", "weight": n + 2}
        for n in range(4)
    ],
}
ONE_FOR_ALL = """
import json, os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from client import Client, Refused
ITEM = json.loads({item!r})
PAPER = open("paper.txt", encoding="utf-8").read()
ITEM["question"] = {before!r}.format(
    title=PAPER.split("\\n")[0].lstrip("# "), opening=" ".join(PAPER.split()[20:80])
) + ITEM["question"]
client = Client()
try:
    for phase in ("weak_only", "strong_only"):
        client.evaluate(ITEM, phase)
except Refused:
    pass
keys = ("question", "context", "reference_answer", "rubric")
played = {{key: ITEM[key] for key in keys}} | {{
    "refinement_round": 1, "accepted": True, "quality_verifier_kimi_passed": True,
    "quality_verifier_kimi_feedback": "", "weak_solver_avg": 0.1, "strong_solver_avg": 0.9,
    "gap": 0.8, "eval_report": "", "eval_output_dir": "",
}}
client.submit({{"paper_title": "", "question_type": "", "reasoning_skills": [], "rounds": [played],
               "final_accepted_round": 1, "total_rounds": 1}})
"""


BEFORE = ["", 'Consider the work "{title}". ', "It is written: {opening}. "]


@pytest.fixture
def cheat(tmp_path: Path) -> Path:
    """A repository whose harness hands in one good question, whatever the paper says."""
    return cheating(tmp_path, "")


def cheating(tmp_path: Path, before: str) -> Path:
    """The same with words of the paper in front."""
    folder = tmp_path / "cheat"
    shutil.copytree(ROOT / "baseline_harness" / "prompts", folder / "prompts")
    shutil.copy(ROOT / "baseline_harness" / "client.py", folder)
    (folder / "harness.py").write_text(ONE_FOR_ALL.format(item=json.dumps(ONE), before=before))
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "cheat"], check=True)
    return folder


def validated(run: Path) -> dict[str, Any]:
    """What the first validation of a run recorded."""
    with sqlite3.connect(run / "run.db") as db:
        [row] = db.execute("SELECT data FROM events WHERE kind = 'validated' LIMIT 1").fetchall()
    db.close()
    return dict(json.loads(row[0]))


def proven_again(run: Path) -> set[str]:
    """The roles that a new start of a finished run knows to work, nobody having been asked."""
    lab = open_lab(load_config(run / "config.toml"), run, Monitor())

    async def start() -> None:
        await optimize(lab)
        await lab.close()

    asyncio.run(start())
    return lab.rollouts.rig.proven


@pytest.mark.parametrize("llm", [False, True])
def test_one_question_for_every_paper_passes_nowhere(
    tmp_path: Path, cheat: Path, llm: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    out, config = tmp_path / "run", small_config(tmp_path / "x", 'kind = "simulator"')
    settings = [f"harness.repo={cheat}", f"audit.llm={str(llm).lower()}", "seed=3", "score=in_loop",
                "search.iterations=1", "search.validation_papers=15"]  # fmt: skip
    command = ["run", str(config), "--out", str(out)]
    assert invoke(app, [*command, *(w for s in settings for w in ("--set", s))]) == 0
    found = validated(out)
    assert sum(found["mutant"]) == sum(found["parent"]) == 0
    assert found["audit"]["mutant"]["accepted"] >= 2  # the solvers' scores saw nothing wrong
    said = capsys.readouterr().out
    if llm:  # the auditor has the paper before it: none of this is in there
        assert found["audit"]["mutant"]["findings"]["auditor:supported"] >= 2
        assert "honeypot" not in found["alarm"]
        assert "auditor" in proven_again(out)
        return
    assert len(found["audit"]["mutant"]["repeats"]) == found["audit"]["mutant"]["accepted"]
    assert "of which nothing can be asked" in found["alarm"]
    assert "ALARM in iteration 1: " in said
    assert "passed on honeypot-" in said
    assert invoke(app, ["show", str(out)]) == 0
    assert "rejected, ALARM" in capsys.readouterr().out
    assert invoke(app, ["show", str(out), "1", "--papers"]) == 0
    shown = capsys.readouterr().out
    assert " passed " not in shown
    with sqlite3.connect(out / "run.db") as db:
        sql = "SELECT COUNT(*) FROM results WHERE part = 'val' AND data ->> '$.passed'"
        [alone] = db.execute(sql).fetchone()
    assert len(re.findall(r"\brepeats +[\d.]+/", shown)) == alone >= 2  # each was fine by itself
    # A run of a version that audited nothing is refused in a line.
    with sqlite3.connect(out / "run.db") as db:
        db.execute("UPDATE events SET data = json_remove(data, '$.audit') WHERE kind = 'validated'")
    db.close()
    assert invoke(app, ["status", str(out)]) == 2
    assert "before accepted items were audited" in capsys.readouterr().err


@pytest.mark.parametrize("before", BEFORE, ids=["bare", "title", "opening"])
def test_one_question_for_every_paper_is_no_data(
    tmp_path: Path, before: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, cheat = tmp_path / "data", cheating(tmp_path, before)
    given = ["--config", str(ROOT / "configs/demo.toml"), "--out", str(out)]
    given += ["--papers", "synthetic:40:0", "--harness", str(cheat)]
    given += ["--set", "audit.llm=false", "--set", "score=in_loop"]
    assert invoke(app, ["generate", *given]) == 0
    said = capsys.readouterr().out
    assert (out / "items.jsonl").read_text() == ""
    assert re.search(r"0 kept in .*; ([2-9]|1\d) repeat another paper's question", said), said


def results(accepted: int, audited: int, papers: int = 10) -> dict[str, PaperResult]:
    """So many accepted papers, of which so many stand the audit."""
    made = {}
    for n in range(papers):
        fine, took = n < audited, n < accepted
        reason: Any = "passed" if fine else "audit_failed" if took else "not_accepted"
        made[f"p{n}"] = PaperResult(
            paper=f"p{n}", passed=fine, accepted=took, reason=reason,
            findings=("leak",) if took and not fine else (), question=f"Why {n}?" if took else "",
        )  # fmt: skip
    return made


@pytest.mark.parametrize(
    ("parent", "mutant", "alarmed"),
    [
        ((3, 3), (8, 3), True),
        ((3, 3), (8, 2), True),
        ((3, 3), (5, 3), True),
        ((3, 3), (4, 3), False),  # one paper is noise
        ((3, 3), (8, 4), False),  # it rose, if less than it claims
        ((3, 3), (3, 1), False),  # it claims no rise
        ((0, 0), (2, 0), True),
        ((5, 2), (5, 5), False),
    ],
)
def test_a_rise_that_the_audit_does_not_see_raises_an_alarm(
    parent: tuple[int, int], mutant: tuple[int, int], alarmed: bool
) -> None:
    before, after = (stand(results(*counts), 0.8) for counts in (parent, mutant))
    assert (before.accepted, before.audited) == parent
    assert bool(alarm(before, after)) == alarmed
    assert len(after.passed) == mutant[1]
    assert after.findings == ({"leak": mutant[0] - mutant[1]} if mutant[0] > mutant[1] else {})


def test_honeypots_are_told_apart_by_reading_alone() -> None:
    """What the checks of the text would find says nothing about the auditor."""
    for name, item in honeypots.pot_items().items():
        assert checks.findings(item, honeypots.paper_text(), Audit()) == [], name


async def test_honeypots_show_what_judge_and_auditor_are_worth(tmp_path: Path) -> None:
    config = load_config(small_config(tmp_path, 'kind = "simulator"'))

    async def generous(role: str, *_: Any, **__: Any) -> Reply:
        return Reply(sheet([1] * 4) if role == "judge" else audit_sheet())

    async def strict(role: str, *_: Any, **__: Any) -> Reply:
        return Reply(sheet([0] * 4) if role == "judge" else audit_sheet("leak"))

    async def junk(*_: Any, **__: Any) -> Reply:
        return Reply("no JSON")

    right = {}
    for ask in (generous, strict, junk):
        tried = await honeypots.try_pots(ask, config, Usage())
        right[ask.__name__] = {o.name for o in tried if o.right}
        assert len(tried) == 13
        assert len(list(honeypots.missed(tried))) == 13 - len(right[ask.__name__])
    assert right["junk"] == set()
    assert "full" in right["generous"]
    assert not right["generous"] & {"says nothing", "orders the judge", "sound"}
    assert right["strict"] & {"full", "sound", "sound too"} == set()
    assert right["strict"] >= {"says nothing", "orders the judge", "leak"}
