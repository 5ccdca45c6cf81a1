"""Several runs in one figure: the best so far, as the mean over seeds and a band across them.

How good the best is told by its rate shrunk towards its relatives, by which it was chosen: of all
its rates, luck lifts that one least, and in policies that validate seldom as in those that do it
often (docs/statistics.md, optimism meter).
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.colours import DARK
from analysis.groups import (
    Followed,
    Group,
    Step,
    baselines,
    follow,
    grouped,
    same_papers,
    steps,
)
from analysis.style import (
    INCHES,
    LINES,
    Drawn,
    Width,
    drawable,
    iterations,
    mark_simulated,
    percents,
)
from inner_agent.errors import UserError
from metaopt.text import several
from metaopt.validations import validations


def draw(folders: Sequence[Path], width: Width) -> Drawn:
    """The figure of several runs.  Raises ``UserError`` as ``follow`` and ``grouped`` do, and for
    one run alone."""
    if len(folders) == 1:
        raise UserError(
            f"{folders[0]}: one run has no band; give its seeds too, or --figure course"
        )
    runs = follow(folders)
    groups = grouped(runs)
    told = [_told(group, steps(group)[-1]) for group in groups]
    simulated = " (simulated)" if runs[0].record.config.simulated else ""
    other = "" if same_papers(runs) else "; not all on the same validation papers"
    return Drawn(_draw(runs, groups, width), _rows(groups), f"{'; '.join(told)}{other}{simulated}")


def _told(group: Group, last: Step) -> str:
    sure = f" [{last.low:.0%} to {last.high:.0%}]" if last.low is not None else ""
    return (
        f"{group.name}, {several(last.runs, 'run')}, at iteration {last.iteration}: best"
        f" {last.mean:.0%}{sure}"
    )


def _rows(groups: Sequence[Group]) -> list[dict[str, object]]:
    """Each run's course, then its group's, whose rows have no run's name."""
    rows: list[dict[str, object]] = []
    for group in groups:
        mark = {"simulated": str(group.runs[0].record.config.simulated).lower()}
        for run in group.runs:
            rows += [
                {"group": group.name, "run": run.name, "iteration": p.iteration, "runs": 1,
                 "mean": p.best_shrunk, "lowest": None, "highest": None, "low": None, "high": None,
                 "average": p.best_rate, "baseline": p.baseline_rate} | mark
                for p in run.points
            ]  # fmt: skip
        more = {"average": None, "baseline": None} | mark
        rows += [{"group": group.name, "run": ""} | asdict(s) | more for s in steps(group)]
    return rows


def _draw(runs: Sequence[Followed], groups: Sequence[Group], width: Width) -> Figure:
    figure = Figure(figsize=(INCHES[width], 3.1 if width == "page" else 3.2), layout="constrained")
    axes = figure.subplots()
    longest = max(len(run.points) for run in runs)
    apart = max(0.4, 0.03 * longest)
    axes.set_xlim(0.3, longest + 0.7 + apart * (len(groups) + 0.5))
    for k, group in enumerate(groups):
        _group(axes, k, group, longest, longest + 0.5 + apart * (k + 1))
    for rate in baselines(runs).values():
        label = f"baseline, mean of all runs ({rate:.0%})"
        axes.axhline(rate, color=DARK, linewidth=0.9, linestyle=(0, (1, 1.5)), label=label)
    iterations(axes, width, longest)
    axes.set_ylabel("pass rate of the best, shrunk")
    percents(axes)
    axes.set_ylim(bottom=0)
    axes.set_title(_title(runs), loc="left")
    figure.legend(
        loc="outside lower center", frameon=False, alignment="left", title=_note(groups, width),
        handlelength=2.8, ncols=2 if width == "page" else 1,
    )  # fmt: skip
    if runs[0].record.config.simulated:
        mark_simulated(axes, width)
    return figure


def _group(axes: Axes, k: int, group: Group, longest: int, at: float) -> None:
    """A group's runs, its mean with the band, and at the right what is known of the mean."""
    (colour, dashes, marker), course = LINES[k], steps(group)
    last, many = course[-1], len(group.runs) > 1
    edges = [s.iteration - 0.5 for s in course] + [last.iteration + 0.5]
    whole = [*course, last]
    when = "" if last.iteration == longest else f" at {last.iteration}"
    who = f"{drawable(group.name, 30)}, {f'mean of {last.runs} runs' if many else 'one run'}"
    if many:
        axes.fill_between(edges, [s.lowest for s in whole], [s.highest for s in whole],
                          step="post", color=colour, alpha=0.14, linewidth=0)  # fmt: skip
        for run in group.runs:
            ends = [p.iteration - 0.5 for p in run.points] + [run.points[-1].iteration + 0.5]
            rates = [p.best_shrunk for p in [*run.points, run.points[-1]]]
            axes.step(
                ends, rates, where="post", color=colour, linewidth=0.5, alpha=0.6, linestyle=dashes
            )
    axes.step(edges, [s.mean for s in whole], where="post", color=colour, linewidth=1.6,
              linestyle=dashes, label=f"{who} ({last.mean:.0%}{when})")  # fmt: skip
    if last.low is not None and last.high is not None:
        axes.plot([at, at], [last.low, last.high], color=colour, linewidth=1.4, alpha=0.5)
    axes.plot(at, last.mean, marker, color=colour, markersize=4)


def _title(runs: Sequence[Followed]) -> str:
    simulated = "simulated, " if runs[0].record.config.simulated else ""
    return f"{len(runs)} runs: {simulated}{_papers(runs)}"


def _papers(runs: Sequence[Followed]) -> str:
    if not same_papers(runs):
        return "not all on the same papers"
    found = {p for v in validations(runs[0].record) for p in v.papers}
    return several(len(found), "validation paper")


def _note(groups: Sequence[Group], width: Width) -> str:
    """What is drawn; nothing of bands where no group has several runs."""
    if all(len(group.runs) == 1 for group in groups):
        return ""
    space = " " if width == "page" else "\n"
    return (
        f"band: lowest to highest run; thin: each run;{space}"
        "marks at the right: the mean's 95% interval (Student's t)"
    )
