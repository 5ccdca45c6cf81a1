"""harness.git: every candidate is a commit.  The only code that touches git.

Plumbing commands on a private index, so that concurrent iterations never meet; fixed author and
date, so that the same edit on the same parent is the same commit.  Every candidate, rejected
ones too, stays under ``refs/candidates/<iteration>``.
"""

import errno
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import git

from inner_agent.durable import sync_folders, sync_tree
from inner_agent.errors import UserError
from metaopt.config import BUILTIN, Harness
from metaopt.resources import shipped
from metaopt.text import one_line
from metaopt.tree import Tree, path_problem

BASELINE = "refs/heads/baseline"
BEST = "refs/heads/best"
_WHO = "metaopt"
_DATE = "2026-01-01T00:00:00+00:00"
_ENV = {
    "GIT_AUTHOR_NAME": _WHO, "GIT_AUTHOR_EMAIL": "metaopt@localhost", "GIT_AUTHOR_DATE": _DATE,
    "GIT_COMMITTER_NAME": _WHO, "GIT_COMMITTER_EMAIL": "metaopt@localhost",
    "GIT_COMMITTER_DATE": _DATE, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C",
    "GIT_TEMPLATE_DIR": "",  # a template may hold hooks
    # By default git leaves new objects and refs to the kernel's leisure.
    "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsync",
    "GIT_CONFIG_VALUE_0": "committed,reference",
}  # fmt: skip
_MODES = ("100644", "100755")


class GitFailed(UserError):
    """Git refused, with ``reason``; as a rule because the repository is damaged."""

    def __init__(self, where: str | os.PathLike[str], reason: str) -> None:
        super().__init__(
            f"{where}: git can't use it ({one_line(reason, 200)}); restore it from a copy"
        )
        self.reason = reason


