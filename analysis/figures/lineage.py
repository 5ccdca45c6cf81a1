"""The family tree of a run: time to the right, a lane for each accepted candidate."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.colours import BLUE, DARK, GREEN, GREY, ORANGE
from analysis.lineage import Node, lineage
from analysis.style import INCHES, Drawn, Width, drawable, iterations, mark_simulated
from inner_agent.errors import UserError
from metaopt.record import RunRecord, open_record
from metaopt.text import several

TALL = (1.2, 4.6)  # inches: of all lanes together, at least and at most
LANE = 0.17  # inches that a lane gets in between
CROWDED = 60  # iterations; of longer runs the best line alone has numbers
# How nodes are drawn: outcome, marker, face, edge, size, what the legend says.
MARKS = (
    ("accepted", "o", ORANGE, ORANGE, 1.0, "accepted"),
    ("rejected", "o", "white", GREY, 0.8, "rejected"),
    ("stopped", "d", GREY, GREY, 0.8, "stopped, on some papers"),
    ("control", "s", "white", GREEN, 0.8, "live control"),
    ("failed", "X", GREY, GREY, 0.7, "failed, no candidate"),
)


def draw(folders: Sequence[Path], width: Width) -> Drawn:
    """The figure of one run.  Raises ``UserError`` before its first decision."""
    (folder,) = folders
    record = open_record(folder)
    nodes = lineage(record)
    if len(nodes) == 1:
        raise UserError(f"{folder}: no iteration is decided yet; see metaopt status {folder}")
    mark = {"simulated": str(record.config.simulated).lower()}
    line = [n for n in nodes if n.on_best_line]
    simulated = " (simulated)" if record.config.simulated else ""
    found = (
        f"the best, candidate {line[-1].id}, is {several(len(line) - 1, 'edit')} from the baseline"
        if len(line) > 1
        else "still the baseline"
    )
    told = (
        f"{several(len(nodes) - 1, 'iteration')},"
        f" {sum(n.outcome == 'accepted' for n in nodes)} accepted; {found}{simulated}"
    )
    return Drawn(_draw(record, nodes, width), [asdict(n) | mark for n in nodes], told)


def _draw(record: RunRecord, nodes: Sequence[Node], width: Width) -> Figure:
    low, high = min(n.y for n in nodes) - 1, max(n.y for n in nodes) + 0.8
    tall = min(max(TALL[0], LANE * (high - low)), TALL[1])
    around = 1.1 if width == "page" else 1.35  # title, axis and legend
    figure = Figure(figsize=(INCHES[width], tall + around), layout="constrained")
    axes = figure.subplots()
    _lanes(axes, nodes)
    _best_line(axes, nodes)
    _nodes(axes, nodes, width)
    _numbers(axes, nodes, width)
    last = len(nodes) - 1
    iterations(axes, width, last)
    axes.set_xlim(-0.02 * last - 0.3, last * 1.04 + 0.5)
    axes.set_ylim(low, high)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    figure.suptitle(_title(record, width), x=0.01, ha="left")
    figure.legend(
        loc="outside lower center", frameon=False, ncols=3 if width == "page" else 2,
        handlelength=1.8,
    )  # fmt: skip
    if record.config.simulated:
        mark_simulated(axes, width, 34 if tall > 2 else 24)
    return figure


def _lanes(axes: Axes, nodes: Sequence[Node]) -> None:
    """Each candidate's life as a parent, and the way from there to each of its children."""
    y = {n.id: n.y for n in nodes}
    alive = [n for n in nodes if n.until > n.x]
    axes.hlines([n.y for n in alive], [n.x for n in alive], [n.until for n in alive],
                color=GREY, linewidth=0.5, zorder=1)  # fmt: skip
    children = [n for n in nodes if n.parent is not None]
    starts = [y[n.parent] for n in children if n.parent is not None]
    axes.vlines([n.x for n in children], starts, [n.y for n in children],
                color=GREY, linewidth=0.5, zorder=1)  # fmt: skip


def _best_line(axes: Axes, nodes: Sequence[Node]) -> None:
    """From the baseline to the best: along each lane to the next child, then over to its lane."""
    line = [n for n in nodes if n.on_best_line]
    x, y = [line[0].x], [line[0].y]
    for one, following in pairwise(line):
        x += [following.x, following.x]
        y += [one.y, following.y]
    axes.plot(x, y, color=BLUE, linewidth=1.8, zorder=2, solid_joinstyle="miter")
    axes.plot([], [], "o-", color=BLUE, linewidth=1.8, markersize=4,
              label="from the baseline to the best")  # fmt: skip


def _nodes(axes: Axes, nodes: Sequence[Node], width: Width) -> None:
    size = min(20.0, max(3.0, (1_500 if width == "page" else 700) / len(nodes)))
    for outcome, marker, face, edge, scale, label in MARKS:
        if chosen := [n for n in nodes if n.outcome == outcome]:
            axes.scatter(
                [n.x for n in chosen], [n.y for n in chosen], s=size * scale, marker=marker,
                facecolor=face, edgecolor=edge, linewidth=min(0.8, size / 10), zorder=3,
                label=f"{label} ({len(chosen)})",
            )  # fmt: skip
    ends = [n for n in nodes if n.on_best_line]
    axes.scatter(
        [n.x for n in ends], [n.y for n in ends], s=size * 1.2, color=BLUE, zorder=3.1
    )  # fmt: skip


def _numbers(axes: Axes, nodes: Sequence[Node], width: Width) -> None:
    """The numbers of accepted candidates below them, or of the best line's where there are many;
    one that would lie on another one is left out.  The best has its rate as well."""
    crowded = len(nodes) > CROWDED or (width == "column" and len(nodes) > CROWDED / 2)
    room = len(nodes) * (0.035 if width == "page" else 0.06)
    placed: list[Node] = []
    last = [n for n in nodes if n.on_best_line][-1]
    for n in [last, *nodes]:
        wanted = n.on_best_line if crowded else n.outcome in ("baseline", "accepted")
        if wanted and not any(abs(n.x - o.x) < room and abs(n.y - o.y) < 1 for o in placed):
            rate = f" ({n.rate:.0%})" if n is last and n.rate is not None else ""
            placed.append(n)
            axes.annotate(
                f"{n.id}{rate}", (n.x, n.y), (0, -3), textcoords="offset points", ha="center",
                va="top", fontsize=6, color=DARK, zorder=4,
                bbox={"facecolor": "white", "linewidth": 0, "pad": 0.3, "alpha": 0.8},
            )  # fmt: skip


def _title(record: RunRecord, width: Width) -> str:
    name = drawable(record.folder.resolve().name, 24 if width == "page" else 14)
    simulated = "simulated, " if record.config.simulated else ""
    return f"{name}: {simulated}family tree, policy “{record.config.search.policy}”"
