"""``metaopt compare`` and ``metaopt aa`` through the command line, on the simulator."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from whole_runs import measured_by_hand

from analysis.cli import app
from analysis.compare import Comparison, compare
from analysis.compare_text import report
from metaopt import measure
from metaopt.cli import invoke
from metaopt.config import load_config
from metaopt.store import lock

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "demo.toml"
FIXES = str(ROOT / "populations/classics/published_fixes.diff")
LEAK = str(ROOT / "populations/classics/fix_context_leak.diff")
GIVEN = ["--config", str(CONFIG), "--papers", "3", "--repeats", "2", "--set", "limits.items=3"]


def run(out: Path, *more: str, arms: tuple[str, ...] = ("baseline", FIXES)) -> int:
    return invoke(app, ["compare", *arms, *GIVEN, "--out", str(out), *more])


def results(out: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(out / measure.DATABASE) as db:
        return db.execute("SELECT candidate, iteration, paper, data FROM results").fetchall()


def calls(out: Path) -> int:
    with sqlite3.connect(out / "calls.db") as db:
        return int(db.execute("SELECT COUNT(*) FROM calls").fetchone()[0])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison; tests that change it work on a copy."""
    out = tmp_path_factory.mktemp("compare") / "ab"
    assert run(out) == 0
    return out


def test_everything_recorded_is_only_read(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.stat().st_mtime_ns for p in made.rglob("*") if not p.name.endswith("-shm")}
    figure, data = tmp_path / "c.svg", tmp_path / "c.json"
    with lock(made):  # whoever only reads needn't wait for anybody
        before[made / "lock"] = (made / "lock").stat().st_mtime_ns
        assert run(made, "--json", str(data), "--plot", str(figure)) == 0
    assert before.items() <= {p: p.stat().st_mtime_ns for p in made.rglob("*")}.items()
    said = capsys.readouterr().out
    assert said.startswith("SIMULATED")
    assert "published_fixes.diff" in said
    told = json.loads(data.read_text())
    assert told["simulated"] is True
    assert told["arms"][1]["passed"] == sum(told["arms"][1]["by_paper"])
    assert len(told["pairs"][0]["shrunk"]) == len(told["papers"]) == 3
    assert "SIMULATED" in figure.read_text()
    again = tmp_path / "again.json"
    assert run(made, "--json", str(again)) == 0
    assert again.read_bytes() == data.read_bytes()


