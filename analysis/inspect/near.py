"""Texts that say the same: MinHash finds the pairs, exact Jaccard similarity decides on them.

Texts are compared as sets of runs of three words.  MinHash (Broder 1997, "On the resemblance and
containment of documents") with locality-sensitive hashing (Indyk and Motwani 1998, "Approximate
nearest neighbors") proposes pairs without comparing all with all: two texts of similarity s meet in
a band with chance 1 - (1 - s^ROWS)^BANDS, which at 0.7 misses 2 pairs in 10,000.  Sets that are
compared one with all of thousands must not cost much: sketches are compared first.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from analysis.inspect.words import Numbers, shingles

NEAR = 0.7  # Jaccard similarity from which two texts are near-duplicates
BANDS, ROWS = 32, 4
# A sketch tells similarity to +-0.04; what it puts this far below NEAR isn't looked at closer.
MARGIN = 0.15
SEED = 1
_CHUNK = 256  # texts compared at a time


@dataclass(frozen=True, slots=True)
class Repeats:
    """Copies among ``texts`` texts (those without a word aren't counted).

    ``exact`` and ``near`` are shares: of texts that would have to go until no two are the same word
    for word, or until one of each cluster is left.  A cluster is what is linked by pairs of
    similarity ``NEAR`` or more; ``clusters`` are those of two and more, as positions, the largest
    first; ``pairs`` is how many such pairs there are.
    """

    texts: int
    exact: float
    near: float
    pairs: int
    clusters: tuple[tuple[int, ...], ...]

    @property
    def largest(self) -> int:
        """Texts in the largest cluster; 1 where nothing repeats."""
        return max((len(c) for c in self.clusters), default=1)


class Index:
    """Texts to look up by similarity; two that are the same word for word are one.

    ``copies``: for each distinct text, where it stands among those given.
    """

    def __init__(self, texts: Sequence[Numbers]) -> None:
        """Take ``texts``, each the words of one; those without a word are left out."""
        self.copies: list[list[int]] = []
        self._known: dict[bytes, int] = {}
        self._lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
        sets, sketches = [np.empty(0, np.uint64)], []
        for k, text in enumerate(texts):
            if not len(text):
                continue
            n = self._known.setdefault(_digest(text), len(self.copies))
            if n < len(self.copies):
                self.copies[n].append(k)
                continue
            self.copies.append([k])
            sets.append(shingles(text))
            sketch = _sketch(sets[-1])
            sketches.append(sketch.hashvalues)
            self._lsh.insert(n, sketch, check_duplication=False)
        self._sketches = np.array(sketches)
        self._sizes = np.array([len(found) for found in sets[1:]])
        # The sets one after the other, each shingle by its place among all there are.
        self._all, columns = np.unique(np.concatenate(sets), return_inverse=True)
        self._columns = np.split(columns.astype(np.int32), np.cumsum(self._sizes)[:-1])
        self._marked = np.zeros(len(self._all), np.bool_)

    def same(self, text: Numbers) -> int | None:
        """The distinct text that ``text`` is word for word."""
        return self._known.get(_digest(text))

    def near(self, text: Numbers, before: int | None = None) -> Iterator[tuple[int, float]]:
        """The distinct texts (``before`` this one) of similarity ``NEAR`` or more to ``text``, and
        how similar they are."""
        found = shingles(text)
        if not len(found):
            return
        sketch = _sketch(found)
        proposed = sorted(n for n in self._lsh.query(sketch) if before is None or n < before)
        agree = (self._sketches[proposed] == sketch.hashvalues).mean(1) if proposed else np.empty(0)
        likely = [n for n, a in zip(proposed, agree, strict=True) if a >= NEAR - MARGIN]
        for k in range(0, len(likely), _CHUNK):
            chunk = likely[k : k + _CHUNK]
            alike = self._jaccard(found, chunk)
            yield from ((n, float(a)) for n, a in zip(chunk, alike, strict=True) if a >= NEAR)

    def _jaccard(self, found: Numbers, others: Sequence[int]) -> NDArray[np.float64]:
        """What a set shares with each of ``others``, of all that is in the two."""
        places = np.minimum(np.searchsorted(self._all, found), len(self._all) - 1)
        mine = places[self._all[places] == found]
        self._marked[mine] = True
        parts, sizes = [self._columns[n] for n in others], self._sizes[others]
        hits = self._marked[np.concatenate(parts)]
        self._marked[mine] = False
        both = np.add.reduceat(hits, np.cumsum(sizes) - sizes, dtype=np.int64)
        similar: NDArray[np.float64] = both / (len(found) + sizes - both)
        return similar


def repeats(texts: Sequence[Numbers]) -> Repeats:
    """Copies and near-copies among ``texts``."""
    index = Index(texts)
    root = list(range(len(index.copies)))
    size = [len(copies) for copies in index.copies]
    pairs = sum(n * (n - 1) // 2 for n in size)
    for n, copies in enumerate(index.copies):
        for m, _ in index.near(texts[copies[0]], before=n):
            pairs += size[n] * size[m]
            root[_top(root, n)] = _top(root, m)
    members: dict[int, list[int]] = defaultdict(list)
    for n, copies in enumerate(index.copies):
        members[_top(root, n)] += copies
    count = sum(size)
    several = sorted(
        (tuple(sorted(m)) for m in members.values() if len(m) > 1), key=lambda m: (-len(m), m)
    )
    share = [1 - n / count if count else 0.0 for n in (len(root), len(members))]
    return Repeats(count, share[0], share[1], pairs, tuple(several))


def _top(root: list[int], n: int) -> int:
    while root[n] != n:
        root[n] = root[root[n]]
        n = root[n]
    return n


def _digest(text: Numbers) -> bytes:
    return blake2b(text.tobytes(), digest_size=16).digest()


def _sketch(found: Numbers) -> MinHash:
    sketch = _BLANK.copy()
    sketch.update_batch(found.tolist())
    return sketch


def _upper(number: int) -> int:
    """Of a number that is a hash already: its upper half, which every bit has a part in."""
    return number >> 32


_BLANK = MinHash(num_perm=BANDS * ROWS, seed=SEED, hashfunc=_upper)
