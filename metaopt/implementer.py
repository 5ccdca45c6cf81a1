"""The implementer: a code-editing agent that turns a diagnosis into an edited harness tree.

Step 4 of an iteration (Autodata, Kulikov et al. 2026).  It works on a tree in memory, inside the
editable paths only; the gate decides whether what it finishes with may be evaluated.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from inner_agent import prompts
from metaopt.agent import AgentFailed, AgentSettings, Ask, Done, NoArguments, Tool, page, run_agent
from metaopt.analyzer import Diagnosis
from metaopt.history import HistoryEntry, render_history
from metaopt.tree import (
    Refused,
    Tree,
    belongs_to_git,
    may_edit,
    path_problem,
    replace_once,
    search,
    text_of,
    tree_sha256,
    unified_diff,
)

PROMPTS = Path(__file__).parent / "prompts"
NO_CHANGE = "nothing differs from the parent yet; make the change, then finish"

Check = Callable[[Tree], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Edit:
    """A mutant that passed the gate: ``steps`` replies and ``repairs`` failed gates led to it."""

    tree: Tree
    summary: str
    steps: int
    repairs: int


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Read(_Strict):
    path: str
    offset: Annotated[int, Field(description="character to start at")] = 0


class _Search(_Strict):
    pattern: Annotated[str, Field(description="regular expression, matched line by line")]


class _Replace(_Strict):
    path: str
    old: Annotated[str, Field(description="text that occurs exactly once in the file")]
    new: str


class _Write(_Strict):
    path: str
    content: str


class _Delete(_Strict):
    path: str


class _Finish(_Strict):
    summary: Annotated[str, Field(min_length=1, max_length=2_000)]


@dataclass(slots=True)
class _Desk:
    """The tree under edit, and how often finishing was tried in vain."""

    parent: Tree
    tree: Tree
    editable: Sequence[str]
    fixed: Sequence[str]
    gate: Check
    max_repairs: int
    repairs: int = 0
    idle_finishes: int = 0
    verdicts: dict[str, list[str]] = field(default_factory=dict)

    async def list_files(self, _: NoArguments) -> str:
        return _file_list(self.tree, self.editable, self.fixed)

    async def read_file(self, args: _Read) -> str:
        return page(text_of(self.tree, args.path), args.offset)

    async def search(self, args: _Search) -> str:
        texts = {path: self.tree[path].decode("utf-8", "replace") for path in sorted(self.tree)}
        return await asyncio.to_thread(search, texts, args.pattern)

    async def replace(self, args: _Replace) -> str:
        self._may_edit(args.path)
        self.tree = replace_once(self.tree, args.path, args.old, args.new)
        return "replaced"

    async def write_file(self, args: _Write) -> str:
        self._may_edit(args.path)
        self.tree = {**self.tree, args.path: args.content.encode("utf-8")}
        return f"written, {len(self.tree[args.path])} bytes"

    async def delete_file(self, args: _Delete) -> str:
        self._may_edit(args.path)
        text_of(self.tree, args.path)
        self.tree = {path: self.tree[path] for path in self.tree if path != args.path}
        return "deleted"

    async def check(self, _: NoArguments) -> str:
        if problems := await self._problems():
            return _listed("Problems:", problems)
        return f"No problems.  The change so far:\n{unified_diff(self.parent, self.tree) or 'none'}"

    async def finish(self, args: _Finish) -> str | Done[str]:
        if tree_sha256(self.tree) == tree_sha256(self.parent):
            self.idle_finishes += 1
            if self.idle_finishes > 1:
                raise AgentFailed("no change")
            raise Refused(NO_CHANGE)
        problems = await self._problems()
        if not problems:
            return Done(args.summary)
        if self.repairs == self.max_repairs:
            raise AgentFailed(f"gate: {'; '.join(problems[:3])}")
        self.repairs += 1
        return _listed("The gate refused this tree.  Repair it, then finish again:", problems)

    async def _problems(self) -> list[str]:
        """The gate's verdict; asked for once per tree, for a smoke run costs seconds."""
        key = tree_sha256(self.tree)
        if key not in self.verdicts:
            self.verdicts[key] = await self.gate(self.tree)
        return self.verdicts[key]

    def _may_edit(self, path: str) -> None:
        problem = path_problem(path)  # of what is new: the harness's home may name files otherwise
        if problem and (path not in self.parent or belongs_to_git(path)):
            raise Refused(f"{path[:80]!r}: the path {problem}")
        if not may_edit(path, self.editable, self.fixed):
            raise Refused(f"{path!r}: may not be changed.  {_rule(self.editable, self.fixed)}")


