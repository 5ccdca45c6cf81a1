"""``metaopt power``: what this gate lets in, and what a comparison of two harnesses can see.

The gate is exact (``metaopt.chance``).  The comparison is the paired t test on per-paper
differences of pass rates, two-sided at 5 %: its power is that of the noncentral t distribution
(Student 1908; Johnson and Welch 1940), with the variance that Rasch papers give.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import nctdtr, stdtrit

from inner_agent.errors import UserError
from metaopt.chance import Floats, Papers, accepted, drawn_papers, number_of
from metaopt.population import shrunk_rates
from metaopt.record import open_record
from metaopt.state import winner
from metaopt.status import SIMULATED
from metaopt.text import grid, render
from metaopt.validations import papers_of_run

CHANGES = (-0.20, -0.15, -0.10, -0.05, -0.02, 0.0, 0.02, 0.05, 0.10, 0.15, 0.20)
LEVEL, WANTED = 0.05, 0.8
MOST_PAPERS = 10**6


@dataclass(frozen=True, slots=True)
class Effect:
    """What comes of a mutant whose true pass rate differs from its parent's by ``change``.

    ``accepted``: by the gate.  ``better`` and ``worse``: the chance that a paired comparison says
    so.  ``papers_needed``: for which it says the right one in 80 % of cases; ``None`` for no
    change, and where a million don't do.
    """

    change: float
    accepted: float
    better: float
    worse: float
    papers_needed: int | None


@dataclass(frozen=True, slots=True)
class Setting:
    """What is asked about: the papers, the parent's true rate on them, and where it is from.

    ``source`` says so in words; ``simulated``: of a simulated run.
    """

    papers: Papers
    rate: float
    source: str
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Power:
    """The answer.  ``identical``: the gate's acceptance rate of a mutant that changes nothing;
    ``false_accepts`` and its standard deviation ``spread``: of ``iterations`` such mutants."""

    policy: str
    papers: int
    rate: float
    source: str
    simulated: bool
    repeats: int
    identical: float
    iterations: int
    false_accepts: float
    spread: float
    effects: tuple[Effect, ...]


def assumed(count: int, rate: float, spread: float) -> Setting:
    """Papers drawn at random.  Raises ``UserError`` for a rate outside of (0, 1)."""
    if not 0 < rate < 1:
        raise UserError(f"--rate {rate:g}: give a pass rate between 0 and 1, such as 0.3")
    source = f"papers drawn at random, their difficulty varying by {spread:g} on the logit"
    return Setting(drawn_papers(count, spread), rate, source)


def recorded(run: Path) -> Setting:
    """A run's own validation papers, at its best candidate's rate.  Raises ``UserError``."""
    record = open_record(run)
    papers = papers_of_run(record)
    top, rates = winner(record.state), shrunk_rates(record.state.candidates.values())
    rate = min(max(rates[top.id], 1 / (4 * papers.count)), 0.99)
    source = f"papers and rate of {run}, candidate {top.id}"
    return Setting(papers, rate, source, record.config.simulated)


def power(setting: Setting, repeats: int, iterations: int) -> Power:
    """The whole answer; ``repeats``: runs of each paper in a comparison.

    Changes that would lead out of (0, 1) are left out.
    """
    papers, rate = setting.papers, setting.rate
    identical = accepted(papers, rate)
    return Power(
        "paper", papers.count, rate, setting.source, setting.simulated, repeats, identical,
        iterations, *number_of([identical] * iterations),
        tuple(_effect(papers, rate, c, repeats) for c in CHANGES if 0.001 < rate + c < 0.999),
    )  # fmt: skip


def as_json(answer: Power) -> str:
    """Every number; rates and changes are fractions."""
    return json.dumps(asdict(answer), indent=2)


def as_text(answer: Power) -> str:
    """What somebody reads who is about to believe a gate or a comparison."""
    table = grid(">true change", ">accepted", ">says better", ">says worse", ">papers needed")
    for e in answer.effects:
        needed = "-" if e.change == 0 else f"{e.papers_needed:,}" if e.papers_needed else "> 10^6"
        table.add_row(
            f"{100 * e.change:+.0f} points" if e.change else "none",
            *(f"{share:.1%}" for share in (e.accepted, e.better, e.worse)), needed,
        )  # fmt: skip
    times = "once" if answer.repeats == 1 else f"{answer.repeats} times"
    lines = [
        *([SIMULATED] if answer.simulated else []),
        f"{answer.papers} papers, the parent's true pass rate {answer.rate:.1%} ({answer.source})",
        f"policy “{answer.policy}”: accepts what passes more papers than its parent; exact",
        "",
        f"A mutant that changes nothing is accepted {answer.identical:.1%} of the time: of"
        f" {answer.iterations} such ones",
        f"{answer.false_accepts:.0f} ± {answer.spread:.0f} (mean and standard deviation) would be"
        " false accepts.",
        "",
        render(table),
        "",
        "accepted: by the gate, in one validation of parent and mutant",
        f"says: the 95 % verdict of a paired comparison (t test) on {answer.papers} papers, each"
        f" run {times}",
        "papers needed: for the right verdict in 80 % of such comparisons",
    ]
    return "\n".join(lines)


def verdicts(papers: Papers, rate: float, change: float, repeats: int) -> tuple[float, float]:
    """How often a paired comparison of ``repeats`` runs says better, and worse."""
    mean, variance = _per_paper(papers, rate, change, repeats)
    return _said(mean, variance, papers.count), _said(-mean, variance, papers.count)


def papers_needed(papers: Papers, rate: float, change: float, repeats: int) -> int | None:
    """Papers like these for 80 % power; ``None`` where a million don't do."""
    mean, variance = _per_paper(papers, rate, change, repeats)
    low, high = 2, 4
    while _said(abs(mean), variance, high) < WANTED:
        low, high = high, 2 * high
        if high > MOST_PAPERS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if _said(abs(mean), variance, middle) >= WANTED else (middle, high)
        )
    return high


def _effect(papers: Papers, rate: float, change: float, repeats: int) -> Effect:
    better, worse = verdicts(papers, rate, change, repeats)
    needed = papers_needed(papers, rate, change, repeats) if change else None
    return Effect(change, accepted(papers, rate, change), better, worse, needed)


def _per_paper(papers: Papers, rate: float, change: float, repeats: int) -> tuple[float, float]:
    """Mean and variance, over papers and runs, of a paper's difference of pass rates."""
    p, q = papers.rates(papers.quality(rate)), papers.rates(papers.quality(rate + change))
    noise = (p * (1 - p) + q * (1 - q)) / repeats
    mean = _average(papers, q - p)
    return mean, _average(papers, (q - p - mean) ** 2 + noise)


def _average(papers: Papers, values: Floats) -> float:
    return float((values @ papers.weights).mean())


def _said(mean: float, variance: float, count: int) -> float:
    """The chance that a two-sided paired t test finds a difference of the sign of +1."""
    if count < 2:
        return 0.0
    critical = stdtrit(count - 1, 1 - LEVEL / 2)
    return float(1 - nctdtr(count - 1, mean * np.sqrt(count / variance), critical))
