"""Weak and strong solvers' average scores on the items of data sets, or of a run's harnesses."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.colours import BLUE, DARK, SKY
from analysis.groups import refuse_mixed
from analysis.scores import Mean, Scores, scores_of
from analysis.style import INCHES, Drawn, Width, drawable, mark_simulated, percents
from inner_agent.errors import UserError
from metaopt.text import one_line, several

MOST = {"page": 8, "column": 4}  # sets that fit
WIDE = 0.36  # of a bar, where sets are one apart
SOLVERS = (("weak", SKY, "////", -WIDE / 2 - 0.01), ("strong", BLUE, "", WIDE / 2 + 0.01))


def draw(folders: Sequence[Path], width: Width) -> Drawn:
    """The figure of data sets and runs.  Raises ``UserError`` as ``scores_of`` does, for more sets
    than fit, and where some are simulated and others aren't."""
    sets = [found for folder in folders for found in scores_of(folder)]
    refuse_mixed([(s.name, s.simulated) for s in sets])
    if len(sets) > MOST[width]:
        raise UserError(
            f"{len(sets)} sets of bars are too many; {MOST[width]} fit at --width {width}"
        )
    told = "; ".join(
        f"{_called(s)}: weak {s.weak.value:.1%}, strong {s.strong.value:.1%}, gap"
        f" {100 * s.gap.value:.1f} points, {several(s.items, 'item')}"
        for s in sets
    )
    simulated = " (simulated)" if sets[0].simulated else ""
    return Drawn(_draw(sets, width), [_row(s) for s in sets], told + simulated)


def _called(s: Scores) -> str:
    return one_line(f"{s.name}, {s.harness}" if s.harness else s.name)


def _row(s: Scores) -> dict[str, object]:
    row: dict[str, object] = {"set": s.name, "harness": s.harness, "rollouts": s.rollouts,
                              "items": s.items, "papers": s.papers}  # fmt: skip
    for what, mean in (("weak", s.weak), ("strong", s.strong), ("gap", s.gap)):
        row |= {what: mean.value, f"{what}_low": mean.low, f"{what}_high": mean.high}
    return row | {"simulated": str(s.simulated).lower()}


def _draw(sets: Sequence[Scores], width: Width) -> Figure:
    figure = Figure(figsize=(INCHES[width], 3.0), layout="constrained")
    axes = figure.subplots()
    for x, s in enumerate(sets):
        for (_, face, hatching, shift), mean in zip(SOLVERS, (s.weak, s.strong), strict=True):
            _bar(axes, x + shift, mean, face, hatching)
    for name, face, hatching, _ in SOLVERS:
        axes.bar([0], [0], 0, color=face, hatch=hatching, edgecolor=DARK, linewidth=0.4,
                 label=f"{name} solver")  # fmt: skip
    axes.set_xticks(range(len(sets)), [_label(s, len(sets), width) for s in sets], fontsize=6.5
                    if width == "page" else 6)  # fmt: skip
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6 if len(sets) > 1 else -1.2, len(sets) - 0.4 if len(sets) > 1 else 1.2)
    axes.set_ylabel("average score")
    percents(axes)
    axes.set_ylim(0, 1.08)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    simulated = "simulated: " if sets[0].simulated else ""
    axes.set_title(f"{simulated}items that passed, means over papers", loc="left")
    figure.legend(
        loc="outside lower center", frameon=False, ncols=2, handleheight=1.1, alignment="left",
        title="lines and brackets: 95% intervals over papers (Student's t)",
    )  # fmt: skip
    if sets[0].simulated:
        mark_simulated(axes, width)
    return figure


def _bar(axes: Axes, x: float, mean: Mean, face: str, hatching: str) -> None:
    """A bar, its interval, and its number above both."""
    axes.bar(x, mean.value, WIDE, color=face, hatch=hatching, edgecolor=DARK, linewidth=0.4)
    top = mean.value
    if mean.low is not None and mean.high is not None:
        for colour, line in (("white", 2.2), (DARK, 1.0)):  # seen on dark bars too
            axes.plot([x, x], [mean.low, mean.high], color=colour, linewidth=line)
        top = max(top, mean.high)
    axes.annotate(f"{100 * mean.value:.1f}", (x, top), (0, 2), textcoords="offset points",
                  ha="center", va="bottom", fontsize=6.5)  # fmt: skip


def _label(s: Scores, sets: int, width: Width) -> str:
    """Below a set: whose it is, how many items, and the gap in points with its interval."""
    room = int((80 if width == "page" else 42) / sets)
    gap, lines = s.gap, [drawable(s.name, room)]
    lines += [drawable(s.harness, room)] if s.harness else []
    lines += [several(s.items, "item"), f"gap {100 * gap.value:.1f}"]
    if gap.low is not None and gap.high is not None:
        lines.append(f"[{100 * gap.low:.0f} to {100 * gap.high:.0f}]")
    return "\n".join(lines)
