"""What an opening of the test papers showed: pass rates, the paired differences, and the drop from
the validation figures by which the candidates were chosen.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.compare import LEVEL, rate_interval
from analysis.compare_text import p_text, points
from analysis.contrast import Contrast, contrast
from inner_agent.errors import UserError
from metaopt.record import RunRecord, find, open_record, usage
from metaopt.sealed import Opening, openings, siblings, times
from metaopt.state import winner
from metaopt.status import SIMULATED
from metaopt.text import amount, dollars, grid, moment, render, several
from metaopt.unseal import FOLDER

FORMAT = 2  # of the JSON
LATER = "Only the first opening, above, was a test: what was done since may have used it."


@dataclass(frozen=True, slots=True)
class Arm:
    """One harness on the test papers, with its 95 % interval.

    ``validation`` is its plain average over all validation runs, ``None`` where it had none.
    """

    candidate: int
    passed: int
    rate: float
    low: float
    high: float
    validation: float | None


@dataclass(frozen=True, slots=True)
class Look:
    """A later opening: when it was, what it showed, and that on one line.  ``arms`` are empty until
    it is finished.  It is no test: what was done since the first may have used that one."""

    at: float
    repeats: int
    arms: Mapping[str, Arm]
    told: str


@dataclass(frozen=True, slots=True)
class Shown:
    """The first opening, the only one that was a test, and later ``looks``.

    ``opened``: how many there were; ``seen_by``: other runs that opened some of these papers;
    ``differences`` are of the best, against each of the others; ``best_now``: the run's best, which
    may be another one than the best then, when it went on.
    """

    run: str
    simulated: bool
    opened: int
    at: float
    papers: tuple[str, ...]
    repeats: int
    seen_by: Sequence[str]
    arms: Mapping[str, Arm]
    differences: Mapping[str, Contrast]
    looks: Sequence[Look]
    best_now: int
    calls: int
    usd: float


def shown(run: Path) -> Shown:
    """Read the openings.  Raises ``UserError`` where there is none that is finished."""
    record, found = open_record(run), openings(run)
    if not found or not found[0].finished:
        raise UserError(f"{run}: no opening of the test papers is finished; metaopt test makes one")
    first, *later = found
    passes = _passes(first)
    spent = usage(run / FOLDER / "1").values()
    return Shown(
        run=run.resolve().name,
        simulated=first.simulated,
        opened=len(found),
        at=first.at,
        papers=first.papers,
        repeats=first.repeats,
        seen_by=siblings(run, first.sha256),
        arms=_arms(record, first),
        differences={o: contrast(passes["best"] - passes[o]) for o in ("baseline", "paper")},
        looks=[
            Look(o.at, o.repeats, _arms(record, o) if o.finished else {}, o.told()) for o in later
        ],
        best_now=winner(record.state).id,
        calls=sum(u.calls for u in spent),
        usd=sum(u.usd for u in spent),
    )


def _passes(opening: Opening) -> dict[str, NDArray[np.float64]]:
    """By arm: a row a repeat, a column a paper."""
    return {name: np.array(arm.runs, dtype=float) for name, arm in opening.arms.items()}


def _arms(record: RunRecord, opening: Opening) -> dict[str, Arm]:
    arms = {}
    for name, x in _passes(opening).items():
        made = find(record, str(opening.arms[name].candidate)).made()
        low, high = rate_interval(x)
        average = made.rate if made.papers else None
        arms[name] = Arm(made.id, int(x.sum()), float(x.mean()), low, high, average)
    return arms


def as_json(found: Shown) -> str:
    """Every number."""
    return json.dumps({"format": FORMAT, **asdict(found)}, indent=1, ensure_ascii=False) + "\n"


def as_text(found: Shown) -> str:
    """As people read it in a terminal."""
    head = f"{found.run}: sealed test, opened {times(found.opened)}"
    lines = [
        f"{head}   {SIMULATED}" if found.simulated else head,
        f"{several(len(found.papers), 'test paper')} × {several(found.repeats, 'repeat')},"
        f" {moment(found.at)};"
        f" spent {amount(found.calls)} calls, {dollars(found.usd)}",
    ]
    if found.arms["best"].candidate != found.best_now:
        lines.append(
            f"best: the best then, candidate {found.arms['best'].candidate}; the run went on, and"
            f" now it is candidate {found.best_now}."
        )
    if found.seen_by:
        lines.append(f"Other runs opened some of these papers: {', '.join(found.seen_by)}.")
    sentences = [_sentence(found, other) for other in found.differences]
    lines += ["", _table(found), "", *sentences, ""]
    if found.looks:
        lines += [*(f"looked again, {look.told}" for look in found.looks), LATER, ""]
    return "\n".join([*lines, *_notes(found)])


def _table(found: Shown) -> str:
    table = grid(
        "arm", ">candidate", ">passed", ">test", ">95%", ">validation", ">test - validation"
    )
    for name, arm in found.arms.items():
        validation, drop = "none", ""
        if arm.validation is not None:
            validation, drop = f"{arm.validation:.0%}", points(arm.rate - arm.validation)
        table.add_row(
            name, str(arm.candidate), f"{arm.passed}/{len(found.papers) * found.repeats}",
            f"{arm.rate:.0%}", f"{arm.low:.0%} to {arm.high:.0%}", validation, drop,
        )  # fmt: skip
    return render(table)


def _sentence(found: Shown, other: str) -> str:
    """The verdict on the best against another."""
    if found.arms["best"].candidate == found.arms[other].candidate:
        return f"best and {other} are one harness: there is nothing to compare"
    d = found.differences[other]
    size = f"{d.told()}, exact p {p_text(d.p_exact)}, mid-p {p_text(d.p_mid)}"
    if not d.sure():
        return f"can't tell best from {other}: {size}"
    return f"best is {'better' if d.difference > 0 else 'worse'} than {other}: {size}"


def _notes(found: Shown) -> list[str]:
    test = "McNemar's test" if found.repeats == 1 else "sign flips of the papers' differences"
    return [
        "paper: what the published procedure reports, the highest average over all validation runs",
        f"exact p: {test}; a verdict takes mid-p <= {LEVEL} and an interval without 0; the two are"
        " two questions, and aren't adjusted for each other",
        "validation: the average over all validation runs; the last column is in points",
    ]
