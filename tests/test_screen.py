"""How a run is watched: the redrawn lines in terminals of any size, and plain lines elsewhere."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import require
from fake_openai import FakeOpenAI, rate_limited
from rich.console import Console
from rich.text import Text
from terminal import Terminal
from whole_runs import Provider, decided, made_run, small_config

from inner_agent.budget import Ledger
from inner_agent.calls import Usage
from inner_agent.settings import Budget, RoleCap
from inner_agent.traffic import Door
from metaopt import screen as screen_module
from metaopt.cli import app, invoke
from metaopt.config import load_config
from metaopt.monitor import Monitor
from metaopt.record import open_record
from metaopt.redraw import Drawing
from metaopt.screen import Screen, live

ODD = "calls\x1b[31m the [bold]challenger[/nonsense] less"  # what a model may write
FREE = Door("a", 3, 16, 64, 0, 0, 0.0, False, 0, None)
LIMITED = Door("b", 2, 9, 64, 30, 4, 12.0, True, 37, None)
DOWN = Door("c", 1, 16, 64, 8, 0, 0.0, False, 0, "endpoints.c is down for 3 min, next try in 60 s"
            " (\x1b[2Jno route to the host)")  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three iterations: 1 accepted, 2 rejected, 3 under way."""
    config = load_config(small_config(tmp_path / "x", 'kind = "simulator"', iterations=40))
    with made_run(tmp_path / "run", config) as (repo, store):
        tree = repo.read(repo.baseline)
        first = repo.commit(repo.baseline, tree | {"a.md": b"1"}, "1")
        decided(store, repo, 1, first, 0, (6, 12))
        second = repo.commit(first, tree | {"a.md": b"2"}, "2")
        decided(store, repo, 2, second, 1, (12, 10), accepted=False)
    return tmp_path / "run"


def viewed(run: Path, under_way: int = 2, budget: Budget | None = None) -> Any:
    """As much of a lab as the view reads, with so many iterations under way."""
    record, monitor = open_record(run), Monitor(iterations=40)
    for i in range(3, 3 + under_way):
        monitor.parent(i, 1)
        monitor.stage(i, "validation papers", 50)
        monitor.paper_done(i)
        monitor.paper_done(i, run_now=False)
    spent = {"judge": Usage(12_345, 6_000_000, 789_012, 0, 1.5)}
    doors = [FREE, LIMITED, DOWN]
    gateway = SimpleNamespace(
        ledger=Ledger(budget or Budget(), spent), replayed=7, in_flight=3,
        tell=lambda say: None, doors=doors, pauses=[d.pause for d in doors if d.pause],
    )  # fmt: skip
    return SimpleNamespace(
        folder=run, config=record.config, state=record.state, monitor=monitor, gateway=gateway
    )


def shown(lab: Any, width: int, height: int) -> list[str]:
    """The lines of the frame, in a terminal of that size."""
    console = Console(width=width, height=height, file=StringIO(), force_terminal=True)
    with console.capture() as capture:
        console.print(Screen(lab).frame(width, height))
    return re.sub(r"\x1b\[[0-9;]*m", "", capture.get()).splitlines()


@pytest.mark.parametrize(("width", "height"), [(200, 60), (80, 24), (40, 10)])
@pytest.mark.parametrize("under_way", [0, 2, 36])
def test_the_frame_fits_any_terminal(run: Path, width: int, height: int, under_way: int) -> None:
    lines = shown(viewed(run, under_way), width, height)
    assert len(lines) <= height - 2
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert lines[0].startswith("SIMULATED  2/40 iterations, 1 accept")
    assert "limits the rate: 9 calls" in text
    assert "endpoints.c is down for 3 min, next" in text
    assert "\x1b" not in text
    bars = [line for line in lines if "validation papers" in line]
    rest = re.findall(r"and (\d+) more iterations? under way", text)
    assert len(bars) + sum(map(int, rest)) == under_way
    assert all(line.endswith(" 2/50") for line in bars)


