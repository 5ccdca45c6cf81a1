"""What metaopt itself costs when models answer at once: CPU per paper, and per iteration.

python benchmarks/overhead.py [--papers 40] [--iterations 2000]
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import engine
from canned import Canned
from common import (
    PAPER_CHARS,
    adopt_orphans,
    against,
    children_cpu,
    config,
    harnesses,
    machine,
    own_cpu,
    papers,
    table,
)  # fmt: skip

from inner_agent import broker, evaluation, gateway, roles, run_paper, sandbox, strict_json
from inner_agent.calls import CallStore
from inner_agent.gateway import Gateway
from inner_agent.papers import PaperText
from inner_agent.run_paper import Rig
from inner_agent.sandbox import Mode, Mount
from inner_agent.settings import Endpoint, Limits
from inner_agent.trajectory import Steps

LIMITS = Limits()
CPU_MS = 60.0  # the aim, per paper


class Split:
    """Exclusive CPU time by part: what a wrapped function calls counts for the callee's part.

    Right only while nothing else runs on the event loop, so papers go one after the other and
    the model never suspends.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._stack = ["event loop, the rest"]
        self._since = time.thread_time()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Charge what runs in the block to ``name``."""
        self._charge()
        self._stack.append(name)
        try:
            yield
        finally:
            self._charge()
            self._stack.pop()

    def wrap(self, owner: Any, names: str, part: str) -> None:
        """Charge the functions ``names`` of a class or module to ``part``."""
        for name in names.split():
            setattr(owner, name, self._timed(getattr(owner, name), part))

    def reset(self) -> None:
        """Forget what was charged so far."""
        self._charge()
        self.seconds.clear()

    def read(self) -> dict[str, float]:
        """CPU seconds by part, up to now."""
        self._charge()
        return dict(self.seconds)

    def _charge(self) -> None:
        now = time.thread_time()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    def _timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        if asyncio.iscoroutinefunction(function):

            @wraps(function)
            async def waited(*args: Any, **kwargs: Any) -> Any:
                with self.part(part):
                    return await function(*args, **kwargs)

            return waited

        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with self.part(part):
                return function(*args, **kwargs)

        return called


def instrument() -> Split:
    """Wrap the seams between the parts of a rollout."""
    split = Split()
    split.wrap(sandbox, "start", "sandbox: fork and exec")
    split.wrap(sandbox.Child, "kill close", "sandbox: reap and clean up")
    split.wrap(broker.Broker, "answer", "broker")
    split.wrap(strict_json, "loads", "socket JSON, strict")
    split.wrap(broker, "_parse parse_item", "request validation")
    split.wrap(gateway, "content_key", "call keys")
    split.wrap(gateway.Gateway, "ask", "gateway and budget")
    split.wrap(CallStore, "get put", "calls.db")
    split.wrap(evaluation.Evaluator, "weak strong", "roles and evaluation")
    split.wrap(roles, "_parse_sheet", "judge sheets")
    split.wrap(Steps, "chat evaluated", "trajectory")
    split.wrap(sys.modules[__name__], "_write", "trajectory")
    split.wrap(run_paper, "_rounds _result", "result")
    split.wrap(Canned, "complete", "(the canned model)")
    return split


def _write(trajectory: dict[str, Any]) -> None:
    """As the lab does, but to nowhere."""
    Path(os.devnull).write_text(json.dumps(trajectory, ensure_ascii=False), encoding="utf-8")


async def rollouts(
    rig: Rig, harness: Path, texts: list[PaperText], sample: str, fresh: bool
) -> int:
    """Run the papers one after the other; returns the number of calls."""
    calls = 0
    for text in texts:
        rollout = await run_paper.run_paper(
            rig, harness, text, f"{sample}/{text.paper.id}", fresh=fresh
        )
        assert rollout.result.passed, rollout.result
        assert rollout.result.rounds == 5, rollout.result
        calls += rollout.result.calls
        _write(rollout.trajectory)
    return calls


def bare_start(mode: Mode, folder: Path, count: int) -> float:
    """CPU seconds of a jail whose program is empty."""
    folder.mkdir()
    (folder / "harness.py").write_text("", encoding="utf-8")
    before = children_cpu()
    for _ in range(count):
        child = sandbox.start(mode, ["/harness/harness.py"], [Mount(folder, "/harness")], LIMITS)
        child.process.wait()
        child.close()
    return (children_cpu() - before) / count


@dataclass(frozen=True)
class Cost:
    """CPU seconds per paper, here and in the jail, and the number of calls."""

    own: float
    inside: float
    calls: float


def timed(rig: Rig, harness: Path, texts: list[PaperText], sample: str, fresh: bool) -> Cost:
    """Run all papers; three before them warm up."""
    asyncio.run(rollouts(rig, harness, texts[:3], f"{sample}/warm", fresh))
    inside, own = children_cpu(), own_cpu()
    calls = asyncio.run(rollouts(rig, harness, texts, sample, fresh))
    count = len(texts)
    return Cost((own_cpu() - own) / count, (children_cpu() - inside) / count, calls / count)


def per_paper(folder: Path, count: int, chars: int, fresh: bool) -> None:
    """The table of the inner loop.  Totals come from a first pass, in which nothing is wrapped."""
    settings = config(Endpoint(base_url="http://localhost"), LIMITS)
    mode = sandbox.choose_mode(settings)
    texts = papers(count, chars)
    started = bare_start(mode, folder / "empty", count)
    gateway_ = Gateway(settings, CallStore(folder / "calls.db"), {"bench": Canned()})
    rig = Rig(settings, gateway_, mode, folder / "papers")
    trees = harnesses(folder)
    for harness in trees.values():
        asyncio.run(sandbox.precompile(mode, harness, LIMITS))  # as a run does, once a candidate
    costs = {name: timed(rig, tree, texts, f"{name}/plain", fresh) for name, tree in trees.items()}
    split = instrument()
    parts: dict[str, dict[str, float]] = {}
    for name, tree in trees.items():
        split.reset()
        timed(rig, tree, texts, f"{name}/split", fresh)
        parts[name] = {p: s / (count + 3) for p, s in split.read().items()}
    show(costs, parts, started, f"A paper of {chars} characters, 5 rounds, jail: {mode}")


def show(
    costs: dict[str, Cost], parts: dict[str, dict[str, float]], started: float, title: str
) -> None:
    """Print the table; the parts of our own process are scaled to what it took unwrapped."""
    rows: list[tuple[str, ...]] = [("CPU ms per paper", *costs)]
    rows.append(("jail: sandbox and interpreter start", *(f"{1e3 * started:.2f}" for _ in costs)))
    inside = (f"{1e3 * (c.inside - started):.2f}" for c in costs.values())
    rows.append(("jail: the harness's own", *inside))
    scale = {n: costs[n].own / sum(p.values()) for n, p in parts.items()}
    for part in sorted(parts["baseline"], key=lambda p: -parts["baseline"][p]):
        cells = (f"{1e3 * scale[n] * parts[n].get(part, 0.0):.2f}" for n in costs)
        rows.append((part, *cells))
    totals = [1e3 * (c.own + c.inside) for c in costs.values()]
    rows.append(("total", *(f"{t:.1f}" for t in totals)))
    rows.append((f"aim, {CPU_MS:g} ms", *(against(t, CPU_MS) for t in totals)))
    rows.append(("calls per paper", *(f"{c.calls:.0f}" for c in costs.values())))
    table(title, rows)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--papers", type=int, default=40)
    parser.add_argument("--chars", type=int, default=PAPER_CHARS, help="length of a paper")
    parser.add_argument("--iterations", type=int, default=2_000)
    parser.add_argument(
        "--fresh", action="store_true", help="evaluate afresh, as validation does (12 calls more)"
    )
    options = parser.parse_args()
    print(machine())
    adopt_orphans()
    with tempfile.TemporaryDirectory() as folder:
        per_paper(Path(folder), options.papers, options.chars, options.fresh)
    if options.iterations:
        engine.report(options.iterations)


if __name__ == "__main__":
    main()
