"""Chains: how a paper's statements hang together, as far as an honest question can use them.

A chain of depth d is d sentences of the paper, each linked to the next one and to no later one.
Its ``terms`` are the start (only in the first sentence), the d - 1 links, and the end (only in
the last).  Tracing the start to the end through the sentences is the work that a question asks
for; every sentence is one hop.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from inner_agent.simulator.reading import Paper, Sentence, shared

_TRIES = 14
_NOT_NOUNS = (
    "ly", "ed", "ate", "ous", "able", "ible", "ive", "ful", "ize", "ise", "ical", "less", "rth",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chain:
    """``premises``: the linked sentences, in order; ``terms``: depth + 1 phrases along them."""

    premises: tuple[Sentence, ...]
    terms: tuple[str, ...]
    understood: frozenset[str]
    """Common words of the paper that several premises share; the set-up takes them as known."""

    @property
    def depth(self) -> int:
        """Hops from the first term to the last."""
        return len(self.premises)


def draw_chain(paper: Paper, depth: int, avoid: Collection[str], rng: Random) -> Chain | None:
    """The deepest chain up to ``depth`` that a few tries find; ``avoid`` holds used-up stems.

    Returns None for a text without two linkable words in one sentence.
    """
    best: list[int] = []
    chain: Chain | None = None
    if not paper.prose:
        return None
    for _ in range(_TRIES):
        path = _walk(paper, depth, rng)
        if len(path) > len(best):
            made = _name(paper, [paper.prose[i] for i in path], avoid)
            if made is not None:
                best, chain = path, made
        if len(best) >= depth:
            break
    return chain


def _walk(paper: Paper, depth: int, rng: Random) -> list[int]:
    """A random path of at most ``depth`` sentences without short cuts."""
    path = [rng.randrange(len(paper.prose))]
    earlier: set[str] = set()
    while len(path) < depth:
        here = paper.prose[path[-1]]
        bare = [s for s in here.order if len(paper.where.get(s, ())) > 1 and s not in earlier]
        rng.shuffle(bare)
        step = next(
            (
                other
                for word in bare
                for other in rng.sample(paper.where[word], len(paper.where[word]))
                if other not in path and earlier.isdisjoint(paper.prose[other].stems)
            ),
            None,
        )
        if step is None:
            break
        earlier |= here.stems - paper.common
        # The new sentence may share words with the one before it, with no earlier one.
        path.append(step)
    return path


def _name(paper: Paper, premises: list[Sentence], avoid: Collection[str]) -> Chain | None:
    """Put words to a path: its ends, its links, and what several premises take as understood."""
    seen = Counter(word for one in premises for word in one.stems)
    understood = frozenset(w for w, n in seen.items() if n > 1 and w in paper.common)
    links = [
        phrase(left, shared(left, right, paper.common), right) for left, right in pairwise(premises)
    ]
    start, end = (
        phrase(one, tuple(s for s in one.order if seen[s] == 1 and _usable(s, paper, avoid)), one)
        for one in (premises[0], premises[-1])
    )
    if len(premises) == 1:
        start, end = _two_ends(paper, premises[0], avoid)
    if not start or not end or not all(links):
        return None
    return Chain(tuple(premises), (start, *links, end), understood)


def _two_ends(paper: Paper, one: Sentence, avoid: Collection[str]) -> tuple[str, str]:
    """Two terms of a single sentence: one from its first half, one from its second."""
    words = [s for s in one.order if _usable(s, paper, avoid)]
    half = len(words) // 2
    return phrase(one, tuple(words[:half]), one), phrase(one, tuple(words[half:]), one)


def _usable(word: str, paper: Paper, avoid: Collection[str]) -> bool:
    return word not in paper.common and word not in avoid


def phrase(left: Sentence, words: tuple[str, ...], right: Sentence) -> str:
    """The most telling of ``words``, as a phrase of two where both sentences use it so."""
    low = left.text.lower(), right.text.lower()
    pairs = (f"{a} {b}" for a, b in pairwise(words) if _nominal(b))
    pair = next((p for p in pairs if p in low[0] and p in low[1]), "")
    return pair or max(words, key=lambda w: (_nominal(w), len(w)), default="")


def _nominal(word: str) -> bool:
    """Whether a word looks like a noun, as far as its ending tells."""
    return not word.endswith(_NOT_NOUNS)
