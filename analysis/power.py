"""``metaopt power``: what this gate lets in, and what a comparison of two harnesses can see.

The gate is exact where there is a formula (``metaopt.chance``).  The comparison is that of
``metaopt compare``: its power is worked out from the spread of per-paper differences that Rasch
papers give.
"""

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis import paired
from inner_agent.errors import UserError
from metaopt.chance import (
    DRAWS,
    OFF,
    Floats,
    Papers,
    accepted,
    drawn_papers,
    extremes,
    is_exact,
    number_of,
)
from metaopt.config import POLICIES, Search
from metaopt.policy import policy_of
from metaopt.population import shrunk_rates
from metaopt.record import open_record
from metaopt.state import winner
from metaopt.status import SIMULATED
from metaopt.text import grid, render
from metaopt.validations import papers_of_run

CHANGES = (-0.20, -0.15, -0.10, -0.05, -0.02, 0.0, 0.02, 0.05, 0.10, 0.15, 0.20)
GATES = {
    True: "accepts what passes more papers than its parent; exact",
    False: f"no formula; it was asked about {DRAWS:,} simulated validations: good to 1 or 2 points",
}
LEVEL, WANTED = 0.05, 0.8
FEW = 60  # papers: from there on the t's figure is good enough


@dataclass(frozen=True, slots=True)
class Effect:
    """What comes of a mutant whose true pass rate differs from its parent's by ``change``.

    ``accepted``: by the gate.  ``told``: the chance that a comparison tells the change for what it
    is, and where there is none, that it takes it for one.  ``papers_needed``: to tell it in 80% of
    cases; ``None`` for no change, and where 100,000 don't do.
    """

    change: float
    accepted: float
    told: float
    papers_needed: int | None


@dataclass(frozen=True, slots=True)
class Setting:
    """What is asked about: the gate, the papers, the parent's true rate on them.

    ``source`` says in words where papers and rate are from; ``simulated``: of a simulated run.
    """

    search: Search
    papers: Papers
    rate: float
    source: str
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Power:
    """The answer.  ``identical``: the gate's acceptance rate of a mutant that changes nothing;
    ``lowest`` and ``highest``: that, over what the policy may hold of the parent;
    ``false_accepts`` and its standard deviation ``spread``: of ``iterations`` such mutants."""

    policy: str
    exact: bool
    papers: int
    rate: float
    source: str
    simulated: bool
    repeats: int
    identical: float
    lowest: float
    highest: float
    iterations: int
    false_accepts: float
    spread: float
    effects: tuple[Effect, ...]


def assumed(policy: str, count: int, rate: float, spread: float) -> Setting:
    """Papers drawn at random.

    Raises ``UserError`` for an unknown policy, and for a rate outside of (0, 1).
    """
    if policy not in POLICIES:
        raise UserError(f"--policy {policy}: there is none; known: {', '.join(POLICIES)}")
    if not 0 < rate < 1:
        raise UserError(f"--rate {rate:g}: give a pass rate between 0 and 1, such as 0.3")
    source = f"papers drawn at random, their difficulty varying by {spread:g} on the logit"
    search = Search.model_validate({"policy": policy})
    return Setting(search, drawn_papers(count, spread), rate, source)


def recorded(run: Path, policy: str | None) -> Setting:
    """A run's own policy unless another is named, its papers, its best candidate's rate.

    Raises ``UserError``.
    """
    record = open_record(run)
    papers, top = papers_of_run(record), winner(record.state)
    rate = shrunk_rates(record.state.candidates.values())[top.id]
    source = f"papers of {run}, shrunk rate of candidate {top.id}"
    search = record.config.search
    if policy not in (None, search.policy):
        search = assumed(str(policy), papers.count, rate, 0.0).search
    return Setting(search, papers, rate, source, record.config.simulated)


