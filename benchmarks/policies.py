"""Do the search policies find better harnesses with fewer rollouts, and report the truth?

The policies' own code chooses, stops and admits (``metaopt.rehearsal``); harnesses are a latent
model.  A harness has a quality on the logit scale, a paper a difficulty from N(0, 1); a rollout
passes with probability expit(quality - difficulty).  A mutation is a gain of a fixed size, or idle
(N(0, 0.04)), or it breaks everything, or it harms (-|N(0, 0.35)|).  The truth is the pass rate over
all papers that there might be.

    python benchmarks/policies.py [--seeds 60] [--first-seed 0] [--jobs 2] [--variants]

``--variants`` adds the designs that lost.  docs/policies.md keeps both tables.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: many small solves side by side

import numpy as np
from common import machine
from numpy.typing import NDArray
from scipy.special import expit

from metaopt.policy import Choice, Paper, Policy, Pooled, Spending, Thompson
from metaopt.population import (
    Candidate,
    best,
    choose_finalist,
    highest_average,
    ranked,
    shrunk_rates,
)
from metaopt.rehearsal import Rehearsal

IDLE, BREAKING = 0.45, 0.07  # shares of mutations; the rest of what doesn't gain harms
IDLE_SD, HARM_SD = 0.04, 0.35
START = -2.3
VALIDATION, MINIBATCH = 25, 10
PUBLISHED = 233  # iterations
FULL = PUBLISHED * (2 * VALIDATION + MINIBATCH) + VALIDATION
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)


@dataclass(frozen=True, slots=True)
class Regime:
    """How often a mutation gains, and how much on the logit."""

    p_gain: float
    gain: float


REGIMES = (Regime(0.20, 0.25), Regime(0.10, 0.25), Regime(0.10, 0.15), Regime(0.05, 0.25))


@dataclass(frozen=True, slots=True)
class Search:
    """A row of the table: a policy, and how the search ends.

    It ends before ``rollouts`` would be exceeded.  ``finalists`` are run once more, the winner
    another ``report`` times for what is reported; where there are none, ``choose`` names the
    winner, and what is reported is its pooled rate, or its ``plain`` average.
    """

    name: str
    policy: Policy
    rollouts: int
    finalists: int = 8
    report: int = 3
    choose: Callable[[Sequence[Candidate]], Candidate] = best
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """What a search came to; rates are fractions."""

    rollouts: int
    iterations: int
    accepted: int
    false_accepts: int
    reported: float
    true: float


class World:
    """The harnesses and papers of one seed."""

    papers = VALIDATION

    def __init__(self, regime: Regime, rng: np.random.Generator) -> None:
        self.regime, self.rng = regime, rng
        self.difficulty = rng.normal(size=VALIDATION)
        self.quality = [START]

    def mutate(self, parent: int) -> None:
        """A new harness from an old one."""
        kind, p_gain = self.rng.random(), self.regime.p_gain
        step = -abs(self.rng.normal(0, HARM_SD))
        if kind < p_gain:
            step = self.regime.gain
        elif kind < p_gain + IDLE:
            step = self.rng.normal(0, IDLE_SD)
        elif kind < p_gain + IDLE + BREAKING:
            step = -np.inf
        self.quality.append(self.quality[parent] + step)

    def run(self, harness: int, papers: NDArray[np.int_]) -> list[bool]:
        """Roll a harness out on validation papers."""
        chance = expit(self.quality[harness] - self.difficulty[papers])
        return [bool(x) for x in self.rng.random(len(papers)) < chance]

    def true(self, harness: int) -> float:
        """Its pass rate over all papers."""
        return float(WEIGHTS @ expit(self.quality[harness] - NODES) / WEIGHTS.sum())


def play(search: Search, regime: Regime, seed: int) -> Row:
    """One search to its end."""
    rng = np.random.default_rng([seed, 4])
    world = World(regime, rng)
    run = Rehearsal(search.policy, world, rng, MINIBATCH)
    run.validate_baseline()
    most = VALIDATION * (1 + search.policy.spending.rerun_parent) + MINIBATCH
    last = VALIDATION * (search.finalists + search.report)
    false = 0
    while run.rollouts + most + last <= search.rollouts:
        made = run.iterate()
        false += made.accepted and world.quality[made.id] <= world.quality[made.parent or 0]
    chosen, reported = finish(run, search)
    accepted = sum(c.accepted for c in run.candidates) - 1
    iterations = len(run.candidates) - 1
    return Row(run.rollouts, iterations, accepted, false, reported, world.true(chosen.id))


def finish(run: Rehearsal, search: Search) -> tuple[Candidate, float]:
    """The winner, and what is reported of it."""
    if not search.finalists:
        top = search.choose(run.candidates)
        return top, top.rate if search.plain else shrunk_rates(run.candidates)[top.id]
    finalists = ranked(run.candidates)[: search.finalists]
    chosen = choose_finalist(run.candidates, {c.id: run.whole(c.id) for c in finalists})
    report = [sum(run.whole(chosen.id)) for _ in range(search.report)]
    return chosen, sum(report) / VALIDATION / search.report


@dataclass(frozen=True, slots=True)
class BetaChain:
    """Thompson sampling from Beta posteriors that are shrunk to the parent's by 25 papers.

    A child's prior is its parent's posterior mean; what children show doesn't reach the parent.
    Everything else is ``Thompson``'s.
    """

    inner: Thompson = field(default_factory=Thompson)
    papers: float = 25.0

    @property
    def spending(self) -> Spending:
        """As the inner policy's."""
        return self.inner.spending

    def choose(self, candidates: Sequence[Candidate], rng: np.random.Generator) -> Choice:
        """The highest draw of the accepted ones' Beta posteriors."""
        means = dict[int, float]()
        for c in candidates:
            if c.parent is None:
                means[c.id] = (c.passes + 0.5) / (c.papers + 1)
            elif c.accepted:
                means[c.id] = (c.passes + self.papers * means[c.parent]) / (c.papers + self.papers)
        members = [c for c in candidates if c.accepted]
        rates = np.array([means[c.id] for c in members])
        weights = np.array([c.papers + self.papers for c in members])
        k = int(rng.beta(rates * weights, (1 - rates) * weights).argmax())
        return Choice(members[k], float(rates[k]))

    def hopeless(self, rate: float, mutant: Sequence[bool], papers: int) -> str:
        """As the inner policy."""
        return self.inner.hopeless(rate, mutant, papers)

    def admit(self, rate: float, parent: Sequence[bool], mutant: Sequence[bool]) -> bool:
        """As the inner policy."""
        return self.inner.admit(rate, parent, mutant)

    def deviations(self) -> tuple[str, ...]:
        """Not asked for here."""
        return ()


