"""The trusted roles: solvers and judge.

Their prompts are fixed files, out of the harness's reach (Autodata, "Hacking & limitations": an
agent once told the weak solver to be weak).  A solver sees context and question only; the judge
sees the rubric and never the reference answer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inner_agent import prompts, strict_json
from inner_agent.calls import Usage
from inner_agent.errors import ReplyRefused
from inner_agent.items import Criterion, Item, first_error
from inner_agent.llm import Message, Reply
from inner_agent.prompts import block
from inner_agent.settings import Model

Tier = Literal["weak", "strong"]
S = TypeVar("S", bound=BaseModel)
T = TypeVar("T")
TRIES = 3  # an empty answer or an unreadable verdict is asked for again this many times in all


class NoAnswer(Exception):
    """A solver or the judge gave nothing usable in all tries: SOLVER_ERROR, never a score."""

    def __init__(self, role: str, reason: str) -> None:
        super().__init__(reason)
        self.role = role


class Ask(Protocol):
    """``Gateway.ask``, as far as roles use it."""

    async def __call__(
        self, role: str, messages: Sequence[Message], *, sample: str,
        top_logprobs: int = 0, usage: Usage | None = None,
        usable: Callable[[Reply], str | None] = ...,
    ) -> Reply: ...  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judge on one criterion: why, and the share of it that is met, in [0, 1]."""

    reason: str
    score: float

    def for_record(self) -> dict[str, Any]:
        """As the trajectory keeps it."""
        return {"reason": self.reason, "score": self.score}


class _Line(BaseModel):
    model_config = ConfigDict(strict=True)
    id: int
    reason: str = ""
    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Sheet(BaseModel):
    criteria: list[_Line]


async def solve(
    ask: Ask, tier: Tier, model: Model, messages: list[Message], sample: str, usage: Usage
) -> str:
    """One attempt: the answer text.  Raises ``NoAnswer`` when the model gives none.

    With ``samples`` > 1 that many drafts are merged by the same model into one answer.
    """
    if model.samples == 1:
        return await _answer(ask, tier, model, messages, sample, usage)
    drafts = [
        await _answer(ask, tier, model, messages, f"{sample}/s{n}", usage)
        for n in range(model.samples)
    ]
    shown = "\n\n".join(block("attempt", d) for d in drafts)
    task = f"{messages[-1]['content']}\n\n{shown}\n\n{prompts.load('aggregate').render()}"
    merged: list[Message] = [messages[0], {"role": "user", "content": task}]
    return await _answer(ask, tier, model, merged, f"{sample}/merged", usage)


def solver_messages(item: Item, paper: str | None, folder: Path = prompts.HERE) -> list[Message]:
    """What a solver sees: the fixed prompt of ``folder`` (``solver``, or ``solver_paper`` for one
    that has the paper as privileged information), then the item."""
    system = prompts.load("solver" if paper is None else "solver_paper", folder).render()
    parts = [block("paper", paper)] if paper is not None else []
    parts += [block("context", item.context), block("question", item.question)]
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": "\n\n".join(parts)},
    ]


async def _answer(
    ask: Ask, tier: Tier, model: Model, messages: list[Message], sample: str, usage: Usage
) -> str:
    for n in range(TRIES):
        try:
            reply = await ask(tier, messages, sample=f"{sample}/t{n}", usage=usage)
        except ReplyRefused:
            continue  # another draw may not be refused; an item that always is can't be scored
        cut = reply.finish_reason == "length" and not model.accept_truncated
        if reply.content.strip() and not cut:
            return reply.content
    raise NoAnswer(tier, f"the {tier} solver gave no complete answer in {TRIES} tries")


async def judge(
    ask: Ask, model: Model, item: Item, answer: str, sample: str, usage: Usage
) -> list[Verdict]:
    """Verdicts, one a criterion, in the rubric's order.  Raises ``NoAnswer`` after ``TRIES``."""
    if model.judge_mode == "yes_no":
        return [
            await _judge_one(ask, item, c, answer, f"{sample}/c{n}", usage)
            for n, c in enumerate(item.rubric)
        ]
    criteria = len(item.rubric)
    return await read_verdict(
        ask, "judge", judge_messages(item, answer), lambda reply: _parse_sheet(reply, criteria),
        f"{sample}/t", usage,
    )  # fmt: skip


async def read_verdict(
    ask: Ask, role: str, messages: Sequence[Message], parse: Callable[[Reply], T], sample: str,
    usage: Usage,
) -> T:  # fmt: skip
    """What ``parse`` makes of a role's reply, which it refuses with ``ValueError``.

    Raises ``NoAnswer`` after ``TRIES`` replies that it refused.
    """
    reason = ""
    for n in range(TRIES):
        try:
            reply = await ask(
                role, messages, sample=f"{sample}{n}", usage=usage, usable=readable(parse)
            )
            return parse(reply)
        except (ValueError, ReplyRefused) as e:
            reason = str(e)
    raise NoAnswer(role, f"the {role} gave no readable verdict in {TRIES} tries ({reason})")


