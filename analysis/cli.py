"""The installed ``metaopt`` command: the outer loop's commands and the figures."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from metaopt.cli import RunArg, app, invoke


@app.command()
def plot(
    run: RunArg,
    out: Annotated[Path, typer.Option(help="A .png, .pdf or .svg file.")],
    data: Annotated[Path | None, typer.Option(help="A .csv file for the numbers.")] = None,
) -> None:
    """Draw validation pass rate over iterations."""
    from analysis.figures import plot_run

    print(plot_run(run, out, data))


@app.command()
def power(
    papers: Annotated[int, typer.Option(min=2, help="Validation papers.")] = 25,
    rate: Annotated[float, typer.Option(help="The parent's true pass rate.")] = 0.3,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each paper compared.")] = 1,
    spread: Annotated[
        float, typer.Option(min=0, max=5, help="How papers' difficulty varies, on the logit.")
    ] = 1.0,
    iterations: Annotated[int, typer.Option(min=1, help="Mutants that change nothing.")] = 233,
    run: Annotated[
        Path | None, typer.Option(help="Take papers and rate from this run instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All numbers, as JSON.")] = False,
) -> None:
    """How often the gate passes noise, and what true changes gate and comparison catch."""
    from analysis import power as tables

    setting = tables.recorded(run) if run else tables.assumed(papers, rate, spread)
    answer = tables.power(setting, repeats, iterations)
    print(tables.as_json(answer) if as_json else tables.as_text(answer))


@app.command()
def report(
    run: RunArg,
    out: Annotated[Path | None, typer.Option(help="A .md file; none: printed.")] = None,
) -> None:
    """What a run did and how far to believe it, as text for a colleague."""
    from analysis.markdown import write_report

    print(write_report(run, out), end="" if out is None else "\n")


def main() -> None:
    """Entry point."""
    sys.exit(invoke(app))
