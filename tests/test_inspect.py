"""``metaopt inspect``: planted faults are found, and every figure is what plain arithmetic says."""

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import exp, log, sqrt
from pathlib import Path
from random import Random
from statistics import fmean, quantiles
from typing import Any

import numpy as np
import pytest
from fake_openai import FakeOpenAI, failure

from analysis.cli import app
from analysis.inspect import diversity as variety
from analysis.inspect import embeddings
from analysis.inspect.near import NEAR, repeats
from analysis.inspect.rules import METRICS
from analysis.inspect.words import numbers
from metaopt.cli import invoke

ROOT = Path(__file__).parents[1]
PAPERS = 12
VOCABULARY = [f"{a}{b}" for a in ("ka", "lo", "mi", "nu", "pe") for b in "bcdfghjklmnpqrstvwxz"]


def item(question: str, **changed: Any) -> dict[str, Any]:
    """An item of a data set that nothing is wrong with, but for what is changed."""
    rubric = [{"criterion": f"names the {part} of the effect", "weight": weight}
              for part, weight in (("cause", 5), ("place", 3), ("size", 2))]  # fmt: skip
    return {
        "format": 1, "simulated": True, "paper": {"id": question, "sha256": ""},
        "question_type": "why", "reasoning_skills": ["causal reasoning"],
        "context": f"A setting for {question}", "question": question,
        "reference_answer": "Since the valve is shut before the pump starts, the pressure rises.",
        "rubric": rubric, "weak_avg": 0.25, "strong_avg": 0.75, "gap": 0.5, "rounds": 2,
    } | changed  # fmt: skip


