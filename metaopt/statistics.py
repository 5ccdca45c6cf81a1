"""How sure a pass rate is."""

from math import sqrt
from statistics import NormalDist


def wilson(passes: float, papers: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of ``passes`` out of ``papers``, in [0, 1]; (0, 1) of none.

    It speaks for further rollouts on papers like these.  Runs that repeat the same papers count
    as so many papers more, so for few papers and many runs it is narrower than it should be.
    """
    if not papers:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, weight = passes / papers, z * z / papers
    middle = (rate + weight / 2) / (1 + weight)
    half = z / (1 + weight) * sqrt(rate * (1 - rate) / papers + weight / papers / 4)
    # At 0 and at 1 the exact bound is the rate itself; floating point may miss it by a hair.
    return min(rate, max(0.0, middle - half)), max(rate, min(1.0, middle + half))
