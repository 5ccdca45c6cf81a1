"""How long people wait for a run's pages, what the server holds, and what a viewer costs a run.

    python benchmarks/reading.py [--run FOLDER] [--times N] [--pairs N]

Pages are opened in a real headless Chromium, from the start of the navigation to the first chart
drawn, or to the end of loading.  The run has 233 iterations and 20,000 paper results, made up
(``tests/big_run.py``), with a calls.db of full size; ``--run`` takes one that is there.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
from common import ROOT, against, machine, process_cpu, table

sys.path.insert(0, str(ROOT / "tests"))

import big_run
from browser import ARGUMENTS, Watched, aside, served, watched
from playwright.sync_api import Browser, expect, sync_playwright

from metaopt.store import Store

# The aims.
FIRST_S, PAGE_S, REPORT_MB, SERVER_MB, SLOWER = 1.5, 0.5, 20.0, 200.0, 1.02
MOST_CANDIDATES = 10
SEARCHES = ("rubric criteria", "judge", '"weak solver"', "leak kind:analysis")
DRAWN = "#course [data-drawn=yes]"
DRAWN_MS = "performance.getEntriesByName('drawn:course')[0].startTime"
LOADED_MS = "performance.getEntriesByType('navigation')[0].loadEventEnd"
SERVER_MS = "(({responseEnd, requestStart}) => responseEnd - requestStart)\
(performance.getEntriesByType('navigation')[0])"
RUN = (
    "search.minibatch=2", "search.validation_papers=4", "limits.items=2",
    "endpoints.simulator.simulator={latency_s = 0.05}", "search.parallel=2",
)  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """One page: seconds until it was there, of these the server's, and CPU seconds that browser
    and server took, which other work on the machine doesn't change much."""

    seconds: float
    server_s: float
    cpu_s: float


def opened(page: Watched, address: str, drawn: bool = False) -> Opened:
    """Go to a page; seconds from the start of the navigation."""
    before = cpu()
    page.page.goto(address, wait_until="commit")
    if drawn:
        page.page.locator(DRAWN).wait_for()
    page.page.wait_for_load_state("load")
    cpu_s = cpu() - before
    seconds = 0.0
    while not seconds:  # the event's end is noted a little after the event
        seconds = page.page.evaluate(DRAWN_MS if drawn else LOADED_MS) / 1000
    return Opened(seconds, page.page.evaluate(SERVER_MS) / 1000, cpu_s)


def cpu() -> float:
    """CPU seconds so far of the server and of all the browser's processes."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.name() != "node":  # the browser's driver
                times = process.cpu_times()
                total += times.user + times.system
    return total


def fresh(browser: Browser, address: str) -> Opened:
    """The first page in a browser that has nothing of it in its cache."""
    with watched(browser) as page:
        found = opened(page, address, drawn=True)
        sound(page)
    return found


def sound(page: Watched) -> None:
    """Nothing else may have gone wrong on it either."""
    if page.problems:
        raise SystemExit(f"problems on {page.page.url}: {page.problems[:3]}")


def viewer() -> psutil.Process:
    """The server that ``served`` started."""
    [found] = [p for p in psutil.Process().children() if "view" in p.cmdline()]
    return found


def server_mb() -> tuple[float, float]:
    """What the server holds now, and what its own processes hold, in MB of 1,000,000 bytes."""
    server = viewer()
    others = sum(p.memory_info().rss for p in server.children(recursive=True))
    return server.memory_info().rss / 1e6, others / 1e6


def held(when: str) -> tuple[str, ...]:
    """A table's row on memory now."""
    own, others = server_mb()
    return when, f"{own:.0f}", f"{others:.0f}", against(own, SERVER_MB)


def row(name: str, found: Sequence[Opened], limit: float | None) -> tuple[str, ...]:
    """A table's row; the aim is for the median."""
    told = [f(o.seconds for o in found) for f in (min, median, max)]
    told += [median(o.server_s for o in found), median(o.cpu_s for o in found)]
    aim = against(told[1], limit) if limit else ""
    return name, *(f"{seconds:.2f}" for seconds in told), aim


