"""Texts that say the same: MinHash finds the pairs, exact Jaccard similarity decides on them.

Texts are compared as sets of runs of three words.  MinHash (Broder 1997, "On the resemblance and
containment of documents") with locality-sensitive hashing (Indyk and Motwani 1998, "Approximate
nearest neighbors") proposes pairs without comparing all with all: two texts of similarity s meet in
a band with chance 1 - (1 - s^ROWS)^BANDS, which at 0.7 misses 2 pairs in 10,000.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from analysis.inspect.words import Numbers, shingles

NEAR = 0.7  # Jaccard similarity from which two texts are near-duplicates
BANDS, ROWS = 32, 4
SEED = 1


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
    """Texts to look up by similarity; two that are the same word for word are one."""

    def __init__(self, texts: Sequence[Numbers]) -> None:
        """Take ``texts``, each the words of one; those without a word are left out."""
        self.copies: dict[bytes, list[int]] = defaultdict(list)
        for k, text in enumerate(texts):
            if len(text):
                self.copies[text.tobytes()].append(k)
        self._sets: dict[bytes, Numbers] = {}
        self._lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
        for key in self.copies:
            found = shingles(np.frombuffer(key, np.uint64))
            self._sets[key] = found
            self._lsh.insert(key, _sketch(found), check_duplication=False)

    def near(self, text: Numbers) -> Iterator[tuple[bytes, float]]:
        """The distinct texts of similarity ``NEAR`` or more, and how similar they are."""
        found = shingles(text)
        keys = self._lsh.query(_sketch(found)) if len(found) else []
        if keys:
            alike = jaccard(found, [self._sets[key] for key in keys])
            yield from ((k, float(a)) for k, a in zip(keys, alike, strict=True) if a >= NEAR)


def jaccard(a: Numbers, others: Sequence[Numbers]) -> NDArray[np.float64]:
    """What ``a`` shares with each other set of all that is in the two: shape (others,), in [0, 1].

    Sets are ascending, and none is empty.
    """
    sizes = np.array([len(b) for b in others])
    all_of_them = np.concatenate(others)
    places = np.minimum(np.searchsorted(a, all_of_them), len(a) - 1)
    both = np.add.reduceat(a[places] == all_of_them, np.cumsum(sizes) - sizes, dtype=np.int64)
    similar: NDArray[np.float64] = both / (len(a) + sizes - both)
    return similar


def repeats(texts: Sequence[Numbers]) -> Repeats:
    """Copies and near-copies among ``texts``."""
    index = Index(texts)
    keys = list(index.copies)
    place = {key: n for n, key in enumerate(keys)}
    root = list(range(len(keys)))
    size = [len(index.copies[key]) for key in keys]
    pairs = sum(n * (n - 1) // 2 for n in size)
    for n, key in enumerate(keys):
        for other, _ in index.near(np.frombuffer(key, np.uint64)):
            if (m := place[other]) < n:
                pairs += size[n] * size[m]
                root[_top(root, n)] = _top(root, m)
    members: dict[int, list[int]] = defaultdict(list)
    for n, key in enumerate(keys):
        members[_top(root, n)] += index.copies[key]
    count = sum(size)
    several = sorted(
        (tuple(sorted(m)) for m in members.values() if len(m) > 1), key=lambda m: (-len(m), m)
    )
    share = [1 - n / count if count else 0.0 for n in (len(keys), len(members))]
    return Repeats(count, share[0], share[1], pairs, tuple(several))


def _top(root: list[int], n: int) -> int:
    while root[n] != n:
        root[n] = root[root[n]]
        n = root[n]
    return n


def _sketch(found: Numbers) -> MinHash:
    sketch = _BLANK.copy()
    sketch.update_batch(found.tolist())
    return sketch


def _upper(number: int) -> int:
    """Of a number that is a hash already: its upper half, which every bit has a part in."""
    return number >> 32


_BLANK = MinHash(num_perm=BANDS * ROWS, seed=SEED, hashfunc=_upper)
