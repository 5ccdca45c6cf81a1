"""The comparer: which of two items is the better one, asked in both orders.

A pinned role: its prompt is a fixed file, and neither harness nor rollout ever asks it.  Models
that judge pairs favour a place (Zheng et al. 2023, "Judging LLM-as-a-Judge with MT-Bench and
Chatbot Arena"), so every pair is shown both ways round, and an item wins where both say so.
"""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from inner_agent import prompts
from inner_agent.calls import Usage
from inner_agent.items import Item
from inner_agent.llm import Message, Reply
from inner_agent.prompts import block
from inner_agent.roles import Ask, read_sheet, read_verdict, rubric_lines

PROMPT = prompts.load("comparer", Path(__file__).parent / "prompts")
_SIDES = re.compile(r"<(\s*/?\s*item_[ab]\b)", re.IGNORECASE)


class Said(BaseModel):
    """One verdict: why, and which of the items as they were shown."""

    model_config = ConfigDict(frozen=True, strict=True)
    reason: str = ""
    better: Literal["A", "B", "tie"]


@dataclass(frozen=True, slots=True)
class Shown:
    """An item and the text of its paper."""

    paper: str
    item: Item


async def both_orders(
    ask: Ask, one: Shown, other: Shown, sample: str, usage: Usage
) -> tuple[Said, Said]:
    """The verdicts with ``one`` shown first, and with ``other`` shown first.

    Raises ``NoAnswer`` where one of them stays unreadable, and as ``ask`` does.
    """
    orders = (comparer_messages(one, other), comparer_messages(other, one))
    said = await asyncio.gather(
        *(read_verdict(ask, "comparer", messages, _parse, f"{sample}/{n}/t", usage)
          for n, messages in enumerate(orders))
    )  # fmt: skip
    return said[0], said[1]


def _parse(reply: Reply) -> Said:
    """Raises ``ValueError`` for what is no verdict."""
    return read_sheet(reply, Said)


def comparer_messages(a: Shown, b: Shown) -> list[Message]:
    """What the comparer sees.  One paper stands before both items, two each within its own."""
    one_paper = a.paper == b.paper
    parts = [_guarded(block("paper", a.paper))] if one_paper else []
    for letter, shown in (("a", a), ("b", b)):
        inner = _guarded("\n\n".join(_blocks(shown, with_paper=not one_paper)))
        parts.append(f"<item_{letter}>\n{inner}\n</item_{letter}>")
    return [
        {"role": "system", "content": PROMPT.render()},
        {"role": "user", "content": "\n\n".join(parts)},
    ]


def _blocks(shown: Shown, *, with_paper: bool) -> list[str]:
    item = shown.item
    return [
        *([block("paper", shown.paper)] if with_paper else []),
        block("context", item.context), block("question", item.question),
        block("reference", item.reference_answer),
        *([block("rubric", rubric_lines(item))] if item.rubric else []),
    ]  # fmt: skip


def _guarded(text: str) -> str:
    """An item can't end itself and begin the other one."""
    return _SIDES.sub(r"<\\\1", text)
