"""``metaopt power`` against what is known otherwise: scipy, enumeration, and simulation."""

import itertools
import json
from math import prod

import numpy as np
import pytest
from scipy.stats import binom, ttest_rel

from analysis.cli import app
from analysis.power import papers_needed, verdicts
from metaopt.chance import Papers, accepted, drawn_papers, expit, known_papers, number_of
from metaopt.cli import invoke

Capture = pytest.CaptureFixture[str]


def coins(
    papers: Papers, spread: float, rates: tuple[float, float], repeats: int, times: int
) -> tuple[np.ndarray, np.ndarray]:
    """Passes of parent and mutant on each of so many newly drawn papers, ``times`` times over."""
    rng = np.random.default_rng(7)
    ease = rng.normal(0, spread, (times, papers.count))
    parent, mutant = (rng.binomial(repeats, expit(ease + papers.quality(rate))) for rate in rates)
    return parent, mutant


@pytest.mark.parametrize("rate", [0.2, 0.3, 0.42])
@pytest.mark.parametrize(
    ("change", "least", "most"), [(0, 0.425, 0.445), (-0.05, 0.255, 0.315), (0.1, 0.715, 0.755)]
)
def test_the_strict_gates_known_figures(
    rate: float, change: float, least: float, most: float
) -> None:
    found = accepted(drawn_papers(25, 0), rate, change)
    passes = np.arange(26)
    parent, mutant = binom.pmf(passes, 25, rate), binom.pmf(passes, 25, rate + change)
    more = passes[:, None] > passes[None, :]
    assert found == pytest.approx(float((mutant[:, None] * parent[None, :])[more].sum()), abs=1e-9)
    assert least <= found <= most


def test_known_papers_against_all_their_outcomes() -> None:
    papers = known_papers([0, 2, 9], [4, 4, 9])
    smoothed = [(x + 2 * 12 / 19) / (n + 2) for x, n in ((0, 4), (2, 4), (9, 9))]
    assert papers.rates(0.0)[:, 0] == pytest.approx(smoothed)
    parent, mutant = papers.quality(0.5), papers.quality(0.6)
    p, q = papers.rates(parent)[:, 0], papers.rates(mutant)[:, 0]
    assert (p.mean(), q.mean()) == pytest.approx((0.5, 0.6))
    total = 0.0
    for outcome in itertools.product((0, 1), repeat=6):
        before, after = outcome[:3], outcome[3:]
        if sum(after) > sum(before):
            chances = zip((*p, *q), outcome, strict=True)
            total += prod(r if passed else 1 - r for r, passed in chances)
    assert accepted(papers, 0.5, 0.1) == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("change", [0.0, 0.1])
def test_the_gate_on_papers_of_varying_difficulty_by_simulation(change: float) -> None:
    papers = drawn_papers(25, 1.0)
    parent, mutant = coins(papers, 1.0, (0.3, 0.3 + change), 1, 100_000)
    more = (mutant.sum(axis=1) > parent.sum(axis=1)).mean()
    assert parent.mean() == pytest.approx(0.3, abs=0.002)
    assert accepted(papers, 0.3, change) == pytest.approx(more, abs=0.006)


@pytest.mark.parametrize(("change", "repeats"), [(0.2, 1), (0.1, 4), (0.0, 2)])
def test_a_comparisons_power_by_simulation(change: float, repeats: int) -> None:
    papers = drawn_papers(25, 1.0)
    parent, mutant = coins(papers, 1.0, (0.3, 0.3 + change), repeats, 10_000)
    better, worse = verdicts(papers, 0.3, change, repeats)
    test = ttest_rel(mutant, parent, axis=1)
    found = test.pvalue < 0.05
    assert better == pytest.approx((found & (test.statistic > 0)).mean(), abs=0.015)
    assert worse == pytest.approx((found & (test.statistic < 0)).mean(), abs=0.01)


@pytest.mark.parametrize(("change", "repeats"), [(0.1, 1), (-0.1, 1), (0.15, 3)])
def test_so_many_papers_are_enough(change: float, repeats: int) -> None:
    needed = papers_needed(drawn_papers(25, 1.0), 0.3, change, repeats)
    assert needed
    papers = drawn_papers(needed, 1.0)
    parent, mutant = coins(papers, 1.0, (0.3, 0.3 + change), repeats, 4_000)
    assert (ttest_rel(mutant, parent, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.025)
    assert max(verdicts(drawn_papers(needed - 1, 1.0), 0.3, change, repeats)) < 0.8


def test_how_many_false_accepts() -> None:
    assert number_of([0.433] * 233) == pytest.approx((233 * 0.433, binom(233, 0.433).std()))


def test_power_prints_its_table_and_its_numbers(capsys: Capture) -> None:
    assert invoke(app, ["power", "--papers", "25", "--rate", "0.3", "--spread", "0"]) == 0
    out = capsys.readouterr().out
    assert "changes nothing is accepted 43.9% of the time: of 233 such ones\n102 ± 8" in out
    assert "+10 points     72.5%" in out
    asked = ["power", "--rate", "0.1", "--repeats", "4", "--iterations", "10", "--json"]
    assert invoke(app, asked) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [e["change"] for e in answer["effects"]][:2] == [-0.05, -0.02]  # none below zero
    assert answer["false_accepts"] == pytest.approx(10 * answer["identical"])
    assert invoke(app, ["power", "--rate", "1.2"]) == 2
    assert "between 0 and 1" in capsys.readouterr().err
