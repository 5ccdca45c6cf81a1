"""What somebody typed into a search box, and what it means to the index."""

import re
from dataclasses import dataclass, field
from typing import get_args

from analysis.colours import ENDS
from analysis.search.texts import KINDS, RECORDED, printable
from inner_agent.run_paper import Reason

# What ``outcome:`` takes: how rounds end, each with its name, and how rollouts do.
ROUNDS_END = {outcome: name for outcome, (name, _) in ENDS.items()}
ROLLOUTS_END = get_args(Reason)
FILTERS = ("kind", "candidate", "iteration", "part", "paper", "outcome")
PREFIX = 3  # characters from which on a word also finds those that begin with it
MOST_WORDS = 32
MOST_CHARS = 1_000
_PIECE = re.compile(r'(?:(\w+):)?(?:"([^"]*)"?|([^\s"]+))')


@dataclass(frozen=True, slots=True)
class Query:
    """Words and phrases that a text must all have, and filters by name.

    ``match`` is for FTS5, empty where there is no word: filters alone ask for all that they let
    through.  ``wrong`` says what of the query was left out, and why.
    """

    match: str
    filters: dict[str, str] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()

    @property
    def asks(self) -> bool:
        """Is there anything to look for?"""
        return bool(self.match or self.filters)


def parse(typed: str) -> Query:
    """Read a query; any text is one.

    ``word`` finds words that begin with it, ``"a phrase"`` just these words one after the other,
    and so does a word with signs in it (``build_rubric``, a paper's id); ``kind:question`` and the
    like narrow it down.
    """
    filters: dict[str, str] = {}
    terms, wrong = [], []
    for match in _PIECE.finditer(printable(typed[:MOST_CHARS])):
        name, phrase, word = match.groups()
        value = word if phrase is None else phrase
        if name in FILTERS:
            if problem := _wrong_filter(name, value):
                wrong.append(problem)
            else:
                filters[name] = value
        else:
            terms += _terms(name, phrase, word)
    if len(typed) > MOST_CHARS or len(terms) > MOST_WORDS:
        wrong.append(f"only the first {MOST_CHARS:,} characters and {MOST_WORDS} words count")
    return Query(" AND ".join(terms[:MOST_WORDS]), filters, tuple(wrong))


def _terms(name: str | None, phrase: str | None, word: str | None) -> list[str]:
    """FTS5 strings: within quotes nothing has a meaning but a quote, and there is none."""
    if phrase is not None:
        before = [f'"{name}"'] if name and _searchable(name) else []
        return [*before, f'"{phrase}"'] if _searchable(phrase) else before
    text = f"{name}:{word}" if name else word or ""
    if not _searchable(text):
        return []
    last = re.split(r"\W|_", text)[-1]
    return [f'"{text}"*' if len(last) >= PREFIX else f'"{text}"']


def _wrong_filter(name: str, value: str) -> str:
    if not value:
        return f"{name}: needs a value behind the colon"
    if name == "kind" and value not in (*RECORDED, *KINDS):
        return f"kind:{value} is none of {', '.join((*RECORDED, *KINDS))}"
    if name in ("candidate", "iteration") and not re.fullmatch("[0-9]{1,9}", value):
        return f"{name}:{value} isn't a number"
    return ""


def _searchable(text: str) -> bool:
    return any(c.isalnum() for c in text)
