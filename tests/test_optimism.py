"""The optimism meter against known truth: exact expectations, and whole searches in numbers."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import binom

from metaopt import optimism
from metaopt.chance import expit
from metaopt.optimism import Edits, curse, edits_of, go_through
from metaopt.policy import Paper
from metaopt.population import Candidate, best, shrunk_rates
from metaopt.statistics import clustered, wilson


class FirstParent:
    """Always the baseline, and everything is let in."""

    def choose(self, population: Sequence[Candidate], rng: np.random.Generator) -> Candidate:
        return population[0]

    def admit(self, parent_passes: int, mutant_passes: int, papers: int) -> bool:
        return True


@pytest.mark.parametrize(("edits", "rate"), [(5, 0.3), (40, 0.1)])
def test_the_highest_of_many_equal_scores_exactly(edits: int, rate: float) -> None:
    """Of n candidates of one rate, and the baseline's own first score."""
    idle = Edits((25,) * edits, 0.0, 0.0)
    rng = np.random.default_rng(5)
    found = [go_through(idle, rate, FirstParent(), rng)[0] for _ in range(2_000)]
    not_above = binom.cdf(np.arange(25), 25, rate) ** (edits + 1)
    expected = float((1 - not_above).sum()) / 25 - rate
    assert np.mean(found) == pytest.approx(expected, abs=0.004)


def searched(seed: int, iterations: int, gains: float) -> tuple[list[Candidate], list[float]]:
    """A search by policy ``paper`` on 25 papers of varying difficulty: its validated candidates,
    and how far highest single score, best's single score, average and shrunk rate are too high."""
    rng, policy = np.random.default_rng(seed), Paper()
    ease, quality = rng.normal(0, 1, 25), [-2.3]
    made = [Candidate(0, None, "", "")]
    population = [made[0]]
    for i in range(1, iterations + 1):
        parent = policy.choose(population, rng)
        kind = rng.choice(4, p=[gains, 0.45, 0.07, 0.48 - gains])  # gain, idle, break, harm
        steps = (0.25, rng.normal(0, 0.04), -9.0, -abs(rng.normal(0, 0.35)))
        quality.append(quality[parent.id] + steps[kind])
        old, new = (int((rng.random(25) < expit(ease + quality[c])).sum()) for c in (parent.id, i))
        mutant = Candidate(i, parent.id, "", "", accepted=policy.admit(old, new, 25))
        parent.add_run(i, old, 25)
        mutant.add_run(i, new, 25)
        made.append(mutant)
        if mutant.accepted:
            population.append(mutant)
    truth = [float(expit(ease + q).mean()) for q in quality]
    top, rates = best(population), shrunk_rates(population)
    highest = max(population, key=lambda c: c.runs[0][1])
    shown = (highest.runs[0][1] / 25, top.runs[0][1] / 25, top.rate, rates[top.id])
    true = (truth[highest.id], *[truth[top.id]] * 3)
    return made, [a - b for a, b in zip(shown, true, strict=True)]


@pytest.mark.parametrize(("iterations", "gains"), [(14, 0.0), (60, 0.2)])
def test_the_expected_curse_is_what_searches_with_known_truth_show(
    iterations: int, gains: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimism, "WORK", 1_500)
    real, expected = [], []
    for seed in range(120):
        made, excess = searched(seed, iterations, gains)
        luck = curse(made, Paper())
        assert luck
        real.append(excess)
        expected.append((luck.highest, luck.single, luck.pooled, luck.shrunk))
    assert np.mean(expected, axis=0) == pytest.approx(np.mean(real, axis=0), abs=0.018)
    assert np.mean(expected, axis=0)[0] > 0.08  # there is something to expect


def test_edits_effects_are_found_without_their_luck() -> None:
    """Of many edits, a fifth of which gain 1.0 on the logit; the rest do nothing, or break."""
    rng = np.random.default_rng(2)
    made = [Candidate(0, None, "", "")]
    for i in range(1, 4_001):
        quality = rng.choice([0.0, 1.0, -9.0], p=[0.7, 0.2, 0.1])
        mutant = Candidate(i, 0, "", "")
        made[0].add_run(i, int(rng.binomial(25, 0.5)), 25)
        mutant.add_run(i, int(rng.binomial(25, expit(quality))), 25)
        made.append(mutant)
    found = edits_of(made)
    assert abs(found.mean) < 0.2
    assert 0.35 < found.spread < 0.75  # of the upper half: sqrt(0.2 / 0.55) = 0.6
    still = edits_of([made[0], *(m for m in made[1:] if m.passes == made[0].runs[m.id - 1][1])])
    assert still.spread == 0.0  # no more than noise


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.6])
@pytest.mark.parametrize(("spread", "runs"), [(0.0, 4), (1.0, 4), (1.0, 16)])
def test_intervals_of_repeated_runs_cover_other_papers(
    rate: float, spread: float, runs: int
) -> None:
    rng = np.random.default_rng(3)
    logit = {0.0: np.log(rate / (1 - rate)), 1.0: {0.1: -2.5697, 0.3: -1.0174, 0.6: 0.4878}[rate]}
    ease = rng.normal(logit[spread], spread, (2_000, 25))
    passes = rng.binomial(runs, expit(ease))
    assert expit(rng.normal(logit[spread], spread, 10**6)).mean() == pytest.approx(rate, abs=2e-3)
    covered = [
        low <= rate <= high for low, high in (clustered(x, [runs] * 25) for x in passes.tolist())
    ]
    assert 0.93 <= np.mean(covered) <= 0.98
    if runs == 16:  # those that take each rollout for another paper don't
        plain = [wilson(int(x.sum()), 25 * runs) for x in passes]
        assert np.mean([low <= rate <= high for low, high in plain]) < 0.85


def test_an_interval_of_single_runs_is_wilsons() -> None:
    assert clustered([1, 0, 0, 1, 0], [1] * 5) == wilson(2, 5)
    assert clustered([4, 4, 4], [4, 4, 4]) == wilson(3, 3)  # no more than the papers know
