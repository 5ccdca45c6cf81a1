"""How numbers are spread, and how labels are: quantiles, counts, effective numbers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import fmean

import numpy as np

POINTS = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Spread:
    """``count`` numbers: their mean, ends, and quantiles at ``POINTS`` (linear between two ranks,
    definition 7 of Hyndman and Fan 1996)."""

    count: int
    mean: float
    least: float
    quantiles: tuple[float, ...]
    most: float

    @property
    def median(self) -> float:
        """The middle one."""
        return self.quantiles[POINTS.index(0.5)]


@dataclass(frozen=True, slots=True)
class Labels:
    """How ``items`` items are labelled; ``unlabelled`` of them aren't.  An item may have several.

    ``counts``: the most frequent first.  ``effective``: so many labels, used equally often, would
    be as varied, the exponential of their entropy (Hill 1973, number of order 1); 0 of none.
    """

    items: int
    unlabelled: int
    counts: dict[str, int]
    effective: float

    @property
    def top(self) -> float:
        """The share of all items that the most frequent label is on."""
        return max(self.counts.values(), default=0) / self.items if self.items else 0.0


def spread(values: Iterable[float]) -> Spread | None:
    """Of these numbers; ``None`` of none."""
    found = np.sort(np.fromiter(values, float))
    if not len(found):
        return None
    quantiles = tuple(map(float, np.quantile(found, POINTS)))
    return Spread(len(found), fmean(found.tolist()), float(found[0]), quantiles, float(found[-1]))


def labels(of_items: Sequence[Sequence[str]]) -> Labels:
    """Of items, each with its labels."""
    counts = Counter(label for found in of_items for label in found if label)
    ordered = dict(sorted(counts.items(), key=lambda x: (-x[1], x[0])))
    total = sum(counts.values())
    entropy = -sum(n / total * log(n / total) for n in counts.values()) if total else 0.0
    without = sum(not any(found) for found in of_items)
    return Labels(len(of_items), without, ordered, exp(entropy) if total else 0.0)
