"""One page of a data set: scores, gaps, rounds, criteria, question types, and how rollouts end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from analysis.colours import BLUE, DARK, FAINT, GREY, SKY
from analysis.inspect.inspection import Inspection
from analysis.inspect.report import ends
from analysis.inspect.spread import Labels
from analysis.style import STYLE, drawable, mark_simulated, save
from metaopt.text import several

BARS = 7  # labels that fit into a panel
SCORES = (np.arange(21) / 20).tolist()
EDGE: dict[str, Any] = {"edgecolor": DARK, "linewidth": 0.4}


def draw_inspection(found: Inspection, out: Path) -> None:
    """Draw it into ``out`` (PNG, PDF, SVG).  Raises ``UserError`` when it can't be written."""
    with rc_context(STYLE):
        save(figure_of(found), out)


def figure_of(found: Inspection) -> Figure:
    """Six panels; what is counted is items, but rollouts in the last."""
    figure = Figure(figsize=(6.4, 6.8), layout="constrained")
    # Each row for itself: long labels in the last one leave the others their room.
    rows = figure.add_gridspec(3, 1)
    panels = [axes for k in range(3) for axes in figure.add_subfigure(rows[k]).subplots(1, 2)]
    _scores(panels[0], found)
    _gaps(panels[1], found)
    _counts(panels[2], found.rounds_by_item, "rounds to acceptance")
    _of_task(panels[3], found)
    _labels(panels[4], found.types, "question type")
    if found.corpus:
        _bars(panels[5], ends(found.corpus), "rollouts by how they ended", found.corpus.rollouts)
    else:
        _labels(panels[5], found.skills, "reasoning skill")
    for axes in panels:
        axes.set_axisbelow(True)
        if found.simulated:
            mark_simulated(axes, size=22)
    simulated = "simulated: " if found.simulated else ""
    title = f"{simulated}{drawable(found.data, 40)}, {several(found.items, 'item')}"
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _of_task(axes: Axes, found: Inspection) -> None:
    """What items are accepted or graded by: reviews, rubrics, final answers; else nothing."""
    if found.reviews:
        _labels(axes, found.reviews.suitabilities, "suitability, by the judge")
    elif found.rubrics:
        _counts(axes, found.criteria_by_item, "criteria of the rubric")
    elif found.answers:
        _labels(axes, found.answers.kinds, "kind of final answer")
    else:
        axes.set_axis_off()


def _scores(axes: Axes, found: Inspection) -> None:
    # Weak lies over strong, and lets it be seen.
    for name, values, face, hatching, mean in (
        ("strong", found.strong_by_item, BLUE, "", found.strong.mean),
        ("weak", found.weak_by_item, SKY, "////", found.weak.mean),
    ):
        axes.hist(_rounded(values), SCORES, color=face, hatch=hatching, alpha=0.8, **EDGE,
                  label=f"{name} {mean:.1%}")  # fmt: skip
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    what = "shares of right attempts" if found.answers else "average scores"
    _upright(axes, f"{what}; legend: means")
    axes.set_ylim(0, 1.28 * axes.get_ylim()[1])  # room for the legend, wherever bars are
    axes.legend(loc="upper right", frameon=False, ncols=2, handlelength=1.2, columnspacing=1)


def _rounded(values: Sequence[float]) -> list[float]:
    """As the bars' edges are: 0.8 - 0.6 isn't below 0.2."""
    return [round(value, 9) for value in values]


def _gaps(axes: Axes, found: Inspection) -> None:
    gap = found.gap
    least = np.floor(round(20 * min(0.0, gap.least), 9)) / 20
    steps = (np.arange(round(20 * (1 - least)) + 1) / 20 + least).tolist()
    axes.hist(_rounded(found.gap_by_item), steps, color=GREY, **EDGE)
    axes.axvline(gap.median, color=DARK, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.set_xlim(least, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    _upright(axes, f"gap in points; line: median {100 * gap.median:.1f}")


def _counts(axes: Axes, values: Sequence[int], name: str) -> None:
    steps = (np.arange(min(values), max(values) + 2) - 0.5).tolist()
    axes.hist(values, steps, color=GREY, rwidth=0.8, **EDGE)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlim(min(steps[0], 0.5), max(steps[-1], 4.5))
    _upright(axes, name)


def _labels(axes: Axes, found: Labels, name: str) -> None:
    counts = dict(found.counts)
    if found.unlabelled:
        counts["(none given)"] = found.unlabelled
    _bars(axes, counts, name, found.items)


def _bars(axes: Axes, counts: Mapping[str, int], name: str, whole: int) -> None:
    """Lying bars, the most frequent on top, each with its share of ``whole``."""
    shown = sorted(counts.items(), key=lambda x: -x[1])
    if len(shown) > BARS:
        rest = shown[BARS - 1 :]
        shown = [*shown[: BARS - 1], (f"{len(rest)} others", sum(n for _, n in rest))]
    for row, (label, n) in enumerate(shown):
        face = FAINT if label.endswith(" others") or label.startswith("(") else GREY
        axes.barh(row, n, 0.7, color=face, **EDGE)
        axes.annotate(f" {n / whole:.0%}", (n, row), va="center", fontsize=6.5)
    axes.set_yticks(range(len(shown)), [drawable(label, 20) for label, _ in shown])
    axes.set_ylim(max(len(shown), 4) - 0.4, -0.6)
    axes.set_xlim(0, 1.18 * max(n for _, n in shown))
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="x", linewidth=0.4, color=FAINT)
    axes.set_title(name, loc="left")


def _upright(axes: Axes, name: str) -> None:
    axes.set_title(name, loc="left")
    axes.set_ylabel("items")
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", linewidth=0.4, color=FAINT)
