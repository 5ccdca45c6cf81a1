"""``metaopt generate``: open a data set's folder, run one harness on many papers, report.

The folder also holds ``config.toml`` (what the items are a function of), ``harness.json`` (which
harness made them), ``plan.json`` (several items a paper, batches), ``trusted.json`` (hashes of the
trusted prompts and of the task), ``calls.db``, and ``cache/``, which can be deleted.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, RootModel

from inner_agent import prompts
from inner_agent.calls import CallStore
from inner_agent.durable import read_json
from inner_agent.errors import UserError
from inner_agent.gateway import Gateway
from inner_agent.generate import (
    HarnessOf,
    Job,
    Origin,
    Results,
    Tally,
    generate,
    write_json,
)
from inner_agent.intake import Intake, Slot, slots_of
from inner_agent.run_paper import Rig
from inner_agent.sandbox import choose_mode
from inner_agent.tasks.choice import not_played, other_texts, trusted
from inner_agent.told import PROMPTS
from metaopt.config import RunConfig
from metaopt.harnesses import export_harness
from metaopt.lab import papers_of, remove_caches
from metaopt.outlook import NO_STOP, Outlook, ran_out, unit
from metaopt.progress import Progress, run_watched
from metaopt.rollouts import freeze_inner, refuse_other_inner
from metaopt.runner import Stopped, stopped_by_full_disk
from metaopt.store import claim
from metaopt.text import amount, dollars, ordinal, several

HARNESS, PLAN, TRUSTED = "harness.json", "plan.json", "trusted.json"


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much: papers until ``accept`` items are kept, or all; the first ``max_papers`` at most,
    and ``items_per_paper`` of each.

    ``forecast_stop``: stop where the forecast says that ``accept`` is out of reach.  ``batch``: so
    many rollouts at a time, and learnings in between.
    """

    accept: int | None = None
    max_papers: int | None = None
    forecast_stop: bool = True
    items_per_paper: int = 1
    batch: int | None = None


class _Plan(BaseModel):
    """``plan.json``; ``prompts`` are hashes by name."""

    model_config = ConfigDict(strict=True)
    items_per_paper: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)] | None
    prompts: dict[str, str]


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
        refuse_other_inner(folder, config)
        remove_caches(folder / "cache" / "harness", folder / "cache" / "papers")
        origin = export_harness(config.harness, harness, folder / "cache" / "harness")
        slots = _slots(config, folder, wanted)
        _freeze(folder, origin, wanted, config)
        calls = held.enter_context(closing(CallStore(folder / "calls.db")))
        results = held.enter_context(closing(Results(folder / "results.db")))
        rig = Rig(config, Gateway(config, calls), mode, folder / "cache" / "papers")
        first = sum(results.get(slot) is not None for slot in slots)
        what = unit(wanted.items_per_paper)
        progress = Progress(rig.gateway, config.simulated, f"{what}s", len(slots), first)
        outlook = Outlook(
            config.budget,
            config.limits.rollouts_in_flight,
            wanted.forecast_stop,
            progress.told,
            wanted.batch,
        )
        intake = Intake(slots, config.audit.repeat_max, wanted.accept, outlook)
        progress.outlook = lambda: outlook.phrase(intake)
        job = Job(
            folder, rig, origin, intake, results, Tally(len(slots)), wanted.batch, progress.add,
            progress.told,
        )  # fmt: skip
        run_watched(progress, lambda: generate(job))
        _refuse_too_few(intake)
        return summary(job)


def _slots(config: RunConfig, folder: Path, wanted: Wanted) -> list[Slot]:
    """What may be tried, in its order."""
    papers = list(papers_of(config, folder / "cache").values())[: wanted.max_papers]
    each = wanted.items_per_paper
    if wanted.accept is not None and wanted.accept > len(papers) * each:
        items = "one item" if each == 1 else several(each, "item")
        more = "more papers" if each == 1 else "more papers or items per paper"
        raise UserError(
            f"--accept {wanted.accept}: only {several(len(papers), 'paper')}, and a paper gives"
            f" {items} at most; give {more}, or accept fewer"
        )
    return slots_of(papers, each)


def _refuse_too_few(intake: Intake) -> None:
    if intake.accept is None or intake.full:
        return
    if intake.stopped:
        raise Stopped(intake.stopped, 3, [NO_STOP])
    raise Stopped(ran_out(intake), 3)


def summary(job: Job) -> str:
    """What came of it: yield, reasons, failures of rounds, cost, where the files are."""
    tally, total = job.tally, job.rig.gateway.ledger.total
    what = unit(max(slot.number for slot in job.intake.slots))
    pairs = [
        (f"{what}s", _tried(tally)),
        ("passed", f"{tally.passed} ({tally.passed / max(1, tally.done):.1%})"),
        *_by_number(tally),
        (f"{what}s by end", _counts(tally.reasons)),
        ("rounds by end", _counts(tally.outcomes, accepted="accepted in the loop")),
        *_refused(tally, what, not_played(job.rig.config)),
        ("spent", f"{amount(total.calls)} calls, {amount(total.tokens)} tokens,"
                  f" {dollars(total.usd)}"),
        ("items", _kept(job, what)),
        ("papers' files", str(job.folder / "papers")),
    ]  # fmt: skip
    lines = [f"{name:<16}{text}" for name, text in pairs]
    if job.rig.config.simulated:
        lines.insert(0, "SIMULATED: these items say nothing about real models")
    return "\n".join(lines)


