"""The judge that reads all attempts together: would training on the question teach anything?

It says what it sees: who follows the thread to its end, whether the scores tell that, what the
context gives away, what the rubric rewards.  Now and then its suitability is off by one step.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean

from inner_agent.llm import Reply
from inner_agent.simulator.parameters import SimulatorParameters
from inner_agent.simulator.verifier import leaks
from inner_agent.simulator.wire import inside, say, terms

REVIEWS = "decide whether a question is worth training"
_ATTEMPT = re.compile(
    r"^(weak|strong) solver, attempt \d+: (\d+)% of the rubric[^\n]*\n<attempt>\n(.*?)\n</attempt>",
    re.MULTILINE | re.DOTALL,
)
_CRITERION = re.compile(r"^\d+\. \(weight (-?[\d.]+)\) (.*)$", re.MULTILINE)
_LOST = re.compile(r"hard to tell|leave it open", re.IGNORECASE)
_LEVELS = ("low", "medium", "high")
_SUGGESTIONS = {
    "generic": "Don't ask a generic question: ask for something that only this paper has.",
    "leak": "Keep the conclusion out of the context: it gives the answer away.",
    "easy": "Ask for something that takes more steps from the facts to the answer.",
    "hard": "Ask for something that can be followed through in fewer steps.",
    "penalty": "Leave out the penalties: they hit the thorough answers.",
    "style": "No criterion should reward style or general virtues.",
    "none": "Go on like this, from another angle.",
}


@dataclass(frozen=True, slots=True)
class Tier:
    """A solver's attempts: their mean score, and the share of them that lose the thread."""

    mean: float
    lost: float


@dataclass(frozen=True, slots=True)
class Rubric:
    """Shares of the positive weight that have no term of the paper; whether there are penalties."""

    general: float
    penalties: bool


def reply(text: str, rng: Random, p: SimulatorParameters) -> Reply:
    """The structured verdict as JSON."""
    attempts = _ATTEMPT.findall(text)
    weak, strong = (_tier([a for a in attempts if a[0] == name]) for name in ("weak", "strong"))
    head = text.partition("\nweak solver, attempt 1:")[0]
    context, question = inside(head, "context"), inside(head, "question")
    rubric = _rubric(inside(head, "rubric"))
    faults = _faults(context, question, rubric, weak, strong)
    level = _level(faults, weak, strong)
    if rng.random() < p.judge_slip:
        level = min(2, max(0, level + rng.choice((-1, 1))))
    verdict = {
        "weak_pattern": _pattern(weak),
        "strong_pattern": _pattern(strong),
        "gap_reading": _gap(faults, weak, strong),
        "rubric_concerns": _concerns(rubric),
        "suitability": _LEVELS[level],
        "suggestion": _SUGGESTIONS[faults[0] if faults else "none"],
    }
    body = json.dumps(verdict)
    return say(body[: len(body) // 2] if rng.random() < p.judge_unreadable else body)


def _tier(attempts: Sequence[tuple[str, str, str]]) -> Tier:
    if not attempts:
        return Tier(0.0, 1.0)
    scores = [int(score) / 100 for _, score, _ in attempts]
    return Tier(fmean(scores), fmean(bool(_LOST.search(answer)) for *_, answer in attempts))


def _rubric(text: str) -> Rubric:
    weights = [(float(w), bool(terms(c))) for w, c in _CRITERION.findall(text)]
    total = sum(w for w, _ in weights if w > 0)
    general = sum(w for w, specific in weights if w > 0 and not specific)
    return Rubric(general / total if total else 1.0, any(w < 0 for w, _ in weights))


def _faults(context: str, question: str, rubric: Rubric, weak: Tier, strong: Tier) -> list[str]:
    """What is in the way of learning from it, the worst first."""
    found = {
        "generic": not terms(question),
        "leak": leaks(context, question),
        "hard": strong.lost > 0.5,
        "easy": weak.lost <= 0.5,
        "penalty": rubric.penalties,
        "style": rubric.general > 0.4,
    }
    return [name for name, there in found.items() if there]


def _level(faults: Sequence[str], weak: Tier, strong: Tier) -> int:
    """High where nothing is in the way and the scores show who got through; low where the weak
    solver fails at nothing that the strong one shows."""
    if strong.mean <= weak.mean or not {"generic", "leak", "hard", "easy"}.isdisjoint(faults):
        return 0
    return 1 if faults else 2


def _pattern(tier: Tier) -> str:
    if tier.lost > 0.5:
        return f"Most attempts lose the thread on the way; they earn {tier.mean:.0%} on average."
    if tier.lost > 0:
        return f"Most attempts get to the end, some don't; they earn {tier.mean:.0%} on average."
    return f"No attempt loses its thread; they earn {tier.mean:.0%} on average."


def _gap(faults: Sequence[str], weak: Tier, strong: Tier) -> str:
    if "generic" in faults or "leak" in faults:
        return "There is nothing to work out: both say what can be said without reasoning."
    if strong.mean <= weak.mean:
        return "There is none in favour of the strong solver."
    if strong.lost < weak.lost:
        return "It comes from following the facts to their end."
    return "It comes from chance or from the way of grading."


def _concerns(rubric: Rubric) -> str:
    said = []
    if rubric.general > 0.4:
        said.append(f"{rubric.general:.0%} of it rewards style and general virtues")
    if rubric.penalties:
        said.append("penalties hit thorough answers")
    return f"{'; '.join(said)}." if said else "none"
