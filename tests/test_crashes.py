"""kill -9 and power cuts at random moments: a few here, hundreds in ``make soak``."""

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import require
from fake_openai import FakeOpenAI
from scripted import HONEST, Bench, Models, config
from soak import kill, power

from inner_agent.llm import Reply, Request
from inner_agent.sandbox import Mode, bubblewrap_problem


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for campaigns, which leave only what they have something to say about."""
    with tempfile.TemporaryDirectory(prefix="metaopt-soak-") as folder:
        yield Path(folder)


@pytest.mark.parametrize(("what", "kills"), [("run", 6), ("generate", 4)])
def test_killed_and_resumed_it_ends_as_the_unbroken_one(
    place: Path, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, what: str, kills: int
) -> None:
    require(bubblewrap_problem() is None, "a working bubblewrap")
    monkeypatch.setenv("FAKE_KEY", fake_openai.key)
    tally = kill.Campaign(what, 7, place, fake_openai).run(kills)
    assert tally.problems == []
    assert tally.kills.total() == kills
    assert tally.same == tally.runs
    assert tally.paid_twice == tally.charged_twice == tally.left_alive == 0
    assert tally.asked_again <= tally.kills.total() * kill.ON_THE_WIRE


@pytest.mark.parametrize(("what", "cuts"), [("run", 4), ("generate", 3)])
def test_after_a_power_cut_it_ends_as_the_unbroken_one(place: Path, what: str, cuts: int) -> None:
    require(shutil.which("strace"), "strace")
    require(bubblewrap_problem() is None, "a working bubblewrap")
    tally = power.campaign(what, 7, cuts, place)
    assert tally.problems == []
    assert tally.same == tally.cuts.total() == cuts


class Killing(Models):
    """Models that have a jailed process killed while they answer, ``kills`` times."""

    def __init__(self, which: int, kills: int = 1) -> None:
        super().__init__()
        self._which, self._left = which, kills
        # A helper of multiprocessing, which another test began, isn't one of the jail's.
        self._others = set(psutil.Process().children(recursive=True))
        self.answered: Counter[int] = Counter()

    async def complete(self, request: Request) -> Reply:
        """Kill, then answer; the third solver's answer is on its way by then."""
        self.answered[request.seed] += 1
        if self._left and len(self.requests) >= 4:
            self._left -= 1
            running = psutil.Process().children(recursive=True)
            chain = [child for child in running if child not in self._others]
            os.kill(chain[self._which].pid, signal.SIGKILL)
        return await super().complete(request)


@pytest.mark.parametrize("which", [0, 1, 2], ids=["outer bwrap", "inner bwrap", "harness"])
async def test_a_child_killed_from_outside_is_run_again(tmp_path: Path, which: int) -> None:
    require(bubblewrap_problem() is None, "a working bubblewrap")
    models = Killing(which)
    bench = Bench(tmp_path, "bubblewrap", models, config())
    rollout = await bench.run(HONEST)
    await bench.rig.gateway.close()
    assert (rollout.result.reason, rollout.result.calls) == ("passed", 12)
    assert set(models.answered.values()) == {1}  # nothing was bought twice


ENDS = {
    "abort": "os.abort()",
    "kill itself": "os.kill(os.getpid(), 9)",
    "terminate itself": "os.kill(os.getpid(), 15)",
    "the status of a kill": "os._exit(137)",
    "kill itself until it is lucky": """
item = {**ITEM, "question": ITEM["question"] + os.urandom(9).hex()}
said = evaluate(item)
if call("chat", agent="challenger", messages=[{"role": "user", "content": item["question"]}]):
    os.kill(os.getpid(), 9)
""",
}


@pytest.mark.parametrize("mode", ["bubblewrap", "none"])
@pytest.mark.parametrize("end", ENDS)
async def test_a_harness_that_ends_itself_is_a_crash(tmp_path: Path, mode: Mode, end: str) -> None:
    if mode == "bubblewrap":
        require(bubblewrap_problem() is None, "a working bubblewrap")
    models = Models()
    bench = Bench(tmp_path, mode, models, config())
    rollout = await bench.run(f"evaluate()\n{ENDS[end]}")
    await bench.rig.gateway.close()
    assert (rollout.result.reason, rollout.result.passed) == ("crashed", False)
    luck = end == "kill itself until it is lucky"
    assert models.asked["weak"] == (9 if luck else 3)  # a second draw at most, and for nothing
