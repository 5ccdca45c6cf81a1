"""What users hand in: papers, splits, configs.  Every mistake is one line that names the place."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from inner_agent.calls import CallStore
from inner_agent.errors import UserError
from inner_agent.llm import Reply
from inner_agent.papers import Paper, find_papers, read_paper
from inner_agent.settings import INNER_ROLES
from inner_agent.synthetic import write_papers
from metaopt.config import RunConfig, freeze, load_config, refuse_other_config
from metaopt.lab import open_lab
from metaopt.monitor import Monitor
from metaopt.splits import PARTS, make_split, read_split, write_split

TEXT = "# A Title\n\nSome text.\n"


def refused(work: Callable[[], Any], *parts: str) -> None:
    """``work`` raises a one-line ``UserError`` that has all of ``parts`` in it."""
    with pytest.raises(UserError) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


# ---- papers


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "the paper is empty"),
        (b" \n\t\n", "the paper is empty"),
        ("\ufeff\u00a0\u3000\n".encode(), "the paper is empty"),
        (b"%PDF-1.7\n\0\1\2", "binary, not text"),
        (b"caf\xe9", "not UTF-8 at byte 3"),
    ],
)
def test_an_unusable_paper_is_named(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "good.md").write_text(TEXT)
    (tmp_path / "bad.txt").write_bytes(data)
    refused(lambda: find_papers(tmp_path), str(tmp_path / "bad.txt"), why)


def test_a_folder_of_papers(tmp_path: Path) -> None:
    refused(lambda: find_papers(tmp_path / "none"), "no such folder")
    refused(lambda: find_papers(tmp_path), "no papers")
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbf\n## From Windows\r\n\r\nText\r\n")
    (tmp_path / "a.md").write_text(TEXT)
    (tmp_path / "notes.pdf").write_bytes(b"\0")
    papers = find_papers(tmp_path)
    assert [(p.id, p.title) for p in papers.values()] == [
        ("a", "A Title"), ("b", "From Windows"),
    ]  # fmt: skip
    assert read_paper(papers["a"], 100).text == TEXT
    (tmp_path / "a.md").write_text(TEXT + "more")
    refused(lambda: read_paper(papers["a"], 100), "a.md: changed while in use")
    (tmp_path / "a.txt").write_text(TEXT)
    refused(lambda: find_papers(tmp_path), "paper id 'a' is there twice")
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text(TEXT)
    refused(lambda: find_papers(tmp_path), ".txt: its name isn't UTF-8; rename it")


def test_a_manifest_of_papers(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(TEXT)
    digest = hashlib.sha256(TEXT.encode()).hexdigest()
    manifest = tmp_path / "papers.jsonl"

    def with_rows(*rows: Any) -> dict[str, Paper]:
        lines = (r if isinstance(r, str) else json.dumps(r) for r in rows)
        manifest.write_text("\n".join(lines), encoding="utf-8")
        return find_papers(tmp_path)

    row = {"id": "x/1", "file": "x.txt", "sha256": digest, "topic": "t", "license": "CC0"}
    paper = with_rows(row, "")["x/1"]
    assert (paper.title, paper.topic, paper.licence) == ("A Title", "t", "CC0")
    assert with_rows(row | {"title": "Other"})["x/1"].title == "Other"
    parted = json.dumps(row | {"title": "A\u2028B\x85C"}, ensure_ascii=False)
    assert with_rows(parted)["x/1"].title == "A\u2028B\x85C"
    refused(lambda: with_rows({"id": "a", "file": "x\0.txt"}), "papers.jsonl:1: needs 'file'")
    refused(lambda: with_rows(row, row), "'x/1' is there twice")
    refused(lambda: with_rows(row, "{"), "papers.jsonl:2: not JSON")
    refused(lambda: with_rows(row, '{"id": "a", "id": "b"}'), "papers.jsonl:2: duplicate key 'id'")
    refused(lambda: with_rows(row, []), "papers.jsonl:2: a row is a JSON object")
    refused(lambda: with_rows({"file": "x.txt"}), "papers.jsonl:1: needs 'id'")
    refused(lambda: with_rows({"id": 1, "file": "x.txt"}), "papers.jsonl:1: needs 'id'")
    refused(lambda: with_rows({"id": "a", "file": "no.txt"}), "no.txt: can't be read")
    refused(lambda: with_rows(row | {"sha256": "0" * 64}), "x.txt: its sha256 isn't the manifest's")
    manifest.write_bytes(b"\xff")
    refused(lambda: find_papers(manifest), "papers.jsonl: not UTF-8 at byte 0")


def test_a_long_paper_is_cut_at_a_section_and_says_so(tmp_path: Path) -> None:
    section = "## Part\n\n" + "word " * 100 + "\n\n"  # 511 characters
    (tmp_path / "p.md").write_text("# Title\n\n" + section * 10)
    paper = find_papers(tmp_path)["p"]
    whole = read_paper(paper, 10_000)
    assert whole.cut_tokens == 0
    cut = read_paper(paper, 700)  # 2,800 characters: five parts and a bit
    assert cut.text == "# Title\n\n" + (section * 5).rstrip() + "\n"
    assert cut.cut_tokens == (len(whole.text) - len(cut.text)) // 4
    assert read_paper(paper, 700) == cut
    (tmp_path / "q.txt").write_text("one long line " * 1_000)
    assert len(read_paper(find_papers(tmp_path)["q"], 100).text) == 400


# ---- splits


def many(topics: dict[str, int]) -> dict[str, Paper]:
    """Made-up papers, by id."""
    names = [(f"{t}{n:02}", t) for t, size in topics.items() for n in range(size)]
    return {i: Paper(i, i, Path(i), hashlib.sha256(i.encode()).hexdigest(), t) for i, t in names}


def test_a_split_is_disjoint_stratified_and_repeatable() -> None:
    papers = many({"a": 60, "b": 30, "c": 10})
    sizes = {"train": 50, "val": 25, "test": 25}
    split = make_split(papers, sizes, seed=1)
    ids = [row["id"] for part in PARTS for row in split[part]]
    assert len(set(ids)) == len(ids) == 100
    for part, size in sizes.items():
        topics = Counter(papers[row["id"]].topic for row in split[part])
        for topic, share in {"a": 0.6, "b": 0.3, "c": 0.1}.items():
            assert abs(topics[topic] - share * size) <= 1.5
    assert make_split(dict(reversed(papers.items())), sizes, seed=1) == split
    assert make_split(papers, sizes, seed=2) != split
    some = make_split(papers, {"train": 5, "val": 5, "test": 0}, seed=1)
    assert [len(some[part]) for part in PARTS] == [5, 5, 0]
    refused(lambda: make_split(papers, {**sizes, "test": 26}, 1), "101 papers wanted, 100 there")


def test_a_split_is_checked_against_the_papers(tmp_path: Path) -> None:
    papers = many({"a": 4})
    path = tmp_path / "split.json"
    good = make_split(papers, {"train": 2, "val": 1, "test": 1}, seed=0)
    write_split(good, path)
    split = read_split(path, papers)
    assert {p: [x.id for x in split[p]] for p in PARTS} == {
        p: [row["id"] for row in good[p]] for p in PARTS
    }

    def read(**parts: Any) -> Any:
        path.write_text(json.dumps({"train": ["a00"], "val": ["a01"]} | parts))
        return read_split(path, papers)

    assert [p.id for p in read(test=["a02"])["test"]] == ["a02"]
    refused(lambda: read(test=["a00"]), "'a00' is in train and in test")
    refused(lambda: read(val=["a01", "a01"]), "'a01' is in val and in val")
    refused(lambda: read(val=["zz"]), "val names 'zz', which isn't among the papers")
    refused(lambda: read(val=[{"id": "a01", "sha256": "0"}]), "'a01' has changed")
    refused(lambda: read(train=[]), "train is empty")
    for rows in ("a00", [1], {"a00": 1}, [{"sha256": "0"}]):
        refused(lambda rows=rows: read(val=rows), "val must be a list of ids")
    path.write_text("[]")
    refused(lambda: read_split(path, papers), "a split is an object")
    path.write_text("{")
    refused(lambda: read_split(path, papers), str(path), "not JSON")
    path.unlink()
    refused(lambda: read_split(path, papers), "can't be read", "metaopt split")


# ---- configs


def write_config(folder: Path, extra: str = "", papers: str = "papers") -> Path:
    """A valid config file with ``extra`` put in front."""
    roles = (*INNER_ROLES, "analyzer", "implementer")
    models = "\n".join(f'{r} = {{ endpoint = "e", model = "sim-{r}" }}' for r in roles)
    path = folder / "run.toml"
    path.write_text(
        f'{extra}\n[papers]\npath = "{papers}"\nsplit = "split.json"\n'
        f'[endpoints.e]\nkind = "simulator"\n[models]\n{models}\n'
    )
    return path


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ("serch.iterations=5", ["unknown key 'serch'", "did you mean 'search'?"]),
        ("search.iteration=5", ["'search.iteration'", "'iterations'"]),
        ("models.weak.temprature=1", ["'models.weak.temprature'", "'temperature'"]),
        ("endpoints.e.price.inptu=1", ["'endpoints.e.price.inptu'", "'input'"]),
        ("budget.roles.weak.usdd=1", ["'budget.roles.weak.usdd'", "'usd'"]),
        ("criteria.gap_min=20", ["criteria.gap_min", "less than or equal to 1"]),
        ("criteria.weak_avg_max=nan", ["criteria.weak_avg_max"]),
        ("criteria.strong_avg_min=0.96", ["criteria", "strong_avg_min must be below"]),
        ("budget.usd=nan", ["budget.usd"]),
        ("limits.idle_s=0", ["limits.idle_s"]),
        ("models.weak.attempts=5", ["weak.attempts and models.strong.attempts must be equal"]),
        ("models.weak.endpoint=other", ["models.weak.endpoint 'other' isn't in [endpoints] (e)"]),
        ("models.judge=1", ["models.judge"]),
        ("models.solver={}", ["unknown key 'models.solver'", "known: main_agent, challenger"]),
        ("models.waek={}", ["unknown key 'models.waek'", "did you mean 'weak'?"]),
        ("endpoints.e.kind=openai", ["endpoints.e", "base_url must start with http"]),
        ("papers.path=$NO_SUCH_VARIABLE/x", ["papers.path", "NO_SUCH_VARIABLE isn't set"]),
        ("papers.path.x=1", ["--set", "path isn't a table"]),
        ("seed", ["--set 'seed'", "key=value"]),
        ("=3", ["--set '=3'", "key=value"]),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, change: str, parts: list[str]) -> None:
    path = write_config(tmp_path)
    refused(lambda: load_config(path, [change]), *parts)


def test_a_file_that_is_no_config(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    refused(lambda: load_config(path), str(path), "can't be read")
    path.write_text("seed = = 1")
    refused(lambda: load_config(path), str(path), "not TOML", "line 1")
    path.write_bytes(b"\xff")
    refused(lambda: load_config(path), "not TOML")
    path.write_text("seed = 1")
    refused(lambda: load_config(path), str(path), "papers")
    text = write_config(tmp_path).read_text().replace("judge =", "# judge =")
    path.write_text(text)
    refused(lambda: load_config(path), "models.judge is missing")


def test_overrides_paths_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERS", str(tmp_path / "far"))
    path = write_config(tmp_path, "seed = 1", papers="$PAPERS/cs")
    sets = ["seed=7", "models.weak.model=gpt-5", "criteria={preset='prose'}", "budget.usd=1.5"]
    config = load_config(path, [*sets, "harness.repo=../mine"])
    assert (config.seed, config.models["weak"].model, config.budget.usd) == (7, "gpt-5", 1.5)
    assert (config.criteria.weak_avg_max, config.criteria.zeros_allowed) == (0.5, True)
    assert config.papers.path == str(tmp_path / "far" / "cs")
    assert config.papers.split == str(tmp_path / "split.json")
    assert config.harness.repo == str(tmp_path.parent / "mine")
    for url in ("https://example.org/x.git", "git@example.org:me/x.git", "builtin"):
        assert load_config(path, [f"harness.repo={url}"]).harness.repo == url
    frozen = tmp_path / "frozen.toml"
    frozen.write_text(freeze(config))
    assert load_config(frozen) == config


def test_a_run_resumes_under_its_own_config_only(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    frozen = tmp_path / "frozen.toml"
    frozen.write_text(freeze(load_config(path)), encoding="utf-8")

    def resume(*changes: str) -> RunConfig:
        config = load_config(path, changes)
        refuse_other_config(frozen, config, tmp_path)
        return config

    resume()
    resume("budget.usd=3", "budget.roles.weak.calls=1", "budget.wall_s=9", "search.iterations=99",
           "limits.rollouts_in_flight=2", "endpoints.e.max_in_flight=1")  # fmt: skip
    changes = ["seed=1", "criteria.gap_min=0.1", "budget.usd=3", "models.weak.temperature=0.5"]
    refused(
        lambda: resume(*changes),
        "other values of criteria.gap_min, models.weak.temperature, seed;",
        "another --out",
    )
    refused(lambda: resume("endpoints.new.kind=simulator"), "endpoints.new.kind")


async def test_a_run_that_never_opened_binds_nobody(tmp_path: Path) -> None:
    """A wrong harness or split is mended in the config, and the same command works."""
    path, out = write_config(tmp_path, papers="papers"), tmp_path / "run"
    ids = [p.id for p in write_papers(tmp_path / "papers", 3)]
    refused(lambda: open_lab(load_config(path), out, Monitor()), "metaopt split")
    parts = {"train": ids[:1], "val": ids[1:2], "test": ids[2:]}
    (tmp_path / "split.json").write_text(json.dumps(parts))
    wrong = load_config(path, [f"harness.repo={tmp_path}/none", "seed=5"])
    refused(lambda: open_lab(wrong, out, Monitor()), "can't be fetched")
    lab = open_lab(load_config(path), out, Monitor())
    assert lab.split.keys() == {"train", "val"}  # the test part is sealed
    refused(lambda: open_lab(load_config(path), out, Monitor()), "is on this run; stop it first")
    await lab.close()
    with closing(CallStore(out / "calls.db")) as calls:  # from the first paid reply on it binds
        calls.put(b"key", "sample", "weak", Reply("an answer"), 0.0, 0.0)
    again = load_config(path, ["seed=5"])
    refused(lambda: open_lab(again, out, Monitor()), "other values of seed;")


async def test_two_papers_never_share_a_trajectory_file(tmp_path: Path) -> None:
    path = write_config(tmp_path, papers="papers")
    ids = [p.id for p in write_papers(tmp_path / "papers", 2)]
    (tmp_path / "split.json").write_text(json.dumps({"train": ids[:1], "val": ids[1:]}))
    lab = open_lab(load_config(path), tmp_path / "run", Monitor())
    odd = ["a/b", "a_b", "a b", ".a", "a", "x" * 300, "x" * 301, "..", "é"]
    paths = {lab.rollouts.trajectory_path(1, 0, "val", name) for name in odd}
    await lab.close()
    assert len(paths) == len(odd)
    assert {p.parent for p in paths} == {tmp_path / "run" / "trajectories" / "0" / "val"}
    assert all(len(p.name.encode()) < 255 for p in paths)
