"""Tools for models that can't call them: as text and a schema, there and back."""

import json

from inner_agent.llm import Reply, Request
from inner_agent.tool_schema import with_call, without_tools

TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look at a file.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
    },
}
TALK = (
    {"role": "system", "content": "Be brief."},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", "function": {"name": "look", "arguments": '{"path": "a"}'}}],
    },
    {"role": "tool", "tool_call_id": "1", "content": "empty"},
)


def test_there() -> None:
    sent = without_tools(Request("m", TALK, tools=(TOOL,)))
    assert not sent.tools
    assert sent.schema is not None
    assert sent.schema["anyOf"][0]["properties"]["name"] == {"const": "look"}
    first, call, result = sent.messages
    assert first["content"].startswith("Be brief.")
    assert "Look at a file." in first["content"]
    assert json.loads(call["content"]) == {"name": "look", "arguments": {"path": "a"}}
    assert result == {"role": "user", "content": "Result: empty"}


def test_back() -> None:
    (call,) = with_call(Reply('{"name": "look", "arguments": {"path": "b"}}')).tool_calls
    assert (call.name, json.loads(call.arguments)) == ("look", {"path": "b"})
    cut = Reply('{"name": "look", "argu', finish_reason="length")
    assert with_call(cut) == cut
