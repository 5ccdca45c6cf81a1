"""Every line and every dealing of ``attacks/door.py``, with a real broker, jailed and unjailed."""

import gc
import json
import os
from pathlib import Path
from typing import Any

import pytest
from attacks import program
from attacks.door import DEALINGS, HONEST_CALLS, LINES, MIB, Dealing, Line
from conftest import require
from scripted import HONEST, Bench, Models, config, said

from inner_agent.broker import MAX_VIOLATIONS
from inner_agent.sandbox import bubblewrap_problem

AT_A_TIME = 15
BATCHES = [LINES[n : n + AT_A_TIME] for n in range(0, len(LINES), AT_A_TIME)]
assert AT_A_TIME <= MAX_VIOLATIONS  # some junk is forgiven


@pytest.fixture(params=["bubblewrap", "none"])
def mode(request: pytest.FixtureRequest) -> Any:
    """Both modes."""
    if request.param == "bubblewrap":
        require(bubblewrap_problem() is None, str(bubblewrap_problem()))
    return request.param


@pytest.mark.parametrize("lines", BATCHES, ids=lambda batch: batch[0].name.replace(" ", "-"))
async def test_a_line_that_is_no_request_is_refused(
    lines: list[Line], tmp_path: Path, mode: Any
) -> None:
    models = Models()
    bench = Bench(tmp_path, mode, models, config())
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


@pytest.mark.parametrize("dealing", DEALINGS, ids=lambda d: d.name.replace(" ", "-"))
async def test_a_dealing_gains_nothing(dealing: Dealing, tmp_path: Path, mode: Any) -> None:
    models = Models()
    bench = Bench(tmp_path, mode, models, config())
    assert (await bench.run(HONEST)).result.passed  # what is opened once, is open now
    models.requests.clear()
    gc.collect()  # of earlier tests
    before = len(os.listdir("/proc/self/fd"))
    rollout = await bench.run(program(dealing.source), **dealing.limits)
    assert len(os.listdir("/proc/self/fd")) == before
    assert [words for words in said(rollout) if words[0] == "got"] == []
    assert rollout.result.reason == dealing.reason, rollout.trajectory["stderr"]
    assert rollout.result.passed == (dealing.reason == "passed")
    assert models.asked == dealing.calls
    assert len(rollout.trajectory["stderr"]) <= 8_000
    written = json.dumps(rollout.trajectory, ensure_ascii=False).encode()  # it can be written
    assert len(written) < 20 * MIB
    assert (await bench.run(HONEST)).result.passed
    await bench.rig.gateway.close()
