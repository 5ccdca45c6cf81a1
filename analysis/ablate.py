"""Which parts of a candidate's change carry its gain: a measurement without each of them, read.

A part's loss is what the pass rate falls by when it is taken back and the rest stays: paired by
paper, tested by sign flips, and adjusted for there being several parts (Holm).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analysis import paired
from analysis.compare_text import p_text, points
from analysis.contrast import Contrast, contrast, detectable
from analysis.paired import Floats
from metaopt.ablation import BEFORE, WHOLE, Ablated, label
from metaopt.hunks import Hunk
from metaopt.measure import Measured
from metaopt.status import SIMULATED
from metaopt.text import grid, one_line, render, several

FORMAT = 1  # of the JSON
CARRIES, COSTS, UNCLEAR = "carries the gain", "costs", "can't tell"
FAULTS = ("crashed", "timed_out", "junk", "no_result")
SHOWN = 3  # changed lines of a hunk


@dataclass(frozen=True, slots=True)
class Part:
    """Hunks that are taken back together, by their numbers: ``2`` or ``2+5``.

    ``loss`` is the candidate's rate less the ``rate`` without them; ``p_holm`` its mid-p, adjusted
    for the number of parts; ``faults``: in how many rollouts more than with them the harness broke.
    All ``None`` where they can't be taken back: ``problem`` says why.
    """

    hunks: str
    where: tuple[str, ...]
    rate: float | None = None
    loss: Contrast | None = None
    p_holm: float | None = None
    verdict: str = "can't be taken back alone"
    faults: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Attribution:
    """``whole``: the candidate against ``against``, what it is compared with.

    ``surplus`` is the sum of the losses less the whole, ``None`` where a part couldn't be taken
    back.  ``detectable`` is the true loss that is told four times in five; ``None``: not any.
    """

    simulated: bool
    candidate: int
    against: int
    part: str
    papers: tuple[str, ...]
    repeats: int
    rate: float
    before: float
    whole: Contrast
    hunks: tuple[Hunk, ...]
    parts: tuple[Part, ...]
    surplus: Contrast | None
    detectable: float | None


def attribute(done: Ablated) -> Attribution:
    """Read a measurement."""
    measured, order = done.measured, [arm.name for arm in done.measured.plan.arms]
    passes = dict(zip(order, measured.passes(), strict=True))
    faults = {name: _faults(measured, arm) for arm, name in enumerate(order)}
    whole, before = passes[WHOLE], passes[BEFORE]
    alone = [arm for arm in done.arms if arm is not None]
    losses = [whole - passes[arm] for arm in alone]
    found = iter(zip(alone, *adjusted(losses), strict=True))
    parts = []
    for group, arm in zip(done.groups, done.arms, strict=True):
        part = Part(label(group), tuple(done.hunks[k].where() for k in group.members),
                    problem=group.problem)  # fmt: skip
        if arm is not None:
            _, loss, p = next(found)
            part = Part(part.hunks, part.where, float(passes[arm].mean()), loss, p,
                        verdict(loss, p), max(0, faults[arm] - faults[WHOLE]))  # fmt: skip
        parts.append(part)
    return Attribution(
        simulated=measured.simulated,
        candidate=done.candidate.id,
        against=done.against.id,
        part=measured.plan.part,
        papers=tuple(measured.plan.papers),
        repeats=measured.plan.repeats,
        rate=float(whole.mean()),
        before=float(before.mean()),
        whole=contrast(whole - before),
        hunks=tuple(done.hunks),
        parts=tuple(parts),
        surplus=_surplus(losses, whole - before) if len(alone) == len(parts) else None,
        detectable=detectable(losses) if losses else None,
    )


def adjusted(losses: Sequence[Floats]) -> tuple[list[Contrast], list[float]]:
    """The losses, each [repeat, paper], and their adjusted p-values."""
    found = [contrast(loss) for loss in losses]
    p_holm = paired.holm(np.array([loss.p_mid for loss in found]))
    return found, [float(p) for p in p_holm]


def _surplus(losses: Sequence[Floats], whole: Floats) -> Contrast:
    """How far the losses add up to more than the whole, paper by paper."""
    return contrast(np.sum(losses, axis=0) - whole, most=len(losses) + 1.0)


def verdict(loss: Contrast, p_holm: float) -> str:
    """What a part does."""
    if not loss.sure(p_holm):
        return UNCLEAR
    return CARRIES if loss.difference > 0 else COSTS


def as_json(found: Attribution) -> str:
    """Every number, and the hunks in full."""
    hunks = [{"number": k + 1, "path": h.path, "text": h.text} for k, h in enumerate(found.hunks)]
    data: dict[str, Any] = {"format": FORMAT, **asdict(found), "hunks": hunks}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def as_text(found: Attribution) -> str:
    """As people read it in a terminal."""
    candidate, against = f"candidate {found.candidate}", _name(found.against)
    lines = [
        *([SIMULATED] if found.simulated else []),
        f"{candidate} without each part of its change to {against}",
        f"{_size(found)}, the same draws for the same requests",
        f"{against} {found.before:.0%}, {candidate} {found.rate:.0%}: {found.whole.told()},"
        f" p {p_text(found.whole.p_mid)}",
        "",
        _table(found),
        "",
        *_notes(found),
        "",
        *(f"hunk {k + 1}, {_first_lines(h)}" for k, h in enumerate(found.hunks)),
    ]
    return "\n".join(lines)


def _table(found: Attribution) -> str:
    table = grid("hunk", "where", ">rate without", ">loss", ">95%", ">Holm's p", "verdict")
    for part in found.parts:
        numbers = [""] * 4
        if part.rate is not None and part.loss is not None and part.p_holm is not None:
            loss = part.loss
            bounds = f"{points(loss.low)} to {points(loss.high)}"
            numbers = [f"{part.rate:.0%}", points(loss.difference), bounds, p_text(part.p_holm)]
        table.add_row(part.hunks, ", ".join(part.where), *numbers, part.verdict)
    return render(table)


def _notes(found: Attribution) -> list[str]:
    notes = ["loss: what the pass rate falls by, in points, when the hunk is taken back"]
    for part in found.parts:
        if part.problem:
            notes.append(f"hunk {part.hunks} can't be taken back: {one_line(part.problem, 200)}")
        elif "+" in part.hunks:
            notes.append(f"hunks {part.hunks} go together: without one of them it doesn't run")
        if part.faults:
            notes.append(
                f"without hunk {part.hunks} the harness broke in {part.faults} rollouts more: what"
                " is left may need it"
            )
    alone = [part for part in found.parts if part.loss]
    if alone and found.detectable is None:
        notes.append(f"{_size(found)} can't be relied on to tell any loss; give more")
    elif alone:
        least = f"{100 * (found.detectable or 0):.0f}"
        notes.append(f"{_size(found)} can't be relied on to tell a loss below {least} points")
    if found.surplus and len(alone) > 1:
        notes.append(_together(found, found.surplus))
    return notes


def _together(found: Attribution, surplus: Contrast) -> str:
    """Do the parts add up?"""
    total = sum(part.loss.difference for part in found.parts if part.loss)
    text = f"the losses add up to {points(total)} points, the whole change is"
    text += f" {points(found.whole.difference)}: {surplus.told()}, "
    if surplus.low > 0:
        return text + "more than the whole, so that hunks need each other"
    if surplus.high < 0:
        return text + "less than the whole, so that hunks overlap or hold each other back"
    return text + "which may well be chance"


def _size(found: Attribution) -> str:
    papers = several(len(found.papers), f"{found.part} paper")
    return f"{papers} × {several(found.repeats, 'repeat')}"


def _name(candidate: int) -> str:
    return f"candidate {candidate}" if candidate else "the baseline"


def _first_lines(hunk: Hunk) -> str:
    """Where a hunk is, and its changed lines, the first few."""
    changed = [line for line in hunk.text.splitlines() if line[:1] in ("+", "-")]
    shown = [f"    {one_line(line)}" for line in changed[:SHOWN]]
    more = len(changed) - SHOWN
    return "\n".join([hunk.where(), *shown, *([f"    and {more} lines more"] if more > 0 else [])])


def _faults(measured: Measured, arm: int) -> int:
    return sum(r.reason in FAULTS for one in measured.results[arm] for r in one.values())
