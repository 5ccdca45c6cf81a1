"""The storyboard of one rollout: its numbers, which step is of which round, text that attacks."""

import gc
import json
import os
import random
import re
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import pytest
from aiohttp.test_utils import TestClient, TestServer
from markupsafe import escape
from whole_runs import small_config

from analysis.cli import app
from analysis.web import trajectories
from analysis.web.exchanges import MOST_STEPS, exchanges, sections
from analysis.web.library import shelves
from analysis.web.links import FileLinks, ServerLinks
from analysis.web.paper import RawPage, paper_page, raw_page
from analysis.web.render import render
from analysis.web.server import application
from analysis.web.spans import said
from analysis.web.storyboard import MOST_STRAYS, Board, storyboard
from inner_agent.criteria import Criteria, by_thresholds
from inner_agent.papers import file_name
from inner_agent.run_paper import PaperResult
from metaopt.cli import invoke
from metaopt.record import RunRecord, open_record
from metaopt.show import REPEATS

T = TypeVar("T")
RULE = by_thresholds(Criteria())
HOSTILE = (
    "</script></style><script>alert(1)</script><img src=x onerror=alert(2)>"
    "\u202e\ud800\x00\"'>{{7*7}}"
)
JUNK: tuple[Any, ...] = (
    None, True, -1, 10**400, float("nan"), "", HOSTILE, [], [[]], {}, {"a": {}}
)  # fmt: skip


def quickest(work: Callable[[], T]) -> tuple[T, float]:
    """What ``work`` gives, and the least processor time of five goes at it, in seconds.

    Ratios of single times are of no use: one collection of garbage over all that pytest keeps
    takes thirty times as long as the work, and falls where it likes.
    """
    took = []
    gc.disable()
    try:
        for _ in range(5):
            started = time.thread_time()
            given = work()
            took.append(time.thread_time() - started)
    finally:
        gc.enable()
    return given, min(took)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """A small simulated run."""
    folder = tmp_path_factory.mktemp("boards")
    config = small_config(folder, 'kind = "simulator"', iterations=2, minibatch=3, validation=8)
    out = folder / "run"
    assert invoke(app, ["run", str(config), "--out", str(out), "--set", "limits.items=4"]) == 0
    return open_record(out)


def files(record: RunRecord) -> list[Path]:
    return sorted(record.folder.glob("trajectories/*/*/*.json"))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def boards(record: RunRecord) -> Iterator[tuple[Any, Board]]:
    wanted = record.config.models["weak"].attempts
    for path in files(record):
        trajectory = read(path)
        yield trajectory, storyboard(trajectory, by_thresholds(record.config.criteria), wanted)


def html(record: RunRecord, board: Board, trajectory: Any) -> str:
    """Its pages, storyboard and all raw messages, under the head of any rollout of the run."""
    path = files(record)[0]
    part, candidate = path.parent.name, int(path.parent.parent.name)
    name, i, _ = path.name.rsplit(".", 2)
    page = replace(paper_page(record, candidate, part, int(i), name), board=board)
    shown = exchanges(trajectory, record.config, 0, 10**6)
    raw = RawPage(page, sections(board), "1", None, shown, own_prompts=True)
    context = {"links": ServerLinks("r"), "name": "r", "simulated": True}
    told = render("storyboard.html", page=page, **context)
    return told + render("raw.html", raw=raw, **context)


def test_a_section_of_a_file_lies_where_its_links_lead(record: RunRecord) -> None:
    path = next(p for p in files(record) if p.parent.name == "val")
    candidate, i = int(path.parent.parent.name), int(path.name.split(".")[-2])
    page = paper_page(record, candidate, "val", i, path.name.removesuffix(f".{i}.json"))
    links = FileLinks(frozenset({(candidate, "val", i, page.paper)}))
    text = render("parts/one_paper.html", page=page, links=links)
    href = links.paper(candidate, "val", i, page.paper)
    ids = re.findall(r' id="([^"]*)"', text)
    assert href == f"#{ids[0]}"
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#(paper-[^"]*-(?:round|end|audit|fresh)[^"]*)"', text)) <= set(
        ids
    )
    repeated = render("parts/one_paper.html", page=replace(page, repeated=True), links=links)
    assert "Repeats another paper" in repeated
    assert "Repeats another paper" not in text


