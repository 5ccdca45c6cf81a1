"""The figures of runs and data sets, and the numbers behind them, counted again by other means."""

import itertools
import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from whole_runs import small_config

from analysis.cli import app
from analysis.course import course
from analysis.failures import OUTCOMES, binned, failure_mix, together
from analysis.lineage import lineage
from analysis.spending import Ledger, spending
from inner_agent.calls import CallStore, Usage
from inner_agent.llm import Reply
from metaopt.cli import invoke
from metaopt.population import best, shrunk_rates
from metaopt.record import RunRecord, open_record, usage
from metaopt.state import replay, winner
from metaopt.validations import interval, validations


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
