"""The optimism meter against known truth: exact expectations, and whole searches in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binom

from metaopt import optimism
from metaopt.optimism import Search, Trial, curse, effects, go_through
from metaopt.policy import Choice, Paper, Policy
from metaopt.population import Candidate, ranked, shrunk_rates
from metaopt.rehearsal import Rehearsal
from metaopt.statistics import clustered, wilson


class FirstParent(Paper):
    """Always the baseline, and everything is let in."""

    def choose(self, candidates: Sequence[Candidate], rng: np.random.Generator) -> Choice:
        return Choice(candidates[0], candidates[0].rate)

    def admit(self, rate: float, parent: Sequence[bool], mutant: Sequence[bool]) -> bool:
        return True


@pytest.mark.parametrize(("edits", "rate"), [(5, 0.3), (40, 0.1)])
def test_the_highest_of_many_equal_scores_exactly(edits: int, rate: float) -> None:
    """Of n candidates of one rate, and the baseline's own first score."""
    idle = Search(FirstParent(), edits, 25, rate)
    rng = np.random.default_rng(5)
    found = [go_through(idle, rng)[0] for _ in range(1_000)]
    not_above = binom.cdf(np.arange(25), 25, rate) ** (edits + 1)
    expected = float((1 - not_above).sum()) / 25 - rate
    assert np.mean(found) == pytest.approx(expected, abs=0.006)


@dataclass(slots=True)
class World:
    """Papers of varying difficulty; edits that gain 0.25, idle, break all, or harm."""

    gains: float
    rng: np.random.Generator
    ease: np.ndarray
    quality: list[float]
    papers: int = 25
    first: dict[int, list[bool]] = field(default_factory=dict)  # before anything could stop it

    def mutate(self, parent: int) -> None:
        kind = self.rng.choice(4, p=[self.gains, 0.45, 0.07, 0.48 - self.gains])
        steps = (0.25, self.rng.normal(0, 0.04), -9.0, -abs(self.rng.normal(0, 0.35)))
        self.quality.append(self.quality[parent] + steps[kind])

    def run(self, harness: int, papers: np.ndarray) -> list[bool]:
        chance = expit(self.ease[papers] + self.quality[harness])
        passed = [bool(x) for x in self.rng.random(len(papers)) < chance]
        self.first.setdefault(harness, passed)
        return passed


def searched(
    policy: Policy, seed: int, iterations: int, gains: float
) -> tuple[list[Trial], float, list[float]]:
    """A search with known truth: its mutants' trials, the baseline's shrunk rate, and how far
    highest single score, best's single score, average and shrunk rate are too high."""
    rng = np.random.default_rng(seed)
    world = World(gains, rng, rng.normal(0, 1, 25), [-2.3])
    run = Rehearsal(policy, world, rng)
    if not policy.spending.rerun_parent:
        run.validate_baseline()
    for _ in range(iterations):
        run.iterate()
    rates = shrunk_rates(run.candidates)
    trials = []
    for mutant in run.candidates[1:]:
        first, rate = world.first[mutant.id], rates[mutant.parent or 0]
        trials.append(Trial(len(first), sum(first), rate))
    truth = [float(expit(world.ease + q).mean()) for q in world.quality]
    order = ranked(run.candidates)
    top, highest = order[0], max((c for c in order if c.runs), key=lambda c: c.runs[0][1])
    shown = (highest.runs[0][1] / 25, top.runs[0][1] / 25, top.rate, rates[top.id])
    true = (truth[highest.id], *[truth[top.id]] * 3)
    return trials, rates[0], [a - b for a, b in zip(shown, true, strict=True)]


@pytest.mark.parametrize(("iterations", "gains"), [(14, 0.0), (60, 0.2)])
def test_the_expected_curse_is_what_searches_with_known_truth_show(
    iterations: int, gains: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, expected = [], []
    for seed in range(100):
        monkeypatch.setattr(optimism, "SEED", seed)  # else the same few redraws each time
        trials, start, excess = searched(Paper(), seed, iterations, gains)
        luck = curse(Search(Paper(), iterations, 25, start, effects(trials), work=0))
        real.append(excess)
        expected.append((luck.highest, luck.single, luck.pooled, luck.shrunk))
    assert np.mean(expected, axis=0) == pytest.approx(np.mean(real, axis=0), abs=0.02)
    assert np.mean(expected, axis=0)[0] > 0.08  # there is something to expect


@pytest.mark.parametrize("papers", [5, 25])
def test_edits_effects_are_found_from_noisy_scores(papers: int) -> None:
    rng = np.random.default_rng(2)
    quality = rng.normal(-0.2, 0.4, 4_000) + float(logit(0.2))
    quality[rng.random(4_000) < 0.1] = -np.inf
    passes = rng.binomial(papers, expit(quality))
    found = effects([Trial(papers, int(x), 0.2) for x in passes])
    assert found.mean == pytest.approx(-0.2, abs=0.11)
    assert found.spread == pytest.approx(0.4, abs=0.11)
    assert found.broken == pytest.approx(0.1, abs=0.06)
    idle = effects([Trial(papers, int(x), 0.2) for x in rng.binomial(papers, 0.2, 4_000)])
    assert (idle.spread, idle.broken) == pytest.approx((0.0, 0.0), abs=0.21)


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
