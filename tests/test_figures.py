"""The figures of runs and data sets, and the numbers behind them, counted again by other means."""

import csv
import itertools
import json
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from whole_runs import small_config

from analysis.cli import app
from analysis.course import course
from analysis.failures import OUTCOMES, binned, failure_mix, together
from analysis.lineage import lineage
from analysis.plot import FIGURES
from analysis.spending import Ledger, spending
from analysis.style import INCHES, Width, style_of
from inner_agent.calls import CallStore, Usage
from inner_agent.llm import Reply
from metaopt.cli import invoke
from metaopt.config import freeze, load_config
from metaopt.population import best, shrunk_rates
from metaopt.record import RunRecord, open_record, usage
from metaopt.state import replay, winner
from metaopt.statistics import student
from metaopt.validations import interval, validations

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small iterations: the third is a control, mutants run on their parents' papers too."""
    folder = tmp_path_factory.mktemp("drawn")
    config = small_config(folder, 'kind = "simulator"', iterations=6, minibatch=3, validation=6)
    sets = ["--set", "search.null_every=3", "--set", "search.audit_analyzer=2"]
    assert invoke(app, ["run", str(config), "--out", str(folder / "run"), *sets]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def record(run: Path) -> RunRecord:
    return open_record(run)


def rows(database: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(database)) as db:
        return db.execute(query).fetchall()


def test_the_course_is_what_each_iteration_would_say(record: RunRecord) -> None:
    found, points = validations(record), course(record)
    assert [p.iteration for p in points] == [1, 2, 3, 4, 5, 6]
    for p in points:
        state = replay(record.events)
        state.advance(p.iteration)
        known = list(state.candidates.values())
        top = best(known)
        assert (p.best, p.best_rate) == (top.id, top.rate)
        assert p.best_shrunk == shrunk_rates(known)[top.id]
        assert (p.best_low, p.best_high) == interval(found, top.id, p.iteration)
        assert (p.baseline_low, p.baseline_high) == interval(found, 0, p.iteration)


def test_no_node_lies_in_anothers_way(record: RunRecord) -> None:
    nodes = {n.id: n for n in lineage(record)}
    assert {n.id: n.parent for n in nodes.values() if n.id} == {
        e.iteration: e.parent for e in record.decisions
    }
    assert nodes[0].outcome == "baseline"
    assert nodes[3].outcome == "control"
    assert sum(n.children for n in nodes.values()) == 6
    line = [n for n in nodes.values() if n.on_best_line]
    assert line[0].id == 0
    assert line[-1].id == winner(record.state).id
    assert all(a.id == b.parent for a, b in itertools.pairwise(line))
    lanes = [n for n in nodes.values() if n.outcome in ("baseline", "accepted")]
    for a in lanes:
        for b in lanes:
            if a.id < b.id and a.y == b.y:
                assert a.until < b.x or (a.until == b.x and b.parent == a.id)
    assert {n.y for n in nodes.values()} >= {0.0}


def test_rounds_are_those_of_the_parent_on_training_papers(run: Path, record: RunRecord) -> None:
    mixes = failure_mix(record)
    by_hand: dict[int, Counter[str]] = {}
    papers = Counter[int]()
    for path in (run / "trajectories").glob("*/train/*.json"):
        candidate, i = int(path.parts[-3]), int(path.suffixes[-2][1:])
        if candidate == record.stages[i]["selected"]["parent"]:
            told = json.loads(path.read_text())
            by_hand.setdefault(i, Counter()).update(r["outcome"] for r in told["rounds"])
            papers[i] += 1
    assert {m.first: +Counter(m.rounds) for m in mixes} == by_hand
    assert {m.first: sum(m.papers.values()) for m in mixes} == papers == Counter([1, 2, 4, 5] * 3)
    whole = together(mixes)
    assert (whole.first, whole.last) == (1, 5)
    assert whole.rounds == sum(by_hand.values(), Counter())
    assert set(whole.rounds) <= set(OUTCOMES)
    assert sum(whole.shares(rejected=True).values()) == pytest.approx(1)
    assert "accepted" not in whole.shares(rejected=True)
    assert [(m.first, m.last) for m in binned(mixes, 2)] == [(1, 2), (4, 5)]


def test_every_call_is_one_iterations(run: Path, record: RunRecord, tmp_path: Path) -> None:
    spent = spending(record)
    (count, tokens), *_ = rows(
        run / "calls.db", "SELECT COUNT(*), SUM(prompt_tokens + completion_tokens) FROM calls"
    )
    assert (spent[-1].calls, spent[-1].tokens) == (count, tokens)
    per_iteration = "SELECT iteration, SUM(data ->> '$.calls') FROM results GROUP BY iteration"
    made = Counter(dict(rows(run / "run.db", per_iteration)))
    agents = "SELECT sample FROM calls WHERE role IN ('analyzer', 'implementer')"
    made.update(int(sample) for (sample,) in rows(run / "calls.db", agents))
    steps = [b.calls - a.calls for a, b in itertools.pairwise(spent)]
    assert steps == [made[i] for i in range(2, 7)]
    assert spent[0].calls > made[1]  # the honeypots' trial came before
    assert spent[-1].rollouts == len(rows(run / "run.db", "SELECT 1 FROM results"))

    shutil.copy(run / "calls.db", tmp_path)
    ledger = Ledger()
    ledger.update(tmp_path)
    assert ledger.by_role() == usage(run)
    calls = CallStore(tmp_path / "calls.db")
    calls.put(
        b"k", "0123456789abcdef/val/7/p/chat1#1", "judge", Reply("", (), "stop", 5, 2), 0.5, 0.0
    )
    calls.close()
    ledger.update(tmp_path)
    assert ledger.used[7, "judge"] == Usage(1, 5, 2, 0, 0.5)
    assert ledger.by_role()["analyzer"] == usage(run)["analyzer"]


# The figures


@pytest.fixture(scope="module")
def runs(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By name: the run, another seed of four iterations, another search, one of real models, one
    without a decision, one on other papers, and a data set."""
    folder = tmp_path_factory.mktemp("many")
    config = load_config(run / "config.toml")
    hotter = config.search.model_copy(update={"temperature": 0.5})
    real = {n: e.model_copy(update={"kind": "openai", "base_url": "http://127.0.0.1:1/v1"})
            for n, e in config.endpoints.items()}  # fmt: skip
    changes = {"seed": {"seed": 4}, "hotter": {"search": hotter}, "real": {"endpoints": real},
               "empty": {}, "elsewhere": {}}  # fmt: skip
    for name, change in changes.items():
        (folder / name).mkdir()
        (folder / name / "config.toml").write_text(freeze(config.model_copy(update=change)))
        for file in ("run.db", "calls.db"):
            shutil.copy(run / file, folder / name)
        last = {"seed": 4, "empty": 0}.get(name, 6)
        with closing(sqlite3.connect(folder / name / "run.db")) as db, db:
            for table in ("events", "results"):
                db.execute(f"DELETE FROM {table} WHERE iteration > {last}")
            if name == "seed":  # another course than the first's
                turned = (
                    "replace(replace(replace(data, 'true', '§'), 'false', 'true'), '§', 'false')"
                )
                db.execute(f"UPDATE events SET data = {turned} WHERE kind = 'validated'")
            if name == "elsewhere":
                db.execute("UPDATE events SET data = replace(data, 'synthetic-', 'other-')")
    fixes = ROOT / "populations" / "classics" / "published_fixes.diff"
    given = ["--config", str(ROOT / "configs" / "demo.toml"), "--papers", "synthetic:10:0"]
    given += ["--out", str(folder / "data"), "--harness", str(fixes)]
    assert invoke(app, ["generate", *given]) == 0
    hard = folder / "$\\hard$ 図 is a very long name to draw"
    return {n: folder / n for n in (*changes, "data")} | {
        "run": run, "hard": shutil.copytree(folder / "seed", hard)
    }  # fmt: skip


OF = {
    "course": ["hard"], "seeds": ["hard", "run", "hotter"], "failures": ["hard"],
    "lineage": ["hard"], "cost": ["hard", "run", "hotter"], "bars": ["data", "run"],
}  # fmt: skip


def plot(runs: dict[str, Path], names: Sequence[str], out: Path, *more: str) -> int:
    folders = [str(runs.get(name, name)) for name in names]
    return invoke(app, ["plot", *folders, "--out", str(out), *more])


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("figure", FIGURES)
def test_each_figure_is_written_the_same_each_time(
    runs: dict[str, Path], tmp_path: Path, figure: str
) -> None:
    for suffix, begins in ((".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")):
        files = [tmp_path / f"{n}{suffix}" for n in "ab"]
        for file in files:
            data = file.with_suffix(".csv")
            assert plot(runs, OF[figure], file, "--figure", figure, "--data", str(data)) == 0
        assert files[0].read_bytes() == files[1].read_bytes()
        assert files[0].read_bytes().startswith(begins)
    drawing = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert ">SIMULATED</text>" in drawing  # as text, not as outlines
    assert all(row["simulated"] == "true" or row["what"] == "published"
               for row in table(tmp_path / "a.csv"))  # fmt: skip


def words(drawn: Figure) -> list[tuple[Text, Bbox]]:
    """Where each piece of text is drawn, in pixels.  Ticks beyond an axis aren't."""
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    unseen = set[Text]()
    for axes in drawn.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            unseen |= {t.label1 for t in axis.get_major_ticks() if not low <= t.get_loc() <= high}
    texts = {t for t in drawn.findobj(Text) if isinstance(t, Text)} - unseen
    assert all(t.get_fontsize() >= 6 for t in texts)
    seen = [t for t in texts if t.get_text() and t.get_visible()]
    return [(t, t.get_window_extent(canvas.get_renderer())) for t in seen]


@pytest.mark.parametrize("width", INCHES)
@pytest.mark.parametrize("figure", FIGURES)
def test_words_lie_within_the_figure_and_not_on_each_other(
    runs: dict[str, Path], figure: str, width: Width
) -> None:
    folders = [runs[name] for name in OF[figure]]
    with rc_context(style_of(width)):
        drawn = FIGURES[figure](folders, width).figure
        boxes = words(drawn)
    assert drawn.get_figwidth() == INCHES[width]
    for text, box in boxes:
        around = (box.x0, drawn.bbox.x1 - box.x1, box.y0, drawn.bbox.y1 - box.y1)
        assert min(around) > -1, text
    upright = [(t, b.padded(-1)) for t, b in boxes if t.get_rotation() in (0, 90)]
    for (one, a), (other, b) in itertools.combinations(upright, 2):
        assert not a.overlaps(b), (one, other)


def test_the_numbers_of_seeds_are_means_over_runs(runs: dict[str, Path], tmp_path: Path) -> None:
    data = tmp_path / "f.csv"
    assert plot(runs, ["run", "seed", "hotter"], tmp_path / "f.svg", "--data", str(data)) == 0
    found = table(data)
    assert len(found) == 6 + 4 + 4 + 6 + 6
    single = {(r["run"], r["iteration"]): float(r["mean"]) for r in found if r["run"]}
    ours = [r for r in found if not r["run"] and r["group"] == "paper, as run"]
    assert [r["iteration"] for r in ours] == ["1", "2", "3", "4"]  # as far as both runs are
    for r in ours:
        both = [single[name, r["iteration"]] for name in ("run", "seed")]
        assert float(r["mean"]) == pytest.approx(np.mean(both))
        assert (float(r["lowest"]), float(r["highest"])) == (min(both), max(both))
    other = [r for r in found if not r["run"] and r["group"] == "paper, as hotter"]
    assert [r["mean"] for r in other] == [
        str(p.best_shrunk) for p in course(open_record(runs["hotter"]))
    ]
    assert {r["low"] for r in other} == {""}
    shutil.copytree(runs["seed"], tmp_path / "b" / "run")
    assert plot(runs, ["run", str(tmp_path / "b" / "run")], data.with_suffix(".svg"),
                "--figure", "cost", "--data", str(data)) == 0  # fmt: skip
    assert {r["run"] for r in table(data)} == {f"{runs['run'].parent.name}/run", "b/run"}


@pytest.mark.parametrize("figure", ["seeds", "cost"])
def test_runs_on_other_papers_are_told_apart(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], figure: str
) -> None:
    for other, told in (("seed", False), ("elsewhere", True)):
        out = tmp_path / f"{other}.svg"
        assert plot(runs, ["run", other], out, "--figure", figure) == 0
        said = capsys.readouterr().out
        assert ("; not all on the same validation papers" in said) is told
        assert ("not all on the same papers" in out.read_text(encoding="utf-8")) is told


def test_the_band_is_an_interval_of_students_t() -> None:
    values = [0.2, 0.3, 0.5, 0.25]
    told = scipy.stats.t.interval(0.95, 3, np.mean(values), scipy.stats.sem(values))
    assert student(values) == pytest.approx(told)
    assert student([0.3]) is None
    assert student([0.3, 0.3]) is None


def test_the_numbers_of_bars_are_means_over_papers(runs: dict[str, Path], tmp_path: Path) -> None:
    data = tmp_path / "f.csv"
    out = tmp_path / "f.svg"
    assert plot(runs, ["data", "run"], out, "--figure", "bars", "--data", str(data)) == 0
    first, *others = table(data)
    lines = (runs["data"] / "items.jsonl").read_text(encoding="utf-8").splitlines()
    items = [json.loads(line) for line in lines]
    assert (first["set"], first["items"], first["rollouts"]) == ("data", str(len(items)), "10")
    for what in ("weak", "strong"):
        assert float(first[what]) == pytest.approx(np.mean([i[f"{what}_avg"] for i in items]))
    assert float(first["gap"]) == pytest.approx(float(first["strong"]) - float(first["weak"]))
    query = ("SELECT AVG(gap), SUM(n), COUNT(*) FROM (SELECT AVG(data ->> '$.gap') AS gap,"
             " COUNT(*) AS n FROM results WHERE candidate = {} AND part = 'val'"
             " AND data ->> '$.passed' GROUP BY paper)")  # fmt: skip
    top = winner(open_record(runs["run"]).state).id
    assert [r["harness"] for r in others] == ["baseline", f"best ({top})"]
    for candidate, row in zip((0, top), others, strict=True):
        ((gap, made, papers),) = rows(runs["run"] / "run.db", query.format(candidate))
        assert (row["items"], row["papers"]) == (str(made), str(papers))
        assert float(row["gap"]) == pytest.approx(gap)


def test_the_numbers_of_failures_lineage_and_cost(
    run: Path, record: RunRecord, runs: dict[str, Path], tmp_path: Path
) -> None:
    data, out = tmp_path / "f.csv", tmp_path / "f.svg"
    for figure in ("failures", "lineage", "cost"):
        assert plot(runs, ["run"], out, "--figure", figure, "--data", str(data)) == 0
        found = table(data)
        if figure == "failures":
            whole = {r["outcome"]: int(r["count"]) for r in found
                     if r["what"] == "run" and r["of"] == "rounds"}  # fmt: skip
            assert +Counter(whole) == together(failure_mix(record)).rounds
            published = [r for r in found if r["what"] == "published"]
            assert {r["simulated"] for r in published} == {"false"}
            assert sum(float(r["share_of_rejected"]) for r in published) == pytest.approx(1)
        elif figure == "lineage":
            assert [(r["id"], r["parent"]) for r in found[1:]] == [
                (str(e.iteration), str(e.parent)) for e in record.decisions
            ]
        else:
            ((count,),) = rows(run / "calls.db", "SELECT COUNT(*) FROM calls")
            assert [int(r["calls"]) for r in found][-1] == count


@pytest.mark.parametrize(
    ("names", "more", "message"),
    [
        (["run"], ["--figure", "pie"], "--figure pie: write one of course, seeds, failures,"),
        (["run"], ["--width", "poster"], "--width poster: write one of column, page"),
        (["run", "seed"], ["--figure", "lineage"], "is of one run, not of 2"),
        (["run"], ["--figure", "seeds"], "one run has no band; give its seeds too, or --figure"),
        (["run", "run"], [], "given twice"),
        (["run", "real"], [], "is simulated and"),
        (["real", "data"], ["--figure", "bars"], "is simulated and"),
        (["run", "seed", "data"], [], "a data set, made by metaopt generate; it isn't a run"),
        (["data"], ["--figure", "cost"], "a data set, made by metaopt generate; it isn't a run"),
        (["empty"], ["--figure", "lineage"], "no iteration is decided yet"),
        (["empty"], ["--figure", "failures"], "no round on a training paper is recorded yet"),
        (["empty"], ["--figure", "cost"], "no candidate has been validated yet"),
        (["empty", "run"], [], "no candidate has been validated yet; leave it out"),
        (["empty"], ["--figure", "bars"], "no item of the baseline has passed"),
        (["data"] * 9, ["--figure", "bars"], "9 sets of bars are too many; 8 fit"),
    ],
)
def test_what_cant_be_drawn_is_one_line(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str],
    more: list[str], message: str,
) -> None:  # fmt: skip
    assert plot(runs, names, tmp_path / "f.svg", *more) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)
    assert not (tmp_path / "f.svg").exists()


