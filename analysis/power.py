"""``metaopt power``: what this gate lets in, and what a comparison of two harnesses can see.

The gate is exact (``metaopt.chance``).  The comparison is that of ``metaopt compare``: its power
is worked out from the spread of per-paper differences that Rasch papers give.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from analysis.paired import papers_needed, sign_flip_power
from inner_agent.errors import UserError
from metaopt.chance import Floats, Papers, accepted, drawn_papers, number_of
from metaopt.population import best, shrunk_rates
from metaopt.record import open_record
from metaopt.status import SIMULATED
from metaopt.text import grid, render
from metaopt.validations import papers_of_run

CHANGES = (-0.20, -0.15, -0.10, -0.05, -0.02, 0.0, 0.02, 0.05, 0.10, 0.15, 0.20)
LEVEL, WANTED = 0.05, 0.8


@dataclass(frozen=True, slots=True)
class Effect:
    """What comes of a mutant whose true pass rate differs from its parent's by ``change``.

    ``accepted``: by the gate.  ``told``: the chance that a comparison tells the change for what it
    is, and where there is none, that it takes it for one.  ``papers_needed``: to tell it in 80 % of
    cases; ``None`` for no change, and where 100,000 don't do.
    """

    change: float
    accepted: float
    told: float
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
    population = [c for c in record.state.population if c.runs]
    top = best(population)
    rate = min(max(shrunk_rates(population)[top.id], 1 / (4 * papers.count)), 0.99)
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
    table = grid(">true change", ">accepted", ">told by compare", ">papers needed")
    for e in answer.effects:
        needed = (
            "-" if e.change == 0 else f"{e.papers_needed:,}" if e.papers_needed else "> 100,000"
        )
        table.add_row(
            f"{100 * e.change:+.0f} points" if e.change else "none",
            *(f"{share:.1%}" for share in (e.accepted, e.told)), needed,
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
        f"told by compare: the verdict of metaopt compare on {answer.papers} papers, each run"
        f" {times}; “none”: told for a change",
        "papers needed: to be told in 80 % of such comparisons",
    ]
    return "\n".join(lines)


def told(papers: Papers, rate: float, change: float, repeats: int) -> float:
    """How often a comparison tells the change for what it is; of none: how often for one."""
    mean, variance = per_paper(papers, rate, change, repeats)
    square = variance + mean**2
    share = sign_flip_power(mean, square, papers.count, repeats, LEVEL)
    return share if change else 2 * share


def _effect(papers: Papers, rate: float, change: float, repeats: int) -> Effect:
    mean, variance = per_paper(papers, rate, change, repeats)
    needed = papers_needed(mean, variance, LEVEL, WANTED) if change else None
    share = accepted(papers, rate, change)
    return Effect(change, share, told(papers, rate, change, repeats), needed)


def per_paper(papers: Papers, rate: float, change: float, repeats: int) -> tuple[float, float]:
    """Mean and variance, over papers and runs, of a paper's difference of pass rates."""
    p, q = papers.rates(papers.quality(rate)), papers.rates(papers.quality(rate + change))
    noise = (p * (1 - p) + q * (1 - q)) / repeats
    mean = _average(papers, q - p)
    return mean, _average(papers, (q - p - mean) ** 2 + noise)


def _average(papers: Papers, values: Floats) -> float:
    return float((values @ papers.weights).mean())
