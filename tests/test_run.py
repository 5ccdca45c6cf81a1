"""Whole runs: the same events whatever the timing, when resumed, and on damaged folders."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from whole_runs import small_config, story

from analysis.cli import app
from metaopt.cli import invoke
from metaopt.config import load_config
from metaopt.lab import open_lab
from metaopt.monitor import Monitor


@contextmanager
def busy_cores() -> Iterator[None]:
    spin = [sys.executable, "-c", "while True: pass"]
    hogs = [subprocess.Popen(spin) for _ in range(os.cpu_count() or 2)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def test_same_seed_same_events_idle_or_busy(tmp_path: Path) -> None:
    config = small_config(tmp_path, 'kind = "simulator"')
    assert invoke(app, ["run", str(config), "--out", str(tmp_path / "idle")]) == 0
    with busy_cores():
        assert invoke(app, ["run", str(config), "--out", str(tmp_path / "busy")]) == 0
    idle, busy = story(tmp_path / "idle"), story(tmp_path / "busy")
    assert idle == busy
    kinds = Counter(kind for _, kind, _ in idle["events"])
    assert kinds["opened"] == 1
    assert kinds["decided"] == 3
    assert len(idle["results"]) >= 3 * 3
    other = ["run", str(config), "--set", "seed=4", "--out", str(tmp_path / "other")]
    assert invoke(app, other) == 0
    assert story(tmp_path / "other") != idle  # the seed matters: the comparison can fail


def test_a_resumed_run_can_be_longer(tmp_path: Path) -> None:
    config = small_config(tmp_path, 'kind = "simulator"')
    out = ["--out", str(tmp_path / "run")]
    assert invoke(app, ["run", str(config), "--set", "search.iterations=2", *out]) == 0
    before = story(tmp_path / "run")["events"]
    assert invoke(app, ["run", str(config), *out]) == 0
    after = story(tmp_path / "run")["events"]
    assert after[: len(before)] == before
    assert len([1 for _, kind, _ in after if kind == "decided"]) == 3


def test_a_run_keeps_to_the_papers_that_it_began_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, split = small_config(tmp_path, 'kind = "simulator"'), tmp_path / "split.json"
    parts = json.loads((Path(__file__).parent.parent / "splits/demo.json").read_text())
    split.write_text(json.dumps(parts))
    run, few = tmp_path / "run", ["--set", "search.iterations=1"]
    words = ["run", str(config), "--out", str(run), "--set", f'papers.split="{split}"']
    assert invoke(app, [*words, *few]) == 0
    # Two parts change places: what was validated on would be sealed test papers.
    split.write_text(json.dumps(parts | {"val": parts["test"], "test": parts["val"]}))
    for asked in (words, ["test", str(run)]):
        capsys.readouterr()
        assert invoke(app, asked) == 2
        assert "aren't those that this run began with; restore it" in capsys.readouterr().err
    assert not (run / "test.json").exists()
    split.write_text(json.dumps(parts | {"test": parts["test"][:2]}))  # it never saw any of those
    assert invoke(app, ["test", str(run)]) == 0


def test_the_window_hides_later_decisions(tmp_path: Path) -> None:
    """Resumed at any decision, iteration i sees what it saw the first time."""
    config = small_config(tmp_path, 'kind = "simulator"')
    out = tmp_path / "run"
    assert invoke(app, ["run", str(config), "--out", str(out)]) == 0
    lab = open_lab(load_config(config), out, Monitor())
    try:
        state = lab.state
        assert state.advanced == 0  # nothing is taken in before an iteration needs it
        assert state.first_undecided() == 4
        state.advance(1)
        assert [e.iteration for e in state.history] == [1]
        assert all(run[0] <= 1 for c in state.candidates.values() for run in c.runs)
    finally:
        lab.held.close()
        lab.store.close()


def test_a_start_that_paid_nothing_binds_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(tmp_path, 'kind = "simulator"')
    run = ["run", str(config), "--out", str(tmp_path / "run"), "--set", "search.iterations=1"]
    assert invoke(app, [*run, "--set", "models.challenger.model=sim-chalenger"]) == 2
    assert "no model 'sim-chalenger'" in capsys.readouterr().err
    kinds = ["--set", "models.main_agent.model=sim-typo"]
    assert invoke(app, [*run, *kinds]) == 2  # the challenger's typo came after a paid call
    assert "begun with other values of" in capsys.readouterr().err
    other = [*run[:3], str(tmp_path / "other"), *run[4:]]
    assert invoke(app, [*other, *kinds]) == 2
    assert invoke(app, other) == 0  # nothing was paid for: mended, it goes


def test_a_damaged_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small_config(tmp_path, 'kind = "simulator"')
    out = tmp_path / "run"
    run = ["run", str(config), "--out", str(out), "--set", "search.iterations=1"]
    assert invoke(app, run) == 0
    (out / "harness.git").rename(out / "elsewhere.git")
    capsys.readouterr()
    assert invoke(app, run) == 2
    assert "harness.git/HEAD: missing or empty" in capsys.readouterr().err
    (out / "elsewhere.git").rename(out / "harness.git")
    (out / "run.db").write_text("not a database, and long enough to be taken for one" * 99)
    assert invoke(app, run) == 2
    said = capsys.readouterr().err
    assert "not a database" in said
    assert "Traceback" not in said


def test_caches_may_vanish_under_a_run(tmp_path: Path) -> None:
    config = small_config(tmp_path, 'kind = "simulator"')
    whole, tidied = tmp_path / "whole", tmp_path / "tidied"
    run = ["run", str(config), "--out"]
    assert invoke(app, [*run, str(whole)]) == 0
    assert invoke(app, [*run, str(tidied), "--set", "search.iterations=1"]) == 0
    for cache in ("trees", "papers", "smoke"):
        shutil.rmtree(tidied / cache, ignore_errors=True)
    assert invoke(app, [*run, str(tidied)]) == 0
    assert story(tidied)["events"] == story(whole)["events"]
