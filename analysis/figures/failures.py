"""How rounds end, iteration by iteration, and over the run beside the published mix."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.colours import DARK, ENDS
from analysis.failures import OUTCOMES, PUBLISHED, Mix, binned, failure_mix, together
from analysis.style import INCHES, Drawn, Width, drawable, iterations, mark_simulated, percents
from inner_agent.errors import UserError
from metaopt.record import RunRecord, open_record
from metaopt.text import several

BARS = {"page": 30, "column": 15}  # at most; longer runs have several iterations in one
ROOM = 0.06  # of a bar's height: a share below this has no number in it
HATCHES = {
    "weak_zero": "xxxx", "failed_quality_check": "////", "invalid_item": "\\\\\\\\",
    "unfinished": "....",
}  # fmt: skip
# What each outcome is called and looks like: face, hatching.  Neighbours differ in lightness.
LOOKS = {o: (name, colour, HATCHES.get(o, "")) for o, (name, colour) in ENDS.items()}
assert set(LOOKS) == set(OUTCOMES)


def draw(folders: Sequence[Path], width: Width) -> Drawn:
    """The figure of one run.  Raises ``UserError`` before its first round."""
    (folder,) = folders
    record = open_record(folder)
    mixes = failure_mix(record)
    if not any(m.rounds for m in mixes):
        raise UserError(f"{folder}: no round on a training paper is recorded yet")
    simulated = record.config.simulated
    rows = _rows("iteration", mixes) + _rows("run", [together(mixes)]) + _published()
    for row in rows:
        row["simulated"] = str(simulated and row["what"] != "published").lower()
    whole = together(mixes).shares(rejected=True)
    top = ", ".join(
        f"{whole[o]:.0%} {LOOKS[o][0]}" for o in sorted(whole, key=lambda o: -whole[o])[:3]
    )
    told = f"{sum(together(mixes).rounds.values()):,} rounds; of the rejected {top}"
    return Drawn(_draw(record, mixes, width), rows, told + (" (simulated)" if simulated else ""))


def _rows(what: str, mixes: Sequence[Mix]) -> list[dict[str, object]]:
    """A row for each outcome of a round, and for each end of a paper."""
    rows: list[dict[str, object]] = []
    for mix in mixes:
        rejected = mix.shares(rejected=True)
        where = {"what": what, "first": mix.first, "last": mix.last}
        rows += [
            where | {"of": "rounds", "outcome": o, "count": mix.rounds.get(o, 0),
                     "share": share, "share_of_rejected": rejected.get(o)}
            for o, share in mix.shares().items()
        ]  # fmt: skip
        papers = sum(mix.papers.values())
        rows += [
            where | {"of": "papers", "outcome": reason, "count": n, "share": n / papers,
                     "share_of_rejected": None}
            for reason, n in sorted(mix.papers.items())
        ]  # fmt: skip
    return rows


def _published() -> list[dict[str, object]]:
    return [
        {"what": "published", "first": None, "last": None, "of": "rounds", "outcome": o,
         "count": None, "share": None, "share_of_rejected": share}
        for o, share in PUBLISHED.items()
    ]  # fmt: skip


def _draw(record: RunRecord, mixes: Sequence[Mix], width: Width) -> Figure:
    page = width == "page"
    figure = Figure(figsize=(INCHES[width], 3.0 if page else 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3.2 if page else 1.7, 1))
    bars = binned(mixes, BARS[width])
    for bar in bars:
        _stack(left, (bar.first + bar.last) / 2, bar.shares(), bar.last - bar.first + 0.9)
    whole = together(mixes)
    for x, shares in enumerate((whole.shares(rejected=True), PUBLISHED)):
        _stack(right, x, shares, 0.8, numbers=True)
    rejected = sum(n for o, n in whole.rounds.items() if o != "accepted")
    right.set_xticks([0, 1], [f"this run\n{rejected:,}", "published\n880"])
    right.tick_params(axis="x", length=0)
    right.set_title("rejected rounds", loc="left", fontsize=6.5)
    iterations(left, width, whole.last)
    left.set_xlim(mixes[0].first - 0.7, mixes[-1].last + 0.7)
    left.set_ylabel("share of rounds")
    percents(left)
    left.set_ylim(0, 1)
    _words(figure, record, whole, width)
    if record.config.simulated:
        mark_simulated(left, width)
    return figure


def _stack(
    axes: Axes, x: float, shares: Mapping[str, float], width: float, numbers: bool = False
) -> None:
    """A bar of shares, the first outcome at the bottom; with numbers where there is room."""
    below = 0.0
    for outcome, (_, face, hatching) in LOOKS.items():
        if share := shares.get(outcome, 0.0):
            axes.bar(x, share, width, below, color=face, hatch=hatching, edgecolor=DARK,
                     linewidth=0.4)  # fmt: skip
            if numbers and share >= ROOM:
                axes.text(
                    x, below + share / 2, f"{share:.0%}", ha="center", va="center", fontsize=6,
                    bbox={"facecolor": "white", "linewidth": 0, "pad": 0.8},
                )  # fmt: skip
            below += share


def _words(figure: Figure, record: RunRecord, whole: Mix, width: Width) -> None:
    page = width == "page"
    simulated = "simulated, " if record.config.simulated else ""
    name = drawable(record.folder.resolve().name, 24 if page else 10)
    rollouts = several(sum(whole.papers.values()), "rollout")
    figure.suptitle(f"{name}: {simulated}{rollouts} on training papers", x=0.01, ha="left")
    known = [o for o in LOOKS if whole.rounds.get(o) or o in PUBLISHED]
    handles = [
        Patch(facecolor=LOOKS[o][1], hatch=LOOKS[o][2], edgecolor=DARK, linewidth=0.4)
        for o in known
    ]
    figure.legend(
        handles, [LOOKS[o][0] for o in known], loc="outside lower center", frameon=False,
        ncols=4 if page else 2, handlelength=2, handleheight=1.1,
    )  # fmt: skip
