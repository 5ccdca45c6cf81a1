"""What better harnesses cost: the best so far against what was spent until then."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.colours import DARK
from analysis.groups import Followed, Group, baselines, follow, grouped, same_papers
from analysis.spending import Spent, spending
from analysis.style import INCHES, LINES, Drawn, Width, drawable, mark_simulated, percents
from metaopt.text import amount, dollars, several

NAMED = 4  # lines that have a name each; of more, each group has one


@dataclass(frozen=True, slots=True)
class Way:
    """A run's spending, its group and which of the groups that is."""

    run: Followed
    group: Group
    k: int
    spent: Sequence[Spent]


def draw(folders: Sequence[Path], width: Width) -> Drawn:
    """The figure of one or several runs.  Raises ``UserError`` as ``follow``, ``grouped`` and
    ``spending`` do."""
    runs = follow(folders)
    ways = [
        Way(run, group, k, spending(run.record, points=run.points))
        for k, group in enumerate(grouped(runs))
        for run in group.runs
    ]
    rows = [
        {"run": w.run.name, "group": w.group.name}
        | asdict(s)
        | {"simulated": str(w.run.record.config.simulated).lower()}
        for w in ways
        for s in w.spent
    ]
    return Drawn(_draw(ways, width), rows, _told(ways))


def _told(ways: Sequence[Way]) -> str:
    said = [
        f"{w.run.name}: best {last.best_shrunk:.0%} after {_price(last)},"
        f" {several(last.rollouts, 'rollout')}, {amount(last.tokens)} tokens"
        for w in ways
        for last in w.spent[-1:]
    ]
    other = "" if same_papers([w.run for w in ways]) else "; not all on the same validation papers"
    return "; ".join(said) + other + (" (simulated)" if _simulated(ways) else "")


def _price(spent: Spent) -> str:
    return dollars(spent.usd) if spent.usd else "nothing paid"


def _simulated(ways: Sequence[Way]) -> bool:
    return ways[0].run.record.config.simulated


def _draw(ways: Sequence[Way], width: Width) -> Figure:
    figure = Figure(figsize=(INCHES[width], 2.9 if width == "page" else 2.8), layout="constrained")
    axes = figure.subplots()
    paid = any(w.spent[-1].usd for w in ways)
    for n, way in enumerate(ways):
        look, label = _look(ways, way, n)
        _way(axes, way, look, label, paid)
    for rate in baselines([w.run for w in ways]).values():
        label = f"baseline ({rate:.0%})"
        axes.axhline(rate, color=DARK, linewidth=0.9, linestyle=(0, (1, 1.5)), label=label)
    _axis(axes, paid)
    axes.set_ylabel("pass rate of the best, shrunk")
    percents(axes)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_title(_title(ways), loc="left")
    _legend(figure, axes, width)
    if _simulated(ways):
        mark_simulated(axes, width)
    return figure


def _look(ways: Sequence[Way], way: Way, n: int) -> tuple[int, str]:
    """Which line a run has, and its name: its own, or its group's where there are too many."""
    if len(ways) > NAMED:
        return way.k, drawable(f"{way.group.name}, {several(len(way.group.runs), 'run')}", 40)
    policy = f", {way.group.name}" if ways[-1].k else ""
    return (
        n,
        f"{drawable(way.run.name, 20)}{drawable(policy, 30)} ({way.spent[-1].best_shrunk:.0%})",
    )


def _way(axes: Axes, way: Way, look: int, label: str, paid: bool) -> None:
    """A run as a step at each decision."""
    colour, dashes, marker = LINES[look]
    x = [s.usd if paid else s.rollouts for s in way.spent]
    y = [s.best_shrunk for s in way.spent]
    axes.step(x, y, where="post", color=colour, linewidth=1.4, linestyle=dashes)
    axes.plot(x[-1], y[-1], marker, color=colour, markersize=4, clip_on=False)
    axes.plot([], [], marker=marker, color=colour, linewidth=1.4, linestyle=dashes, markersize=4,
              label=label)  # fmt: skip


def _axis(axes: Axes, paid: bool) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    sign = "$" if paid else ""
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{sign}{x:,.10g}"))
    axes.set_xlabel(
        "spent, all roles" if paid else "rollouts, each a harness on a paper (calls were free)"
    )


def _legend(figure: Figure, axes: Axes, width: Width) -> None:
    """One entry for each look."""
    handles, labels = axes.get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    figure.legend(
        list(known.values()), list(known), loc="outside lower center", frameon=False,
        handlelength=2.8, ncols=2 if width == "page" else 1,
    )  # fmt: skip


def _title(ways: Sequence[Way]) -> str:
    simulated = "simulated, " if _simulated(ways) else ""
    if len(ways) == 1:
        who, policy = drawable(ways[0].run.name, 20), ways[0].run.record.config.search.policy
        return f"{who}: {simulated}policy “{policy}”"
    same = same_papers([w.run for w in ways])
    papers = "the same papers" if same else "not all on the same papers"
    return f"{len(ways)} runs: {simulated}{papers}"
