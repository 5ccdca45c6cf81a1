"""Harnesses on the same papers, compared.  Pure functions on arrays; no file is read here.

Papers are the sampling unit: what is asked is how harnesses differ on papers like these, so
repeats of a paper sharpen what is known of that paper and are no papers more.  ``d[..., paper]``
is a per-paper difference, a mean over its repeats.  docs/statistics.md says what each function
assumes, which others were tried, and what they covered.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, nctdtr, ndtr, stdtr, stdtrit, xlog1py, xlogy

Floats = NDArray[np.float64]

RESAMPLES = 9_999
SEED = 0  # of the bootstrap: the same results give the same interval
EXACT = 400  # papers for which a power is summed over all outcomes
MOST = 100_000  # papers or repeats; whoever needs more needs something else


def interval(d: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Two-sided interval of the mean difference over papers like these, along the last axis.

    The paired bootstrap over papers in closed form: its standard error of a mean needs no
    resampling, and is taken with Student's t for the finite number of papers (Efron and
    Tibshirani 1993, "An Introduction to the Bootstrap", chapters 6 and 12).  A one-way model of
    papers and repeats with random effects gives the same.  Where all papers differ alike there is
    no spread to go by: then two papers more are imagined, one won and one lost (Bonett and Price
    2012, "Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on
    Paired Data").
    """
    n = d.shape[-1]
    t = stdtrit(max(1, n - 1), (1 + confidence) / 2)
    middle, error = d.mean(-1), standard_error(d)
    same = np.ptp(d, axis=-1) == 0
    middle = np.where(same, middle * n / (n + 2), middle)
    return middle - t * error, middle + t * error


def p_value(d: Floats) -> float:
    """Two-sided p of Student's t test of the mean difference over papers, by which ``interval``
    leaves out 0 at that level; 1 where no paper differs."""
    n = len(d)
    if not np.any(d):
        return 1.0
    middle = d.mean() if np.ptp(d) else d.mean() * n / (n + 2)
    return float(2 * stdtr(max(1, n - 1), -abs(middle) / standard_error(d)))


def standard_error(d: Floats) -> Floats:
    """Of the mean over papers; with the two imagined papers where all papers are alike."""
    n = d.shape[-1]
    spread = d.std(-1, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(d.shape[:-1])
    total, squares = d.sum(-1), (d**2).sum(-1) + 2
    imagined = np.sqrt(squares / (n + 2) - (total / (n + 2)) ** 2) / np.sqrt(n + 2)
    error: Floats = np.where(np.ptp(d, axis=-1) == 0, imagined, spread)
    return error


def resamples(papers: int, count: int = RESAMPLES, seed: int = SEED) -> Floats:
    """``count`` bootstrap draws of ``papers`` papers, as weights that add up to 1: (count, papers).

    A paper brings all its repeats along: drawing repeats anew within it as well would count their
    noise twice.
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(papers, np.full(papers, 1 / papers), count) / papers


def percentiles(drawn: Floats, papers: int, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Interval from bootstrap draws of a statistic, along the last axis.

    Expanded percentiles (Hesterberg 2015, "What Teachers Should Know About the Bootstrap"):
    plain ones are too narrow by sqrt((n-1)/n) and by the normal's tails against Student's.
    """
    n = max(2, papers)
    low = ndtr(np.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 - confidence) / 2))
    # Draws without a finite value are sorted to the upper end, not averaged with.
    bounds = np.quantile(drawn, [low, 1 - low], axis=-1, method="inverted_cdf")
    return bounds[0], bounds[1]


