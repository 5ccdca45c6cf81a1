"""All commands of the installed ``metaopt``: the outer loop's and those that draw or compare."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from analysis.targets import SUFFIXES, check_target, write_text
from inner_agent.errors import UserError
from metaopt.cli import ConfigArg, RunArg, SetOption, told_how_to_go_on
from metaopt.cli import app as app  # with all commands, once this module is read

PartOption = Annotated[str, typer.Option(help="Of the config's split: val or train.")]
JsonOption = Annotated[
    Path | None, typer.Option("--json", help="A .json file for all the numbers.")
]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", help="A .png, .pdf or .svg file for the figure.")
]


@app.command()
def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Runs' folders; for bars, data sets' folders too."),
    ],
    out: Annotated[Path, typer.Option(help="A .png, .pdf or .svg file.")],
    figure: Annotated[
        str | None,
        typer.Option(
            help="course (pass rate over iterations, of one run), seeds (of several, with a band),"
            " failures (how rounds end), lineage (the family tree), cost (against pass rate), bars"
            " (weak and strong scores of data sets, or of baseline and best). None: course of one"
            " run, seeds of several."
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="A .csv file for the numbers.")] = None,
    width: Annotated[
        str, typer.Option(help="page (6 inches), or column (3.3, of two on a page).")
    ] = "page",
) -> None:
    """Draw a figure of runs or data sets, for print and for screens."""
    from analysis.plot import plot as draw

    print(draw(runs, out, figure, data, width))


@app.command()
def compare(
    arms: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C ...]",
            help="baseline, a .diff, classic:NAME, a folder, a branch or commit, or RUN:CANDIDATE;"
            " A is what the others are compared with.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The comparison's folder.")],
    config: Annotated[
        Path | None, typer.Option(help="A TOML config file; candidates of one run need none.")
    ] = None,
    part: PartOption = "val",
    repeats: Annotated[int, typer.Option(min=1, help="Rollouts of each paper.")] = 1,
    papers: Annotated[int | None, typer.Option(min=2, help="The first papers only.")] = None,
    difference: Annotated[
        float, typer.Option(help="The smallest difference of pass rates that is of interest.")
    ] = 0.1,
    json: JsonOption = None,
    plot: PlotOption = None,
    override: SetOption = None,
) -> None:
    """Harnesses on the same papers and draws; the same command again goes on, or only reads."""
    from analysis.compare import as_json, config_of, run_comparison
    from analysis.compare_text import report

    if json:
        check_target(json, (".json",))
    if plot:
        check_target(plot, SUFFIXES)
    with told_how_to_go_on():
        settings = config_of(arms, config, override or ())
        found = run_comparison(arms, settings, out, part, repeats, papers, difference)
    print(report(found))
    if json:
        write_text(json, as_json(found))
    if plot:
        from analysis.compare_figure import draw_comparison

        draw_comparison(found, plot)


@app.command()
def aa(
    config: ConfigArg,
    out: Annotated[Path, typer.Option(help="The measurement's folder.")],
    times: Annotated[int, typer.Option(min=1, help="Against how many repeats of itself.")] = 10,
    part: PartOption = "val",
    papers: Annotated[int | None, typer.Option(min=2, help="The first papers only.")] = None,
    json: JsonOption = None,
    override: SetOption = None,
) -> None:
    """The baseline with itself: how far pass rates move when nothing was changed."""
    from analysis.aa import run_aa
    from metaopt.config import load_config

    if json:
        check_target(json, (".json",))
    with told_how_to_go_on():
        text, data = run_aa(load_config(config, override or ()), out, times, part, papers)
    print(text)
    if json:
        write_text(json, data)


@app.command("test")
def open_test(
    run: RunArg,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Rollouts of each harness on each paper.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Open them once more, on record.")] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Print what the opening showed; open nothing.")
    ] = False,
    json: JsonOption = None,
    override: SetOption = None,
) -> None:
    """Open the sealed test papers once, for the best, the baseline and the paper's choice."""
    from analysis.sealed import as_json, as_text, shown
    from metaopt.unseal import take_test

    if json:
        check_target(json, (".json",))
    if not show:
        with told_how_to_go_on():
            take_test(run, repeats, again, override or ())
    found = shown(run)
    print(as_text(found))
    if json:
        write_text(json, as_json(found))


