"""Failure modes: how a trajectory shows them, and what one would tell the agents about them.

The analyzer names modes; the implementer finds the names in the analysis and words an edit.
Every sentence of ``FIXES`` and ``HARM`` is one that the lexicon understands, every sentence of
``IDLE`` one that it does not.
"""

from dataclasses import dataclass
from typing import Any

from inner_agent.simulator.lexicon import Agent
from inner_agent.simulator.verifier import faults, leaks, lopsided
from inner_agent.simulator.wire import terms


@dataclass(frozen=True, slots=True)
class Mode:
    """``name`` as reports have it; why it happens; what would help, in plain words."""

    name: str
    cause: str
    change: str


OF_RUBRICS = {
    "generic": Mode(
        "generic questions",
        "The challenger asks what could be asked of any paper, so fluent remarks earn the points.",
        "Tell the challenger to refuse questions that can be answered without this paper.",
    ),
    "leak": Mode(
        "context leak",
        "The context already states the conclusion, so that both solvers only repeat it.",
        "Have the context state problem and set-up only, never the solution.",
    ),
    "negative": Mode(
        "negative weights misfire",
        "Penalty criteria fire on long, thorough answers and pull the strong score down.",
        "Allow positive weights only.",
    ),
    "heavy": Mode(
        "one criterion decides",
        "A single criterion outweighs all others, so the score says little about the answer.",
        "Cap the weight of a criterion at seven.",
    ),
    "malformed": Mode(
        "malformed rubric weights",
        'Weights come as strings such as "+8", and the item is refused before anybody answers it.',
        "Ask for strict JSON with integer weights.",
    ),
    "number": Mode(
        "tied to bare numbers",
        "The rubric wants figures from a table that nobody can derive from the context.",
        "Keep questions and criteria away from exact numbers.",
    ),
    "shallow": Mode(
        "too shallow",
        "The question is answered in one or two steps, which the weak solver manages as well.",
        "Ask for questions that take three to five linked steps.",
    ),
    "deep": Mode(
        "too deep",
        "The chain from context to conclusion is too long, or a premise of it is missing.",
        "Keep the chain at three to five steps and give every premise in the context.",
    ),
    "style": Mode(
        "style earns points",
        "Criteria about general virtues make up much of the rubric, and everybody meets them.",
        "Leave style and general virtues out of the rubric.",
    ),
    "gave_up": Mode(
        "gives up early",
        "The main agent finishes after a few failed rounds although more were allowed.",
        "Tell the main agent not to finish while rounds are left.",
    ),
    "alarm": Mode(
        "verifier fails sound items",
        "The quality verifier turns items down for their wording.",
        "Tell the verifier to let wording pass.",
    ),
}
"""What items with a rubric fail by."""

_COMMON = ("generic", "leak", "number", "shallow", "deep", "gave_up", "alarm")
OF_ANSWERS = {name: OF_RUBRICS[name] for name in _COMMON} | {
    "unmarked": Mode(
        "no final answer",
        "The reference answer lacks its line with the final answer, and the item is refused.",
        "Have every reference answer end with that line.",
    ),
    "guessable": Mode(
        "answers that a guess hits",
        "The question wants a yes or a no, so that chance answers it half the time.",
        "Keep the challenger away from questions that a guess answers.",
    ),
    "open": Mode(
        "several answers are right",
        "The question leaves open which of several answers is meant, and the strong solver gives"
        " another one.",
        "Have the question say in what form its one answer is given.",
    ),
}
"""What items with one right answer fail by."""

MODES = OF_RUBRICS | OF_ANSWERS


