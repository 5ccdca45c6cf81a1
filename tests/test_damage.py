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
from conftest import require
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


Commands = list[list[str]]
DIFF = [["show", "run", "1", "--diff"], ["report", "run", "--out", "x.html"]]
TAKEN = [*DIFF, ["checkout", "run", "taken", "--candidate", "1"]]
RESULTS = [["show", "run", "1", "--papers"], ["report", "run"]]
FAILURES = [["plot", "run", "--figure", "failures", "--out", "x.png"]]
READ = [["status", "run"], ["show", "run"], ["view", "run", "--port", "0"], ["search", "run", "x"]]


def _torn_objects(run: Path) -> None:
    for path in (run / "harness.git" / "objects").glob("??/*"):
        path.chmod(0o644)
        path.write_bytes(b"x" * 10)


def _lost_key(run: Path) -> None:
    change(run / "run.db", "UPDATE events SET data = '{}' WHERE kind = 'decided'")


def _odd_outcomes(run: Path) -> None:
    odd = "json_set(data, '$.outcomes', json('{\"too_easy\": \"x\"}'))"
    change(run / "run.db", f"UPDATE results SET data = {odd}")


def _no_json(run: Path) -> None:
    change(run / "run.db", "UPDATE results SET data = '{', timing = '7'")


def _fifo(name: str) -> Callable[[Path], None]:
    def made(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return made


@pytest.mark.parametrize(
    ("damage", "commands", "told"),
    [
        (_no_objects, TAKEN, "harness.git: git can't use it (fatal: "),
        (_torn_objects, TAKEN, "harness.git: git can't use it (fatal: "),
        (_no_repository, TAKEN, "harness.git: git can't use it (no git repository)"),
        (_odd_results, RESULTS, "run.db: a result (paper) isn't as metaopt wrote it"),
        (_no_json, RESULTS, "run.db: a result (Invalid JSON"),
        (_odd_results, FAILURES, "run.db: a result isn't as metaopt wrote it"),
        (_odd_outcomes, FAILURES, "run.db: a result isn't as metaopt wrote it"),
        (_odd_event, READ, "run.db: 'implemented' of iteration 1 isn't as metaopt wrote it"),
        (_lost_key, READ, "run.db: its events aren't as metaopt wrote them (KeyError: "),
        (_fifo("run.db"), READ, "run.db: not a plain file"),
        (_fifo("run.db-wal"), READ, "run.db-wal: not a plain file"),
        (_fifo("calls.db"), READ[:1], "calls.db: not a plain file"),
        (_fifo("config.toml"), READ, "config.toml: not a plain file"),
        (_fifo("lock"), READ, "lock: not a plain file"),
        (_fifo("stopped.json"), READ, "stopped.json: not a plain file"),
    ],
)
def test_damage_is_one_line(
    run: Path, damage: Callable[[Path], None], commands: Commands, told: str, capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(run.parent)
    damage(run)
    for command in commands:
        capsys.readouterr()
        assert invoke(app, command) == 2, command
        said = capsys.readouterr().err
        assert told in said, command
        assert said.count("\n") == 1
    assert not Path("taken").exists()


def test_a_run_on_storage_that_cannot_be_written_to_can_be_read(run: Path, tmp_path: Path) -> None:
    """SQLite makes files beside a database that it reads, where nothing stops it."""
    require(shutil.which("bwrap"), "no bwrap")
    command = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/var/tmp"]

    def asked(*words: str) -> subprocess.CompletedProcess[str]:
        metaopt = [sys.executable, "-m", "analysis", words[0], str(run), *words[1:]]
        env = os.environ | {"TMPDIR": "/var/tmp"}
        return subprocess.run(
            [*command, *metaopt], capture_output=True, timeout=300, env=env, text=True
        )

    for left in (*run.glob("*-wal"), *run.glob("*-shm")):
        left.unlink()
    for words in (["status"], ["show", "1", "--papers", "--diff"], ["search", "the"]):
        done = asked(*words)
        assert (done.returncode, done.stderr) == (0, ""), words
    (run / "calls.db-wal").write_bytes(b"x" * 100)  # a copy of a run that went on
    done = asked("status")
    assert done.returncode == 2
    assert "calls.db: calls.db-wal beside it has more of it" in done.stderr


async def test_every_loopback_address_checks_the_name(made: Path) -> None:
    server = TestServer(application(shelves([made])), host="127.0.0.2")
    async with TestClient(server) as client:
        for host, status in (("evil.example", 403), ("127.0.0.2:80", 200), ("localhost", 200)):
            assert (await client.get("/run/", headers={"Host": host})).status == status


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
    assert "run: broken: run.db: 'implemented' of iteration 1 isn't as metaopt wrote it" in out
    assert "whole*" in out


def test_a_clock_that_was_set_back_makes_no_negative_time(run: Path, capsys: Capture) -> None:
    change(run / "run.db", "UPDATE events SET at = at + 86400")
    assert invoke(app, ["status", str(run)]) == 0
    assert "finished 0 s ago" in capsys.readouterr().out
