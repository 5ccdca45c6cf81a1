"""``metaopt plot``: one figure of runs or data sets into a file, and its numbers into another."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib import rc_context

from analysis.figures import bars, cost, course, failures, lineage, seeds
from analysis.style import INCHES, Drawn, Width, save, style_of
from analysis.targets import SUFFIXES, check_target, write_table
from inner_agent.errors import UserError

Draw = Callable[[Sequence[Path], Width], Drawn]
FIGURES: dict[str, Draw] = {
    "course": course.draw,
    "seeds": seeds.draw,
    "failures": failures.draw,
    "lineage": lineage.draw,
    "cost": cost.draw,
    "bars": bars.draw,
}
ONE_RUN = ("course", "failures", "lineage")  # the others take several


def plot(
    folders: Sequence[Path], out: Path, figure: str | None, data: Path | None, width: str
) -> str:
    """Draw ``figure`` (``None``: the course of one run, the seeds of several) of these folders into
    ``out``, its numbers into ``data``; returns what there is to say in a line.

    Raises ``UserError`` for a figure, width or suffix that there isn't, for a file that can't be
    written, and for folders that the figure can't be drawn of.
    """
    figure = figure or ("course" if len(folders) == 1 else "seeds")
    if figure not in FIGURES:
        raise UserError(f"--figure {figure}: write one of {', '.join(FIGURES)}")
    if width not in INCHES:
        raise UserError(f"--width {width}: write one of {', '.join(INCHES)}")
    if figure in ONE_RUN and len(folders) > 1:
        raise UserError(f"--figure {figure} is of one run, not of {len(folders)}; draw each alone")
    check_target(out, SUFFIXES)
    if data:
        check_target(data, (".csv",))
    with rc_context(style_of(width)):
        drawn = FIGURES[figure](folders, width)
        save(drawn.figure, out)
    if data:
        write_table(data, drawn.rows)
    return f"{out}: {drawn.told}"
