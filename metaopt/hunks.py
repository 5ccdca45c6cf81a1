"""A candidate's diff as hunks that can be taken back one by one.

A hunk is what ``metaopt show --diff`` shows as one.  A file that is new, deleted or without lines
to compare is one hunk.  Trees are made by picking each hunk's old or new lines, never by applying
patches, so any set of hunks can be taken back, in any order, and all of them give the parent.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from metaopt.tree import Tree, changed_paths

_HEADER = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")  # as git sees lines: a \r belongs to its line

Members = tuple[int, ...]
Check = Callable[[Tree], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Hunk:
    """One change of one file: lines ``old`` of the parent's became lines ``new``.

    Half-open ranges, counted from 0; ``None`` where the whole file is the hunk.  ``text`` is the
    change as a diff shows it, without the names of the file.
    """

    path: str
    old: tuple[int, int] | None
    new: tuple[int, int] | None
    text: str

    def where(self) -> str:
        """Where it is, for people: lines are the parent's, counted from 1."""
        if self.old is None:
            return self.path
        return f"{self.path}:{self.old[0] + 1}"


@dataclass(frozen=True, slots=True)
class Group:
    """Hunks that are taken back together, by their places in the list of hunks.

    ``problem`` says why that can't be done: the tree without them doesn't run, and no hunks to
    take back with them were found.
    """

    members: Members
    problem: str = ""


def split_diff(before: Tree, after: Tree, diff_of: Callable[[str], str]) -> list[Hunk]:
    """The hunks between two trees, by path and place.

    ``diff_of(path)`` is git's unified diff of one file.
    """
    hunks = []
    for path in changed_paths(before, after):
        found = _of_file(path, diff_of(path))
        whole = path not in before or path not in after or not found
        if whole:
            text = "".join(h.text for h in found) or f"{path}: {_what(path, before, after)}\n"
            found = [Hunk(path, None, None, text)]
        hunks += found
    return hunks


def take_back(before: Tree, after: Tree, hunks: Iterable[Hunk], back: Collection[Hunk]) -> Tree:
    """``after`` with the hunks ``back`` as they are in ``before``.

    ``hunks`` are all those between the two.
    """
    tree = dict(after)
    for path in {h.path for h in back}:
        own = [h for h in hunks if h.path == path]
        content = _content(before.get(path), after.get(path), own, back)
        if content is None:
            tree.pop(path, None)
        else:
            tree[path] = content
    return tree


async def runnable_groups(
    before: Tree, after: Tree, hunks: Sequence[Hunk], check: Check
) -> list[Group]:
    """Divide the hunks so that ``after`` without any one group runs.

    ``check`` lists what is wrong with a tree.  A hunk whose absence breaks the harness is joined
    with the hunk, then with the hunks, that make it run again when they go too; the nearest are
    tried first.  Costs at most about twice as many checks as there are hunks for each hunk that
    can't go alone.
    """

    known: dict[Members, str] = {}

    async def problem(members: Members) -> str:
        if members not in known:
            back = [hunks[k] for k in members]
            found = await check(take_back(before, after, hunks, back))
            known[members] = found[0] if found else ""
        return known[members]

    groups: list[Members] = [(k,) for k in range(len(hunks))]
    stuck: set[Members] = set()
    while broken := [g for g in groups if g not in stuck and await problem(g)]:
        group = broken[0]
        partners = await _partners(group, groups, hunks, problem)
        if partners:
            groups = sorted({_union(group, *partners), *groups} - {group, *partners})
            stuck.clear()  # the new group may be what another one lacks
        else:
            stuck.add(group)
    return [Group(g, await problem(g)) for g in groups]


async def _partners(
    group: Members, groups: Sequence[Members], hunks: Sequence[Hunk],
    problem: Callable[[Members], Awaitable[str]],
) -> list[Members]:  # fmt: skip
    """The groups to join with: one that suffices, else the nearest few; none when it takes all."""
    others = sorted((g for g in groups if g != group), key=lambda g: _distance(group, g, hunks))
    some = [others[:count] for count in range(2, len(others))]
    for partners in [*([g] for g in others), *some]:
        if len(partners) < len(others) and not await problem(_union(group, *partners)):
            return partners
    return []


def _union(*groups: Members) -> Members:
    return tuple(sorted({k for g in groups for k in g}))


def _distance(one: Members, other: Members, hunks: Sequence[Hunk]) -> tuple[int, int]:
    """Files that name each other are near, the same file is nearer; then by place in the diff."""
    pairs = [(hunks[a], hunks[b]) for a in one for b in other]
    if any(a.path == b.path for a, b in pairs):
        kind = 0
    else:
        kind = 1 if any(_named(a, b) or _named(b, a) for a, b in pairs) else 2
    return kind, min(abs(a - b) for a in one for b in other)


def _named(hunk: Hunk, by: Hunk) -> bool:
    return re.search(rf"\b{re.escape(PurePosixPath(hunk.path).stem)}\b", by.text) is not None


def _of_file(path: str, diff: str) -> list[Hunk]:
    headers = list(_HEADER.finditer(diff))
    ends = [*(h.start() for h in headers[1:]), len(diff)]
    hunks = []
    for header, end in zip(headers, ends, strict=False):
        a, n, b, m = (int(x) if x else 1 for x in header.groups())
        hunks.append(Hunk(path, _range(a, n), _range(b, m), diff[header.start() : end]))
    return hunks


def _range(first: int, count: int) -> tuple[int, int]:
    """Git counts lines from 1; an empty range is named by the line before it."""
    start = first - 1 if count else first
    return start, start + count


def _what(path: str, before: Tree, after: Tree) -> str:
    return "new" if path not in before else "deleted" if path not in after else "changed"


def _content(
    before: bytes | None, after: bytes | None, own: Sequence[Hunk], back: Collection[Hunk]
) -> bytes | None:
    if own[0].old is None:
        return before
    old, new = _LINE.findall(before or b""), _LINE.findall(after or b"")
    for h in reversed(own):  # from the end, so that earlier places stay what they are
        if h in back and h.old and h.new:
            new[slice(*h.new)] = old[slice(*h.old)]
    return b"".join(new)
