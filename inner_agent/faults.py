"""Is a reply with status 200 the model's word, or a fault of whoever served it?

A fault is bought again with the same request, seed included, before it counts: a score must not
depend on a proxy that drops half a reply.  What a model says twice more is its word.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from inner_agent import strict_json
from inner_agent.llm import Reply, Request

REFUSED = ("content_filter", "refusal")  # finish reasons
SET_ASIDE = 2  # faulty replies to one request that are set aside before the next one counts
BELIEVED = 3  # replies under another name than asked for that make it the server's own name

_VARIANT = re.compile(r"[-@:](\d{3,}([-.]\d{1,2})*|latest)|\.gguf")  # a date or a build


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a reply isn't taken at once.  One by another model is never taken."""

    why: str
    kind: Literal["unusable", "refused", "other_model"] = "unusable"


def fault_of(request: Request, reply: Reply, served_as: str = "") -> Fault | None:
    """What is wrong with a reply that a sound provider and this model would hardly give.

    ``served_as``: the name by which the server is known to call the model asked for, ``""``
    where none is known.
    """
    if reply.model and not is_variant(request.model, reply.model) and reply.model != served_as:
        why = f"answered by {reply.model!r}, asked for {served_as or request.model!r}"
        return Fault(why, "other_model")
    if reply.finish_reason in REFUSED:
        return Fault(f"refused ({reply.content[:200].strip() or reply.finish_reason})", "refused")
    used_up = reply.completion_tokens >= request.max_tokens
    if reply.finish_reason == "length":
        if reply.completion_tokens and not used_up:
            tokens = f"{reply.completion_tokens} of {request.max_tokens} tokens"
            return Fault(f"cut off as too long after {tokens}")
        return None  # it did write that much: its word
    if not reply.content.strip() and not reply.tool_calls:
        return Fault("an empty reply")
    return _fault_of_calls(request, reply)


def _fault_of_calls(request: Request, reply: Reply) -> Fault | None:
    offered = {tool.get("function", {}).get("name") for tool in request.tools}
    for call in reply.tool_calls:
        if call.name not in offered:
            return Fault(f"a call of {call.name[:40]!r}, which wasn't offered")
        try:
            arguments = strict_json.loads(call.arguments or "{}")
        except strict_json.JSONRefused:
            return Fault(f"arguments of {call.name} that aren't JSON")
        if not isinstance(arguments, dict):
            return Fault(f"arguments of {call.name} that aren't an object")
    return None


def is_variant(asked: str, said: str) -> bool:
    """Does ``said`` name the model ``asked``, perhaps with a date, with or without a vendor?"""
    asked, said = asked.rsplit("/", 1)[-1].lower(), said.rsplit("/", 1)[-1].lower()
    return said == asked or (
        said.startswith(asked) and _VARIANT.fullmatch(said[len(asked) :]) is not None
    )


class Names:
    """By what names servers call the models that were asked for.

    Many have one model and call it what they like: a name that is there from the start and stays
    is believed.  Once a server has used the name asked for, no other one is.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}
        self._heard: Counter[tuple[str, str, str]] = Counter()

    def known(self, endpoint: str, asked: str) -> str:
        """The believed name; ``""`` where there is none yet."""
        return self._known.get((endpoint, asked), "")

    def heard(self, endpoint: str, asked: str, said: str) -> None:
        """A reply came under the name ``said``."""
        if not said or self._known.get((endpoint, asked)) == asked:
            return
        if is_variant(asked, said):
            self._known[endpoint, asked] = asked
        elif (endpoint, asked) not in self._known:
            self._heard[endpoint, asked, said] += 1
            if self._heard[endpoint, asked, said] >= BELIEVED:
                self._known[endpoint, asked] = said
