"""Candidates as commits: the same edit is the same commit, whoever else is committing."""

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inner_agent.errors import UserError
from metaopt.config import Harness
from metaopt.repo import HarnessRepo, read_folder
from metaopt.resources import shipped

OpenRepo = Callable[..., HarnessRepo]
TREE = {"harness.py": b"print('hi')\n", "prompts/a.md": b"old\n", "crlf.txt": b"a\r\nb\n"}


@pytest.fixture
def open_repo(tmp_path: Path) -> Iterator[OpenRepo]:
    """Opens repositories."""
    opened: list[HarnessRepo] = []

    def open_one(name: str = "harness.git", **harness: str) -> HarnessRepo:
        opened.append(HarnessRepo(tmp_path / name, Harness(**harness)))  # type: ignore[arg-type]
        return opened[-1]

    yield open_one
    for repo in opened:
        repo.close()


def git(folder: Path, *words: str, stdin: bytes = b"") -> str:
    """Run git for the test, apart from this machine's settings."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    who = ("-c", "user.name=T", "-c", "user.email=t@localhost")
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, input=stdin, check=True, capture_output=True, env=env
    )
    return done.stdout.decode().strip()


def foreign(folder: Path, files: dict[str, bytes]) -> Path:
    """Somebody's repository with these files."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    git(folder, "add", "-A", "-f")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_the_builtin_baseline_is_the_shipped_folder(open_repo: OpenRepo) -> None:
    repo = open_repo()
    files = repo.read(repo.baseline)
    assert files == read_folder(shipped("baseline_harness"))
    assert "harness.py" in files
    assert not any("__pycache__" in path for path in files)
    assert open_repo("other.git").baseline == repo.baseline  # whenever and wherever it is made
    assert open_repo().baseline == repo.baseline


def test_the_same_edit_is_the_same_commit(open_repo: OpenRepo) -> None:
    one, two = open_repo(), open_repo("other.git")
    tree = {**one.read(one.baseline), "new/ä b.md": b"x\r\n", "harness.py": b"pass\n"}
    commit = one.commit(one.baseline, tree, "Candidate 1")
    assert two.commit(two.baseline, tree, "Candidate 1") == commit
    assert one.read(commit) == tree
    assert one.commit(commit, tree, "Candidate 1") != commit  # another parent
    assert one.tree_id(one.commit(one.baseline, tree, "Other words")) == one.tree_id(commit)
    swapped = {"harness.py": b"pass\n", "new": b"a file where a folder was\n"}
    assert one.read(one.commit(commit, swapped, "swap")) == swapped
    back = one.commit(one.commit(commit, swapped, "swap"), tree, "back")
    assert one.tree_id(back) == one.tree_id(commit)


def test_a_folder_that_is_moved_away_is_named(open_repo: OpenRepo, tmp_path: Path) -> None:
    repo = open_repo()
    (tmp_path / "harness.git").rename(tmp_path / "moved.git")
    with pytest.raises(FileNotFoundError, match=r"harness\.git"):
        repo.commit(repo.baseline, TREE, "edit")


def test_concurrent_commits_are_the_serial_ones(open_repo: OpenRepo, tmp_path: Path) -> None:
    repo = open_repo()
    base = repo.read(repo.baseline)

    def work(n: int) -> str:
        mine = HarnessRepo(tmp_path / "harness.git", Harness())
        try:
            commit = mine.commit(mine.baseline, {**base, f"{n}.md": b"%d\n" % n}, f"Candidate {n}")
            mine.keep(n, commit)
            return commit
        finally:
            mine.close()

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(work, range(1, 25)))
    serial = open_repo("serial.git")
    for n, commit in enumerate(made, 1):
        tree = {**base, f"{n}.md": b"%d\n" % n}
        assert serial.commit(serial.baseline, tree, f"Candidate {n}") == commit
        assert repo.read(commit) == tree
    refs = git(
        tmp_path / "harness.git", "for-each-ref", "--format=%(objectname)", "refs/candidates"
    )
    assert set(refs.split()) == set(made)


