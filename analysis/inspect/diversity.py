"""How many different texts a set amounts to: the Vendi score, and distinct-n.

The Vendi score (Friedman and Dieng 2022, "The Vendi Score: A Diversity Evaluation Metric for
Machine Learning") is the exponential of the entropy of the eigenvalues of K / n, where K holds the
similarities of n texts: 1 where all are alike, n where none resembles another.  The kernel is the
paper's for text: the mean of two cosines, of the texts' counts of words and of pairs of words.  It
doesn't depend on the set, so that scores of sets of one size may be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh
from scipy.sparse import csr_array, hstack

from analysis.inspect.words import Numbers, runs

EXACT = 2_000  # texts; of more, so many are drawn
SEED = 0
_BLOCK = 256  # rows of K at a time
_LENGTHS = (1, 2)  # words


@dataclass(frozen=True, slots=True)
class Diversity:
    """Of ``texts`` texts with a word in them, ``used`` went into ``vendi``, which lies between 1
    and ``used`` (0 of no texts); ``distinct`` is, for n = 1, 2, 3, the share of all runs of n words
    that are different ones (Li et al. 2016), ``None`` where there are no such runs."""

    texts: int
    used: int
    vendi: float
    distinct: tuple[float | None, ...]

    @property
    def share(self) -> float:
        """The Vendi score for each text that went into it, in [0, 1]."""
        return self.vendi / self.used if self.used else 0.0


def diversity(texts: Sequence[Numbers]) -> Diversity:
    """Of texts, each its words by number; of more than ``EXACT`` the Vendi score is a sample's."""
    given = [text for text in texts if len(text)]
    used = given
    if len(given) > EXACT:
        chosen = np.random.default_rng(SEED).choice(len(given), EXACT, replace=False)
        used = [given[k] for k in sorted(chosen)]
    distinct = tuple(_distinct(given, n) for n in (1, 2, 3))
    return Diversity(len(given), len(used), vendi(features(used)) if used else 0.0, distinct)


def features(texts: Sequence[Numbers]) -> csr_array:
    """Rows of length 1 whose scalar products are the kernel: shape (texts, different runs).

    A text of one word has no pairs; its row is of words alone.
    """
    parts = [_unit(_counts([runs(text, n) for text in texts])) for n in _LENGTHS]
    return _unit(csr_array(hstack(parts, format="csr")))


def vendi(rows: csr_array) -> float:
    """The Vendi score of unit rows by their scalar products.  O(texts^3) time, O(texts^2) space."""
    count = rows.shape[0]
    kernel = np.empty((count, count))
    across = rows.T.tocsc()
    for k in range(0, count, _BLOCK):
        kernel[k : k + _BLOCK] = (rows[k : k + _BLOCK] @ across).toarray()
    kernel /= count
    # Transposed it is itself, and in the order that LAPACK works in place on.
    return effective(eigvalsh(kernel.T, overwrite_a=True, check_finite=False))


def effective(values: NDArray[np.float64]) -> float:
    """The exponential of the entropy of a kernel's eigenvalues."""
    values = values[values > 1e-12]  # rounding makes some a hair below 0; they count as 0
    values = values / values.sum()
    return float(np.exp(-(values * np.log(values)).sum()))


def _counts(found: Sequence[Numbers]) -> csr_array:
    """How often each run is in each text: shape (texts, different runs)."""
    ends = np.cumsum([0, *map(len, found)])
    different, columns = np.unique(np.concatenate(found), return_inverse=True)
    ones: NDArray[np.float64] = np.ones(len(columns))
    counts = csr_array((ones, columns, ends), shape=(len(found), max(1, len(different))))
    counts.sum_duplicates()
    return counts


def _unit(rows: csr_array) -> csr_array:
    """Each row divided by its length; rows of nothing stay so."""
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    scaled = rows.copy()
    scaled.data *= np.repeat(scale, np.diff(rows.indptr))
    return scaled


def _distinct(texts: Sequence[Numbers], length: int) -> float | None:
    found = [runs(text, length) for text in texts]
    total = sum(map(len, found))
    return len(np.unique(np.concatenate(found))) / total if total else None
