"""A comparison as people read it in a terminal."""

from collections.abc import Callable

import numpy as np

from analysis import paired
from analysis.compare import BASELINE, LEVEL, POWER, Comparison, Cost, Pair, labels
from metaopt.harnesses import candidate_of_run
from metaopt.status import SIMULATED
from metaopt.text import amount, dollars, fold, grid, render

CHOSEN = (
    "a run's candidates were bred and chosen on these papers, and are better on them than on others"
)
SENTENCES = 6  # more arms than that are told in the table alone
MODE_ARMS = 4  # of more arms, what else changed is only in the JSON


def report(found: Comparison) -> str:
    """The verdicts, then what they rest on."""
    lines = [SIMULATED] if found.simulated else []
    times = f"{found.repeats} repeat{'s' if found.repeats > 1 else ''}"
    lines += [
        f"{len(found.papers)} {found.part} papers × {times}, the same draws for the same requests",
        "",
        *("\n  ".join(fold(said, 2)) for said in _verdicts(found)),
        "",
        _rates(found),
    ]
    if not all(pair.same_harness for pair in found.pairs):
        lines += ["", _tests(found)]
    lines += ["", _costs(found)]
    if len(found.arms) <= MODE_ARMS:
        lines += [line for table in _modes(found) for line in ("", table)]
    return "\n".join([*lines, "", *(line for note in _notes(found) for line in fold(note))])


def _verdicts(found: Comparison) -> list[str]:
    """A sentence for each arm; of many, for those of which something can be said."""
    if len(found.pairs) <= SENTENCES:
        return [sentence(found, pair) for pair in found.pairs]
    told = [pair for pair in found.pairs if pair.verdict != "can't tell"]
    first, rest = labels(found.arms)[found.arms[0].name], len(found.pairs) - len(told)
    summed = [f"can't tell {rest} of {len(found.pairs)} harnesses from {first}"] if rest else []
    return [*(sentence(found, pair) for pair in told), *summed]


def sentence(found: Comparison, pair: Pair) -> str:
    """The verdict on one arm.  That two harnesses are equal is nothing that data can show."""
    named = labels(found.arms)
    name, first = named[pair.name], named[found.arms[0].name]
    if pair.same_harness:
        return f"{name} is the same harness as {first}, file by file: there is nothing to compare"
    size = f"{points(pair.change.difference)} points [{points(pair.change.low)} to"
    several = f" for {len(found.pairs)} comparisons" if len(found.pairs) > 1 else ""
    size += f" {points(pair.change.high)}], mid-p {p_text(pair.p_holm)}{several}"
    if pair.verdict != "can't tell":
        return f"{name} is {pair.verdict} than {first}: {size}"
    return f"can't tell {name} from {first}: {size}; {_what_it_takes(found, pair)}"


def points(rate: float) -> str:
    """A difference of rates in points, with its sign."""
    return f"{100 * rate:+.0f}" if abs(rate) >= 0.005 else "0"


def p_text(p: float) -> str:
    """A probability, to two digits."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def _what_it_takes(found: Comparison, pair: Pair) -> str:
    """How many more papers, or repeats, would tell a difference of the size of interest."""
    size, papers = f"{100 * found.smallest:.0f} points", len(found.papers)
    beyond = max(abs(pair.change.low), abs(pair.change.high)) < found.smallest
    unlikely = f"{size} or more either way is unlikely; " if beyond else ""
    if pair.papers_needed is None:
        return f"{unlikely}to see {size} takes more than {paired.MOST:,} papers"
    if pair.papers_needed <= papers:
        return f"{unlikely}{papers} papers are enough to see {size} {POWER:.0%} of the time"
    text = f"to see {size} {POWER:.0%} of the time takes about {pair.papers_needed - papers} more"
    text += f" papers at --repeats {found.repeats}"
    if found.repeats == 1:
        return unlikely + text
    if pair.repeats_needed is None:
        return f"{unlikely}{text}; no number of repeats on these papers would do"
    return f"{unlikely}{text}, or --repeats {pair.repeats_needed} on these papers"


def _rates(found: Comparison) -> str:
    table = grid("harness", ">passed", ">rate", ">95%", ">difference", ">95%", "verdict")
    pairs, named = {pair.name: pair for pair in found.pairs}, labels(found.arms)
    for arm in found.arms:
        row = [
            named[arm.name], f"{arm.passed}/{len(found.papers) * found.repeats}",
            f"{arm.rate:.0%}", f"{arm.low:.0%} to {arm.high:.0%}",
        ]  # fmt: skip
        pair = pairs.get(arm.name)
        if pair and pair.same_harness:
            row += ["", "", "the same harness"]
        elif pair:
            change = pair.change
            between = f"{points(change.low)} to {points(change.high)}"
            row += [points(change.difference), between, pair.verdict]
        table.add_row(*row)
    return render(table)


def _tests(found: Comparison) -> str:
    """What the verdicts come from; in a table of its own, so that both fit a terminal."""
    several, named = len(found.pairs) > 1, labels(found.arms)
    table = grid(
        f"against {named[found.arms[0].name]}", ">more on", ">fewer on", ">exact p", ">mid-p",
        *([">Holm"] if several else []),
    )  # fmt: skip
    for pair in found.pairs:
        if not pair.same_harness:
            table.add_row(
                named[pair.name], str(pair.more), str(pair.fewer), p_text(pair.p_exact),
                p_text(pair.p_mid), *([p_text(pair.p_holm)] if several else []),
            )  # fmt: skip
    return render(table)


def _costs(found: Comparison) -> str:
    """What an arm's rollouts asked for; what two arms asked alike was paid for once."""
    priced = any(0 < arm.usd.value < np.inf for arm in found.arms)
    table = grid("per passed item", ">calls", ">95%", *([">cost", ">95%"] if priced else []))
    for arm, name in zip(found.arms, labels(found.arms).values(), strict=True):
        usd = _cost(arm.usd, dollars) if priced else ()
        table.add_row(name, *_cost(arm.calls, amount), *usd)
    return render(table)


