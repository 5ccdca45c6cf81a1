"""The challenger: what kind of item it writes, and how it looks into the paper where it can.

It knows the tools by their names (``list_sections``, ``read_section``, ``search_paper``,
``check_quote``) and uses those that it is offered, in this order.  What it writes comes from the
texts that they returned and from nothing else, by the ways of ``challenger``; an offer of other
tools, or of none, leaves it as it is without them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from inner_agent.llm import Message, Reply, Request
from inner_agent.simulator import challenger, checkable
from inner_agent.simulator.lexicon import directives
from inner_agent.simulator.parameters import SimulatorParameters
from inner_agent.simulator.reading import read_paper, split
from inner_agent.simulator.wire import (
    call,
    content,
    find_object,
    last_user,
    split_paper,
    split_told,
    tool_calls,
)

_TOOLS = ("list_sections", "read_section", "search_paper", "check_quote")
_READ, _SEARCHED, _QUOTED = 3, 2, 4  # sections, words, quotes; chosen, not measured


@dataclass(frozen=True, slots=True)
class Step:
    """A finished tool call."""

    name: str
    arguments: dict[str, Any]
    result: dict[str, Any]


def reply(request: Request, rng: Random, p: SimulatorParameters) -> Reply:
    """The next look into the paper, or an item; without tools that it knows, an item at once."""
    offered = {str((t.get("function") or {}).get("name")) for t in request.tools or ()}
    if offered.isdisjoint(_TOOLS):
        _, prompt = split_paper(last_user(request.messages))
        return challenger.reply(request, rng, p, _writer(prompt))
    steps = _steps(request.messages)
    text = _seen(steps)
    looks: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "list_sections": lambda: [{}],
        "read_section": lambda: _sections(steps, rng),
        "search_paper": lambda: _leads(text, rng),
    }
    for name, choose in looks.items():
        new = name in offered and not any(step.name == name for step in steps)
        if new and (wanted := choose()):
            return call(rng, *((name, arguments) for arguments in wanted))
    return _proposal(request, steps, text, "check_quote" in offered, rng, p)


def _writer(prompt: str) -> challenger.Write:
    return checkable.checked if checkable.wanted(prompt) else challenger.graded


def _proposal(
    request: Request, steps: Sequence[Step], text: str, checks: bool, rng: Random,
    p: SimulatorParameters,
) -> Reply:  # fmt: skip
    """An item of what was seen, once its quotes are checked.

    The draft is drawn anew for each proposal, and is the same before and after the check.
    """
    users = [content(m) for m in request.messages if m.get("role") == "user"] or [""]
    users[-1], taken, learned = split_told(users[-1])
    prompt, *complaints = users
    past = challenger.Past(0, 0, 0, len(complaints), "\n".join(complaints), taken)
    told = directives(prompt, "challenger") | directives(learned, "challenger")
    typed = request.schema is not None
    draft = Random(f"{_first_id(request.messages)}/{len(complaints)}")
    item = _writer(prompt)(text, told, past, draft, p, typed=typed)
    quotes = _quotes(item, text)
    if checks:
        found = {str(s.arguments.get("quote")): s.result.get("found") for s in steps}
        if unchecked := [quote for quote in quotes if quote not in found]:
            return call(rng, *(("check_quote", {"quote": quote}) for quote in unchecked))
        quotes = [quote for quote in quotes if found[quote] is True]
    if '"evidence"' in prompt:
        item["evidence"] = quotes
    return challenger.wrapped(item, rng, p, typed=typed)


def _steps(messages: Sequence[Message]) -> list[Step]:
    asked = {one.id: one for m in messages for one in tool_calls(m)}
    return [
        Step(one.name, find_object(one.arguments), find_object(content(m)))
        for m in messages
        if m.get("role") == "tool" and (one := asked.get(str(m.get("tool_call_id"))))
    ]


def _first_id(messages: Sequence[Message]) -> str:
    return next((one.id for m in messages for one in tool_calls(m)), "")


def _seen(steps: Sequence[Step]) -> str:
    """The paper as far as the tools have shown it: its title, then each sentence once."""
    title, sentences = "", []
    for step in steps:
        title = str(step.result.get("title", title))
        passages = step.result.get("passages")
        for part in (step.result.get("text"), *(passages if isinstance(passages, list) else ())):
            sentences += split(part) if isinstance(part, str) else []
    return "\n".join([f"# {title}", *dict.fromkeys(sentences)])


def _sections(steps: Sequence[Step], rng: Random) -> list[dict[str, Any]]:
    """Some of the listed sections, their first pages."""
    listed = next((s.result.get("sections") for s in steps if s.name == "list_sections"), None)
    listed = listed if isinstance(listed, list) else []
    known = [s["section"] for s in listed if isinstance(s, dict) and "section" in s]
    chosen = sorted(rng.sample(known, min(_READ, len(known))))
    return [{"section": number, "page": 1} for number in chosen]


def _leads(text: str, rng: Random) -> list[dict[str, Any]]:
    """Words that link sentences which were read: where else does the paper speak of them?"""
    words = [word for word, at in read_paper(text).where.items() if len(at) > 1]
    return [{"words": word} for word in rng.sample(words, min(_SEARCHED, len(words)))]


def _quotes(item: dict[str, Any], text: str) -> list[str]:
    """Sentences of the context that were read as they stand."""
    read = {sentence.text for sentence in read_paper(text).prose}
    return [sentence for sentence in split(item["context"]) if sentence in read][:_QUOTED]
