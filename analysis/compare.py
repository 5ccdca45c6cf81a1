"""``metaopt compare``: harnesses on the same papers, and what can be said of them.

The first arm is what the others are compared with.  All statistics are in ``analysis.paired``.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from analysis import paired
from analysis.paired import Components, Floats
from inner_agent.errors import UserError
from inner_agent.run_paper import PaperResult
from metaopt.config import RunConfig, load_config
from metaopt.harnesses import candidate_of_run
from metaopt.measure import Measured, measure, no_trace, part_papers
from metaopt.record import open_record
from metaopt.statistics import wilson
from metaopt.text import one_line

LEVEL = 0.05
POWER = 0.8
FORMAT = 1  # of the JSON
BASELINE = "baseline"  # the configured harness


@dataclass(frozen=True, slots=True)
class Cost:
    """Per passed item, with its 95 % interval; infinite where nothing passed."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Arm:
    """One harness: how often it passed, by paper too (repeats passed), and what an item cost."""

    name: str
    tree: str
    passed: int
    rate: float
    low: float
    high: float
    by_paper: tuple[int, ...]
    calls: Cost
    usd: Cost
    in_flight: float


@dataclass(frozen=True, slots=True)
class Change:
    """A mean difference over papers, with its 95 % interval."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Pair:
    """An arm against the first one.  Differences are of pass rates, in [-1, 1].

    ``bootstrap`` is the resampled interval beside the one of ``change``; ``p_exact`` and
    ``p_mid`` the sign-flip test (McNemar's, with one repeat), ``p_holm`` the mid-p adjusted for the
    number of arms: it decides;
    ``shrunk`` the per-paper differences of the hierarchical model; ``modes`` what else changed.
    """

    name: str
    change: Change
    bootstrap: tuple[float, float]
    more: int
    fewer: int
    p_exact: float
    p_mid: float
    p_holm: float
    verdict: str
    same_harness: bool
    components: Components
    shrunk: tuple[float, ...]
    papers_needed: int | None
    repeats_needed: int | None
    papers_needed_for_observed: int | None
    modes: Mapping[str, Change]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that the table, the JSON and the plot show.  ``sizes`` are all (papers, repeats)
    that were measured in this folder, one after the other."""

    simulated: bool
    part: str
    papers: tuple[str, ...]
    repeats: int
    sizes: tuple[tuple[int, int], ...]
    smallest: float
    arms: tuple[Arm, ...]
    pairs: tuple[Pair, ...]
    modes: Mapping[str, tuple[int, ...]]


def run_comparison(
    arms: Sequence[str], config: RunConfig, out: Path, part: str, repeats: int,
    papers: int | None, smallest: float,
) -> Comparison:  # fmt: skip
    """Measure what is owed and compare.  Raises ``UserError`` and ``Stopped`` as ``measure``."""
    wanted = named_arms(arms)
    if not 0 < smallest < 1:
        raise UserError("--difference: a difference of pass rates, between 0 and 1")
    with no_trace(out):
        chosen = part_papers(config, out, part, papers)
        if len(chosen) < 2:
            raise UserError(f"{part} has only one paper; a comparison needs 2 or more")
        measured = measure(config, out, wanted, part, chosen, repeats)
    return compare(measured, smallest)


def named_arms(arms: Sequence[str]) -> dict[str, str | None]:
    """The arms by name, as ``open_harnesses`` takes them; ``baseline`` is the configured one."""
    if len(arms) < 2:
        raise UserError("compare: name two harnesses or more; baseline is the configured one")
    for name, times in Counter(arms).items():
        if times > 1:
            raise UserError(f"compare: {name} is named twice; metaopt aa compares like with like")
    return {name: None if name == BASELINE else name for name in arms}


def config_of(arms: Sequence[str], given: Path | None, overrides: Iterable[str]) -> RunConfig:
    """The config: the given one, or that of the one run whose candidates all arms are."""
    if given is not None:
        return load_config(given, overrides)
    found = [candidate_of_run(name) for name in arms]
    runs = {one[0].resolve() for one in found if one}
    if None in found:
        raise UserError("compare: --config is missing (all candidates of one run need none)")
    if len(runs) != 1:
        raise UserError(
            f"compare: candidates of {len(runs)} different runs; give --config, by which all are"
            " measured"
        )
    run = runs.pop()
    open_record(run)
    return load_config(run / "config.toml", overrides)


def compare(measured: Measured, smallest: float = 0.1) -> Comparison:
    """Compare every arm with the first; ``smallest`` is the difference that is of interest."""
    passes = measured.passes()
    weights = paired.resamples(passes.shape[2])
    modes = mode_arrays(measured)
    costs = measured.numbers(lambda r: r.calls), measured.numbers(lambda r: r.usd)
    load = measured.in_flight()
    arms = tuple(
        _arm(arm.name, arm.tree, passes[a], costs[0][a], costs[1][a], load[a], weights)
        for a, arm in enumerate(measured.plan.arms)
    )
    plan = measured.plan
    return Comparison(
        simulated=measured.simulated,
        part=plan.part,
        papers=tuple(plan.papers),
        repeats=plan.repeats,
        sizes=measured.sizes,
        smallest=smallest,
        arms=arms,
        pairs=_pairs(arms, passes, modes, weights, smallest),
        modes={name: tuple(int(n) for n in x.sum((1, 2))) for name, x in modes.items()},
    )


def mode_arrays(measured: Measured) -> dict[str, Floats]:
    """What else may have changed, each by [arm, repeat, paper]: how rollouts ended (0 or 1), how
    many of their rounds ended so, and what the audit found (0 or 1).  Most frequent first."""
    shape = len(measured.results), measured.plan.repeats, len(measured.plan.papers)
    found: dict[str, Floats] = {}
    for a, arm in enumerate(measured.results):
        for k, one in enumerate(arm):
            repeats = measured.stands[a][k].repeats
            for p, paper in enumerate(measured.plan.papers):
                for name, count in _modes(one[paper], paper in repeats):
                    found.setdefault(name, np.zeros(shape))[a, k, p] = count
    kinds = ("end", "rounds", "audit")
    order = sorted(found, key=lambda n: (kinds.index(n.partition(": ")[0]), -found[n].sum(), n))
    return {name: found[name] for name in order}


def _modes(result: PaperResult, repeats: bool) -> Iterator[tuple[str, int]]:
    end = "repeated" if repeats and result.passed else result.reason
    yield f"end: {end}", 1
    yield from ((f"rounds: {name}", n) for name, n in result.outcomes.items())
    yield from ((f"audit: {name}", 1) for name in set(result.findings))


def _arm(
    name: str, tree: str, passes: Floats, calls: Floats, usd: Floats, load: Floats, weights: Floats
) -> Arm:
    """All arrays are by [repeat, paper]."""
    by_paper = passes.sum(0)
    low, high = rate_interval(passes)
    return Arm(
        name=name,
        tree=tree,
        passed=int(by_paper.sum()),
        rate=float(passes.mean()),
        low=low,
        high=high,
        by_paper=tuple(int(n) for n in by_paper),
        calls=Cost(*paired.ratio_interval(calls.sum(0), by_paper, weights)),
        usd=Cost(*paired.ratio_interval(usd.sum(0), by_paper, weights)),
        in_flight=float(load.mean()),
    )


def labels(arms: Iterable[Arm]) -> dict[str, str]:
    """Short names, by name: the last part of a path, where that tells them apart."""
    names = [arm.name for arm in arms]
    short = [Path(name).name or name for name in names]
    told = short if len(set(short)) == len(short) else names
    return dict(zip(names, (one_line(name, 40) for name in told), strict=True))


def rate_interval(passes: Floats) -> tuple[float, float]:
    """Wilson's interval of a pass rate from ``passes[repeat, paper]``, on papers like these.

    The papers count for as many independent rollouts as their spread says (Korn and Graubard
    1998, "Confidence Intervals for Proportions with Small Expected Number of Positive Counts
    Estimated from Survey Data"): repeats of one paper are worth less than papers.
    """
    papers, rate = passes.shape[1], float(passes.mean())
    error = float(paired.standard_error(passes.mean(0)))
    worth = rate * (1 - rate) / error**2 if 0 < rate < 1 else papers
    worth = min(max(worth, 1.0), float(passes.size))
    return wilson(rate * worth, worth)


def _pairs(
    arms: Sequence[Arm], passes: Floats, modes: Mapping[str, Floats], weights: Floats,
    smallest: float,
) -> tuple[Pair, ...]:  # fmt: skip
    counts = (passes[1:] - passes[0]).sum(1).astype(int)
    tests = [(paired.sign_flip(row), paired.mid_p(row)) for row in counts]
    adjusted = paired.holm(np.array([mid for _, mid in tests]))
    return tuple(
        _pair(arms, n, passes[n] - passes[0], tests[n - 1], float(adjusted[n - 1]),
              {name: _change((x[n] - x[0]).mean(0)) for name, x in modes.items()},
              weights, smallest)
        for n in range(1, len(passes))
    )  # fmt: skip


def _pair(
    arms: Sequence[Arm], number: int, x: Floats, tests: tuple[float, float], adjusted: float,
    modes: Mapping[str, Change], weights: Floats, smallest: float,
) -> Pair:  # fmt: skip
    """``x`` is the difference by [repeat, paper]."""
    d, found, level = x.mean(0), paired.components(x), LEVEL / (len(arms) - 1)
    change = _change(d, most=1.0)
    low, high = paired.percentiles(weights @ d, len(d))
    verdict = "can't tell"
    if adjusted <= LEVEL and not change.low <= 0 <= change.high:
        verdict = "better" if change.difference > 0 else "worse"
    observed = abs(change.difference)
    needed = paired.papers_needed(smallest, found.total, level, POWER)
    repeats = paired.repeats_needed(found, smallest, level, POWER)
    return Pair(
        name=arms[number].name,
        change=change,
        bootstrap=(float(low), float(high)),
        more=int((d > 0).sum()),
        fewer=int((d < 0).sum()),
        p_exact=tests[0],
        p_mid=tests[1],
        p_holm=adjusted,
        verdict=verdict,
        same_harness=arms[number].tree == arms[0].tree,
        components=found,
        shrunk=tuple(float(v) for v in paired.shrunk(x)),
        papers_needed=needed,
        repeats_needed=repeats,
        papers_needed_for_observed=(
            paired.papers_needed(observed, found.total, level, POWER) if observed else None
        ),
        modes=modes,
    )


def _change(d: Floats, most: float = np.inf) -> Change:
    low, high = paired.interval(d)
    return Change(float(d.mean()), max(-most, float(low)), min(most, float(high)))


def as_json(found: Comparison) -> str:
    """Every number; what is infinite (a cost per item where nothing passed) is ``null``."""
    data = {
        "format": FORMAT,
        "metaopt": version("metaopt"),
        "confidence": 1 - LEVEL,
        "power": POWER,
        "bootstrap": {"resamples": paired.RESAMPLES, "seed": paired.SEED},
        **asdict(found),
    }
    return json.dumps(_finite(data), indent=1, ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
