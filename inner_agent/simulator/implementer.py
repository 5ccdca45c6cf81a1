"""The implementer: reads the harness's prompts, makes one edit, checks it, finishes.

The edit follows the analysis in documented proportions: one that addresses a named mode, polite
words without effect, a directive that does harm, or something broken.  What it plans is drawn
once per conversation, from the id of its own first tool call.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from inner_agent.llm import Message, Reply, Request
from inner_agent.simulator.lexicon import Agent, directives
from inner_agent.simulator.modes import FIXES, HARM, IDLE, MODES, Fix
from inner_agent.simulator.parameters import SimulatorParameters
from inner_agent.simulator.wire import call, content, find_object, tool_calls

_FILE = re.compile(r"^- (\S+) \(\d+ bytes(, fixed)?\)", re.MULTILINE)
_PAGE_NOTE = re.compile(r"\n\[to character \d+ of \d+; read on with offset=\d+\]")
_LEFT_NOTE = re.compile(r"\n\[replies left: \d+\]$")
_TEMPLATE = '"weight": "<number>"'
_HEADINGS = {
    "generic": "question", "depth": "question", "number": "question",
    "leak": "context", "omit": "context",
    "unmarked": "answer", "guessable": "question", "open": "question",
    "negative": "rubric", "heavy": "rubric", "string_weight": "rubric", "style": "rubric",
    "persist": "round fails", "stop_early": "round fails",
}  # fmt: skip

Files = dict[str, str]


@dataclass(frozen=True, slots=True)
class Step:
    """A finished tool call."""

    name: str
    arguments: dict[str, Any]
    result: str

    @property
    def refused(self) -> bool:
        """The tool did nothing."""
        return self.result.startswith("error:")


@dataclass(frozen=True, slots=True)
class Change:
    """One edit, what to do if the gate refuses it, and what to say about it."""

    tool: tuple[str, dict[str, Any]]
    remedy: tuple[str, dict[str, Any]]
    summary: str


def reply(request: Request, rng: Random, p: SimulatorParameters) -> Reply:
    """The next tool call of the edit."""
    steps = _steps(request.messages)
    paths = _paths(request.messages)
    if not paths:
        return call(rng, ("list_files", {}))
    files = {
        str(s.arguments.get("path")): _clean(s.result)
        for s in steps
        if s.name == "read_file" and not s.refused
    }
    if not files:
        return call(rng, *(("read_file", {"path": path}) for path in _worth_reading(paths)))
    plan = Random(_first_id(request.messages))
    task = content(request.messages[1]) if len(request.messages) > 1 else ""
    change = _change(task, files, plan, p)
    return _go_on(change, [s for s in steps if s.name not in ("read_file", "list_files")], rng, p)


def _go_on(change: Change, done: Sequence[Step], rng: Random, p: SimulatorParameters) -> Reply:
    """Edit, check, finish; after a complaint: mend the damage, or insist."""
    if not done:
        return call(rng, change.tool)
    last = done[-1]
    edited = sum(s.name in ("replace", "write_file", "delete_file") and not s.refused for s in done)
    if last.refused and not edited:
        return call(rng, ("write_file", {"path": "NOTES.md", "content": f"{change.summary}\n"}))
    if last.name in ("check", "finish"):
        good = last.result.startswith("No problems")
        if good or edited > 1 or rng.random() > p.repairs:
            return call(rng, ("finish", {"summary": change.summary}))
        return call(rng, change.remedy)
    if rng.random() < p.unchecked:
        return call(rng, ("finish", {"summary": change.summary}))
    return call(rng, ("check", {}))


def _steps(messages: Sequence[Message]) -> list[Step]:
    asked = {one.id: one for m in messages for one in tool_calls(m)}
    return [
        Step(one.name, find_object(one.arguments), content(m))
        for m in messages
        if m.get("role") == "tool" and (one := asked.get(str(m.get("tool_call_id"))))
    ]


def _paths(messages: Sequence[Message]) -> list[str]:
    """Editable files, from the task or from a listing."""
    for message in messages:
        if message.get("role") in ("user", "tool"):
            text = content(message).rpartition("# The harness")[2]
            found = [m[1] for m in _FILE.finditer(text) if not m[2]]
            if found:
                return found
    return []


def _worth_reading(paths: Sequence[str]) -> list[str]:
    prompts = [path for path in paths if path.endswith(".md")][:5]
    code = sorted((path for path in paths if path.endswith(".py")), key=lambda a: "rubric" not in a)
    return [*prompts, *code[:1]] or list(paths[:1])


def _clean(text: str) -> str:
    return _PAGE_NOTE.sub("", _LEFT_NOTE.sub("", text))


def _first_id(messages: Sequence[Message]) -> str:
    return next((one.id for m in messages for one in tool_calls(m)), "")


def _change(task: str, files: Files, plan: Random, p: SimulatorParameters) -> Change:
    weights = (p.good_edit, p.idle_edit, p.harmful_edit, p.broken_edit)
    kind = plan.choices(("good", "idle", "harmful", "broken"), weights)[0]
    made: Change | None = None
    if kind == "good":
        made = _good(task, files, plan)
    elif kind == "harmful":
        made = _harmful(files, plan)
    elif kind == "broken":
        made = _broken(files, plan)
    return made or _idle(files, plan)


def _good(task: str, files: Files, plan: Random) -> Change | None:
    """A directive, or the removal of its opposite, for a mode that the analysis names."""
    modes = _named(task)
    while modes:
        mode = plan.choices(list(modes), list(modes.values()))[0]
        del modes[mode]
        options = [
            change
            for fix in FIXES[mode]
            if (change := _removal(fix, files, mode) or _addition(fix, task, files, plan, mode))
        ]
        if options:
            return options[0] if plan.random() < 0.7 else plan.choice(options)
    return None


def _named(task: str) -> dict[str, float]:
    """Modes in the analysis, weighted by their shares; the one proposed for counts double."""
    analysis = task.partition("# Earlier iterations")[0].lower()
    found = {}
    for key, mode in MODES.items():
        named = re.search(rf"failure mode: {re.escape(mode.name)} \((\d+)%", analysis)
        if named or mode.name in analysis:
            share = int(named[1]) / 100 if named else 0.2
            found[key] = max(0.02, share) * (2 if mode.change.lower() in analysis else 1)
    return found


def _path_of(agent: Agent, files: Files) -> str | None:
    word = agent.removeprefix("quality_").removesuffix("_agent")
    return next((path for path in files if path.endswith(".md") and word in path), None)


def _addition(fix: Fix, task: str, files: Files, plan: Random, mode: str) -> Change | None:
    """A sentence that the file does not have yet, in words that were not tried before."""
    agent, directive, wordings = fix
    path = _path_of(agent, files)
    if path is None or directive in directives(files[path], agent):
        return None
    if mode == "malformed" and files[path].count(_TEMPLATE) == 1 and plan.random() < 0.3:
        new = '"weight": <integer>'
        return _replace(path, _TEMPLATE, new, f"The reply's shape in {path} now has {new}.")
    text = plan.choice([w for w in wordings if w not in task] or wordings)
    return _insert(path, files[path], text, directive, f"Told the {agent}: {text}")


def _removal(fix: Fix, files: Files, mode: str) -> Change | None:
    """Take out a line that demands what the fix would curb."""
    agent, directive, _ = fix
    path = _path_of(agent, files)
    demand = {"persist": "stop_early"}.get(directive[5:], directive[5:])
    if path is None or f"demand:{demand}" not in directives(files[path], agent):
        return None
    for _, name, wordings in HARM:
        for text in wordings if name == f"demand:{demand}" else ():
            if files[path].count(f"\n\n{text}") == 1:
                why = f"Took out of {path}: {text}  It led to {MODES[mode].name}."
                return _replace(path, f"\n\n{text}", "", why)
    return None


def _harmful(files: Files, plan: Random) -> Change | None:
    options = [
        (path, fix)
        for fix in HARM
        if (path := _path_of(fix[0], files)) and fix[1] not in directives(files[path], fix[0])
    ]
    if not options:
        return None
    path, (agent, directive, wordings) = plan.choice(options)
    text = plan.choice(wordings)
    return _insert(path, files[path], text, directive, f"Told the {agent}: {text}")


def _idle(files: Files, plan: Random) -> Change:
    """Words that no agent takes for a directive, and that the prompt does not have yet."""
    prompts = [path for path in files if path.endswith(".md")] or list(files)
    path = plan.choice(prompts)
    text = plan.choice([t for t in IDLE if t not in files[path]] or IDLE)
    return _insert(path, files[path], text, "", f"Reminded the agent of {path}: {text}")


def _broken(files: Files, plan: Random) -> Change | None:
    """A function without its colon, or a whole module gone; the remedy leaves a comment."""
    path = next((path for path in files if path.endswith(".py")), None)
    if path is None:
        return None
    if plan.random() < 0.3:
        whole = f"{files[path].rstrip()}\n\n# Other modules import this one.\n"
        remedy = ("write_file", {"path": path, "content": whole})
        return Change(("delete_file", {"path": path}), remedy, f"Tidied {path}.")
    lines = [line for line in files[path].splitlines() if line.startswith("def ")]
    usable = [line for line in lines if line.endswith(":") and files[path].count(line) == 1]
    if not usable:
        return None
    old = plan.choice(usable)
    broken = {"path": path, "old": old, "new": f"{old[:-1]} ->"}
    mended = {"path": path, "old": broken["new"], "new": f"{old}\n    # Handles one reply."}
    return Change(("replace", broken), ("replace", mended), f"Tidied {path}.")


def _insert(path: str, text: str, line: str, directive: str, summary: str) -> Change:
    """Put a paragraph under the heading that it belongs to, or under the last one."""
    headings = [one for one in text.splitlines() if one.startswith("#") and text.count(one) == 1]
    word = _HEADINGS.get(directive.partition(":")[2], "")
    fitting = [one for one in headings if word and word in one.lower()]
    if not headings:
        content_ = f"{text.rstrip()}\n\n{line}\n"
        back = ("write_file", {"path": path, "content": text})
        return Change(("write_file", {"path": path, "content": content_}), back, summary)
    old = (fitting or headings[:1])[0]
    return _replace(path, old, f"{old}\n\n{line}", summary)


def _replace(path: str, old: str, new: str, summary: str) -> Change:
    remedy = ("replace", {"path": path, "old": new, "new": old})
    return Change(("replace", {"path": path, "old": old, "new": new}), remedy, summary)
