"""``metaopt generate``: many papers into a data set, on the simulator, through the command line."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from inner_agent.broker import ResultFile
from inner_agent.items import parse_item
from metaopt.cli import app, invoke

ROOT = Path(__file__).parents[1]
PAPERS = 12
ROUND_KEYS = (
    "refinement_round", "question", "context", "reference_answer", "rubric", "accepted",
    "quality_verifier_kimi_passed", "quality_verifier_kimi_feedback", "weak_solver_avg",
    "strong_solver_avg", "gap", "eval_report", "eval_output_dir",
)  # fmt: skip


def generate(out: Path, *more: str) -> int:
    """Run the command on synthetic papers with a harness that earns items."""
    harness = ROOT / "populations/classics/published_fixes.diff"
    given = ["--config", str(ROOT / "configs/demo.toml"), "--out", str(out)]
    given += ["--papers", f"synthetic:{PAPERS}:0", "--harness", str(harness)]
    return invoke(app, ["generate", *given, *more])


def calls(out: Path) -> int:
    with sqlite3.connect(out / "calls.db") as db:
        return int(db.execute("SELECT COUNT(*) FROM calls").fetchone()[0])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished data set; tests that change it work on a copy."""
    out = tmp_path_factory.mktemp("generate") / "data"
    assert generate(out) == 0
    return out


def test_items_are_complete_and_say_where_they_are_from(made: Path) -> None:
    lines = (made / "items.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines
    harness = json.loads((made / "harness.json").read_text())
    for line in lines:
        row = json.loads(line)
        assert row["simulated"] is True
        assert row["harness"] == harness
        assert row["paper"]["licence"] == "CC0-1.0"
        assert row["gap"] == pytest.approx(row["strong_avg"] - row["weak_avg"])
        assert parse_item(row).rubric
        assert row["other_verdict"] in ("accepted", "rejected", "unknown")


def test_every_paper_leaves_its_result_attempts_and_trajectory(made: Path) -> None:
    folders = sorted((made / "papers").iterdir())
    assert len(folders) == PAPERS
    attempts = 0
    for folder in folders:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        ResultFile.model_validate(result)
        assert tuple(result) == tuple(ResultFile.model_fields)
        assert result["total_rounds"] == len(result["rounds"])
        for played in result["rounds"]:
            assert tuple(played) == ROUND_KEYS
            if played["eval_output_dir"]:
                assert any((folder / played["eval_output_dir"]).iterdir())
        assert json.loads((folder / "trajectory.json").read_text(encoding="utf-8"))["steps"]
        attempts += sum(1 for _ in folder.glob("eval_attempts/*/*.json"))
    assert attempts >= PAPERS


def test_a_second_start_repeats_nothing(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data"
    shutil.copytree(made, out)
    (out / "items.jsonl").unlink()
    before = calls(out)
    assert generate(out) == 0
    assert calls(out) == before
    assert (out / "items.jsonl").read_bytes() == (made / "items.jsonl").read_bytes()
    assert f"papers          {PAPERS}" in capsys.readouterr().out
    assert invoke(app, ["run", str(ROOT / "configs/demo.toml"), "--out", str(out)]) == 2
    assert f"{out}: a data set, made by metaopt generate" in capsys.readouterr().err


def test_resumed_after_a_cut_off_it_pays_no_call_twice(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The budget stops it halfway through several papers; what it had got is replayed."""
    out = tmp_path / "data"
    limit = calls(made) // 2
    assert generate(out, "--set", f"budget.calls={limit}") == 3
    stopped = capsys.readouterr().err
    assert "budget.calls" in stopped
    assert "metaopt" in stopped.splitlines()[-1]
    assert calls(out) == limit
    assert generate(out, "--set", "limits.rollouts_in_flight=3") == 0
    assert calls(out) == calls(made)
    assert (out / "items.jsonl").read_bytes() == (made / "items.jsonl").read_bytes()


def test_papers_can_be_added(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    shutil.copytree(made, out)
    assert generate(out, "--papers", f"synthetic:{PAPERS + 2}:0") == 0
    assert len(list((out / "papers").iterdir())) == PAPERS + 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--set", "models.weak.temperature=0.3"], "other values of models.weak.temperature"),
        (
            ["--harness", str(ROOT / "docs/examples/minimal_harness"), "--papers", "synthetic:9:9"],
            "made by another harness",
        ),
        (["--batch", "3", "--papers", "synthetic:9:9"], "begun without --batch"),
        (["--harness", "no-such-branch"], "no such .diff, folder, classic:NAME or RUN:CANDIDATE"),
        (["--harness", "missing.diff"], "no such file"),
        (["--harness", "nowhere:best"], "nowhere isn't a run"),
        (["--papers", "nowhere"], "no such folder"),
        (["--config", "nowhere.toml"], "can't be read"),
        (["--set", "limits.item=3"], "did you mean 'items'"),
    ],
)
def test_bad_input_is_one_line(
    made: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    before = (made / "config.toml").read_bytes()
    assert generate(made, *more) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert (made / "config.toml").read_bytes() == before


def test_a_first_command_that_is_refused_begins_nothing(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data"
    assert generate(out, "--harness", "missing.diff") == 2
    assert generate(out, "--accept", "100") == 2
    assert "only 12 papers" in capsys.readouterr().err
    assert generate(out, "--set", "limits.items=1", "--max-papers", "1") == 0


def test_two_processes_are_kept_apart(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from metaopt.store import lock

    with lock(made):
        assert generate(made) == 2
    assert "is on this run" in capsys.readouterr().err


def test_a_project_of_ones_own_runs_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    assert invoke(app, ["init", str(folder)]) == 0
    config, out = str(folder / "config.toml"), str(folder / "data")
    given = ["generate", "--config", config, "--out", out, "--max-papers", "2"]
    assert invoke(app, [*given, "--harness", "main"]) == 0
    assert invoke(app, ["init", str(folder)]) == 2
    assert "isn't empty" in capsys.readouterr().err