def pages(browser: Browser, run: Path, times: int) -> None:
    """Open pages of each kind, several of them, ``times`` over the first one."""
    with served(run) as at:
        memory = [("MB", "server", "its index's", "aim"), held("started")]
        top = f"{at}/{run.resolve().name}/"
        first = fresh(browser, top)
        again = [fresh(browser, top) for _ in range(times)]
        rows = [
            ("seconds", "best", "median", "worst", "server", "CPU", "aim"),
            row("first view, the first of all", [first], FIRST_S),
            row("first view, in another browser", again, FIRST_S),
        ]
        with watched(browser) as page:
            candidates, stories, raws = inner_pages(page, top)
            rows += [
                row("candidate", [opened(page, a) for a in candidates], PAGE_S),
                row("storyboard", [opened(page, a) for a in stories], PAGE_S),
                row("raw messages", [opened(page, a) for a in raws], None),
            ]
            memory.append(held("after these pages"))
            sound(page)
            table("Pages", rows)
            searches(page, top)
            memory.append(held("after the searches"))
        table("Memory", memory)


def inner_pages(page: Watched, top: str) -> tuple[list[str], list[str], list[str]]:
    """Addresses of candidates, of storyboards and of their raw messages, spread over the run."""
    page.open(top)
    every = "(all) => all.map((a) => a.href)"
    known = page.page.eval_on_selector_all("#iterations th a", every)
    candidates = known[:: max(1, len(known) // MOST_CANDIDATES)][:MOST_CANDIDATES]
    stories = []
    for address in candidates:
        page.open(address)
        stories += page.page.eval_on_selector_all("#papers td a", every)[::17]
    if not stories:
        raise SystemExit("none of the candidates has a storyboard")
    return candidates, stories, [f"{a}/raw" for a in stories]


def searches(page: Watched, top: str) -> None:
    """The first search, while the index is made, and those that have it."""
    started = time.perf_counter()
    rows = [("search", "seconds", "of them the server's", "")]
    first = opened(page, f"{top}search?q=rubric")
    rows.append(("the first: an answer", f"{first.seconds:.2f}", f"{first.server_s:.2f}", ""))
    expect(page.page.locator("[data-again]")).to_have_count(0, timeout=600_000)
    whole = time.perf_counter() - started
    rows.append(("the first: everything looked through", f"{whole:.1f}", "", ""))
    for typed in SEARCHES:
        one = opened(page, f"{top}search?q={typed}")
        rows.append((typed, f"{one.seconds:.2f}", f"{one.server_s:.2f}", ""))
    sound(page)
    table("Search", rows)


def report(run: Path) -> None:
    """The one file."""
    with tempfile.TemporaryDirectory() as made:
        out = Path(made, "report.html")
        command = [sys.executable, "-m", "analysis", "report", str(run), "--out", str(out)]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        seconds, size = time.perf_counter() - started, out.stat().st_size / 1e6
    aim = against(size, REPORT_MB)
    table(
        "Report", [("", "", "aim"), ("seconds", f"{seconds:.1f}", ""), ("MB", f"{size:.1f}", aim)]
    )


@dataclass(frozen=True)
class Slowed:
    """One run of ours: seconds, its CPU seconds, and those of the server beside it."""

    wall_s: float
    cpu_s: float
    server_s: float


def run_on(folder: Path, iterations: int) -> list[str]:
    """The command that brings a small run to so many iterations."""
    sets = [word for text in (*RUN, f"search.iterations={iterations}") for word in ("--set", text)]
    config = str(ROOT / "configs" / "demo.toml")
    return [sys.executable, "-m", "analysis", "run", config, "--out", str(folder), *sets]


@contextmanager
def followed(browser: Browser, run: Path) -> Iterator[Callable[[], float]]:
    """A page that follows the run, its charts drawn; gives the CPU seconds of its server."""
    with served(run) as at, watched(browser) as page:
        page.page.goto(f"{at}/{run.name}/")
        page.page.locator(DRAWN).wait_for()
        server = viewer().pid
        before = process_cpu(server)
        yield lambda: process_cpu(server) - before
        sound(page)


def slowed(browser: Browser, iterations: int, view: bool) -> Slowed:
    """Go on with a small run of one iteration, with somebody looking on or without."""
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        folder = Path(made, "run")
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        aside(lambda: subprocess.run(run_on(folder, 1), cwd=ROOT, **quiet))
        server_cpu = stack.enter_context(followed(browser, folder)) if view else lambda: 0.0
        started = time.perf_counter()
        with subprocess.Popen(
            run_on(folder, iterations), cwd=ROOT,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as work:  # fmt: skip
            cpu_s = 0.0
            while work.poll() is None:
                cpu_s = process_cpu(work.pid)
                wait(browser, 0.2)
        if work.returncode:
            raise SystemExit("the run failed")
        return Slowed(time.perf_counter() - started, cpu_s, server_cpu())


def wait(browser: Browser, seconds: float) -> None:
    """Let the browser's events in meanwhile."""
    pages = [p for context in browser.contexts for p in context.pages]
    if pages:
        pages[0].wait_for_timeout(1000 * seconds)
    else:
        time.sleep(seconds)


def slowing(browser: Browser, pairs: int, iterations: int) -> None:
    """The same run with and without a viewer, alternately."""
    found: dict[bool, list[Slowed]] = {False: [], True: []}
    for n in range(pairs):
        for view in (False, True) if n % 2 else (True, False):
            found[view].append(slowed(browser, iterations, view))
    alone, seen = found[False], found[True]
    ratios = [s.wall_s / a.wall_s for a, s in zip(alone, seen, strict=True)]
    ratio = median(s.wall_s for s in seen) / median(s.wall_s for s in alone)
    cpu = median(s.cpu_s for s in seen) / median(s.cpu_s for s in alone)
    share = median(s.server_s / s.wall_s for s in seen)
    table(f"A run of {iterations} iterations, alone and followed, {pairs} times each", [
        ("", "alone", "followed", "ratio", "aim"),
        ("wall s, median", f"{median(s.wall_s for s in alone):.1f}",
         f"{median(s.wall_s for s in seen):.1f}", f"{ratio:.3f}", against(ratio, SLOWER)),
        ("CPU s of the run, median", f"{median(s.cpu_s for s in alone):.2f}",
         f"{median(s.cpu_s for s in seen):.2f}", f"{cpu:.3f}", ""),
        ("the pairs' ratios", "", "", f"{min(ratios):.3f} to {max(ratios):.3f}", ""),
        ("CPU of the server, of a core", "", f"{share:.1%}", "", ""),
    ])  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="a large run that is there")
    parser.add_argument("--iterations", type=int, default=233, help="of the one that is made")
    parser.add_argument("--times", type=int, default=5, help="openings of the first page")
    parser.add_argument("--pairs", type=int, default=3, help="of small runs; 0: none")
    parser.add_argument("--small", type=int, default=4, help="iterations of the small runs")
    told = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        run = told.run or aside(
            lambda: big_run.build(Path(made, "big"), told.iterations, calls_each=None)
        )
        with closing(Store(run / "run.db", readonly=True)) as store:
            print(f"{len(store.finished()):,} paper results (made up)")
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=list(ARGUMENTS)
        )
        version = re.sub(r"\..*", "", browser.version)
        print(f"Chromium {version}, headless, 1440 wide")
        pages(browser, run, told.times)
        report(run)
        if told.pairs:
            slowing(browser, told.pairs, told.small)
        browser.close()


if __name__ == "__main__":
    main()
