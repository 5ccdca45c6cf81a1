"""A model with no latency: canned replies of realistic sizes that take a paper through five rounds.

Round 1 fails the quality check, 2 to 4 are too easy, 5 is accepted and stands its audit: 47 calls
with a main agent that is a model, about the mean of the demo's rollouts.
It keeps no state: the round is read off the prompt, so any number of papers may be in flight.
"""

import json
import re
from collections.abc import Sequence
from functools import cache

from inner_agent.audit import QUESTIONS
from inner_agent.llm import Message, Reply, Request, ToolCall

ROUNDS = 5
CRITERIA = 9
SCORES = dict.fromkeys(range(1, ROUNDS), (0.9, 0.9)) | {
    ROUNDS: (0.4, 0.8)
}  # (weak, strong), by round
_ROUND = re.compile(r"in round (\d)")
_LOREM = "the estimator keeps its bias below the bound whenever the step size is halved and "
_CLAIM = "small steps let no error of the first moment outgrow what the schedule allows since "


class Canned:
    """Stands behind the same Protocol as a real endpoint; a request's model is its role."""

    async def complete(self, request: Request) -> Reply:
        """Answer at once."""
        text = str(request.messages[-1].get("content"))
        if request.model == "main_agent":
            return _next_tool(request.messages)
        if request.model == "challenger":
            failures = text[max(0, text.rfind("\nREFINEMENT")) :]
            return _said(_item(1 + failures.count('" — ')))
        if request.model == "quality_verifier":
            return _said(_verdict("in round 1" not in text))
        if request.model in ("weak", "strong"):
            return _said(f"{request.model} answer: " + _LOREM * 11)
        return _said(_audit() if request.model == "auditor" else _sheet(_score(text)))


def _said(text: str) -> Reply:
    return Reply(text, prompt_tokens=4_000, completion_tokens=len(text) // 4, model="canned")


@cache
def _item(number: int) -> str:
    rubric = [{"criterion": f"Names effect {n}: " + _CLAIM, "weight": n} for n in range(1, 10)]
    item = {
        "question_type": "mechanism",
        "reasoning_skills": ["multi-step inference", "synthesis"],
        "context": _LOREM * 9,
        "question": f"Why, in round {number}, does it follow that " + _LOREM * 2 + "?",
        "reference_answer": _CLAIM * 6,
        "rubric": rubric,
    }
    return json.dumps(item, indent=1)


@cache
def _verdict(passed: bool) -> str:
    return json.dumps({"passed": passed, "feedback": "Each part of it is checked. " + _LOREM})


@cache
def _sheet(score: float) -> str:
    lines = [
        {"id": n, "reason": f"The answer meets a part: {_LOREM}", "score": score}
        for n in range(1, CRITERIA + 1)
    ]
    return json.dumps({"criteria": lines})


@cache
def _audit() -> str:
    lines = [{"id": q, "reason": f"Nothing to mend: {_LOREM}", "sound": True} for q in QUESTIONS]
    return json.dumps({"checks": lines})


def _score(text: str) -> float:
    """What an attempt earns; the answers of an audit that show no work earn nothing."""
    if "strong answer:" not in text and "weak answer:" not in text:
        return 0.0
    found = _ROUND.search(text)
    weak, strong = SCORES[int(found[1]) if found else ROUNDS]
    return strong if "strong answer:" in text else weak


def _next_tool(messages: Sequence[Message]) -> Reply:
    """What a main agent that follows its prompt would call next."""
    last = messages[-1]
    name, arguments = "challenger", {"instructions": "Ask about a mechanism, not about a name."}
    if last["role"] == "tool":
        result = json.loads(last["content"])
        if "round" in result:
            name, arguments = "quality_verifier", {"item": result["item"]}
        elif result.get("passed"):
            name, arguments = "evaluate", {"item": result["item"], "phase": "weak-only"}
        elif result.get("status") == "WEAK_PASSED":
            name, arguments = "evaluate", {"item": result["item"], "phase": "strong-only"}
    call = ToolCall(f"call-{len(messages)}", name, json.dumps(arguments))
    return Reply("", (call,), "tool_calls", 4_000, 30, model="canned")
