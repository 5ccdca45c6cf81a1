"""Whole runs: the same events whatever the timing, and after kill -9."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_openai import Body, FakeOpenAI, completion

from inner_agent.llm import Reply, Request
from inner_agent.simulator import Simulator
from inner_agent.simulator.parameters import SimulatorParameters
from metaopt.cli import app, invoke
from metaopt.config import load_config
from metaopt.lab import open_lab
from metaopt.monitor import Monitor

HERE = Path(__file__).parent
ROLES = (
    "main_agent", "challenger", "quality_verifier", "weak", "strong", "judge",
    "auditor", "analyzer", "implementer",
)  # fmt: skip
IN_FLIGHT = 4


def small_config(folder: Path, endpoint: str) -> Path:
    """A run of three iterations on a handful of synthetic papers."""
    folder.mkdir(parents=True, exist_ok=True)
    models = "\n".join(
        f'{r} = {{ endpoint = "e", model = "sim-{r.replace("_", "-")}" }}' for r in ROLES
    )
    path = folder / "small.toml"
    split = HERE.parent / "splits" / "demo.json"
    path.write_text(
        f"""
seed = 3
[papers]
path = "synthetic:100:0"
split = "{split}"
[search]
iterations = 3
parallel = 2
minibatch = 3
validation_papers = 5
[limits]
items = 2
rollouts_in_flight = {IN_FLIGHT}
[endpoints.e]
{endpoint}
[models]
{models}
"""
    )
    return path


def story(folder: Path) -> dict[str, list[Any]]:
    """Everything that a run decided and measured, times aside."""
    db = sqlite3.connect(folder / "run.db")
    events = db.execute("SELECT iteration, kind, data FROM events ORDER BY iteration, seq")
    results = db.execute(
        "SELECT candidate, part, paper, iteration, data FROM results"
        " ORDER BY candidate, part, paper, iteration"
    )
    return {"events": events.fetchall(), "results": results.fetchall()}


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


class Provider:
    """The simulator behind HTTP, counting what it was asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        # A verdict that can't be read would rightly be asked for again, three times.
        self._simulator = Simulator(0, SimulatorParameters(judge_unreadable=0))

    def __call__(self, body: Body) -> Body:
        self.asked[json.dumps(body, sort_keys=True)] += 1
        request = Request(
            body["model"], body["messages"], body["temperature"], body["max_tokens"],
            body["seed"], body.get("tools", ()),
        )  # fmt: skip
        reply = _now(self._simulator.complete(request))
        calls = [(c.name, c.arguments) for c in reply.tool_calls]
        return completion(reply.content, tool_calls=calls, finish_reason=reply.finish_reason)


def _now(work: Coroutine[Any, Any, Reply]) -> Reply:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        reply: Reply = done.value
        return reply
    raise AssertionError("the simulator waited")


def test_kill_9_then_resume_equals_unbroken(tmp_path: Path, fake_openai: FakeOpenAI) -> None:
    provider = fake_openai.reply = Provider()
    endpoint = f'base_url = "{fake_openai.base_url}"\napi_key_env = "FAKE_KEY"\nmax_retries = 0'
    config = small_config(tmp_path, endpoint)
    env = {**os.environ, "FAKE_KEY": fake_openai.key}
    command = [sys.executable, "-m", "analysis", "run", str(config), "--out"]

    unbroken = [*command, str(tmp_path / "unbroken")]
    subprocess.run(unbroken, env=env, check=True)
    asked_unbroken, provider.asked = provider.asked, Counter()

    kills = 0
    broken = [*command, str(tmp_path / "broken")]
    for calls in (40, 150, 400):  # in training papers, in validation, later
        kills += _kill_after(broken, env, provider, calls)
    subprocess.run(broken, env=env, check=True)

    assert kills == 3
    assert story(tmp_path / "broken") == story(tmp_path / "unbroken")
    assert provider.asked.keys() == asked_unbroken.keys()
    paid_twice = sum(n - 1 for n in provider.asked.values())
    # A reply on the wire at the moment of a kill is lost; nothing that arrived is asked again.
    assert paid_twice <= kills * IN_FLIGHT
    assert max(asked_unbroken.values()) == 1


def _kill_after(command: list[str], env: dict[str, str], provider: Provider, calls: int) -> int:
    """Start, kill -9 once the provider has been asked ``calls`` times in all."""
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, process_group=0) as child:
        while provider.asked.total() < calls and child.poll() is None:
            os.sched_yield()
        alive = child.poll() is None
        child.send_signal(signal.SIGKILL)
    return int(alive)


def test_a_resumed_run_can_be_longer(tmp_path: Path) -> None:
    config = small_config(tmp_path, 'kind = "simulator"')
    out = ["--out", str(tmp_path / "run")]
    assert invoke(app, ["run", str(config), "--set", "search.iterations=2", *out]) == 0
    before = story(tmp_path / "run")["events"]
    assert invoke(app, ["run", str(config), *out]) == 0
    after = story(tmp_path / "run")["events"]
    assert after[: len(before)] == before
    assert len([1 for _, kind, _ in after if kind == "decided"]) == 3


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
    assert "started with other values of" in capsys.readouterr().err
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