def sentence(rng: Random, words: int) -> str:
    return " ".join(rng.choice(VOCABULARY) for _ in range(words))


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def inspected(data: Path, *more: str) -> dict[str, Any]:
    """What the command writes as JSON."""
    out = data.parent / "inspection.json"
    assert invoke(app, ["inspect", str(data), "--json", str(out), *more]) == 0
    return dict(json.loads(out.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set from the simulator."""
    out = tmp_path_factory.mktemp("inspect") / "data"
    harness = ROOT / "populations/classics/published_fixes.diff"
    given = ["--config", str(ROOT / "configs/demo.toml"), "--out", str(out)]
    given += ["--papers", f"synthetic:{PAPERS}:0", "--harness", str(harness)]
    assert invoke(app, ["generate", *given]) == 0
    return out


# A whole data set.


def test_a_made_data_set_is_told_as_it_is(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = made.parent / "figure.png"
    found = inspected(made, "--plot", str(figure))
    told = capsys.readouterr().out
    assert told.startswith("SIMULATED")
    assert figure.read_bytes().startswith(b"\x89PNG")

    rows = lines_of(made / "items.jsonl")
    figures, whole = found["figures"], found["inspection"]
    assert found["simulated"] is True
    assert figures["items"] == len(rows) > 2
    for key in ("weak", "strong", "gap"):
        values = [row[key if key == "gap" else f"{key}_avg"] for row in rows]
        assert figures[key] == pytest.approx(fmean(values))
        cuts = quantiles(values, n=20, method="inclusive")
        expected = [cuts[k] for k in (0, 4, 9, 14, 18)]
        assert whole[key]["quantiles"] == pytest.approx(expected)
    assert figures["rounds"] == fmean(row["rounds"] for row in rows)
    types = Counter(row["question_type"] for row in rows)
    assert whole["types"]["counts"] == types
    shares = [n / len(rows) for n in types.values()]
    assert figures["effective_types"] == pytest.approx(exp(-sum(p * log(p) for p in shares)))
    weights = [c["weight"] for row in rows for c in row["rubric"]]
    assert figures["criteria"] == pytest.approx(len(weights) / len(rows))
    top = [max(ws) / sum(ws) for ws in ([c["weight"] for c in row["rubric"]] for row in rows)]
    assert figures["top_weight"] == pytest.approx(fmean(top))
    assert figures["leaks"] == 0  # the audit lets none through


def test_the_corpus_is_what_the_database_holds(made: Path) -> None:
    found = inspected(made)
    corpus = found["inspection"]["corpus"]
    with sqlite3.connect(made / "results.db") as db:
        rows = [(p, json.loads(data)) for p, data in db.execute("SELECT paper, data FROM results")]
    assert corpus["papers"] == len(rows) == PAPERS
    assert corpus["reasons"] == Counter(r["reason"] for _, r in rows)
    assert corpus["calls"] == sum(r["calls"] for _, r in rows)
    outcomes: Counter[str] = Counter()
    for _, result in rows:
        outcomes.update(result["outcomes"])
    assert corpus["outcomes"] == outcomes
    lost = [r["rounds"] for _, r in rows if not r["passed"]]
    assert corpus["rounds_failed"]["mean"] == pytest.approx(fmean(lost))
    kept = {row["paper"]["id"] for row in lines_of(made / "items.jsonl")}
    assert found["figures"]["coverage"] == len(kept) / PAPERS
    manifest = next((made / "cache").glob("synthetic-*/papers.jsonl"))
    topic = {row["id"]: row["topic"] for row in lines_of(manifest)}
    expected = {t: [n, 0] for t, n in Counter(topic[p] for p, _ in rows).items()}
    for paper in kept:
        expected[topic[paper]][1] += 1
    assert corpus["topics"] == expected
    covered = sum(n > 0 for _, n in expected.values())
    assert found["figures"]["topics_covered"] == covered / len(expected)


def test_a_line_that_is_still_being_written_is_left_out(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    shutil.copytree(made, out)
    with open(out / "items.jsonl", "a", encoding="utf-8") as file:
        file.write('{"format": 1, "simu')
    assert inspected(out)["figures"] == inspected(made)["figures"]


def test_what_passed_and_was_left_out_is_told(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a question that repeats, or because enough were kept: which isn't recorded."""
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "data"
    shutil.copytree(made, out)
    lines = (out / "items.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (out / "items.jsonl").write_text("".join(lines[:-1]), encoding="utf-8")
    inspected(out)
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    flat = " ".join(told.split())
    assert "1 rollout that passed: the question repeats, or there were enough" in flat
    assert f"{len(lines) - 1} passed, " in flat
    assert "1 passed and left out" in flat


def test_planted_faults_are_counted(made: Path, tmp_path: Path) -> None:
    """Beside the made items: a copy, a near-copy, a leak, bare figures, a penalty, no type."""
    rng = Random(1)
    rows = lines_of(made / "items.jsonl")
    n, before = len(rows), inspected(made)["figures"]
    text = sentence(rng, 40)
    original = item(f"{text}?", context=sentence(rng, 60))
    copy = item(f"  {text.upper()}!", context=sentence(rng, 60))
    near = item(f"{text} {sentence(rng, 2)}", context=sentence(rng, 60))
    leak = item(sentence(rng, 20), context=f"{sentence(rng, 9)} {original['reference_answer']}")
    figures = [{"criterion": f"gives {n} percent", "weight": 4} for n in (37, 52)]
    figures += [{"criterion": "gives 64 of them", "weight": 1}]
    bare = item(sentence(rng, 20), context=f"{sentence(rng, 20)} 64", rubric=figures)
    untyped = item(sentence(rng, 20), question_type="", context=sentence(rng, 30))
    untyped["rubric"] = [*untyped["rubric"], {"criterion": "is too long", "weight": -5}]
    data = write(tmp_path / "set.jsonl", [*rows, original, copy, near, leak, bare, untyped])
    found = inspected(data)
    after, total = found["figures"], n + 6

    assert before["duplicates"] == 0
    assert after["duplicates"] == pytest.approx(1 / total)
    assert after["near_duplicates"] == pytest.approx(before["near_duplicates"] * n / total
                                                     + 2 / total)  # fmt: skip
    assert [n, n + 1, n + 2] in found["inspection"]["questions"]["clusters"]
    assert after["leaks"] == pytest.approx(1 / total)
    assert after["bare_number_items"] == pytest.approx(before["bare_number_items"] * n / total
                                                       + 1 / total)  # fmt: skip
    criteria = sum(len(row["rubric"]) for row in rows) + 18
    assert found["inspection"]["rubrics"]["positive"] == criteria
    assert found["inspection"]["rubrics"]["bare"] == 2  # 64 is in the context
    assert after["negative_criteria"] == pytest.approx(1 / (criteria + 1))
    assert after["negative_items"] == pytest.approx(1 / total)
    assert found["inspection"]["rubrics"]["penalties"]["most"] == 0.5
    assert after["untyped"] == pytest.approx(1 / total)
    assert found["inspection"]["corpus"] is None
    assert after["coverage"] is None


def test_what_is_in_another_set_too_is_found(made: Path, tmp_path: Path) -> None:
    rng = Random(2)
    same, near, own = sentence(rng, 30), sentence(rng, 30), sentence(rng, 30)
    quoted = sentence(rng, 13)
    ours = [
        item(same, context=sentence(rng, 40), reference_answer=sentence(rng, 12)),
        item(f"{near} {VOCABULARY[0]}", context=sentence(rng, 40), paper={"id": "known"}),
        item(sentence(rng, 9), context=sentence(rng, 40), reference_answer=f"so {quoted} then"),
        item(own, context=sentence(rng, 40), reference_answer=f"{quoted[:-2]} and no more"),
    ]
    other = [{"question": same}, {"question": near, "paper": {"id": "known"}},
             {"question": "What?", "context": f"here {quoted} there"}]  # fmt: skip
    found = inspected(
        write(tmp_path / "ours.jsonl", ours), "--against",
        str(write(tmp_path / "other.jsonl", other)), "--fail-on", "contaminated>75%",
    )  # fmt: skip
    shared = found["inspection"]["against"]
    assert (shared["exact"], shared["near"], shared["contexts"]) == (1, 2, 0)
    assert shared["long_runs"] == 3  # the near one too, by its 30 words
    assert shared["contaminated"] == 3
    assert found["figures"]["contaminated"] == 0.75
    assert shared["papers"] == 1
    assert [(t["item"], t["other"]) for t in shared["twins"]] == [(0, 0), (1, 1)]
    assert shared["twins"][1]["similarity"] == pytest.approx(28 / 29)
    itself = inspected(made, "--against", str(made))["figures"]
    assert itself["exact_overlap"] == itself["shared_papers"] == 1


# Each statistic against arithmetic of another kind.


def test_every_figure_of_three_items_is_what_counting_by_hand_gives(tmp_path: Path) -> None:
    def rubric(*lines: tuple[str, int]) -> list[dict[str, Any]]:
        return [{"criterion": text, "weight": weight} for text, weight in lines]

    twice = {
        "context": "A red valve closes and 64 litres flow.",
        "paper": {"id": "one"},
        "reference_answer": "Pressure falls, so a red valve closes and it stays shut.",
    }
    asked = "Why does the red valve close first?"
    rows = [
        item(
            asked,
            **twice,
            question_type="why",
            reasoning_skills=["x", "y"],
            weak_avg=0.2,
            strong_avg=0.6,
            gap=0.4,
            rounds=1,
            rubric=rubric(
                ("says why", 5), ("says when", 3), ("a red valve closes and 64 litres", 2)
            ),
        ),
        item(
            asked,
            **twice,
            question_type="how",
            reasoning_skills=["x"],
            weak_avg=0.3,
            strong_avg=0.8,
            gap=0.5,
            rounds=2,
            rubric=rubric(("gives 37 percent", 4), ("gives 64 litres", 4), ("is vague", -2)),
        ),
        item(
            "Who pays?",
            context="",
            question_type="",
            reasoning_skills=[],
            weak_avg=0.4,
            strong_avg=0.7,
            gap=0.3,
            rounds=6,
            reference_answer="Nobody ever pays for that.",
            rubric=rubric(("says who", 6), ("says how", 2)),
        ),
    ]
    two_to_one = exp(-(2 / 3 * log(2 / 3) + 1 / 3 * log(1 / 3)))
    expected = {
        "items": 3,
        "papers": 2,
        "duplicates": 1 / 3,
        "near_duplicates": 1 / 3,
        "largest_cluster": 2,
        "context_duplicates": 1 / 2,
        "context_near_duplicates": 1 / 2,
        "context_largest_cluster": 2,
        "vendi": two_to_one,
        "vendi_share": two_to_one / 3,
        "context_vendi": 1,
        "context_vendi_share": 1 / 2,
        "distinct_1": 9 / 16,
        "distinct_2": 7 / 13,
        "distinct_3": 5 / 10,
        "types": 2,
        "effective_types": 2,
        "top_type": 1 / 3,
        "untyped": 1 / 3,
        "skills": 2,
        "effective_skills": two_to_one,
        "top_skill": 2 / 3,
        "criteria": 8 / 3,
        "largest_weight": 6,
        "top_weight": (0.5 + 0.5 + 0.75) / 3,
        "negative_criteria": 1 / 8,
        "negative_items": 1 / 3,
        "penalties": 0.25 / 3,
        "bare_numbers": 1 / 7,
        "bare_number_items": 1 / 3,
        "leaks": 0,
        "told_criteria": 1 / 7,
        "answer_given": (3 / 9 + 3 / 9 + 0) / 3,
        "question_words": 7,
        "context_words": 8,
        "answer_words": 11,
        "weak": 0.3,
        "strong": 0.7,
        "gap": 0.4,
        "least_gap": 0.3,
        "rounds": 3,
        "coverage": None,
        "topics": None,
        "topics_covered": None,
        "contaminated": None,
        "exact_overlap": None,
        "near_overlap": None,
        "shared_papers": None,
    }
    found = inspected(write(tmp_path / "set.jsonl", rows))["figures"]
    assert found == {k: v if v is None else pytest.approx(v) for k, v in expected.items()}


def verifiable(question: str, answer: str, weak: float, strong: float, **more: Any) -> Any:
    """An item with one right answer."""
    scores = {"weak_avg": weak, "strong_avg": strong, "gap": strong - weak}
    answered = {"reference_answer": f"It follows.\nAnswer: {answer}", "rubric": []}
    return item(question, task="verifiable", **answered, **scores, **more)


NO_RUBRIC = {"criteria", "top_weight", "bare_numbers", "told_criteria", "high", "concerns"}


def test_final_answers_are_counted_as_by_hand(tmp_path: Path) -> None:
    rows = [
        verifiable("How long?", "12 ms", 0, 1, context="A red valve closes after 12 ms."),
        verifiable("How much?", "The 2.0", 0.25, 0.75),
        verifiable("How steep?", "$O(n \\log n)$", 0, 1),
        verifiable("What clips?", "Gradient clipping", 0.25, 1),
        verifiable("And what clips?", "the gradient clipping.", 0.25, 1),
        verifiable("Does it?", "YES", 0, 0.75),
        verifiable("Which one?", "A", 0, 0.75, context="One of four."),
        verifiable("How often?", "2.0", 0, 0.75),
    ]
    out = tmp_path / "figure.png"
    found = inspected(write(tmp_path / "set.jsonl", rows), "--plot", str(out))
    figures, answers = found["figures"], found["inspection"]["answers"]
    assert answers["answers"]["counts"] == {
        "Gradient clipping": 2, "The 2.0": 2, "12 ms": 1, "A": 1, "O(n \\log n)": 1, "YES": 1,
    }  # fmt: skip
    assert answers["kinds"]["counts"] == {"words": 5, "number": 2, "expression": 1}
    expected = {
        "answers": 6, "top_answer": 2 / 8, "number_answers": 2 / 8, "expression_answers": 1 / 8,
        "word_answers": 5 / 8, "guessable": 3 / 8, "shown_answers": 1 / 8, "unanswered": 0,
        "weak_never": 5 / 8, "strong_always": 4 / 8, "weak": 0.75 / 8, "gap": (7 - 0.75) / 8,
        "effective_answers": exp(-(4 / 8 * log(1 / 8) + 2 * 2 / 8 * log(2 / 8))), "leaks": 0,
    }  # fmt: skip
    assert {k: figures[k] for k in expected} == pytest.approx(expected)
    assert not figures.keys() & NO_RUBRIC
    assert out.stat().st_size > 10_000


REVIEW = {"weak_pattern": "w", "strong_pattern": "s", "gap_reading": "g"}


def test_reviews_are_counted_as_by_hand(tmp_path: Path) -> None:
    ask = "Ask for the bound, and for what it follows from."
    said = [("high", "None.", ask), ("high", "none", ask), ("medium", "Criterion 2 is style.", "")]
    rows = [
        item(f"Why {n}?", task="learnable", review=REVIEW | {
            "suitability": s, "rubric_concerns": c, "suggestion": x})
        for n, (s, c, x) in enumerate(said)
    ]  # fmt: skip
    out = tmp_path / "figure.png"
    found = inspected(write(tmp_path / "set.jsonl", rows), "--plot", str(out))
    expected = {"high": 2 / 3, "medium": 1 / 3, "low": 0, "concerns": 1 / 3, "criteria": 3,
                "suggestion_duplicates": 1 / 2, "suggestion_vendi": 1}  # fmt: skip
    assert {k: found["figures"][k] for k in expected} == pytest.approx(expected)
    assert "guessable" not in found["figures"]
    assert out.stat().st_size > 10_000


def test_a_task_of_ones_own_is_taken_by_its_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its module isn't asked for: there is none of that name."""
    own = item("Why is it so?", task="code")
    assert inspected(write(tmp_path / "graded.jsonl", [own]))["figures"]["criteria"] == 3
    bare = own | {"rubric": []}
    found = inspected(write(tmp_path / "answered.jsonl", [bare]))
    assert found["figures"]["word_answers"] == 1
    lines = bare | {"reference_answer": "def f():\n    return 1"}
    plot = ["--plot", str(tmp_path / "figure.png")]
    found = inspected(write(tmp_path / "neither.jsonl", [lines]), *plot)
    assert not found["figures"].keys() & (NO_RUBRIC | {"answers", "guessable"})
    assert "task code" in capsys.readouterr().out


def test_minhash_misses_no_near_pair_that_comparing_all_finds() -> None:
    """Texts in families of all similarities; all pairs compared, with sets of words in tuples."""
    rng = Random(3)
    texts = []
    for _ in range(30):
        words = sentence(rng, 40).split()
        texts.append(words)
        for _ in range(5):
            share = rng.random() * 0.2
            texts.append([w if rng.random() > share else rng.choice(VOCABULARY) for w in words])
    sets = [{tuple(t[k : k + 3]) for k in range(len(t) - 2)} for t in texts]
    near = {(a, b) for a, b in combinations(range(len(texts)), 2)
            if len(sets[a] & sets[b]) / len(sets[a] | sets[b]) >= NEAR}  # fmt: skip
    found = repeats([numbers(" ".join(t)) for t in texts])
    assert found.pairs == len(near) > 20
    group = list(range(len(texts)))
    for a, b in near:
        group = [group[a] if g == group[b] else g for g in group]
    members = [tuple(k for k, g in enumerate(group) if g == top) for top in set(group)]
    assert set(found.clusters) == {m for m in members if len(m) > 1}
    assert found.near == pytest.approx(1 - len(members) / len(texts))
    assert found.largest == max(map(len, members))


def cosine(a: Counter[Any], b: Counter[Any]) -> float:
    lengths = sqrt(sum(n * n for n in a.values()) * sum(n * n for n in b.values()))
    return sum(n * b[x] for x, n in a.items()) / lengths


def test_the_vendi_score_is_what_its_definition_gives() -> None:
    """Cosines of counts in dictionaries, singular values of the whole matrix, by hand."""
    rng = Random(4)
    texts = [" ".join(rng.choices(VOCABULARY[:12], k=rng.randint(3, 20))) for _ in range(40)]
    grams = [[Counter(zip(*(t.split()[k:] for k in range(n)), strict=False)) for n in (1, 2)]
             for t in texts]  # fmt: skip
    kernel = [[fmean(cosine(x, y) for x, y in zip(a, b, strict=True)) for b in grams]
              for a in grams]  # fmt: skip
    values = np.linalg.svd(np.array(kernel) / len(texts), compute_uv=False)
    expected = exp(-sum(v * log(v) for v in values if v > 1e-12))
    found = variety.diversity([numbers(t) for t in texts])
    assert found.vendi == pytest.approx(expected, rel=1e-9)
    words = [w for t in texts for w in t.split()]
    pairs = [p for t in texts for p in zip(t.split(), t.split()[1:], strict=False)]
    assert found.distinct[0] == pytest.approx(len(set(words)) / len(words))
    assert found.distinct[1] == pytest.approx(len(set(pairs)) / len(pairs))


def test_the_vendi_score_counts_what_is_different(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [numbers(f"{w} {w}x {w}y") for w in VOCABULARY[:5]]
    assert variety.diversity(kinds * 8).vendi == pytest.approx(5)
    assert variety.diversity(kinds[:1] * 8).vendi == pytest.approx(1)
    assert variety.diversity([numbers("one"), numbers("two"), numbers("")]).vendi == pytest.approx(
        2
    )
    monkeypatch.setattr(variety, "EXACT", 20)
    sampled = variety.diversity(kinds * 8)
    assert (sampled.texts, sampled.used) == (40, 20)
    assert 1 < sampled.vendi < 5 + 1e-9


# By embeddings.


WORD_VECTORS = {"pressure": (1.0, 0.0, 0.0), "heat": (0.0, 1.0, 0.0), "noise": (0.0, 0.0, 1.0)}


def of_words(text: str) -> list[float]:
    """A model that knows three words, and takes the sum of theirs."""
    parts = [WORD_VECTORS[w] for w in text.lower().strip("?").split() if w in WORD_VECTORS]
    return [sum(axis) for axis in zip(*parts, strict=True)]


@pytest.fixture
def embedder(
    tmp_path: Path, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> tuple[FakeOpenAI, list[str]]:
    """A server, and the options that name it; the cache is the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MY_KEY", fake_openai.key)
    fake_openai.embed = of_words
    return fake_openai, ["--embeddings", fake_openai.base_url, "m", "--embeddings-key", "MY_KEY"]


def test_questions_alike_in_other_words_are_found_by_vectors(
    embedder: tuple[FakeOpenAI, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server, given = embedder
    asked = ["What makes pressure?", "Whence pressure and pressure then?", "Why heat?",
             "Why noise?", "Does heat make noise?", "Why heat?"]  # fmt: skip
    data = write(tmp_path / "set.jsonl", [item(text) for text in asked])
    found = inspected(data, *given, "--fail-on", "embedded_near_duplicates>0.5")
    figures, whole = found["figures"], found["inspection"]["embedded"]
    assert whole["clusters"] == [[0, 1], [2, 5]]
    assert figures["embedded_near_duplicates"] == pytest.approx(2 / 6)
    assert figures["embedded_largest_cluster"] == 2
    nearest = [1, 1, 1, sqrt(0.5), sqrt(0.5), 1]
    assert whole["nearest"]["mean"] == pytest.approx(fmean(nearest))
    rows = [np.array(of_words(text)) for text in asked]
    kernel = [[a @ b / sqrt((a @ a) * (b @ b)) for b in rows] for a in rows]
    values = np.linalg.svd(np.array(kernel) / 6, compute_uv=False)
    expected = exp(-sum(v * log(v) for v in values if v > 1e-9))
    assert figures["embedded_vendi"] == pytest.approx(expected, rel=1e-5)
    assert figures["near_duplicates"] == pytest.approx(1 / 6)  # by words, only the copy
    said = capsys.readouterr().out
    assert "Questions by embeddings (m; kernel: cosine)" in said
    assert "What makes pressure? | Whence pressure" in said

    sent = [text for request in server.requests for text in request.body["input"]]
    assert sorted(sent) == sorted(set(asked))  # the questions, each once, and nothing else
    wider = inspected(data, *given, "--embeddings-near", "0.7")
    assert wider["inspection"]["embedded"]["clusters"] == [[2, 3, 4, 5], [0, 1]]
    inspected(data)
    assert len(server.requests) == 1  # what is known isn't asked for again


def test_vectors_that_cant_be_had_are_one_line(
    embedder: tuple[FakeOpenAI, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    server, given = embedder
    data = write(tmp_path / "set.jsonl", [item("Why heat?")])

    def refused(said: str, *args: str) -> None:
        assert invoke(app, ["inspect", str(data), *(args or given)]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1

    server.queue(failure(400, "input is too long"))
    refused("input is too long")
    server.models = ["other"]
    refused("no model 'm' there")
    server.models = None
    monkeypatch.setenv("MY_KEY", "a-wrong-key")
    refused("key refused")
    monkeypatch.delenv("MY_KEY")
    refused("--embeddings-key MY_KEY: that variable isn't set")
    monkeypatch.setenv("MY_KEY", server.key)
    monkeypatch.setattr(embeddings, "RETRIES", 0)
    server.embed = lambda text: [0.0, 0.0]
    refused("a vector of nothing")
    server.embed = lambda text: [10**400, 1]
    refused("int too large to convert to float")
    server.embed = of_words
    assert invoke(app, ["inspect", str(data), *given]) == 0  # a fault isn't kept


@pytest.mark.parametrize("size", [1e300, 1e25, 1e-45, 1e-310])
def test_how_long_vectors_are_changes_nothing(
    embedder: tuple[FakeOpenAI, list[str]], tmp_path: Path, size: float
) -> None:
    server, given = embedder
    server.embed = lambda text: [size * x for x in of_words(text)]
    asked = ["Why heat?", "Why noise?", "Does heat make noise?"]
    found = inspected(write(tmp_path / "set.jsonl", [item(text) for text in asked]), *given)
    nearest = found["inspection"]["embedded"]["nearest"]
    assert (nearest["least"], nearest["most"]) == pytest.approx((sqrt(0.5), sqrt(0.5)))


# Rules, and what can't be inspected.


def test_rules_fail_by_name_and_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write(tmp_path / "set.jsonl", [item("Why is it so?"), item("Why is it so?"),
                                          item("What else could be at work here?")])  # fmt: skip
    out = tmp_path / "out.json"
    rules = ["--fail-on", "duplicates > 33%, gap<0.2", "--fail-on", "items<=3", "--json", str(out)]
    assert invoke(app, ["inspect", str(data), *rules]) == 1
    said = capsys.readouterr().err
    assert said == "failed: duplicates>0.33 (it is 0.3333)\nfailed: items<=3 (it is 3)\n"
    assert [r["failed"] for r in json.loads(out.read_text())["rules"]] == [True, False, True]
    assert invoke(app, ["inspect", str(data), "--fail-on", "duplicates>34%"]) == 0


GOOD = item("Why is it so?")
ASKED = verifiable("How long?", "12 ms", 0, 1)
OWN = GOOD | {"task": "code"}
WEIGHTLESS = [{"criterion": "says why", "weight": "+8"}]


@pytest.mark.parametrize(
    ("rows", "more", "said"),
    [
        ([], [], "set.jsonl: holds no item"),
        (["{"], [], "set.jsonl:1: an item is a JSON object"),
        ([GOOD, GOOD | {"rubric": WEIGHTLESS}], [], "set.jsonl:2: rubric[0].weight: must be a num"),
        ([GOOD | {"rubric": []}], [], "set.jsonl:1: rubric: "),
        ([GOOD, GOOD | {"format": 2}], [], "set.jsonl:2: format 2; this version reads 1"),
        ([GOOD, GOOD | {"rounds": 10**400}], [], "set.jsonl:2: rounds: "),
        ([GOOD, GOOD | {"task": "verifiable"}], [], "task 'verifiable' among items of task"),
        ([GOOD | {"task": "verifiable"}], [], "set.jsonl:1: rubric: must be [] in a verifiable"),
        (
            [ASKED, ASKED | {"reference_answer": "It is\nso."}],
            [],
            "set.jsonl:2: reference_answer",
        ),
        ([GOOD | {"task": "learnable"}], [], "set.jsonl:1: review: needs a suitability"),
        ([OWN, OWN | {"rubric": []}], [], "an item without a rubric among items with a rubric"),
        (
            [ASKED],
            ["--fail-on", "criteria<3"],
            "figure of rubrics, and these items, of task 've",
        ),
        ([GOOD], ["--fail-on", "guessable>0"], "figure of final answers, and these items, of task"),
        ([GOOD], ["--fail-on", "high<1"], "figure of reviews, and these items, of task 'rubric'"),
        ([GOOD, GOOD | {"simulated": False}], [], "set.jsonl:2: simulated items among others"),
        ([{"question": "Why?"}], [], "not of metaopt generate?"),
        ([GOOD], ["--fail-on", "near_dups>0"], "did you mean 'near_duplicates'?"),
        ([GOOD], ["--fail-on", "duplicates=0"], "write a figure, one of"),
        ([GOOD], ["--fail-on", "contaminated>0"], "give --against"),
        ([GOOD], ["--fail-on", "coverage<0.1"], "this data set has none"),
        ([GOOD], ["--fail-on", "embedded_vendi<2"], "give --embeddings"),
        ([GOOD], ["--embeddings-near", "0.8"], "give --embeddings URL MODEL too"),
        ([GOOD], ["--embeddings", "localhost", "m"], "base_url must start with http"),
        ([GOOD], ["--against", "nowhere.jsonl"], "nowhere.jsonl: no such data set"),
        ([GOOD], ["--plot", "figure.gif"], "write it as one of"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[Any], more: list[str], said: str
) -> None:
    data = write(tmp_path / "set.jsonl", rows)
    assert invoke(app, ["inspect", str(data), *more]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_folder_that_is_no_data_set_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(app, ["inspect", str(tmp_path)]) == 2
    assert f"{tmp_path}: not a data set" in capsys.readouterr().err


def test_every_figure_is_documented() -> None:
    page = (ROOT / "docs" / "inspect.md").read_text(encoding="utf-8")
    assert [name for name in METRICS if f"`{name}`" not in page] == []
