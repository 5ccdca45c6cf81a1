"""Does the client find how many calls at a time a server takes?  Against the best fixed limit.

    python benchmarks/aimd.py [--seconds 10] [--rounds 1] [--latency 0.25]

Two servers, each in its own process.  The first answers within the latency and refuses (429) what
is above 64 in flight.  The second never refuses: up to 48 in flight it takes the latency, above
that proportionally longer, and above 96 it thrashes (as the square).  Latencies vary by a third
from one reply to the next.  256 workers ask all the time; fixed limits are the same client with
its window nailed down.  All limits have their turn in each round, so that what else the machine
does falls on all.
"""

import argparse
import asyncio
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from common import against, machine, own_cpu, table
from mock_server import response
from throughput import wait_for

from inner_agent.errors import ProviderError
from inner_agent.llm import OpenAIEndpoint, Request
from inner_agent.window import Window

WORKERS = 256
ALLOWED = 64  # in flight, by the server that refuses
CAPACITY, THRASHING = 48, 96  # in flight, of the one that only gets slower
FIXED = (32, 48, 64, 96, 256)
LEAST = 0.9  # of the best fixed limit's replies: the aim
WARM_UP_S, GROWING_S = 2.0, 10.0  # before counting: for connections, and for a window to grow
REFUSAL = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}"


class Connection(asyncio.Protocol):
    """Answers after a time that depends on how many requests are in flight, or refuses."""

    in_flight = 0

    def __init__(self, refuses: bool, latency: float) -> None:
        self._refuses, self._latency = refuses, latency
        self._answer, self._received = response("ok"), bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """One request at a time comes on a connection."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        length = int(self._received.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        if end < 0 or len(self._received) < end + 4 + length:
            return
        self._received.clear()
        if self._refuses and Connection.in_flight >= ALLOWED:
            self._transport.write(REFUSAL)
            return
        Connection.in_flight += 1
        asyncio.get_running_loop().call_later(self._seconds(), self._reply)

    def _seconds(self) -> float:
        seconds = self._latency * random.uniform(0.67, 1.33)
        if self._refuses:
            return seconds
        crowd = Connection.in_flight
        return seconds * max(1.0, crowd / CAPACITY) * max(1.0, crowd / THRASHING)

    def _reply(self) -> None:
        Connection.in_flight -= 1
        if not self._transport.is_closing():
            self._transport.write(self._answer)


async def serve(port: int, refuses: bool, latency: float) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(refuses, latency), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


@contextmanager
def server(refuses: bool, latency: float) -> Iterator[str]:
    """One of the two servers in its own process; gives its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--serve", str(port), "--latency", str(latency), *["--refuses"] * refuses]
    process = subprocess.Popen([sys.executable, __file__, *options])
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


class Nailed(Window):
    """A window that stays as it is."""

    def answered(self, *_: object) -> None:
        """Learn nothing."""

    def refused(self, *_: object) -> None:
        """Learn nothing."""


async def load(base_url: str, fixed: int | None, seconds: float) -> tuple[float, float, float]:
    """Replies per second of ``seconds``, the window's average, CPU s per 1,000 replies."""
    endpoint = OpenAIEndpoint("bench", base_url, "none", WORKERS, max_retries=1_000)
    if fixed:
        endpoint.traffic.window = Nailed(fixed)
        endpoint.traffic.window.limit = fixed
    request = Request("mock", [{"role": "user", "content": "?"}])
    replies, limits = 0, [0]

    async def worker() -> None:
        nonlocal replies
        while True:
            try:
                await endpoint.complete(request)
            except ProviderError:
                continue
            replies += 1
            limits.append(endpoint.traffic.window.limit)

    workers = asyncio.gather(*(worker() for _ in range(WORKERS)))
    await asyncio.sleep(WARM_UP_S if fixed else GROWING_S)
    before, cpu, since = replies, own_cpu(), time.perf_counter()
    del limits[:]
    await asyncio.sleep(seconds)
    got, cpu, took = replies - before, own_cpu() - cpu, time.perf_counter() - since
    average = sum(limits) / max(1, len(limits))
    workers.cancel()
    await asyncio.gather(workers, return_exceptions=True)
    await endpoint.close()
    return got / took, average, 1e3 * cpu / max(1, got)


def compare(refuses: bool, latency: float, seconds: float, rounds: int) -> None:
    """One server: every fixed limit, and the window that finds its own."""
    limits = (*FIXED, None)
    got: dict[int | None, list[tuple[float, float, float]]] = {limit: [] for limit in limits}
    with server(refuses, latency) as base_url:
        for _ in range(rounds):
            for limit in limits:
                got[limit].append(asyncio.run(load(base_url, limit, seconds)))
    means = {k: [sum(column) / rounds for column in zip(*v, strict=True)] for k, v in got.items()}
    best = max(means[limit][0] for limit in FIXED)
    rows: list[tuple[str, ...]] = [
        ("limit", "replies/s", "of the best", "window", "CPU s/1,000", "aim")
    ]
    for limit, (rate, window, cpu) in means.items():
        aim = "" if limit else against(rate / best, LEAST, at_least=True)
        name, share = str(limit or "found out"), f"{rate / best:.2f}"
        rows.append((name, f"{rate:.0f}", share, f"{window:.0f}", f"{cpu:.2f}", aim))
    what = f"refuses above {ALLOWED}" if refuses else f"gets slower above {CAPACITY}"
    table(f"A server that {what}, {latency:g} s, {WORKERS} workers", rows)


def main() -> None:
    """Parse the arguments; measure, or serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="counted, for each limit")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--latency", type=float, default=0.25, help="of one reply, in seconds")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--refuses", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.refuses, options.latency))
        return
    print(machine())
    for refuses in (True, False):
        compare(refuses, options.latency, options.seconds, options.rounds)


if __name__ == "__main__":
    main()
