"""Questions with one right answer, for a challenger whose prompt wants items without a rubric.

They are drawn from the paper's chains as those with a rubric are, with the same habits; instead of
criteria there is a last line ``Answer: …``.  What it asks for is a term on the way or the length of
the way, so that code can compare it.  Three habits are its own: it leaves that line out, it asks
for a yes or a no, it leaves open which of several answers is meant.
"""

import re
from dataclasses import dataclass
from random import Random
from typing import Any

from inner_agent.simulator import phrases
from inner_agent.simulator.chains import Chain, draw_chain
from inner_agent.simulator.challenger import (
    Past,
    Plan,
    bystanders_of,
    context_of,
    habits,
    plain,
    plan_of,
)
from inner_agent.simulator.parameters import SimulatorParameters
from inner_agent.simulator.reading import Paper, read_paper, stems

_NO_RUBRIC = re.compile(r'"rubric":\s*\[\s*\]')
_FIGURE = re.compile(r"\b\d+(?:\.\d+)?\b")


@dataclass(frozen=True, slots=True)
class Form:
    """What the answer will look like; ``marked``: its last line says ``Answer:``."""

    marked: bool
    yes_no: bool
    open: bool


def wanted(prompt: str) -> bool:
    """Does a prompt ask for items without a rubric, whose answer ends with ``Answer: …``?"""
    return bool(_NO_RUBRIC.search(prompt)) and "Answer:" in prompt


def checked(
    text: str, told: frozenset[str], past: Past, rng: Random, p: SimulatorParameters, *, typed: bool
) -> dict[str, Any]:
    """An item with a final answer; a schema makes no difference to it."""
    plan, does = plan_of(told, past, rng, p), habits(told, past, rng, p)
    form = Form(
        marked=not does("unmarked", r"must end with a line|final answer"),
        yes_no=does("guessable", r"guess"),
        open=does("open", r"question is open|several answers"),
    )
    paper = read_paper(text)
    chain = None
    if plan.kind == "chain":
        avoid = stems(past.text) | stems(past.taken)
        chain = draw_chain(paper, plan.depth, avoid, rng)
    made = _figure_item(paper, form, rng) if plan.kind == "number" else None
    if chain:
        made = _chain_item(paper, chain, plan, form, rng)
    return made or _generic_item(paper, past.taken, form, rng)


def _chain_item(paper: Paper, chain: Chain, plan: Plan, form: Form, rng: Random) -> dict[str, Any]:
    """A question that is answered by following the premises in its context to their end."""
    premises = list(chain.premises)
    if plan.omit and len(premises) > 1:
        premises.remove(rng.choice(premises[1:]))
    facts = premises + bystanders_of(paper, premises, chain, rng)
    questions, answer = _asked(chain, form, rng)
    kind, question = rng.choice(questions)
    start, end = f"`{chain.terms[0]}`", f"`{chain.terms[-1]}`"
    working = f"From {start} to {end}, fact by fact: {phrases.way(chain.terms)}."
    skills = ["causal reasoning", "multi-step inference"][: min(2, chain.depth)]
    context = context_of(paper, chain, facts, plan, rng)
    question = question.format(start=start, end=end)
    return _item((kind, skills), context, question, (working, answer), form)


def _asked(chain: Chain, form: Form, rng: Random) -> tuple[tuple[tuple[str, str], ...], str]:
    """Ways to ask, and the final answer."""
    if form.yes_no:
        return phrases.YES_NO_QUESTIONS, "yes"
    if form.open:
        return phrases.OPEN_QUESTIONS, rng.choice(chain.terms[1:-1] or chain.terms[:1])
    if rng.random() < 0.5:
        return phrases.COUNT_QUESTIONS, str(chain.depth)
    return phrases.LAST_QUESTIONS, chain.terms[-2]


def _figure_item(paper: Paper, form: Form, rng: Random) -> dict[str, Any] | None:
    """A question for a figure that only a reader of the paper can know."""
    figured = [s for s in paper.prose if s.order and _FIGURE.search(s.text)]
    if not figured:
        return None
    one = rng.choice(figured)
    term = min(one.order, key=lambda w: (len(paper.where.get(w, "........")), w))
    opening = " ".join(s.text for s in paper.prose[:2] if s is not one)
    labels = ("experiment", ["recall", "quantitative reasoning"])
    question = phrases.FIGURE_QUESTION.format(term=f"`{term}`")
    answer = (plain(one.text), _FIGURE.findall(one.text)[0])
    return _item(labels, plain(f"{paper.title}\n\n{opening}"), question, answer, form)


def _generic_item(paper: Paper, taken: str, form: Form, rng: Random) -> dict[str, Any]:
    """A question that could be put to any paper, and one that is not taken as long as there is one,
    with this paper's opening as its context."""
    opening = " ".join(s.text for s in paper.prose[:4]) or "Little is known of the work."
    left = [one for one in phrases.GENERIC_CHECKS if one[1] not in taken]
    kind, question, answer = rng.choice(left or phrases.GENERIC_CHECKS)
    working = plain(" ".join(rng.sample(phrases.REMARKS, 2)))
    labels = (kind, ["evaluation"])
    return _item(labels, plain(f"{paper.title}\n\n{opening}"), question, (working, answer), form)


def _item(
    labels: tuple[str, list[str]], context: str, question: str, answer: tuple[str, str], form: Form
) -> dict[str, Any]:
    working, final = answer
    last = f"Answer: {final}" if form.marked else f"It comes down to {final}."
    return {
        "question_type": labels[0],
        "reasoning_skills": labels[1],
        "context": context,
        "question": question,
        "reference_answer": f"{working}\n{last}",
        "rubric": [],
    }