def power(setting: Setting, repeats: int, iterations: int) -> Power:
    """The whole answer; ``repeats``: runs of each paper in a comparison.

    Changes that would lead out of (0, 1) are left out.
    """
    policy, papers, rate = policy_of(setting.search), setting.papers, setting.rate
    changes = [c for c in CHANGES if not c or 0.001 < rate + c < 0.999]
    shares = accepted(policy, papers, rate, changes)
    identical = shares[changes.index(0.0)]
    exact = is_exact(policy)
    least_and_most = (identical, identical) if exact else extremes(policy, papers, rate)
    effects = (_effect(papers, rate, c, s, repeats) for c, s in zip(changes, shares, strict=True))
    return Power(
        setting.search.policy, exact, papers.count, rate, setting.source,
        setting.simulated, repeats, identical, *least_and_most, iterations,
        *number_of([identical] * iterations),
        tuple(effects),
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
            f"{e.accepted:.1%}", f"{e.told:.1%}" if e.change else f"≤ {LEVEL:.0%}", needed,
        )  # fmt: skip
    times = "once" if answer.repeats == 1 else f"{answer.repeats} times"
    lines = [
        *([SIMULATED] if answer.simulated else []),
        f"{answer.papers} papers, the parent's true pass rate {answer.rate:.1%} ({answer.source})",
        f"policy “{answer.policy}”: {GATES[answer.exact]}",
        "",
        f"A mutant that changes nothing is accepted {answer.identical:.1%} of the time: of"
        f" {answer.iterations} such ones",
        f"{answer.false_accepts:.0f} ± {answer.spread:.0f} (mean and standard deviation) would be"
        " false accepts.",
        *_held(answer),
        "",
        render(table),
        "",
        "accepted: by the gate, in one validation of parent and mutant",
        f"told by compare: the verdict of metaopt compare on {answer.papers} papers, each run"
        f" {times}; “none”: said to differ",
        "papers needed: to be told in 80% of such comparisons",
    ]
    return "\n".join(lines)


def _held(answer: Power) -> list[str]:
    """Where a policy compares with an estimate: how much hangs on it."""
    if answer.exact:
        return []
    return [
        f"The gate compares with what the policy holds of the parent. {100 * OFF:.0f} points off"
        f" either way, {answer.lowest:.0%} to {answer.highest:.0%}",
        "of such mutants are accepted: it jumps where a whole paper more is needed. Figures here"
        " are averages.",
    ]


def told(papers: Papers, rate: float, change: float, repeats: int) -> float:
    """How often a comparison tells the change for what it is; of none: how often for one.

    Exact where papers are few and run once, for then few outcomes are possible; else by the
    noncentral t.
    """
    if repeats == 1 and papers.count <= FEW:
        return _told_exactly(papers, rate, change)
    share = paired.power(*per_paper(papers, rate, change, repeats), papers.count, LEVEL)
    return share if change else 2 * share


def _told_exactly(papers: Papers, rate: float, change: float) -> float:
    """Summed over how many papers only the one harness passes, and how many only the other."""
    p, q = papers.rates(papers.quality(rate)), papers.rates(papers.quality(rate + change))
    gains, losses = (q * (1 - p)) @ papers.weights, (p * (1 - q)) @ papers.weights
    chance = np.zeros((papers.count + 1, papers.count + 1))
    chance[0, 0] = 1.0
    for gain, loss in zip(gains, losses, strict=True):
        for _ in range(papers.copies):
            before, chance = chance, chance * (1 - gain - loss)
            chance[1:] += before[:-1] * gain
            chance[:, 1:] += before[:, :-1] * loss
    better = _better(papers.count)
    found = better if change > 0 else better.T if change < 0 else better | better.T
    return float(chance[found].sum())


@cache
def _better(papers: int) -> NDArray[np.bool_]:
    """Is the verdict "better", by how many papers only the second and only the first passes?"""
    found = np.zeros((papers + 1, papers + 1), bool)
    for won in range(papers + 1):
        for lost in range(min(won, papers - won + 1)):
            d = np.repeat([1, -1, 0], [won, lost, papers - won - lost])
            found[won, lost] = paired.interval(d)[0] > 0 and paired.mid_p(d) <= LEVEL
    return found


def _effect(papers: Papers, rate: float, change: float, share: float, repeats: int) -> Effect:
    needed = None
    if change:
        spread = per_paper(papers, rate, change, repeats)
        needed = paired.papers_needed(*spread, LEVEL, WANTED)
    return Effect(change, share, told(papers, rate, change, repeats), needed)


def per_paper(papers: Papers, rate: float, change: float, repeats: int) -> tuple[float, float]:
    """Mean and variance, over papers and runs, of a paper's difference of pass rates."""
    p, q = papers.rates(papers.quality(rate)), papers.rates(papers.quality(rate + change))
    noise = (p * (1 - p) + q * (1 - q)) / repeats
    mean = _average(papers, q - p)
    return mean, _average(papers, (q - p - mean) ** 2 + noise)


def _average(papers: Papers, values: Floats) -> float:
    return float((values @ papers.weights).mean())
