"""The command line of the outer loop; ``analysis.cli`` adds the figures to what is installed."""

import json
import shlex
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer

from inner_agent.errors import UserError
from metaopt.terminal import lasting_streams
from metaopt.text import clean

LONGEST = 2_000  # characters of a message
PATH = """\
Three steps:
  1. metaopt init DIR               a project of your own: config, harness repository, split
  2. metaopt run DIR/config.toml    improve the harness (again: goes on where it stopped)
  3. metaopt checkout RUN DIR       take the winner away as a git branch and one diff

Before a run:   init, split, doctor, estimate, serve-local
A run:          run, runs (all there are), status, show, checkout,
                view (in a browser), search (everything in it), plot (six figures, for print too),
                report (what was done, and how far to believe it; .html for all of it in one file),
                replay (what another search policy would have done)
Compare:        compare (harnesses on the same papers), aa (a harness with itself),
                ablate (which hunks carry a gain), test (the sealed papers, once, at the end),
                power (what the gate and a comparison can tell)
Data:           generate, classics (known methods, to begin with or to compare with),
                inspect (what a data set is like as a whole, and whether it will do),
                dataquality (weak, strong and gap of several data sets, judged alike),
                export (for trainers: files, Hugging Face, TRL, verl; card and split)

`metaopt COMMAND --help` explains each."""

app = typer.Typer(
    add_completion=False, no_args_is_help=False, rich_markup_mode=None,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip

ConfigArg = Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML config file.")]
RunArg = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a config key; may be repeated."),
]
Number = Annotated[int, typer.Option(min=0)]


@app.callback(invoke_without_command=True)
def metaopt(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Say which version this is.")] = False,
) -> None:
    """Improve a data-scientist agent by editing its harness."""
    if version:
        print(f"metaopt {installed_version('metaopt')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(PATH)


@app.command()
def run(
    config: ConfigArg,
    out: Annotated[Path | None, typer.Option(help="The run's folder.")] = None,
    override: SetOption = None,
) -> None:
    """Launch a meta-optimization run; the same command again goes on with it."""
    from metaopt.config import load_config
    from metaopt.runner import Stopped, resume_command
    from metaopt.runner import run as start
    from metaopt.status import summary

    folder = out or Path("populations") / config.stem
    overrides = override or []
    try:
        start(load_config(config, overrides), folder)
    except Stopped as stop:
        again = resume_command(config, folder, overrides)
        print(f"stopped: {stop.reason}; to go on: {again}", file=sys.stderr)
        raise typer.Exit(stop.status) from None
    print(summary(folder))


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where the runs are.")] = Path(
        "populations"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """The runs in a folder: state, rates, cost; the newest first."""
    from metaopt.runs import as_table, list_runs, to_json

    found = list_runs(folder)
    print(to_json(found) if as_json else as_table(folder, found))


@app.command()
def status(
    run: RunArg,
    everything: Annotated[
        bool, typer.Option("--full", help="With the luck in each figure, and spending by role.")
    ] = False,
) -> None:
    """How a run stands: iterations, rates, cost, what it is doing."""
    from metaopt.status import full, summary

    print(full(run) if everything else summary(run))


@app.command()
def show(
    run: RunArg,
    candidate: Annotated[
        str, typer.Argument(metavar="[CANDIDATE]", help="A number, best, baseline or paper.")
    ] = "",
    diff: Annotated[bool, typer.Option("--diff", help="Its changes to its parent.")] = False,
    baseline: Annotated[
        bool,
        typer.Option("--baseline", help="With --diff: against the baseline instead of the parent."),
    ] = False,
    analysis: Annotated[bool, typer.Option("--analysis", help="The diagnosis behind it.")] = False,
    papers: Annotated[bool, typer.Option("--papers", help="Paper by paper.")] = False,
) -> None:
    """All iterations; or one candidate: its overview, diff, analysis or papers."""
    from metaopt.show import show_candidate
    from metaopt.status import history

    if candidate:
        print(show_candidate(run, candidate, diff, baseline, analysis, papers))
    elif diff or baseline or analysis or papers:
        raise UserError("show: of which candidate? give its number, best, baseline or paper")
    else:
        print(history(run))


@app.command()
def checkout(
    run: RunArg,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    candidate: Annotated[str, typer.Option(help="A number, best or paper.")] = "best",
) -> None:
    """Take a harness away: a git branch with its history in DIR, and one diff DIR.diff."""
    from metaopt.show import take_away

    print(take_away(run, folder, candidate))


@app.command("replay")
def replay_run(
    run: RunArg,
    policy: Annotated[str, typer.Option(help="paper, pooled or thompson.")],
    override: SetOption = None,
) -> None:
    """Another search policy over what a run recorded: no model is asked, nothing is written."""
    from metaopt.offpolicy import asked_policy, replay_policy, told
    from metaopt.record import open_record

    record = open_record(run)
    other = asked_policy(record, policy, override or ())
    print(told(record, policy, replay_policy(record, other)))


@app.command()
def estimate(config: ConfigArg, override: SetOption = None) -> None:
    """Calls, tokens and cost of a whole run, before it is started; asks no model."""
    from metaopt.config import load_config
    from metaopt.estimate import report

    print(report(load_config(config, override or ())))


@app.command()
def doctor(
    config: ConfigArg,
    override: SetOption = None,
    paper: Annotated[bool, typer.Option(help="Take one paper through, on real models.")] = True,
) -> None:
    """Check everything that a run needs, and say how to mend what is missing."""
    from metaopt.doctor import examine

    text, healthy = examine(config, override or [], paper)
    print(text)
    if not healthy:
        raise typer.Exit(1)


@app.command()
def split(
    papers: Annotated[
        str, typer.Option(help="A folder, a .jsonl manifest, or synthetic:COUNT:SEED.")
    ],
    out: Annotated[Path, typer.Option(help="The split file to write.")],
    train: Number = 50,
    val: Number = 25,
    test: Number = 25,
    seed: int = 0,
) -> None:
    """Divide papers into training, validation and sealed test, stratified by topic."""
    from inner_agent.settings import InnerConfig, Papers
    from metaopt.lab import papers_of
    from metaopt.splits import make_split, write_split

    sizes = {"train": train, "val": val, "test": test}
    if out.exists():
        raise UserError(f"{out}: exists; a split is made once, name another file")
    source = InnerConfig.model_construct(papers=Papers(path=papers), endpoints={}, models={})
    with tempfile.TemporaryDirectory(prefix="metaopt-split-") as scratch:
        write_split(make_split(papers_of(source, Path(scratch)), sizes, seed), out)
    print(f"{out}: {train} training, {val} validation, {test} test papers (seed {seed})")


@app.command()
def generate(
    config: Annotated[Path, typer.Option(help="A TOML config file.")],
    out: Annotated[Path, typer.Option(help="The data set's folder.")],
    papers: Annotated[
        str | None, typer.Option(help="A folder, a .jsonl manifest, or synthetic:COUNT:SEED.")
    ] = None,
    harness: Annotated[
        str | None,
        typer.Option(help="A .diff, classic:NAME, a folder, a branch or commit, or RUN:CANDIDATE."),
    ] = None,
    accept: Annotated[
        int | None, typer.Option(min=1, help="Until so many items are kept, paper after paper.")
    ] = None,
    max_papers: Annotated[int | None, typer.Option(min=1, help="The first papers only.")] = None,
    items_per_paper: Annotated[
        int, typer.Option(min=1, help="At most so many items of each paper, each on another angle.")
    ] = 1,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="After so many rollouts, learnings for the next ones."),
    ] = None,
    forecast_stop: Annotated[
        bool,
        typer.Option(
            "--forecast-stop/--no-forecast-stop",
            help="With --accept: stop where papers or budget will hardly suffice.",
        ),
    ] = True,
    override: SetOption = None,
) -> None:
    """Make a data set from papers with one harness; the same command again goes on with it."""
    from metaopt.config import load_config
    from metaopt.generate import Wanted, make_dataset

    overrides = override or []
    if papers is not None:
        where = papers if papers.startswith("synthetic:") else str(Path(papers).resolve())
        overrides = [*overrides, f"papers.path={json.dumps(where)}"]
    with told_how_to_go_on():
        wanted = Wanted(accept, max_papers, forecast_stop, items_per_paper, batch)
        print(make_dataset(load_config(config, overrides), out, harness, wanted))