def blame(outcome: str, round_: dict[str, Any]) -> str | None:
    """The mode that explains how a round ended; None for one that was accepted."""
    context, question = str(round_.get("context", "")), str(round_.get("question", ""))
    rubric: list[dict[str, Any]] = round_.get("rubric") or []
    if outcome == "too_easy":
        if faults(round_)[:1] == ["guessable"]:
            return "guessable"
        return _too_easy(context, question, rubric)
    if outcome == "unsuitable":
        return _unsuitable(round_, rubric)
    if outcome == "invalid_item":
        return "unmarked" if round_.get("rubric") == [] else "malformed"
    if outcome == "failed_quality_check":
        found = faults(round_)
        return found[0].replace("shape", "heavy") if found else "alarm"
    if outcome in ("failed_on_strong", "weak_zero"):
        found = faults(round_)
        if "number" in found:
            return "number"
        if "open" in found:
            return "open"
        if any(_weight(c) < 0 for c in rubric):
            return "negative"
        return "heavy" if "shape" in found else "deep"
    return None


def _too_easy(context: str, question: str, rubric: list[dict[str, Any]]) -> str:
    if not terms(question):
        return "generic"
    if leaks(context, question):
        return "leak"
    if lopsided([c.get("weight") for c in rubric if _weight(c) > 0]):
        return "heavy"
    general = sum(_weight(c) for c in rubric if not terms(str(c.get("criterion", ""))))
    total = sum(_weight(c) for c in rubric if _weight(c) > 0)
    return "style" if general > 0.35 * total else "shallow"


def _unsuitable(round_: dict[str, Any], rubric: list[dict[str, Any]]) -> str:
    """What shows in the item, or else which way the judge's suggestion points."""
    found = _too_easy(str(round_.get("context", "")), str(round_.get("question", "")), rubric)
    if found in ("generic", "leak"):
        return found
    if "fewer steps" in str(round_.get("verdict", "")):
        return "deep"
    return "negative" if any(_weight(c) < 0 for c in rubric) else found


def _weight(criterion: dict[str, Any]) -> float:
    weight = criterion.get("weight")
    return float(weight) if isinstance(weight, int | float) else 0.0


Fix = tuple[Agent, str, tuple[str, ...]]

_STEPS: Fix = (
    "challenger",
    "curb:depth",
    (
        "A good question takes three to five linked steps from the context to its answer.",
        "Aim for a chain of three or four inferences, each of which rests on a statement given.",
        "Build every question as three or four hops between statements of the paper.",
    ),
)
_HEAVY: Fix = (
    "challenger",
    "curb:heavy",
    (
        "No weight may be above 7.",
        "Cap every weight at 7, so that several criteria share the score.",
        "Keep all weights in the range from 1 to 7.",
    ),
)
_GENERIC: Fix = (
    "challenger",
    "curb:generic",
    (
        "Refuse any question that could be answered without having read this paper.",
        "The question must turn on something specific to this paper.",
        "Never ask what general knowledge of the field is enough to answer.",
        "Reject generic questions: only someone who has understood this paper should do well.",
    ),
)
_LEAK: Fix = (
    "challenger",
    "curb:leak",
    (
        "The context states the problem and the set-up, never the solution.",
        "Do not let the context reveal the conclusion that the question asks for.",
        "Put only the problem and its premises into the context, and nothing else.",
        "The context must not contain the answer or any sentence that gives it away.",
    ),
)

