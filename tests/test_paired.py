"""The statistics of ``metaopt compare`` and ``metaopt aa`` against independent calculations."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.special import expit

from analysis import aa, paired
from analysis.compare import rate_interval

Floats = NDArray[np.float64]
COMPARISONS = 2_000
PAPERS = 25
# Rates of both arms; half of the cases are no difference.
CASES = [(0.1, 0.1), (0.1, 0.2), (0.3, 0.3), (0.3, 0.45), (0.6, 0.6), (0.6, 0.4)]


def simulated(rates: tuple[float, float], repeats: int, seed: int = 7) -> Floats:
    """Differences by [comparison, repeat, paper]; difficulty N(0, 1) on the logit scale."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(-8, 8, 4_001)
    weights = stats.norm.pdf(grid) / stats.norm.pdf(grid).sum()

    def quality(rate: float) -> float:
        return float(optimize.brentq(lambda q: weights @ expit(q - grid) - rate, -15, 15))

    difficulty = rng.standard_normal((COMPARISONS, 1, PAPERS))
    shape = COMPARISONS, repeats, PAPERS
    a, b = (rng.random(shape) < expit(quality(rate) - difficulty) for rate in rates)
    return b.astype(float) - a


def covered(bounds: tuple[Floats, Floats], truth: float) -> float:
    low, high = bounds
    return float(((low <= truth + 1e-12) & (truth - 1e-12 <= high)).mean())


@pytest.mark.parametrize("repeats", [1, 4])
@pytest.mark.parametrize("rates", CASES)
def test_nominal_95_percent_intervals_cover_93_to_97(
    rates: tuple[float, float], repeats: int
) -> None:
    x = simulated(rates, repeats)
    assert 0.93 <= covered(paired.interval(x.mean(1)), rates[1] - rates[0]) <= 0.97


def test_a_plain_percentile_bootstrap_would_not() -> None:
    """So the test above can fail: with few papers and many ties the textbook's one is too short."""
    weights, found = paired.resamples(PAPERS, 999), []
    for rates in CASES:
        low, high = np.quantile(simulated(rates, 1).mean(1) @ weights.T, [0.025, 0.975], axis=-1)
        found.append(covered((low, high), rates[1] - rates[0]))
    assert min(found) < 0.93


def test_the_interval_is_the_bootstraps_and_students() -> None:
    d = np.random.default_rng(1).integers(-3, 4, 25) / 3
    low, high = paired.interval(d)
    by_scipy = stats.ttest_1samp(d, 0)
    assert (low, high) == pytest.approx(tuple(by_scipy.confidence_interval()))
    drawn = paired.resamples(25, 40_000) @ d
    assert drawn.std() * math.sqrt(25 / 24) == pytest.approx(paired.standard_error(d), rel=0.02)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.5])
def test_papers_that_all_agree_leave_doubt(value: float) -> None:
    d = np.full(25, value)
    low, high = paired.interval(d)
    if value != -0.5:  # Bonett and Price's own formula, from the table of pairs
        won, lost = (d > 0).sum() + 1, (d < 0).sum() + 1
        p, q = won / 27, lost / 27
        half = stats.t.ppf(0.975, 24) * math.sqrt((p + q - (p - q) ** 2) / 27)
        assert (low, high) == pytest.approx((p - q - half, p - q + half))
    assert low < value < high or high > low + 0.1
    assert paired.components(d[None]).total > 0


@pytest.mark.parametrize("won_lost", [(0, 0), (4, 0), (7, 3), (3, 7), (5, 5), (12, 1)])
def test_with_one_repeat_the_exact_test_is_mcnemars(won_lost: tuple[int, int]) -> None:
    won, lost = won_lost
    counts = np.array([1] * won + [-1] * lost + [0] * 9)
    exact = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    as_far = stats.binom.pmf(sorted({won, lost}), won + lost, 0.5).sum() if won + lost else 0
    assert paired.sign_flip(counts) == pytest.approx(exact)
    assert paired.mid_p(counts) == pytest.approx(exact - as_far / 2)