def test_a_board_has_the_numbers_of_its_trajectory(record: RunRecord) -> None:
    seen = Counter[str]()
    for trajectory, board in boards(record):
        result = trajectory["result"]
        for told, round_ in zip(trajectory["rounds"], board.rounds, strict=True):
            trial = round_.trial
            for tier, phase in (("weak", trial.weak), ("strong", trial.strong)):
                scores = [a.score for a in phase.attempts] if phase else []
                assert scores == (told[tier] or [])
                assert not scores or (phase and phase.average == pytest.approx(fmean(told[tier])))
            for column, attempt in enumerate(trial.attempts):
                earned = sum(
                    c.verdicts[column].score * float(c.weight)  # type: ignore[union-attr, operator]
                    for c in trial.criteria
                )
                total = sum(float(c.weight) for c in trial.criteria if not c.penalty)
                assert attempt.score == pytest.approx(min(1, max(0, earned / total)))
            assert (round_.item.question, round_.outcome) == (told["question"], told["outcome"])
            seen[round_.outcome] += 1
        assert (board.ending.reason, board.ending.passed) == (result["reason"], result["passed"])
        assert not board.unreadable
        assert sum(r.final for r in board.rounds) == result["accepted"]
        shown = board.fresh or (board.rounds[-1].trial if board.rounds else None)
        if board.fresh and shown and shown.weak:
            assert shown.weak.average == result["weak_avg"]
            assert bool(shown.broken) == (result["reason"] == "fresh_failed")
        seen[board.ending.reason] += 1
    assert min(seen[k] for k in ("too_easy", "accepted", "passed", "not_accepted")) > 0, seen


def test_the_thresholds_that_broke_explain_the_outcome(record: RunRecord) -> None:
    for _, board in boards(record):
        for round_ in board.rounds:
            weak, strong = round_.trial.weak, round_.trial.strong
            broken = [(p.tier, b.name) for p in round_.trial.phases for b in p.broken]
            if round_.outcome in ("too_easy", "weak_zero"):
                assert weak
                assert strong is None
                average = sum(a.score or 0 for a in weak.attempts) / 3
                expected = {
                    ("weak", "average"): average > 0.65,
                    ("weak", "highest"): max(a.score or 0 for a in weak.attempts) > 0.75,
                    ("weak", "lowest"): min(a.score or 0 for a in weak.attempts) <= 0,
                }
                assert set(broken) == {name for name, broke in expected.items() if broke}
                assert broken
            elif round_.outcome == "failed_on_strong":
                assert {tier for tier, _ in broken} == {"strong"}
            else:
                assert not broken
            if round_.outcome == "accepted":
                assert all(b.holds for p in round_.trial.phases for b in p.bounds)


def test_every_step_belongs_to_the_round_that_it_was_for(record: RunRecord) -> None:
    """By the harness's own words: its tools name the item, item-1 in round 1."""
    for trajectory, board in boards(record):
        steps, at = trajectory["steps"], 0
        for n, round_ in enumerate(board.rounds, start=1):
            assert round_.span.start == at
            at = round_.span.stop
            own = steps[round_.span.start : round_.span.stop]
            called = re.findall(
                r'"item\\?": \\?"item-(\d+)', json.dumps([s.get("reply") for s in own])
            )
            assert set(called) == {str(n)}
            wrote = [s for s in own if s.get("agent") == "challenger"]
            assert json.dumps(round_.item.question)[1:-1] in wrote[-1]["reply"]["content"]
            if n > 1:
                assert round_.told
                assert " ".join(board.rounds[n - 2].item.question.split()) in round_.told.new
        assert (board.after.start, board.after.stop) == (at, len(steps))


def test_raw_messages_are_whole_and_prompts_are_as_they_were_asked(record: RunRecord) -> None:
    for path in files(record)[:6]:
        trajectory = read(path)
        steps = trajectory["steps"]
        chats = said(steps)
        for n, messages in chats.items():
            assert len(messages) == steps[n]["continues"] + len(steps[n]["messages"])
            assert messages[0]["role"] == (
                "system" if steps[n]["agent"] == "main_agent" else "user"
            )
        for step, shown in enumerate(exchanges(trajectory, record.config, 0, len(steps))):
            prompts = [p for p in shown.parts if p.kind == "prompt"]
            if steps[step]["kind"] not in ("evaluate", "fresh"):
                assert not prompts
                continue
            solver, *judges = (p.text for p in prompts)
            item = steps[step]["item"]
            assert item["question"].strip() in solver
            assert item["reference_answer"] not in "".join([solver, *judges])
            for judge, attempt in zip(judges, steps[step]["attempts"], strict=True):
                assert attempt["answer"].strip() in judge
                assert item["rubric"][0]["criterion"] in judge


