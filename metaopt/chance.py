"""How often a gate lets a mutant in: one that changes nothing, and one of a given true effect.

The published gate runs both harnesses on the same papers and lets in what passes more.  A paper's
verdict is a coin whose bias depends on how hard the paper is, so the difference of passes is a sum
of independent steps of -1, 0 and +1, one a paper, and its distribution is exact: a convolution
(for papers of one rate, Binomial against Binomial).  For other gates the policy itself is asked
about simulated validations.

Papers of varying difficulty follow the Rasch model (Rasch 1960): a harness's pass rate on a paper
is ``expit(quality + ease)``, so a better harness is better on all papers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from inner_agent.errors import UserError
from metaopt.policy import Paper, Policy

Floats = NDArray[np.float64]
NODES = 61  # of the Gauss-Hermite quadrature: exact to ten digits for a spread of up to 3
SMOOTHING = 2.0  # runs at the average rate, added to each recorded paper: none is surely 0 or 1
FURTHEST = 40.0  # on the logit: beyond every rate that a float can hold
DRAWS = 2_000  # simulated validations: a share is then known to about a point
SEED = 20_260_625  # the same question has the same answer
LEAST_DRAWS = 40  # for one of many decisions
GRID = 6  # rates at which a curve is worked out
HELD, OFF = 5, 0.02  # what a policy may hold of a parent: so many figures, so far from the truth


@dataclass(frozen=True, slots=True)
class Papers:
    """How easy the papers are, on the logit scale, up to a shift (the harness's quality).

    ``ease`` has a row for each kind of paper and a column for each value that it may take, with
    probabilities ``weights``; ``copies`` papers are of each kind.  Papers drawn at random are one
    kind of many values, known papers are many kinds of one value.
    """

    ease: Floats
    weights: Floats
    copies: int

    @property
    def count(self) -> int:
        """The number of papers."""
        return len(self.ease) * self.copies

    def rates(self, quality: float) -> Floats:
        """Pass rates by kind and value, for a harness of this quality."""
        return np.asarray(expit(self.ease + quality))

    def mean(self, quality: float) -> float:
        """The pass rate over all papers, for a harness of this quality."""
        return float((self.rates(quality) @ self.weights).mean())

    def quality(self, rate: float) -> float:
        """The quality at which ``mean`` is ``rate``, by bisection; ``rate`` in (0, 1)."""
        low, high = -FURTHEST, FURTHEST
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if self.mean(middle) < rate else (low, middle)
        return (low + high) / 2

    def draw(self, rng: np.random.Generator, times: int) -> Floats:
        """The ease of all papers, in random order, a row for each of ``times`` validations."""
        kinds = np.arange(len(self.ease))[:, None]
        size = (times, len(self.ease), self.copies)
        ease = self.ease[kinds, rng.choice(len(self.weights), size, p=self.weights)]
        return rng.permuted(ease.reshape(times, -1), axis=1)


def drawn_papers(count: int, spread: float) -> Papers:
    """``count`` papers at random, whose ease has the standard deviation ``spread``."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES if spread else 1)
    return Papers(spread * nodes[None, :], weights / weights.sum(), count)


def known_papers(passes: Sequence[int], runs: Sequence[int]) -> Papers:
    """The papers that passed ``passes[k]`` of ``runs[k]`` times.  Raises ``UserError`` of none."""
    if not len(passes) or not sum(runs):
        raise UserError("no paper has been validated yet, so nothing is known about the papers")
    won, tried = np.asarray(passes, float), np.asarray(runs, float)
    mean = (won.sum() + SMOOTHING / 2) / (tried.sum() + SMOOTHING)
    rates = (won + SMOOTHING * mean) / (tried + SMOOTHING)
    return Papers(np.log(rates / (1 - rates))[:, None], np.ones(1), 1)


def difference(papers: Papers, parent: float, mutant: float) -> Floats:
    """The distribution of the mutant's passes minus its parent's, over -count ... count.

    ``parent`` and ``mutant`` are qualities.
    """
    p, q = papers.rates(parent), papers.rates(mutant)
    gains, losses = (q * (1 - p)) @ papers.weights, (p * (1 - q)) @ papers.weights
    total = np.ones(1)
    for gain, loss in zip(gains, losses, strict=True):
        for _ in range(papers.copies):
            total = np.convolve(total, (loss, 1 - gain - loss, gain))
    return total


def is_exact(policy: Policy) -> bool:
    """Does this policy let in whatever passes more papers than its parent, and run on all?"""
    plain = policy.spending.rerun_parent and not policy.spending.block
    return plain and getattr(type(policy), "admit", None) is Paper.admit


def accepted(
    policy: Policy, papers: Papers, rate: float, changes: Sequence[float] = (0.0,)
) -> list[float]:
    """How often the policy admits a mutant whose true pass rate is its parent's ``rate`` and one
    of ``changes``; exactly where there is a formula.

    A policy that compares with what it holds of the parent is asked with that up to ``OFF`` away
    from the truth: it is an estimate, and the gate jumps where a whole paper more is needed.
    """
    parent = papers.quality(rate)
    mutants = [papers.quality(rate + change) if change else parent for change in changes]
    if is_exact(policy):
        found = (difference(papers, parent, mutant) for mutant in mutants)
        return [float(chances[papers.count + 1 :].sum()) for chances in found]
    shares = [
        _simulated(policy, papers, held, parent, mutants, DRAWS // HELD, n)
        for n, held in enumerate(held_rates(rate))
    ]
    return [float(share) for share in np.mean(shares, axis=0)]


def held_rates(rate: float) -> Floats:
    """What a policy may hold of a parent of this true rate."""
    return np.clip(np.linspace(rate - OFF, rate + OFF, HELD), 0.0, 1.0)


def extremes(policy: Policy, papers: Papers, rate: float) -> tuple[float, float]:
    """The lowest and the highest share of mutants that change nothing which the policy admits,
    over what it may hold of the parent."""
    parent = papers.quality(rate)
    found = [
        _simulated(policy, papers, held, parent, [parent], DRAWS // HELD)[0]
        for held in held_rates(rate)
    ]
    return min(found), max(found)


def false_accepts(
    policy: Policy, papers: Papers, rates: Sequence[float], held: Sequence[float]
) -> list[float]:
    """How often the policy admits a mutant that changes nothing, by decision.

    ``rates`` are the parents' true ones, ``held`` what the policy held them to be.  The published
    gate's are worked out at a few rates and interpolated between them: it is a smooth curve.
    Others jump, so they are asked about each decision, with draws enough for the sum of all.
    """
    if not rates:
        return []
    if not is_exact(policy):
        draws = min(max(LEAST_DRAWS, 2 * DRAWS // len(rates)), DRAWS)
        quality = cache(papers.quality)
        return [
            _simulated(policy, papers, h, quality(rate), [quality(rate)], draws, n)[0]
            for n, (rate, h) in enumerate(zip(rates, held, strict=True))
        ]
    low, high = min(rates), max(rates)
    grid = np.linspace(low, high, GRID) if high > low else np.array([low])
    curve = [accepted(policy, papers, float(rate))[0] for rate in grid]
    return [float(x) for x in np.interp(rates, grid, curve)]


def _simulated(
    policy: Policy, papers: Papers, held: float, parent: float, mutants: Sequence[float],
    draws: int, number: int = 0,
) -> list[float]:  # fmt: skip
    """Shares of simulated validations; the same luck for every mutant, so that they compare."""
    rng = np.random.default_rng((SEED, number))
    ease = papers.draw(rng, draws)
    luck, other = rng.random(ease.shape), rng.random(ease.shape)
    before = (other < expit(ease + parent)).tolist() if policy.spending.rerun_parent else None

    @cache
    def hopeless(passed: tuple[bool, ...]) -> bool:
        return bool(policy.hopeless(held, passed, papers.count))

    def admitted(n: int, passed: tuple[bool, ...]) -> bool:
        block = policy.spending.block or papers.count
        looks = range(block, papers.count, block)
        if any(hopeless(passed[:look]) for look in looks):
            return False
        return policy.admit(held, before[n] if before else (), passed)

    return [
        sum(admitted(n, tuple(row)) for n, row in enumerate((luck < expit(ease + q)).tolist()))
        / draws
        for q in mutants
    ]


def number_of(chances: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation of how many of independent events happen."""
    return sum(chances), sqrt(sum(p * (1 - p) for p in chances))