def judge_messages(item: Item, answer: str) -> list[Message]:
    """What the judge sees; the answer last, so that an item's attempts share a prefix."""
    parts = [
        block("context", item.context), block("question", item.question),
        block("rubric", rubric_lines(item)), block("answer", answer),
    ]  # fmt: skip
    return [
        {"role": "system", "content": prompts.load("judge").render()},
        {"role": "user", "content": "\n\n".join(parts)},
    ]


def rubric_lines(item: Item) -> str:
    """The rubric, a numbered line a criterion: a line break inside one would make another."""
    numbered = enumerate(item.rubric, 1)
    return "\n".join(
        f"{n}. (weight {c.weight:g}) {' '.join(c.criterion.split())}" for n, c in numbered
    )


def readable(parse: Callable[[Reply], object]) -> Callable[[Reply], str | None]:
    """What makes a reply one that ``parse`` refuses with ``ValueError``.

    One that is too long isn't: that is the model's own doing, and asking again won't shorten it.
    """

    def problem(reply: Reply) -> str | None:
        if reply.finish_reason == "length":
            return None
        try:
            parse(reply)
        except ValueError as e:
            return f"no verdict: {e}"
        return None

    return problem


def read_sheet(reply: Reply, kind: type[S]) -> S:
    """The JSON object in a verdict, as a model.  Raises ``ValueError`` saying what is wrong.

    What a judge is shown may hold a verdict that was made up, and a judge may quote it: of two that
    differ neither is taken for its own.
    """
    if reply.finish_reason == "length":
        raise ValueError("cut off at max_tokens")
    sheets, problem = list[S](), ""
    for value in strict_json.objects(reply.content):
        try:
            sheet = kind.model_validate(value)
        except ValidationError as e:
            problem = problem or first_error(e, "verdict")
            continue
        if sheet not in sheets:
            sheets.append(sheet)
    if len(sheets) > 1:
        raise ValueError(f"{len(sheets)} verdicts that differ")
    if not sheets:
        raise ValueError(problem)
    return sheets[0]


def _parse_sheet(reply: Reply, criteria: int) -> list[Verdict]:
    """Raises ``ValueError`` unless every criterion is there exactly once."""
    sheet = read_sheet(reply, _Sheet)
    by_id = {line.id: line for line in sheet.criteria}
    if len(sheet.criteria) != criteria or set(by_id) != set(range(1, criteria + 1)):
        raise ValueError(f"criteria {sorted(by_id)} where 1 to {criteria} were asked for")
    return [Verdict(by_id[n].reason, by_id[n].score) for n in range(1, criteria + 1)]


async def _judge_one(
    ask: Ask, item: Item, criterion: Criterion, answer: str, sample: str, usage: Usage
) -> Verdict:
    return await yes_or_no(ask, yes_no_messages(item, criterion, answer), sample, usage)


async def yes_or_no(ask: Ask, messages: list[Message], sample: str, usage: Usage) -> Verdict:
    """Small judges: one question a call, yes against no by the first token's logprobs.

    The score is the share of probability on yes, rounded to 0 or 1: measured on a 1.5B model,
    it can rank yes against no but its probabilities aren't calibrated enough for halves.
    Raises ``NoAnswer`` when ``TRIES`` replies say neither.
    """
    for n in range(TRIES):
        try:
            reply = await ask(
                "judge", messages, sample=f"{sample}/t{n}", top_logprobs=8, usage=usage
            )
        except ReplyRefused:
            continue
        yes, no = (_mass(reply.first_logprobs, word) for word in ("yes", "no"))
        if yes + no > 0:
            share = yes / (yes + no)
            return Verdict(f"yes {share:.0%}", 1.0 if share > 0.5 else 0.0)
    raise NoAnswer("judge", f"the judge said neither yes nor no in {TRIES} tries")


def yes_no_messages(item: Item, criterion: Criterion, answer: str) -> list[Message]:
    """What a judge of one criterion at a time sees."""
    task = "\n\n".join(
        [
            block("question", item.question),
            block("answer", answer),
            block("criterion", criterion.criterion),
            "Does the answer meet this criterion? Reply with one word, yes or no.",
        ]
    )
    return [
        {"role": "system", "content": prompts.load("judge_yes_no").render()},
        {"role": "user", "content": task},
    ]


def _mass(logprobs: dict[str, float], word: str) -> float:
    return sum(math.exp(p) for token, p in logprobs.items() if token.strip().lower() == word)
