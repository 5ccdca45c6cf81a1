"""The figure of a run: validation pass rate over iterations.

A single validation score is noisy, and the best of many is high by luck (Autodata, Kulikov et
al. 2026, reports averages over re-evaluations for that reason).  So single scores are drawn as
faint points, and lines are averages over every run that a candidate has had by then.
"""

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from analysis.course import Point, course
from analysis.style import BLUE, DARK, GREEN, GREY, ORANGE, STYLE, mark_simulated, save
from analysis.targets import SUFFIXES, check_target
from inner_agent.errors import UserError
from metaopt.optimism import Figure as Told
from metaopt.optimism import meter, rerun_text
from metaopt.record import RunRecord, open_record
from metaopt.state import winner
from metaopt.text import one_line

# How single scores are drawn: outcome, marker, face, edge, what the legend says.
MARKS = (
    ("accepted", "o", ORANGE, ORANGE, "accepted candidate, one run"),
    ("rejected", "o", "white", GREY, "rejected candidate, one run"),
    ("stopped", "d", GREY, "none", "stopped, on some papers"),
    ("control", "s", "white", GREEN, "live control: parent, unchanged"),
)
# The meter's figures that are drawn, and what stands below them.
SHORT = {
    "highest single score": "highest score",
    "best, when accepted": "when accepted",
    "best, its runs in the search": "in the search",
    "best, shrunk": "shrunk",
    "finalist, run again": "run again",
    "sealed test, best": "sealed test",
    "sealed test, the best then": "test, best then",
}


def plot_run(run: Path, out: Path, data: Path | None = None) -> str:
    """Draw the run into ``out`` (PNG, PDF, SVG), its numbers into ``data`` (CSV) if given.

    Raises ``UserError`` for another suffix, for a folder that isn't there, and when nothing has
    been validated yet.
    """
    check_target(out, SUFFIXES)
    if data:
        check_target(data, (".csv",))
    record = open_record(run)
    points = course(record)
    if not any(p.rate is not None for p in points):
        raise UserError(f"{run}: no candidate has been validated yet; see metaopt status {run}")
    with rc_context(STYLE):
        figure = _draw(record, points)
        save(figure, out)
    if data:
        _write(points, record.config.simulated, data)
    last = points[-1]
    name = f"candidate {last.best}" if last.best else "still the baseline"
    simulated = " (simulated)" if record.config.simulated else ""
    return (
        f"{out}: at iteration {last.iteration}, baseline {_percent(last.baseline_rate)},"
        f" best {_percent(last.best_rate)}, {name}{_chosen(record, last)}{simulated}"
    )


def _chosen(record: RunRecord, last: Point) -> str:
    """What the finalists' re-run said, which may have chosen another one than the search."""
    top = winner(record.state)
    again = rerun_text(record, top.id)
    return (
        again if top.id == last.best else f"; chosen among the finalists: candidate {top.id}{again}"
    )


def _draw(record: RunRecord, points: Sequence[Point]) -> Figure:
    figure = Figure(figsize=(6.0, 3.1), layout="constrained")
    told = [f for f in meter(record) if f.name in SHORT]
    widths = (3.6, 1) if told else (1,)
    panels = figure.subplots(1, len(widths), sharey=True, squeeze=False, width_ratios=widths)[0]
    axes = panels[0]
    _baseline(axes, points)
    _best_line(axes, points)
    _single_scores(axes, points)
    if told:
        _meter(panels[1], told)
    axes.set_xlabel(
        "iteration\nbands: 95% intervals, which don't account for the choice of the best"
    )
    axes.set_ylabel("validation pass rate")
    axes.set_xlim(0.3, len(points) + 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    top = _top(points, told)
    axes.set_ylim(-0.03 * top, top)  # a line at 0 % stays clear of the frame
    for one in panels:
        one.grid(axis="y", linewidth=0.4, color="#E3E3E3")
        one.set_axisbelow(True)
    axes.set_title(_title(record), loc="left")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, handlelength=1.8)
    if record.config.simulated:
        mark_simulated(axes)
    return figure


def _meter(axes: Axes, told: Sequence[Told]) -> None:
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
    axes.set_xticks(range(len(told)), labels, fontsize=6, rotation=45, ha="right",
                    rotation_mode="anchor")  # fmt: skip
    axes.tick_params(axis="x", length=0, pad=2)
    axes.tick_params(axis="y", left=False, labelleft=False)
    axes.spines["left"].set_visible(False)
    axes.set_title("how good is the best?\narrows: expected luck", loc="left", fontsize=6.5)


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


def _title(record: RunRecord) -> str:
    papers = max(len(s["validated"]["papers"]) for s in record.stages.values() if "validated" in s)
    name = one_line(record.folder.resolve().name, 24)
    simulated = "simulated, " if record.config.simulated else ""
    policy = record.config.search.policy
    return f"{name}: {simulated}{papers} papers, policy “{policy}”"


def _top(points: Sequence[Point], told: Sequence[Told]) -> float:
    """The upper end of the axis: the next ten percent above all that is drawn."""
    rates = [p.rate for p in points if p.rate is not None]
    highs = [p.best_high for p in points if p.best_rate is not None]
    highs += [f.interval[1] for f in told if f.interval]
    return min(1.0, (int(max([*rates, *highs, points[-1].baseline_rate or 0.0]) * 10) + 1) / 10)


def _write(points: Sequence[Point], simulated: bool, path: Path) -> None:
    try:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*(f.name for f in fields(Point)), "simulated"])
            writer.writeheader()
            said = {"simulated": str(simulated).lower()}  # a table goes its way without its figure
            writer.writerows(asdict(p) | said for p in points)
    except OSError as e:
        raise UserError(f"{path}: can't be written ({e.strerror})") from None


def _percent(rate: float | None) -> str:
    return "not validated" if rate is None else f"{rate:.0%}"
