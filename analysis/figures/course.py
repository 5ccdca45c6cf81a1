"""The figure of a run: validation pass rate over iterations.

A single validation score is noisy, and the best of many is high by luck (Autodata, Kulikov et
al. 2026, reports averages over re-evaluations for that reason).  So single scores are drawn as
faint points, and lines are averages over every run that a candidate has had by then.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.colours import BLUE, DARK, GREEN, GREY, ORANGE
from analysis.course import SHORT, Point, course
from analysis.style import INCHES, Drawn, Width, drawable, iterations, mark_simulated, percents
from inner_agent.errors import UserError
from metaopt.optimism import Figure as Told
from metaopt.optimism import meter, rerun_text
from metaopt.record import RunRecord, open_record
from metaopt.state import winner

# How single scores are drawn: outcome, marker, face, edge, what the legend says.
MARKS = (
    ("accepted", "o", ORANGE, ORANGE, "accepted candidate, one run"),
    ("rejected", "o", "white", GREY, "rejected candidate, one run"),
    ("stopped", "d", GREY, "none", "stopped, on some papers"),
    ("control", "s", "white", GREEN, "live control: parent, unchanged"),
)
BANDS = "bands: 95% intervals, which don't account for the choice of the best"


def draw(folders: Sequence[Path], width: Width) -> Drawn:
    """The figure of one run.  Raises ``UserError`` when nothing has been validated yet."""
    (run,) = folders
    record = open_record(run)
    points = course(record)
    if not any(p.rate is not None for p in points):
        raise UserError(f"{run}: no candidate has been validated yet; see metaopt status {run}")
    last = points[-1]
    name = f"candidate {last.best}" if last.best else "still the baseline"
    simulated = " (simulated)" if record.config.simulated else ""
    told = (
        f"at iteration {last.iteration}, baseline {_percent(last.baseline_rate)},"
        f" best {_percent(last.best_rate)}, {name}{_chosen(record, last)}{simulated}"
    )
    mark = {"simulated": str(record.config.simulated).lower()}
    rows = [asdict(p) | mark for p in points]
    return Drawn(_draw(record, points, width), rows, told)


def _chosen(record: RunRecord, last: Point) -> str:
    """What the finalists' re-run said, which may have chosen another one than the search."""
    top = winner(record.state)
    again = rerun_text(record, top.id)
    return (
        again if top.id == last.best else f"; chosen among the finalists: candidate {top.id}{again}"
    )


def _draw(record: RunRecord, points: Sequence[Point], width: Width) -> Figure:
    told = [f for f in meter(record) if f.name in SHORT]
    figure, panels = _panels(width, bool(told))
    axes = panels[0]
    _baseline(axes, points)
    _best_line(axes, points)
    _single_scores(axes, points)
    if told:
        _meter(panels[1], told, width)
    axes.set_ylabel("validation pass rate")
    axes.set_xlim(0.3, len(points) + 0.7)
    iterations(axes, width, len(points))
    top = _top(points, told)
    axes.set_ylim(-0.03 * top, top)  # a line at 0 % stays clear of the frame
    for one in panels:
        percents(one)
    _words(figure, axes, record, width)
    if record.config.simulated:
        mark_simulated(axes, width)
    return figure


def _words(figure: Figure, axes: Axes, record: RunRecord, width: Width) -> None:
    """Title, legend, and what the bands are; in a column there is no room for it below the axis."""
    if width == "page":
        axes.set_title(_title(record, 24), loc="left")
        axes.set_xlabel(f"iteration\n{BANDS}")
        told: dict[str, Any] = {"ncols": 2}
    else:
        figure.suptitle(_title(record, 16), x=0.01, ha="left")
        told = {"title": BANDS.replace("account ", "account\n"), "alignment": "left"}
    figure.legend(loc="outside lower center", frameon=False, handlelength=1.8, **told)


def _panels(width: Width, two: bool) -> tuple[Figure, Sequence[Axes]]:
    """A figure with the course's axes, and the meter's beside it if there are ``two``."""
    figure = Figure(figsize=(INCHES[width], 3.1 if width == "page" else 3.6), layout="constrained")
    ratios = (3.6 if width == "page" else 2.0, 1) if two else (1,)
    found = figure.subplots(1, len(ratios), sharey=True, squeeze=False, width_ratios=ratios)
    return figure, list(found[0])


