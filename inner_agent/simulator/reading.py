"""Reading: a text as sentences, the words that carry it, and the chains between them.

Two sentences are linked when they share a content word that is neither common in the whole text
nor taken as understood.  All personas read this way: the challenger reads the paper, the solvers
read the context, the verifier compares the two.  Everything here is a pure function of the text.
"""

import re
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

MAX_CHARS = 200_000
"""Longer texts are read up to here, which bounds the time that any text can take."""

_WORD = re.compile(r"[^\W\d_](?:[^\W_]|-(?=[^\W_])){3,29}")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[^\W\d_])")
_NOT_PROSE = re.compile(r"[|`{}\\<>=\[\]$#@~^]|https?:|\bFigure\b|\bTable\b")

_STOP_WORDS = """
about above across actually after again against albeit almost along already also although always
among another around aside away because become becomes been before being below besides best
better between beyond both bring brings broad call called came cannot case cases certain chapter
come comes common compare compared comparison consider considered consists contain contains
could current data deal describe described describes despite detail details different does doing
done down during each earlier easily either else enough entire especially even ever every
example examples fact fall falls figure final finally find finds first five follow followed
following follows form found four from further furthermore gain gave general generally get gets
give given gives giving goes going good great hand have having hence here hold holds however
http https idea important improve improved include included includes including increase
increased indeed instance instead into introduce introduced issue itself just keep keeps kind
known large larger last late later latter lead leads least leave leaves less like likely little
long longer look lower made mainly make makes making many matter mean means meanwhile method
methods might model models more moreover most much must namely near need needed needs neither
never nevertheless next none note noted nothing number numbers obtain obtained often once only
onto open order other others otherwise over overall paper part particular parts people perform
performed perhaps place point points possible present presented previous prior problem problems
produce proposed provide provided provides purpose question quite raise raises range rather
reach reached reaches read really recent recently reduce reduced related relative remain remains
report reported reports represent represents require required requires research result results
right said same section seem seems seen sense several shall short should show showed shown shows
side similar similarly simple simply since single size small smaller some something sometimes
soon specific start state still study such suggest suggests suit support sure system systems
table take taken takes task tend than that their them themselves then there therefore these they
thing things think this those though three through throughout thus till time times together took
toward towards turn turns two type types under understood unless unlike until upon used useful
user users uses using usually value values various very view want ways well went were what when
whenever where whereas whether which while whole whom whose wide widely will with within without
word words work works would year years yet your yours able apply applied approach approaches
based basis set sets step steps use answer answers criterion explain connect connects criteria
settles bears setting facts outright reader happen happens appropriate expensive whatever merely
fourth respectively typically usual allow allows enable enables sixth seventh
"""
STOP = frozenset(_STOP_WORDS.split())
"""Words that carry nothing in a paper."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence and its content words, in reading order and as a set of stems."""

    text: str
    order: tuple[str, ...]
    stems: frozenset[str]


@dataclass(frozen=True, slots=True)
class Paper:
    """A paper as the challenger and the verifier see it.

    ``prose`` are the sentences fit for quoting; ``where`` maps a stem that is specific enough to
    link to the indices of the sentences of ``prose`` that hold it; ``common`` are the stems that
    are understood everywhere in the paper and so link nothing.
    """

    title: str
    prose: tuple[Sentence, ...]
    where: dict[str, tuple[int, ...]]
    common: frozenset[str]


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """Lower case, singular; the empty string for a word that carries nothing."""
    low = word.lower()
    if low in STOP:
        return ""
    if low.endswith("ies") and len(low) > 5:
        low = low[:-3] + "y"
    elif low.endswith("s") and not low.endswith(("ss", "us", "is")) and len(low) > 4:
        low = low[:-1]
    return "" if low in STOP else low


def stems(text: str) -> frozenset[str]:
    """The content words of ``text`` as stems."""
    return frozenset(map(stem, _WORD.findall(text))) - {""}


def split(text: str) -> list[str]:
    """Sentences of ``text``: every line apart, each cut at full stops."""
    found: list[str] = []
    for line in text[:MAX_CHARS].splitlines():
        line = line.strip().removeprefix("- ")
        if line:
            found += [line] if len(line) < 40 else _SENTENCE_END.split(line)
    return found


def sentence(text: str) -> Sentence:
    """``text`` taken as one sentence."""
    order = tuple(dict.fromkeys(s for s in map(stem, _WORD.findall(text)) if s))
    return Sentence(text, order, frozenset(order))


@lru_cache(maxsize=512)
def read(text: str) -> tuple[Sentence, ...]:
    """All sentences of a short text (a context, an answer)."""
    return tuple(sentence(part) for part in split(text))


@lru_cache(maxsize=512)
def read_paper(text: str) -> Paper:
    """Read a whole paper once; never raises, whatever the text is."""
    lines = [line for line in text[:MAX_CHARS].splitlines() if line.strip()]
    title = lines[0].lstrip("# ").strip()[:160] if lines else ""
    prose = tuple(
        sentence(part)
        for line in lines[1:]
        if line[0] not in "# \t|>-*" and len(line) > 40
        for part in split(line)
        if _quotable(part)
    )
    counts = Counter(s for one in prose for s in one.stems)
    limit = max(6, len(prose) // 25)
    common = frozenset(s for s, n in counts.items() if n > limit) | stems(title)
    where: dict[str, list[int]] = {}
    for index, one in enumerate(prose):
        for word in one.order:  # not the set: its order differs from process to process
            if word not in common:
                where.setdefault(word, []).append(index)
    links = {word: tuple(at) for word, at in where.items()}
    return Paper(title.replace("`", "'"), prose, links, common)


def _quotable(text: str) -> bool:
    """Prose of a usable length that reads well away from its place."""
    return (
        50 <= len(text) <= 360
        and text[-1] == "."
        and text[0].isupper()
        and sum(c.isdigit() for c in text) <= 8
        and _NOT_PROSE.search(text) is None
    )


def shared(left: Sentence, right: Sentence, understood: frozenset[str]) -> tuple[str, ...]:
    """The stems that link two sentences, in the order of the left one."""
    return tuple(s for s in left.order if s in right.stems and s not in understood)


def trace(
    sentences: Sequence[Sentence],
    start: frozenset[str],
    end: frozenset[str],
    understood: frozenset[str],
) -> list[int]:
    """Shortest way from a sentence with ``start`` to one with ``end``; empty if there is none."""
    if not start or not end:
        return []
    came: dict[int, int] = {i: -1 for i, s in enumerate(sentences) if start <= s.stems}
    bare = [s.stems - understood for s in sentences]
    queue = deque(came)
    while queue:
        here = queue.popleft()
        if end <= sentences[here].stems:
            way = [here]
            while came[way[-1]] >= 0:
                way.append(came[way[-1]])
            return way[::-1]
        for other, words in enumerate(bare):
            if other not in came and not words.isdisjoint(bare[here]):
                came[other] = here
                queue.append(other)
    return []
