"""The quality verifier: compares the item with itself and with the paper.

It finds faults by reading; whether it minds one depends on its prompt and on chance.
"""

import json
import re
from random import Random
from typing import Any

from inner_agent.llm import Reply, Request
from inner_agent.simulator.lexicon import directives
from inner_agent.simulator.parameters import SimulatorParameters
from inner_agent.simulator.phrases import FEEDBACK, asks
from inner_agent.simulator.reading import read, stems
from inner_agent.simulator.wire import find_object, inside, last_user, say, split_paper, terms

_FIGURE = re.compile(r"\d+(?:\.\d+)?")


def reply(request: Request, rng: Random, p: SimulatorParameters) -> Reply:
    """``{"passed": bool, "feedback": str}``."""
    _, rest = split_paper(last_user(request.messages))
    prompt, _, tail = rest.partition("<item>")
    told = directives(prompt, "quality_verifier")
    item = find_object(inside(f"<item>{tail}", "item"))
    fault = next((f for f in faults(item) if rng.random() < _notice(f, told, p)), None)
    lenient = "demand:lenient" in told
    alarm = p.false_alarm_harsh if "demand:harsh" in told else 0.0 if lenient else p.false_alarm
    if fault is None and rng.random() < alarm:
        fault = "alarm"
    if lenient and fault is not None and rng.random() < 0.9:
        fault = None
    fine = "checked" if item.get("rubric") == [] else "fine"
    verdict = {"passed": fault is None, "feedback": FEEDBACK[fault or fine]}
    return say(json.dumps(verdict))


def _notice(fault: str, told: frozenset[str], p: SimulatorParameters) -> float:
    if f"curb:{fault}" in told:
        return p.notices_told
    return float(getattr(p, f"notices_{fault}"))


def faults(item: dict[str, Any]) -> list[str]:
    """What is really wrong with an item, as far as its text shows."""
    context, question = str(item.get("context", "")), str(item.get("question", ""))
    rubric = item.get("rubric")
    criteria = [c for c in rubric if isinstance(c, dict)] if isinstance(rubric, list) else []
    found = []
    if leaks(context, question):
        found.append("leak")
    if not terms(question):
        found.append("generic")
    if lopsided([c.get("weight") for c in criteria]):
        found.append("shape")
    figures = {f for c in criteria for f in _FIGURE.findall(str(c.get("criterion", "")))}
    if figures - set(_FIGURE.findall(context)):
        found.append("number")
    return [*found, *_unfit(question)] if rubric == [] else found


def _unfit(question: str) -> list[str]:
    """What is wrong with a question that is to have one right answer."""
    faults_ = {"yes_no": "guessable", "figure": "number", "open": "open"}
    return [faults_[kind]] if terms(question) and (kind := asks(question)) in faults_ else []


def leaks(context: str, question: str) -> bool:
    """Does one sentence of the context tie together what the question asks to connect?"""
    asked = terms(question)
    if len(asked) < 2:
        return False
    ends = stems(asked[0]) | stems(asked[-1])
    return bool(ends) and any(ends <= s.stems for s in read(context))


def lopsided(weights: list[Any]) -> bool:
    """Weights that are no numbers, negative, or of which one outweighs the rest."""
    if not all(isinstance(w, int | float) and not isinstance(w, bool) for w in weights):
        return True
    positive = [w for w in weights if w > 0]
    return len(positive) < len(weights) or (
        len(positive) > 2 and max(positive) * 2 >= sum(positive)
    )