def searches() -> list[Search]:
    """The rows that the targets are about."""
    published = {"finalists": 0, "report": 0}
    return [
        Search("paper", Paper(), FULL, **published, choose=highest_average, plain=True),
        Search("paper, pooled choice", Paper(), FULL, **published),
        Search("pooled", Pooled(), FULL),
        Search("thompson", Thompson(), FULL),
        Search("thompson, 1/4", Thompson(), FULL // 4),
    ]


def variants() -> list[Search]:
    """What else was tried, at a quarter of the rollouts."""
    base = Thompson()
    no_screen = replace(base, spending=replace(base.spending, block=VALIDATION))
    tried: list[tuple[str, Policy]] = [
        ("as it is", base),
        ("Beta posteriors, parent to child", BetaChain()),
        ("untempered draws (temper 1)", replace(base, temper=1.0)),
        ("no draws (temper 0)", replace(base, temper=0.0)),
        ("no screen, no early stop", no_screen),
        ("screen of 3 papers", replace(base, spending=replace(base.spending, block=3))),
        ("screen of 10 papers", replace(base, spending=replace(base.spending, block=10))),
        ("early stop at alpha 0.5", replace(base, alpha=0.5)),
        ("early stop at alpha 0.01", replace(base, alpha=0.01)),
        (
            "new trajectories each time",
            replace(base, spending=replace(base.spending, trace_uses=1)),
        ),
        (
            "parent validated again",
            replace(base, spending=replace(base.spending, rerun_parent=True)),
        ),
        ("published gate, pooled parents", Pooled()),
        ("published gate, pooled, T = 0.1", Pooled(0.1)),
        ("published, T = 0.03", Paper(0.03)),
    ]
    rows = [Search(name, policy, FULL // 4) for name, policy in tried]
    return [*rows, Search("no finalists", base, FULL // 4, finalists=0, report=0)]


def main() -> None:
    """Print the table."""
    options = _options()
    rows = searches() + (variants() if options.variants else [])
    print(f"{machine()}\nlatent model, {options.seeds} seeds from {options.first_seed}; rates in %")
    print("search                           p_gain gain  rollouts  iterations  accepted  false"
          "  reported   true ± s.e.   reported - true")  # fmt: skip
    began = time.perf_counter()
    with ProcessPoolExecutor(options.jobs) as pool:
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        for search in rows:
            for regime in REGIMES:
                jobs = ([search] * len(seeds), [regime] * len(seeds), seeds)
                print(_line(search, regime, list(pool.map(play, *jobs, chunksize=5))), flush=True)
    print(f"{time.perf_counter() - began:.0f} s on {options.jobs} processes")


def _line(search: Search, regime: Regime, found: Sequence[Row]) -> str:
    table = np.array([[float(getattr(r, name)) for name in Row.__slots__] for r in found])
    rollouts, iterations, accepted, false, reported, true = table.mean(axis=0)
    error = 100 * table[:, 5].std(ddof=1) / len(found) ** 0.5
    bias = table[:, 4] - table[:, 5]
    bias_error = 100 * bias.std(ddof=1) / len(found) ** 0.5
    return (
        f"{search.name:<32} {regime.p_gain:6.2f} {regime.gain:4.2f}  {rollouts:8,.0f}"
        f"  {iterations:10.0f}  {accepted:8.0f}  {false:5.0f}  {100 * reported:8.1f}"
        f"  {100 * true:5.1f} ± {error:3.1f}    {100 * (reported - true):+5.1f} ± {bias_error:3.1f}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--variants", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
