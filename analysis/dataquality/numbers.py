"""What measured data sets came to.  Papers are the sampling unit: see ``analysis.paired``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean

import numpy as np

from analysis import paired
from analysis.compare import LEVEL, Change
from analysis.dataquality.sets import Empty
from analysis.paired import Floats
from analysis.scores import Mean, mean_of
from inner_agent.errors import UserError
from metaopt.dataquality import DataSet, Measured, Pair, steps_of
from metaopt.quality_store import Compared, Tried
from metaopt.statistics import clustered, welch

SHARED = 2  # papers that two data sets need to have in common for a paired difference


@dataclass(frozen=True, slots=True)
class Scored:
    """One data set.  ``items`` were measured, on ``papers`` papers; ``unreadable`` of them have no
    scores.  Of ``tried`` papers (``None``: not known) the method gave an item on ``gave``.

    ``weak``, ``strong``, ``gap`` are means over papers, of the means of their items; ``by_paper``
    has weak and strong of each, by the paper's sha256.  ``passed`` and ``sound`` are shares of
    items: those that fresh scores and the audit would accept, and those that stand the audit.
    """

    name: str
    tree: str
    tried: int | None
    gave: int
    items: int
    papers: int
    unreadable: int
    weak: Mean
    strong: Mean
    gap: Mean
    passed: Mean
    sound: Mean
    by_paper: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Difference:
    """The second of two data sets minus the first, on the ``papers`` that both have an item of; 0:
    there are too few of those, and it is that of independent samples.

    ``gap_p`` is Student's (or Welch's) of the gap, ``gap_holm`` that adjusted for the number of
    comparisons: it decides.
    """

    first: str
    second: str
    papers: int
    same_items: bool
    weak: Change
    strong: Change
    gap: Change
    gap_p: float
    gap_holm: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Preference:
    """What the comparer said of two data sets' ``pairs`` of items, one a paper where they are
    ``matched``.  ``same`` are one and the same item, which tie unasked; ``unreadable`` count for
    nothing; ``wins`` are those of the second in both orders, ``losses`` those of the first.

    Of those that were asked, ``flipped`` named another item in the other order; ``named_first`` of
    ``decided`` verdicts named what was shown first.  ``rate`` is the second's win rate, a tie
    being half a win; ``p`` of sign flips (mid-p), ``holm`` adjusted: it decides.
    """

    first: str
    second: str
    matched: bool
    pairs: int
    same: int
    unreadable: int
    wins: int
    losses: int
    ties: int
    flipped: int
    named_first: int
    decided: int
    rate: Mean
    p: float
    holm: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Quality:
    """Everything that the report, the JSON and the figure show; ``steps`` are how much was asked
    for one time after the other, ``models`` who played which part, ``empty`` the data sets of
    which there is nothing to measure."""

    simulated: bool
    kind: str
    attempts: int
    seed: int
    models: Mapping[str, str]
    steps: tuple[tuple[int, ...], ...]
    sets: tuple[Scored, ...]
    empty: tuple[Empty, ...]
    differences: tuple[Difference, ...]
    preferences: tuple[Preference, ...]


def quality(measured: Measured, empty: Sequence[Empty] = ()) -> Quality:
    """Sum up a measurement.  Raises ``UserError`` where no item of a data set has scores."""
    config, plan = measured.config, measured.plan
    sets = tuple(_scored(data, measured.tried) for data in plan.sets)
    optional = {"auditor": config.audit.llm, "comparer": bool(plan.pairs)}
    roles = [r for r in ("weak", "strong", "judge", *optional) if optional.get(r, True)]
    models = {str(role): m.model for role, m in config.models.items() if role in roles}
    return Quality(
        simulated=measured.simulated,
        kind=plan.kind,
        attempts=config.models["weak"].attempts,
        seed=plan.seed,
        models={role: models[role] for role in roles if role in models},
        steps=tuple(map(tuple, steps_of(measured.folder))),
        sets=sets,
        empty=tuple(empty),
        differences=_differences(plan.sets, sets),
        preferences=_preferences(sets, plan.pairs, measured.compared),
    )


def _scored(data: DataSet, tried: Mapping[str, Tried]) -> Scored:
    found = {paper: [tried[p.key] for p in pieces] for paper, pieces in data.by_paper().items()}
    readable = {paper: [t for t in of if not t.problem] for paper, of in found.items()}
    by_paper = {
        paper: (fmean(fmean(t.weak) for t in of), fmean(fmean(t.strong) for t in of))
        for paper, of in readable.items()
        if of
    }
    if not by_paper:
        problem = next(t.problem for of in found.values() for t in of)
        raise UserError(f"{data.name}: no item came to a score: {problem}")
    weak, strong = zip(*by_paper.values(), strict=True)
    return Scored(
        name=data.name,
        tree=data.tree,
        tried=data.tried,
        gave=data.gave,
        items=len(data.pieces),
        papers=len(found),
        unreadable=sum(bool(t.problem) for of in found.values() for t in of),
        weak=mean_of(weak, 0.0),
        strong=mean_of(strong, 0.0),
        gap=mean_of([s - w for w, s in by_paper.values()], -1.0),
        passed=_share([[t.accepted and not t.findings for t in of] for of in readable.values()]),
        sound=_share([[not t.findings for t in of] for of in found.values()]),
        by_paper=by_paper,
    )


def _share(held: Sequence[Sequence[bool]]) -> Mean:
    """Of all items, with the interval that items of one paper leave."""
    passes, runs = zip(*((sum(of), len(of)) for of in held if of), strict=True)
    return Mean(sum(passes) / sum(runs), *clustered(passes, runs))


def _differences(data: Sequence[DataSet], sets: Sequence[Scored]) -> tuple[Difference, ...]:
    found = [
        _difference(sets[a], sets[b], _same(data[a], data[b]))
        for a, b in combinations(range(len(sets)), 2)
    ]
    adjusted = paired.holm(np.array([one.gap_p for one in found]))
    return tuple(_decided(one, float(p)) for one, p in zip(found, adjusted, strict=True))


def _same(one: DataSet, other: DataSet) -> bool:
    return {piece.key for piece in one.pieces} == {piece.key for piece in other.pieces}


def _difference(one: Scored, other: Scored, same: bool) -> Difference:
    shared = [paper for paper in one.by_paper if paper in other.by_paper]
    if len(shared) >= SHARED:
        a, b = (np.array([s.by_paper[paper] for paper in shared]) for s in (one, other))
    else:
        shared = []
        a, b = (np.array(list(s.by_paper.values())) for s in (one, other))
    a, b = (np.column_stack([x, x[:, 1] - x[:, 0]]) for x in (a, b))
    (weak, _), (strong, _), (gap, p) = (
        _change(a[:, k], b[:, k], bool(shared), most) for k, most in enumerate((1, 1, 2))
    )
    return Difference(one.name, other.name, len(shared), same, weak, strong, gap, p, 1.0, "")


def _change(a: Floats, b: Floats, matched: bool, most: float) -> tuple[Change, float]:
    """The difference, which is ``most`` at most, and its p."""
    if matched:
        low, high = (float(x) for x in paired.interval(b - a))
        p = paired.p_value(b - a)
    else:
        low, high, p = welch(a.tolist(), b.tolist()) or (-most, most, 1.0)
    return Change(float(b.mean() - a.mean()), max(-most, low), min(most, high)), p


def _decided(one: Difference, adjusted: float) -> Difference:
    change, verdict = one.gap, "can't tell"
    if adjusted <= LEVEL and not change.low <= 0 <= change.high:
        verdict = "wider" if change.difference > 0 else "narrower"
    return replace(one, gap_holm=adjusted, verdict="same items" if one.same_items else verdict)


def _preferences(
    sets: Sequence[Scored], pairs: Sequence[Pair], said: Mapping[tuple[str, str], Compared]
) -> tuple[Preference, ...]:
    by_sets: dict[tuple[int, int], list[Pair]] = {}
    for pair in pairs:
        by_sets.setdefault(pair.sets, []).append(pair)
    found = [_preference(sets, numbers, of, said) for numbers, of in by_sets.items()]
    adjusted = paired.holm(np.array([one.p for one in found]))
    return tuple(_preferred(one, float(p)) for one, p in zip(found, adjusted, strict=True))


def _preference(
    sets: Sequence[Scored], numbers: tuple[int, int], pairs: Sequence[Pair],
    said: Mapping[tuple[str, str], Compared],
) -> Preference:  # fmt: skip
    asked = [found.said for p in pairs if not p.same_item and (found := said[p.key]).said]
    same = sum(pair.same_item for pair in pairs)
    verdicts = [(first.better, second.better) for first, second in asked]
    # The first of the two data sets' items is A in one order, and B in the other.
    wins, losses = verdicts.count(("B", "A")), verdicts.count(("A", "B"))
    named = [better for both in verdicts for better in both if better != "tie"]
    points = [1] * wins + [-1] * losses + [0] * (len(verdicts) - wins - losses + same)
    return Preference(
        first=sets[numbers[0]].name,
        second=sets[numbers[1]].name,
        matched=all(p.one.paper.sha256 == p.other.paper.sha256 for p in pairs),
        pairs=len(pairs),
        same=same,
        unreadable=len(pairs) - len(points),
        wins=wins,
        losses=losses,
        ties=points.count(0),
        flipped=verdicts.count(("A", "A")) + verdicts.count(("B", "B")),
        named_first=named.count("A"),
        decided=len(named),
        rate=_rate(points),
        p=paired.mid_p(np.array(points, dtype=int)),
        holm=1.0,
        verdict="",
    )


def _rate(points: Sequence[int]) -> Mean:
    """The win rate from 1 for a win, 0 for a tie and -1 for a loss."""
    if not points:
        return Mean(0.5, 0.0, 1.0)
    d = np.array(points, dtype=float)
    low, high = (float(x) for x in paired.interval(d))
    return Mean(0.5 + d.mean() / 2, max(0.0, 0.5 + low / 2), min(1.0, 0.5 + high / 2))


def _preferred(one: Preference, adjusted: float) -> Preference:
    rate, verdict = one.rate, "can't tell"
    assert rate.low is not None
    assert rate.high is not None
    if adjusted <= LEVEL and not rate.low <= 0.5 <= rate.high:
        verdict = "better" if rate.value > 0.5 else "worse"
    return replace(one, holm=adjusted, verdict=verdict)
