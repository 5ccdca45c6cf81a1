"""Small whole runs: their config, what they came to, and a provider that plays all roles."""

import json
import sqlite3
from collections import Counter
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

from fake_openai import Body, completion

from inner_agent.llm import Reply, Request
from inner_agent.simulator import Simulator
from inner_agent.simulator.parameters import SimulatorParameters

HERE = Path(__file__).parent
ROLES = (
    "main_agent", "challenger", "quality_verifier", "weak", "strong", "judge", "auditor",
    "analyzer", "implementer",
)  # fmt: skip
IN_FLIGHT = 4


def small_config(
    folder: Path, endpoint: str, *, iterations: int = 3, minibatch: int = 3, validation: int = 5
) -> Path:
    """A run of a few iterations on a handful of synthetic papers."""
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
iterations = {iterations}
parallel = 2
minibatch = {minibatch}
validation_papers = {validation}
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
    with closing(sqlite3.connect(folder / "run.db")) as db:
        events = db.execute("SELECT iteration, kind, data FROM events ORDER BY iteration, seq")
        results = db.execute(
            "SELECT candidate, part, paper, iteration, data FROM results"
            " ORDER BY candidate, part, paper, iteration"
        )
        return {"events": events.fetchall(), "results": results.fetchall()}


class Provider:
    """The simulator behind HTTP, counting what it charged for: one call each time it is asked.

    Behind ``FakeOpenAI(honour_keys=True)`` a repeated Idempotency-Key doesn't get here.
    """

    def __init__(self) -> None:
        self.charged: Counter[str] = Counter()
        # A verdict that can't be read would rightly be bought again, whoever is at fault.
        self._simulator = Simulator(0, SimulatorParameters(judge_unreadable=0))

    def __call__(self, body: Body) -> Body:
        self.charged[json.dumps(body, sort_keys=True)] += 1
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
