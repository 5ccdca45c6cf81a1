"""What the personas share: taking messages apart and making replies."""

import json
import re
from collections.abc import Sequence
from random import Random
from typing import Any

from inner_agent.llm import Message, Reply, ToolCall
from inner_agent.told import HEADING

_BACKTICKED = re.compile(r"`([^`\n]{1,80})`")


def content(message: Message) -> str:
    """A message's text, whatever shape its content has."""
    value = message.get("content")
    if isinstance(value, list):
        return "\n".join(str(p.get("text", "")) for p in value if isinstance(p, dict))
    return value if isinstance(value, str) else ""


def last_user(messages: Sequence[Message]) -> str:
    """The last user message's text."""
    return next((content(m) for m in reversed(messages) if m.get("role") == "user"), "")


def inside(text: str, tag: str) -> str:
    """What stands between ``<tag>`` and the last ``</tag>``; empty if the tag is missing."""
    start = text.find(f"<{tag}>")
    end = text.rfind(f"</{tag}>")
    return text[start + len(tag) + 2 : end].strip() if 0 <= start < end else ""


def split_paper(text: str) -> tuple[str, str]:
    """(paper, what follows it).  The last closing tag counts: a paper can't end its own block."""
    end = text.rfind("\n</paper>")
    if end < 0:
        return "", text
    return text[:end].removeprefix("<paper>").strip(), text[end + len("\n</paper>") :]


def split_told(text: str) -> tuple[str, str, str]:
    """(what the harness said, questions that are taken, learnings) of a message to the challenger,
    at whose end the trusted side may have told it of other items."""
    said, found, told = text.rpartition(f"\n\n{HEADING}\n\n")
    return (said, inside(told, "earlier"), inside(told, "learnings")) if found else (text, "", "")


def terms(text: str) -> list[str]:
    """Everything in `backticks`, in order, each once."""
    return list(dict.fromkeys(_BACKTICKED.findall(text)))


def find_object(text: str) -> dict[str, Any]:
    """The JSON object in ``text``; an empty one if there is none."""
    try:
        value, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def say(text: str) -> Reply:
    """A reply in words."""
    return Reply(text)


def call(rng: Random, *calls: tuple[str, dict[str, Any]]) -> Reply:
    """A reply that calls tools; ids are drawn, so that they tell equal conversations apart."""
    made = tuple(
        ToolCall(f"call_{rng.getrandbits(48):012x}", name, json.dumps(arguments))
        for name, arguments in calls
    )
    return Reply("", made, "tool_calls")


def tool_calls(message: Message) -> list[ToolCall]:
    """The tool calls of an assistant message, as far as they are well formed."""
    calls = message.get("tool_calls")
    made = []
    for one in calls if isinstance(calls, list) else []:
        function = one.get("function") if isinstance(one, dict) else None
        if isinstance(function, dict):
            name, arguments = str(function.get("name")), str(function.get("arguments") or "{}")
            made.append(ToolCall(str(one.get("id")), name, arguments))
    return made
