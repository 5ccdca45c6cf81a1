"""``metaopt generate``: open a data set's folder, run one harness on many papers, report.

The folder also holds ``config.toml`` (what the items are a function of), ``harness.json`` (which
harness made them), ``calls.db``, and ``cache/``, which can be deleted.
"""

import json
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from inner_agent.calls import CallStore
from inner_agent.errors import UserError
from inner_agent.gateway import Gateway
from inner_agent.generate import Origin, Results, Tally, generate, write_json
from inner_agent.papers import Paper
from inner_agent.run_paper import Rig
from inner_agent.sandbox import choose_mode
from metaopt.config import RunConfig
from metaopt.harnesses import export_harness
from metaopt.lab import papers_of, remove_caches
from metaopt.progress import Progress, run_watched
from metaopt.rollouts import freeze_inner
from metaopt.runner import stopped_by_full_disk
from metaopt.store import claim
from metaopt.text import amount, dollars


@dataclass(frozen=True, slots=True)
class Job:
    """A data set being made."""

    folder: Path
    rig: Rig
    origin: Origin
    papers: list[Paper]
    results: Results
    tally: Tally


def make_dataset(
    config: RunConfig, folder: Path, wanted: str | None = None, limit: int | None = None
) -> str:
    """Make or go on with the data set in ``folder``; returns a summary.

    ``wanted`` names the harness as ``export_harness`` takes it; ``limit`` takes the first papers
    only.  Raises ``UserError`` and ``Stopped`` as ``metaopt.runner.run`` does.
    """
    mode = choose_mode(config)
    with stopped_by_full_disk(), ExitStack() as held:
        held.enter_context(claim(folder))
        freeze_inner(folder, config)
        remove_caches(folder / "cache" / "harness", folder / "cache" / "papers")
        origin = export_harness(config.harness, wanted, folder / "cache" / "harness")
        _freeze_harness(folder, origin)
        papers = list(islice(papers_of(config, folder / "cache").values(), limit))
        calls = held.enter_context(closing(CallStore(folder / "calls.db")))
        results = held.enter_context(closing(Results(folder / "results.db")))
        rig = Rig(config, Gateway(config, calls), mode, folder / "cache" / "papers")
        job = Job(folder, rig, origin, papers, results, Tally(len(papers)))
        first = sum(results.get(paper) is not None for paper in papers)
        progress = Progress(rig.gateway, config.simulated, "papers", len(papers), first)
        run_watched(
            progress,
            lambda: generate(rig, origin, papers, results, folder, job.tally, progress.add),
        )
        return summary(job)


def summary(job: Job) -> str:
    """What came of it: yield, reasons, failures of rounds, cost, where the files are."""
    tally, total = job.tally, job.rig.gateway.ledger.total
    rate = tally.passed / tally.papers if tally.papers else 0.0
    items = job.folder / "items.jsonl"
    left_out = f"; {tally.repeated} repeat another paper's question" if tally.repeated else ""
    pairs = [
        ("papers", str(tally.papers)),
        ("passed", f"{tally.passed} ({rate:.1%})"),
        ("papers by end", _counts(tally.reasons)),
        ("rounds by end", _counts(tally.outcomes, accepted="accepted in the loop")),
        ("spent", f"{amount(total.calls)} calls, {amount(total.tokens)} tokens,"
                  f" {dollars(total.usd)}"),
        ("items", f"{_lines(items)} kept in {items}{left_out}"),
        ("papers' files", str(job.folder / "papers")),
    ]  # fmt: skip
    lines = [f"{name:<16}{text}" for name, text in pairs]
    if job.rig.config.simulated:
        lines.insert(0, "SIMULATED: these items say nothing about real models")
    return "\n".join(lines)


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
