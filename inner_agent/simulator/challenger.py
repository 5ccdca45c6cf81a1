"""The challenger: draws a question from the paper's own sentences.

What it draws, how much of it leaks into the context, and how well-formed the rubric is depends on
the directives in its prompt and in learnings from earlier batches (``lexicon``), on what became of
earlier questions, on those that are taken, and on chance.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Any, Protocol

from inner_agent.llm import Reply, Request
from inner_agent.simulator import phrases
from inner_agent.simulator.chains import Chain, draw_chain
from inner_agent.simulator.lexicon import directives
from inner_agent.simulator.parameters import Habit, SimulatorParameters
from inner_agent.simulator.reading import Paper, Sentence, read_paper, stems, trace
from inner_agent.simulator.wire import last_user, say, split_paper, split_told

_HEADINGS = {
    "unsuitable": "UNSUITABLE",
    "easy": "TOO EASY",
    "strong": "FAILED ON STRONG",
    "quality": "FAILED QUALITY CHECK",
    "invalid": "INVALID",
}
_ENTRY = re.compile(r"^\d+\. ", re.MULTILINE)
_FIGURE = re.compile(r"\b\d+(?:\.\d+)?\b")
_MORE_STEPS, _FEWER_STEPS = re.compile(r"\bmore steps\b"), re.compile(r"\bfewer steps\b")
_ADVICE = "INSTRUCTIONS FROM THE MAIN AGENT"

Rubric = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Past:
    """Earlier failures on this paper: how many of each kind, and the text of all of them."""

    easy: int
    strong: int
    quality: int
    invalid: int
    text: str
    taken: str = ""
    """The questions that the paper has given already."""


class Write(Protocol):
    """Writes an item from a paper's text, by what it was told and what became of earlier ones."""

    def __call__(
        self, text: str, told: frozenset[str], past: Past, rng: Random, p: SimulatorParameters, *,
        typed: bool,
    ) -> dict[str, Any]: ...  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """What the next item will be like."""

    kind: str
    depth: int
    leak: bool
    omit: bool
    style: bool
    strings: bool
    negative: bool
    heavy: bool


def reply(request: Request, rng: Random, p: SimulatorParameters, write: Write) -> Reply:
    """One item as JSON, in one of the wrappings that models put around it."""
    text, rest = split_paper(last_user(request.messages))
    rest, taken, learned = split_told(rest)
    prompt, past = _past(rest)
    past = replace(past, taken=taken)
    said = (prompt, _advice(rest), learned)
    told = frozenset[str]().union(*(directives(one, "challenger") for one in said))
    item = write(text, told, past, rng, p, typed=request.schema is not None)
    return wrapped(item, rng, p, typed=request.schema is not None)


def graded(
    text: str, told: frozenset[str], past: Past, rng: Random, p: SimulatorParameters, *, typed: bool
) -> dict[str, Any]:
    """An item with a rubric; ``typed``: the request's schema rules out weights as strings."""
    plan = plan_of(told, past, rng, p)
    avoid = stems(past.text) | stems(past.taken)
    item = _item(read_paper(text), plan, avoid, rng, past.taken)
    _weigh(item["rubric"], plan, rng, typed=typed)
    return item


