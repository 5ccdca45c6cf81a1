"""What the intervals of ``metaopt dataquality`` cover, in corpora whose truth is known.

    python benchmarks/quality_intervals.py [--corpora 4000]

Simulated: an item's score is the mean of 3 attempts at 6 criteria, each met with probability
sigmoid(level + paper + item), where papers are N(0, 1) and items N(0, 0.7); two data sets share
their papers.  Pairs are won, tied and lost with given chances.  The truth is the mean over all
such papers.  The table in docs/dataquality.md comes from here.
"""

import argparse

import numpy as np
from scipy.special import expit

from analysis import paired
from analysis.paired import Floats
from analysis.scores import mean_of
from metaopt.statistics import clustered

SEED = 3
PAPERS = (12, 50)
ATTEMPTS, CRITERIA, ITEM = 3, 6, 0.7
# Levels of the weak and the strong solver on the logit scale, of two data sets.
ORDINARY = (1.0, 1.2), (-0.3, 1.5)
EXTREME = (-4.0, 4.0)  # the weak one earns nothing on most papers, the strong one all
CHANCES = ((0.3, 0.3), (0.6, 0.2), (0.9, 0.05))  # of winning and losing a pair
SOUND = 0.9  # share of items, two a paper, which papers differ in by 1.5 on the logit scale


def scores(rng: np.random.Generator, level: float, papers: Floats) -> Floats:
    """One item of each paper, tried; shaped as ``papers``."""
    chance = expit(level + papers + ITEM * rng.standard_normal(papers.shape))
    return rng.binomial(ATTEMPTS * CRITERIA, chance) / (ATTEMPTS * CRITERIA)


def truth(level: float, spread: float) -> float:
    """The mean score over all papers and items."""
    x, w = np.polynomial.hermite_e.hermegauss(99)
    return float(w @ expit(level + spread * x) / w.sum())


def of_means(values: Floats, true: float, least: float) -> float:
    """How often ``mean_of`` holds the truth, by corpus."""
    found = (mean_of(row, least) for row in values.tolist())
    held = [m.low is not None and m.high is not None and m.low <= true <= m.high for m in found]
    return float(np.mean(held))


def of_differences(values: Floats, true: float) -> float:
    """How often ``paired.interval`` does."""
    low, high = paired.interval(values)
    return float(np.mean((low <= true + 1e-9) & (true - 1e-9 <= high)))


def of_shares(rng: np.random.Generator, corpora: int, papers: int) -> float:
    """How often ``clustered`` does."""
    level = float(np.log(SOUND / (1 - SOUND)))
    held = rng.binomial(2, expit(level + 1.5 * rng.standard_normal((corpora, papers))))
    bounds = (clustered(row, [2] * papers) for row in held.tolist())
    return float(np.mean([low <= truth(level, 1.5) <= high for low, high in bounds]))


def coverage(corpora: int, papers: int) -> dict[str, float]:
    """By figure, of ``corpora`` corpora of so many papers."""
    rng, spread = np.random.default_rng(SEED), float(np.hypot(1, ITEM))
    shared = rng.standard_normal((corpora, papers))
    (one, other), gaps = ORDINARY, [truth(s, spread) - truth(w, spread) for w, s in ORDINARY]
    a, b = (scores(rng, s, shared) - scores(rng, w, shared) for w, s in (one, other))
    weak, strong = (scores(rng, level, shared) for level in EXTREME)
    found = {
        "weak": of_means(scores(rng, other[0], shared), truth(other[0], spread), 0.0),
        "gap": of_means(b, gaps[1], -1.0),
        "difference of gaps": of_differences(b - a, gaps[1] - gaps[0]),
        "weak, near 0 on most papers": of_means(weak, truth(EXTREME[0], spread), 0.0),
        "gap, near 100 on most": of_means(
            strong - weak, truth(EXTREME[1], spread) - truth(EXTREME[0], spread), -1.0
        ),
        f"sound, {SOUND:.0%} of items": of_shares(rng, corpora, papers),
    }
    for won, lost in CHANCES:
        pairs = rng.choice([1.0, -1.0, 0.0], p=[won, lost, 1 - won - lost], size=shared.shape)
        rate = f"win rate {(1 + won - lost) / 2:.1%}"
        found[rate] = of_differences(pairs, won - lost)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpora", type=int, default=4_000)
    corpora = parser.parse_args().corpora
    columns = [coverage(corpora, papers) for papers in PAPERS]
    print("| | " + " | ".join(f"{papers} papers" for papers in PAPERS) + " |")
    print("|---|---:|---:|")
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(f"{column[name]:.1%}" for column in columns) + " |")


if __name__ == "__main__":
    main()
