"""Which steps of a trajectory belong to which round, and the chats with all that they said.

A step doesn't name its round.  What a round is known by is the challenger's reply that holds its
question and the evaluations of exactly its item; where the next round starts follows from what
lies between.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.web import loose
from metaopt.trace import identity

Step = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """Steps ``start`` to ``stop`` (exclusive); ``written``: the chat that wrote the question."""

    start: int
    stop: int
    written: int | None = None


def spans(steps: Sequence[Step], rounds: Sequence[Mapping[str, Any]]) -> list[Span]:
    """A span for each round and one for what came after them; all steps are in one of them."""
    found, starts = list[int | None](), list[int]()
    start = after = 0
    for round_ in rounds:
        written, last = _traces(steps, round_, after)
        first = last if written is None else written
        if first is not None and last is not None:
            start = max(start, _opening(steps, after, first)) if found else 0
            after = last + 1
        starts.append(start)
        found.append(written)
    ends = [*starts[1:], _close(steps, after)] if rounds else []
    listed = [Span(s, max(s, e), w) for s, e, w in zip(starts, ends, found, strict=True)]
    end = listed[-1].stop if listed else 0
    return [*listed, Span(end, len(steps))]


def item_of(value: Any) -> dict[str, Any]:
    """An item of a step or a round as far as it can be read."""
    item = loose.table(value)
    told = {key: loose.text(item.get(key)) for key in ("question", "context", "reference_answer")}
    rubric = [
        {"criterion": loose.text(c.get("criterion")), "weight": _weight(c.get("weight"))}
        for c in loose.tables(item.get("rubric"))
    ]
    return told | {"rubric": rubric}


def mark(value: Any) -> Hashable:
    """What is equal for the items of two steps or rounds where they are one."""
    *texts, criteria = identity(item_of(value))
    return (*texts, *criteria)


def same(a: Any, b: Any) -> bool:
    """Are the items of two steps or rounds one?"""
    return mark(a) == mark(b)


def _weight(value: Any) -> float | str:
    found = loose.number(value)
    return loose.text(value) if found is None else found


def _traces(
    steps: Sequence[Step], round_: Mapping[str, Any], after: int
) -> tuple[int | None, int | None]:
    """The chat at or after ``after`` that wrote a round's question, and the last that it left."""
    question, written, last = loose.text(round_.get("question")), None, None
    forms = {json.dumps(question, ensure_ascii=ascii)[1:-1] for ascii in (False, True)}
    wanted = identity(item_of(round_))
    for n, step in enumerate(steps[after:], start=after):
        if step.get("kind") == "evaluate" and identity(item_of(step.get("item"))) == wanted:
            last = n
        elif _of(step, "challenger"):
            if written is not None or last is not None:
                break  # from here on, it is about another question
            reply = loose.text(loose.table(step.get("reply")).get("content"))
            if question and any(form in reply for form in forms):
                written = n
    return written, written if last is None else last


def _of(step: Step, agent: str) -> bool:
    return step.get("kind") == "chat" and step.get("agent") == agent


def _opening(steps: Sequence[Step], after: int, first: int) -> int:
    """Where the round starts whose question step ``first`` wrote: after the result that was handed
    in before it, or with the chat that asked for the question."""
    for n in range(after, first):
        if steps[n].get("kind") == "submit":
            return n + 1
    for n in range(first, after, -1):
        if _of(steps[n - 1], "main_agent"):
            return n - 1
    return first


def _close(steps: Sequence[Step], after: int) -> int:
    """Where the last round ends: with the next result that was handed in, or the next answers of
    ours."""
    for n in range(after, len(steps)):
        kind = steps[n].get("kind")
        if kind == "submit":
            return n + 1
        if kind in ("audit", "fresh"):
            return n
    return len(steps)


def said(steps: Sequence[Step]) -> dict[int, list[Mapping[str, Any]]]:
    """The whole messages of each chat, by its step: a chat is recorded without those that repeat
    the same agent's chat before it."""
    before: dict[str, list[Mapping[str, Any]]] = {}
    found = {}
    for n, step in enumerate(steps):
        if step.get("kind") == "chat":
            agent = loose.text(step.get("agent"))
            kept = before.get(agent, [])[: loose.whole(step.get("continues"))]
            before[agent] = found[n] = [*kept, *loose.tables(step.get("messages"))]
    return found
