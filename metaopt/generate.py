"""``metaopt generate``: open a data set's folder, run one harness on many papers, report.

The folder also holds ``config.toml`` (what the items are a function of), ``harness.json`` (which
harness made them), ``calls.db``, and ``cache/``, which can be deleted.
"""

import json
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from inner_agent.calls import CallStore
from inner_agent.errors import UserError
from inner_agent.gateway import Gateway
from inner_agent.generate import Origin, Results, Tally, generate, write_json
from inner_agent.intake import Intake
from inner_agent.papers import Paper
from inner_agent.run_paper import Rig
from inner_agent.sandbox import choose_mode
from metaopt.config import RunConfig
from metaopt.harnesses import export_harness
from metaopt.lab import papers_of, remove_caches
from metaopt.outlook import NO_STOP, Outlook, ran_out
from metaopt.progress import Progress, run_watched
from metaopt.rollouts import freeze_inner
from metaopt.runner import Stopped, stopped_by_full_disk
from metaopt.store import claim
from metaopt.text import amount, dollars, several


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much: papers until ``accept`` items are kept, or all; the first ``max_papers`` at most.

    ``forecast_stop``: stop where the forecast says that ``accept`` is out of reach.
    """

    accept: int | None = None
    max_papers: int | None = None
    forecast_stop: bool = True


@dataclass(frozen=True, slots=True)
class Job:
    """A data set being made."""

    folder: Path
    rig: Rig
    origin: Origin
    intake: Intake
    tally: Tally


def make_dataset(
    config: RunConfig, folder: Path, harness: str | None = None, wanted: Wanted | None = None
) -> str:
    """Make or go on with the data set in ``folder``; returns a summary.

    ``harness`` is named as ``export_harness`` takes it.  Raises ``UserError`` and ``Stopped`` as
    ``metaopt.runner.run`` does; ``Stopped`` also where papers or budget don't suffice for
    ``wanted.accept``.
    """
    mode, wanted = choose_mode(config), wanted or Wanted()
    if not wanted.forecast_stop and wanted.accept is None:
        raise UserError(f"{NO_STOP}: only --accept has a forecast; leave it out")
    with stopped_by_full_disk(), ExitStack() as held:
        held.enter_context(claim(folder))
        freeze_inner(folder, config)
        remove_caches(folder / "cache" / "harness", folder / "cache" / "papers")
        origin = export_harness(config.harness, harness, folder / "cache" / "harness")
        _freeze_harness(folder, origin)
        papers = _papers(config, folder, wanted)
        calls = held.enter_context(closing(CallStore(folder / "calls.db")))
        results = held.enter_context(closing(Results(folder / "results.db")))
        rig = Rig(config, Gateway(config, calls), mode, folder / "cache" / "papers")
        first = sum(results.get(paper) is not None for paper in papers)
        progress = Progress(rig.gateway, config.simulated, "papers", len(papers), first)
        outlook = Outlook(
            config.budget, config.limits.rollouts_in_flight, wanted.forecast_stop, progress.told
        )
        intake = Intake(papers, config.audit.repeat_max, wanted.accept, outlook)
        progress.outlook = lambda: outlook.phrase(intake)
        job = Job(folder, rig, origin, intake, Tally(len(papers)))
        run_watched(
            progress,
            lambda: generate(rig, origin, intake, results, folder, job.tally, progress.add),
        )
        _refuse_too_few(intake)
        return summary(job)


def _papers(config: RunConfig, folder: Path, wanted: Wanted) -> list[Paper]:
    """The papers that may be tried, in their order."""
    papers = list(papers_of(config, folder / "cache").values())[: wanted.max_papers]
    if wanted.accept is not None and wanted.accept > len(papers):
        raise UserError(
            f"--accept {wanted.accept}: only {several(len(papers), 'paper')}, and a paper gives one"
            " item at most; give more papers, or accept fewer"
        )
    return papers


def _refuse_too_few(intake: Intake) -> None:
    if intake.accept is None or intake.full:
        return
    if intake.stopped:
        raise Stopped(intake.stopped, 3, [NO_STOP])
    raise Stopped(ran_out(intake), 3)


def summary(job: Job) -> str:
    """What came of it: yield, reasons, failures of rounds, cost, where the files are."""
    tally, total = job.tally, job.rig.gateway.ledger.total
    pairs = [
        ("papers", _tried(tally)),
        ("passed", f"{tally.passed} ({tally.passed / max(1, tally.done):.1%})"),
        ("papers by end", _counts(tally.reasons)),
        ("rounds by end", _counts(tally.outcomes, accepted="accepted in the loop")),
        ("spent", f"{amount(total.calls)} calls, {amount(total.tokens)} tokens,"
                  f" {dollars(total.usd)}"),
        ("items", _kept(job)),
        ("papers' files", str(job.folder / "papers")),
    ]  # fmt: skip
    lines = [f"{name:<16}{text}" for name, text in pairs]
    if job.rig.config.simulated:
        lines.insert(0, "SIMULATED: these items say nothing about real models")
    return "\n".join(lines)


def _tried(tally: Tally) -> str:
    return str(tally.done) + (f" of {tally.papers}" if tally.done < tally.papers else "")


def _kept(job: Job) -> str:
    items, intake, repeats = job.folder / "items.jsonl", job.intake, job.tally.repeated
    text = f"{_lines(items)} kept in {items}"
    if intake.accept is not None:
        text += f", the last from paper {len(intake.front)} in their order"
    if repeats:
        text += f"; {repeats} repeat another paper's question"
    if beyond := intake.passed_beyond:
        text += f"; {beyond} from later papers, for a larger --accept"
    return text


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
