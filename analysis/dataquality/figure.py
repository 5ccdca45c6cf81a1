"""The figure of data sets judged alike: weak, strong and the gap between, and who wins by pairs."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.colours import BLUE, DARK, FAINT, GREY, ORANGE, SKY
from analysis.dataquality.numbers import Preference, Quality, Scored
from analysis.scores import Mean
from analysis.style import STYLE, drawable, mark_simulated, percents, save
from metaopt.text import several

SOLVERS = (("weak", SKY, "s"), ("strong", BLUE, "o"))
COLOURS = {"better": BLUE, "worse": ORANGE, "can't tell": GREY}
SHIFT = 0.13  # of a solver's point from the middle of its data set


def draw_quality(found: Quality, out: Path) -> None:
    """Draw it into ``out`` (PNG, PDF, SVG).  Raises ``UserError`` when it can't be written."""
    with rc_context(STYLE):
        save(figure_of(found), out)


def figure_of(found: Quality) -> Figure:
    """Above: both solvers on each data set.  Below: win rates, where pairs were judged."""
    sets, wins = found.sets, found.preferences
    lower = 0.55 + 0.28 * len(wins) if wins else 0.0
    figure = Figure(figsize=(max(6.0, 1.1 * len(sets)), 3.3 + lower), layout="constrained")
    if wins:
        upper, below = figure.subplots(2, 1, height_ratios=[2.6, lower])
        _forest(below, wins, found.simulated)
    else:
        upper = figure.subplots()
    _scores(upper, sets)
    if found.simulated:
        mark_simulated(upper)
    figure.suptitle(_title(found), x=0.01, ha="left")
    return figure


def _title(found: Quality) -> str:
    simulated = "simulated: " if found.simulated else ""
    what = "accepted items" if found.kind == "accepted" else "items handed in as final"
    return f"{simulated}{what}, {several(found.attempts, 'fresh attempt')} of each solver"


def _scores(axes: Axes, sets: Sequence[Scored]) -> None:
    for x, one in enumerate(sets):
        (left, weak), (right, strong) = ((x - SHIFT, one.weak), (x + SHIFT, one.strong))
        axes.plot([left, right], [weak.value, strong.value], color=GREY, linewidth=0.8,
                  linestyle=(0, (3, 2)), zorder=1)  # fmt: skip
        for (_, colour, marker), place, mean in zip(
            SOLVERS, (left, right), (weak, strong), strict=True
        ):
            _point(axes, place, mean, colour, marker, side=-1 if place < x else 1)
    for name, colour, marker in SOLVERS:
        axes.plot([], [], marker, color=colour, markeredgecolor=DARK, markeredgewidth=0.5,
                  label=f"{name} solver")  # fmt: skip
    axes.set_xticks(range(len(sets)), [_label(one, len(sets)) for one in sets], fontsize=7)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, len(sets) - 0.4)
    axes.set_ylabel("average score")
    percents(axes)
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, ncols=2,
                borderaxespad=0.2)  # fmt: skip
    axes.set_title("means and 95% intervals over papers", loc="left", fontsize=7)


def _point(axes: Axes, x: float, mean: Mean, colour: str, marker: str, side: int) -> None:
    if known := _known(mean):
        axes.plot([x, x], known, color=colour, linewidth=2, solid_capstyle="butt", zorder=2)
    axes.plot(x, mean.value, marker, color=colour, markersize=6.5, markeredgecolor=DARK,
              markeredgewidth=0.5, zorder=3)  # fmt: skip
    axes.annotate(
        f"{100 * mean.value:.1f}", (x, mean.value), (7 * side, 0), textcoords="offset points",
        ha="left" if side > 0 else "right", va="center", fontsize=7,
    )  # fmt: skip


def _known(mean: Mean) -> list[float]:
    """The interval's ends; none where it isn't known."""
    return [] if mean.low is None or mean.high is None else [mean.low, mean.high]


def _label(one: Scored, sets: int) -> str:
    """Below a data set: its name, how many items, and the gap in points with its interval."""
    lines = [drawable(one.name, max(14, 78 // sets)), several(one.items, "item")]
    interval = " to ".join(f"{100 * x:.0f}" for x in _known(one.gap))
    gap = f"gap {100 * one.gap.value:.1f}"
    return "\n".join([*lines, f"{gap} [{interval}]" if interval else gap])


def _forest(axes: Axes, wins: Sequence[Preference], simulated: bool) -> None:
    axes.axvline(0.5, color=DARK, linewidth=0.8)
    for row, one in enumerate(wins):
        colour, rate = COLOURS[one.verdict], one.rate
        axes.plot(_known(rate), [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot(rate.value, row, "o", color=colour, markersize=5, clip_on=False)
        axes.annotate(
            f"{rate.value:.0%}, {several(one.pairs, 'pair')}", (1.01, row),
            xycoords=("axes fraction", "data"), va="center", fontsize=7,
        )  # fmt: skip
    names = [f"{drawable(one.second, 22)}\nagainst {drawable(one.first, 22)}" for one in wins]
    axes.set_yticks(range(len(wins)), names, fontsize=6.5)
    axes.set_ylim(len(wins) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    open_ones = "; grey: can't tell" if any(one.verdict == "can't tell" for one in wins) else ""
    axes.set_xlabel(f"win rate by pairs, both orders, with 95% intervals{open_ones}")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", linewidth=0.4, color=FAINT)
    axes.set_axisbelow(True)
    if simulated:
        mark_simulated(axes, size=18)
