"""Is a mutant fit to be evaluated?  Deterministic checks on its tree, then a smoke run.

The gate is what stands between a code-editing model and the population: it keeps to the
editable room, it refuses names that two file systems would read differently, and text that a
reader of the diff sees otherwise than the interpreter or a model does.
"""

import io
import sys
import tokenize
import unicodedata
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, PositiveInt

from metaopt.config import RunConfig
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


def rules_of(config: RunConfig) -> GateRules:
    """The rules for the candidates of a run."""
    return GateRules(
        editable=config.harness.editable,
        fixed=config.harness.fixed,
        max_file_bytes=config.search.max_file_kb * 1024,
        max_tree_bytes=config.search.max_tree_kb * 1024,
    )


async def gate(tree: Tree, parent: Tree, rules: GateRules, smoke: Smoke) -> list[str]:
    """All problems of ``tree`` as one-line texts; empty means that it may be evaluated.

    ``smoke`` costs a process, and a bad tree may not even be written to disk: it runs only when
    the deterministic checks found nothing.
    """
    problems = [
        *_paths(tree, parent),
        *_twins(tree),
        *_changes(tree, parent, rules),
        *_shadows(tree, parent, rules),
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


def _shadows(tree: Tree, parent: Tree, rules: GateRules) -> Iterator[str]:
    """New modules that would be imported in place of a fixed one, or by a fixed one."""
    fixed = [path for path in parent if path.endswith(".py") and matches(path, rules.fixed)]
    for path in sorted(tree.keys() - parent.keys()):
        for module in fixed:
            if path.startswith(f"{module.removesuffix('.py')}/"):
                yield f"{path!r}: would be imported in place of {module}, a fixed file"
        name = path.partition("/")[0].removesuffix(".py")
        if fixed and path.endswith(".py") and name in sys.stdlib_module_names:
            yield f"{path!r}: would be imported in place of the standard library's {name}"


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
    """New content must be text that shows what it is: a diff of anything else can't be reviewed."""
    for path in changed_paths(parent, tree):
        content = tree.get(path, b"")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            yield f"{path!r}: not UTF-8 text"
            continue
        new = _unseen(text) - _unseen(parent.get(path, b"").decode("utf-8", "replace"))
        for character in sorted(new)[:3]:
            yield f"{path!r}: has the invisible character U+{ord(character):04X}; escape it"
        if path.endswith(".py") and not _plainly_encoded(content):
            yield f"{path!r}: declares an encoding other than UTF-8"


def _unseen(text: str) -> set[str]:
    """Characters that steer how text is shown, or aren't: controls, formats, private ones.

    Emoji may keep their variation selectors; the other 240 of these can carry a hidden message.
    """
    used = set(text.replace("\r\n", "\n")) - {"\n", "\t"}
    return {
        c
        for c in used
        if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn") or 0xE0100 <= ord(c) <= 0xE01EF
    }


def _plainly_encoded(content: bytes) -> bool:
    """Whether Python reads the source as a reader does: a cookie may ask for another encoding."""
    try:
        return tokenize.detect_encoding(io.BytesIO(content).readline)[0].startswith("utf-8")
    except SyntaxError:
        return False