def wrapped(item: dict[str, Any], rng: Random, p: SimulatorParameters, *, typed: bool) -> Reply:
    """An item as a reply: bare, fenced, or broken off; bare where a schema was asked for."""
    body = json.dumps(item, ensure_ascii=False, indent=1)
    if typed:
        return say(body)
    if rng.random() < p.broken_reply:
        return say(body[: len(body) * 2 // 3])
    return say(f"Here is the item.\n\n```json\n{body}\n```" if rng.random() < 0.3 else body)


def _past(rest: str) -> tuple[str, Past]:
    """The prompt file's part, and the earlier failures listed after it."""
    prompt, found, text = rest.partition(_ADVICE)[0].rpartition("\nREFINEMENT")
    if not found:
        return text, Past(0, 0, 0, 0, "")
    counts: dict[str, Any] = dict.fromkeys(_HEADINGS, 0)
    for block in text.split("\n\n"):
        heading = block.partition("\n")[0]
        kind = next((k for k, words in _HEADINGS.items() if words in heading), None)
        if kind == "unsuitable":  # a judge that read all answers says which way to go
            counts["easy"] += len(_MORE_STEPS.findall(block))
            counts["strong"] += len(_FEWER_STEPS.findall(block))
        elif kind:
            counts[kind] += len(_ENTRY.findall(block))
    del counts["unsuitable"]
    return prompt, Past(text=text, **counts)


def _advice(rest: str) -> str:
    return rest.partition(_ADVICE)[2]


def rate(habit: Habit, name: str, told: frozenset[str]) -> float:
    """How often the challenger follows a habit under what it was told."""
    if f"demand:{name}" in told:
        curbed = f"curb:{name}" in told
        return (habit.demanded + habit.curbed) / 2 if curbed else habit.demanded
    if f"curb:{name}" in told:
        return habit.curbed
    return habit.invited if f"invite:{name}" in told else habit.plain


def habits(
    told: frozenset[str], past: Past, rng: Random, p: SimulatorParameters
) -> Callable[[str, str], bool]:
    """``does(habit, pattern)``: whether it follows a habit this time.  Once blamed for it, in words
    that the pattern finds, half as often."""
    reasons = past.text.lower()

    def does(name: str, blamed: str) -> bool:
        chance = rate(getattr(p, name), name, told)
        return rng.random() < (chance / 2 if past.text and re.search(blamed, reasons) else chance)

    return does


def plan_of(told: frozenset[str], past: Past, rng: Random, p: SimulatorParameters) -> Plan:
    """What the next question will be like."""
    does = habits(told, past, rng, p)
    numeric = does("number", r"number that|bare number")
    generic = does("generic", r"reason: [^\n]*generic")
    return Plan(
        kind="number" if numeric else "generic" if generic else "chain",
        depth=_depth(told, past, rng, p),
        leak=does("leak", r"gives? (it )?away|leak"),
        omit=does("omit", r"missing premise"),
        style=does("style", r"style"),
        strings=does("string_weight", r"weight: must be|must be a number"),
        negative=does("negative", r"penalt|negative weight"),
        heavy=does("heavy", r"one criterion"),
    )


def _depth(told: frozenset[str], past: Past, rng: Random, p: SimulatorParameters) -> int:
    mean, spread = p.depth, p.depth_spread
    if "demand:depth" in told:
        mean = p.depth_hardest
    elif "curb:depth" in told:
        mean, spread = p.depth_steered, spread / 2
    mean += p.deeper * min(3, past.easy) - p.shallower * min(3, past.strong)
    return max(1, min(9, round(rng.gauss(mean, spread))))


def _item(
    paper: Paper, plan: Plan, avoid: frozenset[str], rng: Random, taken: str = ""
) -> dict[str, Any]:
    """An item of the planned kind, or a generic one where the paper does not yield it."""
    made = _number_item(paper, rng) if plan.kind == "number" else None
    chain = draw_chain(paper, plan.depth, avoid, rng) if plan.kind == "chain" else None
    if chain:
        made = _chain_item(paper, chain, plan, rng)
    return made or _generic_item(paper, taken, rng)


def _generic_item(paper: Paper, taken: str, rng: Random) -> dict[str, Any]:
    """A question for any paper, and one that is not taken as long as there is one, with the paper's
    opening as its context."""
    opening = [s.text for s in paper.prose[:4]] or ["Little is known of the work."]
    left = [one for one in phrases.GENERIC_QUESTIONS if one[1] not in taken]
    kind, question = rng.choice(left or phrases.GENERIC_QUESTIONS)
    criteria = rng.sample(phrases.GENERIC_CRITERIA, rng.randint(6, 8))
    named = sorted(paper.where, key=lambda w: -len(paper.where[w]))[:8]
    rubric = _rubric(criteria)
    if named:
        rubric.append({"criterion": f"The answer brings up `{rng.choice(named)}`.", "weight": 2})
    return {
        "question_type": kind,
        "reasoning_skills": ["synthesis", "evaluation"],
        "context": plain(f"{paper.title}\n\n" + " ".join(opening)),
        "question": question,
        "reference_answer": plain(" ".join(rng.sample(phrases.REMARKS, 5))),
        "rubric": rubric,
    }


def _number_item(paper: Paper, rng: Random) -> dict[str, Any] | None:
    """A question for a figure that only a reader of the paper can know."""
    figured = [s for s in paper.prose if s.order and _FIGURE.search(s.text)]
    if not figured:
        return None
    one = rng.choice(figured)
    figures = list(dict.fromkeys(_FIGURE.findall(one.text)))[:3]
    term = min(one.order, key=lambda w: (len(paper.where.get(w, "........")), w))
    rubric = [{"criterion": f"The answer gives the figure {f}.", "weight": 7} for f in figures]
    rubric.append({"criterion": f"The answer brings up `{term}`.", "weight": 3})
    rubric += _rubric(rng.sample(phrases.GENERIC_CRITERIA, 2))
    opening = " ".join(s.text for s in paper.prose[:2] if s is not one)
    return {
        "question_type": "experiment",
        "reasoning_skills": ["recall", "quantitative reasoning"],
        "context": plain(f"{paper.title}\n\n{opening}"),
        "question": f"Which exact figures does the paper report for `{term}`, and what of it?",
        "reference_answer": plain(one.text),
        "rubric": rubric,
    }


def _chain_item(paper: Paper, chain: Chain, plan: Plan, rng: Random) -> dict[str, Any]:
    """A question whose answer has to be traced through the premises in its context."""
    premises = list(chain.premises)
    if plan.omit and len(premises) > 1:
        premises.remove(rng.choice(premises[1:]))
    bystanders = bystanders_of(paper, premises, chain, rng)
    start, end = f"`{chain.terms[0]}`", f"`{chain.terms[-1]}`"
    kind, question = rng.choice(phrases.CHAIN_QUESTIONS)
    steps = [
        f"`{a}` bears on `{b}`: {plain(s.text)}"
        for (a, b), s in zip(pairwise(chain.terms), chain.premises, strict=True)
    ]
    rubric: Rubric = [{"criterion": f"The answer starts from {start}.", "weight": 2}]
    rubric += [_link(chain.terms[: h + 1], min(7, 2 + h)) for h in range(1, chain.depth + 1)]
    rubric += _side_criteria(bystanders, plan, rng)
    return {
        "question_type": kind,
        "reasoning_skills": ["causal reasoning", "multi-step inference"][: min(2, chain.depth)],
        "context": context_of(paper, chain, premises + bystanders, plan, rng),
        "question": question.format(start=start, end=end),
        "reference_answer": " ".join([*steps, f"So {phrases.way(chain.terms)}."]),
        "rubric": rubric,
    }


def context_of(
    paper: Paper, chain: Chain, facts: Sequence[Sentence], plan: Plan, rng: Random
) -> str:
    """Setting, facts in no order, and, where it leaks, what follows from them."""
    setting = paper.title.rstrip(".") + "."
    if chain.understood:
        setting += f" Taken as understood: {', '.join(sorted(chain.understood))}."
    listed = "\n".join(f"- {s.text}" for s in rng.sample(facts, len(facts)))
    parts = [plain(setting), plain(listed)]
    if plan.leak:
        known = chain.terms if rng.random() < 0.75 else chain.terms[: max(2, chain.depth)]
        parts.append(rng.choice(phrases.LEAKS).format(way=phrases.way(known)))
    return "\n\n".join(parts)


def _side_criteria(bystanders: Sequence[Sentence], plan: Plan, rng: Random) -> Rubric:
    """Style and general virtues, or else facts that lie beside the way."""
    if plan.style:
        return _rubric(rng.sample(phrases.GENERIC_CRITERIA, rng.randint(2, 4)))
    words = [max(s.order, key=len) for s in bystanders if s.order]
    return _rubric([f"The answer brings up `{word}`." for word in words])


def bystanders_of(
    paper: Paper, premises: Sequence[Sentence], chain: Chain, rng: Random
) -> list[Sentence]:
    """Up to two more sentences of the paper, none of which opens a short cut."""
    start, end = (stems(t) for t in (chain.terms[0], chain.terms[-1]))
    understood = paper.common
    known = list(premises)
    way = len(trace(known, start, end, understood))
    for other in rng.sample(paper.prose, min(2, len(paper.prose))):
        if start & other.stems or end & other.stems or other in known:
            continue
        if len(trace([*known, other], start, end, understood)) == way:
            known.append(other)
    return known[len(premises) :]


def _link(terms_: Sequence[str], weight: int) -> dict[str, Any]:
    first, *between, last = terms_
    way = f" by way of {phrases.listed([f'`{t}`' for t in between])}" if between else ""
    return {"criterion": f"The answer connects `{first}` to `{last}`{way}.", "weight": weight}


def _rubric(criteria: Sequence[str]) -> Rubric:
    return [{"criterion": text, "weight": 2 + n % 2} for n, text in enumerate(criteria)]


def _weigh(rubric: Rubric, plan: Plan, rng: Random, *, typed: bool) -> None:
    """Bend the rubric as planned."""
    if plan.heavy:
        heavy = rubric[rng.choice((0, -1))]
        heavy["weight"] = sum(c["weight"] for c in rubric if c is not heavy)
    if plan.negative:
        for fault in rng.sample(phrases.FAULTS, rng.randint(2, 3)):
            rubric.append({"criterion": fault, "weight": -rng.randint(4, 7)})
    if plan.strings and not typed:
        for criterion in rubric:
            criterion["weight"] = f"{criterion['weight']:+d}"


def plain(text: str) -> str:
    """Without backticks, which are for the terms of a question."""
    return text.replace("`", "'") or "(nothing)"
