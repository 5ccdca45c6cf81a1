"""The main agent: a language model that works with the tools until a question is accepted."""

import json
import os
import sys

from client import Client, Refused
from rounds import Rounds
from rubric import Junk
from tools import TOOLS, Toolbox, read_arguments

MAX_STEPS = 40
MAX_NUDGES = 3
NUDGE = "No question is accepted yet. Go on with a tool call, or call `finish` to give up."


def run() -> None:
    """Work on ./paper.txt and hand in the result."""
    client = Client()
    paper = read("paper.txt")
    prompts = {name: read_prompt(name) for name in ("main_agent", "challenger", "quality_verifier")}
    rounds = Rounds(client, title_of(paper))
    toolbox = Toolbox(client, rounds, paper, prompts)
    try:
        try:
            converse(client, toolbox)
        finally:
            rounds.publish()
    except Refused as refusal:
        print(f"stopped: {refusal}", file=sys.stderr)


def converse(client: Client, toolbox: Toolbox) -> None:
    """Let the main agent call tools until the work is done or its steps are used up."""
    task = f"Make an accepted question from this paper: {toolbox.rounds.title}"
    messages = [
        {"role": "system", "content": toolbox.prompts["main_agent"]},
        {"role": "user", "content": task},
    ]
    nudges = 0
    for _ in range(MAX_STEPS):
        reply = client.chat("main_agent", messages, tools=TOOLS)
        messages.append(as_message(reply))
        nudges = 0 if reply["tool_calls"] else nudges + 1
        if nudges > MAX_NUDGES:
            return
        if nudges:
            messages.append({"role": "user", "content": NUDGE})
        for call in reply["tool_calls"]:
            result = toolbox.call(call["name"], call["arguments"])
            if toolbox.done:
                return
            answer = {"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)}
            messages.append(answer)


def as_message(reply: dict) -> dict:
    """Return a reply in the form in which it goes back into the conversation."""
    message = {"role": "assistant", "content": reply["content"]}
    if reply["tool_calls"]:
        message["tool_calls"] = [as_tool_call(call) for call in reply["tool_calls"]]
    return message


def as_tool_call(call: dict) -> dict:
    """Return one tool call for the conversation.

    Servers refuse a conversation with broken arguments in it, so these go back as "{}"; the
    tool's result says what was wrong with them.
    """
    try:
        read_arguments(call["arguments"])
        arguments = call["arguments"] or "{}"
    except Junk:
        arguments = "{}"
    function = {"name": call["name"], "arguments": arguments}
    return {"id": call["id"], "type": "function", "function": function}


def read(path: str) -> str:
    """Return a file's text."""
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def read_prompt(name: str) -> str:
    """Return prompts/NAME.md."""
    return read(os.path.join(os.path.dirname(os.path.abspath(__file__)), "prompts", name + ".md"))


def title_of(paper: str) -> str:
    """Return the paper's first line without its heading mark."""
    return paper.partition("\n")[0].lstrip("# ").strip()
