"""What ``metaopt dataquality`` does: read the data sets, measure what is owed, write what is found.

The measurement's folder has ``dataquality.md``, ``.json`` and ``.png`` when all is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from analysis.dataquality.numbers import SHARED, Quality, quality
from analysis.dataquality.report import as_json, as_markdown, as_text
from analysis.dataquality.sets import Empty, read_sets
from analysis.targets import SUFFIXES, check_target, write_text
from inner_agent.errors import UserError
from metaopt.config import RunConfig
from metaopt.dataquality import (
    DataSet,
    Kind,
    Plan,
    afresh,
    measure_quality,
    owed,
    plan_of,
    refuse_other_quality,
)
from metaopt.measure import CACHE, no_trace, refuse_other_folder
from metaopt.quality_cost import estimate, foretold
from metaopt.record import QUALITY
from metaopt.runner import say

PAIRS = 100  # of every two data sets, where nothing is said


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command was given; ``None``: the default.  ``items`` is accepted or final;
    ``estimate``: what it would use is told, and nothing done."""

    items: str = "accepted"
    attempts: int | None = None
    sample: int | None = None
    pairs: int | None = None
    seed: int = 0
    estimate: bool = False


def measure_data(
    data: Sequence[Path], config: RunConfig, out: Path, asked: Asked, json: Path | None,
    plot: Path | None,
) -> str:  # fmt: skip
    """Measure data sets alike; returns the report, and writes it into ``out`` too.  Or what
    measuring them would use.

    Raises ``UserError`` and ``Stopped`` as ``measure_quality`` does.
    """
    for target, suffixes in ((json, (".json",)), (plot, SUFFIXES)):
        if target:
            check_target(target, suffixes)
    if asked.items not in get_args(Kind):
        raise UserError(f"--items {asked.items}: give accepted or final")
    refuse_other_folder(out, QUALITY)
    fresh = afresh(config, asked.attempts)
    if asked.estimate:
        return _estimate(data, fresh, out, asked)
    with no_trace(out):
        plan, empty = _plan(data, config, out / CACHE, asked)
        refuse_other_quality(out, fresh, plan)
        if any(todo := owed(out, plan)):
            say(_marked(fresh, plan) + foretold(fresh, *todo))
        measured = measure_quality(fresh, out, plan)
    found = quality(measured, empty)
    _write(found, out, json, plot)
    return as_text(found)


def _estimate(data: Sequence[Path], config: RunConfig, out: Path, asked: Asked) -> str:
    with TemporaryDirectory(prefix="metaopt-") as cache:
        plan, _ = _plan(data, config, Path(cache), asked)
        refuse_other_quality(out, config, plan)
        todo = owed(out, plan)
        if not any(todo):
            return f"{out}: all of it is measured; nothing is left to ask"
        return _marked(config, plan) + estimate(config, *todo)


def _marked(config: RunConfig, plan: Plan) -> str:
    return "SIMULATED  " if config.simulated or plan.simulated else ""


def _plan(
    data: Sequence[Path], config: RunConfig, cache: Path, asked: Asked
) -> tuple[Plan, list[Empty]]:
    """What is to be measured, and of which data sets there is nothing to measure."""
    kind: Kind = "final" if asked.items == "final" else "accepted"
    pairs = _pairs(config, asked)
    sets, empty = read_sets(data, kind, config, cache)
    if kind == "final":
        _refuse_nothing_shared(sets)
    return plan_of(sets, kind, asked.sample, pairs, asked.seed), empty


def _pairs(config: RunConfig, asked: Asked) -> int:
    if "comparer" in config.models:
        return PAIRS if asked.pairs is None else asked.pairs
    if asked.pairs:
        raise UserError(
            f"--pairs {asked.pairs}: no role compares them; give the config a models.comparer, or"
            " leave --pairs out"
        )
    return 0


def _refuse_nothing_shared(sets: Sequence[DataSet]) -> None:
    """One method's items against another's is a question about the same papers."""
    for number, other in enumerate(sets):
        for one in sets[:number]:
            if len(one.by_paper().keys() & other.by_paper().keys()) < SHARED:
                raise UserError(
                    f"{one.name} and {other.name} have no items of the same papers, and --items"
                    " final compares methods on the same ones; give --items accepted, or data sets"
                    " that were made from the same papers"
                )


def _write(found: Quality, out: Path, json: Path | None, plot: Path | None) -> None:
    from analysis.dataquality.figure import draw_quality

    write_text(out / "dataquality.md", as_markdown(found))
    for path in filter(None, (out / "dataquality.json", json)):
        write_text(path, as_json(found))
    for path in filter(None, (out / "dataquality.png", plot)):
        draw_quality(found, path)
