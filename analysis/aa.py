"""``metaopt aa``: a harness with itself.  How far pass rates move when nothing was changed.

Each repeat is one evaluation as a validation makes it, with draws of its own, under this config's
load.  What is asked: do whole repeats differ by more than the luck of single rollouts explains?
"""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, chdtri

from analysis.paired import Floats
from metaopt.config import RunConfig
from metaopt.measure import measure, no_trace, part_papers
from metaopt.status import SIMULATED
from metaopt.text import several

FORMAT = 1  # of the JSON
LEVEL = 0.05
SHUFFLES = 4_999
SEED = 0
ARM = "baseline"


@dataclass(frozen=True, slots=True)
class Gate:
    """How often "more passes than" lets an identical harness through; from how many papers more
    on it is rarer than ``LEVEL``."""

    observed: float
    expected: float
    pairs: int
    beyond: int


@dataclass(frozen=True, slots=True)
class Load:
    """Calls in flight when rollouts began, and what one more did to a paper's pass rate.

    ``slope`` and ``p`` are ``None`` where the load was the same all the time.
    """

    least: float
    mean: float
    most: float
    slope: float | None
    p: float | None


@dataclass(frozen=True, slots=True)
class Noise:
    """Of ``x[repeat, paper]``.  Rates and standard deviations are fractions.

    ``ratio`` is the variance between repeats over what independent rollouts would give, with its
    95 % interval; ``p_more`` and ``p_less`` say how often shuffled results vary as much or as
    little; ``by_chance`` is where their standard deviation lies 95 % of the time.
    """

    papers: int
    repeats: int
    rates: tuple[float, ...]
    rate: float
    sd: float
    sd_expected: float
    sd_binomial: float
    by_chance: tuple[float, float]
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    p_more: float
    p_less: float
    p_chi_square: float | None
    flip_rate: float
    flips: tuple[float, ...]
    gate: Gate
    load: Load


def run_aa(
    config: RunConfig, out: Path, times: int, part: str, papers: int | None
) -> tuple[str, str]:
    """Measure what is owed; the report and the JSON.  Raises as ``metaopt.measure.measure``."""
    with no_trace(out):
        chosen = part_papers(config, out, part, papers)
        measured = measure(config, out, {ARM: None}, part, chosen, times + 1)
    found = noise(measured.passes()[0], measured.in_flight()[0])
    data = {
        "format": FORMAT,
        "metaopt": version("metaopt"),
        "simulated": measured.simulated,
        "part": part,
        "paper_ids": list(measured.plan.papers),
        "shuffles": {"count": SHUFFLES, "seed": SEED},
        "verdict": verdict(found),
        **asdict(found),
    }
    return (
        report(found, measured.simulated, part),
        json.dumps(data, indent=1, ensure_ascii=False) + "\n",
    )


def noise(x: Floats, in_flight: Floats) -> Noise:
    """The noise floor of repeated evaluations ``x[repeat, paper]`` of one harness.

    Cochran's Q (1950, "The Comparison of Percentages in Matched Samples") with repeats for
    treatments and papers for blocks: the variance of the repeats' totals over the sum of the
    papers' own variances.  Its distribution where rollouts are independent comes from shuffling
    each paper's results among the repeats, for chi-square is rough with few papers.
    """
    repeats, papers = x.shape
    totals, own = x.sum(1), float(x.var(0, ddof=1).sum())
    shuffled = _shuffled_totals(x).var(1, ddof=1)
    seen, free = float(totals.var(ddof=1)), repeats - 1
    ratio = seen / own if own else None
    rate = float(x.mean())
    flips = 2 * x.var(0, ddof=1)  # of two repeats of a paper, how often they differ: unbiased
    low, high = np.quantile(np.sqrt(shuffled), [0.025, 0.975]) / papers
    return Noise(
        papers=papers,
        repeats=repeats,
        rates=tuple(float(r) for r in x.mean(1)),
        rate=rate,
        sd=seen**0.5 / papers,
        sd_expected=own**0.5 / papers,
        sd_binomial=(rate * (1 - rate) / papers) ** 0.5,
        by_chance=(float(low), float(high)),
        ratio=ratio,
        ratio_low=None if ratio is None else float(free * ratio / chdtri(free, 0.025)),
        ratio_high=None if ratio is None else float(free * ratio / chdtri(free, 0.975)),
        p_more=_share(shuffled >= seen - 1e-9),
        p_less=_share(shuffled <= seen + 1e-9),
        p_chi_square=None if ratio is None else float(chdtrc(free, free * ratio)),
        flip_rate=float(flips.mean()),
        flips=tuple(float(f) for f in flips),
        gate=_gate(totals, flips),
        load=_load(x, in_flight),
    )


def _shuffled_totals(x: Floats) -> Floats:
    """Totals of the repeats where each paper's results are shuffled among them: (shuffles,
    repeats)."""
    rng = np.random.default_rng(SEED)
    totals = np.zeros((SHUFFLES, len(x)))
    for passed in x.sum(0).astype(int):  # which repeats a paper passed in, drawn anew
        row = np.zeros((SHUFFLES, len(x)))
        row[:, :passed] = 1
        totals += rng.permuted(row, axis=1)
    return totals


