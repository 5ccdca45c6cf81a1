"""The comparer: reads two items and takes the one with fewer faults that their texts show.

It sees the faults that the verifier could see.  As real judges do, it now and then takes what is
shown first.
"""

import json
import re
from random import Random
from typing import Any

from inner_agent.llm import Reply, Request
from inner_agent.simulator.parameters import SimulatorParameters
from inner_agent.simulator.verifier import faults
from inner_agent.simulator.wire import inside, last_user, say

_CRITERION = re.compile(r"^\d+\. \(weight (-?[\d.e+]+)\) (.*)$", re.MULTILINE)
_SAID = {
    "leak": "its context states the conclusion",
    "generic": "it could be asked of any paper",
    "shape": "its weights are lopsided",
    "number": "it asks for bare figures",
}


def reply(request: Request, rng: Random, p: SimulatorParameters) -> Reply:
    """``{"reason": str, "better": "A" | "B" | "tie"}``."""
    text = last_user(request.messages)
    found = {letter: faults(_item(inside(text, f"item_{letter.lower()}"))) for letter in "AB"}
    by_place = rng.random() < p.comparer_first
    few = min(map(len, found.values()))
    best = [letter for letter in "AB" if len(found[letter]) == few]
    better = "A" if by_place else best[0] if len(best) == 1 else "tie"
    return say(json.dumps({"reason": _reason(found), "better": better}))


def _item(text: str) -> dict[str, Any]:
    rubric = [
        {"criterion": criterion, "weight": float(weight)}
        for weight, criterion in _CRITERION.findall(inside(text, "rubric"))
    ]
    told = {tag: inside(text, tag) for tag in ("context", "question")}
    return {**told, "rubric": rubric}


def _reason(found: dict[str, list[str]]) -> str:
    told = (
        f"{letter}: {', '.join(_SAID[f] for f in of) or 'nothing to find fault with'}."
        for letter, of in found.items()
    )
    return " ".join(told)
