"""The whole inner loop against a server that takes 200 ms a call: calls per second, CPU, memory.

    python benchmarks/throughput.py [--base-url URL | --mock-server SCRIPT] [--in-flight 256]

The harness is the scripted one, in its jail, one per paper.  Every reply of the server is the same
text, which serves as an item, as a quality verdict and as a judge's sheet: 30 calls a paper, 20 of
them with the paper in the prompt.  The bare client sends as many, as long, through the same pool.
"""

import argparse
import asyncio
import itertools
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

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
    peak_rss_mb,
    process_cpu,
    table,
)  # fmt: skip

from inner_agent import sandbox
from inner_agent.calls import CallStore
from inner_agent.gateway import Gateway
from inner_agent.llm import OpenAIEndpoint, Request
from inner_agent.papers import PaperText
from inner_agent.run_paper import Rig, run_paper
from inner_agent.settings import Endpoint, Limits

HERE = Path(__file__).parent
CALLS_PER_S, CPU_S, RSS_MB = 300.0, 3.0, 250.0  # the aims; CPU per 1,000 calls
TEXTS = 16  # papers of their own; more would only fill the disk


@dataclass(frozen=True)
class Figures:
    """What one of the two loads came to; CPU in seconds, RSS in MB so far."""

    calls: int
    wall_s: float
    cpu_s: float
    rss_mb: float
    peak_in_flight: int


def content() -> str:
    """One JSON object for all roles.  The weak rule holds at 0.5, the strong one doesn't."""
    line = "the estimator keeps its bias below the bound whenever the step size is halved "
    reply = {
        "question_type": "mechanism",
        "reasoning_skills": ["synthesis"],
        "context": line * 9,
        "question": f"Why does it follow that {line}?",
        "reference_answer": line * 6,
        "rubric": [{"criterion": f"Names effect {n}: {line}", "weight": n} for n in range(1, 7)],
        "passed": True,
        "feedback": line,
        "criteria": [{"id": n, "reason": line, "score": 0.5} for n in range(1, 7)],
    }
    return json.dumps(reply)


