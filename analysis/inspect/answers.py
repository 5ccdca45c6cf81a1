"""Final answers of items without a rubric: of what kind, and whether a guess would hit them."""

import re
from dataclasses import dataclass
from typing import Literal

from analysis import tasks
from analysis.inspect.words import contained, numbers
from inner_agent.items import Item
from inner_agent.tasks.verifiable import COMMON
from inner_agent.tasks.verifiable.answers.numbers import same_number
from inner_agent.tasks.verifiable.answers.words import plain, same_text
from metaopt.text import one_line

Kind = Literal["number", "expression", "words"]

_NUMERAL = r"\d[\d,]*(?:\.\d+)?|\.\d+"
_POWER = r"(?:[eE]|\s*(?:\*|×|x|\\times|\\cdot)\s*10\s*(?:\^|\*\*))\s*\{?[-+−]?\d+\}?"
_NUMBER = re.compile(
    rf"[~≈=$€£]?\s*[-+−]?\s*(?:{_NUMERAL})(?:{_POWER})?(?:\s*/\s*\d+)?(?P<unit>[\s$]*\\?%|[^\d+*^=()\\]*)"
)
# What a formula may spell out; any other word of two letters makes it a text.
_NAMES = re.compile(
    "sqrt|exp|log|ln|sin|cos|tan|abs|min|max|mod|[dt]?frac|cdot|times|div|left|right|infty|sum|prod"
    "|int|lim|pi|alpha|beta|gamma|delta|epsilon|eta|theta|lambda|mu|nu|rho|sigma|tau|phi|psi|omega|oo"
)
_OPERATOR = re.compile(r"[-+*/^=()<>\\−×·÷√∞]|\d")


@dataclass(frozen=True, slots=True)
class Final:
    """A final answer: how it is written, and what of it is compared where texts are; of which kind;
    whether it is one of the answers that a guess hits (``COMMON``), and whether context or question
    have it word for word."""

    written: str
    compared: str
    kind: Kind
    guessable: bool
    shown: bool


def final(item: Item) -> Final | None:
    """Of an item without a rubric; ``None`` where it has no final answer."""
    answer = tasks.final_of(item)
    if not plain(answer):
        return None
    words, shown = numbers(answer), numbers(f"{item.context}\n{item.question}")
    return Final(
        one_line(answer, 60), plain(answer), kind_of(answer), guessable(answer),
        contained(words, shown, len(words)) == 1,
    )  # fmt: skip


def kind_of(answer: str) -> Kind:
    """``number``: a numeral, with a unit or without; ``expression``: a formula; else ``words``."""
    text = answer.strip()
    if _NUMBER.fullmatch(text):
        return "number"
    named = re.findall(r"[^\W\d_]{2,}", text)
    formula = _OPERATOR.search(text) and all(map(_NAMES.fullmatch, named))
    return "expression" if formula else "words"


def guessable(answer: str) -> bool:
    """Is it one of ``COMMON``, however a number is written?  A unit makes it another answer."""
    found = _NUMBER.fullmatch(answer.strip())
    alone = bool(found and not found["unit"].strip())
    return any(
        same_text(guess, answer) or (alone and same_number(guess, answer, 0.0)) for guess in COMMON
    )
