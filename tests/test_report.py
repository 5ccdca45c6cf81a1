"""The report of a small simulated run, its optimism meter, controls and audit of the analyzer."""

import itertools
import json
import re
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import hypergeom, nchypergeom_fisher
from whole_runs import small_config

from analysis.cli import app
from analysis.deviations import deviations
from analysis.markdown import escape
from analysis.predictions import Draw, audit, by_chance, interval, score
from analysis.report import _in_short
from metaopt.analyzer import Diagnosis
from metaopt.chance import accepted
from metaopt.cli import invoke
from metaopt.config import load_config
from metaopt.optimism import meter
from metaopt.policy import Paper
from metaopt.population import shrunk_rates
from metaopt.predictions import Checked, checked
from metaopt.record import open_record
from metaopt.store import Event, Store
from metaopt.validations import against_luck, papers_of_run, validations

Capture = pytest.CaptureFixture[str]
PARTS = (
    "Deviations from the published procedure",
    "How good is the best?",
    "Sealed test",
    "What the gate accepted, and what luck would have",
    "Were the analyzer's predictions right?",
    "Audits, alarms and honeypots",
    "Cost",
)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status folds its lines in narrow terminals."""
    monkeypatch.setenv("COLUMNS", "240")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small iterations, the analyzer's predictions followed up in every second one."""
    folder = tmp_path_factory.mktemp("reported")
    config = small_config(folder, 'kind = "simulator"', iterations=4, minibatch=4, validation=8)
    out = folder / "run"
    audited = ["--set", "search.audit_analyzer=2"]
    assert invoke(app, ["run", str(config), "--out", str(out), *audited]) == 0
    return out


def report(run: Path, capsys: Capture) -> str:
    capsys.readouterr()
    assert invoke(app, ["report", str(run)]) == 0
    return capsys.readouterr().out


def test_the_report_says_all_that_its_reader_has_to_know(run: Path, capsys: Capture) -> None:
    text = report(run, capsys)
    assert text.startswith("# Meta-optimization of a harness: run\n\nSIMULATED")
    assert [part for part in PARTS if f"\n## {part}\n" not in text] == []
    assert "The analyzer reads 4 training papers an iteration (10)." in text.replace("\\", "")
    assert "There are 8 validation papers (published: 25)." in text
    assert "no edit changed anything, this gate would have accepted" in text
    assert "the sealed test papers were never opened" in text
    assert "## Sealed test\n\nNot opened." in text
    widths = {line.count(" | ") for line in text.splitlines() if line.startswith("| fixes")}
    assert widths == {8}


