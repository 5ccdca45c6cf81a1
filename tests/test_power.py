"""``metaopt power`` against what is known otherwise: scipy, enumeration, and simulation."""

import itertools
import json
import re
from math import prod

import numpy as np
import pytest
from scipy.stats import binom, ttest_rel

from analysis import paired
from analysis.cli import app
from analysis.paired import papers_needed
from analysis.power import per_paper, told
from metaopt.chance import (
    Papers,
    accepted,
    drawn_papers,
    expit,
    extremes,
    false_accepts,
    held_rates,
    known_papers,
    number_of,
)
from metaopt.cli import invoke
from metaopt.policy import Paper, Pooled, Spending, Thompson

Capture = pytest.CaptureFixture[str]


class Asked(Paper):
    """``Paper`` with a look after ten papers, at which nothing is ever hopeless."""

    def __init__(self) -> None:
        super().__init__(spending=Spending(block=10))


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
    found = accepted(Paper(), drawn_papers(25, 0), rate, [change])[0]
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
    assert accepted(Pooled(), papers, 0.5, [0.1])[0] == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("change", [0.0, 0.1])
def test_the_gate_on_papers_of_varying_difficulty_by_simulation(change: float) -> None:
    papers = drawn_papers(25, 1.0)
    parent, mutant = coins(papers, 1.0, (0.3, 0.3 + change), 1, 100_000)
    more = (mutant.sum(axis=1) > parent.sum(axis=1)).mean()
    assert parent.mean() == pytest.approx(0.3, abs=0.002)
    assert accepted(Paper(), papers, 0.3, [change])[0] == pytest.approx(more, abs=0.006)


def test_a_gate_without_a_formula_is_asked_itself() -> None:
    """``Asked`` decides as ``Paper`` does, so its simulated shares are known exactly."""
    papers, changes = drawn_papers(25, 1.0), [-0.1, 0.0, 0.1]
    assert accepted(Asked(), papers, 0.3, changes) == pytest.approx(
        accepted(Paper(), papers, 0.3, changes), abs=0.03
    )


def admitted(rate: float, held: float) -> float:
    """Papers of one rate: screened on 5 papers, then on all, always against ``held``."""
    screen, rest = np.arange(6), np.arange(21)
    passes = binom.pmf(screen, 5, rate)[:, None] * binom.pmf(rest, 20, rate)[None, :]
    total = screen[:, None] + rest[None, :]
    let_in = (screen[:, None] > 5 * held + 1e-9) & (total > 25 * held + 1e-9)
    return float(passes[let_in].sum())


def test_thompsons_gate_by_its_own_rules() -> None:
    """Never hopeless at so small a level; averaged over what it may hold of the parent."""
    policy, papers = Thompson(alpha=1e-9), drawn_papers(25, 0.0)
    found = accepted(policy, papers, 0.3, [0.1])[0]
    exact = float(np.mean([admitted(0.4, held) for held in held_rates(0.3)]))
    assert found == pytest.approx(exact, abs=0.03)
    assert accepted(Thompson(), papers, 0.3, [0.1])[0] <= found
    assert extremes(policy, papers, 0.2) == pytest.approx(
        (admitted(0.2, 0.21), admitted(0.2, 0.18)), abs=0.06
    )


def test_false_accepts_by_decision() -> None:
    """The published gate's between rates; another gate's against what it held at the time."""
    papers, rates = drawn_papers(25, 1.0), [0.05, 0.13, 0.3, 0.3, 0.55]
    exact = [accepted(Paper(), papers, rate)[0] for rate in rates]
    assert false_accepts(Paper(), papers, rates, rates) == pytest.approx(exact, abs=0.01)
    policy, alike = Thompson(alpha=1e-9), drawn_papers(25, 0.0)
    held = [0.08, 0.19, 0.2, 0.25] * 60
    found = false_accepts(policy, alike, [0.2] * len(held), held)
    assert sum(found) == pytest.approx(sum(admitted(0.2, h) for h in held), rel=0.05)


@pytest.mark.parametrize(
    ("rate", "change", "repeats"),
    [(0.3, 0.2, 1), (0.3, -0.15, 1), (0.3, 0.1, 4), (0.3, -0.2, 4), (0.3, 0.0, 1), (0.3, 0.0, 3),
     (0.02, 0.1, 1), (0.05, 0.15, 1), (0.05, 0.0, 1), (0.95, -0.2, 1)],
)  # fmt: skip
def test_what_a_comparison_tells_by_simulation(rate: float, change: float, repeats: int) -> None:
    papers = drawn_papers(25, 1.0)
    parent, mutant = coins(papers, 1.0, (rate, rate + change), repeats, 3_000)
    counts = mutant - parent
    found = np.array([paired.mid_p(row) <= 0.05 for row in counts])
    low, high = paired.interval(counts / repeats)
    found &= (low > 0) | (high < 0)
    if change:
        found &= counts.sum(axis=1) * change > 0
    near = 0.03 if repeats == 1 else 0.045  # once is exact but for the simulation
    assert told(papers, rate, change, repeats) == pytest.approx(found.mean(), abs=near)


@pytest.mark.parametrize(("change", "repeats"), [(0.1, 1), (-0.1, 1), (0.15, 3)])
def test_so_many_papers_are_enough(change: float, repeats: int) -> None:
    mean, variance = per_paper(drawn_papers(25, 1.0), 0.3, change, repeats)
    assert mean == pytest.approx(change)
    needed = papers_needed(mean, variance)
    assert needed
    parent, mutant = coins(drawn_papers(needed, 1.0), 1.0, (0.3, 0.3 + change), repeats, 4_000)
    found = ttest_rel(mutant, parent, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.025)


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
    for rate in ("1e-9", "0.9999999"):  # at the edge there is still no change at all
        assert invoke(app, ["power", "--rate", rate]) == 0
        assert "none      0.0%" in capsys.readouterr().out
    assert invoke(app, ["power", "--rate", "1.2"]) == 2
    assert "between 0 and 1" in capsys.readouterr().err
    assert invoke(app, ["power", "--policy", "thomson"]) == 2
    assert "known: paper, pooled, thompson" in capsys.readouterr().err
    assert invoke(app, ["power", "--policy", "thompson"]) == 0
    out = capsys.readouterr().out
    assert "no formula" in out
    assert re.search(r"2 points off either way, \d\d% to \d\d%", out)
    assert invoke(app, ["power", "--run", "x", "--rate", "0.2"]) == 2
    assert "leave out --papers" in capsys.readouterr().err
