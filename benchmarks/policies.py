"""Do the search policies find better harnesses with fewer rollouts, and report the truth?

The policies' own code chooses, stops and admits; harnesses are a latent model.  A harness has a
quality on the logit scale, a paper a difficulty from N(0, 1); a rollout passes with probability
expit(quality - difficulty).  A mutation is a gain of a fixed size, or idle (N(0, 0.04)), or it
breaks everything, or it harms (|N(0, 0.35)|).  The truth is the pass rate on unseen papers.

    python benchmarks/policies.py [--seeds 60] [--first-seed 0] [--jobs 2]
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: many small solves, side by side

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from metaopt.policy import Paper, Policy, Pooled, Thompson
from metaopt.population import Candidate, best, ranked, shrunk_rates

IDLE, BREAKING = 0.45, 0.07  # shares of mutations; the rest of what doesn't gain harms
IDLE_SD, HARM_SD = 0.04, 0.35
START = -2.3
VALIDATION, MINIBATCH = 25, 10
PUBLISHED = 233  # iterations
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)


@dataclass(frozen=True, slots=True)
class Regime:
    """How often a mutation gains, and how much."""

    p_gain: float
    gain: float


REGIMES = (Regime(0.20, 0.25), Regime(0.10, 0.25), Regime(0.10, 0.15), Regime(0.05, 0.25))


@dataclass(frozen=True, slots=True)
class Search:
    """A way of searching: a policy, how it ends, and its name in the table.

    It ends after ``iterations``, or before ``rollouts`` would be exceeded.  ``finalists`` are run
    once more, the winner another ``report`` times for the figure that is reported.
    """

    name: str
    policy: Policy
    iterations: int | None = None
    rollouts: int | None = None
    finalists: int = 0
    report: int = 0
    choose: Callable[[Sequence[Candidate]], Candidate] = best
    report_rate: Callable[[Sequence[Candidate], Candidate], float] = lambda cs, c: shrunk_rates(cs)[
        c.id
    ]


@dataclass(slots=True)
class Row:
    """What a search came to."""

    rollouts: int
    iterations: int
    accepted: int
    false_accepts: int
    reported: float
    true: float


class World:
    """Harnesses and papers of one seed."""

    def __init__(self, regime: Regime, seed: int) -> None:
        self.regime, self.rng = regime, np.random.default_rng([seed, 4])
        self.difficulty = self.rng.normal(size=VALIDATION)
        self.quality = [START]
        self.rollouts = 0

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
        self.rollouts += len(papers)
        chance = expit(self.quality[harness] - self.difficulty[papers])
        return [bool(x) for x in self.rng.random(len(papers)) < chance]

    def true(self, harness: int) -> float:
        """Its pass rate over all papers there might be."""
        return float(WEIGHTS @ expit(self.quality[harness] - NODES) / WEIGHTS.sum())


def play(search: Search, regime: Regime, seed: int) -> Row:
    """One run, step by step as ``metaopt.loop`` does it."""
    world, policy, every = World(regime, seed), search.policy, np.arange(VALIDATION)
    baseline = Candidate(0, None, "", "")
    baseline.add_run(0, sum(world.run(0, every)), VALIDATION)
    candidates, uses = [baseline], dict[int, int]()
    most = (VALIDATION if policy.spending.rerun_parent else 0) + VALIDATION + MINIBATCH
    end = VALIDATION * (search.finalists + search.report)
    i = false = 0
    while (
        (i < search.iterations)
        if search.iterations
        else (world.rollouts + most + end <= (search.rollouts or 0))
    ):
        i += 1
        choice = policy.choose(candidates, world.rng)
        uses[choice.parent.id] = uses.get(choice.parent.id, 0) + 1
        if uses[choice.parent.id] % policy.spending.trace_uses == 1 % policy.spending.trace_uses:
            world.rollouts += MINIBATCH
        world.mutate(choice.parent.id)
        parent = world.run(choice.parent.id, every) if policy.spending.rerun_parent else []
        mutant, stopped = validate(world, policy, choice.rate, i)
        if parent:
            choice.parent.add_run(i, sum(parent), len(parent))
        accepted = not stopped and policy.admit(choice.rate, parent, mutant)
        made = Candidate(i, choice.parent.id, "", "", accepted=accepted)
        made.add_run(i, sum(mutant), len(mutant))
        candidates.append(made)
        false += accepted and world.quality[i] <= world.quality[choice.parent.id]
    chosen, reported = finish(world, search, candidates)
    accepted = sum(c.accepted for c in candidates) - 1
    return Row(world.rollouts, i, accepted, false, reported, world.true(chosen.id))


def validate(world: World, policy: Policy, rate: float, mutant: int) -> tuple[list[bool], str]:
    """Run a mutant block by block, until it is through or hopeless."""
    order, passed = world.rng.permutation(VALIDATION), list[bool]()
    block = policy.spending.block or VALIDATION
    stopped = ""
    while len(passed) < VALIDATION and not stopped:
        passed += world.run(mutant, order[len(passed) : len(passed) + block])
        stopped = policy.hopeless(rate, passed, VALIDATION)
    return passed, stopped


def finish(world: World, search: Search, candidates: list[Candidate]) -> tuple[Candidate, float]:
    """Re-run the finalists if there are any; the winner, and what is reported of it."""
    if not search.finalists:
        chosen = search.choose(candidates)
        return chosen, search.report_rate(candidates, chosen)
    every = np.arange(VALIDATION)
    finalists = ranked(candidates)[: search.finalists]
    for c in finalists:
        c.add_run(0, sum(world.run(c.id, every)), VALIDATION)
    order = ranked(candidates)
    chosen = min(finalists, key=order.index)
    runs = [sum(world.run(chosen.id, every)) for _ in range(search.report)]
    return chosen, sum(runs) / VALIDATION / search.report


def by_average(candidates: Sequence[Candidate]) -> Candidate:
    """What the published procedure reports: the highest average over all runs."""
    return max((c for c in candidates if c.accepted), key=lambda c: (c.rate, -c.id))


def searches() -> list[Search]:
    """The rows of the table."""
    full = PUBLISHED * (2 * VALIDATION + MINIBATCH) + VALIDATION
    final = {"finalists": 8, "report": 3}
    return [
        Search("paper", Paper(), PUBLISHED, choose=by_average, report_rate=lambda _, c: c.rate),
        Search("paper, pooled choice", Paper(), PUBLISHED),
        Search("pooled", Pooled(), rollouts=full, **final),
        Search("thompson", Thompson(), rollouts=full, **final),
        Search("thompson, 1/4", Thompson(), rollouts=full // 4, **final),
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    o = parser.parse_args()
    t = time.time()
    with ProcessPoolExecutor(o.jobs) as pool:
        for s in range(len(searches())):
            t0 = time.time()
            for r in REGIMES:
                rows = list(
                    pool.map(_one, [(s, r, o.first_seed + k) for k in range(o.seeds)], chunksize=5)
                )
                m = {k: np.mean([asdict(x)[k] for x in rows]) for k in asdict(rows[0])}
                se = np.std([x.true for x in rows]) / len(rows) ** 0.5
                print(
                    f"{searches()[s].name:22} {r} "
                    + " ".join(f"{k} {v:.3f}" for k, v in m.items()),
                    f"±{se:.3f}",
                    flush=True,
                )
            print(f"{time.time() - t0:.0f}s")
    print(f"{time.time() - t:.0f}s")


def _one(job: tuple[int, Regime, int]) -> Row:
    s, regime, seed = job
    return play(searches()[s], regime, seed)


if __name__ == "__main__":
    main()