def _cost(cost: Cost, said: Callable[[float], str]) -> tuple[str, str]:
    if not np.isfinite(cost.value):
        return "nothing passed", ""
    high = said(cost.high) if np.isfinite(cost.high) else "no bound"
    return said(cost.value), f"{said(cost.low)} to {high}"


def _modes(found: Comparison) -> list[str]:
    """A table for each arm.  Exploratory: so many rows that some of them leave out 0 by chance."""
    first, *others = labels(found.arms).values()
    tables = []
    for n, (name, pair) in enumerate(zip(others, found.pairs, strict=True), 1):
        if pair.same_harness:
            continue
        table = grid("what else", f">{first}", f">{name}", ">change a paper [95%]")
        for mode, counts in found.modes.items():
            c = pair.modes[mode]
            change = f"{c.difference:+.2f} [{c.low:+.2f} to {c.high:+.2f}]"
            table.add_row(mode.replace("_", " "), str(counts[0]), str(counts[n]), change)
        tables.append(render(table))
    return tables


def _notes(found: Comparison) -> list[str]:
    named = labels(found.arms)
    test = "McNemar's test" if found.repeats == 1 else "sign flips of the papers' differences"
    last = "mid-p by Holm's adjustment" if len(found.pairs) > 1 else "mid-p"
    loads = ", ".join(f"{arm.in_flight:.1f}" for arm in found.arms[:MODE_ARMS])
    return [
        f"difference: in points, against {named[found.arms[0].name]}, on papers like these;"
        " more on, fewer on: papers",
        f"exact p: {test}; a verdict takes {last} <= {LEVEL} and an interval without 0",
        *(
            _spread(pair, named[pair.name])
            for pair in found.pairs
            if found.repeats > 1 and not pair.same_harness
        ),
        "what else: exploratory, a change here is an idea and no finding",
        *([_looks(found)] if len(found.sizes) > 1 else []),
        *([CHOSEN] if found.part != "test" and _of_runs(found) else []),
        f"load: {loads} calls in flight when a rollout began, on average by harness",
    ]


def _looks(found: Comparison) -> str:
    sizes = ", ".join(f"{papers} × {repeats}" for papers, repeats in found.sizes)
    return (
        f"measured in steps ({sizes}): who goes on because a look told nothing has a chance of a"
        " wrong verdict at each"
    )


def _of_runs(found: Comparison) -> bool:
    return any(candidate_of_run(arm.name) for arm in found.arms if arm.name != BASELINE)


def _spread(pair: Pair, name: str) -> str:
    """Where a difference's noise comes from, and what more papers or repeats would buy."""
    found = pair.components
    assert found.between is not None
    assert found.within is not None
    between, within = 100 * max(0.0, found.between) ** 0.5, 100 * found.within**0.5
    now, papers, repeats = (
        100 * (found.half_width(n * found.papers, k * found.repeats) or 0.0)
        for n, k in ((1, 1), (2, 1), (1, 2))
    )
    return (
        f"{name}: the difference varies by {between:.0f} points (sd) between papers, by"
        f" {within:.0f} between repeats of one; its interval is +-{now:.0f} points, with twice the"
        f" papers +-{papers:.0f}, with twice the repeats +-{repeats:.0f}"
    )
