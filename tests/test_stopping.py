"""How a run stops: signals, a closed terminal, a full or read-only disk, a second process."""

import asyncio
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import require
from fake_openai import FakeOpenAI
from whole_runs import IN_FLIGHT, Provider, small_config, story

from inner_agent.errors import UserError
from inner_agent.sandbox import bubblewrap_problem
from metaopt.cli import app, invoke
from metaopt.record import running_process
from metaopt.store import lock

SMALL = {"iterations": 1, "minibatch": 3, "validation": 2}
FINISHING = f"finishing {SMALL['minibatch']} calls in flight, up to 30 s; Ctrl-C again stops now"


@pytest.fixture
def server(fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> FakeOpenAI:
    """A provider that plays all roles."""
    fake_openai.reply = Provider()
    monkeypatch.setenv("FAKE_KEY", fake_openai.key)
    return fake_openai


@pytest.fixture
def run(server: FakeOpenAI, tmp_path: Path) -> list[str]:
    """The command of a small run on it, without the folder."""
    return command(server, tmp_path)


def command(server: FakeOpenAI, place: Path) -> list[str]:
    endpoint = f'base_url = "{server.base_url}"\napi_key_env = "FAKE_KEY"\nmax_retries = 0'
    return ["run", str(small_config(place, endpoint, **SMALL)), "--out"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The story of the run on the provider that nobody stopped."""
    place = tmp_path_factory.mktemp("unbroken")
    with FakeOpenAI() as server, pytest.MonkeyPatch.context() as patch:
        server.reply = Provider()
        patch.setenv("FAKE_KEY", server.key)
        assert invoke(app, [*command(server, place), str(place / "run")]) == 0
    return story(place / "run")


@pytest.fixture(autouse=True)
def hangups_count() -> Iterator[None]:
    """Where the tests run under nohup, what they start would ignore a closed terminal too."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the simulator that nobody stopped."""
    place = tmp_path_factory.mktemp("whole")
    config = small_config(place, 'kind = "simulator"', **SMALL)
    assert invoke(app, ["run", str(config), "--out", str(place / "run")]) == 0
    return place / "run"


def metaopt(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "analysis", *arguments]


def calls(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "calls.db")) as db:
        return int(db.execute("SELECT COUNT(*) FROM calls").fetchone()[0])


def paid_twice(server: FakeOpenAI) -> int:
    asked = Counter(r.headers["idempotency-key"] for r in server.requests)
    return sum(n - 1 for n in asked.values())


def all_on_the_wire(server: FakeOpenAI) -> None:
    """Wait until every rollout of the first stage waits for its first reply."""
    asyncio.run(server.arrived(SMALL["minibatch"]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_finishes_what_is_in_flight(
    tmp_path: Path,
    server: FakeOpenAI,
    run: list[str],
    unbroken: dict[str, list[Any]],
    number: signal.Signals,
) -> None:
    out = tmp_path / "out"
    server.hold()
    with subprocess.Popen(metaopt(*run, str(out)), stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr
        all_on_the_wire(server)
        child.send_signal(number)
        assert child.stderr.readline().strip() == FINISHING
        server.release()
        said = child.stderr.read()
    assert child.returncode == 130
    assert said.startswith("stopped: interrupted; to go on: metaopt run")
    assert calls(out) == len(server.requests) == SMALL["minibatch"]
    if number != signal.SIGINT:
        return  # the rest is the same for all of them
    assert invoke(app, [*run, str(out)]) == 0
    assert paid_twice(server) == 0
    assert story(out) == unbroken


def test_generate_finishes_what_is_in_flight_too(
    tmp_path: Path, server: FakeOpenAI, run: list[str]
) -> None:
    out = tmp_path / "data"
    given = ["generate", "--config", run[1], "--papers", "synthetic:6:0", "--out", str(out)]
    server.hold()
    with subprocess.Popen(metaopt(*given), stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr
        asyncio.run(server.arrived(IN_FLIGHT))
        child.send_signal(signal.SIGINT)
        assert child.stderr.readline().startswith(f"finishing {IN_FLIGHT} calls in flight")
        server.release()
        said = child.stderr.read()
    assert child.returncode == 130
    assert said.startswith("stopped: interrupted; to go on: metaopt generate")
    assert calls(out) == len(server.requests) == IN_FLIGHT


def test_a_second_signal_stops_now(
    tmp_path: Path, server: FakeOpenAI, run: list[str], unbroken: dict[str, list[Any]]
) -> None:
    out = tmp_path / "out"
    server.hold()
    with subprocess.Popen(metaopt(*run, str(out)), stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr
        all_on_the_wire(server)
        child.send_signal(signal.SIGINT)
        assert child.stderr.readline().strip() == FINISHING
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130  # nothing has been answered
    assert calls(out) == 0
    server.release()
    assert invoke(app, [*run, str(out)]) == 0
    assert paid_twice(server) == SMALL["minibatch"]  # what was dropped, and no more
    assert story(out) == unbroken


def test_what_waits_for_its_turn_is_not_sent_any_more(
    tmp_path: Path, server: FakeOpenAI, run: list[str]
) -> None:
    out = tmp_path / "out"
    server.hold()
    one = ["--set", "endpoints.e.max_in_flight=1"]
    with subprocess.Popen(
        metaopt(*run, str(out), *one), stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr
        asyncio.run(server.arrived(1))
        child.send_signal(signal.SIGINT)
        assert child.stderr.readline().startswith("finishing 1 call in flight")
        server.release()
    assert child.returncode == 130
    assert calls(out) == len(server.requests) == 1


def test_ctrl_c_while_it_is_still_importing_is_quiet() -> None:
    code = """
import runpy, sys
class Impatient:
    def find_spec(self, name, *_):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Impatient())
sys.argv = ["metaopt", "status", "."]
runpy.run_module("analysis", run_name="__main__")
"""
    for module in ("analysis.cli", "typer", "metaopt.status"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(module=module)], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (130, ""), module


def test_a_closed_terminal_loses_nothing(
    tmp_path: Path, server: FakeOpenAI, run: list[str], unbroken: dict[str, list[Any]]
) -> None:
    """The live view is on when the terminal goes away: SIGHUP, and then EIO at every write."""
    require(shutil.which("setsid"), "setsid (util-linux)")
    out = tmp_path / "out"
    server.hold()
    ours, theirs = os.openpty()
    command = ["setsid", "--ctty", *metaopt(*run, str(out))]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        all_on_the_wire(server)
        os.close(ours)
        server.release()
        assert child.wait(60) == 130
    assert calls(out) == len(server.requests)
    assert invoke(app, [*run, str(out)]) == 0
    assert paid_twice(server) == 0
    assert story(out) == unbroken


def test_nobody_reads_the_output_any_more(tmp_path: Path, whole: Path) -> None:
    config = small_config(tmp_path, 'kind = "simulator"', **SMALL)
    out = tmp_path / "out"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        metaopt("run", str(config), "--out", str(out)), stdout=writing, stderr=writing, check=False
    )
    os.close(writing)
    assert done.returncode == 0
    assert story(out) == story(whole)


@pytest.fixture
def jail() -> list[str]:
    """A bubblewrap that shows everything as it is; options change single folders."""
    require(bubblewrap_problem() is None, "a working bubblewrap")
    return ["bwrap", "--dev-bind", "/", "/"]


@pytest.mark.parametrize("percent", [25, 60, 95])
def test_a_full_disk_is_one_line_and_loses_nothing(
    tmp_path: Path, whole: Path, jail: list[str], percent: int
) -> None:
    """A real file system without room for the whole run."""
    config = small_config(tmp_path, 'kind = "simulator"', **SMALL)
    small, saved = tmp_path / "small", tmp_path / "saved"
    small.mkdir()
    used = sum(p.stat().st_blocks * 512 for p in whole.rglob("*"))
    size = str(used * percent // 100)
    run = metaopt("run", str(config), "--out", str(small / "run"))
    script = '"$@"; status=$?; cp -a "$SMALL" "$SAVED"; exit $status'
    done = subprocess.run(
        [*jail, "--size", size, "--tmpfs", str(small), "sh", "-c", script, "sh", *run],
        env={**os.environ, "SMALL": str(small), "SAVED": str(saved)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.match("stopped: .*(full|No space left).*; to go on: metaopt run", last), done.stderr
    assert "Traceback" not in done.stderr
    assert invoke(app, ["run", str(config), "--out", str(saved / "run")]) == 0
    assert story(saved / "run")["events"] == story(whole)["events"]


def test_a_winner_that_the_disk_has_no_room_for_is_one_line(
    tmp_path: Path, whole: Path, jail: list[str]
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    for size in range(40_000, 120_000, 20_000):
        done = subprocess.run(
            [*jail, "--size", str(size), "--tmpfs", str(small),
             *metaopt("checkout", str(whole), str(small / "winner"), "--candidate", "0")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert re.fullmatch("metaopt: .*No space left on device.*\n", done.stderr), done.stderr


def test_a_read_only_folder_is_one_line(whole: Path, jail: list[str]) -> None:
    config = whole.parent / "small.toml"
    run = metaopt("run", str(config), "--out", str(whole))
    done = subprocess.run(
        [*jail, "--ro-bind", str(whole), str(whole), *run],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"metaopt: {whole}: can't be written to (Read-only file system)\n"


def test_a_second_process_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    def refusal() -> str:
        with pytest.raises(UserError) as refused:
            lock(tmp_path)
        return str(refused.value)

    (tmp_path / "lock").write_text("1")  # of a process that was killed long ago
    named = f"process {os.getpid()} is on this run"
    with lock(tmp_path):
        assert named in refusal()
        os.truncate(tmp_path / "lock", 0)  # as in the moment before the number is written
        assert named in refusal()
        (tmp_path / "lock").unlink()  # somebody tidies up
        assert running_process(tmp_path) == str(os.getpid())
        assert named in refusal()
        assert named in refusal()
    assert running_process(tmp_path) is None
    with lock(tmp_path):
        pass


def test_clock_jumps_change_nothing(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By days, back and forth, at each look; budgets go by another clock."""
    config = small_config(tmp_path, 'kind = "simulator"', **SMALL)
    chance, now = random.Random(0), time.time
    looks = 0

    def leaping() -> float:
        nonlocal looks
        looks += 1
        return now() + chance.uniform(-9, 9) * 86_400

    monkeypatch.setattr(time, "time", leaping)
    more = ["--set", "budget.wall_s=3600"]
    assert invoke(app, ["run", str(config), "--out", str(tmp_path / "run"), *more]) == 0
    assert looks > 100
    assert story(tmp_path / "run") == story(whole)


def test_a_file_of_another_version_is_one_line(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(whole.parent / "small.toml")
    for name in ("run.db", "calls.db"):
        out = tmp_path / name / "run"
        shutil.copytree(whole, out)
        with closing(sqlite3.connect(out / name)) as db:
            db.execute("PRAGMA user_version = 0")  # as before files had a number
        for command in (["run", config, "--out", str(out)], ["status", str(out)]):
            assert invoke(app, command) == 2
            said = capsys.readouterr().err
            assert f"{name}: written by another version of metaopt (format 0" in said
            assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["run.db", "calls.db"])
def test_a_file_that_is_no_database_is_named(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    for left in out.glob(f"{name}-*"):
        left.unlink()
    (out / name).write_text("no database at all" * 100)
    for command in (
        ["run", str(whole.parent / "small.toml"), "--out", str(out)],
        ["status", str(out)],
    ):
        assert invoke(app, command) == 2
        said = capsys.readouterr().err
        assert f"{name}: can't be opened (file is not a database)" in said
        assert said.count("\n") == 1