@app.command()
def ablate(
    run: RunArg,
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="A number, or best.")],
    out: Annotated[Path, typer.Option(help="A folder for what is measured.")],
    papers: Annotated[int | None, typer.Option(min=2, help="The first papers only.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Rollouts of each on each paper.")] = 1,
    part: PartOption = "val",
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Its change to the baseline, not to its parent.")
    ] = False,
    json: JsonOption = None,
    override: SetOption = None,
) -> None:
    """Take back a candidate's change hunk by hunk: which hunks carry its gain?"""
    from analysis.ablate import as_json, as_text, attribute
    from metaopt.ablation import take_apart
    from metaopt.config import load_config

    if json:
        check_target(json, (".json",))
    with told_how_to_go_on():
        config = load_config(run / "config.toml", override) if override else None
        measured = take_apart(run, candidate, out, part, papers, repeats, baseline, config)
    found = attribute(measured)
    print(as_text(found))
    if json:
        write_text(json, as_json(found))


@app.command()
def power(
    papers: Annotated[
        int | None, typer.Option(min=2, max=1000, help="Validation papers; 25.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="The parent's true pass rate; 0.3.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="Whose gate: paper (or the run's), pooled, thompson.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each paper compared.")] = 1,
    spread: Annotated[
        float | None,
        typer.Option(min=0, max=5, help="How papers' difficulty varies, on the logit; 1."),
    ] = None,
    iterations: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Mutants that change nothing.")
    ] = 233,
    run: Annotated[
        Path | None, typer.Option(help="Take papers and rate from this run instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All numbers, as JSON.")] = False,
) -> None:
    """How often the gate passes noise, and what true changes gate and comparison catch."""
    from analysis import power as tables

    if run and (papers, rate, spread) != (None, None, None):
        raise UserError(
            "--run takes papers and rate from the run: leave out --papers, --rate, --spread"
        )
    setting = (
        tables.recorded(run, policy)
        if run
        else tables.assumed(
            "paper" if policy is None else policy,
            25 if papers is None else papers,
            0.3 if rate is None else rate,
            1.0 if spread is None else spread,
        )
    )
    answer = tables.power(setting, repeats, iterations)
    print(tables.as_json(answer) if as_json else tables.as_text(answer))


@app.command()
def inspect(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="A folder made by generate, or a .jsonl of its items."),
    ],
    against: Annotated[
        Path | None,
        typer.Option(help="A data set, or a .jsonl file with questions: what is in both?"),
    ] = None,
    embeddings: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="URL MODEL",
            help="Compare questions by this model's vectors too: they are sent to the"
            " OpenAI-compatible server at URL, such as http://localhost:8000/v1.",
        ),
    ] = None,
    embeddings_key: Annotated[
        str, typer.Option(metavar="ENV", help="The environment variable with its key.")
    ] = "",
    embeddings_near: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Cosine from which two questions are one; default: 0.9."),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE",
            help="Such as 'near_duplicates>0.05': exit status 1 where that holds; repeatable."
            " docs/inspect.md has the figures' names.",
        ),
    ] = None,
    json: JsonOption = None,
    plot: PlotOption = None,
) -> None:
    """A data set as a whole: repeats, variety, rubrics, leaks, scores, coverage, overlap."""
    from analysis.inspect.command import inspect_data
    from analysis.inspect.embeddings import NEAR_AT, Embedder

    if not embeddings and (embeddings_key or embeddings_near is not None):
        raise UserError("--embeddings-key, --embeddings-near: give --embeddings URL MODEL too")
    near = NEAR_AT if embeddings_near is None else embeddings_near
    embedder = Embedder(*embeddings, embeddings_key, near) if embeddings else None
    told, failed = inspect_data(data, against, embedder, fail_on or (), json, plot)
    print(told)
    if failed:
        print(failed, file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def dataquality(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA [DATA ...]", help="Folders made by generate, or .jsonl files of items."
        ),
    ],
    config: Annotated[Path, typer.Option(help="A TOML config file: by it all are measured.")],
    out: Annotated[Path, typer.Option(help="The measurement's folder.")],
    items: Annotated[
        str,
        typer.Option(help="accepted, or final: what a paper's result.json names, accepted or not."),
    ] = "accepted",
    attempts: Annotated[
        int | None, typer.Option(min=1, help="Of each solver on each item; default: the config's.")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=2, help="Items of so many papers of each data set; default: all."),
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(min=0, help="Pairs to compare of every two data sets, at most; default: 100."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the papers and pairs that are drawn.")] = 0,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Tell calls, tokens and cost; ask and write nothing.")
    ] = False,
    json: JsonOption = None,
    plot: PlotOption = None,
    override: SetOption = None,
) -> None:
    """Weak, strong and gap of data sets by fresh attempts, and which items are better, by pairs."""
    from analysis.dataquality.command import Asked, measure_data
    from metaopt.config import load_config

    with told_how_to_go_on():
        settings = load_config(config, override or ())
        asked = Asked(items, attempts, sample, pairs, seed, estimate)
        print(measure_data(data, settings, out, asked, json, plot))


