"""How far to believe a reported rate: the figures side by side, and how much of each is luck.

The best of many noisy scores is too high, even where every one of them is fair.  By how much is
found by going through the run again in numbers (a parametric bootstrap, Efron and Tibshirani
1993, ch. 6): edits as good and bad as the run's, on as many papers, each validation drawn from a
known truth, the policy itself choosing parents and admitting mutants; then the chosen score is
set against its own truth.  Parents must be chosen anew: a lucky candidate is run again more
often, and loses its luck by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from metaopt.policy import Policy, policy_of
from metaopt.population import Candidate, choose_finalist, ranked, shrunk_rates
from metaopt.record import RunRecord
from metaopt.rehearsal import Rehearsal
from metaopt.sealed import openings
from metaopt.state import winner
from metaopt.statistics import clustered
from metaopt.text import grid, render
from metaopt.validations import Validation, by_paper, is_control, validations

# Iterations gone through in all, about a second's work: where parents are chosen by plain averages,
# where mutants are stopped early, and where all runs are pooled at each choice.
WORK = {"paper": 15_000, "thompson": 2_500, "pooled": 700}
MOST_REDRAWS, LEAST_REDRAWS = 200, 6
SEED = 20_260_625  # the same run says the same each time
EDGE = 0.02  # a rate nearer to 0 or 1 is taken for this one
MEANS, SPREADS = np.linspace(-0.6, 0.3, 10), np.linspace(0.0, 1.0, 11)  # of steps on the logit
BROKEN = (0.0, 0.05, 0.1, 0.2, 0.3)  # shares of edits
IDLE_EDITS = 20  # that did nothing, counted with the run's: a few edits say little of their spread


@dataclass(frozen=True, slots=True)
class Curse:
    """By how much luck alone lifts a figure of a run, on average; fractions.

    ``highest``: the highest single score of a candidate, over that one's truth; ``single``: the
    best candidate's score when it was accepted; ``pooled``: its average over its validations;
    ``shrunk``: its rate as all its relatives' runs make it.
    """

    highest: float
    single: float
    pooled: float
    shrunk: float


@dataclass(frozen=True, slots=True)
class Trial:
    """A mutant's first papers, before anything could stop it, and how many of them it passed;
    and its parent's rate, as all runs of the search make it."""

    papers: int
    passes: int
    rate: float


@dataclass(frozen=True, slots=True)
class Effects:
    """Mean and standard deviation of the edits' steps on the logit, and the share of edits that
    break everything."""

    mean: float = 0.0
    spread: float = 0.0
    broken: float = 0.0