class HarnessRepo:
    """A bare repository of harnesses; trees are relative to the harness's ``subdir``.

    Where git fails for another reason than a disk's, every method raises ``GitFailed``.
    """

    def __init__(self, path: Path, harness: Harness) -> None:
        """Open ``path``, making it from the configured repository the first time."""
        self._subdir = harness.subdir.strip("/")
        if not path.exists():
            self._make(path, harness)
        self._open(path)
        self.baseline = self._ref(BASELINE)

    def _open(self, path: Path) -> None:
        try:
            self._repo = git.Repo(path)
        except git.GitError:
            raise GitFailed(path, "no git repository") from None
        self._repo.git.update_environment(**_ENV)

    def _make(self, path: Path, harness: Harness) -> None:
        """Make it aside, with the baseline in it: whatever happens, it is there whole or not."""
        part = path.with_name(f"{path.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        with _faults(part):
            git.Git().init("--bare", "--quiet", str(part), env=_ENV)
        self._open(part)
        try:
            self._make_baseline(harness)
        finally:
            self._repo.close()
        sync_tree(part)
        part.rename(path)
        sync_folders([path.parent])

    def unlock(self) -> None:
        """Remove the lock files of git processes that a crash took away.

        For the one process that holds the run: nobody else writes here.
        """
        top = Path(self._repo.git_dir)
        for stale in (*top.glob("*.lock"), *top.glob("refs/**/*.lock")):
            stale.unlink(missing_ok=True)

    def close(self) -> None:
        """End git's helper process."""
        self._repo.close()

    def read(self, commit: str) -> dict[str, bytes]:
        """The harness's files at ``commit``, by path.

        Raises ``UserError`` for odd modes and paths: git itself hands on a tree that names
        ``/etc/x``.
        """
        where = f"{commit}:{self._subdir}" if self._subdir else commit
        files: dict[str, bytes] = {}
        for entry in self._git("ls_tree", "-r", "-z", "--full-tree", where).split("\0"):
            if not entry:
                continue
            meta, path = entry.split("\t", 1)
            mode, _, blob = meta.split()
            if mode not in _MODES:
                raise UserError(f"harness: {path} has mode {mode}; only plain files are allowed")
            if any(part.lower() in ("", ".", "..", ".git") for part in path.split("/")):
                raise UserError(f"harness: {path!r} would lead out of its folder")
            files[path] = self._content(blob)
        for path in files:
            if any(str(folder) in files for folder in PurePosixPath(path).parents):
                raise UserError(f"harness: {path!r} lies under a path that is a file")
        return files

    def commit(self, parent: str, tree: Tree, message: str) -> str:
        """Commit ``tree`` in place of the harness at ``parent``; the same edit, the same commit."""
        before = self.read(parent)
        lines = []
        for path in sorted(before.keys() | tree.keys()):
            if before.get(path) == tree.get(path):
                continue
            inside = str(PurePosixPath(self._subdir, path))
            if path in tree:
                lines.append(f"100644 {self._blob(tree[path])}\t{inside}")
            else:
                lines.append(f"0 {'0' * 40}\t{inside}")
        return self._commit_index(parent, lines, message)

    def keep(self, iteration: int, commit: str) -> None:
        """Name a candidate so that git keeps it; on disk when this returns, all of its objects."""
        self._git("update_ref", f"refs/candidates/{iteration}", commit)
        new = self._git("rev_list", "--objects", "--no-object-names", f"{commit}^!")
        objects = Path(self._repo.git_dir, "objects")
        refs = Path(self._repo.git_dir, "refs")
        # Git syncs files, not the folders that hold their names.
        folders = {objects / name[:2] for name in new.split()}
        sync_folders([*sorted(folders), objects, refs / "candidates", refs])

    def mark_best(self, commit: str) -> None:
        """Point the branch ``best`` at a candidate."""
        self._git("update_ref", BEST, commit)

    def tree_id(self, commit: str) -> str:
        """The object id of the harness's tree: equal harnesses have equal ids."""
        where = f"{commit}:{self._subdir}" if self._subdir else f"{commit}^{{tree}}"
        return self._git("rev_parse", where)

    def diff(self, old: str, new: str) -> str:
        """A unified diff of two commits, as ``git apply`` takes it."""
        plain = ("--no-color", "--no-ext-diff", "--no-textconv", "--binary")
        return self._git("diff", *plain, old, new, strip=False)

    def file_diff(self, old: str, new: str, path: str) -> str:
        """``diff`` of one file of the harness alone, as lines whatever it holds."""
        plain = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--text")
        inside = str(PurePosixPath(self._subdir, path))
        # Without the magic a file named like a pattern would be others as well.
        return self._git("diff", *plain, old, new, "--", f":(top,literal){inside}", strip=False)

    def patches(self, commits: Iterable[str]) -> dict[str, str]:
        """What each commit changed in its parent, as a unified diff; one process for all of them.

        A commit without a parent changed nothing.
        """
        asked = list(dict.fromkeys(commits))
        if not asked:
            return {}
        plain = ("--no-color", "--no-ext-diff", "--no-textconv")
        stdin = "".join(f"{commit}\n" for commit in asked)
        text = self._git("diff_tree", "--stdin", "-r", "-p", *plain, stdin=stdin)
        lines: dict[str, list[str]] = {commit: [] for commit in asked}
        current: list[str] = []
        for line in text.split("\n"):  # in a diff no line is a bare commit: each has its sign
            current = lines.get(line, current)
            if line not in lines:
                current.append(line)
        return {commit: "\n".join(diff) for commit, diff in lines.items()}

    def log(self, commit: str) -> str:
        """The commits that lead to a candidate, one a line, newest first."""
        return self._git("log", "--format=%h %s", commit)

    def apply(self, commit: str, patch: bytes, name: str) -> str:
        """Commit a patch on ``commit``.  Raises ``UserError`` when it doesn't apply cleanly."""
        with self._index(commit) as env, tempfile.NamedTemporaryFile() as file:
            file.write(patch)
            file.flush()
            at = [f"--directory={self._subdir}"] if self._subdir else []
            try:
                self._git("apply", "--cached", *at, file.name, env=env)
            except GitFailed as e:
                raise UserError(f"{name}: doesn't apply to this harness ({e.reason})") from None
            made = self._write_commit(commit, env, f"Apply {name}")
        for path in self.read(made).keys() - self.read(commit).keys():  # refuses odd modes
            if problem := path_problem(path):
                raise UserError(f"{name}: adds {path!r}, but the path {problem}")
        return made

    def export(self, commit: str, folder: Path, tree: str | None = None) -> Path:
        """Write the harness at ``commit`` below ``folder`` once; returns its own folder.

        ``tree`` is ``tree_id(commit)`` where that is known: then nothing but a look is needed.
        """
        target = folder / (tree or self.tree_id(commit))
        if not target.exists():
            write_tree(self.read(commit), target)
        return target

    def checkout(self, commit: str, branch: str, folder: Path) -> None:
        """A new repository in ``folder``: ``branch`` at ``commit``, its history, ``baseline``.

        harness.git itself isn't touched.
        """
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"{folder}: exists and isn't empty; name a new folder")
        wanted = (f"{commit}:refs/heads/{branch}", f"{BASELINE}:{BASELINE}")
        try:
            with _faults(folder):
                made = git.Repo.init(folder.absolute(), mkdir=True, env=_ENV)
                made.git.update_environment(**_ENV)
                made.git.fetch("--quiet", "--no-tags", str(self._repo.git_dir), *wanted)
                made.git.checkout("--quiet", branch)
        except GitFailed as e:  # nothing is wrong with the new one
            shutil.rmtree(folder, ignore_errors=True)
            raise GitFailed(self._repo.git_dir, e.reason) from None

    def _make_baseline(self, harness: Harness) -> None:
        if harness.repo == BUILTIN:
            files = read_folder(shipped("baseline_harness"))
            lines = [f"100644 {self._blob(data)}\t{path}" for path, data in sorted(files.items())]
            commit = self._commit_index(None, lines, "Baseline harness")
        else:
            commit = self._fetch(harness)
        if harness.patch:
            commit = self.apply(commit, _read_patch(harness.patch), Path(harness.patch).name)
        where = self._subdir or "its top"
        try:
            found = "harness.py" in self.read(commit)
        except GitFailed:
            raise UserError(f"harness {harness.repo}: no folder {where} at {harness.ref}") from None
        if not found:
            raise UserError(f"harness {harness.repo}: no harness.py in {where}")
        self._git("update_ref", BASELINE, commit)

    def _fetch(self, harness: Harness) -> str:
        if ":" in harness.ref or harness.ref.startswith("+"):  # git would write a ref of our own
            raise UserError(f"harness.ref {harness.ref!r}: name a branch, a tag or a commit")
        try:
            self._git("fetch", "--no-tags", "--quiet", "--", harness.repo, harness.ref)
        except GitFailed as e:
            raise UserError(
                f"harness.repo {harness.repo}, ref {harness.ref}: can't be fetched ({e.reason})"
            ) from None
        return self._git("rev_parse", "FETCH_HEAD^{commit}")

    def _commit_index(self, parent: str | None, lines: list[str], message: str) -> str:
        with self._index(parent) as env:
            self._git("update_index", "-z", "--index-info", stdin="\0".join([*lines, ""]), env=env)
            return self._write_commit(parent, env, message)

    def _write_commit(self, parent: str | None, env: dict[str, str], message: str) -> str:
        tree = self._git("write_tree", env=env)
        parents = ["-p", parent] if parent else []
        return self._git("commit_tree", tree, *parents, "-F", "-", stdin=message)

    def _index(self, parent: str | None) -> "_PrivateIndex":
        return _PrivateIndex(self, parent)

    def _content(self, blob: str) -> bytes:
        try:
            return bytes(self._repo.odb.stream(bytes.fromhex(blob)).read())
        except (git.ODBError, zlib.error, ValueError) as e:  # it may hold anything
            raise GitFailed(self._repo.git_dir, f"object {blob}: {e}") from None

    def _blob(self, data: bytes) -> str:
        return self._git("hash_object", "-w", "--no-filters", "--stdin", stdin=data)

    def _ref(self, name: str) -> str:
        try:
            return self._git("rev_parse", "--verify", "--quiet", name)
        except GitFailed:
            return ""

    def _git(
        self,
        command: str,
        *arguments: str,
        env: dict[str, str] | None = None,
        stdin: str | bytes | None = None,
        strip: bool = True,
    ) -> str:
        given: dict[str, object] = {"strip_newline_in_stdout": strip}
        if env:
            given["env"] = env
        run = getattr(self._repo.git, command)
        with _faults(self._repo.git_dir), tempfile.TemporaryFile() as file:
            if stdin is not None:
                file.write(stdin.encode() if isinstance(stdin, str) else stdin)
                file.seek(0)
                given["istream"] = file
            return str(run(*arguments, **given))