def test_anything_may_be_broken(record: RunRecord) -> None:
    rng = random.Random(5)
    whole = [read(p) for p in files(record)]
    whole.sort(key=lambda t: -len(t["steps"]))
    for n in range(60):
        broken = json.loads(json.dumps(whole[n % 12]))
        for _ in range(1 + n % 5):
            _break(broken, rng)
        board = storyboard(broken, RULE, 3)
        html(record, board, broken).encode()
    for junk in JUNK:
        board = storyboard(junk, RULE, 3)
        assert board.unreadable
        assert not board.rounds
        html(record, board, junk)


def _break(value: Any, rng: random.Random) -> None:
    """Take something away, or put something else in its place, at a random depth."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = rng.choice(keys)
        inner = value[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            break
        value = inner
    if isinstance(value, dict) and rng.random() < 0.4:
        del value[key]
    else:
        value[key] = rng.choice(JUNK)


def test_numbers_beyond_all_sense_are_none(record: RunRecord) -> None:
    """Of two of 1e308 no sum is a number; and 10**400 is none of a page's."""
    trajectory = next(t for t, b in boards(record) if b.rounds and b.rounds[0].trial.attempts)
    broken = json.loads(json.dumps(trajectory))
    for step in broken["steps"]:
        for attempt in step.get("attempts", ()):
            attempt["score"] = 1e308
    for round_ in broken["rounds"]:
        round_ |= {"weak": [1e308, 1e308], "strong": [-1e308, -1e308]}
    broken["result"] |= {"calls": 10**400, "prompt_tokens": 10**400, "usd": 1e308}
    for steps in (broken["steps"], []):
        board = storyboard(broken | {"steps": steps}, RULE, 3)
        assert all(a.score is None for r in board.rounds for a in r.trial.attempts)
        html(record, board, broken)


def test_a_thousand_items_of_no_round_are_cut_and_all_in_the_raw_messages(
    record: RunRecord,
) -> None:
    trajectory = next(t for t, b in boards(record) if b.rounds and b.rounds[0].trial.attempts)
    one = next(s for s in trajectory["steps"] if s["kind"] == "evaluate")
    took, pages = [], []
    for count in (500, 8_000):
        strays = [one | {"item": one["item"] | {"question": f"Stray {n}?"}} for n in range(count)]
        long = trajectory | {"steps": [*trajectory["steps"], *strays, *strays[:3]]}
        board, seconds = quickest(partial(storyboard, long, RULE, 3))
        took.append(seconds)
        assert (len(board.strays), board.more_strays) == (MOST_STRAYS, count - MOST_STRAYS)
        assert all(q.question == f"Stray {n}?" for n, (q, _) in enumerate(board.strays))
        pages.append(html(record, board, long | {"steps": []}))
        assert f"{count - MOST_STRAYS:,} more items evaluated, but in no round" in pages[-1]
        steps = [n for s in sections(board) for n in range(s.start, s.stop)]
        assert steps == list(range(len(long["steps"])))
        assert max(s.stop - s.start for s in sections(board)) == MOST_STEPS
        assert len({s.name for s in sections(board)}) == len(sections(board))
    assert took[1] < 50 * took[0]
    assert len(pages[1]) < 1.2 * len(pages[0])


def test_what_takes_long_to_say_is_read_in_one_pass(record: RunRecord) -> None:
    """A harness may tell the challenger thousands of lines, each time."""
    trajectory = next(t for t, b in boards(record) if len(b.rounds) > 1)
    took = []
    for lines in (500, 16_000):
        long = json.loads(json.dumps(trajectory))
        told = [{"role": "user", "content": "\n".join(f"line {n}" for n in range(lines))}]
        for step in long["steps"]:
            if step.get("agent") == "challenger":
                step |= {"messages": told, "continues": 0}
        took.append(quickest(partial(storyboard, long, RULE, 3))[1])
    assert took[1] < 150 * took[0]


def test_what_is_missing_is_told(record: RunRecord) -> None:
    trajectory = next(t for t, b in boards(record) if b.rounds and b.rounds[0].trial.attempts)
    old = {key: trajectory[key] for key in ("paper", "result", "rounds")}
    board = storyboard(old, RULE, 3)
    assert board.unreadable == ("steps: missing",)
    assert [a.score for a in board.rounds[0].trial.attempts] == trajectory["rounds"][0]["weak"]
    assert "the answer isn&#39;t kept" in html(record, board, old)