def test_the_frame_has_rates_limits_caps_and_pace(run: Path) -> None:
    caps = Budget(usd=2.0, roles={"judge": RoleCap(calls=12_400), "weak": RoleCap(calls=10)})
    lab = viewed(run, 2, caps)
    lines = shown(lab, 100, 24)
    assert lines[1] == "baseline 24% of 25   best 48% of 50 (candidate 1)"
    assert "endpoints.a  3 of 16 calls at a time" in lines
    assert (
        "endpoints.b limits the rate: 9 calls at a time, 4 wait 12 s, 30 queued, 37 sent again"
        in lines
    )
    assert lines[-2].startswith("$1.50  75% of budget.usd  100% of budget.roles.judge.calls")
    assert "budget.roles.weak" not in "\n".join(lines)
    assert re.search(r"\d rollouts/min  3 in flight", "\n".join(lines[-2:]))
    assert lines[-1].endswith("12,345 calls  6.79 M tokens  7 replayed")


@pytest.mark.parametrize("terminal", [True, False])
def test_what_models_wrote_is_shown_as_it_is_and_harmless(run: Path, terminal: bool) -> None:
    console = Console(width=80, file=StringIO(), force_terminal=terminal)
    lab = viewed(run, 1)
    with live(lab, console):
        lab.monitor.decided(3, f"iteration 3: {ODD}")
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert "calls [31m the [bold]challenger[/nonsense] less" in text.replace("\n", " ")
    assert "\x1b[31m" not in text
    assert ("\x1b[2K" in text) == terminal


def test_no_line_is_drawn_twice_and_each_drawing_is_one_write(run: Path) -> None:
    lab, writes = viewed(run), Writes()
    console = Console(width=80, height=24, file=writes, force_terminal=True)  # type: ignore[arg-type]
    drawing = Drawing(console, lambda _w, _h: Text(lab.monitor.active[3].stage))
    for stage in ("editing", "editing", "editing", "validation papers"):
        lab.monitor.stage(3, stage)
        drawing.draw()
    drawing.lines += ["one", "two"]
    drawing.draw()
    drawing.live.stop()
    drawn = [w for w in writes.flushed if "\x1b[?2026h" in w]
    assert [("editing" in w, "validation" in w, "one" in w) for w in drawn] == [
        (True, False, False), (False, True, False), (False, True, True),
    ]  # fmt: skip
    assert all(w.endswith("\x1b[?2026l") for w in drawn)