@contextmanager
def server(script: Path, latency: float, cpu: list[float]) -> Iterator[str]:
    """Run a mock server in its own process; gives its base URL, and its CPU seconds at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(content())
        file.flush()
        options = ["--port", str(port), "--latency", str(latency), "--content-file", file.name]
        process = subprocess.Popen(
            [sys.executable, str(script), *options], stdout=subprocess.DEVNULL
        )
        try:
            wait_for(port)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            cpu.append(process_cpu(process.pid))
            process.terminate()
            process.wait()


def wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"no mock server on port {port}")


async def bare(base_url: str, in_flight: int, calls: int, text: str) -> Figures:
    """The client alone: workers that ask and do nothing with the answer."""
    endpoint = OpenAIEndpoint("bench", base_url, "none", in_flight)
    system = {"role": "system", "content": "Answer with JSON only."}
    turn = itertools.count()

    async def worker() -> None:
        while (n := next(turn)) < calls:
            body = text if n % 3 else text[:2_500]
            await endpoint.complete(
                Request("mock", [system, {"role": "user", "content": f"{n} {body}"}])
            )

    wall, cpu = time.perf_counter(), own_cpu()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    wall, cpu = time.perf_counter() - wall, own_cpu() - cpu
    await endpoint.close()
    return Figures(calls, wall, cpu, peak_rss_mb(), in_flight)


async def pipeline(rig: Rig, harness: Path, texts: list[PaperText], in_flight: int) -> Figures:
    """Rollouts, ``in_flight`` at a time; each has one call on its way."""
    slots, peak = asyncio.Semaphore(in_flight), 0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, rig.gateway.in_flight)
            await asyncio.sleep(0.05)

    async def one(paper: PaperText) -> int:
        async with slots:
            rollout = await run_paper(rig, harness, paper, paper.paper.id, fresh=True)
        assert rollout.result.reason == "not_accepted", rollout.trajectory["stderr"]
        return rollout.result.calls

    wall, cpu = time.perf_counter(), own_cpu()
    watcher = asyncio.create_task(watch())
    calls = sum(await asyncio.gather(*map(one, texts)))
    watcher.cancel()
    wall, cpu = time.perf_counter() - wall, own_cpu() - cpu
    return Figures(calls, wall, cpu, peak_rss_mb(), peak)


def measure(base_url: str, options: argparse.Namespace, folder: Path) -> tuple[Figures, Figures]:
    """Bare client, then the pipeline."""
    endpoint = Endpoint(base_url=base_url, max_in_flight=options.in_flight)
    settings = config(endpoint, Limits(items=10))
    mode = sandbox.choose_mode(settings)
    harness = harnesses(folder)["scripted"]
    asyncio.run(sandbox.precompile(mode, harness, settings.limits))
    made = papers(TEXTS, options.chars)
    texts = [
        PaperText(replace(p.paper, id=f"{p.paper.id}-{n}"), p.text, 0)
        for n in range(options.papers // TEXTS + 1)
        for p in made
    ][: options.papers]
    alone = asyncio.run(bare(base_url, options.in_flight, options.bare_calls, made[0].text))

    async def whole() -> Figures:
        gateway = Gateway(settings, CallStore(folder / "calls.db"))
        figures = await pipeline(
            Rig(settings, gateway, mode, folder / "papers"), harness, texts, options.in_flight
        )
        await gateway.close()
        return figures

    return alone, asyncio.run(whole())


def report(alone: Figures, loop: Figures, jails_s: float, in_flight: int, latency: float) -> None:
    """Print the table."""

    def row(
        name: str, show: str, bare_value: float, value: float, aim: str = ""
    ) -> tuple[str, ...]:
        return (name, f"{bare_value:{show}}", f"{value:{show}}", f"{value / bare_value:.2f}", aim)

    rate, rate_alone = loop.calls / loop.wall_s, alone.calls / alone.wall_s
    cpu, cpu_alone = 1e3 * loop.cpu_s / loop.calls, 1e3 * alone.cpu_s / alone.calls
    table(
        f"{in_flight} in flight, {latency:g} s latency (ideal {in_flight / latency:.0f} calls/s)",
        [
            ("", "bare client", "whole loop", "ratio", "aim"),
            row("calls", "d", alone.calls, loop.calls),
            row(
                "calls per second",
                ".0f",
                rate_alone,
                rate,
                against(rate, CALLS_PER_S, at_least=True),
            ),
            row("CPU s per 1,000 calls", ".2f", cpu_alone, cpu, against(cpu, CPU_S)),
            row("peak RSS, MB", ".0f", alone.rss_mb, loop.rss_mb, against(loop.rss_mb, RSS_MB)),
            ("jails, CPU s per 1,000 calls", "", f"{1e3 * jails_s / loop.calls:.2f}", "", ""),
            ("most calls in flight", f"{alone.peak_in_flight}", f"{loop.peak_in_flight}", "", ""),
        ],
    )


def main() -> None:
    """Start the server if none is given, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--base-url", help="a server that runs already")
    where.add_argument("--mock-server", type=Path, default=HERE / "mock_server.py",
                       help="a script that takes --port, --latency and --content-file")  # fmt: skip
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--papers", type=int, default=512)
    parser.add_argument("--bare-calls", type=int, default=4_000)
    parser.add_argument("--chars", type=int, default=PAPER_CHARS, help="length of a paper")
    options = parser.parse_args()
    print(machine())
    adopt_orphans()
    server_cpu: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        if options.base_url:
            alone, loop = measure(options.base_url, options, Path(folder))
        else:
            with server(options.mock_server, options.latency, server_cpu) as base_url:
                alone, loop = measure(base_url, options, Path(folder))
    report(alone, loop, children_cpu() - sum(server_cpu), options.in_flight, options.latency)


if __name__ == "__main__":
    main()
