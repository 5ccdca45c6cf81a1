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
) -> None:
    """Draw validation pass rate over iterations."""
    from analysis.figures import plot_run

    print(plot_run(run, out))


def main() -> None:
    """Entry point."""
    sys.exit(invoke(app))
