"""Whole runs on a provider that fails in every way: the same story, and nothing let out."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clock import SkippingClock
from fake_openai import FakeOpenAI, failure
from faults import ALL, CONTENT, Faulty, files_with
from whole_runs import Provider, small_config, story

from inner_agent import llm
from inner_agent.traffic import Ticket, Traffic
from metaopt.cli import app, invoke
from metaopt.status import summary

KEY = "sk-planted-0123456789abcdef"
Story = dict[str, list[Any]]
Start = Callable[..., int]


@pytest.fixture
def start(
    tmp_path: Path, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Start]:
    """Starts (or goes on with) the small run in ``tmp_path/run``; pauses take no time."""
    monkeypatch.setattr(llm, "SystemClock", SkippingClock)
    monkeypatch.setenv("FAKE_KEY", KEY)
    fake_openai.key = KEY
    endpoint = f'base_url = "{fake_openai.base_url}"\napi_key_env = "FAKE_KEY"\ntimeout_s = 0.5'
    config = small_config(tmp_path, endpoint)

    def again(*overrides: str) -> int:
        sets = [word for text in overrides for word in ("--set", text)]
        return invoke(app, ["run", str(config), "--out", str(tmp_path / "run"), *sets])

    return again


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Story, int]:
    """The story of the run on a provider without faults, and the calls that it takes."""
    folder = tmp_path_factory.mktemp("sound")
    with FakeOpenAI() as server, pytest.MonkeyPatch.context() as patched:
        server.reply = Provider()
        patched.setenv("FAKE_KEY", server.key)
        endpoint = f'base_url = "{server.base_url}"\napi_key_env = "FAKE_KEY"'
        config = small_config(folder, endpoint)
        assert invoke(app, ["run", str(config), "--out", str(folder / "run")]) == 0
        return story(folder / "run"), len(server.requests)


def paid(folder: Path) -> tuple[int, int]:
    """Replies in calls.db, and how many of them were set aside."""
    with sqlite3.connect(folder / "calls.db") as db:
        names = [row[0] for row in db.execute("SELECT sample FROM calls")]
    db.close()
    return len(names), sum(re.search(r"#unusable\d$", name) is not None for name in names)


@pytest.fixture
def timeouts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one whenever the client gives up waiting for a reply."""
    seen: list[str] = []
    failed = Traffic.failed

    def noted(self: Traffic, ticket: Ticket, why: str, *more: Any, **named: Any) -> bool:
        if why.startswith("no complete reply within"):
            seen.append(why)
        return failed(self, ticket, why, *more, **named)

    monkeypatch.setattr(Traffic, "failed", noted)
    return seen