FIXES: dict[str, tuple[Fix, ...]] = {
    "generic": (
        _GENERIC,
        (
            "quality_verifier",
            "curb:generic",
            (
                "Fail every item whose question could be answered without reading the paper.",
                "Reject generic questions that would fit any other paper.",
            ),
        ),
    ),
    "leak": (
        _LEAK,
        (
            "quality_verifier",
            "curb:leak",
            (
                "Compare the context with the reference answer sentence by sentence, and fail the"
                " item if the context states the conclusion.",
                "Reject an item whose context gives the answer away.",
            ),
        ),
    ),
    "negative": (
        (
            "challenger",
            "curb:negative",
            (
                "All weights must be positive; a fault is simply worth nothing.",
                "Use a positive-only rubric.",
                "Never use negative weights or penalties.",
            ),
        ),
        (
            "quality_verifier",
            "curb:shape",
            (
                "Fail an item with a negative weight.",
                "Reject rubrics in which a weight is negative or no integer.",
            ),
        ),
    ),
    "heavy": (_HEAVY,),
    "malformed": (
        (
            "challenger",
            "curb:string_weight",
            (
                "Every weight is an integer, without quotes and without a plus sign.",
                "Reply with strict JSON in which all weights are whole numbers.",
                "Write weights as bare numbers, never as strings.",
            ),
        ),
    ),
    "number": (
        (
            "challenger",
            "curb:number",
            (
                "Do not ask for exact numbers; ask for the reasoning behind them.",
                "Avoid criteria that hinge on specific figures from the experiments.",
            ),
        ),
    ),
    "shallow": (_STEPS, _GENERIC, _LEAK),
    "deep": (
        _STEPS,
        (
            "challenger",
            "curb:omit",
            ("Give every premise that the answer needs in the context.",),
        ),
    ),
    "style": (
        (
            "challenger",
            "curb:style",
            (
                "No criterion rewards style, clarity or general virtues.",
                "Leave out criteria on style; each one checks a statement about the subject.",
            ),
        ),
    ),
    "unmarked": (
        (
            "challenger",
            "curb:unmarked",
            (
                "The last line of the reference answer must always begin with `Answer:`.",
                "Nothing may follow the final line `Answer: …` of the reference answer.",
            ),
        ),
    ),
    "guessable": (
        (
            "challenger",
            "curb:guessable",
            (
                "Never ask a yes-or-no question.",
                "Avoid questions that a guess could answer.",
            ),
        ),
        (
            "quality_verifier",
            "curb:guessable",
            ("Reject a question that a guess would answer.",),
        ),
    ),
    "open": (
        (
            "challenger",
            "curb:open",
            (
                "The question says in what form the answer is wanted.",
                "There is exactly one right answer to the question.",
            ),
        ),
        (
            "quality_verifier",
            "curb:open",
            ("Fail a question to which several answers could be given.",),
        ),
    ),
    "gave_up": (
        (
            "main_agent",
            "curb:persist",
            (
                "Do not call `finish` as long as any rounds are left.",
                "Never give up: go on until the allowance is used up.",
            ),
        ),
    ),
    "alarm": (),
}

HARM: tuple[Fix, ...] = (
    (
        "challenger",
        "demand:depth",
        (
            "Make the question as hard as possible.",
            "Ask what hardly any expert can answer, in at least eight reasoning steps.",
        ),
    ),
    (
        "challenger",
        "demand:number",
        (
            "Tie the question to exact numbers reported in the paper.",
            "Require specific figures from the results tables.",
        ),
    ),
    (
        "challenger",
        "demand:leak",
        (
            "Give the reader the full solution in the context, so that the question is fair.",
            "Put the complete explanation into the context to make it self-contained.",
        ),
    ),
    (
        "challenger",
        "demand:generic",
        ("Ask about the main contributions of the work and its overall approach.",),
    ),
    (
        "challenger",
        "demand:negative",
        ("Add at least two criteria with strong negative weights.",),
    ),
    (
        "challenger",
        "demand:omit",
        ("Keep the context as short as possible, one sentence at best.",),
    ),
    (
        "quality_verifier",
        "demand:harsh",
        ("When in doubt, fail the item.",),
    ),
    (
        "main_agent",
        "demand:stop_early",
        ("Call `finish` after two failed rounds.",),
    ),
)

IDLE = (
    "Take a moment to think before you reply.",
    "Work with care and aim for excellent quality.",
    "Remember that your contribution matters to the whole process.",
    "Read these instructions twice.",
    "Be thoughtful, precise and consistent.",
    "Consider different perspectives before you settle on one.",
    "Keep a professional tone throughout.",
    "Double-check your reply before you send it.",
    "You are an experienced researcher with an eye for what matters.",
)
