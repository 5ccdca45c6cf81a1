"""How far to believe a reported rate: the figures side by side, and how much of each is luck.

The best of many noisy scores is too high, even where every one of them is fair.  By how much is
found by going through the run again in numbers (a parametric bootstrap, Efron and Tibshirani
1993, ch. 6): edits as good and bad as the run's, on as many papers, each validation drawn from a
known truth, the policy itself choosing parents and admitting mutants; then the chosen score is
set against its own truth.  Parents must be chosen anew: a lucky candidate is run again more
often, and loses its luck by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from metaopt.chance import is_exact
from metaopt.policy import Policy, policy_of
from metaopt.population import Candidate, choose_finalist, ranked, shrunk_rates
from metaopt.record import RunRecord
from metaopt.rehearsal import Rehearsal
from metaopt.sealed import openings
from metaopt.state import winner
from metaopt.statistics import clustered
from metaopt.text import grid, render
from metaopt.validations import Validation, by_paper, is_control, validations

ARM_NAMES = {"paper": "published"}  # what the published rule would have chosen
# Iterations gone through in all, which takes about a second: of the published gate, and of others,
# which pool all runs at each choice.
WORK, HEAVY_WORK = 15_000, 1_500
MOST_REDRAWS, LEAST_REDRAWS = 200, 12
SEED = 20_260_625  # the same run says the same each time
EDGE = 0.02  # a rate nearer to 0 or 1 is taken for this one
IDLE_EDITS = 20  # that did nothing, counted with the run's: a few edits say little of their spread


@dataclass(frozen=True, slots=True)
class Curse:
    """By how much luck alone lifts a figure of a run, on average; fractions.

    ``highest``: the highest single score of a candidate, over that one's truth; ``single``: the
    best candidate's score when it was accepted; ``pooled``: its average over all its runs;
    ``shrunk``: its rate as all its relatives' runs make it.
    """

    highest: float
    single: float
    pooled: float
    shrunk: float


@dataclass(frozen=True, slots=True)
class Trial:
    """A mutant's first papers, before anything could stop it: passes, and its parent's on the same
    ones where it ran beside it; and its parent's rate, as all runs of the search make it."""

    papers: int
    passes: int
    beside: int | None
    rate: float


@dataclass(frozen=True, slots=True)
class Search:
    """A search to go through in numbers.

    ``edits`` of them, each moving a harness on the logit by a step from a normal distribution;
    ``start``: the baseline's rate; ``finalists`` run once more before one is chosen.
    """

    policy: Policy
    edits: int
    papers: int
    start: float
    mean: float = 0.0
    spread: float = 0.0
    finalists: int = 0


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
    """The baseline, then the figures of the run's winner, the most flattering first.

    Empty before the first mutant is validated.
    """
    search, found = search_of(record), validations(record)
    if search is None:
        return []
    luck, top = curse(search), winner(record.state)
    highest = max((c for c in record.state.population if c.runs), key=_single)
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
            Figure("best, shrunk", top.id, shrunk, None, len(own[0].papers), rollouts, luck.shrunk),
        ]
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
    luck = f"{100 * f.luck:+.0f} pts" if f.luck else "none"
    return str(f.candidate), f"{f.rate:.1%}", shown, f"{f.rollouts:,}", luck


def sealed(record: RunRecord) -> list[Figure]:
    """The sealed test's figures, of its last opening that is finished; none before that."""
    finished = [o for o in openings(record.folder) if o.finished]
    return [
        _figure(
            f"sealed test, {ARM_NAMES.get(name, name)}",
            [Validation(0, arm.candidate, finished[-1].papers, run) for run in arm.runs],
            0.0,
        )
        for name, arm in (finished[-1].arms.items() if finished else ())
    ]


