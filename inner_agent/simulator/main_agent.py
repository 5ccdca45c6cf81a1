"""The main agent: reads the conversation so far and decides the next tool call."""

import re
from random import Random
from typing import Any

from inner_agent.llm import Message, Reply, Request
from inner_agent.simulator.lexicon import directives, says, sentences
from inner_agent.simulator.parameters import SimulatorParameters
from inner_agent.simulator.wire import call, content, find_object, say

_ADVICE = {
    "easy": "The weak solver managed this too easily. Look further into how the parts interact.",
    "strong": "Even the strong solver struggled. Choose something that can be followed through.",
    "quality": "The quality verifier objected. Mind its reason.",
    "invalid": "The item could not be evaluated. Mind the reply format.",
}
_SUGGESTION = re.compile(r"^  suggestion: (.+)$", re.MULTILINE)


def reply(request: Request, rng: Random, p: SimulatorParameters) -> Reply:
    """The next tool call; now and then words instead, or a step out of order."""
    prompt = next((content(m) for m in request.messages if m.get("role") == "system"), "")
    if rng.random() < p.slip:
        return say("I will go on with the next step of the process.")
    steps = _steps(request.messages)
    if not steps:
        return call(rng, ("challenger", {"instructions": _relayed(prompt, rng, p)}))
    name, result = steps[-1]
    item = result.get("item")
    status = result.get("status")
    if "error" in result:
        return _after_error(steps, prompt, rng, p)
    if name == "challenger":
        first = "evaluate" if rng.random() < p.slip else "quality_verifier"
        return call(rng, (first, _arguments(first, item, "weak-only")))
    if name == "quality_verifier" and result.get("passed") is True:
        return call(rng, ("evaluate", _arguments("evaluate", item, "weak-only")))
    if status == "WEAK_PASSED":
        return call(rng, ("evaluate", _arguments("evaluate", item, "strong-only")))
    if status == "SOLVER_ERROR":
        phase = "strong-only" if _weak_passed(steps, item) else "weak-only"
        return call(rng, ("evaluate", _arguments("evaluate", item, phase)))
    if status == "STRONG_PASSED":
        return call(rng, ("finish", {"reason": f"{item} is accepted"}))
    if suggested := _SUGGESTION.search(str(result.get("report", ""))):
        return _next_round("strong", steps, prompt, rng, p, f"Mind the verdict: {suggested[1]}")
    kind = {"WEAK_FAILED": "easy", "STRONG_FAILED": "strong"}.get(str(status), "quality")
    return _next_round(kind, steps, prompt, rng, p)


def _steps(messages: Any) -> list[tuple[str, dict[str, Any]]]:
    """(tool, result) of every finished tool call, in order."""
    names = {
        c.get("id"): (c.get("function") or {}).get("name", "") for m in messages for c in _calls(m)
    }
    return [
        (names.get(m.get("tool_call_id"), ""), find_object(content(m)))
        for m in messages
        if m.get("role") == "tool"
    ]


def _calls(message: Message) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    return [c for c in calls if isinstance(c, dict)] if isinstance(calls, list) else []


def _arguments(tool: str, item: Any, phase: str) -> dict[str, Any]:
    return {"item": item, "phase": phase} if tool == "evaluate" else {"item": item}


def _weak_passed(steps: list[tuple[str, dict[str, Any]]], item: Any) -> bool:
    return any(r.get("item") == item and r.get("status") == "WEAK_PASSED" for _, r in steps)


def _after_error(
    steps: list[tuple[str, dict[str, Any]]], prompt: str, rng: Random, p: SimulatorParameters
) -> Reply:
    error = str(steps[-1][1]["error"])
    last_item = next((r["item"] for _, r in reversed(steps) if "item" in r), None)
    if "limit" in error:
        return call(rng, ("finish", {"reason": "nothing is left to spend on this paper"}))
    if "not passed the quality verifier" in error and last_item is not None:
        return call(rng, ("quality_verifier", {"item": last_item}))
    return _next_round("invalid", steps, prompt, rng, p)


def _next_round(
    kind: str,
    steps: list[tuple[str, dict[str, Any]]],
    prompt: str,
    rng: Random,
    p: SimulatorParameters,
    advice: str = "",
) -> Reply:
    """Back to the challenger, or give up."""
    failed = sum(name == "challenger" for name, _ in steps)
    if rng.random() < _gives_up(failed, kind, directives(prompt, "main_agent"), p):
        return call(rng, ("finish", {"reason": f"no question held after {failed} rounds"}))
    advice = " ".join(filter(None, [advice or _ADVICE[kind], _relayed(prompt, rng, p)]))
    return call(rng, ("challenger", {"instructions": advice}))


def _gives_up(failed: int, kind: str, told: frozenset[str], p: SimulatorParameters) -> float:
    if "demand:stop_early" in told:
        return p.gives_up_early
    if "curb:persist" in told:
        return p.gives_up_never
    refused = p.gives_up_refused if kind == "invalid" else 0.0
    if failed < 3:
        return refused
    return max(refused, p.gives_up_told_on if "invite:persist" in told else p.gives_up)


def _relayed(prompt: str, rng: Random, p: SimulatorParameters) -> str:
    """What the main agent's own prompt says about questions, for the challenger."""
    if not directives(prompt, "challenger") or rng.random() > p.relays:
        return ""
    return " ".join(s for s in sentences(prompt) if says(s, "challenger"))
