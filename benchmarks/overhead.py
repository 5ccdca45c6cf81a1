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


async def rollouts(rig: Rig, harness: Path, texts: list[PaperText], sample: str) -> int:
    """Run the papers one after the other; returns the number of calls."""
    calls = 0
    for text in texts:
        rollout = await run_paper.run_paper(
            rig, harness, text, f"{sample}/{text.paper.id}", fresh=True
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


def per_paper(folder: Path, count: int, chars: int) -> None:
    """The table of the inner loop."""
    settings = config(Endpoint(base_url="http://localhost"), LIMITS)
    mode = sandbox.choose_mode(settings)
    texts = papers(count, chars)
    started = bare_start(mode, folder / "empty", count)
    rows: dict[str, dict[str, float]] = {}
    totals, calls = {}, {}
    split = instrument()
    for name, harness in harnesses(folder).items():
        gateway_ = Gateway(settings, CallStore(folder / f"{name}.db"), {"bench": Canned()})
        rig = Rig(settings, gateway_, mode, folder / "papers")
        asyncio.run(sandbox.precompile(mode, harness, LIMITS))  # as a run does, once a candidate
        asyncio.run(rollouts(rig, harness, texts[:3], "warm"))
        children, own = children_cpu(), own_cpu()
        split.reset()
        calls[name] = asyncio.run(rollouts(rig, harness, texts, "timed")) / count
        with split.part("end"):
            parts = dict(split.seconds)
        inside = (children_cpu() - children) / count
        totals[name] = (own_cpu() - own) / count + inside
        rows[name] = {"child: sandbox and interpreter start": started}
        rows[name]["child: the harness's own"] = inside - started
        rows[name] |= {part: seconds / count for part, seconds in parts.items()}
        rows[name]["unaccounted"] = totals[name] - sum(rows[name].values())
    parts_in_order = sorted(rows["baseline"], key=lambda p: -rows["baseline"][p])
    shown: list[tuple[str, ...]] = [("CPU ms per paper", "baseline", "scripted")]
    for part in parts_in_order:
        shown.append((part, *(f"{1e3 * rows[n].get(part, 0):.2f}" for n in rows)))
    shown.append(("total", *(f"{1e3 * totals[n]:.1f}" for n in rows)))
    shown.append((f"aim, {CPU_MS:g} ms", *(against(1e3 * totals[n], CPU_MS) for n in rows)))
    shown.append(("calls per paper", *(f"{calls[n]:.0f}" for n in rows)))
    table(f"A paper of {chars} characters, 5 rounds, jail: {mode}", shown)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--papers", type=int, default=40)
    parser.add_argument("--chars", type=int, default=PAPER_CHARS, help="length of a paper")
    parser.add_argument("--iterations", type=int, default=2_000)
    options = parser.parse_args()
    print(machine())
    adopt_orphans()
    with tempfile.TemporaryDirectory() as folder:
        per_paper(Path(folder), options.papers, options.chars)
    if options.iterations:
        engine.report(options.iterations)


if __name__ == "__main__":
    main()