@contextmanager
def _faults(where: str | os.PathLike[str]) -> Iterator[None]:
    """What git says of a disk, as the ``OSError`` that anything else would raise; the rest as
    ``GitFailed``."""
    try:
        yield
    except git.GitCommandError as e:
        if not Path(where).exists():  # somebody moved the run's folder away under it
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(where)) from None
        said = str(e.stderr).replace("Out of diskspace", os.strerror(errno.ENOSPC))
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            if os.strerror(number) in said:
                raise OSError(number, os.strerror(number), str(where)) from None
        raise GitFailed(where, _reason(e)) from None


class _PrivateIndex:
    """An index file of one's own, filled from ``parent``; gone at the end."""

    def __init__(self, repo: HarnessRepo, parent: str | None) -> None:
        self._repo, self._parent = repo, parent

    def __enter__(self) -> dict[str, str]:
        self._folder = tempfile.mkdtemp(prefix="metaopt-index-")
        env = {"GIT_INDEX_FILE": str(Path(self._folder, "index"))}
        if self._parent:
            self._repo._git("read_tree", self._parent, env=env)
        return env

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _reason(error: git.GitCommandError) -> str:
    """Git's last line on what went wrong."""
    lines = str(error.stderr).strip().removeprefix("stderr: ").strip("'").splitlines()
    return lines[-1] if lines else "no reason given"


def _read_patch(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as e:
        raise UserError(f"harness.patch {path}: can't be read ({e.strerror})") from None


def read_folder(folder: Path) -> dict[str, bytes]:
    """A harness from a plain folder; caches and dot-files are left out.

    Raises ``UserError`` for symbolic links and when there is no ``harness.py``.
    """
    files: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if any(part.startswith(".") or part == "__pycache__" for part in inside.parts):
            continue
        if path.is_symlink():
            raise UserError(f"{path}: a symbolic link; a harness holds plain files only")
        if path.is_file():
            files[inside.as_posix()] = path.read_bytes()
    if "harness.py" not in files:
        raise UserError(f"{folder}: no harness.py; see docs/harness-protocol.md")
    return files


def write_tree(tree: Tree, folder: Path) -> None:
    """Write files below ``folder``, all or nothing: a crash leaves no half-written harness."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        for path, data in tree.items():
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            (part / path).write_bytes(data)
        part.chmod(0o755)
        part.rename(folder)
    except FileExistsError:
        pass
    except OSError:
        if not folder.exists():  # another task may have been first: then all is well
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