def _meter(axes: Axes, told: Sequence[Told], width: Width) -> None:
    """Beside the course: each way to say how good the best is, and the luck expected in it."""
    for x, f in enumerate(told):
        colour = BLUE if f.luck else GREEN
        if f.interval:
            axes.plot([x, x], f.interval, color=colour, linewidth=1.4, alpha=0.4)
        axes.plot(x, f.rate, "o", color=colour, markersize=3.6)
        if f.luck > 0.005:
            axes.annotate(
                "", (x, f.rate - f.luck), (x, f.rate),
                arrowprops={"arrowstyle": "-|>", "color": ORANGE, "linewidth": 1,
                            "mutation_scale": 5, "shrinkA": 2, "shrinkB": 0},
            )  # fmt: skip
    axes.set_xlim(-0.6, len(told) - 0.4)
    labels = [SHORT[f.name] for f in told]
    axes.set_xticks(range(len(told)), labels, fontsize=6, rotation=45 if width == "page" else 60,
                    ha="right", rotation_mode="anchor")  # fmt: skip
    axes.tick_params(axis="x", length=0, pad=2)
    axes.tick_params(axis="y", left=False, labelleft=False)
    axes.spines["left"].set_visible(False)
    if width == "page":
        axes.set_title("how good is the best?\narrows: expected luck", loc="left", fontsize=6.5)
    else:
        axes.set_title("the best; arrows:\nexpected luck", loc="left", fontsize=6)


def _baseline(axes: Axes, points: Sequence[Point]) -> None:
    """The baseline's average over the whole run: what everything is compared with."""
    last = points[-1]
    if last.baseline_rate is None:
        return
    label = f"baseline, all runs ({_percent(last.baseline_rate)})"
    axes.axhspan(last.baseline_low, last.baseline_high, color=GREY, alpha=0.14, linewidth=0)
    axes.axhline(
        last.baseline_rate, color=DARK, linewidth=1, linestyle=(0, (4, 2)), label=label,
        zorder=2.2,  # over the best's line, which it is until there is a winner
    )  # fmt: skip


def _best_line(axes: Axes, points: Sequence[Point]) -> None:
    """The best by then, as a step for each iteration."""
    known = [p for p in points if p.best_rate is not None]
    if not known:
        return
    edges = [p.iteration - 0.5 for p in known] + [known[-1].iteration + 0.5]
    rates, lows, highs = (
        [getattr(p, name) for p in known] + [getattr(known[-1], name)]
        for name in ("best_rate", "best_low", "best_high")
    )
    label = f"current best, average of its runs ({_percent(known[-1].best_rate)})"
    axes.fill_between(edges, lows, highs, step="post", color=BLUE, alpha=0.16, linewidth=0)
    axes.step(edges, rates, where="post", color=BLUE, linewidth=1.6,
              solid_capstyle="butt", solid_joinstyle="miter", label=label)  # fmt: skip


def _single_scores(axes: Axes, points: Sequence[Point]) -> None:
    size = min(18.0, max(2.5, 1_100 / len(points)))
    edge_width = min(0.8, size / 12)
    order = 3 if len(points) <= 60 else 1.9  # many points would hide the lines
    for outcome, marker, face, edge, label in MARKS:
        chosen = [p for p in points if p.outcome == outcome and p.rate is not None]
        if chosen or outcome in ("accepted", "rejected"):
            axes.scatter(
                [p.iteration for p in chosen], [p.rate or 0.0 for p in chosen], s=size,
                marker=marker, facecolor=face, edgecolor=edge, linewidth=edge_width, zorder=order,
                clip_on=False, label=f"{label} ({len(chosen)})",
            )  # fmt: skip


def _title(record: RunRecord, limit: int) -> str:
    papers = max(len(s["validated"]["papers"]) for s in record.stages.values() if "validated" in s)
    name = drawable(record.folder.resolve().name, limit)
    simulated = "simulated, " if record.config.simulated else ""
    policy = record.config.search.policy
    return f"{name}: {simulated}{papers} papers, policy “{policy}”"


def _top(points: Sequence[Point], told: Sequence[Told]) -> float:
    """The upper end of the axis: the next ten percent above all that is drawn."""
    rates = [p.rate for p in points if p.rate is not None]
    highs = [p.best_high for p in points if p.best_rate is not None]
    highs += [f.interval[1] for f in told if f.interval]
    return min(1.0, (int(max([*rates, *highs, points[-1].baseline_rate or 0.0]) * 10) + 1) / 10)


def _percent(rate: float | None) -> str:
    return "not validated" if rate is None else f"{rate:.0%}"