def test_the_report_goes_into_a_file(run: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "report.md"
    assert invoke(app, ["report", str(run), "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == report(run, capsys)
    assert invoke(app, ["report", str(run), "--out", str(tmp_path / "report.txt")]) == 2
    assert "write it as one of .html, .md" in capsys.readouterr().err


def test_what_models_wrote_steers_no_report() -> None:
    assert escape("a | b\n# c <b> `d` [e](f) *g*") == r"a \| b \# c \<b\> \`d\` \[e\](f) \*g\*"
    assert escape("1. x") == r"1\. x"
    assert escape("- x\x1b[31m") == r"\- x \[31m"
    assert escape("+5.0 points, 3.2 %") == "+5.0 points, 3.2 %"


def test_every_deviation_is_told(tmp_path: Path) -> None:
    config = small_config(tmp_path, 'kind = "simulator"')
    told = "\n".join(deviations(load_config(config), 25))
    assert "temperature" not in told
    sets = {
        "search.temperature=0.2": "is 0.2 instead of 0.1",
        "search.parallel=1": "one after the other",
        "sandbox.mode=none": "unconfined",
        "criteria.preset=prose": "the preset “prose”",
        "criteria.gap_min=0.3": "gap_min = 0.3 (0.2)",
        "models.judge.judge_mode=yes_no": "yes or no",
        "models.strong.paper=true": "The strong solver is shown the paper",
        "harness.patch=x/scripted.diff": "begins with a patch, scripted.diff",
    }
    before = deviations(load_config(config), 25)
    for change, words in sets.items():
        after = deviations(load_config(config, [change]), 25)
        assert words not in "\n".join(before)
        assert words in "\n".join(after), change
    fewer = deviations(load_config(config, ["audit.llm=false", "score=in_loop"]), 25)
    assert not any("a second time" in s or "auditor that reads" in s for s in fewer)


def test_the_meter_sets_chosen_and_unchosen_runs_side_by_side(
    run: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    monkeypatch.chdir(tmp_path)
    papers = open_record(run).stages[1]["validated"]["papers"]
    chosen = max(c.id for c in open_record(run).state.population)
    store = Store(copy / "run.db")
    passed = [[n < 3 for n in range(8)], [n < 1 for n in range(8)]]
    finals = {
        "candidates": [chosen],
        "papers": papers,
        "runs": {},
        "chosen": chosen,
        "report": passed,
    }
    store.append(Event(3, "finalists", finals | {"report": [[True] * 8]}))
    store.append(Event(4, "finalists", finals))  # of a later start: it counts
    store.close()
    figures = {f.name: f for f in meter(open_record(copy))}
    again = figures["finalist, run again"]
    assert (again.rate, again.rollouts, again.luck) == (4 / 16, 16, 0.0)
    assert figures["highest single score"].luck > 0.02
    base = [v for v in validations(open_record(run)) if v.candidate == 0]
    assert figures["baseline, its runs in the search"].rate == np.mean([v.passed for v in base])
    one = [replace(f, luck=0.012) for f in figures.values()]
    assert "luck alone adds 1 point to such" in " ".join(_in_short(open_record(copy), one))
    shrunk = shrunk_rates(open_record(run).state.candidates.values())[0]
    assert figures["baseline, shrunk"].rate == shrunk
    assert again.interval is not None
    beside = f"; 25.0% [{again.interval[0]:.0%} to {again.interval[1]:.0%}] when run again"
    for command in ("status --full", "show best", "checkout won", "plot --out f.svg"):
        name, *more = command.split()
        assert invoke(app, [name, str(copy), *more]) == 0
        out = capsys.readouterr().out
        assert out.count(beside) == 1, command
        if name == "status":
            assert re.search(r"finalist, run again +\d+ +25\.0%", out)
    assert invoke(app, ["show", str(copy), "baseline"]) == 0
    assert f" {shrunk:.1%} shrunk towards its relatives'" in capsys.readouterr().out


def test_a_run_of_controls_alone_reports_the_baseline_and_the_gate(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = small_config(tmp_path, 'kind = "simulator"', iterations=4, minibatch=2, validation=3)
    keys = ("null_every=2", "finalists=1", "implementer.max_steps=1")  # no edit is ever finished
    sets = [x for key in keys for x in ("--set", f"search.{key}")]
    assert invoke(app, ["run", str(config), "--out", "run", *sets]) == 0
    names = [f.name for f in meter(open_record(tmp_path / "run"))]
    assert names == ["baseline, its runs in the search", "baseline, shrunk", "finalist, run again"]
    text = report(tmp_path / "run", capsys)
    assert "- No candidate is held to be better than the baseline.\n- Finalist, run again: " in text
    assert re.search(r"- \d of 2 live controls were accepted; ", text)
    assert "No mutant was validated.\n\nLive controls, identical to their parents: " in text
    assert invoke(app, ["status", "run"]) == 0
    told = capsys.readouterr().out
    assert "0 accepted, 0 rejected, 2 failed (implementer 2), 2 controls\n" in told

    with sqlite3.connect("run/run.db") as db:  # without finalists there is one panel, not an empty
        db.execute("DELETE FROM events WHERE kind = 'finalists'")
    assert invoke(app, ["plot", "run", "--out", "f.svg"]) == 0
    assert "how good is the best?" not in Path("f.svg").read_text()


def test_acceptances_are_set_against_luck_and_controls_apart(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.toml", "run.db"):
        copy.joinpath(name).write_bytes((run / name).read_bytes())
    with sqlite3.connect(copy / "run.db") as db:
        ((data,),) = db.execute(
            "SELECT data FROM events WHERE kind = 'implemented' AND iteration = 1"
        )
        marked = json.dumps(json.loads(data) | {"control": True})
        db.execute(
            "UPDATE events SET data = ? WHERE kind = 'implemented' AND iteration = 1", (marked,)
        )
    whole, parted = open_record(run), open_record(copy)
    everything, none = against_luck(whole)
    others, controls = against_luck(parted)
    assert none.tried == 0
    assert (controls.tried, others.tried) == (1, everything.tried - 1)
    assert controls.accepted + others.accepted == everything.accepted
    rate = shrunk_rates(parted.state.candidates.values())[0]
    exact = accepted(Paper(), papers_of_run(parted), rate)
    assert controls.expected == pytest.approx(exact[0], abs=0.01)
    assert [c.iteration for c in checked(parted)] == [c.iteration for c in checked(whole)]


def test_predictions_are_checked_on_the_papers_they_were_made_for(run: Path) -> None:
    record = open_record(run)
    checks = {c.iteration: c for c in checked(record)}
    due = [i for i in (2, 4) if "validated" in record.stages[i]]
    assert due
    assert [i for i, c in checks.items() if c.rerun] == due
    for i in due:
        stages = record.stages[i]
        assert list(checks[i].before) == stages["traced"]["papers"]
        assert list(checks[i].after.values()) == stages["rerun"]["passed"]
        both = checks[i].fixed | checks[i].broken
        changed = {p for p in checks[i].after if checks[i].before[p] != checks[i].after[p]}
        assert both == changed
    free = [c for c in checks.values() if not c.rerun]
    assert all(set(c.after) < set(record.stages[c.iteration]["traced"]["papers"]) for c in free)
    assert sum(s.named for s in audit(list(checks.values()))[:1]) > 0


def test_the_estimate_counts_the_reruns(tmp_path: Path, capsys: Capture) -> None:
    config = small_config(tmp_path, 'kind = "simulator"', iterations=10, minibatch=4)
    counts = []
    for every in (0, 3):
        asked = ["estimate", str(config), "--set", f"search.audit_analyzer={every}"]
        assert invoke(app, asked) == 0
        counts.append(int(re.findall(r"about ([\d,]+) rollouts", capsys.readouterr().out)[0]))
    assert counts[1] - counts[0] in (10, 11, 12)  # 3 minibatches of 4, if the mutant is validated
    few = ["search.audit_analyzer=2", "search.null_every=4", "search.finalists=99"]
    words = [word for text in few for word in ("--set", text)]
    assert invoke(app, ["estimate", str(config), *words]) == 0
    out = capsys.readouterr().out
    assert "in 3 of them the mutant on those training papers too" in out  # 2, 6, 10; 4, 8 controls
    assert (
        "at the end 9 finalists on the validation papers once more, then the winner 3 times" in out
    )


def test_hits_are_what_was_named_and_came_true() -> None:
    """a, b, c failed before, d, e, f passed; b, c pass and e fails after."""
    modes = [
        {"name": "leak", "share": 0.5, "evidence": ["seen"], "papers": ["a", "b", "d"]},
        {"name": "generic", "share": 0.5, "evidence": ["seen"], "papers": ["c"]},
    ]
    told = {
        "failure_modes": modes, "root_cause": "x", "proposed_change": "y",
        "predicted_fixes": ["a", "b", "d"], "papers_at_risk": ["e", "f", "a"],
    }  # fmt: skip
    check = Checked(
        iteration=1,
        diagnosis=Diagnosis.model_validate(told, strict=False),
        before=dict.fromkeys("abc", False) | dict.fromkeys("def", True),
        after={"a": False, "b": True, "c": True, "d": True, "e": False, "f": True},
        rerun=True,
    )
    assert (check.fixed, check.broken) == ({"b", "c"}, {"e"})
    fixes, breaks, leak = audit([check])  # nothing was named of the other mode
    counts = [(s.papers, s.true, s.named, s.hits) for s in (fixes, breaks, leak)]
    assert counts == [(3, 2, 2, 1), (3, 1, 2, 1), (3, 2, 2, 1)]
    assert leak.what == "fixes, leak"
    assert fixes.expected == pytest.approx(2 * 2 / 3)


def all_hits(draws: Sequence[Draw]) -> list[float]:
    """The distribution of hits, by going through every way to name papers."""
    ways = [
        [
            sum(p < d.true for p in chosen)
            for chosen in itertools.combinations(range(d.papers), d.named)
        ]
        for d in draws
    ]
    sums = [sum(hits) for hits in itertools.product(*ways)]
    most = sum(d.named for d in draws)
    return [sums.count(k) / len(sums) for k in range(most + 1)]


def test_chance_is_exact() -> None:
    draws = [Draw(6, 2, 3, 2), Draw(5, 4, 2, 1), Draw(4, 0, 1, 0), Draw(0, 0, 0, 0)]
    assert by_chance(draws) == pytest.approx(all_hits(draws))
    one = [Draw(9, 4, 3, 2)]
    assert by_chance(one) == pytest.approx(hypergeom(9, 4, 3).pmf(range(4)))
    assert by_chance(one, 2.5) == pytest.approx(nchypergeom_fisher(9, 4, 3, 2.5).pmf(range(4)))
    found = score("fixes", draws)
    assert found.expected == pytest.approx(1 + 1.6)
    assert (found.precision, found.recall) == (3 / 6, 3 / 6)
    assert found.p_value == pytest.approx(sum(all_hits(draws)[3:]))
    assert comb(6, 3) * comb(5, 2) * 4 == 800  # all of them were gone through


@pytest.mark.parametrize("odds", [1.0, 4.0])
def test_times_chance_has_an_interval_that_covers(odds: float) -> None:
    shape = [Draw(8, 2, 3, 0), Draw(7, 3, 2, 0), Draw(9, 1, 4, 0), Draw(6, 2, 2, 0)] * 6
    expected = sum(d.expected for d in shape)
    truth = float(by_chance(shape, odds) @ np.arange(sum(d.named for d in shape) + 1)) / expected
    drawn = nchypergeom_fisher.rvs(
        [d.papers for d in shape], [d.true for d in shape], [d.named for d in shape], odds,
        size=(400, len(shape)), random_state=np.random.default_rng(4),
    )  # fmt: skip
    totals = drawn.sum(axis=1)
    ends = {int(hits): interval([Draw(100, 0, 0, int(hits)), *shape]) for hits in np.unique(totals)}
    covered = [ends[int(hits)][0] <= truth <= ends[int(hits)][1] for hits in totals]
    assert 0.94 <= np.mean(covered) <= 0.995
