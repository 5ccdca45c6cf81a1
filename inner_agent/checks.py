"""What is wrong with an item, as far as its text alone can tell: no model is asked.

The first half of an audit (``audit.py``).  Each check is a pure function that looks for one way to
be accepted without a question that needs its paper: text that gives orders to a solver or the
judge, text that people don't see, a context that holds the answer, a rubric that is none, a bare
figure.  They are meant to be right when they speak; what only sense can tell is the auditor's.
"""

import base64
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inner_agent.items import Criterion, Item
from inner_agent.orders import orders_in, plain_text
from inner_agent.settings import Audit

RUN = 6  # words in a row that count as copied
ANSWER_WORDS = 12  # shorter reference answers are too short to be recognised in a context
PIECES_MAX = 0.8  # the share of an answer that may stand in its context, run by run
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
    """What the checks find in an ``item`` with a rubric, which was made from the text ``paper``."""
    return [
        *text_findings(item, paper),
        *leaks(item, limits),
        *_rubric_shape(item),
        *_bare_number(item),
    ]


def text_findings(item: Item, paper: str) -> list[Finding]:
    """Orders and text that people don't see, in any part of an item."""
    texts = {"context": item.context, "question": item.question,
             "reference_answer": item.reference_answer}  # fmt: skip
    texts |= {f"rubric[{n}]": c.criterion for n, c in enumerate(item.rubric)}
    texts |= {"question_type": item.question_type}
    texts |= {f"reasoning_skills[{n}]": s for n, s in enumerate(item.reasoning_skills)}
    return [
        *_hidden(texts, paper),
        *(
            Finding("orders", f"{n} {o}")
            for n, text in texts.items()
            for o in orders_in(text, paper)
        ),
    ]


# Text that people don't see.

_DECEIVING = re.compile("[\u202a-\u202e\u2066-\u2069\U000e0000-\U000e0fff]")
# Selectors of a letter's variant, joiners and letters that are drawn as nothing.
_SHAPELESS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180e\u2800\u3164\ufe00-\ufe0f\uffa0]"
)
# Those that belong to a sign: they make it an emoji.
_EMOJI = re.compile(
    "(?<=[\u2000-\u33ff\U0001f000-\U0001faff])[\ufe0e\ufe0f\u200d](?![\ufe00-\ufe0f])"
)
_WORD = re.compile(r"[^\W\d_]+")
_LOOKALIKES = ("CYRILLIC", "ARMENIAN", "CHEROKEE")


_ENCODED = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")
_EVERYDAY = frozenset(  # scripts of papers in English, as the names of their letters begin
    ("LATIN", "FULLWIDTH", "FEMININE", "MASCULINE", "GREEK", "MATHEMATICAL", "DOUBLE-STRUCK",
     "SCRIPT", "BLACK-LETTER", "MODIFIER", "SUPERSCRIPT", "SUBSCRIPT", "MICRO", "OHM", "KELVIN",
     "ANGSTROM")
)  # fmt: skip
FOREIGN_LETTERS = 10  # a name may be written in another script, an order takes more


def _hidden(texts: Mapping[str, str], paper: str) -> Iterator[Finding]:
    """Characters without a shape, words that mix alphabets, encoded text, comments and sentences
    in another script, unless the paper has them too.

    Marks that turn the direction of writing, and the tag characters that spell a second text
    inside the first, are never a quotation.
    """
    for name, text in texts.items():
        shaped = _EMOJI.sub("", text)
        bad = {c for c in shaped if _DECEIVING.match(c) or (_is_hidden(c) and c not in paper)}
        if bad:
            shown = ", ".join(f"U+{ord(c):04X}" for c in sorted(bad)[:4])
            yield Finding("hidden_text", f"{name} has characters that nobody sees ({shown})")
        words = [w for w in _WORD.findall(text) if not w.isascii()]
        if word := next((w for w in words if _mixes_alphabets(w) and w not in paper), None):
            yield Finding("hidden_text", f"{name}: {word[:40]!r} mixes two alphabets")
        if script := _foreign(words, paper):
            yield Finding("hidden_text", f"{name}: text in {script}, which the paper doesn't use")
        if "<!--" in text and "<!--" not in paper:
            yield Finding("hidden_text", f"{name} has a comment that a page wouldn't show")
        said = (t for t in map(_decoded, _ENCODED.findall(text)) if t)
        if secret := next(said, None):
            yield Finding("hidden_text", f"{name} has encoded text ({secret[:40]!r})")


def _is_hidden(char: str) -> bool:
    return char not in "\n\r\t" and (
        unicodedata.category(char) in ("Cc", "Cf", "Co") or bool(_SHAPELESS.match(char))
    )


def _script(char: str) -> str:
    return unicodedata.name(char, "").partition(" ")[0]


