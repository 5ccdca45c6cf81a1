"""What is wrong with an item, as far as its text alone can tell: no model is asked.

The first half of an audit (``audit.py``).  Each check is a pure function that looks for one way to
be accepted without a question that needs its paper: text that gives orders to a solver or the
judge, text that people don't see, a context that holds the answer, a rubric that is none, a bare
figure.  They are meant to be right when they speak; what only sense can tell is the auditor's.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inner_agent.items import Item
from inner_agent.orders import orders_in, plain_text
from inner_agent.settings import Audit

RUN = 6  # words in a row that count as copied
ANSWER_WORDS = 12  # shorter reference answers are too short to be recognised in a context
SHINGLE = 3
_BASE, _PRIME = 1_000_003, 2**61 - 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: which check found it, and what it saw."""

    check: str
    detail: str

    def for_record(self) -> dict[str, Any]:
        """As the trajectory keeps it."""
        return {"check": self.check, "detail": self.detail}


def findings(item: Item, paper: str, limits: Audit) -> list[Finding]:
    """Everything that the checks find in ``item``, which was made from the text ``paper``."""
    texts = {"context": item.context, "question": item.question,
             "reference_answer": item.reference_answer}  # fmt: skip
    texts |= {f"rubric[{n}]": c.criterion for n, c in enumerate(item.rubric)}
    return [
        *_hidden(texts, paper),
        *(Finding("orders", f"{n} {o}") for n, text in texts.items() for o in orders_in(text)),
        *_leak(item, limits),
        *_rubric_shape(item),
        *_bare_number(item),
    ]


# Text that people don't see.

_DECEIVING = re.compile("[\u202a-\u202e\u2066-\u2069\U000e0000-\U000e0fff]")
_SHAPELESS = re.compile("[\u180b-\u180e\ufe00-\ufe0f]")  # selectors of a letter's variant
_WORD = re.compile(r"[^\W\d_]+")
_LOOKALIKES = ("CYRILLIC", "ARMENIAN", "CHEROKEE")


def _hidden(texts: Mapping[str, str], paper: str) -> Iterator[Finding]:
    """Characters without a shape, and words that mix alphabets, unless the paper has them too.

    Marks that turn the direction of writing, and the tag characters that spell a second text
    inside the first, are never a quotation.
    """
    for name, text in texts.items():
        bad = {c for c in text if _DECEIVING.match(c) or (_is_hidden(c) and c not in paper)}
        if bad:
            shown = ", ".join(f"U+{ord(c):04X}" for c in sorted(bad)[:4])
            yield Finding("hidden_text", f"{name} has characters that nobody sees ({shown})")
        words = (w for w in _WORD.findall(text) if not w.isascii())
        if word := next((w for w in words if _mixes_alphabets(w) and w not in paper), None):
            yield Finding("hidden_text", f"{name}: {word[:40]!r} mixes two alphabets")


def _is_hidden(char: str) -> bool:
    return char not in "\n\r\t" and (
        unicodedata.category(char) in ("Cc", "Cf", "Co") or bool(_SHAPELESS.match(char))
    )


def _mixes_alphabets(word: str) -> bool:
    scripts = {unicodedata.name(c, "").partition(" ")[0] for c in word}
    return "LATIN" in scripts and any(s in scripts for s in _LOOKALIKES)


# A context that holds the answer.


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", plain_text(text))


def _windows(words: Sequence[str], length: int) -> Iterator[int]:
    """A rolling hash of each ``length`` words in a row: linear, for a harness wrote the words."""
    value, top = 0, pow(_BASE, length - 1, _PRIME)
    for k, word in enumerate(words):
        if k >= length:
            value -= hash(words[k - length]) * top
        value = (value * _BASE + hash(word)) % _PRIME
        if k >= length - 1:
            yield value


def copied_share(text: Sequence[str], source: Collection[int]) -> float:
    """The share of the words of ``text`` that stand in runs of ``RUN`` of which ``source`` has the
    hashes."""
    hits = [k for k, window in enumerate(_windows(text, RUN)) if window in source]
    return len({k + n for k in hits for n in range(RUN)}) / len(text) if text else 0.0


