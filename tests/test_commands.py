"""The commands around a run, through the command line: status, show, checkout, plot, estimate,
doctor.  The run is made by hand from events and commits, so that every number is known."""

import csv
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from fake_openai import FakeOpenAI, completion, failure
from scipy.stats import binomtest
from scripted import audit_sheet

from analysis.cli import app
from inner_agent.calls import CallStore
from inner_agent.errors import JailFailed, UserError
from inner_agent.llm import Reply
from inner_agent.run_paper import PaperResult
from metaopt.cli import invoke
from metaopt.config import Harness, freeze, load_config, other_policy
from metaopt.harnesses import export_harness
from metaopt.record import RunRecord, find, open_record
from metaopt.repo import HarnessRepo
from metaopt.statistics import wilson
from metaopt.store import Event, Store, lock
from metaopt.text import amount, grid, render

ROLES = ("main_agent", "challenger", "quality_verifier", "weak", "strong", "judge", "auditor",
         "analyzer", "implementer")  # fmt: skip
VAL = [f"p{n}" for n in range(4, 8)]
ODD = "calls\x1b[31m the [bold]challenger[/nonsense] less"  # what a model may write

Capture = pytest.CaptureFixture[str]


def write_config(folder: Path, base_url: str = "", extra: str = "") -> Path:
    """A config with eight short papers; on the simulator, or on a server at ``base_url``."""
    papers = folder / "papers"
    papers.mkdir(parents=True)
    for n in range(8):
        papers.joinpath(f"p{n}.txt").write_text(f"# Paper {n}\n\n" + "It holds. " * 40 * (n + 1))
    split = {"train": [f"p{n}" for n in range(4)], "val": VAL, "test": []}
    folder.joinpath("split.json").write_text(json.dumps(split))
    kind = (
        f'base_url = "{base_url}"\napi_key_env = "FAKE_KEY"' if base_url else 'kind = "simulator"'
    )
    name = "fake-{}" if base_url else "sim-{}"
    models = [
        f'{role} = {{ endpoint = "here", model = "{name.format(role.replace("_", "-"))}" }}'
        for role in ROLES
    ]
    text = ["[papers]", 'path = "papers"', 'split = "split.json"', "[search]", "iterations = 4",
            "[endpoints.here]", kind, extra, "[models]", *models]  # fmt: skip
    path = folder / "config.toml"
    path.write_text("\n".join(text))
    return path


