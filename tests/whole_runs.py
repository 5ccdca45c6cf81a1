"""Small whole runs: their config, what they came to, and a provider that plays all roles."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fake_openai import Body, completion
from numpy.typing import NDArray

from inner_agent import prompts
from inner_agent.calls import CallStore
from inner_agent.llm import Reply, Request
from inner_agent.run_paper import PaperResult
from inner_agent.simulator import Simulator
from inner_agent.simulator.parameters import SimulatorParameters
from metaopt import measure
from metaopt.config import RunConfig, freeze
from metaopt.measure import Plan
from metaopt.repo import HarnessRepo
from metaopt.rollouts import freeze_inner
from metaopt.store import Event, Store

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


@contextmanager
def made_run(folder: Path, config: RunConfig) -> Iterator[tuple[HarnessRepo, Store]]:
    """A run's folder made by hand, with nothing in it yet but the baseline."""
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(freeze(config))
    CallStore(folder / "calls.db").close()
    with (
        closing(HarnessRepo(folder / "harness.git", config.harness)) as repo,
        closing(Store(folder / "run.db")) as store,
    ):
        repo.keep(0, repo.baseline)
        tree = repo.tree_id(repo.baseline)
        opened = {"commit": repo.baseline, "tree": tree, "metaopt": "0", "simulated": True,
                  "prompts": prompts.hashes()}  # fmt: skip
        store.append(Event(0, "opened", opened))
        yield repo, store


def decided(
    store: Store, repo: HarnessRepo, i: int, commit: str, parent: int, passes: tuple[int, int],
    *, accepted: bool = True,
) -> None:  # fmt: skip
    """Record iteration ``i`` by hand: parent and mutant passed so many of 25 papers."""
    repo.keep(i, commit)
    before, after = ([True] * n + [False] * (25 - n) for n in passes)
    one = {"accepted": 0, "audited": 0, "repeats": [], "findings": {}}
    word = "accepted" if accepted else "rejected"
    entry = {"iteration": i, "parent": parent, "decision": word,
             "parent_rate": passes[0] / 25, "mutant_rate": passes[1] / 25}  # fmt: skip
    for kind, data in {
        "selected": {"parent": parent},
        "implemented": {"commit": commit, "tree": repo.tree_id(commit), "summary": f"edit {i}"},
        "validated": {"papers": [f"v{k}" for k in range(25)], "parent": before, "before": before,
                      "mutant": after, "stopped": "",
                      "audit": {"parent": one, "mutant": one}, "alarm": ""},
        "decided": {"accepted": accepted, "entry": entry},
    }.items():  # fmt: skip
        store.append(Event(i, kind, data))


def measured_by_hand(
    folder: Path, config: RunConfig, plan: Plan, passes: NDArray[np.bool_],
    question: Callable[[int], str] = str,
) -> None:  # fmt: skip
    """A measurement's folder with made-up results ``passes[arm, repeat, paper]``."""
    folder.mkdir(parents=True)
    measure._keep(folder, config, plan)
    freeze_inner(folder, config)
    papers = list(plan.papers)
    with closing(Store(folder / measure.DATABASE)) as store:
        store._db.execute("BEGIN")  # thousands, in one commit
        for (arm, repeat, p), passed in np.ndenumerate(passes):
            result = PaperResult(
                paper=papers[p], passed=passed, accepted=passed, calls=60, usd=0.01,
                reason="passed" if passed else "not_accepted",
                outcomes={"too_easy": 2, "accepted": int(passed)},
                question=question(p) if passed else "",
            )  # fmt: skip
            store.put_result(arm, plan.part, repeat, result, {"wall_s": 1.0, "in_flight": 3.0})
        store._db.execute("COMMIT")


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
