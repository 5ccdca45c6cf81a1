"""Several runs side by side: which of them are seeds of one search, and how they went together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from analysis.course import Point, course
from inner_agent.errors import UserError
from metaopt.config import RunConfig, freeze
from metaopt.record import RunRecord, open_record
from metaopt.statistics import student
from metaopt.validations import validations

MOST = 4  # groups: more aren't told apart at a glance
# Of these tables a search is no other search; different papers are told apart by themselves.
ASIDE = ("budget", "endpoints", "papers")


@dataclass(frozen=True, slots=True)
class Followed:
    """A run and its course; ``name`` is its folder's, with the one above where two are the same."""

    name: str
    record: RunRecord
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Group:
    """Runs whose config differs in the seed and the number of iterations at most."""

    name: str
    runs: Sequence[Followed]


@dataclass(frozen=True, slots=True)
class Step:
    """A group's runs after one iteration: the rate of each one's best then, shrunk, over ``runs``
    runs: their mean, the lowest and highest, and the mean's 95 % interval over seeds like these
    (Student's t; ``None`` of one run, and of runs that are all alike)."""

    iteration: int
    runs: int
    mean: float
    lowest: float
    highest: float
    low: float | None
    high: float | None


def follow(folders: Sequence[Path]) -> list[Followed]:
    """Open runs that belong into one figure.

    Raises ``UserError`` for one without a validated candidate, one that is given twice, and where
    some are simulated and others aren't.
    """
    runs: list[Followed] = []
    for folder in folders:
        record = open_record(folder)
        points = course(record)
        if not any(p.rate is not None for p in points):
            raise UserError(f"{folder}: no candidate has been validated yet; leave it out")
        runs.append(Followed(_name(folder, folders), record, points))
    places = [r.record.folder.resolve() for r in runs]
    if twice := [p for p in places if places.count(p) > 1]:
        raise UserError(f"{twice[0]}: given twice, but it is one run; name it once")
    refuse_mixed([(str(r.record.folder), r.record.config.simulated) for r in runs])
    return runs


def _name(folder: Path, folders: Sequence[Path]) -> str:
    path = folder.resolve()
    alike = sum(other.resolve().name == path.name for other in folders)
    return path.name if alike == 1 else f"{path.parent.name}/{path.name}"


def refuse_mixed(what: Sequence[tuple[str, bool]]) -> None:
    """Raise ``UserError`` where of (name, simulated) some are and others aren't."""
    for name, simulated in what:
        if simulated != what[0][1]:
            one, other = (name, what[0][0]) if simulated else (what[0][0], name)
            raise UserError(
                f"{one} is simulated and {other} isn't: they say nothing about each other; draw"
                " them apart"
            )


def grouped(runs: Sequence[Followed]) -> list[Group]:
    """Groups in the order of their first runs.  Raises ``UserError`` for more than ``MOST``."""
    found: dict[str, list[Followed]] = {}
    for run in runs:
        found.setdefault(_search(run.record.config), []).append(run)
    if len(found) > MOST:
        raise UserError(f"{len(found)} different configs are too many for one figure; {MOST} fit")
    policies = [members[0].record.config.search.policy for members in found.values()]
    return [
        Group(p if policies.count(p) == 1 else f"{p}, as {members[0].name}", members)
        for p, members in zip(policies, found.values(), strict=True)
    ]


def _search(config: RunConfig) -> str:
    """What runs of one group have in common, as text."""
    same = config.search.model_copy(update={"iterations": 1})
    return freeze(config.model_copy(update={"seed": 0, "search": same}), ASIDE)


def same_papers(runs: Sequence[Followed]) -> bool:
    """Were all of them validated on the same papers?"""
    return len({frozenset(p for v in validations(r.record) for p in v.papers) for r in runs}) == 1


def steps(group: Group) -> list[Step]:
    """The group's course, as far as all its runs are."""
    return [_step(points) for points in zip(*(r.points for r in group.runs), strict=False)]


def _step(points: Sequence[Point]) -> Step:
    rates = [p.best_shrunk for p in points]
    low = high = None
    if known := student(rates):
        low, high = max(0.0, known[0]), min(1.0, known[1])
    mean = fmean(rates)
    return Step(points[0].iteration, len(rates), mean, min(rates), max(rates), low, high)


def baselines(runs: Sequence[Followed]) -> dict[str, float]:
    """The baselines' mean rates over all these runs, by the harness's tree."""
    found: dict[str, list[float]] = {}
    for run in runs:
        opened, rate = run.record.state.opened, run.points[-1].baseline_rate
        if opened and rate is not None:
            found.setdefault(opened["tree"], []).append(rate)
    return {tree: fmean(rates) for tree, rates in found.items()}