def search_of(record: RunRecord) -> Search | None:
    """The run's search, its edits' effects found from their scores; ``None`` before the first."""
    trials, policy = trials_of(record), policy_of(record.config.search)
    if not trials:
        return None
    mean, spread = effects(trials)
    return Search(
        policy, len(trials), max(len(v.papers) for v in validations(record)),
        _inside(shrunk_rates(record.state.candidates.values())[0]), mean, spread,
        record.config.search.finalists,
    )  # fmt: skip


def trials_of(record: RunRecord) -> list[Trial]:
    """Every validated mutant but the controls."""
    rates = shrunk_rates(record.state.candidates.values())
    screen = policy_of(record.config.search).spending.block
    found = []
    for i, stages in sorted(record.stages.items()):
        if "validated" in stages and not is_control(record, i):
            scores, parent = stages["validated"], stages["selected"]["parent"]
            first = slice(0, screen or None)
            mutant, beside = scores["mutant"][first], scores["parent"][first]
            rate = _inside(rates[parent])
            found.append(Trial(len(mutant), sum(mutant), sum(beside) if beside else None, rate))
    return found


def effects(trials: Sequence[Trial]) -> tuple[float, float]:
    """Mean and standard deviation of the edits' true steps on the logit.

    All mutants count, and only papers before any look, so that nothing is chosen by its luck.
    Median and the half above it, for a broken harness says nothing of how good the good ones are.
    The scores' own noise is taken off.
    """
    rate, papers = (np.array([getattr(t, name) for t in trials]) for name in ("rate", "papers"))
    beside = np.array([t.rate * t.papers if t.beside is None else t.beside for t in trials])
    change = (np.array([t.passes for t in trials]) - beside) / papers
    slope = rate * (1 - rate)  # of a rate over its logit
    noise = slope / papers * np.array([1 if t.beside is None else 2 for t in trials])
    weight = len(trials) / (len(trials) + IDLE_EDITS)
    mean = float(np.median(change / slope)) * weight
    up = change >= mean * slope
    excess = ((change - mean * slope) ** 2 - noise)[up].sum() / max((slope[up] ** 2).sum(), 1e-12)
    return mean, float(np.sqrt(max(0.0, excess * weight)))


def curse(search: Search) -> Curse:
    """The expected winner's curse of such a search."""
    work = WORK if is_exact(search.policy) else HEAVY_WORK
    redraws = max(LEAST_REDRAWS, min(MOST_REDRAWS, work // search.edits))
    found = [go_through(search, np.random.default_rng((SEED, n))) for n in range(redraws)]
    return Curse(*np.mean(found, axis=0).tolist())


@dataclass(slots=True)
class _World:
    """Harnesses by their quality, on papers that are all alike."""

    search: Search
    quality: list[float]
    rng: np.random.Generator

    @property
    def papers(self) -> int:
        return self.search.papers

    def mutate(self, parent: int) -> None:
        step = float(self.rng.normal(self.search.mean, self.search.spread))
        self.quality.append(self.quality[parent] + step)

    def run(self, harness: int, papers: NDArray[np.int_]) -> list[bool]:
        passed: list[bool] = (self.rng.random(len(papers)) < expit(self.quality[harness])).tolist()
        return passed


def go_through(search: Search, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A search in numbers: how far each figure of ``Curse`` comes to lie above its truth."""
    world = _World(search, [float(logit(search.start))], rng)
    run = Rehearsal(search.policy, world, rng)
    if not search.policy.spending.rerun_parent:
        run.validate_baseline()
    for _ in range(search.edits):
        run.iterate()
    order = [c for c in ranked(run.candidates) if c.runs]
    finalists = {c.id: run.whole(c.id) for c in order[: search.finalists]}
    top = choose_finalist(run.candidates, finalists) if finalists else order[0]
    highest = max(order, key=_single)
    truth = float(expit(world.quality[top.id]))
    return (
        _single(highest) - float(expit(world.quality[highest.id])),
        _single(top) - truth,
        top.rate - truth,
        shrunk_rates(run.candidates)[top.id] - truth,
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
    if not finals or not finals[-1].get("report"):
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