def ratio_interval(cost: Floats, passed: Floats, weights: Floats) -> tuple[float, float, float]:
    """Cost per passed item and its bootstrap interval over papers; ``inf`` where nothing passed.

    ``cost`` and ``passed`` are sums by paper.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.divide(cost.sum(), passed.sum())
        drawn = (weights @ cost) / (weights @ passed)
    low, high = percentiles(np.where(np.isnan(drawn), np.inf, drawn), len(cost))
    return (float(value) if passed.sum() else np.inf), float(low), float(high)


def sign_flip(counts: NDArray[np.int64]) -> float:
    """Exact two-sided p of the per-paper differences (in repeats passed) under sign flips.

    Tested: on each paper, the two harnesses are as likely to differ by this much one way as the
    other (Fisher 1935, "The Design of Experiments", chapter III).  With one repeat it is McNemar's
    exact test: a fair coin for each paper that only one of the two passed.
    """
    further, as_far = _flips(counts)
    return min(1.0, further + as_far)


def mid_p(counts: NDArray[np.int64]) -> float:
    """The same with what is just as far off counted by half: the exact p is too cautious where few
    outcomes are possible (Fagerland, Lydersen and Laake 2013, "The McNemar Test for Binary
    Matched-Pairs Data"); 1 where nothing differs."""
    if not np.any(counts):
        return 1.0
    further, as_far = _flips(counts)
    return min(1.0, further + as_far / 2)


def _flips(counts: NDArray[np.int64]) -> tuple[float, float]:
    """The chance of a sum that is further off 0 than the one seen, and of one just as far off.

    All 2^papers flips are counted, by adding up whole numbers paper by paper.
    """
    sizes = np.abs(counts)
    reach, seen = int(sizes.sum()), abs(int(counts.sum()))
    chance = np.zeros(2 * reach + 1)
    chance[reach] = 1.0
    for size in sizes[sizes > 0]:
        up, down = np.roll(chance, size), np.roll(chance, -size)
        chance = (up + down) / 2
    sums = np.abs(np.arange(-reach, reach + 1))
    return float(chance[sums > seen].sum()), float(chance[sums == seen].sum())


def holm(p: Floats) -> Floats:
    """Adjusted p-values of several comparisons (Holm 1979, "A Simple Sequentially Rejective
    Multiple Test Procedure"): the chance of any false alarm stays below the level."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, steps)
    return adjusted


@dataclass(frozen=True, slots=True)
class Components:
    """Where differences come from: variance between papers, and between draws of one paper.

    ``between`` may come out below 0 when it is small; ``None`` both where one repeat can't tell
    them apart.  ``total`` is the variance of a paper's mean over the repeats.
    """

    papers: int
    repeats: int
    mean: float
    total: float
    between: float | None
    within: float | None

    def variance(self, repeats: int) -> float | None:
        """Of a paper's mean over that many repeats, ``total`` at those that were seen; ``None``
        where it can't be known.

        It never grows with repeats: where ``between`` is below 0, ``total`` is all of it noise of
        repeats.
        """
        if repeats == self.repeats:
            return self.total
        if self.between is None or self.within is None:
            return None
        if self.between < 0:
            return self.total * self.repeats / repeats
        return self.between + self.within / repeats

    def half_width(self, papers: int, repeats: int) -> float | None:
        """Of the 95 % interval that so many papers and repeats would give, about."""
        variance = self.variance(repeats)
        if variance is None or papers < 2:
            return None
        return float(stdtrit(papers - 1, 0.975) * np.sqrt(variance / papers))

    @property
    def reliability(self) -> float | None:
        """How much of what papers seem to differ by is theirs, in [0, 1]; the rest is luck."""
        if self.between is None or self.total <= 0:
            return None
        return min(1.0, max(0.0, self.between / self.total))


def components(x: Floats) -> Components:
    """Variance components of ``x[repeat, paper]`` in a one-way random-effects model.

    Analysis of variance, which is REML in a balanced design as long as neither is below 0
    (Searle, Casella and McCulloch 1992, "Variance Components", chapter 3).
    """
    repeats, papers = x.shape
    by_paper = x.mean(0)
    total = float(by_paper.var(ddof=1)) if papers > 1 else 0.0
    if total == 0:  # as ``interval`` has it: no spread was seen, which isn't to say there is none
        total = float(standard_error(by_paper)) ** 2 * papers
    if repeats == 1:
        return Components(papers, 1, float(x.mean()), total, None, None)
    within = float(x.var(0, ddof=1).mean())
    return Components(papers, repeats, float(x.mean()), total, total - within / repeats, within)


def shrunk(x: Floats) -> Floats:
    """Per-paper means drawn towards the mean of all by how unreliable they are (best linear
    unbiased prediction in the model of ``components``; Efron and Morris 1977, "Stein's Paradox in
    Statistics").  With one repeat nothing is known of reliability: all are the mean."""
    trust = components(x).reliability or 0.0
    means = x.mean(0)
    drawn: Floats = means.mean() + trust * (means - means.mean())
    return drawn


def power(difference: float, variance: float, papers: int, level: float = 0.05) -> float:
    """How often ``interval`` leaves out 0 where the true difference is so large: noncentral t."""
    if papers < 2:
        return 0.0
    return _beyond(abs(difference) * np.sqrt(papers / variance), papers, level)


def papers_needed(
    difference: float, variance: float, level: float = 0.05, wanted: float = 0.8
) -> int | None:
    """The fewest papers that catch ``difference`` with probability ``wanted``; ``None``: over
    ``MOST``."""
    return _fewest(lambda n: power(difference, variance, n, level) >= wanted)


def repeats_needed(
    found: Components, difference: float, level: float = 0.05, wanted: float = 0.8
) -> int | None:
    """The fewest repeats on these papers that do; ``None`` where no number would, or unknown."""

    def enough(repeats: int) -> bool:
        variance = found.variance(repeats)
        return variance is not None and (
            power(difference, max(variance, 1e-12), found.papers, level) >= wanted
        )

    return _fewest(enough)


def _fewest(enough: Callable[[int], bool]) -> int | None:
    """The smallest number for which ``enough`` holds, which holds for all larger ones."""
    high = 1
    while not enough(high):
        if high >= MOST:
            return None
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def sign_flip_power(
    difference: float, square: float, papers: int, repeats: int, level: float = 0.05
) -> float:
    """How often ``mid_p`` would be <= ``level``, were the true difference so large.

    ``square`` is the mean square of a paper's difference.  With one repeat it is the share of
    papers on which the two disagree, and the power is exact: that of McNemar's test, summed over
    how many papers disagree.  With several, or more than ``EXACT`` papers, it is the t test's.
    """
    difference = abs(difference)
    if repeats == 1 and papers <= EXACT:
        disagree = max(square, difference)
        if disagree == 0:
            return 0.0
        many, wins = np.ogrid[: papers + 1, : papers + 1]
        mid = _binomial(many, wins, 0.5)
        mid = np.cumsum(mid[:, ::-1], axis=1)[:, ::-1] - mid / 2  # of so many wins or more
        up = _binomial(many, wins, (1 + difference / disagree) / 2)
        caught = np.where((2 * mid <= level) & (2 * wins > many), up, 0).sum(1)
        return float(_binomial(np.array(papers), many[:, 0], disagree) @ caught)
    variance = max(square - difference**2, 1e-12)
    return _beyond(difference * np.sqrt(papers / variance), papers, level)


def _beyond(shift: float, papers: int, level: float) -> float:
    """How often a t statistic around ``shift`` is significant on its own side."""
    caught = 1 - nctdtr(papers - 1, shift, stdtrit(papers - 1, 1 - level / 2))
    return float(shift > 0) if np.isnan(caught) else float(caught)  # too far off for scipy


def _binomial(n: NDArray[np.int64], k: NDArray[np.int64], p: float) -> Floats:
    """The chance of ``k`` of ``n``, 0 where ``k`` is more."""
    inside = np.where(k <= n, k, 0)
    ways = gammaln(n + 1) - gammaln(inside + 1) - gammaln(n - inside + 1)
    chance = np.exp(ways + xlogy(inside, p) + xlog1py(n - inside, -p))
    return np.where(k <= n, chance, 0.0)