def _leak(item: Item, limits: Audit) -> Iterator[Finding]:
    context, answer = _words(item.context), _words(item.reference_answer)
    # A context may hold what an answer quotes; in one piece, it holds the answer.
    piece = int(limits.leak_max * len(answer)) + 1
    pieces = _windows(answer, piece) if len(answer) >= ANSWER_WORDS else ()
    if not set(_windows(context, piece)).isdisjoint(pieces):
        said = f"the context holds {limits.leak_max:.0%} or more of the answer in one piece"
        yield Finding("leak", said)
    positive, source = [c for c in item.rubric if c.weight > 0], set(_windows(context, RUN))
    told = sum(c.weight for c in positive if copied_share(_words(c.criterion), source) > 0.5)
    share = told / sum(c.weight for c in positive)
    if share > limits.leak_max:
        yield Finding("leak", f"the context holds criteria worth {share:.0%} of the rubric")


# A rubric that is none.

LEAST_CRITERIA = 3
LARGEST_SHARE = 0.6


def _rubric_shape(item: Item) -> Iterator[Finding]:
    positive = [c.weight for c in item.rubric if c.weight > 0]
    penalties = -sum(c.weight for c in item.rubric if c.weight < 0)
    texts = Counter(" ".join(_words(c.criterion)) for c in item.rubric)
    if len(positive) < LEAST_CRITERIA:
        yield Finding("rubric", f"{len(positive)} criteria to earn; at least {LEAST_CRITERIA}")
    elif max(positive) / sum(positive) > LARGEST_SHARE:
        share = max(positive) / sum(positive)
        yield Finding("rubric", f"one criterion is worth {share:.0%} of it")
    if penalties > sum(positive):
        yield Finding("rubric", f"penalties of {penalties:g} against {sum(positive):g} to earn")
    if twice := next((t for t, n in texts.items() if n > 1), None):
        yield Finding("rubric", f"a criterion is there twice ({twice[:60]!r})")
    if empty := next((c.criterion for c in item.rubric if not _words(c.criterion)), None):
        yield Finding("rubric", f"a criterion says nothing ({empty[:20]!r})")


# A bare figure.

BARE_WORDS = 10  # a criterion of more words wants more than the figure in it
_FIGURE = re.compile(r"(?<![\w.])\d[\d.,]*\d|(?<![\w.])\d(?!\w)")


def _bare_number(item: Item) -> Iterator[Finding]:
    """Most of the rubric is figures, each with hardly a word, that the context doesn't hold."""
    told = set(_FIGURE.findall(item.context)) | set(_FIGURE.findall(item.question))
    positive = [c for c in item.rubric if c.weight > 0]
    bare = [c for c in positive if len(_words(c.criterion)) <= BARE_WORDS]
    figures = sum(c.weight for c in bare if set(_FIGURE.findall(c.criterion)) - told)
    share = figures / sum(c.weight for c in positive)
    if share > 0.5:
        yield Finding(
            "bare_number", f"{share:.0%} of the rubric asks for figures not in the context"
        )
    words = _words(item.reference_answer)
    if len(words) <= 6 and _FIGURE.search(item.reference_answer):
        yield Finding("bare_number", f"the answer is a figure ({item.reference_answer[:40]!r})")


# The same question for paper after paper.


def repeated(questions: Mapping[str, str], limit: float) -> set[str]:
    """Ids of the papers whose question is also another paper's, or nearly so.

    ``questions`` are by paper id; two are the same when the Jaccard similarity of their word
    shingles passes ``limit``.  All of them are named: a question that fits two papers is neither's.
    """
    shingles = {paper: _shingles(text) for paper, text in questions.items() if text}
    count = Counter(s for found in shingles.values() for s in found)
    places: dict[str, list[str]] = defaultdict(list)
    same: set[str] = set()
    for paper, mine in sorted(shingles.items()):
        # Two sets that are alike share one of their rarest: only those are looked up.
        rarest = sorted(mine, key=lambda s: (count[s], s))[: int(len(mine) * (1 - limit)) + 1]
        for other in {p for s in rarest for p in places[s]}:
            if _jaccard(mine, shingles[other]) > limit:
                same |= {paper, other}
        for s in rarest:
            places[s].append(paper)
    return same


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)


def _shingles(text: str) -> frozenset[str]:
    words = _words(text)
    starts = range(max(1, len(words) - SHINGLE + 1))
    return frozenset(" ".join(words[k : k + SHINGLE]) for k in starts)