@app.command()
def classics() -> None:
    """Known methods as diffs on the baseline harness: what each changes, where it comes from."""
    from metaopt.classics import listing

    print(listing())


@app.command("serve-local")
def serve_local(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A .gguf file, or smollm2.")],
    host: str = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    parallel: Annotated[int, typer.Option(min=1, help="Requests answered at a time.")] = 2,
    context: Annotated[int, typer.Option(min=512, help="Tokens of each request.")] = 8192,
) -> None:
    """Serve a model on this machine with llama.cpp, until Ctrl-C (needs the extra local)."""
    from metaopt.serve import serve

    serve(model, host, port, parallel, context)


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")]) -> None:
    """Lay out a project of your own, ready to run: config, harness, papers, split."""
    from metaopt.init import lay_out

    print(lay_out(folder))


@contextmanager
def told_how_to_go_on() -> Iterator[None]:
    """What the same command goes on with: where the body stops early, say so, and the command."""
    from metaopt.runner import Stopped

    try:
        yield
    except Stopped as stop:
        again = shlex.join(["metaopt", *sys.argv[1:], *stop.more])
        print(f"stopped: {stop.reason}; to go on: {again}", file=sys.stderr)
        raise typer.Exit(stop.status) from None


def _on_one_line(error: Exception) -> str:
    """Names and texts that it quotes may be a stranger's: nothing of them steers the terminal."""
    text = clean(str(error)).replace("\n", " ")
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def invoke(commands: Callable[..., Any], arguments: list[str] | None = None) -> int:
    """Run the command line; bad input is one line on stderr and exit status 2."""
    try:
        with lasting_streams():
            status = commands(args=arguments, standalone_mode=False)  # typer.Exit's, or None
    except UserError as e:
        print(f"metaopt: {_on_one_line(e)}", file=sys.stderr)
        return 2
    except (sqlite3.Error, OSError) as e:
        print(f"metaopt: a file can't be used: {_on_one_line(e)}", file=sys.stderr)
        return 2
    except typer.Abort:
        return 130
    except typer.TyperException as e:  # an unknown option, a missing argument
        print(f"metaopt: {e.format_message()}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status if isinstance(status, int) else 0
