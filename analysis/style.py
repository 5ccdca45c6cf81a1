"""How all figures look, and how they are written.

Every figure can be told apart by every kind of colour vision, and printed in grey.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator, PercentFormatter

from analysis.colours import BLUE, DARK, FAINT, GREEN, ORANGE, PURPLE
from inner_agent.errors import UserError
from metaopt.text import one_line

Width = Literal["column", "page"]
INCHES: dict[Width, float] = {"column": 3.3, "page": 6.0}

# Lines that lie in one plot: colour, dashes, marker.
LINES: tuple[tuple[str, Any, str], ...] = (
    (BLUE, "solid", "o"), (ORANGE, (0, (5, 1.5)), "s"), (GREEN, (0, (4, 1, 1, 1)), "^"),
    (PURPLE, (0, (1.5, 1)), "D"),
)  # fmt: skip
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif", "font.size": 8, "axes.titlesize": 9, "figure.titlesize": 9,
    "legend.fontsize": 7, "legend.title_fontsize": 7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6,
    "axes.edgecolor": DARK, "axes.labelcolor": DARK, "text.color": DARK,
    "xtick.color": DARK, "ytick.color": DARK, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "metaopt",
    "text.parse_math": False,  # a run may be called $x$
    "hatch.linewidth": 0.5,
}  # fmt: skip
NARROW: dict[Any, Any] = {
    "font.size": 7, "axes.titlesize": 7, "figure.titlesize": 7, "legend.fontsize": 6,
    "legend.title_fontsize": 6,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure, the numbers behind it as a table's rows (all with the same keys), and what there
    is to say of it in a line."""

    figure: Figure
    rows: Sequence[Mapping[str, Any]]
    told: str


def style_of(width: Width) -> dict[Any, Any]:
    """The settings of a figure that wide; nothing is smaller than 6 points in either."""
    return STYLE | (NARROW if width == "column" else {})


def drawable(text: str, limit: int = 24) -> str:
    """A name as a figure can show it: on one line, and what the font lacks as a box."""
    return "".join(c if _has(c) else "□" for c in one_line(text, limit))


@cache
def _has(character: str) -> bool:
    return bool(get_font(findfont(FontProperties())).get_char_index(ord(character)))


def mark_simulated(axes: Axes, width: Width = "page", size: float = 34) -> None:
    """Say across the plot that no real model was asked."""
    axes.text(
        0.5, 0.5, "SIMULATED", transform=axes.transAxes, ha="center", va="center",
        fontsize=size if width == "page" else size * 0.55, color=DARK, alpha=0.1,
        fontweight="bold", rotation=18, zorder=1.5,
    )  # fmt: skip


def iterations(axes: Axes, width: Width, last: int) -> None:
    """A lying axis of iterations, up to ``last``; what lies right of it has no ticks."""
    bins: Any = "auto" if width == "page" else 6
    axes.xaxis.set_major_locator(MaxNLocator(bins, steps=[1, 2, 5, 10], integer=True))
    axes.set_xticks([x for x in axes.get_xticks() if 1 <= x <= last] or [1])
    axes.set_xlabel("iteration")


def percents(axes: Axes) -> None:
    """An upright axis of fractions, told in whole percents, with lines to read it by."""
    axes.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y", linewidth=0.4, color=FAINT)
    axes.set_axisbelow(True)


def save(figure: Figure, out: Path) -> None:
    """Write a figure.  Raises ``UserError`` when it can't be written."""
    suffix = out.suffix.lower()
    # The same run makes the same file.
    metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(suffix)
    try:
        figure.savefig(out, dpi=300, metadata=metadata)
    except OSError as e:
        raise UserError(f"{out}: can't be written ({e.strerror})") from None
