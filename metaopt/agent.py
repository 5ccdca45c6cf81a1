"""A bounded tool-calling loop, shared by the analyzer and the implementer.

The conversation is append-only, so that a provider's prefix cache serves every step.  Whatever
a model gets wrong (no call, unknown tool, bad arguments, a refused request) comes back to it as
one line that says what is wrong; steps and characters are bounded, so junk only costs steps.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inner_agent import strict_json
from inner_agent.errors import ReplyRefused, RequestRejected
from inner_agent.items import first_error
from inner_agent.llm import Message, Reply, ToolCall
from metaopt.tree import Refused

MAX_RESULT = 12_000  # characters of one tool result
PAGE = 11_000  # characters of one page of a long text; leaves room for the note under it
MAX_CALLS = 8  # tool calls answered per reply
LEAST_RESULT = 400  # characters of a result when the conversation is full
WARN_STEPS = 3
HAND_INS = 2  # a first try, and one more when something in it was refused
MAX_REASON = 500

T = TypeVar("T")


class AgentFailed(Exception):
    """The agent came to no usable result; the iteration is recorded as failed.

    The text is kept to one line, whatever a tool or a smoke run put into it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(" ".join(reason.split())[:MAX_REASON])


class AgentSettings(BaseModel):
    """Bounds of one agent.

    ``max_steps`` replies are asked for; a failed gate may be repaired ``repairs`` times; the last
    ``history`` iterations are shown.  A conversation may grow to ``max_chars`` characters (about
    four to a token); tool results shrink when three quarters of them are used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    max_steps: Annotated[int, Field(ge=1)] = 24
    repairs: Annotated[int, Field(ge=0)] = 3
    history: Annotated[int, Field(ge=0)] = 20
    max_chars: Annotated[int, Field(ge=20_000)] = 320_000


class Ask(Protocol):
    """``inner_agent.gateway.Gateway.ask``, as far as an agent needs it."""

    async def __call__(
        self,
        role: str,
        messages: Sequence[Message],
        *,
        sample: str,
        tools: Sequence[Mapping[str, Any]],
    ) -> Reply:
        """One reply of the role's model; raises on provider faults and exhausted budgets."""
        ...


class NoArguments(BaseModel):
    """The arguments of a tool that takes none."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """A tool's answer that ends the loop with ``value``."""

    value: T


@dataclass(frozen=True, slots=True)
class Tool(Generic[T]):
    """A function offered to the model.

    ``run`` takes a validated ``arguments`` and returns text for the model or ``Done``.  It may
    raise ``Refused`` (told to the model) or ``AgentFailed`` (ends the agent).  ``ends``: this
    tool hands in the result.
    """

    name: str
    description: str
    arguments: type[BaseModel]
    run: Callable[[Any], Awaitable[str | Done[T]]]
    ends: bool = False

    @property
    def wire(self) -> dict[str, Any]:
        """The tool in the OpenAI wire format."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.arguments.model_json_schema(),
        }
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What an agent came to, and the number of replies that it took."""

    value: T
    steps: int


