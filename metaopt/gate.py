"""Is a mutant fit to be evaluated?  Deterministic checks on its tree, then a smoke run.

The gate is what stands between a code-editing model and the population: it keeps to the
editable room, and it refuses names that two file systems would read differently.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, PositiveInt

from metaopt.tree import Tree, changed_paths, matches, may_edit, path_problem

Smoke = Callable[[Tree], Awaitable[list[str]]]


class GateRules(BaseModel):
    """What a candidate may look like.  Globs are those of ``metaopt.tree.matches``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    editable: tuple[str, ...] = ("**",)
    fixed: tuple[str, ...] = ()
    entry: str = "harness.py"
    max_file_bytes: PositiveInt = 200_000
    max_tree_bytes: PositiveInt = 1_000_000
    max_files: PositiveInt = 100


async def gate(tree: Tree, parent: Tree, rules: GateRules, smoke: Smoke) -> list[str]:
    """All problems of ``tree`` as one-line texts; empty means that it may be evaluated.

    ``smoke`` costs a process, and a bad tree may not even be written to disk: it runs only when
    the deterministic checks found nothing.
    """
    problems = [
        *_paths(tree, parent),
        *_twins(tree),
        *_changes(tree, parent, rules),
        *_sizes(tree, rules),
        *_texts(tree, parent),
    ]
    return problems or await smoke(tree)


def _paths(tree: Tree, parent: Tree) -> Iterator[str]:
    """Of what is new: a harness may come with files such as ``.gitignore`` from its home."""
    for path in sorted(tree.keys() - parent.keys()):
        if problem := path_problem(path):
            yield f"{path!r}: the path {problem}"


def _twins(tree: Tree) -> Iterator[str]:
    """Names that are one on a case-insensitive or normalizing file system, folders included."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for path in tree:
        for name in (path, *map(str, PurePosixPath(path).parents)):
            spellings[unicodedata.normalize("NFC", name.casefold())].add(name)
        if any(str(folder) in tree for folder in PurePosixPath(path).parents):
            yield f"{path!r}: lies under a path that is a file"
    for names in spellings.values():
        if len(names) > 1:
            yield f"{' and '.join(map(repr, sorted(names)))}: differ only in case or Unicode form"


def _changes(tree: Tree, parent: Tree, rules: GateRules) -> Iterator[str]:
    for path in changed_paths(parent, tree):
        if may_edit(path, rules.editable, rules.fixed):
            continue
        why = "is a fixed file" if matches(path, rules.fixed) else "is outside the editable paths"
        yield f"{path!r}: changed, but {why}"


def _sizes(tree: Tree, rules: GateRules) -> Iterator[str]:
    if rules.entry not in tree:
        yield f"{rules.entry!r}: the entry file is missing"
    if len(tree) > rules.max_files:
        yield f"{len(tree)} files; at most {rules.max_files} are allowed"
    for path, content in sorted(tree.items()):
        if len(content) > rules.max_file_bytes:
            yield f"{path!r}: {len(content)} bytes; at most {rules.max_file_bytes} are allowed"
    if (total := sum(map(len, tree.values()))) > rules.max_tree_bytes:
        yield f"{total} bytes in all files; at most {rules.max_tree_bytes} are allowed"


def _texts(tree: Tree, parent: Tree) -> Iterator[str]:
    """New content must be text: a diff of anything else can't be reviewed."""
    for path in changed_paths(parent, tree):
        content = tree.get(path, b"")
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            yield f"{path!r}: not UTF-8 text"
        if b"\0" in content:
            yield f"{path!r}: has a NUL byte"
