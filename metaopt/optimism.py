"""How far to believe a reported rate: the figures side by side, and how much of each is luck.

The best of many noisy scores is too high, even where every one of them is fair.  By how much is
found by going through the run again in numbers (a parametric bootstrap, Efron and Tibshirani
1993, ch. 6): edits as good and bad as the run's, on as many papers, each validation drawn from a
known truth, the policy itself choosing parents and admitting mutants; then the chosen score is
set against its own truth.  Parents must be chosen anew: a lucky candidate is run again more
often, and loses its luck by it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from metaopt.policy import Policy, policy_of
from metaopt.population import Candidate, best, shrunk_rates
from metaopt.record import RunRecord
from metaopt.rehearsal import Rehearsal
from metaopt.state import winner
from metaopt.statistics import clustered
from metaopt.text import grid, render
from metaopt.validations import Validation, by_paper, searched, validations

TEST = "test.json"  # in a run's folder once its sealed papers were opened
ARMS = {"best": "best", "paper": "published", "baseline": "baseline"}
WORK = 20_000  # iterations gone through in all: half a second
MOST_REDRAWS = 1_000
SEED = 20_260_625  # the same run says the same each time
EDGE = 0.02  # a rate nearer to 0 or 1 is taken for this one
IDLE_EDITS = 20  # that did nothing, counted with the run's: a few edits say little of their spread


@dataclass(frozen=True, slots=True)
class Curse:
    """By how much luck alone lifts a figure of a run, on average; fractions.

    ``highest``: the highest single score of a candidate, over that one's truth; ``single``: the
    best candidate's score when it was accepted; ``pooled``: its average over all its runs;
    ``shrunk``: that average drawn to its parent's.
    """

    highest: float
    single: float
    pooled: float
    shrunk: float


@dataclass(frozen=True, slots=True)
class Edits:
    """What a run's edits were like: on how many papers each was validated, and how far they move
    a harness on the logit, as a normal distribution."""

    papers: tuple[int, ...]
    mean: float
    spread: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One way to say how good a candidate is.  Rates are fractions, intervals 95 %, for other
    papers like these; a shrunk rate has none.

    ``papers``, and ``rollouts`` on them, are what it rests on.  ``luck`` is what choice alone
    adds to such a figure, on average; 0 where the runs had no part in choosing.
    """

    name: str
    candidate: int
    rate: float
    interval: tuple[float, float] | None
    papers: int
    rollouts: int
    luck: float


def meter(record: RunRecord) -> list[Figure]:
    """The baseline, then the figures of the run's best, the most flattering first.

    Empty before the first validation.
    """
    population = [c for c in record.state.population if c.runs]
    luck = curse(searched(record), policy_of(record.config.search))
    if luck is None:
        return []
    found = validations(record)
    top, highest = winner(record.state), max(population, key=_single)
    own = [v for v in found if v.candidate == top.id]
    figures = [
        _figure("baseline, all its runs", [v for v in found if not v.candidate], 0.0),
        _figure("highest single score", _first(found, highest), luck.highest),
    ]
    if top.id:
        rollouts = sum(len(v.papers) for v in own)
        shrunk = shrunk_rates(record.state.candidates.values())[top.id]
        figures += [
            _figure("best, when accepted", _first(found, top), luck.single),
            _figure("best, all its runs", own, luck.pooled),
            Figure("best, shrunk to its parent", top.id, shrunk, None,
                   len(own[0].papers), rollouts, luck.shrunk),
        ]  # fmt: skip
    return [*figures, *_rerun(record), *sealed(record)]


def meter_table(figures: Sequence[Figure]) -> str:
    """The meter as text."""
    table = grid("figure", ">candidate", ">rate", ">interval", ">rollouts", ">luck")
    for f in figures:
        table.add_row(f.name, *cells(f))
    table.columns[0].no_wrap = True
    return render(table)


def cells(f: Figure) -> tuple[str, str, str, str, str]:
    """Candidate, rate, interval, rollouts and luck as people read them."""
    shown = f"{f.interval[0]:.0%} to {f.interval[1]:.0%}" if f.interval else ""
    luck = f"{100 * f.luck:+.1f} pts" if f.luck else "none"
    return str(f.candidate), f"{f.rate:.1%}", shown, f"{f.rollouts:,}", luck


def sealed(record: RunRecord) -> list[Figure]:
    """The sealed test's figures from its last opening: of the best, of the baseline on the same
    papers, and of what the published rule would have chosen.  None before the first."""
    path = record.folder / TEST
    if not path.exists():
        return []
    opening = json.loads(path.read_text(encoding="utf-8"))["openings"][-1]
    figures = []
    for arm, name in ARMS.items():
        if arm in opening["arms"]:
            told = opening["arms"][arm]
            papers = tuple(opening["papers"])
            runs = [Validation(0, told["candidate"], papers, tuple(p)) for p in told["runs"]]
            figures.append(_figure(f"sealed test, {name}", runs, 0.0))
    return figures


