"""Runs whose files are damaged, or aren't the ones they were: what can be read is shown, the rest
is a message."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from whole_runs import small_config

from analysis.cli import app
from analysis.web.library import shelves
from analysis.web.server import application
from metaopt.cli import invoke

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated run."""
    folder = tmp_path_factory.mktemp("damage")
    config = small_config(folder, 'kind = "simulator"', iterations=2, minibatch=3, validation=8)
    out = folder / "run"
    assert invoke(app, ["run", str(config), "--out", str(out), "--set", "limits.items=4"]) == 0
    return out


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def _no_objects(run: Path) -> None:
    shutil.rmtree(run / "harness.git" / "objects")
    (run / "harness.git" / "objects").mkdir()


def _no_repository(run: Path) -> None:
    shutil.rmtree(run / "harness.git")
    (run / "harness.git").write_text("nothing")


def _odd_results(run: Path) -> None:
    change(run / "run.db", "UPDATE results SET data = '{\"x\": 1}'")


def _odd_event(run: Path) -> None:
    change(run / "run.db", "UPDATE events SET data = '[1]' WHERE kind = 'implemented'")


def _no_calls(run: Path) -> None:
    (run / "calls.db").write_bytes(b"")


@pytest.mark.parametrize(
    "damage", [_no_objects, _no_repository, _odd_results, _odd_event, _no_calls]
)
async def test_every_page_of_a_damaged_run_is_a_page(
    run: Path, made: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    server = application(shelves([run, made]))
    damage(run)
    statuses = []
    async with TestClient(TestServer(server)) as client:
        places = [
            "", "candidates/1", "charts/course.json", "charts/failures.json", "parts/cost",
            "charts/spending.json", "papers/0/val/1/x", "version", "search?q=the",
        ]  # fmt: skip
        for place in places:
            reply = await client.get(f"/run/{place}")
            assert "Content-Security-Policy" in reply.headers
            statuses.append(reply.status)
            if reply.status >= 400:
                assert "<h1>" in await reply.text()
        reply = await client.get("/")
        assert reply.status == 200
        assert "/run-2/" in await reply.text()
    assert {404, 500} & set(statuses)
    assert "Traceback" not in caplog.text


def _replace(run: Path) -> None:
    other = Path(shutil.copytree(run, run.with_name("other")))
    change(other / "run.db", "UPDATE events SET at = at + 60")
    change(other / "calls.db", "UPDATE calls SET usd = usd + 1")
    run.rename(run.with_name("gone"))
    other.rename(run)


async def test_another_run_in_its_folder_is_another_run(run: Path) -> None:
    """With as many events as the one that was there before."""
    server = application(shelves([run]))
    async with TestClient(TestServer(server)) as client:
        places = ("/run/", "/run/version", "/run/parts/cost", "/run/charts/spending.json")
        before = [await (await client.get(place)).text() for place in places]
        _replace(run)
        after = [await (await client.get(place)).text() for place in places]
    assert all(a != b for a, b in zip(before, after, strict=True))
    with closing(sqlite3.connect(run / "calls.db")) as db:
        [paid] = db.execute("SELECT SUM(usd) FROM calls").fetchone()
    assert json.loads(after[3])["data"][0]["x"][-1] == pytest.approx(paid)


async def test_a_run_may_have_any_folder_name(made: Path, tmp_path: Path, capsys: Capture) -> None:
    odd = tmp_path / "odd" / "n\udcff\x1b[31m\n%2e&?#"
    odd.parent.mkdir()
    shutil.copytree(made, odd)
    async with TestClient(TestServer(application(shelves([odd])))) as client:
        reply = await client.get("/")
        assert (reply.status, len(reply.history)) == (200, 1)
        assert "\x1b" not in await reply.text()
    assert invoke(app, ["runs", str(odd.parent)]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert invoke(app, ["status", str(odd)]) == 0
    assert "\x1b" not in capsys.readouterr().out.splitlines()[0]


def test_a_terminal_that_lacks_characters_gets_the_rest(made: Path) -> None:
    metaopt = [sys.executable, "-m", "analysis"]
    for command in (["status", "--full"], ["show"], ["report"], ["search", "the"]):
        done = subprocess.run(
            [*metaopt, command[0], str(made), *command[1:]], capture_output=True, timeout=300,
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
        )  # fmt: skip
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), command
        assert done.stdout.isascii()


def test_a_broken_run_hides_no_other(run: Path, made: Path, capsys: Capture) -> None:
    _odd_event(run)
    shutil.copytree(made, run.parent / "whole")
    assert invoke(app, ["runs", str(run.parent)]) == 0
    out = capsys.readouterr().out
    assert "run: broken: AttributeError" in out
    assert "whole*" in out


def test_a_clock_that_was_set_back_makes_no_negative_time(run: Path, capsys: Capture) -> None:
    change(run / "run.db", "UPDATE events SET at = at + 86400")
    assert invoke(app, ["status", str(run)]) == 0
    assert "finished 0 s ago" in capsys.readouterr().out