@pytest.mark.parametrize("subdir", ["", "agents/scientist"])
def test_a_foreign_harness_and_the_way_back(
    open_repo: OpenRepo, tmp_path: Path, subdir: str
) -> None:
    """Fetched from anywhere in a repository; the diff applies and the checkout is an answer."""
    inside = f"{subdir}/" if subdir else ""
    origin = foreign(
        tmp_path / "origin",
        {f"{inside}{p}": d for p, d in TREE.items()} | ({"README.md": b"out\n"} if subdir else {}),
    )
    repo = open_repo(repo=str(origin), ref="main", subdir=subdir)
    assert repo.read(repo.baseline) == TREE
    edited = {**TREE, "prompts/a.md": b"new\nno newline at the end", "more/b.md": b"\xc3\xa9\n"}
    del edited["crlf.txt"]
    commit = repo.commit(repo.baseline, edited, "Candidate 1")
    assert repo.read(commit) == edited

    git(origin, "apply", "--index", "-", stdin=repo.diff(repo.baseline, commit).encode())
    assert git(origin, "write-tree") == git(
        tmp_path / "harness.git", "rev-parse", f"{commit}^{{tree}}"
    )

    target = tmp_path / "target"
    repo.checkout(commit, "best-harness", target)
    assert read_folder(target / subdir) == edited
    assert (target / "README.md").exists() == bool(subdir)
    assert git(target, "rev-parse", "best-harness", "baseline").split() == [commit, repo.baseline]
    assert git(target, "status", "--porcelain") == ""
    assert git(target, "remote") == ""
    with pytest.raises(UserError, match="exists and isn't empty"):
        repo.checkout(commit, "again", target)
    assert read_folder(repo.export(commit, tmp_path / "trees")) == edited
    assert repo.export(commit, tmp_path / "trees").name == repo.tree_id(commit)


def test_odd_foreign_harnesses_are_refused(open_repo: OpenRepo, tmp_path: Path) -> None:
    origin = foreign(tmp_path / "origin", {"src/harness.py": b"", "README.md": b""})
    for wrong, why in (
        ({"ref": "nothing"}, "can't be fetched"),
        ({"subdir": "none"}, "no folder none at HEAD"),
        ({"subdir": ""}, "no harness.py in its top"),
        ({"repo": str(tmp_path / "nowhere")}, "can't be fetched"),
    ):
        with pytest.raises(UserError, match=why) as caught:
            open_repo(**{"repo": str(origin), "subdir": "src", **wrong})
        assert "\n" not in str(caught.value)
    (origin / "src" / "link").symlink_to("/etc/passwd")
    git(origin, "add", "-A")
    git(origin, "commit", "-q", "-m", "link")
    with pytest.raises(UserError, match="link has mode 120000"):
        open_repo(repo=str(origin), subdir="src")
    # What none of these left behind: a baseline that a corrected config would then start from.
    git(origin, "branch", "before", "HEAD~1")
    mended = open_repo(repo=str(origin), subdir="src", ref="before")
    assert mended.read(mended.baseline) == {"harness.py": b""}


def test_nothing_in_a_harness_is_run_or_filtered(
    open_repo: OpenRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attributes ask for filters and the user's git has some; blobs stay as they are."""
    ran = tmp_path / "ran"
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    for name in ("post-checkout", "reference-transaction", "post-index-change", "pre-commit"):
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >> {ran}\n")
        (hooks / name).chmod(0o755)
    settings = tmp_path / "gitconfig"
    settings.write_text(
        f"[init]\n\ttemplateDir = {tmp_path / 'template'}\n[core]\n\tautocrlf = true\n"
        f'\thooksPath = {hooks}\n[filter "f"]\n\tclean = touch {ran}; tr a-z A-Z\n'
        f'\tsmudge = touch {ran}; cat\n[diff "d"]\n\ttextconv = touch {ran}; cat\n'
    )
    attributes = b"* filter=f diff=d text eol=crlf ident\n"
    origin = foreign(tmp_path / "origin", TREE | {".gitattributes": attributes})
    stored = git(origin, "cat-file", "-p", "HEAD:crlf.txt").encode()  # what their git made of it
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(hooks.parent))
    ran.unlink(missing_ok=True)

    repo = open_repo(repo=str(origin))
    files = repo.read(repo.baseline)
    assert files["crlf.txt"].strip() == stored
    edited = {**files, "crlf.txt": b"$Id$ a\r\nb\n"}
    commit = repo.commit(repo.baseline, edited, "Candidate 1")
    assert repo.read(commit) == edited
    assert "$Id$ a" in repo.diff(repo.baseline, commit)
    assert read_folder(repo.export(commit, tmp_path / "trees"))["crlf.txt"] == edited["crlf.txt"]
    repo.checkout(commit, "best", tmp_path / "target")
    assert not ran.exists()
