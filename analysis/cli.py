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


def main() -> None:
    """Entry point."""
    sys.exit(invoke(app))