def test_stopped_in_the_middle_it_goes_on_and_pays_nothing_twice(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, limit = tmp_path / "ab", calls(made) // 2
    assert run(out, "--set", f"budget.calls={limit}") == 3
    stopped = capsys.readouterr().err
    assert "budget.calls" in stopped
    assert "to go on: metaopt" in stopped.splitlines()[-1]
    assert calls(out) == limit
    assert run(out) == 0
    assert calls(out) == calls(made)
    assert sorted(results(out)) == sorted(results(made))


def test_the_same_text_gets_the_same_reply_whatever_its_arm(made: Path, tmp_path: Path) -> None:
    """A copy of the baseline draws what the baseline draws, and asks for no call of its own."""
    out, copy = tmp_path / "aa", tmp_path / "copy"
    shutil.copytree(ROOT / "baseline_harness", copy)
    (copy / "NOTES.md").write_text("Another tree, the same behaviour.\n")
    assert run(out, arms=("baseline", str(copy))) == 0
    rows = {(arm, k, paper): data for arm, k, paper, data in results(out)}
    assert {key[0] for key in rows} == {0, 1}
    assert all(rows[0, k, p] == data for (_, k, p), data in rows.items())
    baseline = {(k, p): data for arm, k, p, data in results(made) if arm == 0}
    assert baseline == {(k, p): data for (arm, k, p), data in rows.items() if arm == 0}
    assert len({data for (arm, _, p), data in rows.items() if arm == 0}) > 3  # repeats differ
    assert calls(out) < calls(made)


def test_a_copy_is_told_for_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # nothing is folded
    small = ("--papers", "2", "--repeats", "1", "--set", "limits.items=1")
    assert run(tmp_path / "c", *small, arms=("baseline", str(ROOT / "baseline_harness"))) == 0
    out = capsys.readouterr().out
    assert "is the same harness as baseline, file by file" in out
    [row] = [line for line in out.splitlines() if line.endswith("  the same harness")]
    assert "-100" not in row


def test_papers_and_repeats_can_be_added(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ab"
    shutil.copytree(made, out)
    assert run(out, "--papers", "4", "--repeats", "3") == 0
    assert len(results(out)) == 2 * 3 * 4
    assert set(results(made)) <= set(results(out))
    assert "measured in steps (3 × 2, 4 × 3)" in capsys.readouterr().out
    assert run(out) == 0  # fewer again: the rest is left aside
    assert "3 val papers × 2 repeats" in capsys.readouterr().out
    assert len(json.loads((out / "arms.json").read_text())["papers"]) == 4


@pytest.mark.parametrize(
    ("arms", "more", "said"),
    [
        (("baseline",), [], "two harnesses or more"),
        (("baseline", "baseline"), [], "named twice"),
        (
            ("baseline", "no-such-branch"),
            [],
            "no such .diff, folder, classic:NAME or RUN:CANDIDATE",
        ),
        (("baseline", "missing.diff"), [], "no such file"),
        (("baseline", LEAK), [], "begun with the arms"),
        (("baseline", FIXES), ["--part", "test"], "sealed"),
        (("baseline", FIXES), ["--part", "dev"], "give train or val"),
        (("baseline", FIXES), ["--part", "train"], "begun with --part val"),
        (("baseline", FIXES), ["--papers", "26"], "has only 25"),
        (("baseline", FIXES), ["--set", "models.weak.temperature=0.3"], "other values of"),
        (("baseline", FIXES), ["--difference", "0"], "between 0 and 1"),
        (("baseline", FIXES), ["--plot", "c.gif"], "write it as one of"),
        (("baseline", FIXES), ["--json", "nowhere/c.json"], "no folder"),
    ],
)
def test_bad_input_is_one_line(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arms: tuple[str, ...],
    more: list[str], said: str,
) -> None:  # fmt: skip
    before = results(made)
    assert run(made, *more, arms=arms) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert results(made) == before
    new = tmp_path / "new"
    if not any(word in said for word in ("begun with", "other values")):
        assert run(new, *more, arms=arms) == 2
        assert not new.exists()


def test_a_diff_that_was_edited_is_another_harness(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, diff = tmp_path / "ab", tmp_path / "mine.diff"
    shutil.copy(LEAK, diff)
    small = ("--papers", "2", "--repeats", "1", "--set", "limits.items=1")
    assert run(out, *small, arms=("baseline", str(diff))) == 0
    shutil.copy(FIXES, diff)
    assert run(out, *small, arms=("baseline", str(diff))) == 2
    assert "is another harness by now" in capsys.readouterr().err


def test_a_folder_that_holds_something_else_is_left_alone(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text("")
    assert run(tmp_path) == 2
    assert "holds something else" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["config.toml"]
    assert invoke(app, ["status", str(made)]) == 2
    assert "it isn't a run" in capsys.readouterr().err
    assert invoke(app, ["run", str(CONFIG), "--out", str(made)]) == 2
    assert f"{made}: made by metaopt compare" in capsys.readouterr().err
    with lock(made):
        assert run(made, "--repeats", "3") == 2
    assert "is on this run" in capsys.readouterr().err


def test_a_runs_candidates_need_no_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["limits.items=1", "search.minibatch=2", "search.iterations=2"]
    small.append("search.validation_papers=2")
    words = [word for text in small for word in ("--set", text)]
    folder = tmp_path / "run"
    assert invoke(app, ["run", str(CONFIG), "--out", str(folder), *words]) == 0
    out, arms = str(tmp_path / "c"), [f"{folder}:baseline", f"{folder}:1"]
    assert invoke(app, ["compare", *arms, "--out", out]) == 0
    said = capsys.readouterr().out
    assert "2 val papers × 1 repeat" in said
    assert "chosen on these papers" in said
    assert invoke(app, ["compare", arms[0], FIXES, "--out", out]) == 2
    assert "--config is missing" in capsys.readouterr().err
    shutil.copytree(folder, tmp_path / "other")
    assert invoke(app, ["compare", arms[0], f"{tmp_path / 'other'}:1", "--out", out]) == 2
    assert "candidates of 2 different runs; give --config" in capsys.readouterr().err
    assert invoke(app, ["compare", arms[0], str(folder), "--out", out]) == 2
    assert "name its candidate" in capsys.readouterr().err


def test_aa_says_how_far_rates_move(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "aa.json", tmp_path / "aa"
    words = ["aa", str(CONFIG), "--out", str(out), "--papers", "4", "--set", "limits.items=2"]
    assert invoke(app, [*words, "--times", "3", "--json", str(data)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("SIMULATED")
    assert "4 times 4 val papers" in said
    told = json.loads(data.read_text())
    assert told["simulated"] is True
    assert len(told["rates"]) == told["repeats"] == 4
    assert told["load"]["most"] > 0
    assert len({row[3] for row in results(out)}) > 4  # each time is a draw of its own
    before = calls(out)
    assert invoke(app, [*words, "--times", "3"]) == 0
    assert calls(out) == before
    assert invoke(app, [*words, "--times", "3", "--part", "test"]) == 2
    assert "sealed" in capsys.readouterr().err
    words[words.index("4")], words[words.index(str(out))] = "26", str(tmp_path / "new")
    assert invoke(app, words) == 2
    assert not (tmp_path / "new").exists()


# What is said of results that are made up.

Passes = NDArray[np.bool_]


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Comparison]:
    """Compares made-up results ``passes[arm, repeat, paper]``."""

    def made_up(passes: Passes, questions: Callable[[int], str] = str) -> Comparison:
        config, out = load_config(CONFIG), tmp_path / "recorded"
        arms = tuple(measure.Arm(f"h{a}", "", f"tree {a}") for a in range(len(passes)))
        papers = {f"paper-{p}": "" for p in range(passes.shape[2])}
        plan = measure.Plan(arms, "val", papers, passes.shape[1])
        measured_by_hand(out, config, plan, passes, questions)
        return compare(measure.read_measured(out))

    return made_up


def passing(rates: list[float], repeats: int, papers: int = 25) -> Passes:
    rng = np.random.default_rng(5)
    return rng.random((len(rates), repeats, papers)) < np.array(rates)[:, None, None]


def test_better_and_worse_are_told_apart(recorded: Callable[..., Comparison]) -> None:
    found = recorded(passing([0.4, 0.8, 0.05], 3))
    assert [p.verdict for p in found.pairs] == ["better", "worse"]
    said = report(found)
    assert "h1 is better than h0" in said
    assert "h2 is worse than h0" in said
    assert found.pairs[0].change.low > 0 > found.pairs[1].change.high
    for pair in found.pairs:
        assert pair.p_mid <= pair.p_exact <= 0.05
        assert pair.p_mid <= pair.p_holm <= 0.05
    assert found.modes["end: passed"] == tuple(arm.passed for arm in found.arms)
    assert found.pairs[0].modes["end: passed"].difference == found.pairs[0].change.difference


@pytest.mark.parametrize("repeats", [1, 3])
def test_it_cant_tell_and_says_what_it_would_take(
    recorded: Callable[..., Comparison], repeats: int
) -> None:
    found = recorded(passing([0.4, 0.5], repeats))
    said = report(found)
    assert "can't tell h1 from h0" in said
    assert "equal" not in said
    needed = found.pairs[0].papers_needed
    assert needed is not None
    assert f"about {needed - 25} more papers" in said
    assert ("on these papers" in said) == (repeats > 1)


def test_four_wins_and_no_loss_are_not_yet_proof(recorded: Callable[..., Comparison]) -> None:
    """The interval alone would say better; the exact test knows that coins do so one time in 8."""
    passes = np.zeros((2, 1, 25), dtype=bool)
    passes[1, 0, :4] = True
    found = recorded(passes)
    assert found.pairs[0].change.low > 0
    assert found.pairs[0].verdict == "can't tell"
    assert "nothing passed" in report(found)


def test_a_question_that_two_papers_share_counts_for_neither(
    recorded: Callable[..., Comparison],
) -> None:
    text = "Which of the quantities named in the theorem bounds the regret of the second policy?"
    found = recorded(np.ones((2, 1, 4), bool), lambda p: text if p < 2 else f"{p} " * 30)
    assert [arm.passed for arm in found.arms] == [2, 2]
    assert found.modes["end: repeated"] == (2, 2)
