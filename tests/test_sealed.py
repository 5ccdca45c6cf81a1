"""The sealed test: opened on record, once, whatever happens on the way; and by nothing else."""

import ast
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from whole_runs import decided, made_run, small_config

from analysis.cli import app
from inner_agent.errors import UserError
from metaopt.cli import invoke
from metaopt.config import RunConfig, load_config
from metaopt.lab import loop_papers, sealed_papers
from metaopt.measure import part_papers
from metaopt.record import open_record
from metaopt.repo import HarnessRepo
from metaopt.runner import Stopped
from metaopt.runner import run as start
from metaopt.sealed import openings
from metaopt.store import Event, Store, lock

ROOT = Path(__file__).parent.parent
PAPERS = 6
BEST, PAPER = 1, 2  # iterations: what metaopt would take away, and what the procedure would report
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status folds its lines in narrow terminals."""
    monkeypatch.setenv("COLUMNS", "240")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three iterations, made by hand: 2 was lucky once, the finalists' re-run chose 1."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = _config(tmp_path_factory.mktemp("input"))
    with made_run(folder, config) as (repo, store):
        patch = (ROOT / "populations/classics/published_fixes.diff").read_bytes()
        good = repo.apply(repo.baseline, patch, "fixes")
        tree = repo.read(repo.baseline)
        lucky = repo.commit(repo.baseline, tree | {"notes.md": b"luck\n"}, "idle")
        bad = repo.commit(good, repo.read(good) | {"notes.md": b"no luck\n"}, "idle")
        decided(store, repo, BEST, good, 0, (1, 15))
        decided(store, repo, PAPER, lucky, 0, (1, 16))
        decided(store, repo, 3, bad, BEST, (14, 2), accepted=False)
        passes = [[k < 14 for k in range(25)]]
        store.append(Event(3, "finalists", {
            "candidates": [BEST, PAPER], "papers": [f"v{k}" for k in range(25)],
            "runs": {str(BEST): passes, str(PAPER): [[False] * 25]}, "chosen": BEST,
            "report": passes,
        }))  # fmt: skip
    return folder


def _config(folder: Path) -> RunConfig:
    path = small_config(folder, 'kind = "simulator"', iterations=3)
    split = json.loads((ROOT / "splits/demo.json").read_text())
    split["test"] = split["test"][:PAPERS]
    (folder / "split.json").write_text(json.dumps(split))
    return load_config(path, [f'papers.split="{folder}/split.json"'])


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run for one test."""
    return Path(shutil.copytree(finished_run, tmp_path / "runs" / "run"))


@pytest.fixture(scope="session")
def opened_run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with its test papers opened."""
    folder = Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("opened") / "run"))
    assert invoke(app, ["test", str(folder)]) == 0
    return folder


def ask(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    """Run the command line: status, what it printed, what it complained about."""
    capsys.readouterr()
    status = invoke(app, [str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_seal_is_broken_once_and_on_record(opened_run: Path, capsys: Capture) -> None:
    [opening] = openings(opened_run)
    assert {name: arm.candidate for name, arm in opening.arms.items()} == {
        "best": BEST, "baseline": 0, "paper": PAPER,
    }  # fmt: skip
    assert [len(row) for arm in opening.arms.values() for row in arm.runs] == [PAPERS] * 3
    assert (opening.again, opening.simulated) == (False, True)

    status, out, err = ask(capsys, "test", opened_run)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert opening.told() in err
    assert "--again" in err
    assert len(openings(opened_run)) == 1
    assert f"opened once, {opening.told()}" in ask(capsys, "status", opened_run, "--full")[1]
    rates = [re.escape(f"{opening.arms[name].rate:.1%}") for name in ("best", "baseline")]
    short = r"^test        best {} \[.* to .*\], baseline {} \[.* to .*\]; opened once$"
    assert re.search(short.format(*rates), ask(capsys, "status", opened_run)[1], re.M)


# Where a process may be killed: as the first test paper is read, and amid the results.
DEADLY = {
    "first paper": ("metaopt.rollouts", "read_paper", 1),
    "amid results": ("metaopt.store", "Store.put_result", 8),
}
KILLER = """
import importlib, os, signal, sys
from analysis.cli import app
from metaopt.cli import invoke