class Writes(StringIO):
    """A file that keeps what was written between two flushes together."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[str] = []

    def flush(self) -> None:
        if text := self.getvalue():
            self.flushed.append(text)
        self.seek(0)
        self.truncate()


def test_a_pipe_gets_how_it_stands_now_and_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen_module, "LINE_EVERY_S", 0.0)
    monkeypatch.setenv("TERM", "dumb")
    config = small_config(tmp_path, 'kind = "simulator"', iterations=1)
    command = ["run", str(config), "--out", str(tmp_path / "run")]
    assert invoke(app, command) == 0
    said = capsys.readouterr().err.splitlines()
    stands = r"SIMULATED  0/1 iterations, 0 accepted, \d+ s so far; 1: training papers 2/3; .*calls"
    assert any(re.match(stands, line) for line in said)
    assert not any("\x1b" in line for line in said)
    assert invoke(app, [*command, "--set", "search.iterations=2"]) == 0
    [first] = [line for line in said if line.startswith("iteration 1: ")]
    assert f"last of 1 iteration: {first}" in capsys.readouterr().err


@contextmanager
def watched(
    command: list[str], width: int, height: int, script: str = 'exec "$@"'
) -> Iterator[tuple[Terminal, Any]]:
    """``command`` with a terminal of its own, as ``script`` starts it."""
    require(shutil.which("setsid"), "setsid (util-linux)")
    ours, theirs = os.openpty()
    terminal = Terminal(ours, width, height)
    fixed = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE")
    env = {k: v for k, v in os.environ.items() if k not in fixed} | {"TERM": "xterm"}
    shell = ["setsid", "--ctty", "bash", "-c", script, "bash"]
    words = [*shell, sys.executable, "-m", "analysis", *command]
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as child:
        os.close(theirs)
        try:
            yield terminal, child
        finally:
            child.kill()
            os.close(ours)


def test_a_real_terminal_resized_limited_and_left(
    tmp_path: Path, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held requests; a narrower and a wider window; a 429; then Ctrl-C."""
    monkeypatch.setenv("FAKE_KEY", fake_openai.key)
    fake_openai.reply = Provider()
    fake_openai.queue(rate_limited(60))
    fake_openai.hold()
    endpoint = f'base_url = "{fake_openai.base_url}"\napi_key_env = "FAKE_KEY"'
    config = small_config(tmp_path, endpoint, iterations=1)
    with watched(["run", str(config), "--out", str(tmp_path / "run")], 80, 24) as (terminal, child):
        asyncio.run(fake_openai.arrived(3))
        wide = terminal.until(lambda text: "3 of 16 calls" in text)
        assert re.search(r"^iteration 1  parent 0  training papers  [━╺╸ ]+  0/3$", wide, re.M)
        for width, height, row in ((40, 10, "1 training papers"), (100, 30, "iteration 1  parent")):
            terminal.resize(width, height)
            text = terminal.until(lambda text, row=row: f"\n{row}" in text)
            for part in ("iterations", "baseline", "training papers", "of 16 calls"):
                assert text.count(part) == 1, text  # nothing is left of the other frame
        fake_openai.release()
        terminal.until(lambda text: "endpoints.e limits the rate: " in text)
        assert re.search(r"endpoints\.e limits the rate \(.*429.*\): ", terminal.text)
        assert not terminal.cursor_shown
        terminal.type("\x03")
        text = terminal.to_the_end()
        assert child.wait() == 130
    assert terminal.cursor_shown
    assert "stopped: interrupted; to go on: metaopt run" in text
    assert text.count("0/1 iterations") == 1
    assert "Traceback" not in terminal.seen


def test_in_the_background_nothing_is_redrawn(tmp_path: Path) -> None:
    config = small_config(tmp_path, 'kind = "simulator"', iterations=1)
    command = ["run", str(config), "--out", str(tmp_path / "run")]
    with watched(command, 80, 24, 'set -m; "$@" & wait') as (terminal, child):
        text = terminal.to_the_end()
        assert child.wait() == 0
    assert "iteration 1: " in text
    assert "\x1b[" not in terminal.seen


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it(
    tmp_path: Path, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_KEY", fake_openai.key)
    fake_openai.reply = Provider()
    fake_openai.hold()
    endpoint = f'base_url = "{fake_openai.base_url}"\napi_key_env = "FAKE_KEY"'
    config = small_config(tmp_path, endpoint, iterations=1)
    command = ["run", str(config), "--out", str(tmp_path / "run")]
    script = 'set -m; "$@"; echo stopped with $?; read; fg; exit $?'
    with watched(command, 80, 24, script) as (terminal, child):
        terminal.until(lambda text: "3 of 16 calls" in text)
        assert not terminal.cursor_shown
        terminal.type("\x1a")
        terminal.until(lambda text: "stopped with 148" in text)
        assert terminal.cursor_shown
        terminal.type("\n")
        terminal.until(lambda text: "stopped with" not in text and "3 of 16 calls" in text)
        assert terminal.text.count("0/1 iterations") == 1
        fake_openai.release()
        terminal.to_the_end()
        assert child.wait() == 0
    assert terminal.cursor_shown
    assert "iteration 1: " in terminal.text