def _tried(tally: Tally) -> str:
    return str(tally.done) + (f" of {tally.slots}" if tally.done < tally.slots else "")


def _refused(tally: Tally, what: str, hint: str) -> Iterator[tuple[str, str]]:
    """Why nothing could be evaluated: a harness that writes another task's items, as a rule."""
    if count := tally.refusals.total():
        why = tally.refusals.most_common(1)[0][0]
        yield "all refused", f"on {several(count, what)} no item could be evaluated; mostly: {why}"
        if hint:
            yield "", hint


def _by_number(tally: Tally) -> Iterator[tuple[str, str]]:
    """Do second and third items still pass?  Nothing where there are none."""
    if len(tally.done_by) > 1:
        shares = (f"{ordinal(n)} {tally.passed_by[n]} of {tally.done_by[n]}"
                  for n in sorted(tally.done_by))  # fmt: skip
        yield "item of paper", ", ".join(shares)


def _kept(job: Job, what: str) -> str:
    items, intake, repeats = job.folder / "items.jsonl", job.intake, job.tally.repeated
    text = f"{_lines(items)} kept in {items}"
    if intake.accept is not None:
        text += f", the last from {what} {len(intake.front)} in their order"
    if repeats:
        text += f"; {repeats} repeat another {'paper' if what == 'paper' else 'item'}'s question"
    if beyond := intake.passed_beyond:
        text += f"; {beyond} from later {what}s, for a larger --accept"
    return text


def _freeze(folder: Path, origin: Origin, wanted: Wanted, config: RunConfig) -> None:
    """Keep the config, which harness makes the items, and which: unless it is one of each paper, at
    one go; and the hashes of the trusted prompts and of the task.

    Nothing is written by a command that is refused: it may name other papers, or a harness that
    isn't there."""
    _refuse_other_harness(folder, origin)
    _refuse_other_texts(folder, config)
    plan, begun = _plan(wanted), _refuse_other_plan(folder, wanted)
    freeze_inner(folder, config)
    if plan != begun:
        write_json(folder / PLAN, plan.model_dump())
    if not (folder / HARNESS).exists():
        write_json(folder / TRUSTED, trusted(config))
    write_json(folder / HARNESS, {"commit": origin.commit, "tree": origin.tree})  # it is begun


def _refuse_other_harness(folder: Path, origin: Origin) -> None:
    path = folder / HARNESS
    if path.exists():
        old = read_json(path, HarnessOf).tree
        if old != origin.tree:
            raise UserError(
                f"{folder}: these items were made by another harness (tree {old[:12]}, now"
                f" {origin.tree[:12]}); give the same --harness, or another --out"
            )


def _refuse_other_texts(folder: Path, config: RunConfig) -> None:
    path = folder / TRUSTED
    if path.exists() and (folder / HARNESS).exists():
        begun = read_json(path, RootModel[dict[str, str]])
        if names := other_texts(begun.root, config):
            raise UserError(
                f"{folder}: begun with another text of {names}; restore it, or give another --out"
            )


def _plan(wanted: Wanted) -> _Plan:
    """What items are told of each other depends on it."""
    told = prompts.hashes(PROMPTS)
    return _Plan(items_per_paper=wanted.items_per_paper, batch=wanted.batch, prompts=told)


def _refuse_other_plan(folder: Path, wanted: Wanted) -> _Plan:
    """The plan that the folder was begun with.

    More items a paper only add to it; in other batches items would have been told other things.
    """
    path, begun = folder / PLAN, _plan(Wanted())
    if path.exists():
        begun = read_json(path, _Plan)
    if not (folder / HARNESS).exists():
        return begun
    if (batch := begun.batch) != wanted.batch:
        said = f"with --batch {batch}" if batch else "without --batch"
        raise UserError(f"{folder}: begun {said}; go on so, or give another --out")
    if wanted.items_per_paper < (least := begun.items_per_paper):
        raise UserError(
            f"{folder}: begun with --items-per-paper {least}; give that or more, or another --out"
        )
    for name, text in _plan(wanted).prompts.items():
        if begun.prompts.get(name) != text:
            raise UserError(
                f"{folder}: begun with another text of {PROMPTS.name}/{name}.md; restore it, or"
                " give another --out"
            )
    return begun


def _counts(counts: Counter[str], **names: str) -> str:
    """Most frequent first; ``names`` says it better than the record does."""
    said = (f"{n} {names.get(name, name.replace('_', ' '))}" for name, n in counts.most_common())
    return ", ".join(said) or "none"


def _lines(path: Path) -> int:
    with open(path, encoding="utf-8") as file:
        return sum(1 for _ in file)
