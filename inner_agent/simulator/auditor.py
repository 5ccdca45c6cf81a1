"""The auditor: reads paper and item, and answers six questions from what their texts show.

Leaks, generic questions and bare figures it finds as the verifier does; whether the paper bears
the rubric out, by looking for the rubric's terms in it.  Now and then it errs.
"""

import json
import re
from random import Random

from inner_agent.llm import Reply, Request
from inner_agent.simulator.parameters import SimulatorParameters
from inner_agent.simulator.reading import stems
from inner_agent.simulator.verifier import faults
from inner_agent.simulator.wire import inside, last_user, say, split_paper, terms

_CRITERION = re.compile(r"^\d+\. \(weight ([^)\n]*)\) (.*)$", re.MULTILINE)
_ORDER = re.compile(
    r"\byou are an? \w+ (?:model|student)|\bignore (?:all|the) \w+ instructions"
    r"|\bfull marks|\bthe (?:judge|grader)\b",
    re.IGNORECASE,
)
_EMPTY = re.compile(
    r"\b(?:is (?:an answer|not empty|written|text|there)|exists|has (?:any|some) words)\b"
)
_REASONS = {
    "leak": ("leak", "The context states the conclusion.", "The conclusion is left to be drawn."),
    "needs_paper": ("generic", "It could be asked of any paper.", "It is about this paper."),
    "reasoning": ("number", "It asks for bare figures.", "It takes reasoning."),
    "supported": ("unsupported", "The paper has nothing of this.", "The paper bears it out."),
    "gradable": ("empty", "Any answer meets these criteria.", "Each can be decided."),
    "no_orders": ("orders", "It gives orders.", "It keeps to its subject."),
}
_OF_ANSWERS = {
    "gradable": (
        "unfit", "A guess would hit it, or other answers could be defended.", "It has one answer.",
    ),
}  # fmt: skip


def reply(request: Request, rng: Random, p: SimulatorParameters) -> Reply:
    """``{"checks": [{"id", "reason", "sound"}]}``, all six."""
    paper, rest = split_paper(last_user(request.messages))
    found = _faults(paper, rest)
    lines = []
    reasons = _REASONS if inside(rest, "rubric") else _REASONS | _OF_ANSWERS
    for question, (fault, bad, good) in reasons.items():
        sound = (fault not in found) != (rng.random() < p.auditor_slip)
        lines.append({"id": question, "reason": good if sound else bad, "sound": sound})
    return say(json.dumps({"checks": lines}))


def _faults(paper: str, rest: str) -> set[str]:
    rubric = [(w, text) for w, text in _CRITERION.findall(inside(rest, "rubric"))]
    criteria = [{"criterion": text, "weight": w} for w, text in rubric]
    question = inside(rest, "question")
    item = {"context": inside(rest, "context"), "question": question, "rubric": criteria}
    found = set(faults(item))
    if not found.isdisjoint(("guessable", "open")):
        found.add("unfit")
    known = stems(paper)
    answered = rubric or [("", inside(rest, "reference"))]
    named = [stems(t) for _, text in answered for t in terms(text)]
    if named and sum(t <= known for t in named) < len(named) / 2:
        found.add("unsupported")
    if sum(bool(_EMPTY.search(text)) for _, text in rubric) * 2 > len(rubric):
        found.add("empty")
    if any(_ORDER.search(text) for text in (item["context"], question, *(t for _, t in rubric))):
        found.add("orders")
    return found
