"""What intervals of a paired difference cover: the one that is kept, and those that aren't.

    python benchmarks/intervals.py [--comparisons 2000]

Simulated: a paper's difficulty is N(0, 1) on the logit scale, and a rollout passes with
probability sigmoid(quality - difficulty).  The truth is the difference of the mean pass rates over
all such papers.  The tables in docs/statistics.md come from here.
"""

import argparse
from collections.abc import Callable

import numpy as np
from scipy.special import expit, ndtr, ndtri

from analysis import paired
from analysis.paired import Floats

PAPERS = 25
SEED = 7
BOOT = 1_999
# Pass rates of the two arms.
CASES = (
    (0.1, 0.1), (0.1, 0.2), (0.1, 0.3), (0.3, 0.3), (0.3, 0.2), (0.3, 0.45),
    (0.6, 0.6), (0.6, 0.75), (0.6, 0.4),
)  # fmt: skip
REPEATS = (1, 2, 5)
Bounds = tuple[Floats, Floats]


def quality(rate: float) -> float:
    """The quality at which the mean pass rate over papers is ``rate``."""
    x, w = np.polynomial.hermite_e.hermegauss(61)
    low, high = -15.0, 15.0
    for _ in range(60):
        middle = (low + high) / 2
        below = float(w @ expit(middle - x)) / float(w.sum()) < rate
        low, high = (middle, high) if below else (low, middle)
    return low


def comparisons(
    rng: np.random.Generator, count: int, papers: int, repeats: int, rates: tuple[float, float]
) -> Floats:
    """Differences B - A by [comparison, repeat, paper]."""
    difficulty = rng.standard_normal((count, 1, papers))
    shape = count, repeats, papers
    a, b = (rng.random(shape) < expit(quality(rate) - difficulty) for rate in rates)
    return b.astype(float) - a


def percentile(x: Floats) -> Bounds:
    """Plain percentiles of the bootstrap over papers."""
    drawn = x.mean(1) @ paired.resamples(x.shape[2], BOOT).T
    low, high = np.quantile(drawn, [0.025, 0.975], axis=-1)
    return low, high


def expanded(x: Floats) -> Bounds:
    """Expanded percentiles: what stands beside the kept one in the JSON."""
    drawn = x.mean(1) @ paired.resamples(x.shape[2], BOOT).T
    return paired.percentiles(drawn, x.shape[2])


def two_stage(x: Floats) -> Bounds:
    """Papers drawn anew, and repeats drawn anew within each."""
    rng, (count, repeats, papers) = np.random.default_rng(SEED), x.shape
    drawn = np.empty((count, 599))
    for b in range(drawn.shape[1]):
        paper = rng.integers(0, papers, (count, 1, papers))
        repeat = rng.integers(0, repeats, (count, repeats, papers))
        drawn[:, b] = x[np.arange(count)[:, None, None], repeat, paper].mean((1, 2))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=-1)
    return low, high


def bca(x: Floats) -> Bounds:
    """Bias-corrected and accelerated (Efron 1987)."""
    d, papers = x.mean(1), x.shape[2]
    drawn = np.sort(d @ paired.resamples(papers, BOOT).T, axis=-1)
    seen = d.mean(-1, keepdims=True)
    below = (drawn < seen - 1e-12).mean(-1) + (np.abs(drawn - seen) <= 1e-12).mean(-1) / 2
    bias = ndtri(np.clip(below, 1e-6, 1 - 1e-6))
    off = d - seen
    spread = (off**2).sum(-1)
    skew = np.where(spread > 0, (off**3).sum(-1) / (6 * np.maximum(spread, 1e-12) ** 1.5), 0.0)
    bounds = []
    for z in ndtri([0.025, 0.975]):
        at = ndtr(bias + (bias + z) / (1 - skew * (bias + z)))
        place = np.clip((at * (BOOT - 1)).round().astype(int), 0, BOOT - 1)
        bounds.append(drawn[np.arange(len(d)), place])
    return bounds[0], bounds[1]


def bootstrap_t(x: Floats) -> Bounds:
    """Studentised; a resample without spread is held off zero by one paper's variance."""
    d, papers = x.mean(1), x.shape[2]
    weights, floor = paired.resamples(papers, BOOT), 1 / x.shape[1]
    seen = d.mean(-1, keepdims=True)
    drawn, squares = d @ weights.T, (d * d) @ weights.T
    spread = papers * np.maximum(squares - drawn**2, 0) + floor
    own = np.sqrt((((d - seen) ** 2).sum(-1) + floor) / (papers - 1) / papers)
    t = (drawn - seen) / np.sqrt(spread / (papers - 1) / papers)
    low, high = np.quantile(t, [0.025, 0.975], axis=-1)
    return seen[:, 0] - high * own, seen[:, 0] - low * own


def bonett_price(x: Floats) -> Bounds:
    """Wald with two imagined papers, one won and one lost; made for one repeat."""
    d, papers = x.mean(1), x.shape[2]
    middle = d.sum(-1) / (papers + 2)
    error = np.sqrt(((d**2).sum(-1) + 2) / (papers + 2) - middle**2) / np.sqrt(papers + 2)
    z = ndtri(0.975)
    return middle - z * error, middle + z * error


METHODS: dict[str, Callable[[Floats], Bounds]] = {
    "kept": lambda x: paired.interval(x.mean(1)),
    "expanded": expanded,
    "percentile": percentile,
    "BCa": bca,
    "bootstrap-t": bootstrap_t,
    "Bonett-Price": bonett_price,
    "two-stage": two_stage,
}


def coverage(bounds: Bounds, truth: float) -> float:
    """The share of intervals that hold the truth."""
    low, high = bounds
    return float(((low <= truth + 1e-12) & (truth - 1e-12 <= high)).mean())


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=2_000)
    parser.add_argument("--papers", type=int, default=PAPERS)
    given = parser.parse_args()
    print("| rates | repeats | " + " | ".join(METHODS) + " |")
    print("|---|---|" + "---|" * len(METHODS))
    worst: dict[str, list[float]] = {name: [] for name in METHODS}
    for repeats in REPEATS:
        for rates in CASES:
            rng = np.random.default_rng(SEED)
            x = comparisons(rng, given.comparisons, given.papers, repeats, rates)
            cells = []
            for name, method in METHODS.items():
                if name == "two-stage" and repeats == 1:
                    cells.append("")
                    continue
                worst[name].append(coverage(method(x), rates[1] - rates[0]))
                cells.append(f"{worst[name][-1]:.1%}")
            print(f"| {rates[0]}, {rates[1]} | {repeats} | " + " | ".join(cells) + " |", flush=True)
    ranges = (f"{min(w):.1%} to {max(w):.1%}" for w in worst.values())
    print("| range | | " + " | ".join(ranges) + " |")


if __name__ == "__main__":
    main()
