"""Tool calling with servers and small models that can't, but can follow a JSON schema.

The tools are described in the conversation, and a schema lets the model write nothing but one
call of one of them: ``{"name": …, "arguments": {…}}``.  Both directions are pure functions.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from inner_agent.llm import Message, Reply, Request, ToolCall

HOW = "Every reply is one call of one of these tools, as a JSON object with name and arguments:"


def without_tools(request: Request) -> Request:
    """The same request with the tools as text and as a schema; for one without tools, itself."""
    if not request.tools:
        return request
    functions = [tool["function"] for tool in request.tools]
    listed = "\n".join(json.dumps(f, ensure_ascii=False) for f in functions)
    head, *rest = [_plain(m) for m in request.messages]
    text = f"{head['content']}\n\n{HOW}\n{listed}"
    messages = ({**head, "content": text}, *rest)
    return replace(request, messages=messages, tools=(), schema=_schema(functions))


def with_call(reply: Reply) -> Reply:
    """The reply to such a request, its text turned back into the call; a cut-off one stays text."""
    try:
        call = json.loads(reply.content)
        found = ToolCall("call-0", call["name"], json.dumps(call["arguments"]))
    except (ValueError, KeyError, TypeError):
        return reply
    return replace(reply, content="", tool_calls=(found,), finish_reason="tool_calls")


def _plain(message: Message) -> Message:
    """A message without the wire's marks for tools: calls as their JSON, results as the user's."""
    if message["role"] == "tool":
        return {"role": "user", "content": f"Result: {message['content']}"}
    calls = message.get("tool_calls")
    if not calls:
        return message
    shown = [_as_written(call["function"]) for call in calls]
    return {"role": "assistant", "content": "\n".join(shown)}


def _as_written(function: Mapping[str, str]) -> str:
    return f'{{"name": {json.dumps(function["name"])}, "arguments": {function["arguments"]}}}'


def _schema(functions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    definitions: dict[str, Any] = {}  # references are read from the root, so they move there
    calls = []
    for f in functions:
        arguments = dict(f.get("parameters") or {"type": "object"})
        definitions |= arguments.pop("$defs", {})
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": f["name"]}, "arguments": arguments},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": calls, "$defs": definitions} if definitions else {"anyOf": calls}
