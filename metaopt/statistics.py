"""How sure a pass rate is."""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist, fmean, stdev, variance

from scipy.special import stdtr, stdtrit


def wilson(passes: float, papers: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of ``passes`` out of ``papers``, in [0, 1]; (0, 1) of none.

    It speaks for further rollouts on papers like these.  Runs that repeat the same papers count
    as so many papers more, so for few papers and many runs it is narrower than it should be:
    ``clustered`` is for those.
    """
    if not papers:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, weight = passes / papers, z * z / papers
    middle = (rate + weight / 2) / (1 + weight)
    half = z / (1 + weight) * sqrt(rate * (1 - rate) / papers + weight / papers / 4)
    # At 0 and at 1 the exact bound is the rate itself; floating point may miss it by a hair.
    return min(rate, max(0.0, middle - half)), max(rate, min(1.0, middle + half))


def clustered(
    passes: Sequence[int], runs: Sequence[int], confidence: float = 0.95
) -> tuple[float, float]:
    """The interval of a pass rate where paper k passed ``passes[k]`` of ``runs[k]`` times.

    It speaks for other papers like these.  Runs of one paper resemble each other, so they count
    as fewer (Korn and Graubard 1998): as many independent ones as give the variance that is seen
    between papers, with Student's t for their number; then Wilson's interval of those.
    """
    papers, rollouts = len(runs), sum(runs)
    if papers == rollouts:  # one run of each: nothing resembles anything
        return wilson(sum(passes), papers, confidence)
    rate = sum(passes) / rollouts
    seen = sum((x - n * rate) ** 2 for x, n in zip(passes, runs, strict=True)) / rollouts**2
    if papers < 2 or not seen:
        return wilson(rate * papers, papers, confidence)
    level = (1 + confidence) / 2
    ratio = NormalDist().inv_cdf(level) / float(stdtrit(papers - 1, level))
    count = rate * (1 - rate) / (seen * papers / (papers - 1)) * ratio**2
    count = min(max(count, 1.0), float(rollouts))
    return wilson(rate * count, count, confidence)


def student(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Student's t interval of the mean of independent ``values``; ``None`` of a single one, and
    where all are alike, which tells nothing of their spread."""
    n = len(values)
    if n < 2 or min(values) == max(values):
        return None
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * stdev(values) / sqrt(n)
    return fmean(values) - half, fmean(values) + half


def welch(
    one: Sequence[float], other: Sequence[float], confidence: float = 0.95
) -> tuple[float, float, float] | None:
    """Of the difference of two independent means (``other`` minus ``one``): the lower and upper
    bound, and the two-sided p (Welch 1947, "The Generalization of 'Student's' Problem when Several
    Different Population Variances are Involved"); ``None`` where the spread isn't known."""
    if min(len(one), len(other)) < 2:
        return None
    parts = [variance(values) / len(values) for values in (one, other)]
    if not sum(parts):
        return None
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (one, other), strict=True)
    )
    difference, error = fmean(other) - fmean(one), sqrt(sum(parts))
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    p = float(2 * stdtr(freedom, -abs(difference) / error))
    return difference - half, difference + half, p
