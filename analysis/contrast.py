"""Two harnesses on the same papers: the difference, how sure it is, what it takes to tell it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from analysis import paired
from analysis.compare import LEVEL, POWER
from analysis.compare_text import points
from analysis.paired import Floats


@dataclass(frozen=True, slots=True)
class Contrast:
    """A mean difference of pass rates, its 95 % interval, exact p and mid-p of none."""

    difference: float
    low: float
    high: float
    p_exact: float
    p_mid: float

    def told(self) -> str:
        """In points."""
        return f"{points(self.difference)} points [{points(self.low)} to {points(self.high)}]"

    def sure(self, p: float | None = None) -> bool:
        """Can it be told from none?  ``p``: the mid-p, adjusted where there are several."""
        return (self.p_mid if p is None else p) <= LEVEL and not self.low <= 0 <= self.high


def contrast(x: Floats, most: float = 1.0) -> Contrast:
    """Of ``x[repeat, paper]``, differences of passes: whole numbers, ``most`` at the most."""
    by_paper = x.mean(0)
    low, high = paired.interval(by_paper)
    counts = np.rint(x.sum(0)).astype(np.int64)
    return Contrast(
        float(by_paper.mean()), max(-most, float(low)), min(most, float(high)),
        paired.sign_flip(counts), paired.mid_p(counts),
    )  # fmt: skip


def detectable(differences: Sequence[Floats]) -> float | None:
    """The true difference that the test tells four times in five, of several tested at once.

    At the level of Holm's first step and the spread of the noisiest of ``differences`` (each
    [repeat, paper]), so it promises too little rather than too much.  ``None``: not even 100
    points would be told so often.
    """
    repeats, papers = differences[0].shape
    square = max(float((d.mean(0) ** 2).mean()) for d in differences)
    level = LEVEL / len(differences)

    def short(difference: float) -> float:
        return paired.sign_flip_power(difference, square, papers, repeats, level) - POWER

    if short(1.0) < 0:
        return None
    return float(brentq(short, 1e-6, 1.0))
