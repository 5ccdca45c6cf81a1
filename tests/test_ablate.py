"""Which hunks carry a candidate's gain: taking hunks back, grouping them, and the verdicts."""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import require
from scipy.stats import binom, binomtest, multinomial
from test_repo import foreign, git
from whole_runs import decided, made_run, measured_by_hand, small_config

from analysis.ablate import adjusted, as_text, attribute, verdict
from analysis.cli import app
from analysis.contrast import detectable
from analysis.paired import Floats, sign_flip_power
from inner_agent.sandbox import bubblewrap_problem
from metaopt.ablation import Ablated
from metaopt.cli import invoke
from metaopt.config import Harness, load_config
from metaopt.hunks import Group, Hunk, runnable_groups, split_diff, take_back
from metaopt.measure import Arm, Plan
from metaopt.population import Candidate
from metaopt.repo import HarnessRepo, write_tree
from metaopt.tree import Tree

PAPERS = 40
PARITY = np.arange(PAPERS) % 2 == 0
ROOT = Path(__file__).parent.parent
ENTRY = {"harness.py": b"print()\n"}


@pytest.mark.parametrize("subdir", ["", "deep/er"])
def test_hunks_can_be_taken_back_in_any_order(tmp_path: Path, subdir: str) -> None:
    """On made-up diffs, beside git's own ``apply --reverse``."""
    home = foreign(tmp_path / "home", {str(PurePosixPath(subdir, p)): d for p, d in ENTRY.items()})
    harness = Harness(repo=str(home), subdir=subdir)
    kinds = Counter[bool]()
    with closing(HarnessRepo(tmp_path / "harness.git", harness)) as repo:
        for seed in range(8):
            rng = random.Random(seed)
            before, after = _two_trees(rng)
            old = repo.commit(repo.baseline, before, "before")
            new = repo.commit(old, after, "after")
            hunks = split_diff(before, after, partial(repo.file_diff, old, new))
            kinds.update(h.old is None for h in hunks)
            order = rng.sample(hunks, len(hunks))
            folder = tmp_path / f"{seed}"
            for k in (0, 1, len(order) // 2, len(order)):
                tree = take_back(before, after, hunks, order[:k])
                assert tree == _with_git(folder / str(k), before, after, hunks, order[:k])
            assert tree == before
            assert repo.tree_id(repo.commit(old, tree, "back")) == repo.tree_id(old)
    assert min(kinds[True], kinds[False]) > 10


def _two_trees(rng: random.Random) -> tuple[Tree, Tree]:
    """A tree, and one with lines changed, added and removed, files new and deleted.

    No line is there twice, so that git, which searches, finds the place.
    """
    before, after, new = dict(ENTRY), dict(ENTRY), count()
    for k in range(6):
        end = rng.choice([b"\n", b"\r\n"])
        lines = [b"old %d" % n for n in range(rng.randrange(40))]
        edited = list(lines)
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(len(edited) + 1)
            some = [b"new %d" % next(new) for _ in range(rng.randrange(3))]
            edited[at : at + rng.randrange(3)] = some
        name, last = f"dir [{k}]/\u00e4*.txt", rng.choice([b"", end])
        if k != 0:
            before[name] = end.join(lines) + last
        if k != 1:
            after[name] = end.join(edited) + rng.choice([b"", last])
    return before, after


def _with_git(
    folder: Path, before: Tree, after: Tree, hunks: Sequence[Hunk], back: Sequence[Hunk]
) -> Tree:
    """``after`` with ``back`` taken back by git; whole files, which aren't patches, by hand."""
    write_tree(after, folder)
    for h in reversed([h for h in hunks if h in back]):
        path = folder / h.path
        if h.old is not None:
            patch = f"--- a/{h.path}\t\n+++ b/{h.path}\t\n{h.text}"
            git(folder, "apply", "--reverse", "--whitespace=nowarn", "-", stdin=patch.encode())
        elif h.path in before:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(before[h.path])
        else:
            path.unlink()
    return {p.relative_to(folder).as_posix(): p.read_bytes()
            for p in folder.rglob("*") if p.is_file()}  # fmt: skip


async def test_hunks_that_need_each_other_go_together() -> None:
    """A new file with its import, a renamed function with its calls, and one that is free."""
    before = {"harness.py": b"def one(): pass\n" + b"#\n" * 9 + b"one()\n", "a.md": b"x\n"}
    after = {
        "harness.py": b"import extra\ndef two(): pass\n" + b"#\n" * 9 + b"two()\n",
        "extra.py": b"pass\n",
        "a.md": b"y\n",
    }
    hunks = [
        Hunk("a.md", (0, 1), (0, 1), "-x\n+y\n"),
        Hunk("extra.py", None, None, "+pass\n"),
        Hunk("harness.py", (0, 1), (0, 2), "-def one\n+import extra\n+def two\n"),
        Hunk("harness.py", (10, 11), (11, 12), "-one()\n+two()\n"),
    ]

    async def check(tree: Tree) -> list[str]:
        text = tree["harness.py"].decode()
        if "import extra" in text and "extra.py" not in tree:
            return ["no module extra"]
        [defined] = re.findall(r"def (\w+)", text)
        return [] if f"\n{defined}()" in text else ["no such function"]

    assert await check(before) == await check(after) == []
    groups = await runnable_groups(before, after, hunks, check)
    assert groups == [Group((0,)), Group((1, 2, 3))]
    # Where only all of them together will do, there is nothing to compare.
    groups = await runnable_groups(before, after, hunks[1:], check)
    assert groups == [
        Group((0,), "no module extra"),
        Group((1, 2)),
    ]


# The verdicts

FIX = (ROOT / "populations/classics/published_fixes.diff").read_bytes()
HARM = b"Give the reader the full solution in the context.\n\n"
IDLE = b"\nWork with care and aim for excellent quality.\n"
CHALLENGER, MAIN = "prompts/challenger.md", "prompts/main_agent.md"


@pytest.fixture(scope="module")
def mixed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose candidate 1 has the published fixes in one hunk, a harmful and an idle one."""
    folder = tmp_path_factory.mktemp("mixed")
    path = small_config(folder / "in", 'kind = "simulator"', validation=60)
    split = json.loads((ROOT / "splits/demo.json").read_text())
    rows = [row for part in ("val", "test", "train") for row in split[part]]
    parts = {"train": rows[60:70], "val": rows[:60], "test": rows[70:80]}
    (folder / "split.json").write_text(json.dumps(parts))
    config = load_config(path, [f'papers.split="{folder}/split.json"', "limits.items=3"])
    with made_run(folder / "run", config) as (repo, store):
        before = repo.read(repo.baseline)
        fixed = repo.read(repo.apply(repo.baseline, FIX, "fixes"))[CHALLENGER].splitlines()
        known = before[CHALLENGER].splitlines()
        added = b"\n".join(line for line in fixed if line not in known and b'"' not in line[:12])
        after = before | {
            CHALLENGER: HARM + before[CHALLENGER] + b"\n" + added + b"\n",
            MAIN: before[MAIN] + IDLE,
        }
        decided(store, repo, 1, repo.commit(repo.baseline, after, "mixed"), 0, (1, 9))
        assert take_back(before, after, [], []) == after
    return folder / "run"


def test_the_hunk_that_carries_the_gain_is_found_and_an_idle_one_is_not(
    mixed_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require(bubblewrap_problem() is None, "bubblewrap")
    before = contents(mixed_run)
    words = ["ablate", str(mixed_run), "1", "--out", str(tmp_path / "out")]
    assert invoke(app, [*words, "--json", str(tmp_path / "x.json")]) == 0
    out = capsys.readouterr().out
    found = json.loads((tmp_path / "x.json").read_text())
    harm, fix, idle = found["parts"]
    assert [h["path"] for h in found["hunks"]] == [CHALLENGER, CHALLENGER, MAIN]
    assert (fix["verdict"], idle["verdict"]) == ("carries the gain", "can't tell")
    assert harm["loss"]["difference"] < 0 < fix["loss"]["low"]
    assert harm["verdict"] != "carries the gain"
    assert fix["rate"] < found["rate"] < harm["rate"]
    assert out.startswith("SIMULATED")
    assert "Give the reader the full solution" in out
    assert 0.1 < found["detectable"] < 0.4
    assert contents(mixed_run) == before  # the run is read only
    # Given again it reads what it has measured.
    results = (tmp_path / "out" / "measured.db").read_bytes()
    assert invoke(app, words) == 0
    assert capsys.readouterr().out == out
    assert (tmp_path / "out" / "measured.db").read_bytes() == results


def contents(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and "-" not in p.suffix}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["0"], "the baseline differs from nothing"),
        (["7"], "no candidate '7'"),
        (["1", "--part", "test"], "sealed"),
        (["1", "--papers", "61"], "has only 60"),
    ],
)
def test_what_cant_be_taken_apart_is_one_line(
    mixed_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str],
    message: str,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    assert invoke(app, ["ablate", str(mixed_run), *words, "--out", str(out)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not out.exists()


def test_anothers_folder_is_refused_before_anything_is_tried(
    mixed_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(mixed_run / "config.toml")
    plan = Plan((Arm("baseline", "", "tree"),), "val", {"p": ""}, 1)
    measured_by_hand(tmp_path / "out", config, plan, np.ones((1, 1, 1), bool))
    assert invoke(app, ["ablate", str(mixed_run), "1", "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert "begun with the arms baseline" in err
    assert err.count("\n") == 1


def test_losses_are_paired_exact_and_adjusted() -> None:
    """Beside scipy's exact test, and Holm's procedure done by hand."""
    rng = np.random.default_rng(1)
    whole = (rng.random((1, 30)) < 0.6).astype(float)
    without = [np.where(rng.random((1, 30)) < share, 0.0, whole) for share in (0.6, 0.0, 0.15)]
    found, p_holm = adjusted([whole - x for x in without])
    mids = []
    for loss, x in zip(found, without, strict=True):
        up, down = int((whole > x).sum()), int((whole < x).sum())
        exact = binomtest(up, up + down).pvalue if up + down else 1.0
        assert loss.p_exact == pytest.approx(exact)
        sides = 1 if up == down else 2  # on which a result is just as far off
        as_far = sides * binom.pmf(up, up + down, 0.5) if up + down else 0.0
        mids.append(exact - as_far / 2)
        assert loss.p_mid == pytest.approx(mids[-1])
        assert loss.difference == pytest.approx((whole - x).mean())
    by_hand = dict.fromkeys(range(3), 0.0)
    worst = 0.0
    for rank, k in enumerate(sorted(range(3), key=mids.__getitem__)):
        worst = max(worst, min(1.0, mids[k] * (3 - rank)))
        by_hand[k] = worst
    assert p_holm == pytest.approx(list(by_hand.values()))
    assert [verdict(d, p) for d, p in zip(found, p_holm, strict=True)] == [
        "carries the gain", "can't tell", "can't tell",
    ]  # fmt: skip


@pytest.mark.parametrize("difference", [0.0, 0.3, 0.55, 0.8])
def test_the_power_of_the_exact_test_is_summed_over_everything_that_can_happen(
    difference: float,
) -> None:
    papers, disagree, level = 9, 0.6, 0.06
    both = max(disagree, difference)
    up, down = (both + difference) / 2, (both - difference) / 2
    chances = multinomial(papers, [up, down, 1 - both])
    power = sum(
        chances.pmf([a, b, papers - a - b])
        for a in range(papers + 1)
        for b in range(papers + 1 - a)
        if a > b and 2 * (binom.sf(a, a + b, 0.5) + binom.pmf(a, a + b, 0.5) / 2) <= level
    )
    assert sign_flip_power(difference, disagree, papers, 1, level) == pytest.approx(power)


@pytest.mark.parametrize(
    ("passes_with", "word"),
    [
        (lambda a, b: a & b, "need each other"),
        (lambda a, b: a | b, "overlap"),
        (lambda a, b: a, "may well be chance"),
        (lambda a, b: np.where(PARITY, a, b), "may well be chance"),
    ],
)
def test_whether_hunks_add_up_is_said(passes_with: Callable[[Any, Any], Any], word: str) -> None:
    """Each paper passes by a rule on which of two hunks are there."""
    yes, no = np.ones(PAPERS, dtype=int), np.zeros(PAPERS, dtype=int)
    rules = {"candidate": (yes, yes), "before": (no, no), "1": (no, yes), "2": (yes, no)}
    arms = [SimpleNamespace(name=name) for name in rules]
    passes = np.array([[passes_with(*rule)] for rule in rules.values()], dtype=float)
    plan = SimpleNamespace(
        arms=arms, part="val", papers=[f"p{k}" for k in range(PAPERS)], repeats=1
    )
    measured = SimpleNamespace(
        simulated=True, plan=plan, passes=lambda: passes, results=[[{}] for _ in arms]
    )
    hunks = [Hunk(f"{k}.md", (0, 1), (0, 1), f"-old\n+new {k}\n") for k in range(2)]
    made = Candidate(1, 0, "", ""), Candidate(0, None, "", "")
    groups = [Group((0,)), Group((1,))]
    found = attribute(Ablated(*made, hunks, groups, ["1", "2"], measured))  # type: ignore[arg-type]
    losses = [passes[0] - passes[arm] for arm in (2, 3)]
    assert found.surplus is not None
    expected = (losses[0] + losses[1] - (passes[0] - passes[1])).mean()
    assert found.surplus.difference == pytest.approx(expected)
    assert word in as_text(found)


@pytest.mark.parametrize(("papers", "repeats"), [(25, 1), (60, 1), (40, 3)])
def test_a_loss_of_the_size_that_is_said_to_be_told_is(papers: int, repeats: int) -> None:
    """Four times in five, by simulation: papers differ, and so do a paper's rollouts."""
    rng = np.random.default_rng(papers)
    parts, times = 3, 400

    def losses(drop: float) -> list[Floats]:
        """The first part's true loss is ``drop``, the others' none."""
        rate = rng.uniform(0.45, 0.95, papers)
        whole = rng.random((repeats, papers)) < rate
        return [
            whole.astype(float) - (rng.random((repeats, papers)) < rate - (drop if k == 0 else 0))
            for k in range(parts)
        ]

    said = [found for _ in range(60) if (found := detectable(losses(0.35)))]
    assert len(said) > 50
    drop = float(np.median(said))
    told = 0
    for _ in range(times):
        found, p_holm = adjusted(losses(drop))
        told += verdict(found[0], p_holm[0]) == "carries the gain"
    assert 0.7 < told / times < 0.95
