"""What luck alone does to a gate that lets in whatever passes more papers than its parent.

Both harnesses run on the same papers.  A paper's verdict is a coin whose bias depends on how hard
the paper is, so the difference of passes is a sum of independent steps of -1, 0 and +1, one a
paper, and its distribution is exact: a convolution (for papers of one rate, Binomial against
Binomial).  Papers of varying difficulty follow the Rasch model (Rasch 1960): a harness's pass rate
on a paper is ``expit(quality + ease)``, so a better harness is better on all papers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from inner_agent.errors import UserError

Floats = NDArray[np.float64]
NODES = 61  # of the Gauss-Hermite quadrature: exact to ten digits for a spread of up to 3
SMOOTHING = 2.0  # runs at the average rate, added to each recorded paper: none is surely 0 or 1
FURTHEST = 40.0  # on the logit: beyond every rate that a float can hold


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
        return expit(self.ease + quality)

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


def accepted(papers: Papers, rate: float, change: float = 0.0) -> float:
    """How often a mutant passes strictly more papers than its parent.

    The parent's true pass rate is ``rate``, the mutant's ``rate + change``.
    """
    parent = papers.quality(rate)
    mutant = papers.quality(rate + change) if change else parent
    return float(difference(papers, parent, mutant)[papers.count + 1 :].sum())


def number_of(chances: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation of how many of independent events happen."""
    return sum(chances), sqrt(sum(p * (1 - p) for p in chances))


def expit(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))
