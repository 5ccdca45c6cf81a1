"""What the design saves on the demo: calls by the short-circuit, prompt tokens by equal beginnings.

    python benchmarks/savings.py [--iterations N]

The demo config is run on the simulator.  Then every evaluation of that run is made once more with
all its attempts, from the same samples, and the verdicts are compared one by one.
"""

import argparse
import asyncio
import json
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from common import ROOT, against, machine, table

from inner_agent.calls import CallStore
from inner_agent.evaluation import Evaluator, Phase
from inner_agent.gateway import Gateway
from inner_agent.items import Item
from inner_agent.llm import LLM, Reply, Request
from inner_agent.simulator import Simulator
from metaopt.config import RunConfig, load_config
from metaopt.lab import open_lab
from metaopt.loop import optimize
from metaopt.monitor import Monitor

BLOCK = 64  # characters; an equal beginning counts in whole blocks only
CALLS_SAVED, PREFIX_SHARE = 0.25, 0.80  # the aims
JUDGING = ("weak", "strong", "judge")


@dataclass
class Prefixes:
    """How much of each prompt begins like an earlier prompt to the same model.

    A prompt is its messages one after the other: role, text and tool calls.  It is cut into blocks,
    each hashed together with the hash of the block before it, so a block is known exactly when
    some earlier prompt agrees with this one from its first character to the block's end.
    """

    sent: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    repeated: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    calls: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _known: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def add(self, request: Request) -> None:
        """Count one prompt; it is an earlier one for all that follow."""
        text = "".join(
            f"\0{m['role']}\0{m.get('content') or ''}\0{json.dumps(m.get('tool_calls', ''))}"
            for m in request.messages
        )
        known, chain, same = self._known[request.model], 0, 0
        for start in range(0, len(text) - BLOCK + 1, BLOCK):
            chain = hash((chain, text[start : start + BLOCK]))
            if chain in known:
                same = start + BLOCK
            else:
                known.add(chain)
        self.calls[request.model] += 1
        self.sent[request.model] += len(text)
        self.repeated[request.model] += same


@dataclass
class Watched:
    """The simulator, with its prompts noted."""

    inner: LLM
    prefixes: Prefixes

    async def complete(self, request: Request) -> Reply:
        """Note the prompt and pass it on."""
        self.prefixes.add(request)
        return await self.inner.complete(request)


@dataclass(frozen=True)
class Evaluation:
    """One phase of one item, as it was asked for in the run."""

    paper: str
    item: Item
    sample: str
    weak: Phase | None  # what a strong phase was compared with
    found: Phase


async def run_demo(config: RunConfig, folder: Path, prefixes: Prefixes) -> list[Evaluation]:
    """The whole run; returns every evaluation in it."""
    log: list[Evaluation] = []
    weak_phase, strong_phase = Evaluator.weak, Evaluator.strong

    async def weak(self: Evaluator, item: Item, sample: str) -> Phase:
        found = await weak_phase(self, item, sample)
        log.append(Evaluation(self.paper_text, item, sample, None, found))
        return found

    async def strong(self: Evaluator, item: Item, sample: str, weak: Phase) -> Phase:
        found = await strong_phase(self, item, sample, weak)
        log.append(Evaluation(self.paper_text, item, sample, weak, found))
        return found

    simulator = Simulator(config.seed, config.endpoints["simulator"].simulator)
    lab = open_lab(config, folder, Monitor(), {"simulator": Watched(simulator, prefixes)})
    try:
        with patch.object(Evaluator, "weak", weak), patch.object(Evaluator, "strong", strong):
            await optimize(lab)
    finally:
        await lab.close()
    return log


async def evaluate_again(config: RunConfig, log: list[Evaluation]) -> tuple[int, int, int]:
    """Every evaluation with and without the short-circuit: calls, calls, differing verdicts."""
    short, full = Gateway(config, CallStore(":memory:")), Gateway(config, CallStore(":memory:"))
    everything = config.model_copy(update={"short_circuit": False})
    different = 0
    for e in log:
        verdicts = [
            await _evaluate(Evaluator(gateway.ask, settings, e.paper), e)
            for gateway, settings in ((short, config), (full, everything))
        ]
        different += len({v.status for v in (*verdicts, e.found)}) > 1
    return _judging_calls(short), _judging_calls(full), different


async def _evaluate(evaluator: Evaluator, e: Evaluation) -> Phase:
    if e.weak is None:
        return await evaluator.weak(e.item, e.sample)
    return await evaluator.strong(e.item, e.sample, e.weak)


def _judging_calls(gateway: Gateway) -> int:
    return sum(gateway.ledger.by_role[role].calls for role in JUDGING)


def report_calls(short: int, full: int, different: int, evaluations: int, all_calls: int) -> None:
    """Print what the short-circuit saves."""
    saved = (full - short) / full
    table(
        f"The short-circuit, over {evaluations} evaluations",
        [
            ("", "calls", ""),
            ("solver and judge, all attempts", f"{full}", ""),
            ("solver and judge, short-circuit", f"{short}", ""),
            ("saved", f"{saved:.1%}", against(saved, CALLS_SAVED, at_least=True)),
            (
                "saved of all calls of the run",
                f"{(full - short) / (all_calls + full - short):.1%}",
                "",
            ),
            ("verdicts that differ", f"{different}", against(different, 0)),
        ],
    )


def report_prefixes(prefixes: Prefixes) -> None:
    """Print the shares of repeated prompt, by model."""
    rows: list[tuple[Any, ...]] = [("", "calls", "tokens", "repeated", "")]
    for model, sent in sorted(prefixes.sent.items(), key=lambda pair: -pair[1]):
        repeated = f"{prefixes.repeated[model] / sent:.1%}"
        rows.append((model, f"{prefixes.calls[model]}", f"{sent // 4}", repeated, ""))
    total = sum(prefixes.sent.values())
    share = sum(prefixes.repeated.values()) / total
    aim = against(share, PREFIX_SHARE, at_least=True)
    rows.append(("all", f"{sum(prefixes.calls.values())}", f"{total // 4}", f"{share:.1%}", aim))
    table("Prompt tokens that repeat the beginning of an earlier prompt (4 characters each)", rows)


def main() -> None:
    """Run the demo, evaluate again, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, help="as in the config, if not given")
    options = parser.parse_args()
    print(machine())
    overrides = [f"search.iterations={options.iterations}"] if options.iterations else []
    config = load_config(ROOT / "configs" / "demo.toml", overrides)
    prefixes = Prefixes()
    with tempfile.TemporaryDirectory() as folder:
        log = asyncio.run(run_demo(config, Path(folder), prefixes))
    short, full, different = asyncio.run(evaluate_again(config, log))
    report_calls(short, full, different, len(log), sum(prefixes.calls.values()))
    report_prefixes(prefixes)


if __name__ == "__main__":
    main()