@pytest.fixture
def run(made_run: Path, tmp_path: Path) -> Path:
    """A copy of ``made_run`` for one test."""
    return Path(shutil.copytree(made_run, tmp_path / "my run"))


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four iterations: 1 accepted, 2 rejected, 3 failed in the implementer, 4 under way."""
    folder = tmp_path_factory.mktemp("made")
    config = load_config(write_config(tmp_path_factory.mktemp("input") / "x"))
    folder.joinpath("config.toml").write_text(freeze(config))
    repo = HarnessRepo(folder / "harness.git", config.harness)
    repo.keep(0, repo.baseline)
    store = Store(folder / "run.db")
    base = {"commit": repo.baseline, "tree": repo.tree_id(repo.baseline), "simulated": True}
    store.append(Event(0, "opened", base))
    store.append(Event(1, "selected", {"parent": 0}))
    store.append(Event(1, "traced", {"papers": ["p0", "p1"], "accepted": [False, True]}))
    first = _validated(store, repo, 1, (0, repo.baseline), [0, 0, 1, 0], [1, 1, 1, 0], True)
    _validated(store, repo, 2, (1, first), [1, 1, 0, 0], [1, 0, 0, 0], False)
    store.append(Event(3, "selected", {"parent": 1}))
    store.append(Event(3, "diagnosed", _diagnosis()))
    store.append(Event(3, "decided", _decision(3, 1, "failed: no change", False)))
    store.append(Event(4, "selected", {"parent": 1}))
    store.close()
    calls = CallStore(folder / "calls.db")
    calls.put(b"key", "0", "judge", Reply("", (), "stop", 1_500, 20, 100), 0.25, 0.0)
    calls.close()
    return folder


def _validated(
    store: Store, repo: HarnessRepo, i: int, parent: tuple[int, str], before: Sequence[int],
    after: Sequence[int], accepted: bool,
) -> str:  # fmt: skip
    """Record a whole iteration with these passes on the validation papers; the new commit."""
    store.append(Event(i, "diagnosed", _diagnosis()))
    tree = repo.read(parent[1])
    tree = tree | {"prompts/challenger.md": tree["prompts/challenger.md"] + b"Line %d.\n" % i}
    commit = repo.commit(parent[1], tree, f"Candidate {i}")
    repo.keep(i, commit)
    made = {"commit": commit, "tree": repo.tree_id(commit), "summary": f"{i}: {ODD}"}
    if i > 1:
        store.append(Event(i, "selected", {"parent": parent[0]}))
    store.append(Event(i, "implemented", made))
    for candidate, verdicts in ((parent[0], before), (i, after)):
        for paper, passed in zip(VAL, verdicts, strict=True):
            result = PaperResult(
                paper=paper, passed=bool(passed), accepted=bool(passed), rounds=3, weak_avg=0.25,
                reason="passed" if passed else "not_accepted", strong_avg=0.75 if passed else None,
            )  # fmt: skip
            store.put_result(candidate, "val", i, result, {})
    scores = {
        "papers": VAL,
        "parent": [bool(x) for x in before],
        "mutant": [bool(x) for x in after],
        "audit": {"parent": _stand(before), "mutant": _stand(after)},
        "alarm": "",
    }
    store.append(Event(i, "validated", scores))
    rates = {"parent_rate": sum(before) / 4, "mutant_rate": sum(after) / 4, "fixed": ["p4"]}
    word = "accepted" if accepted else "rejected"
    store.append(Event(i, "decided", _decision(i, parent[0], word, accepted, summary=ODD, **rates)))
    return commit


def _stand(verdicts: Sequence[int]) -> dict[str, Any]:
    """One more was accepted than stood the audit."""
    audited = sum(verdicts)
    return {"accepted": audited + 1, "audited": audited, "repeats": [], "findings": {"leak": 1}}


def _decision(i: int, parent: int, decision: str, accepted: bool, **more: Any) -> dict[str, Any]:
    entry = {"iteration": i, "parent": parent, "decision": decision, **more}
    return {"accepted": accepted, "entry": entry}


def _diagnosis() -> dict[str, Any]:
    modes = [
        {"name": "context leak", "share": 0.25, "evidence": ["seen"], "papers": ["p0"]},
        {"name": "generic questions", "share": 0.75, "evidence": ["seen"], "papers": ["p0", "p1"]},
    ]
    return {
        "failure_modes": modes, "root_cause": "The prompt invites it.",
        "proposed_change": "Forbid it.", "predicted_fixes": ["p1"], "papers_at_risk": [],
    }  # fmt: skip


def ask(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of one command."""
    status = invoke(app, [str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def words_of(row: str) -> str:
    """A row without the spaces that set its columns."""
    return " ".join(row.split())


def rows_of(text: str) -> dict[str, str]:
    """The lines by their first word; lines with the same one are put together."""
    rows: dict[str, str] = {}
    for line in filter(str.strip, text.splitlines()):
        word = line.split()[0]
        rows[word] = f"{rows[word]}\n{line}" if word in rows else line
    return rows


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """No table cell is folded: temporary folders have long names."""
    monkeypatch.setenv("COLUMNS", "1000")


# Status


def test_status_fits_a_narrow_terminal(
    run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.chdir(run)
    out = ask(capsys, "status", ".")[1]
    page, _, _ = out.partition("next  ")  # commands are left whole
    assert max(map(len, page.splitlines())) <= 40
    flat = " ".join(out.split())
    assert "3 of 4 decided: 1 accepted, 1 rejected" in flat
    assert "my run SIMULATED: says nothing about real models" in flat


def test_status_says_what_a_colleague_asks_first(
    run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = ask(capsys, "status", run)
    rows = rows_of(out)
    assert status == 0
    *page, go_on, more = out.splitlines()
    assert len(page) == 9
    assert max(map(len, page)) <= 80
    assert page[0] == "my run   SIMULATED: says nothing about real models"
    assert re.fullmatch(r"state       stopped \d+ s ago \(it left no word why\)", page[1])
    assert "3 of 4 decided: 1 accepted, 1 rejected, 1 failed (implementer 1)" in out
    assert "25.0% [5% to 70%] in 1 run × 4 papers" in rows["baseline"]
    # 5 of 8 papers in two runs, drawn towards the baseline's 25 %.
    assert "candidate 1: 62.5%" in rows["best"]
    assert "in 2 runs × 4 papers" in rows["best"]
    assert re.search(r"\b(2[6-9]|[345]\d)\.\d% shrunk towards its relatives'; 1: calls", page[5])
    assert re.search(r"1 of 2 accepted; luck alone would let in 0\.\d ± 0\.\d$", rows["luck"])
    assert "iteration 3, parent 1: failed: no change" in rows["last"]
    assert rows["cost"].startswith("cost        $0.25, 1 calls, 1.52 k tokens in ")
    assert go_on == f"next        metaopt run '{run}/config.toml' --out '{run}'"
    assert more == f"            metaopt status '{run}' --full"
    assert "\x1b" not in out


def test_status_in_full_has_spending_by_role_and_every_next_command(
    run: Path, capsys: Capture
) -> None:
    _, out, _ = ask(capsys, "status", run, "--full")
    rows = rows_of(out)
    assert "baseline: 1 of 2 accepted items stood; candidate 1: 5 of 7" in rows["audit"]
    assert "1 of 2 accepted [" in rows["luck"]
    assert "of edits that change nothing" in rows["luck"]
    assert re.search(r"best, shrunk +1 ", out)
    assert rows["judge"].split()[1:] == ["1", "1.5", "k", "100", "20", "$0.25"]
    for command in ("show", "plot", "checkout", "run"):
        assert f"metaopt {command}" in out


def test_status_of_a_running_run_names_process_stage_and_time_left(
    run: Path, capsys: Capture
) -> None:
    with lock(run):
        os.utime(run / "lock", (1_000, 1_000))
        _decided_at(run, 1_300)  # three iterations in 300 s, one is left
        _, out, _ = ask(capsys, "status", run)
        assert f"running as process {os.getpid()} (on training papers: 4)\n" in out
        assert re.search(r"^cost .*; about 2 min left$", out, re.M)
        (run / "paused.json").write_text(
            json.dumps({"line": "endpoints.e doesn't answer (503): paused, …", "at": time.time()})
        )
        _, out, _ = ask(capsys, "status", run)
        assert re.search(
            r"process \d+, paused for \d+ s: endpoints.e doesn't answer \(503\)\n", out
        )


def _decided_at(run: Path, last: float) -> None:
    """Let all decisions be made up to ``last``."""
    with closing(sqlite3.connect(run / "run.db")) as db, db:
        db.execute("UPDATE events SET at = ? WHERE kind = 'decided'", (last,))


def test_status_says_why_the_run_stopped(run: Path, capsys: Capture) -> None:
    (run / "stopped.json").write_text('{"reason": "budget.calls = 300 is near", "status": 3}')
    _, out, _ = ask(capsys, "status", run)
    assert re.search(r"^state       stopped \d+ s ago \(budget.calls = 300 is near\)$", out, re.M)


# All runs


def test_runs_are_listed_newest_first_and_broken_ones_with_their_reason(
    run: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / "runs"
    for name in ("old", "new", "cut", "torn"):
        shutil.copytree(run, folder / name)
    (folder / "new" / "stopped.json").write_text('{"reason": "budget.usd = 1 is near"}')
    with closing(sqlite3.connect(folder / "old" / "run.db")) as db, db:
        db.execute("UPDATE events SET at = at - 200000")
        db.execute("UPDATE results SET at = at - 200000")
    with closing(sqlite3.connect(folder / "torn" / "run.db")) as db, db:
        db.execute("UPDATE events SET data = '{' WHERE kind = 'selected'")
    (folder / "cut" / "run.db").unlink()
    (folder / "noise").mkdir()
    (folder / "noise" / "results.db").touch()
    (folder / "notes").mkdir()
    with lock(folder / "new"):
        status, out, _ = ask(capsys, "runs", folder)
        found = json.loads(ask(capsys, "runs", folder, "--json")[1])
    assert status == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[2].split()[:-2] == [
        "new*", "running", "3/4", "25.0%", "62.5%", "(1)", "$0.25", lines[2].split()[7],
    ]  # fmt: skip
    assert lines[3].split() == [
        "old*", "stopped", "3/4", "25.0%", "62.5%", "(1)", "$0.25", "2.3", "days", "paper",
    ]  # fmt: skip
    assert "cut: broken: not a run's folder (no run.db)" in out
    assert "torn: broken: run.db: '" in out
    assert "isn't as metaopt wrote it" in out
    assert "noise: a data set, made by metaopt generate" in out
    assert "notes" not in out
    assert out.endswith("*: SIMULATED, says nothing about real models\n")
    assert [(r["name"], r["state"]) for r in found] == [
        ("new", "running"), ("old", "stopped"), ("cut", "broken"), ("torn", "broken"),
        ("noise", "other"),
    ]  # fmt: skip
    assert found[0]["best"] == {"candidate": 1, "rate": 0.625, "rollouts": 8}
    assert (found[0]["process"], found[0]["simulated"]) == (str(os.getpid()), True)


def test_where_there_is_no_run_it_says_how_to_make_one(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "populations").mkdir()
    monkeypatch.chdir(tmp_path)
    status, out, _ = ask(capsys, "runs")
    assert (status, out) == (
        0, "no run in populations yet; metaopt run CONFIG --out populations/NAME\n"
    )  # fmt: skip
    assert ask(capsys, "runs", "--json")[1] == "[]\n"
    status, _, err = ask(capsys, "runs", "nowhere")
    assert (status, err.count("\n")) == (2, 1)


def test_what_was_used_is_summed_without_reading_the_replies(run: Path) -> None:
    with closing(sqlite3.connect(run / "calls.db")) as db:
        statements: list[str] = []
        with closing(CallStore(run / "calls.db", readonly=True)) as calls:
            calls._db.set_trace_callback(statements.append)
            calls.usage_by_role()
        [plan] = db.execute(f"EXPLAIN QUERY PLAN {statements[-1]}").fetchall()
    assert "COVERING INDEX" in plan[-1]


def test_a_data_set_is_no_run(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "results.db").touch()
    for command in (["status"], ["show"], ["plot", "--out", tmp_path / "f.png"]):
        status, _, err = ask(capsys, command[0], tmp_path, *command[1:])
        assert status == 2
        assert "a data set" in err


def test_reading_writes_nothing(run: Path, tmp_path: Path, capsys: Capture) -> None:
    def contents() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and "-" not in p.suffix}

    before = contents()
    for command in (["status"], ["show"], ["show", "1", "--diff", "--papers", "--analysis"]):
        assert invoke(app, [command[0], str(run), *command[1:]]) == 0
    assert invoke(app, ["plot", str(run), "--out", str(tmp_path / "x.svg")]) == 0
    capsys.readouterr()
    assert contents() == before


# Show


def test_show_lists_all_iterations(run: Path, capsys: Capture) -> None:
    status, out, _ = ask(capsys, "show", run)
    rows = rows_of(out)
    assert status == 0
    assert rows["1"].split()[:5] == ["1", "0", "accepted", "25%", "75%"]
    assert "failed: no change" in rows["3"]
    assert "parent's rate: the parent run again on the same papers" in out

    config, note = run / "config.toml", "what the policy held its pass rate to be"
    assert note not in out
    config.write_text(freeze(other_policy(load_config(config), "thompson")))
    with closing(sqlite3.connect(run / "run.db")) as db, db:  # 2 was stopped after two papers
        _change(db, "validated", mutant=[True, False], papers=VAL[:2], parent=[], stopped="x")
        rates = {"parent_rate": 0.5, "mutant_rate": 0.5}
        _change(db, "decided", **_decision(2, 1, "rejected", False, stopped="x", **rates))
        db.execute("DELETE FROM events WHERE iteration > 2")
    _, out, _ = ask(capsys, "show", run)
    assert rows_of(out)["2"].split() == ["2", "1", "stopped", "50%", "1", "of", "2"]
    assert note in out
    assert "the parent run again" not in out
    assert "iteration 2, parent 1: stopped (50% -> 1 of 2)" in ask(capsys, "status", run)[1]
    assert (
        "outcome     stopped: parent held to be at 50% -> 1 of 2\n"
        in ask(capsys, "show", run, "2")[1]
    )


def _change(db: sqlite3.Connection, kind: str, **data: Any) -> None:
    """Put ``data`` into what iteration 2 recorded as ``kind``."""
    where = f"WHERE iteration = 2 AND kind = '{kind}'"
    ((text,),) = db.execute(f"SELECT data FROM events {where}")
    db.execute(f"UPDATE events SET data = ? {where}", (json.dumps(json.loads(text) | data),))


def test_show_best_tells_where_it_comes_from_and_how_it_does(run: Path, capsys: Capture) -> None:
    _, out, _ = ask(capsys, "show", run, "best")
    assert out.startswith("candidate 1   SIMULATED")
    assert "iteration 1: 3 of 4\n  iteration 2: 2 of 4" in out
    assert "children    2" in out


def test_best_is_what_the_finalists_rerun_chose_unless_the_run_went_on(run: Path) -> None:
    def best(record: RunRecord) -> int:
        return find(record, "best").id

    assert best(open_record(run)) == find(open_record(run), "paper").id == 1
    with closing(Store(run / "run.db")) as store:
        for i, chosen in ((2, 0), (3, 2)):
            store.append(Event(i, "finalists", {"candidates": [0, 1, 2], "chosen": chosen}))
            assert best(open_record(run)) == (1 if i < 3 else 2)  # 3 is decided
        store.append(Event(4, "decided", _decision(4, 1, "failed: no change", False)))
        assert best(open_record(run)) == 1


def test_show_diff_is_against_the_parent_or_the_baseline(run: Path, capsys: Capture) -> None:
    _, own, _ = ask(capsys, "show", run, "2", "--diff")
    _, whole, _ = ask(capsys, "show", run, "2", "--diff", "--baseline")
    assert [line for line in own.splitlines() if line.startswith("+")][1:] == ["+Line 2."]
    assert [line for line in whole.splitlines() if line.startswith("+L")] == [
        "+Line 1.",
        "+Line 2.",
    ]


def test_show_papers_sets_parent_and_mutant_side_by_side(run: Path, capsys: Capture) -> None:
    _, out, _ = ask(capsys, "show", run, "1", "--papers")
    rows = rows_of(out)
    assert "iteration 1: parent 0 before, candidate 1 after" in out
    assert words_of(rows["p4"]) == "p4 not accepted 25.0/- 3 passed 25.0/75.0 3 2/2"
    assert rows["p6"].endswith("1/2")
    _, out, _ = ask(capsys, "show", run, "baseline", "--papers")
    assert rows_of(out)["p6"].split() == ["p6", "passed", "25.0/75.0", "3"]


def test_a_repeated_question_is_named_only_where_it_alone_spoils_a_pass(
    run: Path, capsys: Capture
) -> None:
    """What failed by itself keeps its own reason."""
    stands = {"parent": _stand([1, 1, 0, 0]), "mutant": _stand([1, 0, 0, 0])}
    stands["mutant"]["repeats"] = ["p4", "p7"]
    with closing(sqlite3.connect(run / "run.db")) as db, db:
        _change(db, "validated", audit=stands)
    _, out, _ = ask(capsys, "show", run, "2", "--papers")
    rows = rows_of(out)
    assert words_of(rows["p4"]) == "p4 passed 25.0/75.0 3 repeats 25.0/75.0 3"
    assert words_of(rows["p7"]) == "p7 not accepted 25.0/- 3 not accepted 25.0/- 3"
    assert "repeats: repeats another paper's question" in out


def test_show_analysis_puts_the_prediction_beside_what_was_measured(
    run: Path, capsys: Capture
) -> None:
    _, out, _ = ask(capsys, "show", run, "1", "--analysis")
    assert out.index("75%  generic questions") < out.index("25%  context leak")
    assert "estimate: the analyzer's, of a failure mode's share" in out
    assert "Evidence of context leak:\n  - seen" in out
    assert "Root cause: The prompt invites it." in out
    assert "fixes p1; at risk none" in out
    assert "fixed p4; broken none" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "RUN", "9"], "no candidate '9'"),
        (["show", "RUN", "winner"], "no candidate 'winner'"),
        (["show", "RUN", "3", "--diff"], "iteration 3 made no candidate"),
        (["show", "RUN", "baseline", "--diff"], "differs from nothing"),
        (["show", "RUN", "4", "--analysis"], "has no analysis"),
        (["show", "RUN", "--diff"], "of which candidate?"),
        *[
            ([c, "RUN/trees", *more], "not a run's folder (no run.db); metaopt runs lists")
            for c, *more in (
                ["status"],
                ["show"],
                ["view"],
                ["report"],
                ["search", "word"],
                ["plot", "--out", "x.png"],
            )
        ],
        (["plot", "RUN", "--out", "x.gif"], "write it as one of .pdf, .png, .svg"),
        (["plot", "RUN", "--out", "x.png", "--data", "x.txt"], "write it as one of .csv"),
        (["plot", "RUN", "--out", "RUN/nowhere/x.png"], "no folder"),
        (["checkout", "RUN", "RUN/run.db"], "name a new folder"),
    ],
)
def test_what_cant_be_shown_is_one_line(
    run: Path, capsys: Capture, arguments: list[str], message: str
) -> None:
    status, out, err = ask(capsys, *(a.replace("RUN", str(run)) for a in arguments))
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