@dataclass(frozen=True, slots=True)
class Search:
    """A search to go through in numbers: so many ``edits``, validated on so many ``papers``.

    ``start``: the baseline's rate; ``finalists`` run once more before one is chosen; ``work``:
    iterations to go through in all.
    """

    policy: Policy
    edits: int
    papers: int
    start: float
    effects: Effects = Effects()
    finalists: int = 0
    work: int = WORK["paper"]


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

    Empty before the baseline is validated.  Where nothing was accepted there was no choice, so
    there is no highest of many scores.
    """
    found = validations(record)
    if not (base := _of(found, 0)):
        return []
    rates = shrunk_rates(record.state.candidates.values())
    return [
        _figure("baseline, its runs in the search", base, 0.0),
        _shrunk("baseline, shrunk", base, rates, 0.0),
        *_chosen(record, found, rates),
        *rerun(record),
        *sealed(record),
    ]


def _chosen(
    record: RunRecord, found: Sequence[Validation], rates: Mapping[int, float]
) -> list[Figure]:
    """The figures that the choice among accepted candidates lifts."""
    search, known = search_of(record), [c for c in record.state.population if c.runs]
    if search is None or not any(c.id for c in known):
        return []
    luck, top, highest = curse(search), winner(record.state), max(known, key=_single)
    figures = [_figure("highest single score", _of(found, highest.id)[:1], luck.highest)]
    if top.id:
        own = _of(found, top.id)
        figures += [
            _figure("best, when accepted", own[:1], luck.single),
            _figure("best, its runs in the search", own, luck.pooled),
            _shrunk("best, shrunk", own, rates, luck.shrunk),
        ]
    return figures


def rerun_text(record: RunRecord, candidate: int) -> str:
    """The rate of a finalist that was chosen, in the runs that had no part in that, to be put after
    another one; empty for others."""
    found = [f for f in rerun(record) if f.candidate == candidate and f.interval]
    return "".join(f"; {f.rate:.1%} [{_between(f)}] when run again" for f in found)


def meter_table(figures: Sequence[Figure]) -> str:
    """The meter as text."""
    table = grid("figure", ">candidate", ">rate", ">interval", ">rollouts", ">luck")
    for f in figures:
        table.add_row(f.name, *cells(f))
    return render(table)


def cells(f: Figure) -> tuple[str, str, str, str, str]:
    """Candidate, rate, interval, rollouts and luck as people read them."""
    luck = f"{round(100 * f.luck):+d} points" if f.luck else "none"
    return str(f.candidate), f"{f.rate:.1%}", _between(f), f"{f.rollouts:,}", luck


def _between(f: Figure) -> str:
    return f"{f.interval[0]:.0%} to {f.interval[1]:.0%}" if f.interval else ""


def sealed(record: RunRecord) -> list[Figure]:
    """The sealed test's figures, of its first opening; none before that is finished.

    Later looks give none: what was done since the first may have used it.  A best that isn't the
    run's any more is called the best then.
    """
    opening = next(iter(openings(record.folder)), None)
    if opening is None or not opening.finished:
        return []
    other = opening.arms["best"].candidate != winner(record.state).id
    names = {"best": "the best then"} if other else {}
    return [
        _figure(
            f"sealed test, {names.get(name, name)}",
            [Validation(0, arm.candidate, opening.papers, run) for run in arm.runs],
            0.0,
        )
        for name, arm in opening.arms.items()
    ]


def search_of(record: RunRecord) -> Search | None:
    """The run's search, its edits' effects found from their scores; ``None`` before the first."""
    trials, policy = trials_of(record), policy_of(record.config.search)
    if not trials:
        return None
    return Search(
        policy, len(trials), max(len(v.papers) for v in validations(record)),
        _inside(shrunk_rates(record.state.candidates.values())[0]), effects(trials),
        record.config.search.finalists, WORK[record.config.search.policy],
    )  # fmt: skip


def trials_of(record: RunRecord) -> list[Trial]:
    """Every validated mutant but the controls."""
    rates = shrunk_rates(record.state.candidates.values())
    screen = policy_of(record.config.search).spending.block
    found = []
    for i, stages in sorted(record.stages.items()):
        taken_in = "validated" in stages and i <= record.state.advanced
        if taken_in and not is_control(record, i):
            scores, parent = stages["validated"], stages["selected"]["parent"]
            mutant = scores["mutant"][:screen] if screen else scores["mutant"]
            found.append(Trial(len(mutant), sum(mutant), rates[parent]))
    return found


def effects(trials: Sequence[Trial]) -> Effects:
    """What the edits of a search are like: maximum likelihood on a grid.

    An edit breaks its harness (nothing passes any more) or moves it on the logit by a normal step
    from its parent, whose rate all runs of the search make; passes are binomial.  All mutants
    count, and only papers before any look, so that nothing is chosen by its luck.
    """
    passes, papers, parent = (
        np.array([getattr(t, name) for t in trials], dtype=float)[:, None, None, None]
        for name in ("passes", "papers", "rate")
    )
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    rates = expit(logit(parent) + MEANS[:, None, None] + SPREADS[:, None] * nodes)
    moved = (rates**passes * (1 - rates) ** (papers - passes)) @ (weights / weights.sum())
    nothing = passes[..., 0] == 0
    likely = np.stack([np.log(b * nothing + (1 - b) * moved).sum(axis=0) for b in BROKEN])
    b, m, s = np.unravel_index(likely.argmax(), likely.shape)
    weight = len(trials) / (len(trials) + IDLE_EDITS)
    return Effects(
        float(MEANS[m] * weight), float(SPREADS[s] * weight**0.5), float(BROKEN[b] * weight)
    )


def curse(search: Search) -> Curse:
    """The expected winner's curse of such a search."""
    redraws = max(LEAST_REDRAWS, min(MOST_REDRAWS, search.work // search.edits))
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
        found = self.search.effects
        step = float(self.rng.normal(found.mean, found.spread))
        broken = self.rng.random() < found.broken
        self.quality.append(-np.inf if broken else self.quality[parent] + step)

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


def _shrunk(
    name: str, runs: Sequence[Validation], rates: Mapping[int, float], luck: float
) -> Figure:
    """As all runs of its relatives and its own make it."""
    of, rollouts = runs[0].candidate, sum(len(v.papers) for v in runs)
    return Figure(name, of, rates[of], None, len(by_paper(runs)), rollouts, luck)


def _of(found: Sequence[Validation], candidate: int) -> list[Validation]:
    return [v for v in found if v.candidate == candidate]


def rerun(record: RunRecord) -> list[Figure]:
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