@app.command()
def report(
    run: RunArg,
    out: Annotated[
        Path | None, typer.Option(help="A .html file with everything, or .md; none: printed.")
    ] = None,
    sample: Annotated[
        int, typer.Option(min=0, help="In HTML: so many papers of the best, told in full.")
    ] = 10,
    papers: Annotated[
        list[str] | None, typer.Option("--paper", help="In HTML: this paper's rollout; repeatable.")
    ] = None,
) -> None:
    """What a run did and how far to believe it, for a colleague: text, or one page to share."""
    if out is not None:
        check_target(out, (".html", ".md"))
    if out is not None and out.suffix.lower() == ".html":
        from analysis.web.onefile import write_html

        print(write_html(run, out, sample, papers or ()))
    else:
        from analysis.markdown import write_report

        print(write_report(run, out), end="" if out is None else "\n")


@app.command()
def export(
    datasets: Annotated[
        list[Path], typer.Argument(metavar="DATA [DATA ...]", help="Folders of metaopt generate.")
    ],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    form: Annotated[
        str,
        typer.Option("--format", help="jsonl, parquet, hf, sft, dpo, trl (GRPO) or verl."),
    ],
    test: Annotated[
        int | None,
        typer.Option(
            min=0, help="Items to hold out; default: a fifth of the papers, 100 items at most."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the split; default: 0.")] = None,
    keep_split: Annotated[
        Path | None, typer.Option(help="An earlier export: papers stay on the side they are on.")
    ] = None,
    completion: Annotated[
        str, typer.Option(help="sft: the reference answer, or the best strong answer (strong).")
    ] = "reference",
    allow_unlicensed: Annotated[
        bool, typer.Option("--allow-unlicensed", help="Items of papers without a licence too.")
    ] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="PAPER", help="Items of this paper without a licence; repeatable."),
    ] = None,
    name: Annotated[str, typer.Option(help="The data set's name on its card.")] = "",
    shard: Annotated[int, typer.Option(min=1, help="Rows in a file at most.")] = 10_000,
) -> None:
    """Data sets into the form that trainers read, with a card, a split and licences."""
    from analysis.export.export import Wish
    from analysis.export.export import export as write
    from analysis.export.splits import Wanted

    if keep_split is not None and (test, seed) != (None, None):
        raise UserError("--keep-split has the split: leave out --test and --seed")
    wish = Wish(
        form, Wanted(test, seed or 0), keep_split, completion, allow_unlicensed, allow or (), name,
        shard,
    )  # fmt: skip
    print(write(datasets, out, wish))


@app.command()
def search(
    run: RunArg,
    words: Annotated[
        list[str], typer.Argument(metavar="WORD ...", help="Words, '\"a phrase\"', kind:question.")
    ],
    limit: Annotated[int, typer.Option(min=1, help="Hits of each kind.")] = 3,
) -> None:
    """Find words in a run: summaries, diffs, diagnoses, questions, answers, judge's reasons."""
    from analysis.search.told import search_run

    print(search_run(run, " ".join(words), limit))


@app.command()
def view(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN [RUN ...]", help="Runs' folders.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    host: Annotated[
        str, typer.Option(help="Another address than loopback: whoever reaches it can read.")
    ] = "127.0.0.1",
) -> None:
    """Runs as pages in a browser, on this machine alone; a run that goes on is followed."""
    from analysis.web.server import view_runs

    view_runs(runs, host, port)