# Checkout


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_checkout_gives_a_branch_and_a_diff_that_git_applies(
    run: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a relative folder is relative to where the user is
    status, out, _ = ask(capsys, "checkout", run, "won", "--candidate", "2")
    won = tmp_path / "won"
    assert status == 0
    assert git(won, "branch", "--show-current").strip() == "metaopt/my-run-2"
    assert "Line 2." in won.joinpath("prompts/challenger.md").read_text()
    assert git(won, "remote") == ""
    git(won, "switch", "-q", "baseline")
    git(won, "apply", str(tmp_path / "won.diff"))
    git(won, "add", "-A")
    assert git(won, "write-tree") == git(won, "rev-parse", "metaopt/my-run-2^{tree}")
    assert str(tmp_path / "won.diff") in out
    assert ask(capsys, "checkout", run, "won")[0] == 2


@pytest.mark.parametrize(("name", "number"), [("best", 1), ("2", 2), ("baseline", 0), ("0", 0)])
def test_a_runs_candidate_can_be_taken_to_generate_with(
    run: Path, tmp_path: Path, name: str, number: int
) -> None:
    origin = export_harness(Harness(), f"{run}:{name}", tmp_path / "out")
    state = open_record(run).state
    assert origin.tree == (state.candidates[number].tree or state.opened["tree"])
    assert (origin.folder / "harness.py").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [(":77", "no candidate '77'"), (":3", "made no candidate"), ("", "name its candidate")],
)
def test_a_runs_candidate_that_isnt_there_is_refused(
    run: Path, tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        export_harness(Harness(), f"{run}{name}", tmp_path / "out")


# Plot


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_plot_writes_the_figure_and_its_numbers(
    run: Path, tmp_path: Path, capsys: Capture, suffix: str
) -> None:
    figure, data = tmp_path / f"f.{suffix}", tmp_path / "f.csv"
    status, out, _ = ask(capsys, "plot", run, "--out", figure, "--data", data)
    assert status == 0
    assert "(simulated)" in out
    assert figure.stat().st_size > 5_000
    with open(data, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["outcome"] for r in rows] == ["accepted", "rejected", "failed"]
    assert {r["simulated"] for r in rows} == {"true"}
    assert [r["rate"] for r in rows] == ["0.75", "0.25", ""]
    # The best is candidate 1 throughout: 3 of 4 at first, 5 of 8 once it was run again.
    assert [r["best_rate"] for r in rows] == ["0.75", "0.625", "0.625"]
    if suffix == "svg":
        assert "SIMULATED" in figure.read_text()
        again = tmp_path / "again.svg"
        ask(capsys, "plot", run, "--out", again)
        assert again.read_bytes() == figure.read_bytes()


def test_plot_of_a_run_without_decisions_says_so(
    run: Path, tmp_path: Path, capsys: Capture
) -> None:
    (run / "run.db").unlink()
    store = Store(run / "run.db")
    store.append(Event(0, "opened", {"commit": "c", "tree": "t"}))
    store.close()
    status, _, err = ask(capsys, "plot", run, "--out", tmp_path / "f.png")
    assert status == 2
    assert "no candidate has been validated yet" in err
    out = ask(capsys, "status", run)[1]
    assert "still the baseline" in out
    assert "metaopt run" in out
    assert not any(f"metaopt {word}" in out for word in ("show", "plot", "checkout"))


@pytest.mark.parametrize(("passes", "papers"), [(0, 25), (3, 25), (25, 25), (212, 500), (0, 1)])
def test_intervals_are_wilsons(passes: int, papers: int) -> None:
    known = binomtest(passes, papers).proportion_ci(method="wilson")
    assert wilson(passes, papers) == pytest.approx((known.low, known.high))


def test_amounts_have_three_digits() -> None:
    counts = [0, 999.4, 999.6, 1_234, 999_400, 999_600, 4_560_000]
    assert [amount(n) for n in counts] == ["0", "999", "1 k", "1.23 k", "999 k", "1 M", "4.56 M"]


def test_the_front_page_has_every_command(capsys: Capture) -> None:
    status, out, _ = ask(capsys)
    assert status == 0
    listed = set(re.findall(r"[a-z][a-z-]+", out))
    assert {str(c.name or c.callback.__name__) for c in app.registered_commands} <= listed  # type: ignore[union-attr]


# Tables


def test_a_table_loses_nothing_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    table = grid("harness", *[">95%"] * 4, "verdict")
    table.add_row("a-long-name-of-a-harness", *["-10.5 to +29.5"] * 4, "can't tell")
    head, _, *rows = render(table).splitlines()
    assert head.split() == ["harness", *["95%"] * 4, "verdict"]
    assert rows[0].count("-10.5 to +29.5") == 4
    assert "".join(row.split()[0] for row in rows) == "a-long-name-of-a-harness"
    assert [row.split()[-1] for row in rows] == ["can't", "tell"]


# Estimate


def estimated(out: str) -> tuple[int, dict[str, str]]:
    """The rollouts that the first line tells, and the rows by role."""
    return int(out.split("about ")[1].split()[0].replace(",", "")), rows_of(out)


def test_estimate_follows_the_config_and_shows_what_it_rests_on(
    tmp_path: Path, capsys: Capture
) -> None:
    config = write_config(tmp_path, extra="price = { input = 1.0, output = 4.0 }")
    status, out, _ = ask(capsys, "estimate", config)
    rollouts, rows = estimated(out)
    assert status == 0
    assert rollouts == 4 * 4 + round(4 * 0.9 * (2 * 4 + 2))
    assert "A paper has 453 tokens" in out
    low, typical, high = (float(cell.lstrip("$")) for cell in rows["challenger"].split()[-3:])
    assert 0 < low < typical < high
    assert "published: 3 to 5, mean 6.6" in out
    assert "Counted as free" not in out
    twice = ask(capsys, "estimate", config, "--set", "search.iterations=8")[1]
    assert float(rows_of(twice)["challenger"].split()[-1].lstrip("$")) == pytest.approx(
        2 * high, abs=0.02
    )


def test_estimate_warns_of_a_budget_that_wont_do(tmp_path: Path, capsys: Capture) -> None:
    config = write_config(tmp_path)
    _, out, _ = ask(capsys, "estimate", config, "--set", "budget.calls=10")
    assert "budget.calls = 10 is likely to stop the run" in out
    assert "Counted as free" not in out


def test_estimate_names_real_roles_that_cost_nothing(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    config = write_config(tmp_path, "http://127.0.0.1:9/v1", "price = { input = 1.0 }")
    config.write_text(config.read_text().replace("iterations = 4", "iterations = 4000"))
    free = "models.judge.price={ input = 0, output = 0 }"
    _, out, _ = ask(capsys, "estimate", config, "--set", free)
    assert "Counted as free, for the price is 0 or isn't set: judge; set" in out
    assert "\nquality_verifier " in out
    assert "…" not in out


# Doctor


@pytest.fixture
def diagnose(
    tmp_path: Path, fake_openai: FakeOpenAI, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, dict[str, str]]]:
    """Run the doctor on a config for the fake server: exit status, and the rows by check."""
    monkeypatch.setenv("FAKE_KEY", fake_openai.key)
    config = write_config(tmp_path / "input", fake_openai.base_url, "timeout_s = 5")

    def run(*arguments: str) -> tuple[int, dict[str, str]]:
        status, out, err = ask(capsys, "doctor", config, *arguments)
        assert err == ""
        return status, rows_of(out.replace("one paper", "one-paper"))

    return run


def called(body: dict[str, Any]) -> Any:
    """What a server of real models answers to the doctor's questions."""
    if body.get("tools"):
        return completion(None, tool_calls=[("report", '{"ready": true}')])
    return completion("yes", logprobs={"yes": -0.1, "no": -3.0} if body.get("logprobs") else None)


YES_NO = ("--set", "models.judge.judge_mode=yes_no")


def test_doctor_asks_each_model_for_what_its_role_needs(
    diagnose: Callable[..., Any], fake_openai: FakeOpenAI
) -> None:
    fake_openai.reply = called
    fake_openai.models = [f"fake-{role.replace('_', '-')}" for role in ROLES]
    status, rows = diagnose("--no-paper", *YES_NO)
    assert status == 0, rows
    assert "lists 9 models" in rows["endpoints.here"]
    assert "tool calls" in rows["models.main_agent"]
    assert "log-probs" in rows["models.judge"]
    assert "4 train, 4 val, 0 test" in rows["split"]
    assert "ready to run" in rows["ready"]


def test_doctor_names_a_refused_key_and_the_variable_to_set(
    diagnose: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_KEY", "stale")
    status, rows = diagnose()
    assert status == 1
    assert "FAILS" in rows["endpoints.here"]
    assert "export FAKE_KEY=" in rows["endpoints.here"]
    assert "mend the rest first" in rows["one-paper"]
    monkeypatch.delenv("FAKE_KEY")
    status, rows = diagnose()
    assert status == 1
    assert "FAKE_KEY isn't set" in rows["endpoints.here"]


def test_doctor_names_an_unknown_model_and_the_nearest_that_is_there(
    diagnose: Callable[..., Any], fake_openai: FakeOpenAI
) -> None:
    fake_openai.reply = called
    fake_openai.models = [f"fake-{role.replace('_', '-')}" for role in ROLES] + ["fake-stronger"]
    fake_openai.models.remove("fake-strong")
    status, rows = diagnose("--no-paper")
    assert status == 1
    assert "no model 'fake-strong' there" in rows["models.strong"]
    assert "--set models.strong.model=fake-stronger" in rows["models.strong"]
    assert "ok" in rows["models.weak"]


def test_doctor_names_what_a_model_lacks(
    diagnose: Callable[..., Any], fake_openai: FakeOpenAI
) -> None:
    def reply(body: dict[str, Any]) -> Any:
        return failure(400, "tools are not enabled") if body.get("tools") else "yes"

    fake_openai.reply = reply
    status, rows = diagnose("--no-paper", *YES_NO)
    assert status == 1
    assert "tools are not enabled" in rows["models.main_agent"]
    assert "gives no log-probabilities" in rows["models.judge"]
    assert "judge_mode=rubric" in rows["models.judge"]


def test_doctor_tells_an_unreachable_server_from_a_bad_key(diagnose: Callable[..., Any]) -> None:
    status, rows = diagnose("--set", "endpoints.here.base_url=http://127.0.0.1:9/v1")
    assert status == 1
    assert "curl http://127.0.0.1:9/v1/models" in rows["endpoints.here"]
    assert "models.weak" not in rows


def test_doctor_names_bad_papers_split_harness_and_config(
    diagnose: Callable[..., Any], tmp_path: Path, capsys: Capture
) -> None:
    nowhere = tmp_path / "nowhere"
    status, rows = diagnose(
        "--no-paper", "--set", f"papers.split={nowhere}", "--set", f"harness.repo={nowhere}"
    )
    assert status == 1
    assert "metaopt split --papers" in rows["split"]
    assert "--train 4 --val 2 --test 2" in rows["split"]
    assert "FAILS" in rows["harness"]
    assert "--set harness.repo=REPO" in rows["harness"]
    status, rows = diagnose("--no-paper", "--set", f"papers.path={nowhere}")
    assert "no such folder" in rows["papers"]
    status, rows = diagnose("--set", "papers.pth=x")
    assert status == 1
    assert "did you mean 'path'" in rows["config"]
    status, rows = diagnose("--set", "papers.path=$NOT_SET_ANYWHERE")
    assert "export NOT_SET_ANYWHERE=..." in rows["config"]


def test_doctor_names_the_harness_key_at_fault(
    diagnose: Callable[..., Any], tmp_path: Path, fake_openai: FakeOpenAI
) -> None:
    fake_openai.reply = called
    mine = tmp_path / "mine"
    mine.mkdir()
    git(mine, "init", "-q")
    (mine / "harness.py").write_text("raise SystemExit('no luck')\n")
    git(mine, "add", "-A")
    git(mine, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x")
    repo = ("--set", f"harness.repo={mine}")
    assert (
        "harness.ref=REF" in diagnose("--no-paper", *repo, "--set", "harness.ref=x")[1]["harness"]
    )
    _, rows = diagnose("--no-paper", *repo, "--set", "harness.subdir=x")
    assert "harness.subdir=SUBDIR" in rows["harness"]
    (mine / "more.py").touch()
    status, rows = diagnose(*repo, "--set", 'harness.fixed=["clint.py"]')
    assert status == 1
    assert "'clint.py' matches no file of the harness (harness.py)" in rows["harness.fixed"]
    assert "not in the run: more.py" in rows["harness.repo"]
    assert 'crashed (its last line on stderr: "no luck")' in rows["one-paper"]
    assert "10 papers, but the training part has 4" in rows["search.minibatch"]
    thompson = ("search.policy=thompson", "search.thompson.screen=4", "search.validation_papers=4")
    words = [word for text in thompson for word in ("--set", text)]
    assert "(4) is none" in diagnose("--no-paper", *words)[1]["search.thompson.screen"]


def test_doctor_does_not_blame_the_harness_for_a_jail_that_fails(
    diagnose: Callable[..., Any], fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise JailFailed("the jail did not start (no luck)")

    fake_openai.reply = called
    monkeypatch.setattr("metaopt.doctor.run_paper", fails)
    status, rows = diagnose()
    assert status == 1
    assert "the jail did not start" in rows["sandbox"]
    assert "one-paper" not in rows


def test_a_split_that_cant_be_used_is_refused(tmp_path: Path, capsys: Capture) -> None:
    papers = write_config(tmp_path).parent / "papers"
    given = ["split", "--papers", papers, "--out", tmp_path / "new.json", "--val", "2", "--test"]
    assert "train = 0" in ask(capsys, *given, "0", "--train", "0")[2]
    assert ask(capsys, *given, "2", "--train", "4")[0] == 0
    given[4] = tmp_path / "nowhere/new.json"
    assert "can't be written" in ask(capsys, *given, "2", "--train", "4")[2]
    for paper in papers.iterdir():
        paper.write_text("the same")
    given[4] = tmp_path / "newer.json"
    assert "are the same text" in ask(capsys, *given, "2", "--train", "4")[2]


def test_version(capsys: Capture) -> None:
    assert ask(capsys, "--version")[:2] == (0, f"metaopt {version('metaopt')}\n")


def test_doctor_takes_a_paper_through_with_the_models(
    diagnose: Callable[..., Any], fake_openai: FakeOpenAI
) -> None:
    fake_openai.reply = called  # they answer, but no model does its work: no question comes of it
    status, rows = diagnose()
    assert status == 1
    assert "no question" in rows["one-paper"]
    fake_openai.reply = works
    status, rows = diagnose()
    assert status == 0, rows
    assert "p0: passed" in rows["one-paper"]
    status, rows = diagnose("--set", "papers.split=''")
    assert status == 1
    assert "papers.split isn't set: metaopt run needs it" in rows["split"]
    assert ": passed" in rows["one-paper"]  # a data set needs no split
    # This judge gives a full answer nothing, and this auditor finds nothing in anything.
    assert "treat 6 of 13 rightly; not answer 'full'" in rows["honeypots"]


ITEM = {
    "question_type": "why", "reasoning_skills": ["inference"], "context": "It holds.",
    "question": "Why does it hold?", "reference_answer": "Because each part of it holds by itself.",
    "rubric": [{"criterion": f"gives cause {n}", "weight": 5} for n in "abc"],
}  # fmt: skip


def works(body: dict[str, Any]) -> Any:
    """Every role at its best: one round, weak 40 %, strong 80 %."""
    role = body["model"].removeprefix("fake-")
    if role == "main-agent" and any(m["role"] == "system" for m in body["messages"]):
        tools = [m for m in body["messages"] if m["role"] == "tool"]
        calls = [
            ("challenger", '{"instructions": ""}'),
            ("quality_verifier", '{"item": "item-1"}'),
            ("evaluate", '{"item": "item-1", "phase": "weak-only"}'),
            ("evaluate", '{"item": "item-1", "phase": "strong-only"}'),
        ]
        return completion(None, tool_calls=[calls[len(tools)]])
    if role == "challenger":
        return json.dumps(ITEM)
    if role == "quality-verifier":
        return json.dumps({"passed": True, "feedback": "fine"})
    if role == "judge":
        task = body["messages"][-1]["content"]
        score = 0.8 if "the strong" in task else 0.4 if "the weak" in task else 0.0
        lines = re.findall(r"^(\d+)\. \(weight", task, re.MULTILINE)
        return json.dumps({"criteria": [{"id": int(n), "score": score} for n in lines]})
    if role == "auditor":
        return audit_sheet()
    return called(body) if body.get("tools") else f"the {role} answer"


def test_doctor_is_content_with_the_simulator(tmp_path: Path, capsys: Capture) -> None:
    status, out, _ = ask(capsys, "doctor", write_config(tmp_path), "--no-paper")
    assert status == 0
    assert "no key, no cost" in out
