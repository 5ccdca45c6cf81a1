"""How weak and strong solvers fare on the items of data sets, or on those of a run's harnesses.

Only items that passed count, in a data set as in a run: those that a harness is made for.  Their
scores lie within the criteria of acceptance, so what differs between harnesses is mostly how many
items there are, and how far apart the solvers are on them.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from analysis.inspect.rows import checked, lines
from analysis.nothing import nothing_in
from inner_agent import generate
from inner_agent.errors import UserError
from metaopt.record import RunRecord, find, open_record
from metaopt.statistics import student
from metaopt.store import Store


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over papers and its 95 % interval for other papers like these (Student's t, within
    what scores can be); ``None`` of one paper, and where all are alike."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Scores:
    """The items of one data set or harness: ``items`` that passed in ``rollouts``, on ``papers``
    papers, which are what the means are over; scores are fractions.

    ``name`` is the folder's, ``harness`` baseline or best, with its number, of a run, else empty.
    """

    name: str
    harness: str
    simulated: bool
    rollouts: int
    items: int
    papers: int
    weak: Mean
    strong: Mean
    gap: Mean


def scores_of(folder: Path) -> list[Scores]:
    """A data set's scores, or those of a run's baseline and of its best where that is another.

    Raises ``UserError`` for a folder that is neither, and where nothing has passed.
    """
    if (folder / "results.db").is_file():
        return [_of_dataset(folder)]
    record = open_record(folder)
    found = [_of_candidate(record, name) for name in ("baseline", "best")]
    return found if find(record, "best").id else found[:1]


def _of_dataset(folder: Path) -> Scores:
    with closing(generate.read_results(folder)) as db:
        (rollouts,) = db.execute("SELECT COUNT(*) FROM slots").fetchone()
    found = lines(folder / "items.jsonl", whole=True)
    items = [checked(where, value)[0] for where, value in found]
    if not items:
        raise UserError(nothing_in(folder))
    by_paper: dict[str, list[tuple[float, float]]] = {}
    for item in items:
        by_paper.setdefault(item.paper.id, []).append((item.weak_avg, item.strong_avg))
    simulated = any(item.simulated for item in items)
    return _scores(folder.resolve().name, "", simulated, rollouts, by_paper)


def _of_candidate(record: RunRecord, name: str) -> Scores:
    """What a candidate's validations in the search made."""
    ident = find(record, name).id
    with closing(Store(record.folder / "run.db", readonly=True)) as store:
        results = [r for part, _, r in store.results_of(ident) if part == "val"]
    by_paper: dict[str, list[tuple[float, float]]] = {}
    for r in results:
        if r.passed and r.weak_avg is not None and r.strong_avg is not None:
            by_paper.setdefault(r.paper, []).append((r.weak_avg, r.strong_avg))
    if not by_paper:
        raise UserError(
            f"{record.folder}: no item of the {name} has passed on a validation paper, so it has no"
            " scores"
        )
    harness = f"{name} ({ident})" if ident else name
    return _scores(
        record.folder.resolve().name, harness, record.config.simulated, len(results), by_paper
    )


def _scores(
    name: str, harness: str, simulated: bool, rollouts: int,
    by_paper: Mapping[str, Sequence[tuple[float, float]]],
) -> Scores:  # fmt: skip
    weak = [fmean(w for w, _ in pairs) for pairs in by_paper.values()]
    strong = [fmean(s for _, s in pairs) for pairs in by_paper.values()]
    gaps = [s - w for w, s in zip(weak, strong, strict=True)]
    return Scores(
        name, harness, simulated, rollouts, sum(map(len, by_paper.values())), len(by_paper),
        mean_of(weak, 0.0), mean_of(strong, 0.0), mean_of(gaps, -1.0),
    )  # fmt: skip


def mean_of(values: Sequence[float], least: float) -> Mean:
    """The mean of papers' values, which lie between ``least`` and 1, with its interval."""
    known = student(values)
    low, high = (max(least, known[0]), min(1.0, known[1])) if known else (None, None)
    return Mean(fmean(values), low, high)
