"""Search in a small simulated run: everything is found, nothing else, and nothing is harmed."""

import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from whole_runs import small_config

from analysis.cli import app
from analysis.search import index as search_index
from analysis.search import lookup
from analysis.search import searcher as search
from analysis.search.answer import Answer, Hit
from analysis.search.query import parse
from analysis.search.searcher import Searcher, open_searcher
from analysis.search.texts import KINDS, RECORDED
from analysis.web.library import shelves
from analysis.web.server import application
from metaopt.cli import invoke
from metaopt.record import open_record
from metaopt.repo import HarnessRepo

Key = tuple[int, str, int, str]  # candidate, part, iteration, paper
MANY = 10_000
WORD = re.compile(r"[^\W_]+")
HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=alert(2)> zebrafish \u202eevil\u2066 nul\0nul"
    " &amp; {{ 7 * 7 }} half \ud800 mark \x02\x03"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    config = small_config(folder, 'kind = "simulator"', iterations=4, minibatch=4, validation=8)
    assert invoke(app, ["run", str(config), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of one's own, and a cache of one's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(finished, tmp_path / "run"))


def everything(done: int, total: int) -> bool:
    return True


@pytest.fixture
def searcher(run: Path) -> Iterator[Searcher]:
    with closing(open_searcher(open_record(run))) as made:
        made.index_now(everything)
        yield made


def ask(searcher: Searcher, typed: str, limit: int = MANY) -> Answer:
    return searcher.search(open_record(searcher.run), typed, limit)


def hits(searcher: Searcher, typed: str) -> list[Hit]:
    return [hit for group in ask(searcher, typed).groups for hit in group.hits]


def key(hit: Hit) -> Key:
    return hit.candidate or 0, hit.part, hit.iteration, hit.paper


def trajectories(run: Path) -> Iterator[tuple[Key, Path, dict[str, Any]]]:
    for path in sorted(run.glob("trajectories/*/*/*.json")):
        found = json.loads(path.read_text())
        iteration = int(path.stem.rpartition(".")[2])
        yield (int(path.parts[-3]), path.parts[-2], iteration, found["paper"]["id"]), path, found


def phrase(text: str, rng: random.Random) -> str:
    """Six words in a row from a text, as somebody would quote it."""
    words = list(WORD.finditer(text))
    start = rng.randrange(max(1, len(words) - 5))
    piece = words[start : start + 6]
    return '"' + text[piece[0].start() : piece[-1].end()].replace('"', " ") + '"'


def spoken(trajectory: dict[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Texts of a trajectory that must be found, as (kind, round, text), by its own format."""
    for number, r in enumerate(trajectory["rounds"], start=1):
        yield from (("question", number, r["question"]), ("context", number, r["context"]))
        yield "reference", number, r["reference_answer"]
        if isinstance(r["rubric"], list):
            yield from (("rubric", number, c["criterion"]) for c in r["rubric"])
        yield "feedback", number, r["feedback"]
    for step in trajectory["steps"]:
        for attempt in step.get("attempts", ()):
            yield "answer", 0, attempt["answer"]
            yield from (("reason", 0, c["reason"]) for c in attempt["criteria"])
        for finding in step.get("findings", ()):
            yield "audit", 0, finding["detail"]
        if step["kind"] == "refused":
            yield "fault", 0, step["message"]
        for call in step.get("reply", {}).get("tool_calls", ()):
            yield "agent", 0, json.loads(call["arguments"]).get("instructions", "")
    yield "fault", 0, trajectory["stderr"]


def test_whatever_a_trajectory_holds_is_found_where_it_stands(
    run: Path, searcher: Searcher
) -> None:
    rng, seen = random.Random(1), set()
    texts = [(k, *told) for k, _, t in trajectories(run) for told in spoken(t) if told[2].strip()]
    for kind in KINDS:
        of_kind = [x for x in texts if x[1] == kind]
        for where, _, number, text in rng.sample(of_kind, min(12, len(of_kind))):
            candidate, part, iteration, paper = where
            narrow = f"kind:{kind} candidate:{candidate} part:{part} iteration:{iteration}"
            found = hits(searcher, f'{phrase(text, rng)} {narrow} paper:"{paper}"')
            assert where in map(key, found), (kind, text)
            assert all(key(hit) == where for hit in found)  # the filters hold
            if number:  # unless an earlier round has the very same text
                assert any(hit.round <= number for hit in found)
            assert all((run / hit.file).is_file() for hit in found)
            seen.add(kind)
    assert seen == set(KINDS) - ({"audit"} - {k for _, k, *_ in texts})


def test_the_run_s_own_record_is_found(run: Path, searcher: Searcher) -> None:
    with closing(sqlite3.connect(run / "run.db")) as db:
        events = db.execute("SELECT iteration, kind, data FROM events").fetchall()
    by_kind = [(i, kind, json.loads(data)) for i, kind, data in events]
    wanted: list[tuple[str, int, str]] = []
    for i, kind, data in by_kind:
        if kind == "diagnosed":
            wanted += [("diagnosis", i, data[f]) for f in ("root_cause", "proposed_change")]
            wanted += [("diagnosis", i, m["name"]) for m in data["failure_modes"]]
            wanted += [("diagnosis", i, e) for m in data["failure_modes"] for e in m["evidence"]]
            wanted += [("diagnosis", i, paper) for paper in data["predicted_fixes"]]
        elif kind == "implemented" and not data.get("control"):
            wanted.append(("summary", i, data["summary"]))
            repo = HarnessRepo(run / "harness.git", open_record(run).config.harness)
            with closing(repo):
                parent = next(d["parent"] for j, k, d in by_kind if (j, k) == (i, "selected"))
                commits = {j: d["commit"] for j, k, d in by_kind if k == "implemented"}
                diff = repo.diff(commits.get(parent, repo.baseline), data["commit"])
            changed = re.findall(r"^[+-](?![+-]{2} )(.*\w.*)$", diff, re.MULTILINE)
            wanted += [("diff", i, line) for line in changed]
            kept = re.findall(r"^ (.*\w+ \w+ \w+.*)$", diff, re.MULTILINE)
            for line in kept:  # what didn't change isn't the diff's
                assert not hits(searcher, f'"{line.replace(chr(34), " ")}" kind:diff iteration:{i}')
        elif kind == "decided":
            entry = data["entry"]
            wanted += [("decision", i, entry[f]) for f in ("decision", "audit") if entry[f]]
            wanted += [("decision", i, paper) for paper in entry["fixed"]]
    for kind, i, text in wanted:
        found = hits(searcher, f'"{text.replace(chr(34), " ")}" kind:{kind} candidate:{i}')
        assert found, (kind, i, text)
        assert {(hit.kind, hit.candidate) for hit in found} == {(kind, i)}
    assert {kind for kind, *_ in wanted} == set(RECORDED) - {"paper"}
    for where, _, trajectory in trajectories(run):
        for name in (where[3], trajectory["paper"]["title"]):
            assert where[3] in {h.paper for h in hits(searcher, f'"{name}" kind:paper')}
    (run / "stopped.json").write_text('{"reason": "the budget of 3 walruses is spent"}')
    (told,) = hits(searcher, "walruses")
    assert (told.kind, told.candidate) == ("decision", None)


def test_of_a_large_edit_only_the_beginning_is_kept_and_searched(run: Path) -> None:
    with closing(sqlite3.connect(run / "run.db")) as db, db:
        data = db.execute("SELECT data FROM events WHERE kind = 'implemented'").fetchone()[0]
        commit = json.loads(data)["commit"]
        record = open_record(run)
        with closing(record.repo()) as repo:
            line = "and so on and on and on without any end"
            large = "\n".join(["axolotl", *[line] * 100_000, "wombat"])
            tree = repo.read(commit) | {"a.py": large.encode(), "z.py": b"quokka = 1"}
            other = repo.commit(repo.baseline, tree, "A large edit")
        db.execute("UPDATE events SET data = replace(data, ?, ?)", (commit, other))
    tracemalloc.start()
    with closing(open_searcher(open_record(run))) as searcher:
        assert hits(searcher, "axolotl kind:diff")
        assert hits(searcher, "quokka kind:diff")
        assert not hits(searcher, "wombat kind:diff")
        told = "diffs: of 1 file only the first 200,000 characters are searched"
        assert told in ask(searcher, "the").notes
        kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2_000_000 < len(large)


def test_nothing_else_is_found(run: Path, searcher: Searcher) -> None:
    """A word's hits are those that reading every file finds; prompts and papers aren't searched."""
    answers: dict[str, set[Key]] = {}
    for where, _, trajectory in trajectories(run):
        for kind, _, text in spoken(trajectory):
            for word in {w.lower() for w in WORD.findall(text) if kind == "answer"}:
                answers.setdefault(word, set()).add(where)
    rng = random.Random(2)
    for word in rng.sample(sorted(answers), 25):
        found = hits(searcher, f'"{word}" kind:answer')
        assert set(map(key, found)) == answers[word]
        for hit in found:
            marked = {hit.snippet.text[a:b].lower() for a, b in hit.snippet.marks}
            assert marked == {word}
        begun = hits(searcher, f"{word[:4]} kind:answer")  # finds what begins like this, too
        assert set(map(key, begun)) == {
            k for other, keys in answers.items()
            if (other == word[:4] if len(word[:4]) < 3 else other.startswith(word[:4]))
            for k in keys
        }  # fmt: skip
    prompts = open_record(run).repo().read("baseline")
    for path in ("prompts/challenger.md", "prompts/quality_verifier.md"):
        line = max(prompts[path].decode().splitlines(), key=len)
        assert not ask(searcher, f'"{line}"').count
    assert not ask(searcher, "xylophonic").count


def test_the_best_come_first_or_of_too_many_the_newest(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for group in (g for g in ask(searcher, "answer", 3).groups if g.kind in KINDS):
        assert group.ranked
        scores = sorted(
            (h.score for h in hits(searcher, f"answer kind:{group.kind}")), reverse=True
        )
        assert [h.score for h in group.hits] == scores[:3]
        assert group.count == len(scores)
    monkeypatch.setattr(lookup, "MOST_RANKED", 5)
    few = [g for g in ask(searcher, "answer", 3).groups if g.kind in KINDS]
    assert few
    for group in few:
        assert not group.ranked
        newest = sorted(h.iteration for h in hits(searcher, f"answer kind:{group.kind}"))[-3:]
        assert [h.iteration for h in group.hits] == newest[::-1]


def test_filters_alone_list_what_they_let_through(run: Path, searcher: Searcher) -> None:
    """The newest first; a question that was asked before in its rollout is no new text."""
    wanted = set[tuple[Key, int]]()
    for where, _, found in trajectories(run):
        asked = set[str]()
        for number, r in enumerate(found["rounds"], start=1):
            if r["question"] not in asked and r["outcome"] == "too_easy":
                wanted.add((where, number))
            asked.add(r["question"])
    found = hits(searcher, "kind:question outcome:too_easy")
    assert {(key(hit), hit.round) for hit in found} == wanted
    assert [hit.iteration for hit in found] == sorted((h.iteration for h in found), reverse=True)
    assert all(hit.snippet.text and not hit.snippet.marks for hit in found)
    kinds = {group.kind for group in ask(searcher, "candidate:1").groups}
    assert {"summary", "diff", "question", "answer", "paper"} <= kinds
    paper = found[0].paper
    assert {hit.paper for hit in hits(searcher, f'paper:"{paper}"')} == {paper}


def test_another_run_in_the_same_folder_is_another(run: Path) -> None:
    with closing(search.Searchers()) as searchers:
        one = searchers.of(open_record(run))
        assert searchers.of(open_record(run)) is one
        with closing(sqlite3.connect(run / "run.db")) as db, db:
            db.execute("UPDATE events SET at = at - 9 WHERE seq = 1")
        other = searchers.of(open_record(run))
        assert other.home != one.home


def test_a_run_that_goes_on_is_indexed_where_it_grew(run: Path, tmp_path: Path) -> None:
    *kept, last = [path for _, path, _ in trajectories(run)]
    aside = tmp_path / "aside"
    aside.mkdir()
    late = kept[::2]
    for n, path in enumerate(late):
        path.rename(aside / str(n))
    total = len(kept) + 1
    asked: list[tuple[int, int]] = []
    with closing(open_searcher(open_record(run))) as one:
        before = ask(one, "round").progress
        assert not before.complete  # nobody has looked yet, and the answer says so
        one.index_now(everything)
        first = ask(one, "the").count
        assert ask(one, "the").progress.total == total - len(late)
        for n, path in enumerate(late):
            (aside / str(n)).rename(path)
        one.index_now(lambda *progress: asked.append(progress) or True)
        assert asked[0] == (total - len(late), total)  # only what is new is read
        assert ask(one, "the").progress.done == total
        second = ask(one, "the").count
        assert second > first
        where = {key(h) for h in hits(one, "the")}
        text = json.loads(last.read_text())
        last.unlink()
        assert not any(run / h.file == last for h in hits(one, "the"))  # at once
        one.index_now(everything)
        assert ask(one, "the").count < second
        text["rounds"][0]["question"] = "Which okapi was it?"  # there anew, and other
        last.write_text(json.dumps(text))
        one.index_now(everything)
        (hit,) = hits(one, "okapi")
        assert hit.snippet.text == "Which okapi was it?"
        assert where == {key(h) for h in hits(one, "the")}


def test_the_writer_process_brings_the_index_up_to_date(run: Path) -> None:
    """As the page has it: a search starts it, a later one has what it found."""
    with closing(open_searcher(open_record(run))) as one:
        ask(one, "the")
        assert one._writer is not None
        one._writer.wait()
        answer = ask(one, "the")
        assert answer.progress.complete
        assert not answer.notes
        assert {g.kind for g in answer.groups} >= {"question", "answer", "reason"}


def test_hostile_trajectories_are_text_and_stay_within_the_run(
    run: Path, tmp_path: Path, searcher: Searcher
) -> None:
    *_, (_, path, good) = trajectories(run)
    folder, before_that = path.parent, path.read_bytes()
    good["rounds"][0] |= {"question": HOSTILE, "context": "long " + "q" * 1_000_000 + " longest"}
    good["paper"] = {"id": "h/../<b>", "title": HOSTILE}
    good["steps"] = [{"kind": "chat", "agent": HOSTILE, "reply": {"content": '{"a":' * 5_000}}]
    name = "h_.._b_-" + hashlib.sha256(b"h/../<b>").hexdigest()[:8]
    name = name.replace("h_.._b_", re.sub(r"[^\w.-]", "_", "h/../<b>"))
    (folder / f"{name}.1.json").write_text(json.dumps(good))
    bad = {
        "cut.1.json": json.dumps(good)[:-9], "deep.1.json": "[" * 200_000,
        "bytes.1.json": "\x00\x01", "empty.1.json": "",
    }  # fmt: skip
    odd = {  # JSON, and searched as far as it is a trajectory
        "list.1.json": "[[]]", "none.1.json": "null",
        "steps.1.json": json.dumps(good | {"steps": 3, "rounds": []}),
        "bits.1.json": json.dumps({"rounds": [3, {"rubric": {"a": "quokka"}, "question": ["x"]}],
                                   "steps": [None, {"kind": ["chat"]}, {"kind": "evaluate"}]}),
    }  # fmt: skip
    none = {f"big.{10**8}.json": "{}", "far.json.json": "{}", "\udcff.1.json": "{}"}
    (folder.parent.parent / ("9" * 30) / "val").mkdir(parents=True)
    for other, text in (bad | odd | none).items():
        (folder / other).write_text(text)
    (folder / "latin.1.json").write_bytes(b'{"\xff": 1}')
    outside = tmp_path / "outside"
    outside.mkdir()
    secret = json.dumps(good | {"rounds": [good["rounds"][0] | {"question": "aardvark"}]})
    (outside / path.name).write_text(secret)
    (folder / "link.1.json").symlink_to(outside / path.name)
    (folder.parent / "linked").symlink_to(outside)
    os.mkfifo(folder / "pipe.1.json")
    before = ask(searcher, "the").progress
    searcher.index_now(everything)
    answer = ask(searcher, "zebrafish kind:question")
    assert answer.progress.unreadable == len(bad) + 1
    assert answer.progress.done == answer.progress.total == before.total + len(bad | odd) + 2
    assert [hit.kind for hit in hits(searcher, "quokka")] == ["rubric"]
    [[hit]] = [group.hits for group in answer.groups]
    assert "<script>alert(1)</script>" in hit.snippet.text
    assert hit.paper == "h/../<b>"
    assert [hit.snippet.text[a:b] for a, b in hit.snippet.marks] == ["zebrafish"]
    for word in ("long", "longest"):
        [[long]] = [group.hits for group in ask(searcher, f"{word} qqq kind:context").groups]
        assert len(long.snippet.text) < 700
    assert not ask(searcher, "aardvark").count
    assert str(path.relative_to(run)) in {h.file for h in hits(searcher, "the")}
    (outside / "same").write_bytes(before_that)
    path.unlink()
    path.symlink_to(outside / "same")
    assert str(path.relative_to(run)) not in {h.file for h in hits(searcher, "the")}


def test_no_query_is_an_error(searcher: Searcher) -> None:
    rng = random.Random(3)
    pieces = [
        '"', "'", "*", "(", ")", ":", "^", "-", "+", "{", "}", "AND", "OR", "NOT", "NEAR", "NEAR/2",
        "text:", "kind:", "kind:question", "candidate:", "candidate:1", "candidate:99999999999",
        "candidate:-1", "candidate:²", "paper:", 'paper:"', "outcome:too_easy", "iteration:0x1",
        "part:'; DROP TABLE words; --", "\0", "\x02", "\ud800", "\u202e", "é", "漢字", "🦓", " ",
        "\t\n", "the", "a", "rank", "rowid", "words", "%", "_", "\\", "build_rubric", "x" * 5_000,
    ]  # fmt: skip
    queries = ["", *pieces]
    for _ in range(300):
        glue = rng.choice(["", " "])
        queries.append(glue.join(rng.choices(pieces, k=rng.randint(1, 12))))
        queries.append(rng.randbytes(rng.randint(1, 40)).decode("latin-1"))
        queries.append("".join(chr(rng.randrange(0x11_0000)) for _ in range(rng.randint(1, 9))))
    assert ask(searcher, " ".join(f"w{n}" for n in range(500))).notes
    for typed in queries:
        answer = ask(searcher, typed, 2)
        assert not [note for note in answer.notes if "index" in note], typed
    assert ask(searcher, "the kind:nothing").notes
    assert not parse('+ - "*" NEAR:').wrong
    assert parse('"NEAR" AND').match == '"NEAR" AND "AND"*'  # words like any other


def test_the_run_s_folder_isn_t_touched(run: Path) -> None:
    def state() -> dict[str, tuple[bytes, int]]:
        # Not SQLite's shared memory: readers hold their places there.
        files = (p for p in run.rglob("*") if p.is_file() and p.suffix != ".db-shm")
        return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}

    before = state()
    with closing(open_searcher(open_record(run))) as one:
        one.index_now(everything)
        for typed in ("the", "leak kind:diff", "round outcome:too_easy"):
            ask(one, typed)
    assert state() == before


KILLED = """
import os, signal, sys
from pathlib import Path
from analysis.search import index as search_index
from analysis.search import searcher as search
search_index.BATCH, add, count = 4, search_index._add, [0]
def counted(*arguments):
    count[0] += 1
    if count[0] == 11:
        os.kill(os.getpid(), signal.SIGKILL)
    add(*arguments)
search_index._add = counted
search_index.write(Path(sys.argv[1]), search_index.Home(Path(sys.argv[2])), lambda *_: True)
"""


def test_an_index_outlasts_kills_damage_and_a_full_disk(run: Path) -> None:
    with closing(open_searcher(open_record(run))) as one:
        whole = [sys.executable, "-c", KILLED, str(run), str(one.home.folder)]
        assert subprocess.run(whole, check=False).returncode == -signal.SIGKILL
        one._looked = float("inf")  # no writer by itself
        assert ask(one, "the").progress.done == 8  # two whole batches
        # A disk without room: files can't grow beyond what the index has by now.
        size = sum(p.stat().st_size for p in one.home.folder.iterdir())
        code = "import sys; from analysis.search.index import main; main(*sys.argv[1:])"
        limited = subprocess.run(
            [sys.executable, "-c", code, str(run), str(one.home.folder)],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
            capture_output=True, check=True, text=True,
        )  # fmt: skip
        assert str(one.home.folder) in limited.stdout
        assert ask(one, "the").progress.done >= 8
        one.index_now(everything)
        expected = ask(one, "the")
        assert expected.progress.complete
        path = one.home.database()
        assert path is not None
        data = bytearray(path.read_bytes())
        data[8192:] = os.urandom(len(data) - 8192)
        path.write_bytes(data)
        path.with_name(path.name + "-wal").unlink(missing_ok=True)
        hurt = ask(one, "the")
        assert any("damaged" in note or "can't be read" in note for note in hurt.notes)
        one.index_now(everything)
        again = ask(one, "the")
        assert not again.notes
        assert (again.count, again.progress) == (expected.count, expected.progress)
        assert len(list(one.home.folder.glob("*.db"))) == 1


def test_two_viewers_share_one_index(run: Path) -> None:
    record = open_record(run)
    with closing(open_searcher(record)) as one, closing(open_searcher(record)) as other:
        assert one.home == other.home
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda s: s.index_now(everything), (one, other)))
        for searcher in (one, other):  # who came second may have left it to the first
            searcher.index_now(everything)
        assert ask(one, "the").count == ask(other, "the").count
        assert ask(other, "the").progress.complete


def test_the_cache_is_bounded_or_done_without(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = open_record(run)
    with closing(open_searcher(record)) as one:
        one.index_now(everything)
    cache = one.home.folder.parent
    monkeypatch.setattr(search_index, "MOST_CACHED", 1)
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    with closing(open_searcher(record)) as used, closing(open_searcher(open_record(copy))) as new:
        assert set(cache.iterdir()) == {used.home.folder, new.home.folder}
    with closing(open_searcher(open_record(copy))):
        assert list(cache.iterdir()) == [new.home.folder]  # nobody is at the other any more
    monkeypatch.setattr(search_index, "MOST_BYTES", 1)
    with closing(open_searcher(record)) as full:
        full.index_now(everything)
        answer = ask(full, "the")
        assert any("limit" in note for note in answer.notes)
        assert not answer.progress.complete
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with closing(open_searcher(record)) as homeless:
        homeless.index_now(everything)
        answer = ask(homeless, "the")
        assert answer.progress.complete
        assert [note for note in answer.notes if "can't be written" in note]
        where = homeless.home.folder
        assert where.is_dir()
    assert not where.exists()


async def test_the_page(run: Path) -> None:
    *_, (where, path, good) = trajectories(run)
    good["rounds"][0]["question"] = HOSTILE
    path.write_text(json.dumps(good))
    with closing(open_searcher(open_record(run))) as one:
        one.index_now(everything)
    async with TestClient(TestServer(application(shelves([run])))) as client:
        headers = {"Host": "localhost"}
        answer = await client.get("/run/search", params={"q": "zebrafish"}, headers=headers)
        assert answer.status == 200
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        text = await answer.text()
        assert "<mark>zebrafish</mark>" in text
        assert "&lt;script&gt;alert(1)" in text
        assert "<script>alert" not in text
        assert "⟨U+202E⟩" in text
        assert "\u202e" not in text
        candidate, part, iteration, paper = where
        story = f"/run/papers/{candidate}/{part}/{iteration}/{paper}"
        assert f'href="{story}#paper-round-1"' in text
        answer = await client.get(story, headers=headers)
        assert 'id="paper-round-1"' in await answer.text()
        answer = await client.get("/run/search", params={"q": "the"}, headers=headers)
        many = await answer.text()
        assert "kind%3Aquestion" in many
        assert 'href="/run/candidates/' in many
        for odd in ("", '"', "\x00", "<i>", "kind:x", "kind:diff", "%FF"):
            answer = await client.get(f"/run/search?q={odd}", headers=headers)
            assert answer.status == 200
            assert "<i>" not in await answer.text()


def test_the_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where, path, trajectory = next(trajectories(run))
    question = trajectory["rounds"][0]["question"]
    capsys.readouterr()
    arguments = [f'"{question}"', f"candidate:{where[0]}", f"paper:{where[3]}"]
    assert invoke(app, ["search", str(run), *arguments]) == 0
    out = capsys.readouterr().out
    assert out.startswith("SIMULATED")
    assert str(path.parent) in out
    assert question.split()[0] in out
    assert invoke(app, ["search", str(run), "kind:summary", "the"]) == 0
    assert f"metaopt show {run} " in capsys.readouterr().out
    assert invoke(app, ["search", str(run / "papers"), "the"]) == 2
