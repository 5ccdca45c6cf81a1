"""Chains: how a paper's statements hang together, as far as an honest question can use them.

A chain of depth d is d sentences of the paper, each linked to the next one and to no later one.
Its ``terms`` are the start (only in the first sentence), the d - 1 links, and the end (only in
the last).  Tracing the start to the end through the sentences is the work that a question asks
for; every sentence is one hop.
"""

from collections.abc import Collection
from dataclasses import dataclass
from random import Random

from inner_agent.simulator.reading import Paper, Sentence, shared

_TRIES = 14


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
    seen: dict[str, int] = {}
    for one in premises:
        for word in one.stems:
            seen[word] = seen.get(word, 0) + 1
    understood = frozenset(w for w, n in seen.items() if n > 1 and w in paper.common)
    links = [
        _phrase(left, shared(left, right, paper.common), right)
        for left, right in zip(premises, premises[1:], strict=False)
    ]
    own = [s for s in premises[0].order if seen[s] == 1 and s not in paper.common]
    start = _end_term(paper, premises[0], own, avoid, reverse=False)
    taken = set(start.split()) | set(avoid)
    own = [s for s in premises[-1].order if seen[s] == 1 and s not in paper.common]
    end = _end_term(paper, premises[-1], own, taken, reverse=True)
    if not start or not end or start == end or not all(links):
        return None
    return Chain(tuple(premises), (start, *links, end), understood)


def _end_term(
    paper: Paper, one: Sentence, own: list[str], avoid: Collection[str], *, reverse: bool
) -> str:
    """The most telling word that only this premise has: one that the paper comes back to."""
    fresh = [s for s in own if s not in avoid]
    if not fresh:
        return ""
    ranked = sorted(fresh, key=lambda s: (-min(3, len(paper.where.get(s, ()))), -len(s) // 3))
    word = ranked[0]
    same = [s for s in ranked if len(paper.where.get(s, ())) == len(paper.where.get(word, ()))]
    return _phrase(one, (same[-1] if reverse else word,), one)


def _phrase(left: Sentence, words: tuple[str, ...], right: Sentence) -> str:
    """One of ``words`` as a phrase of one or two words that both sentences use side by side."""
    if not words:
        return ""
    for first, second in zip(words, words[1:], strict=False):
        pair = f"{first} {second}"
        if pair in left.text.lower() and pair in right.text.lower():
            return pair
    return max(words, key=len)
