"""A harness tree in memory, and the pure functions that reading and editing it need.

A tree is a mapping from relative POSIX path to content; nothing here touches a repository.
Edits return a new tree.  ``Refused`` carries one line that is fit for the model that asked.
"""

import difflib
import hashlib
import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, takewhile
from pathlib import Path

from pathspec import GitIgnoreSpec

Tree = Mapping[str, bytes]

MAX_PATH = 200  # bytes; git and every file system we know take this
MAX_PATTERN = 200
SEARCH_SECONDS = 5.0
MAX_COMPARED = 1_000_000  # pairs of lines: difflib needs seconds for that, and minutes for more
MARGIN = 20  # equal lines left around what differs, to lay out the hunks
# ASCII alone: of other letters some look like these, some are one to a file system, some unseen.
_PLAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_ .,+=@()-]*[A-Za-z0-9_,+=@()-])?")
# What an interpreter takes in a module's place, or reads as it starts.
_UNREAD = re.compile(
    r"__pycache__|.*\.(?:pyc|pyo|pyd|so|dll|dylib|pth|egg|egg-link)"
    r"|(?:sitecustomize|usercustomize)(?:\..*)?",
    re.IGNORECASE,
)
_SEARCH_PROGRAM = Path(__file__).with_name("grep.py")


class Refused(ValueError):
    """What was asked for can't be done; the text says why in one line."""


def path_problem(path: str) -> str | None:
    """Say what is wrong with ``path`` as a file of a tree, or ``None``."""
    parts = path.split("/")
    if any(unicodedata.category(c).startswith("C") for c in path):
        return "has a control, format or unassigned character"
    if "\\" in path:
        return "has a backslash"
    if path.startswith("/"):
        return "is not relative"
    if any(part in ("", ".", "..") for part in parts):
        return "has an empty, '.' or '..' component"
    if belongs_to_git(path):
        return "has a component that git treats as its own"
    if any(_UNREAD.fullmatch(part) for part in parts):
        return "has a component that holds compiled code, or code that nobody imports"
    if not all(_PLAIN.fullmatch(part) for part in parts):
        return (
            "has a component that isn't plain: ASCII letters, digits and _ .,+=@()- and spaces"
            " within it"
        )
    if len(path.encode()) > MAX_PATH:
        return f"is longer than {MAX_PATH} bytes"
    return None


def belongs_to_git(path: str) -> bool:
    """Whether git reads a part of ``path`` as its own, on any file system."""
    return any(part.casefold().startswith((".git", "git~")) for part in path.split("/"))


def matches(path: str, globs: Sequence[str]) -> bool:
    """Whether ``path`` is covered by ``globs``, read exactly as lines of a ``.gitignore``.

    So ``prompts/**`` is all under the root's ``prompts``, ``/harness.py`` one file, and a name
    without a slash (``*.md``) matches at any depth.
    """
    return GitIgnoreSpec.from_lines(globs).match_file(path)


def may_edit(path: str, editable: Sequence[str], fixed: Sequence[str]) -> bool:
    """Whether a candidate may differ from its parent at ``path``; ``fixed`` wins."""
    return matches(path, editable) and not matches(path, fixed)


def changed_paths(old: Tree, new: Tree) -> list[str]:
    """Paths added, deleted or with other content, sorted."""
    return sorted(p for p in old.keys() | new.keys() if old.get(p) != new.get(p))


def text_of(tree: Tree, path: str) -> str:
    """A file as text.  Raises ``Refused`` when it is missing or isn't UTF-8."""
    if path not in tree:
        raise Refused(f"{path!r}: no such file")
    try:
        return tree[path].decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(f"{path!r}: not UTF-8 text") from None


def replace_once(tree: Tree, path: str, old: str, new: str) -> Tree:
    """Replace the one place where ``old`` occurs.  Raises ``Refused`` at none or several."""
    text = text_of(tree, path)
    first = text.find(old) if old else -1
    if first < 0:
        raise Refused(f"{path!r}: `old` does not occur; copy it from the file, spaces included")
    if text.find(old, first + 1) >= 0:
        raise Refused(f"{path!r}: `old` occurs more than once; take in lines around it")
    return {**tree, path: (text[:first] + new + text[first + len(old) :]).encode("utf-8")}


def tree_sha256(tree: Tree) -> str:
    """Hash of paths and contents, whatever the order of the mapping."""
    lines = (f"{hashlib.sha256(tree[p]).hexdigest()} {p}\0" for p in sorted(tree))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def unified_diff(old: Tree, new: Tree) -> str:
    """The change from ``old`` to ``new`` for people and models to read; not meant to be applied."""
    return "".join(_file_diff(path, old, new) for path in changed_paths(old, new))


def _file_diff(path: str, old: Tree, new: Tree) -> str:
    name_a = f"a/{path}" if path in old else "/dev/null"
    name_b = f"b/{path}" if path in new else "/dev/null"
    try:
        before, after = (t.get(path, b"").decode("utf-8").split("\n") for t in (old, new))
    except UnicodeDecodeError:
        return f"Binary files {name_a} and {name_b} differ\n"
    return "".join(
        f"{line}\n" for line in (f"--- {name_a}", f"+++ {name_b}", *_hunks(before, after))
    )


def _hunks(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """The hunks of a unified diff; all in one where there is too much to compare by pairs."""
    start = _shared(before, after)
    end = _shared(before[start:][::-1], after[start:][::-1])
    start, end = max(0, start - MARGIN), max(0, end - MARGIN)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if len(old) * len(new) > MAX_COMPARED:
        yield f"@@ -{start + 1},{len(old)} +{start + 1},{len(new)} @@"
        yield from (f"-{line}" for line in old)
        yield from (f"+{line}" for line in new)
        return
    for line in islice(difflib.unified_diff(old, new, lineterm=""), 2, None):
        if line.startswith("@@"):
            yield re.sub(r"(?<= [-+])\d+", lambda number: str(int(number[0]) + start), line)
        else:
            yield line


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines are the same from the start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def search(texts: Mapping[str, str], pattern: str) -> str:
    """Lines of ``texts`` that match a regular expression, as ``name:line (offset N): text``.

    A model writes the pattern, and no limit on lengths stops a pattern like ``(a+)+$``, so the
    matching runs in a process of its own that is killed after ``SEARCH_SECONDS``.  Raises
    ``Refused`` then, and for a pattern that is no regular expression or too long.
    """
    if len(pattern) > MAX_PATTERN:
        raise Refused(f"pattern: longer than {MAX_PATTERN} characters")
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(_SEARCH_PROGRAM)],
            input=json.dumps({"pattern": pattern, "texts": dict(texts)}).encode(),
            capture_output=True,
            env={},
            timeout=SEARCH_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise Refused("pattern: took too long to match; write a simpler one") from None
    found = json.loads(done.stdout)
    if "error" in found:
        raise Refused(f"pattern: {found['error']}")
    return "\n".join(found["lines"]) or "no line matches"