def _mixes_alphabets(word: str) -> bool:
    scripts = set(map(_script, word))
    return "LATIN" in scripts and any(s in scripts for s in _LOOKALIKES)


def _foreign(words: Sequence[str], paper: str) -> str:
    """The script of the most letters that are of none that papers in English use, or ``""``."""
    count = Counter(s for w in words for s in map(_script, w) if s not in _EVERYDAY)
    script, letters = max(count.items(), key=lambda x: (x[1], x[0]), default=("", 0))
    if letters < FOREIGN_LETTERS:
        return ""
    known = any(_script(c) == script for c in set(paper) if not c.isascii())
    return "" if known else script.capitalize()


def _decoded(token: str) -> str:
    """The sentence that ``token`` spells in base64 or hexadecimal, or ``""``."""
    for decode in (bytes.fromhex, base64.b64decode):
        try:
            text = decode(token).decode("ascii")
        except ValueError:
            continue
        if text.isprintable() and text.count(" ") >= 2:
            return text
    return ""


# A context that holds the answer.


def words_of(text: str) -> list[str]:
    """The words of a text as a reader takes it in, in lower case."""
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


def _shown(item: Item) -> list[str]:
    """The words that a solver is shown."""
    return words_of(f"{item.context}\n{item.question}")


def told_criteria(item: Item) -> list[Criterion]:
    """The criteria to earn of which more than half stands in the context or the question."""
    source = set(_windows(_shown(item), RUN))
    positive = (c for c in item.rubric if c.weight > 0)
    return [c for c in positive if copied_share(words_of(c.criterion), source) > 0.5]


def leaks(item: Item, limits: Audit) -> Iterator[Finding]:
    """Does the context, with the question, hold the answer or most of the rubric?"""
    yield from answer_leaks(item, limits)
    share = _worth(told_criteria(item), item)
    if share > limits.leak_max:
        yield Finding("leak", f"the context holds criteria worth {share:.0%} of the rubric")


def answer_leaks(item: Item, limits: Audit) -> Iterator[Finding]:
    """Does the context, with the question, hold the reference answer?"""
    shown, answer = _shown(item), words_of(item.reference_answer)
    # A context may hold what an answer quotes; in one piece, it holds the answer.
    piece = int(limits.leak_max * len(answer)) + 1
    pieces = _windows(answer, piece) if len(answer) >= ANSWER_WORDS else ()
    if not set(_windows(shown, piece)).isdisjoint(pieces):
        said = f"the context holds {limits.leak_max:.0%} or more of the answer in one piece"
        yield Finding("leak", said)
    elif (
        len(answer) >= ANSWER_WORDS and copied_share(answer, set(_windows(shown, RUN))) > PIECES_MAX
    ):
        yield Finding("leak", "the context holds the answer in pieces")


def _worth(criteria: Sequence[Criterion], item: Item) -> float:
    """The share of what there is to earn that these criteria to earn are worth."""
    return sum(c.weight for c in criteria) / sum(c.weight for c in item.rubric if c.weight > 0)


# A rubric that is none.

LEAST_CRITERIA = 3
LEAST_SHARE = 0.01  # a criterion that is worth less is there for the count
LARGEST_SHARE = 0.6
_SAYS = re.compile(r"^(?:the (?:answer|response) )?[a-z]+s (?:that )?(?=(?:\S+ ){2})")


def _rubric_shape(item: Item) -> Iterator[Finding]:
    positive = [c.weight for c in item.rubric if c.weight > 0]
    penalties = -sum(c.weight for c in item.rubric if c.weight < 0)
    count = sum(weight >= LEAST_SHARE * sum(positive) for weight in positive)
    if count < LEAST_CRITERIA:
        yield Finding("rubric", f"{count} criteria to earn; at least {LEAST_CRITERIA}")
    elif max(positive) / sum(positive) > LARGEST_SHARE:
        share = max(positive) / sum(positive)
        yield Finding("rubric", f"one criterion is worth {share:.0%} of it")
    if penalties > sum(positive):
        yield Finding("rubric", f"penalties of {penalties:g} against {sum(positive):g} to earn")
    texts = [" ".join(words_of(c.criterion)) for c in item.rubric]
    same = Counter(_sense(text) for text in texts if text)
    if twice := next((t for t in texts if same[_sense(t)] > 1), None):
        yield Finding("rubric", f"a criterion is there twice ({twice[:60]!r})")
    if empty := next((c.criterion for c in item.rubric if not words_of(c.criterion)), None):
        yield Finding("rubric", f"a criterion says nothing ({empty[:20]!r})")


def _sense(criterion: str) -> str:
    """A criterion without the verb that it begins with: stated or noted, it is the same."""
    return _SAYS.sub("", criterion)


# A bare figure or name.

