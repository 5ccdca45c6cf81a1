"""How all figures look, and how they are written."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inner_agent.errors import UserError

# Okabe and Ito's colours, told apart by every kind of colour vision.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
GREY, DARK = "#8C8C8C", "#333333"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif", "font.size": 8, "axes.titlesize": 9, "legend.fontsize": 7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6,
    "axes.edgecolor": DARK, "axes.labelcolor": DARK, "text.color": DARK,
    "xtick.color": DARK, "ytick.color": DARK, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "metaopt",
}  # fmt: skip


def mark_simulated(axes: Axes, size: float = 34) -> None:
    """Say across the plot that no real model was asked."""
    axes.text(
        0.5, 0.5, "SIMULATED", transform=axes.transAxes, ha="center", va="center",
        fontsize=size, color=DARK, alpha=0.1, fontweight="bold", rotation=18, zorder=1.5,
    )  # fmt: skip


def save(figure: Figure, out: Path) -> None:
    """Write a figure.  Raises ``UserError`` when it can't be written."""
    suffix = out.suffix.lower()
    # The same run makes the same file.
    metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(suffix)
    try:
        figure.savefig(out, dpi=300, metadata=metadata)
    except OSError as e:
        raise UserError(f"{out}: can't be written ({e.strerror})") from None
