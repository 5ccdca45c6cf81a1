"""Every line and every dealing of ``attacks/door.py``, with a real broker and a jailed harness.

What sockets can do the filter of system calls may stop first: those are tried without a jail too.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from attacks import program
from attacks.door import DEALINGS, HONEST_CALLS, LINES, MIB, SOCKETS, Dealing, Line
from scripted import HONEST, Bench, Models, config, said

from inner_agent.broker import MAX_VIOLATIONS
from inner_agent.sandbox import Mode

AT_A_TIME = 15
SLACK = 20  # descriptors that the store and the loop may open; those that are passed are 100s
BATCHES = [LINES[n : n + AT_A_TIME] for n in range(0, len(LINES), AT_A_TIME)]
assert AT_A_TIME <= MAX_VIOLATIONS  # some junk is forgiven


@pytest.mark.parametrize("lines", BATCHES, ids=lambda batch: batch[0].name.replace(" ", "-"))
@pytest.mark.usefixtures("bubblewrap")
async def test_a_line_that_is_no_request_is_refused(lines: list[Line], tmp_path: Path) -> None:
    models = Models()
    bench = Bench(tmp_path, "bubblewrap", models, config())
    tries = f"""
for line in {[line.sent for line in lines]!r}:
    send(line + b"\\n")
    say(json.loads(LINES.readline())["error"])
"""
    rollout = await bench.run(tries + HONEST)
    for line, [error] in zip(lines, said(rollout), strict=True):
        assert error["code"] == "bad_request", line.name
        assert line.why in error["message"], (line.name, error["message"])
    assert rollout.result.passed
    assert [s["kind"] for s in rollout.trajectory["steps"]].count("refused") == len(lines)
    assert models.asked == HONEST_CALLS
    await bench.rig.gateway.close()


def named(dealings: list[Dealing]) -> Any:
    """A test for each dealing."""
    return pytest.mark.parametrize("dealing", dealings, ids=lambda d: d.name.replace(" ", "-"))


@named(DEALINGS)
@pytest.mark.usefixtures("bubblewrap")
async def test_a_dealing_gains_nothing(dealing: Dealing, tmp_path: Path) -> None:
    await tried(dealing, tmp_path, "bubblewrap")


@named(SOCKETS)
async def test_the_broker_holds_without_the_jail(dealing: Dealing, tmp_path: Path) -> None:
    await tried(dealing, tmp_path, "none")


async def tried(dealing: Dealing, tmp_path: Path, mode: Mode) -> None:
    """The rollout has its reason and no more calls than are its due, and the next one works."""
    models = Models()
    bench = Bench(tmp_path, mode, models, config())
    before = len(os.listdir("/proc/self/fd"))
    rollout = await bench.run(program(dealing.source), **dealing.limits)
    assert len(os.listdir("/proc/self/fd")) < before + SLACK
    assert [words for words in said(rollout) if words[0] == "got"] == []
    assert rollout.result.reason == dealing.reason, rollout.trajectory["stderr"]
    assert rollout.result.passed == (dealing.reason == "passed")
    assert models.asked == dealing.calls
    assert len(rollout.trajectory["stderr"]) <= 8_000
    written = json.dumps(rollout.trajectory, ensure_ascii=False).encode()  # it can be written
    assert len(written) < 20 * MIB
    assert (await bench.run(HONEST)).result.passed
    await bench.rig.gateway.close()