BARE_WORDS = 10  # a criterion of more words wants more than the figure in it
ANSWER_LEAST = 4  # words; a shorter answer is a name, a figure or a yes
# A figure of two digits at least: not the 2 of O(n^2), not the 64 of 64-bit.
_FIGURE = re.compile(r"(?<![\w.^=-])\d[\d.,]*\d(?![\w-])")


def bare_criteria(item: Item) -> list[Criterion]:
    """The criteria to earn that are a figure, with hardly a word, that the context doesn't hold."""
    told = set(_FIGURE.findall(item.context)) | set(_FIGURE.findall(item.question))
    positive = (c for c in item.rubric if c.weight > 0)
    short = (c for c in positive if len(words_of(c.criterion)) <= BARE_WORDS)
    return [c for c in short if set(_FIGURE.findall(c.criterion)) - told]


def _bare_number(item: Item) -> Iterator[Finding]:
    """Most of the rubric is bare figures, or the answer is one."""
    share = _worth(bare_criteria(item), item)
    if share > 0.5:
        yield Finding(
            "bare_number", f"{share:.0%} of the rubric asks for figures not in the context"
        )
    words, shown = words_of(item.reference_answer), item.reference_answer[:40]
    if len(words) <= 6 and _FIGURE.search(item.reference_answer):
        yield Finding("bare_number", f"the answer is a figure ({shown!r})")
    elif len(words) < ANSWER_LEAST:
        yield Finding("bare_number", f"the answer is a word or two ({shown!r})")


# The same question for paper after paper.


OWN_WORDS = 6  # a question of fewer that aren't the paper's is compared whole


def own_words(question: str, paper: str) -> str:
    """What of a question isn't copied from its paper, in runs of ``SHINGLE`` words.

    A title or a sentence of the paper in front of one question for all doesn't make it another.
    """
    words, source = words_of(question), set(_windows(words_of(paper), SHINGLE))
    hits = (k for k, window in enumerate(_windows(words, SHINGLE)) if window in source)
    copied = {k + n for k in hits for n in range(SHINGLE)}
    own = [word for k, word in enumerate(words) if k not in copied]
    return " ".join(own if len(own) >= OWN_WORDS else words)


Key = tuple[str, int]
"""An item's place in a data set: its paper's id, and which item of the paper it is (1, 2, …)."""


class Repeats:
    """Questions that come one by one; ``same`` are the items whose question is also another's.

    Two questions are the same when the Jaccard similarity of their word shingles passes ``limit``.
    Of two papers with one question both are named: a question that fits two papers is neither's.
    Of two items of one paper the later one is, by its number: there the question is the paper's,
    and one time is enough.  Such a pair is compared by ``whole``, with what is copied from the
    paper.  The order in which questions come makes no difference.
    """

    def __init__(self, limit: float) -> None:
        self.same: set[Key] = set()
        self._limit = limit
        self._shingles: dict[Key, frozenset[str]] = {}
        self._places: dict[str, list[Key]] = defaultdict(list)
        self._of_paper: dict[str, dict[int, frozenset[str]]] = defaultdict(dict)

    def add(self, paper: str, question: str, number: int = 1, whole: str = "") -> None:
        """One more question, as ``own_words`` gives it; an empty one is no question."""
        if not question:
            return
        self._add_to_paper(paper, number, _shingles(whole or question))
        key, mine = (paper, number), _shingles(question)
        self._shingles[key] = mine
        # In any one order, two sets that are alike share one of their first: only those are looked
        # up.  Long words are rare ones, so few papers lie at a place.
        first = sorted(mine, key=lambda s: (-len(s), s))[: int(len(mine) * (1 - self._limit)) + 1]
        for other in {k for s in first for k in self._places[s] if k[0] != paper}:
            if _jaccard(mine, self._shingles[other]) > self._limit:
                self.same |= {key, other}
        for s in first:
            self._places[s].append(key)

    def _add_to_paper(self, paper: str, number: int, mine: frozenset[str]) -> None:
        others = self._of_paper[paper]
        for n, other in others.items():
            if _jaccard(mine, other) > self._limit:
                self.same.add((paper, max(n, number)))
        others[number] = mine


def repeated(questions: Mapping[str, str], limit: float) -> set[str]:
    """Ids of the papers whose question is also another paper's, or nearly so, as ``Repeats`` has
    it; ``questions`` are ``own_words`` by paper id."""
    repeats = Repeats(limit)
    for paper, question in questions.items():
        repeats.add(paper, question)
    return {paper for paper, _ in repeats.same}


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)


def _shingles(text: str) -> frozenset[str]:
    words = words_of(text)
    starts = range(max(1, len(words) - SHINGLE + 1))
    return frozenset(" ".join(words[k : k + SHINGLE]) for k in starts)