class _Tags(HTMLParser):
    """Elements and attributes that a browser would find."""

    def __init__(self) -> None:
        super().__init__()
        self.found = Counter[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.update([tag, *(f"{tag}@{name}" for name, _ in attrs)])


def test_hostile_text_is_text(record: RunRecord) -> None:
    trajectory = next(t for t, b in boards(record) if b.fresh)

    def poisoned(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: poisoned(v, k) for k, v in value.items()} | {HOSTILE: HOSTILE}
        if isinstance(value, list):
            return [poisoned(v, key) for v in value]
        kept = key in ("kind", "phase", "agent", "outcome")
        return HOSTILE + value + "x" * 30_000 if isinstance(value, str) and not kept else value

    bad = poisoned(trajectory)
    bad["result"]["reason"] = trajectory["result"]["reason"]
    found = [{"check": HOSTILE, "detail": HOSTILE}]
    evaluated = next(s for s in bad["steps"] if s["kind"] == "evaluate")
    bad["steps"] += [
        {"kind": "audit", "passed": False, "findings": found, "probes": {HOSTILE: 1}},
        {**evaluated, "item": {**evaluated["item"], "question": HOSTILE}},
        {"kind": HOSTILE},
    ]
    text = html(record, storyboard(bad, RULE, 3), bad)
    text.encode()
    assert "\u202e" not in text
    assert "\x00" not in text
    assert "⟨U+202E⟩" in text
    assert "{{7*7}}" in text
    tags = _Tags()
    tags.feed(text)
    assert tags.found["script"] == 2
    assert tags.found["script@src"] == 2
    assert not tags.found["img"]
    assert not tags.found["style"]
    assert not [name for name in tags.found if re.search("@(on|style)", name)]
    assert "shown whole" in text


@pytest.fixture
async def client(record: RunRecord) -> Any:
    async with TestClient(TestServer(application(shelves([record.folder])))) as client:
        yield client


async def test_pages_of_a_rollout(record: RunRecord, client: Any) -> None:
    parent = record.stages[1]["selected"]["parent"]
    paper = sorted(p.name for p in (record.folder / "trajectories/1/val").iterdir())[1]
    base = f"/run/papers/1/val/1/{paper.removesuffix('.1.json')}"
    page = await (await client.get(base)).text()
    assert 'rel="prev"' in page
    assert 'rel="next"' in page
    assert f"/run/papers/{parent}/val/1/" in page  # the same paper under the parent
    steps = read(record.folder / "trajectories/1/val" / paper)["steps"]
    raw = await (await client.get(f"{base}/raw?part=1")).text()
    assert raw.count('class="exchange') <= len(steps)
    assert "Main agent" in raw
    one = await (await client.get(f"{base}/raw?step=2")).text()
    assert one.count('class="exchange') == 1
    assert "2 messages as before" not in one
    odd = ("1/val/1/..%2f..%2fconfig.toml", "1/..%2fval/1/x", "1/val/9/x", "x/val/1/x", "1/val/1/x")
    for path in odd:
        assert (await client.get(f"/run/papers/{path}")).status == 404, path


async def test_trajectories_that_cant_be_shown(
    record: RunRecord, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removed, a link out of the run, a pipe, no JSON, too large: a page that says so."""
    results = record.folder / "trajectories/2/val"
    path = sorted(results.iterdir())[0]
    base, kept = f"/run/papers/2/val/2/{path.name.removesuffix('.2.json')}", path.read_bytes()
    outside = tmp_path / "outside.json"
    outside.write_bytes(kept)

    async def told() -> str:
        answer, raw = await client.get(base), await client.get(f"{base}/raw")
        assert (answer.status, raw.status) == (200, 200)
        text = await answer.text()
        assert "What the run recorded of it" in text
        return str(text)

    try:
        path.unlink()
        assert "somebody removed it" in await told()
        path.symlink_to(outside)
        assert "is a symbolic link" in await told()
        path.unlink()
        os.mkfifo(path)
        assert "isn&#39;t a plain file" in await told()
        path.unlink()
        path.write_text('{"a":' * 100_000)
        assert "isn&#39;t JSON" in await told()
        path.write_bytes(kept)
        monkeypatch.setattr(trajectories, "MAX_BYTES", 100)
        assert "too large" in await told()
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(kept)
    monkeypatch.undo()
    os.rename(results, results.with_name("moved"))
    try:
        os.symlink(results.with_name("moved"), results)
        assert "can&#39;t be read" in await told()
    finally:
        results.unlink()
        os.rename(results.with_name("moved"), results)
    assert file_name(read(path)["paper"]["id"]) in base
    assert 'class="board"' in await (await client.get(base)).text()


async def test_the_evidence_leads_to_its_round(record: RunRecord, client: Any) -> None:
    """What the analyzer quotes is on the candidate's page, linked with where it stands."""
    page = await (await client.get("/run/candidates/1")).text()
    parent, quotes = record.stages[1]["selected"]["parent"], 0
    for mode in record.stages[1]["diagnosed"]["failure_modes"]:
        for quote in mode["evidence"]:
            assert escape(quote) in page
            if found := re.match(r"(\S+), round (\d+): ", quote):
                href = f"/run/papers/{parent}/train/1/{file_name(found[1])}"
                assert f'href="{href}#paper-round-{found[2]}"' in page
                assert f'id="paper-round-{found[2]}"' in await (await client.get(href)).text()
                quotes += 1
    assert quotes


def test_the_numbers_say_what_they_are_of(record: RunRecord) -> None:
    """Not every question that was written was evaluated, and the averages are of the last one."""
    for trajectory, board in boards(record):
        result = trajectory["result"]
        if result["reason"] != "not_accepted" or not board.rounds:
            continue
        tried = [r for r in trajectory["rounds"] if r["weak"]]
        if 0 < len(tried) < len(board.rounds):
            assert f", {len(tried)} of them evaluated; none" in board.ending.sentence
            assert board.whose == f"round {tried[-1]['round']}, the last one evaluated"
            assert fmean(tried[-1]["weak"]) == pytest.approx(result["weak_avg"])
            return
    pytest.fail("there is no such trajectory")


async def test_a_repeated_question_has_one_name(record: RunRecord, tmp_path: Path) -> None:
    """On the candidate's page and the storyboard's; what failed by itself keeps its own."""
    copy = Path(shutil.copytree(record.folder, tmp_path / "run"))
    with closing(sqlite3.connect(copy / "run.db")) as db, db:
        found = [
            (i, candidate, PaperResult.model_validate_json(data))
            for i, candidate, data in db.execute(
                "SELECT iteration, candidate, data FROM results WHERE part = 'val'"
                " AND candidate = iteration AND candidate > 0"
            )
        ]
        i, candidate, good = next(x for x in found if x[2].passed)
        bad = next(r for j, _, r in found if j == i and not r.passed)
        ((text,),) = db.execute(
            "SELECT data FROM events WHERE iteration = ? AND kind = 'validated'", [i]
        )
        data = json.loads(text)
        data["audit"]["mutant"]["repeats"] = [good.paper, bad.paper]
        db.execute(
            "UPDATE events SET data = ? WHERE iteration = ? AND kind = 'validated'",
            [json.dumps(data), i],
        )
    async with TestClient(TestServer(application(shelves([copy])))) as client:
        page = await (await client.get(f"/run/candidates/{candidate}")).text()
        for result, name in ((good, REPEATS), (bad, bad.reason.replace("_", " "))):
            assert f'aria-label="{escape(name)}: {result.paper}, candidate {candidate}"' in page
            href = f"/run/papers/{candidate}/val/{i}/{file_name(result.paper)}"
            board = await (await client.get(href)).text()
            assert f"✗ {escape(name[0].upper() + name[1:])}" in board


def test_looking_runs_no_module_that_a_run_names(record: RunRecord, tmp_path: Path) -> None:
    """The run may be somebody else's: its pages are there, without what only the task knows."""
    module = tmp_path / "task.py"
    module.write_text("from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n")
    task = record.config.task.model_copy(update={"name": str(module)})
    theirs = replace(record, config=record.config.model_copy(update={"task": task}))
    evaluated = (p for p in files(record) if '"kind": "evaluate"' in p.read_text(encoding="utf-8"))
    path = next(evaluated)
    name, i, _ = path.name.rsplit(".", 2)
    where = (int(path.parent.parent.name), path.parent.name, int(i), name)
    raw, known = raw_page(theirs, *where), raw_page(record, *where)
    assert (raw.own_prompts, known.own_prompts) == (False, True)
    assert raw.page.board is not None
    assert known.page.board is not None
    phases = [(one.trial.weak, two.trial.weak) for one, two in
              zip(raw.page.board.rounds, known.page.board.rounds, strict=True)]  # fmt: skip
    assert any(weak for _, weak in phases)
    for weak, same in phases:
        assert weak == (same and replace(same, bounds=()))
    assert not module.with_suffix(".ran").exists()