module, name, times = {deadly!r}
*owner, last = name.split(".")
holder = importlib.import_module(module)
for part in owner:
    holder = getattr(holder, part)
whole = getattr(holder, last)

def deadly(*arguments):
    global times
    times -= 1
    if not times:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*arguments)

setattr(holder, last, deadly)
sys.exit(invoke(app, sys.argv[1:]))
"""


@pytest.mark.parametrize("where", DEADLY)
def test_killed_in_an_opening_it_goes_on_with_that(
    run: Path, opened_run: Path, where: str, capsys: Capture
) -> None:
    code = KILLER.format(deadly=DEADLY[where])
    done = subprocess.run([sys.executable, "-c", code, "test", str(run)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    [broken] = openings(run)
    assert not broken.finished
    _, out, _ = ask(capsys, "status", run)
    assert "opened once" in out
    assert "not finished" in out

    with closing(Store(run / "run.db")) as store:  # the run goes on meanwhile, and finds a better
        repo = HarnessRepo(run / "harness.git", open_record(run).config.harness)
        tree = repo.read(repo.baseline) | {"notes.md": b"more luck\n"}
        decided(store, repo, 4, repo.commit(repo.baseline, tree, "x"), 0, (0, 25))
        repo.close()
    assert ask(capsys, "test", run, "--repeats", 2)[0] == 2  # this opening has one
    assert ask(capsys, "test", run)[0] == 0
    [opening] = openings(run)
    [unbroken] = openings(opened_run)
    assert opening.at == broken.at
    assert opening.arms == unbroken.arms


def test_a_budget_that_ends_stops_an_opening_and_a_higher_one_goes_on(
    run: Path, opened_run: Path, capsys: Capture
) -> None:
    status, _, err = ask(capsys, "test", run, "--set", "budget.calls=150")
    assert status == 3
    assert "to go on: metaopt" in err
    assert ask(capsys, "test", run, "--set", "seed=4")[0] == 2  # another config, other results
    assert ask(capsys, "test", run, "--set", "budget.calls=100000")[0] == 0
    [opening] = openings(run)
    assert opening.arms == openings(opened_run)[0].arms


def test_another_look_is_on_record_and_draws_anew(
    opened_run: Path, tmp_path: Path, capsys: Capture
) -> None:
    run = Path(shutil.copytree(opened_run, tmp_path / "runs" / "run"))
    assert ask(capsys, "test", run, "--again", "--repeats", 2)[0] == 0
    first, second = openings(run)
    assert (first.again, second.again) == (False, True)
    assert [len(arm.runs) for arm in second.arms.values()] == [2, 2, 2]
    assert first.arms["best"].runs[0] not in second.arms["best"].runs
    _, out, _ = ask(capsys, "status", run, "--full")
    assert f"opened 2 times, first {first.told()}" in out
    shown, report = ask(capsys, "test", run, "--show")[1], ask(capsys, "report", run)[1]
    for text in (out, shown, report.replace("Looked", "looked").replace("\\", "")):
        assert f"looked again, {second.told()}" in text
    # The first one stays the figure, whatever the second showed.
    rate = f"{first.arms['best'].rate:.1%}"
    assert rate != f"{second.arms['best'].rate:.1%}"
    assert re.search(rf"sealed test, best +{BEST} +{re.escape(rate)} .* {PAPERS} +none", out)
    assert re.search(rf"^best +{BEST} +\d/{PAPERS} +{first.arms['best'].rate:.0%} ", shown, re.M)
    assert f"Sealed test, best: {rate} of {PAPERS} rollouts" in report
    data = tmp_path / "t.json"
    assert ask(capsys, "test", run, "--show", "--json", data)[0] == 0
    told = json.loads(data.read_text())
    assert [told["arms"]["best"]["rate"], told["looks"][0]["arms"]["best"]["rate"]] == [
        first.arms["best"].rate, second.arms["best"].rate,
    ]  # fmt: skip


def test_once_the_run_went_on_the_test_says_whom_it_tested(
    opened_run: Path, tmp_path: Path, capsys: Capture
) -> None:
    run = Path(shutil.copytree(opened_run, tmp_path / "run"))
    with closing(Store(run / "run.db")) as store:
        repo = HarnessRepo(run / "harness.git", open_record(run).config.harness)
        tree = repo.read(repo.baseline) | {"notes.md": b"more luck\n"}
        decided(store, repo, 4, repo.commit(repo.baseline, tree, "x"), 0, (0, 25))
        repo.close()
    out, report = ask(capsys, "status", run, "--full")[1], ask(capsys, "report", run)[1]
    assert re.search(rf"sealed test, the best then +{BEST} ", out)
    assert f"Sealed test, the best then, candidate {BEST}: " in report
    assert f"the best then, candidate {BEST}; the run went on" in ask(
        capsys, "test", run, "--show"
    )[1]  # fmt: skip


def test_a_sibling_that_saw_the_papers_is_named(
    run: Path, opened_run: Path, capsys: Capture
) -> None:
    shutil.copytree(opened_run, run.parent / "sibling")
    status, out, err = ask(capsys, "test", run)
    assert status == 0
    assert ", 6 papers)" in err
    assert "sibling" in out


def test_a_run_that_is_not_finished_or_in_use_stays_sealed(run: Path, capsys: Capture) -> None:
    with lock(run):
        assert "stop it first" in ask(capsys, "test", run)[2]
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("iterations = 3", "iterations = 4"))
    status, _, err = ask(capsys, "test", run)
    assert status == 2
    assert "3 of 4 iterations" in err
    assert "search.iterations=3" in err
    (run / "config.toml").write_text(text.replace("finalists = 0", "finalists = 2"))
    with closing(sqlite3.connect(run / "run.db")) as db, db:  # all is decided, that is still owed
        assert db.execute("DELETE FROM events WHERE kind = 'finalists'").rowcount == 1
    assert "its finalists aren't run again yet" in ask(capsys, "test", run)[2]
    _, out, _ = ask(capsys, "status", run)
    assert re.search(r"^state       stopped .* \(its finalists aren't run again yet; ", out, re.M)
    assert f"metaopt run {run}/config.toml --out {run}" in out
    with lock(run):
        assert "(finalists)" in ask(capsys, "status", run)[1]
    assert not (run / "test.json").exists()


def test_a_record_of_openings_that_is_not_whole_stays_as_it_is(run: Path, capsys: Capture) -> None:
    (run / "test.json").write_text('{"openings": [{"at": 1')
    for command in ("test", "status"):
        status, _, err = ask(capsys, command, run)
        assert status == 2
        assert "test.json" in err
    assert (run / "test.json").read_text() == '{"openings": [{"at": 1'


def test_going_on_after_the_test_is_said(opened_run: Path, tmp_path: Path, capsys: Capture) -> None:
    run = Path(shutil.copytree(opened_run, tmp_path / "run"))
    config = load_config(run / "config.toml", ["search.iterations=4", "budget.calls=0"])
    with pytest.raises(Stopped, match=r"budget\.calls"):
        start(config, run)
    assert "opened once" in capsys.readouterr().err


def test_nothing_else_gets_at_the_test_papers(tmp_path: Path) -> None:
    config = _config(tmp_path / "in")
    sealed = {p.id for p in sealed_papers(config, tmp_path)}
    parts = loop_papers(config, tmp_path)
    assert set(parts) == {"train", "val"}
    assert not sealed & {p.id for papers in parts.values() for p in papers}
    with pytest.raises(UserError, match="sealed"):
        part_papers(config, tmp_path / "out", "test")
    users = {
        (path.relative_to(ROOT).as_posix(), name)
        for room in ("inner_agent", "metaopt", "analysis")
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _names(node)
        if name in ("sealed_papers", "read_split")
    }
    assert users == {("metaopt/unseal.py", "sealed_papers"), ("metaopt/lab.py", "read_split"),
                     ("metaopt/doctor.py", "read_split")}  # fmt: skip


def _names(node: ast.AST) -> list[Any]:
    if isinstance(node, ast.ImportFrom):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.Attribute):
        return [node.attr]
    return [node.id] if isinstance(node, ast.Name) else []
