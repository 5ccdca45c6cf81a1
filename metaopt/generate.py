"""``metaopt generate``: open a data set's folder, run one harness on many papers, report.

The folder also holds ``config.toml`` (what the items are a function of), ``harness.json`` (which
harness made them), ``calls.db``, and ``cache/``, which can be deleted.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from inner_agent.calls import CallStore
from inner_agent.durable import make_folder, write_files
from inner_agent.errors import UserError
from inner_agent.gateway import Gateway
from inner_agent.generate import Origin, Results, Tally, generate, write_json
from inner_agent.papers import Paper
from inner_agent.run_paper import Rig
from inner_agent.sandbox import choose_mode
from metaopt.config import Harness, RunConfig, Search, freeze, refuse_other_config
from metaopt.harnesses import export_harness
from metaopt.lab import papers_of, remove_caches
from metaopt.runner import run_until_stopped, say, stopped_by_full_disk, within_wall_time
from metaopt.store import lock
from metaopt.text import amount, clean, dollars, duration

LINE_EVERY_S = 10.0  # where no terminal redraws: a line at most this often


@dataclass(slots=True)
class Job:
    """A data set being made."""

    folder: Path
    rig: Rig
    origin: Origin
    papers: list[Paper]
    results: Results
    tally: Tally
    started: float = field(default_factory=time.monotonic)
    first: int = 0

    def line(self) -> str:
        """How it stands, on one line."""
        tally, total = self.tally, self.rig.gateway.ledger.total
        text = f"{tally.done}/{tally.papers} papers, {tally.passed} passed"
        text += f", {amount(total.calls)} calls, {dollars(total.usd)}"
        if self.rig.gateway.replayed:
            text += f", {amount(self.rig.gateway.replayed)} replayed"
        fresh = tally.done - self.first
        if fresh > 0 and tally.done < tally.papers:
            pace = (time.monotonic() - self.started) / fresh
            text += f", about {duration(pace * (tally.papers - tally.done))} left"
        text = "; ".join([text, *map(clean, self.rig.gateway.pauses)])
        return ("SIMULATED  " if self.rig.config.simulated else "") + text


def make_dataset(
    config: RunConfig, folder: Path, wanted: str | None = None, limit: int | None = None
) -> str:
    """Make or go on with the data set in ``folder``; returns a summary.

    ``wanted`` names the harness as ``export_harness`` takes it; ``limit`` takes the first papers
    only.  Raises ``UserError`` and ``Stopped`` as ``metaopt.runner.run`` does.
    """
    mode = choose_mode(config)
    try:
        make_folder(folder)
    except OSError as e:
        raise UserError(f"{folder}: can't be made ({e.strerror}); give another --out") from None
    with stopped_by_full_disk(), ExitStack() as held:
        held.enter_context(lock(folder))
        _freeze_config(folder, config)
        remove_caches(folder / "cache" / "harness", folder / "cache" / "papers")
        origin = export_harness(config.harness, wanted, folder / "cache" / "harness")
        _freeze_harness(folder, origin)
        papers = list(islice(papers_of(config, folder / "cache").values(), limit))
        calls = held.enter_context(closing(CallStore(folder / "calls.db")))
        results = held.enter_context(closing(Results(folder / "results.db")))
        rig = Rig(config, Gateway(config, calls), mode, folder / "cache" / "papers")
        job = Job(folder, rig, origin, papers, results, Tally(len(papers)))
        job.first = sum(results.get(paper) is not None for paper in papers)
        run_until_stopped(_watched(job))
        return summary(job)


def summary(job: Job) -> str:
    """What came of it: yield, reasons, failures of rounds, cost, where the files are."""
    tally, total = job.tally, job.rig.gateway.ledger.total
    rate = tally.passed / tally.papers if tally.papers else 0.0
    items = job.folder / "items.jsonl"
    pairs = [
        ("papers", str(tally.papers)),
        ("passed", f"{tally.passed} ({rate:.1%})"),
        ("papers by end", _counts(tally.reasons)),
        ("rounds by end", _counts(tally.outcomes, accepted="accepted in the loop")),
        ("spent", f"{amount(total.calls)} calls, {amount(total.tokens)} tokens,"
                  f" {dollars(total.usd)}"),
        ("items", f"{_lines(items)} kept in {items}"),
        ("papers' files", str(job.folder / "papers")),
    ]  # fmt: skip
    lines = [f"{name:<16}{text}" for name, text in pairs]
    if job.rig.config.simulated:
        lines.insert(0, "SIMULATED: these items say nothing about real models")
    return "\n".join(lines)


async def _watched(job: Job) -> None:
    try:
        with _shown(job) as progress:
            async with within_wall_time(job.rig.gateway):
                await generate(
                    job.rig, job.origin, job.papers, job.results, job.folder, job.tally, progress
                )
    finally:
        await job.rig.gateway.close(say)


@contextmanager
def _shown(job: Job) -> Iterator[Callable[[], None]]:
    """Show ``job.line()``: redrawn on a terminal, else as plain lines now and then."""
    console = Console(stderr=True)
    job.rig.gateway.tell(lambda line: console.print(Text(clean(line)), soft_wrap=True))
    if console.is_terminal:
        with Live(get_renderable=lambda: Text(job.line()), console=console, refresh_per_second=4):
            yield lambda: None
        return
    printed = job.started

    def progress() -> None:
        nonlocal printed
        now = time.monotonic()
        if now - printed >= LINE_EVERY_S:
            printed = now
            print(job.line(), file=sys.stderr, flush=True)

    yield progress


def _freeze_config(folder: Path, config: RunConfig) -> None:
    """Keep what the items depend on: the outer loop's settings don't count."""
    papers = config.papers.model_copy(update={"split": ""})
    inner = config.model_copy(update={"harness": Harness(), "search": Search(), "papers": papers})
    path = folder / "config.toml"
    if path.exists():
        refuse_other_config(path.read_text(encoding="utf-8"), inner, folder)
    write_files({path: freeze(inner)})


def _freeze_harness(folder: Path, origin: Origin) -> None:
    path = folder / "harness.json"
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))["tree"]
        if old != origin.tree:
            raise UserError(
                f"{folder}: these items were made by another harness (tree {old[:12]}, now"
                f" {origin.tree[:12]}); give the same --harness, or another --out"
            )
        return
    write_json(path, {"commit": origin.commit, "tree": origin.tree})


def _counts(counts: Counter[str], **names: str) -> str:
    """Most frequent first; ``names`` says it better than the record does."""
    said = (f"{n} {names.get(name, name.replace('_', ' '))}" for name, n in counts.most_common())
    return ", ".join(said) or "none"


def _lines(path: Path) -> int:
    with open(path, encoding="utf-8") as file:
        return sum(1 for _ in file)
