"""The figure of a comparison: differences with their intervals, and paper by paper behind them."""

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.colours import BLUE, DARK, FAINT, GREY, ORANGE
from analysis.compare import Comparison, Pair, labels
from analysis.style import STYLE, drawable, mark_simulated, save

COLOURS = {"better": BLUE, "worse": ORANGE, "can't tell": GREY}
STRIP = LinearSegmentedColormap.from_list("strip", ["#F4F4F4", "#7FB2D3", BLUE])


def draw_comparison(found: Comparison, out: Path) -> None:
    """Draw it into ``out`` (PNG, PDF, SVG).  Raises ``UserError`` when it can't be written."""
    with rc_context(STYLE):
        save(figure_of(found), out)


def figure_of(found: Comparison) -> Figure:
    """Above: each arm's difference from the first, as a forest.  Below: passes by paper."""
    rows = len(found.arms)
    heights = [0.55 + 0.26 * (rows - 1), 0.3 + 0.24 * rows]
    figure = Figure(figsize=(5.6, sum(heights) + 1.5), layout="constrained")
    forest, strip = figure.subplots(2, 1, height_ratios=heights)
    _forest(forest, found)
    _strip(strip, found)
    figure.suptitle(_title(found), x=0.01, ha="left", fontsize=9)
    return figure


def _title(found: Comparison) -> str:
    names = [drawable(name, 30) for name in labels(found.arms).values()]
    who = names[1] if len(names) == 2 else f"{len(names) - 1} harnesses"
    simulated = "simulated, " if found.simulated else ""
    times = f" × {found.repeats} repeats" if found.repeats > 1 else ""
    return f"{who} against {names[0]}: {simulated}{len(found.papers)} {found.part} papers{times}"


def _forest(axes: Axes, found: Comparison) -> None:
    named = labels(found.arms)
    axes.axvline(0, color=DARK, linewidth=0.8)
    axes.axvspan(-found.smallest, found.smallest, color=GREY, alpha=0.12, linewidth=0)
    for row, pair in enumerate(found.pairs):
        colour, change = COLOURS[pair.verdict], pair.change
        axes.plot([change.low, change.high], [row, row], color=colour, linewidth=2.2,
                  solid_capstyle="butt")  # fmt: skip
        axes.plot(change.difference, row, "o", color=colour, markersize=5)
        axes.annotate(
            _verdict(pair), (1.01, row), xycoords=("axes fraction", "data"), va="center",
            fontsize=7, color=DARK if colour == GREY else colour,
        )  # fmt: skip
    axes.set_yticks(range(len(found.pairs)), [drawable(named[p.name], 28) for p in found.pairs])
    axes.set_ylim(len(found.pairs) - 0.5, -0.5)
    reach = max(max(abs(p.change.low), abs(p.change.high)) for p in found.pairs)
    reach = max(1.08 * reach, 1.3 * found.smallest)
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_locator(MaxNLocator(7, symmetric=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:+.0f}" if x else "0"))
    axes.set_xlabel(
        f"difference from {drawable(named[found.arms[0].name], 28)} in points, 95% intervals;"
        f" grey: less than {100 * found.smallest:.0f} points"
    )
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", linewidth=0.4, color=FAINT)
    axes.set_axisbelow(True)
    if found.simulated:
        mark_simulated(axes, size=24)


def _verdict(pair: Pair) -> str:
    return "same harness" if pair.same_harness else pair.verdict


def _strip(axes: Axes, found: Comparison) -> None:
    """Papers in the order of how often they are passed at all, hard ones to the right."""
    named = labels(found.arms)
    shares = np.array([arm.by_paper for arm in found.arms]) / found.repeats
    shares = shares[:, np.argsort(-shares.sum(0), kind="stable")]
    axes.pcolormesh(shares, cmap=STRIP, vmin=0, vmax=1, edgecolor="white", linewidth=0.6)
    axes.set_yticks(
        np.arange(len(shares)) + 0.5,
        [f"{drawable(named[a.name], 28)}  {a.rate:.0%}" for a in found.arms],
    )
    axes.invert_yaxis()
    axes.set_xticks([])
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    share = "dark: passed" if found.repeats == 1 else "the darker, the more often"
    axes.set_xlabel(f"papers, the most often passed first; {share}")