async def implement(
    ask: Ask,
    diagnosis: Diagnosis,
    history: Sequence[HistoryEntry],
    tree: Tree,
    editable: Sequence[str],
    fixed: Sequence[str],
    check: Check,
    sample: str,
    settings: AgentSettings,
) -> Edit:
    """Edit ``tree`` as ``diagnosis`` proposes; ``check`` returns the problems of a tree.

    Raises ``AgentFailed``: ``gate: …`` when repairs ran out, ``no change`` when the parent itself
    was finished twice, else when the bounds of ``settings`` were reached.
    """
    desk = _Desk(tree, tree, editable, fixed, check, settings.repairs)
    task = "\n\n".join(
        [
            f"# The analysis\n\n{render_diagnosis(diagnosis)}",
            f"# Earlier iterations\n\n{render_history(history, settings.history)}",
            f"# The harness\n\n{_rule(editable, fixed)}\n\n{_file_list(tree, editable, fixed)}",
        ]
    )
    messages = [
        {"role": "system", "content": prompts.load("implementer", PROMPTS).render()},
        {"role": "user", "content": task},
    ]
    outcome = await run_agent(ask, "implementer", sample, messages, _tools(desk), settings)
    return Edit(desk.tree, outcome.value, outcome.steps, desk.repairs)


def render_diagnosis(diagnosis: Diagnosis) -> str:
    """A diagnosis as text for the implementer, and for people."""
    lines = [f"Root cause: {diagnosis.root_cause}", f"Proposed change: {diagnosis.proposed_change}"]
    for mode in diagnosis.failure_modes:
        lines.append(f"Failure mode: {mode.name} ({mode.share:.0%}; {', '.join(mode.papers)})")
        lines += [f"  - {evidence}" for evidence in mode.evidence]
    lines.append(f"Predicted fixes: {', '.join(diagnosis.predicted_fixes) or 'none'}")
    lines.append(f"Papers at risk: {', '.join(diagnosis.papers_at_risk) or 'none'}")
    return "\n".join(lines)


def _tools(desk: _Desk) -> list[Tool[str]]:
    return [
        Tool("list_files", "List the harness's files.", NoArguments, desk.list_files),
        Tool("read_file", "Read a file, page by page.", _Read, desk.read_file),
        Tool("search", "Find lines in all files.", _Search, desk.search),
        Tool("replace", "Replace the one place where `old` occurs.", _Replace, desk.replace),
        Tool("write_file", "Create a file or overwrite it whole.", _Write, desk.write_file),
        Tool("delete_file", "Delete a file.", _Delete, desk.delete_file),
        Tool("check", "Run the gate and show the change so far.", NoArguments, desk.check),
        Tool(
            "finish",
            "Hand in the tree; say what was changed and why.",
            _Finish,
            desk.finish,
            ends=True,
        ),
    ]


def _rule(editable: Sequence[str], fixed: Sequence[str]) -> str:
    except_ = f", except {', '.join(fixed)}" if fixed else ""
    return f"You may change what matches {', '.join(editable)}{except_}."


def _file_list(tree: Tree, editable: Sequence[str], fixed: Sequence[str]) -> str:
    lines = []
    for path in sorted(tree):
        note = "" if may_edit(path, editable, fixed) else ", fixed"
        lines.append(f"- {path} ({len(tree[path])} bytes{note})")
    return "\n".join(lines)


def _listed(head: str, problems: Sequence[str]) -> str:
    return "\n".join([head, *(f"- {problem}" for problem in problems)])