def test_with_more_repeats_all_flips_are_counted() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        counts = rng.integers(-4, 5, 8)
        sums = [abs(int(np.dot(counts, s))) for s in itertools.product((-1, 1), repeat=8)]
        seen = abs(int(counts.sum()))
        share, further = np.mean([s >= seen for s in sums]), np.mean([s > seen for s in sums])
        assert paired.sign_flip(counts) == pytest.approx(share)
        assert paired.mid_p(counts) == pytest.approx((share + further) / 2)


@pytest.mark.parametrize("repeats", [1, 4])
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.6])
def test_a_harness_is_called_better_than_its_like_one_time_in_20_at_most(
    rate: float, repeats: int
) -> None:
    counts = simulated((rate, rate), repeats).sum(1).astype(int)
    tests = np.array([(paired.sign_flip(row), paired.mid_p(row)) for row in counts])
    exact, mid = (tests <= 0.05).mean(0)
    assert 0.002 <= exact <= mid <= 0.055


def test_holm_is_bonferroni_on_every_subset() -> None:
    """By closed testing: what is rejected is rejected in every subset that it is part of."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        p = rng.random(5) ** 3
        for k, adjusted in enumerate(paired.holm(p)):
            subsets = (s for n in range(1, 6) for s in itertools.combinations(range(5), n))
            worst = max(min(p[list(s)]) * len(s) for s in subsets if k in s)
            assert adjusted == pytest.approx(min(1.0, worst))


def test_components_are_remls() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(0, 0.5, (4, 25)) + rng.normal(0.1, 0.6, 25)

    def loss(logs: Floats) -> float:
        """Minus twice the restricted log likelihood of the balanced one-way model."""
        between, within = np.exp(logs)
        cov = np.kron(np.eye(25), between * np.ones((4, 4)) + within * np.eye(4))
        y, one = x.T.ravel(), np.ones(100)
        inverse = np.linalg.inv(cov)
        info = one @ inverse @ one
        off = y - (one @ inverse @ y) / info
        return float(np.linalg.slogdet(cov)[1] + np.log(info) + off @ inverse @ off)

    best = np.exp(optimize.minimize(loss, [-1.0, -1.0], method="Nelder-Mead").x)
    found = paired.components(x)
    assert (found.between, found.within) == pytest.approx(tuple(best), rel=1e-2)
    assert found.variance(4) == pytest.approx(x.mean(0).var(ddof=1))
    assert found.variance(10**9) == pytest.approx(found.between)
    low, high = paired.interval(x.mean(0))
    assert found.half_width(25, 4) == pytest.approx((high - low) / 2)


def test_more_repeats_never_promise_a_wider_interval() -> None:
    """Nor where papers seem to differ by less than by chance, and what is seen is not far off."""
    below = 0
    for seed in range(40):
        x = np.random.default_rng(seed).integers(-1, 2, (3, 8)).astype(float)
        found = paired.components(x)
        assert found.between is not None
        below += found.between < 0
        variances = [found.variance(repeats) for repeats in (1, 2, 3, 4, 6, 100)]
        assert variances == sorted(variances, key=lambda v: -(v or 0))
        assert found.variance(3) == found.total
        needed = paired.repeats_needed(found, 0.1)
        assert needed is None or (needed > 3) == (paired.power(0.1, found.total, 8) < 0.8)
    assert 10 < below < 30


def test_components_and_shrunk_differences_find_the_truth() -> None:
    rng, between, within = np.random.default_rng(5), [], []
    raw_error = drawn_error = 0.0
    for _ in range(400):
        a, b = expit(rng.normal(-0.5, 1.0, 25)), expit(rng.normal(0.0, 1.0, 25))
        x = (rng.random((5, 25)) < b).astype(float) - (rng.random((5, 25)) < a)
        found = paired.components(x)
        assert found.between is not None
        assert found.within is not None
        between.append(found.between - (b - a).var(ddof=1))
        within.append(found.within - (a * (1 - a) + b * (1 - b)).mean())
        raw_error += float(((x.mean(0) - (b - a)) ** 2).sum())
        drawn_error += float(((paired.shrunk(x) - (b - a)) ** 2).sum())
    for errors in (between, within):
        assert abs(np.mean(errors)) < 3 * np.std(errors) / math.sqrt(len(errors))
    assert drawn_error < 0.85 * raw_error


def test_one_repeat_tells_nothing_of_repeats() -> None:
    x = np.random.default_rng(6).integers(-1, 2, (1, 25)).astype(float)
    found = paired.components(x)
    assert found.between is found.within is found.variance(3) is None
    assert paired.repeats_needed(found, 0.1) is None
    assert paired.shrunk(x) == pytest.approx(np.full(25, x.mean()))


def test_so_many_papers_do_catch_the_difference() -> None:
    rng, difference, sd = np.random.default_rng(8), 0.1, 0.6
    needed = paired.papers_needed(difference, sd**2)
    assert needed is not None
    assert (
        paired.power(difference, sd**2, needed - 1) < 0.8 <= paired.power(difference, sd**2, needed)
    )
    low, _ = paired.interval(rng.normal(difference, sd, (4_000, needed)))
    assert (low > 0).mean() == pytest.approx(0.8, abs=0.02)
    x = rng.choice([-1, 0, 1], (1_000, needed), p=[0.13, 0.64, 0.23])  # the same mean and sd
    mid = np.array([paired.mid_p(row) for row in x])
    assert (mid <= 0.05).mean() == pytest.approx(0.8, abs=0.04)
    assert paired.papers_needed(1e-6, 1.0) is None


def test_so_many_repeats_do_where_any_number_would() -> None:
    found = paired.Components(25, 2, 0.0, 0.01 + 0.4 / 2, 0.01, 0.4)
    needed = paired.repeats_needed(found, 0.1)
    assert needed is not None
    enough, too_few = (paired.power(0.1, 0.01 + 0.4 / k, 25) for k in (needed, needed - 1))
    assert too_few < 0.8 <= enough
    assert paired.repeats_needed(paired.Components(25, 2, 0.0, 0.3, 0.1, 0.4), 0.1) is None


def test_cost_per_item_covers_and_is_infinite_of_nothing() -> None:
    rng, weights = np.random.default_rng(9), paired.resamples(25, 999)
    hits = 0
    for _ in range(300):
        p = rng.beta(2, 3, 25)
        passed = rng.binomial(4, p).astype(float)
        cost = 4 * 60 + 40 * rng.random(25) - 20 * passed
        value, low, high = paired.ratio_interval(cost, passed, weights)
        assert value == pytest.approx(cost.sum() / passed.sum())
        hits += low <= (4 * 60 + 20 - 20 * 1.6) / 1.6 <= high
    assert 0.90 <= hits / 300 <= 0.99
    assert paired.ratio_interval(np.ones(25), np.zeros(25), weights) == (math.inf,) * 3
    assert paired.ratio_interval(np.ones(25), np.eye(25)[0], weights)[2] == math.inf


@pytest.mark.parametrize("repeats", [1, 5])
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.6])
def test_an_arms_own_interval_covers_too(rate: float, repeats: int) -> None:
    """One arm has 26 possible counts at one repeat: nothing covers 95 % at every rate."""
    rng, hits = np.random.default_rng(10), 0
    for _ in range(COMPARISONS):
        p = rng.beta(4 * rate, 4 * (1 - rate), PAPERS)
        low, high = rate_interval((rng.random((repeats, PAPERS)) < p).astype(float))
        hits += low <= rate <= high
    assert 0.925 <= hits / COMPARISONS <= 0.98


# A harness with itself.


def draws(seed: int, repeats: int = 11, shock: float = 0.0) -> Floats:
    """Results of papers of their own difficulty; ``shock`` moves a whole repeat, in logits."""
    rng = np.random.default_rng(seed)
    moved = rng.normal(0, shock, (repeats, 1)) if shock else 0.0
    p = expit(rng.normal(-0.8, 1.0, PAPERS) + moved)
    return (rng.random((repeats, PAPERS)) < p).astype(float)


def noise(x: Floats, load: Callable[[Floats], Floats] = np.zeros_like) -> aa.Noise:
    return aa.noise(x, load(x))


def test_the_ratio_is_cochrans_q() -> None:
    x = draws(1)
    k, columns, rows = len(x), x.sum(1), x.sum(0)
    q = (k - 1) * (k * (columns**2).sum() - columns.sum() ** 2)
    q /= k * rows.sum() - (rows**2).sum()
    found = noise(x)
    assert found.ratio is not None
    assert found.ratio * (k - 1) == pytest.approx(q)
    assert found.p_chi_square == pytest.approx(stats.chi2.sf(q, k - 1))
    assert found.p_more == pytest.approx(found.p_chi_square, abs=0.05)


def test_independent_draws_are_noise_as_expected() -> None:
    verdicts = [aa.verdict(noise(draws(seed))) for seed in range(60)]
    assert verdicts.count("noise as expected of independent rollouts") >= 50


def test_a_shock_that_moves_whole_repeats_is_alarming() -> None:
    verdicts = [aa.verdict(noise(draws(seed, shock=1.5))) for seed in range(20)]
    assert sum(v.startswith("more than chance") for v in verdicts) >= 18


def test_repeats_that_are_copies_are_told() -> None:
    x = np.tile(draws(1, repeats=1), (11, 1))
    assert aa.verdict(noise(x)).startswith("no noise at all")
    for value, came in ((0, "nothing"), (1, "everything")):
        assert aa.verdict(noise(np.full((11, 9), value))).startswith(f"{came} passed, so nothing")
    said = aa.report(noise(np.zeros((11, 9))), simulated=False, part="val")
    assert "a rise of 1 paper or more" in said
    assert " 0 calls in flight" in said
    balanced = np.add.outer(np.arange(10), np.arange(24)) % 2.0  # 12 papers every time
    assert aa.verdict(noise(balanced)).startswith("less than chance")


def test_the_gate_and_flips_are_those_of_all_pairs() -> None:
    x = draws(3, repeats=4)[:, :7]
    found, pairs = noise(x), list(itertools.permutations(range(4), 2))
    assert found.gate.observed == np.mean([x[a].sum() > x[b].sum() for a, b in pairs])
    assert found.flip_rate == pytest.approx(np.mean([x[a] != x[b] for a, b in pairs]))
    expected = at_least_two = 0.0
    for signs in itertools.product((-1, 0, 1), repeat=7):
        chances = [f / 2 if s else 1 - f for s, f in zip(signs, found.flips, strict=True)]
        expected += math.prod(chances) * (sum(signs) > 0)
        at_least_two += math.prod(chances) * (sum(signs) >= found.gate.beyond)
    assert found.gate.expected == pytest.approx(expected)
    assert at_least_two <= 0.05


def test_the_gates_rate_is_the_published_one() -> None:
    """An identical mutant gets through 43 to 44 % of the time on 25 papers."""
    rates = [noise(draws(seed, repeats=51)).gate for seed in range(5)]
    assert np.mean([g.expected for g in rates]) == pytest.approx(0.435, abs=0.02)
    assert np.mean([g.observed for g in rates]) == pytest.approx(0.435, abs=0.03)


def test_load_is_seen_where_it_matters() -> None:
    rng = np.random.default_rng(11)
    load = rng.integers(0, 9, (11, PAPERS)).astype(float)
    heavy = (rng.random(load.shape) < 0.8 - 0.07 * load).astype(float)
    found = aa.noise(heavy, load).load
    assert found.slope == pytest.approx(-0.07, abs=0.03)
    assert found.p is not None
    assert found.p < 0.01
    slope = stats.linregress((load - load.mean(0)).ravel(), (heavy - heavy.mean(0)).ravel()).slope
    assert found.slope == pytest.approx(slope)
    assert noise(heavy).load.slope is None