async def run_agent(
    ask: Ask,
    role: str,
    sample: str,
    messages: Sequence[Message],
    tools: Sequence[Tool[T]],
    settings: AgentSettings,
) -> Outcome[T]:
    """Ask, run the tools called for, append their results, until a tool says ``Done``.

    Small models go round in circles: a tool that was just called twice with the same arguments
    isn't offered for the next reply, and after ``max_steps`` replies come ``HAND_INS`` more for
    which only the tools that hand in the result are.  Raises ``AgentFailed`` when that takes more
    than ``settings`` allows, or more than the endpoint takes in one request; other faults of
    providers pass through.
    """
    talk = list(messages)
    by_name = {tool.name: tool for tool in tools}
    trouble = ""
    before: tuple[tuple[str, str], ...] = ()
    barred: set[str] = set()
    for step in range(1, settings.max_steps + HAND_INS + 1):
        offered = _offered(tools, barred, closing=step > settings.max_steps)
        try:
            reply = await ask(role, tuple(talk), sample=sample, tools=offered)
        except RequestRejected as rejected:
            if step == 1 and not isinstance(rejected, ReplyRefused):
                raise  # not the conversation's fault: every iteration would fail like this
            raise AgentFailed(f"{role}: {rejected}") from rejected
        talk.append(_assistant_message(reply))
        asked = tuple((call.name, call.arguments) for call in reply.tool_calls)
        barred, before = {name for name, _ in asked} if asked == before else set(), asked
        if not reply.tool_calls:
            trouble = _no_call(reply, by_name)
            talk.append({"role": "user", "content": trouble})
        for position, call in enumerate(reply.tool_calls):
            answer = await _answer(call, position, by_name)
            if isinstance(answer, Done):
                return Outcome(answer.value, step)
            trouble = answer if answer.startswith("error: ") else trouble
            talk.append(_tool_message(call, answer, settings.max_chars * 3 // 4 - _length(talk)))
        if _length(talk) > settings.max_chars:
            raise AgentFailed(f"{role}: the conversation passed {settings.max_chars} characters")
        talk[-1]["content"] += _steps_left(settings.max_steps - step)
    last = f"; last {trouble}" if trouble else ""
    raise AgentFailed(f"{role}: no result within {settings.max_steps} steps{last}")


def _offered(tools: Sequence[Tool[T]], barred: set[str], *, closing: bool) -> list[dict[str, Any]]:
    wanted = [t for t in tools if (t.ends if closing else t.name not in barred)]
    return [tool.wire for tool in wanted or tools]


def page(text: str, offset: int) -> str:
    """A part of ``text`` from ``offset`` (characters), with a note how to read on.

    Raises ``Refused`` when ``offset`` lies outside.
    """
    if not 0 <= offset <= len(text):
        raise Refused(f"offset: must be from 0 to {len(text)}")
    end = offset + PAGE
    if end >= len(text):
        return text[offset:] or "(empty)"
    end = text.rfind("\n", offset, end) + 1 or end
    return f"{text[offset:end]}\n[to character {end} of {len(text)}; read on with offset={end}]"


def _assistant_message(reply: Reply) -> Message:
    """The reply as history.  Servers parse old arguments again and fail on junk: send ``{}``."""
    if not reply.tool_calls:
        return {"role": "assistant", "content": reply.content or "(nothing)"}
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": _object_or_empty(call.arguments)},
        }
        for call in reply.tool_calls
    ]
    return {"role": "assistant", "content": reply.content, "tool_calls": calls}


def _object_or_empty(arguments: str) -> str:
    try:
        return arguments if isinstance(strict_json.loads(arguments), dict) else "{}"
    except strict_json.JSONRefused:
        return "{}"


def _no_call(reply: Reply, by_name: Mapping[str, object]) -> str:
    if reply.finish_reason == "length":
        return "error: the reply was cut off at its token limit; write less and call a tool"
    return f"error: no tool was called; every reply must call one of {', '.join(by_name)}"


async def _answer(call: ToolCall, position: int, by_name: Mapping[str, Tool[T]]) -> str | Done[T]:
    if position >= MAX_CALLS:
        return f"error: not run; at most {MAX_CALLS} calls in one reply"
    if call.name not in by_name:
        return f"error: no tool {call.name[:80]!r}; there are {', '.join(by_name)}"
    tool = by_name[call.name]
    try:
        return await tool.run(_arguments(tool, call))
    except Refused as refused:
        return f"error: {call.name}: {refused}"


def _arguments(tool: Tool[T], call: ToolCall) -> BaseModel:
    try:
        return tool.arguments.model_validate_json(call.arguments or "{}")
    except ValidationError as error:
        raise Refused(first_error(error, "arguments")) from None


def _tool_message(call: ToolCall, text: str, room: int) -> Message:
    limit = max(LEAST_RESULT, min(MAX_RESULT, room))
    if len(text) > limit:
        text = f"{text[:limit]}\n[cut at {limit} of {len(text)} characters; ask for less at a time]"
    return {"role": "tool", "tool_call_id": call.id, "content": text}


def _length(talk: Sequence[Message]) -> int:
    return sum(len(json.dumps(message, ensure_ascii=False)) for message in talk)


def _steps_left(left: int) -> str:
    if left <= 0:
        return "\n[hand in the result now]"
    return f"\n[replies left: {left}]" if left <= WARN_STEPS else ""