def _share(hit: NDArray[np.bool_]) -> float:
    """A p-value from random shuffles counts the data themselves as one (Davison and Hinkley
    1997, "Bootstrap Methods and Their Application", 4.2)."""
    return float((hit.sum() + 1) / (hit.size + 1))


def _gate(totals: Floats, flips: Floats) -> Gate:
    """Observed over all pairs of repeats; expected for two repeats of independent rollouts, by
    adding up the papers' differences -1, 0 and 1 exactly."""
    pairs = len(totals) * (len(totals) - 1)
    more = int((totals[:, None] > totals[None, :]).sum())
    chance = np.ones(1)
    for flip in flips:
        chance = np.convolve(chance, [flip / 2, 1 - flip, flip / 2])
    at_least = chance[::-1].cumsum()[::-1][len(flips) :]  # by how many papers more, from 0 on
    beyond = int((at_least > LEVEL + 1e-12).sum())
    return Gate(more / pairs, float(at_least[1]), pairs, beyond)


def _load(x: Floats, in_flight: Floats) -> Load:
    """Within papers: a hard paper that happened to meet a busy time says nothing."""
    least, mean, most = (float(f(in_flight)) for f in (np.min, np.mean, np.max))
    centred = in_flight - in_flight.mean(0)
    spread = float((centred**2).sum())
    if not spread:
        return Load(least, mean, most, None, None)
    seen = float((centred * x).sum())
    rng = np.random.default_rng(SEED)
    shuffled = np.zeros(SHUFFLES)
    for paper in range(x.shape[1]):
        results = np.broadcast_to(x[:, paper], (SHUFFLES, len(x)))
        shuffled += rng.permuted(results, axis=1) @ centred[:, paper]
    p = _share(np.abs(shuffled) >= abs(seen) - 1e-9)
    return Load(least, mean, most, seen / spread, p)


def verdict(found: Noise) -> str:
    """Plainly: is it more than chance?"""
    if found.rate in (0, 1):
        came = "nothing" if found.rate == 0 else "everything"
        return f"{came} passed, so nothing is known of noise"
    if found.ratio is None:
        return "no noise at all: each paper came out the same every time"
    if found.p_more <= LEVEL:
        return "more than chance: whole repeats differ by more than single rollouts explain"
    if found.p_less <= LEVEL:
        return "less than chance: repeats are more alike than independent draws would be"
    return "noise as expected of independent rollouts"


def report(found: Noise, simulated: bool, part: str) -> str:
    """As people read it."""
    lines = [SIMULATED] if simulated else []
    lines.append(f"the baseline with itself: {found.repeats} times {found.papers} {part} papers")
    rates = ", ".join(f"{rate:.0%}" for rate in found.rates)
    pairs = [
        ("pass rates", f"{rates} (mean {found.rate:.1%})"),
        ("noise", _noise_line(found)),
        ("test", _test_line(found)),
        ("gate", _gate_line(found)),
        ("papers", _papers_line(found)),
        ("load", _load_line(found.load)),
    ]
    return "\n".join([*lines, "", verdict(found), "", *(f"{k:<12}{v}" for k, v in pairs)])


def _noise_line(found: Noise) -> str:
    low, high = (f"{100 * bound:.1f}" for bound in found.by_chance)
    return (
        f"sd between repeats {100 * found.sd:.1f} points; of independent rollouts"
        f" {100 * found.sd_expected:.1f}, which come out between {low} and {high};"
        f" binomial, as if papers were alike, {100 * found.sd_binomial:.1f}"
    )


def _test_line(found: Noise) -> str:
    if found.ratio is None:
        return "none: nothing varies"
    assert found.ratio_low is not None
    assert found.ratio_high is not None
    return (
        f"{found.ratio:.2f} times the variance of independent rollouts"
        f" [{found.ratio_low:.2f} to {found.ratio_high:.2f}]; as much or more by chance: p ="
        f" {found.p_more:.2g} (Cochran's Q; chi-square {found.p_chi_square:.2g})"
    )


def _gate_line(found: Noise) -> str:
    gate = found.gate
    rise = several(gate.beyond, "paper")
    return (
        f"'more passes than' lets an identical harness through {gate.observed:.0%} of the time"
        f" ({gate.pairs} pairs; independent rollouts: {gate.expected:.1%}); a rise of"
        f" {rise} or more happens to one in {max(1, round(1 / LEVEL))} at most"
    )


def _papers_line(found: Noise) -> str:
    settled = sum(flip == 0 for flip in found.flips)
    return (
        f"of two repeats, a paper comes out differently {found.flip_rate:.0%} of the time;"
        f" {settled} of {found.papers} always came out the same"
    )


def _load_line(load: Load) -> str:
    ends = dict.fromkeys(f"{end:.0f}" for end in (load.least, load.most))
    text = f"{' to '.join(ends)} calls in flight when a rollout began"
    if load.slope is None:
        return f"{text}: it didn't vary, so nothing is known of what it does"
    return (
        f"{text}, {load.mean:.1f} on average; one call more goes with {100 * load.slope:+.1f}"
        f" points of pass rate on the same paper (p = {load.p:.2g})"
    )