def curse(candidates: Sequence[Candidate], policy: Policy) -> Curse | None:
    """The expected winner's curse of a run with these validated candidates, rejected ones too.

    The first is the baseline.  ``None`` where there are no others.
    """
    edits = edits_of(candidates)
    if not edits.papers:
        return None
    start = _inside(candidates[0].rate)
    redraws = max(20, min(MOST_REDRAWS, WORK // len(edits.papers)))
    found = [
        go_through(edits, start, policy, np.random.default_rng((SEED, n))) for n in range(redraws)
    ]
    return Curse(*np.mean(found, axis=0).tolist())


def edits_of(candidates: Sequence[Candidate]) -> Edits:
    """The effects of a run's edits, from each mutant's first score and its parent's beside it.

    All mutants count, so nothing is chosen by its luck.  Median and the half above it, for a
    broken harness says nothing of how good the good ones are.  The scores' own noise is taken off.
    """
    by_id, rates = {c.id: c for c in candidates}, shrunk_rates(candidates)
    rows, papers = [], []
    for mutant in candidates[1:]:
        i, passes, count = mutant.runs[0]
        rate = _inside(rates[mutant.parent or 0])
        beside = [x / n for j, x, n in by_id[mutant.parent or 0].runs if j == i]
        noise = rate * (1 - rate) / count * (2 if beside else 1)
        rows.append((passes / count - (beside or [rate])[0], rate * (1 - rate), noise))
        papers.append(count)
    if not rows:
        return Edits((), 0.0, 0.0)
    change, slope, noise_ = np.array(rows).T  # the slope of a rate over its logit
    weight = len(rows) / (len(rows) + IDLE_EDITS)
    mean = float(np.median(change / slope)) * weight
    up = change >= mean * slope
    excess = ((change - mean * slope) ** 2 - noise_)[up].sum()
    spread = max(0.0, excess / (slope[up] ** 2).sum() * weight) ** 0.5 if up.any() else 0.0
    return Edits(tuple(papers), mean, float(spread))


@dataclass(slots=True)
class _World:
    """Harnesses whose edits are drawn as ``edits`` are, on papers that are all alike."""

    papers: int
    edits: Edits
    quality: list[float]
    rng: np.random.Generator

    def mutate(self, parent: int) -> None:
        step = self.edits.mean + self.edits.spread * float(self.rng.standard_normal())
        self.quality.append(self.quality[parent] + step)

    def run(self, harness: int, papers: NDArray[np.int_]) -> list[bool]:
        chance = _expit(self.quality[harness])
        return [bool(x) for x in self.rng.random(len(papers)) < chance]


def go_through(
    edits: Edits, start: float, policy: Policy, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """A run in numbers: how far each figure of ``Curse`` comes to lie above its truth.

    ``start`` is the baseline's true rate.
    """
    world = _World(max(edits.papers), edits, [_logit(start)], rng)
    run = Rehearsal(policy, world, rng)
    if not policy.spending.rerun_parent:
        run.validate_baseline()
    for _ in edits.papers:
        run.iterate()
    members = [c for c in run.candidates if c.accepted]
    rates = shrunk_rates(run.candidates)
    top = best(run.candidates)
    highest = max(members, key=_single)
    truth = _expit(world.quality[top.id])
    return (
        _single(highest) - _expit(world.quality[highest.id]),
        _single(top) - truth,
        top.rate - truth,
        rates[top.id] - truth,
    )


def _figure(name: str, runs: Sequence[Validation], luck: float) -> Figure:
    counts = by_paper(runs).values()
    passes, tries = [x for x, _ in counts], [n for _, n in counts]
    rate = sum(passes) / sum(tries)
    interval = clustered(passes, tries)
    return Figure(name, runs[0].candidate, rate, interval, len(tries), sum(tries), luck)


def _first(found: Sequence[Validation], candidate: Candidate) -> list[Validation]:
    return [v for v in found if v.candidate == candidate.id][:1]


def _rerun(record: RunRecord) -> list[Figure]:
    """The finalist's runs that had no part in choosing it, as the last start recorded them."""
    finals = [s["finalists"] for _, s in sorted(record.stages.items()) if "finalists" in s]
    if not finals or not finals[-1]["report"]:
        return []
    papers, chosen = tuple(finals[-1]["papers"]), finals[-1]["chosen"]
    runs = [Validation(0, chosen, papers, tuple(passed)) for passed in finals[-1]["report"]]
    return [_figure("finalist, run again", runs, 0.0)]


def _single(candidate: Candidate) -> float:
    """The candidate's first score."""
    _, passes, papers = candidate.runs[0]
    return passes / papers


def _inside(rate: float) -> float:
    return min(max(rate, EDGE), 1 - EDGE)


def _logit(rate: float) -> float:
    return log(rate / (1 - rate))


def _expit(x: float) -> float:
    return 1 / (1 + exp(-x))