def test_a_fifth_of_faults_changes_nothing(
    tmp_path: Path, fake_openai: FakeOpenAI, start: Start, sound: tuple[Story, int],
    timeouts: list[str], capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    faulty = fake_openai.reply = Faulty(Provider(), seed=1, share=0.2, secret=KEY)
    # Stopped twice and gone on with: what was set aside counts as tried, and every cap holds.
    for calls in (150, 400):
        assert start(f"budget.calls={calls}") == 3
        assert calls - 10 <= paid(tmp_path / "run")[0] <= calls
    assert start() == 0
    expected, calls = sound
    assert story(tmp_path / "run") == expected
    assert set(faulty.injected) == set(ALL)
    recorded, aside = paid(tmp_path / "run")
    assert recorded == calls + aside
    # A loaded machine may be late with a whole reply: then the client gave up on it.  None else
    # is lost, also not at a stop.
    late = len(timeouts) - faulty.injected["hang"] - faulty.injected["drip"]
    lost = faulty.whole - recorded
    assert 0 <= lost <= late
    assert 0 <= sum(faulty.injected[kind] for kind in CONTENT) - aside <= lost
    assert not files_with(tmp_path, KEY)
    assert KEY not in "".join(capfd.readouterr())


def test_an_outage_is_waited_out(
    tmp_path: Path, fake_openai: FakeOpenAI, start: Start, sound: tuple[Story, int],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    faulty = Faulty(Provider(), seed=1, share=0, secret=KEY, outage_at=200, outage=40)
    states: list[str] = []

    def look() -> None:
        if faulty.requests == 235:
            states.append(summary(tmp_path / "run"))

    faulty.during_outage, fake_openai.reply = look, faulty
    assert start() == 0
    assert story(tmp_path / "run") == sound[0]
    assert paid(tmp_path / "run") == (sound[1], 0)
    said = capfd.readouterr().err
    [paused] = re.findall(r"^.*: paused, .*$", said, re.MULTILINE)
    assert re.match(
        r"endpoints\.e doesn't answer \(.*503.*\[key\].*\): paused, next try in 1 s;"
        r" giving up after 2\.0 h$",
        paused,
    )
    [back] = re.findall(r"^.* answers again .*$", said, re.MULTILINE)
    assert re.match(r"endpoints\.e answers again after \d+ min: going on$", back)
    assert re.search(r"running as process \d+, paused for \d+ s: endpoints\.e doesn't", states[0])
    assert "paused" not in summary(tmp_path / "run")


def test_generate_says_it_too(
    tmp_path: Path, fake_openai: FakeOpenAI, start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_openai.reply = Faulty(Provider(), seed=1, share=0, outage_at=20, outage=10)
    command = ["generate", "--config", str(tmp_path / "small.toml"), "--out", str(tmp_path / "d")]
    assert invoke(app, [*command, "--max-papers", "3"]) == 0
    said = capfd.readouterr().err
    assert len(re.findall(r"^endpoints\.e doesn't answer .*: paused, ", said, re.MULTILINE)) == 1
    assert len(re.findall(r"^endpoints\.e answers again after ", said, re.MULTILINE)) == 1


def test_what_is_never_mended_stops_the_run_for_now(
    tmp_path: Path, fake_openai: FakeOpenAI, start: Start, sound: tuple[Story, int],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """An outage without end, a key that is withdrawn: one line, and it can be gone on with."""
    fake_openai.reply = Faulty(Provider(), seed=1, share=0, outage_at=100, outage=10**9)
    assert start("endpoints.e.outage_s=600") == 4
    assert re.search(
        r"^stopped: endpoints\.e: no answer for 1[01] min \(.*503.*\); to go on: metaopt run .*$",
        capfd.readouterr().err,
        re.MULTILINE,
    )
    provider, before = Provider(), len(fake_openai.requests)

    def withdrawn(body: Any) -> Any:
        gone = len(fake_openai.requests) - before > 100
        return failure(401, f"no such key: {KEY}") if gone else provider(body)

    fake_openai.reply = withdrawn
    assert start() == 2
    said = capfd.readouterr().err.splitlines()
    assert [line for line in said if "key" in line] == [said[-1]]
    assert re.match(r"metaopt: endpoints\.e: key refused \(.*no such key: \[key\]", said[-1])
    assert len(fake_openai.requests) - before <= 100 + 4  # those in flight; nobody tries again
    assert " ago (endpoints.e: key refused" in summary(tmp_path / "run")
    fake_openai.reply = Provider()
    assert start() == 0
    assert story(tmp_path / "run") == sound[0]
    assert not files_with(tmp_path, KEY)


def test_another_model_in_mid_run_stops_it(
    tmp_path: Path, fake_openai: FakeOpenAI, start: Start, sound: tuple[Story, int],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    provider = Provider()

    def swapped(body: Any) -> Any:
        late = len(fake_openai.requests) > 150
        return {**provider(body), "model": "cheap"} if late else provider(body)

    fake_openai.reply = swapped
    assert start() == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert re.match(r"metaopt: endpoints\.e: answered by 'cheap', asked for 'sim-", said)
    fake_openai.reply = Provider()
    assert start() == 0
    assert story(tmp_path / "run") == sound[0]  # none of its replies was taken


def test_a_traceback_shows_no_key(tmp_path: Path, start: Start) -> None:
    """A bug of ours, deep in the client: a plain traceback, without anybody's variables."""
    bug = (
        "import inner_agent.llm as llm\n"
        "def broken(answer, redacted, *_): key = redacted._key; raise KeyError('a bug')\n"
        "llm._reply = broken\n"
        "from analysis.__main__ import main; main()\n"
    )
    command = [sys.executable, "-c", bug, "run", str(tmp_path / "small.toml")]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "run")], env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "KeyError: 'a bug'" in done.stderr
    assert KEY not in done.stdout + done.stderr