def test_files_that_cant_be_read_or_written_are_one_line(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(runs["data"], tmp_path / "data")
    items = (copy / "items.jsonl").read_text(encoding="utf-8")
    bars = ["--figure", "bars"]
    for text, message in (("", "no item in items.jsonl, though"), ("{}\n", ":1: format: Field")):
        (copy / "items.jsonl").write_text(text, encoding="utf-8")
        assert plot(runs, [str(copy)], tmp_path / "f.svg", *bars) == 2
        assert message in capsys.readouterr().err
    parted = items.replace('"question": "', '"question": "\u2028')
    (copy / "items.jsonl").write_text(f'{parted}{{"half', encoding="utf-8")
    assert plot(runs, [str(copy)], tmp_path / "f.svg", *bars) == 0  # is just being written
    assert len(items.splitlines()) == int(re.findall(r"(\d+) items?", capsys.readouterr().out)[0])

    run = shutil.copytree(runs["seed"], tmp_path / "run")
    (run / "calls.db").unlink()
    assert plot(runs, [str(run)], tmp_path / "g.svg", "--figure", "cost") == 2
    assert "calls.db: missing, so nobody can say what the run cost" in capsys.readouterr().err
    (tmp_path / "g.csv").mkdir()
    assert plot(runs, ["run"], tmp_path / "g.svg", "--data", str(tmp_path / "g.csv")) == 2
    assert "g.csv: can't be written" in capsys.readouterr().err
