"""Which hunks carry a candidate's gain: taking hunks back, grouping them, and the verdicts."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath

import pytest
from test_repo import foreign, git

from metaopt.config import Harness
from metaopt.hunks import Group, Hunk, runnable_groups, split_diff, take_back
from metaopt.repo import HarnessRepo, write_tree
from metaopt.tree import Tree

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
