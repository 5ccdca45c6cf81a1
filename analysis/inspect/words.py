"""Texts as rows of numbers: one a word, so that a large data set's texts needn't be kept.

A word's number is 64 bits of its BLAKE2b hash, the same on every machine.  A run of words is told
by a polynomial in its words' numbers, modulo 2^64.  Two different runs of a data set meet in one
number with a chance of about (runs)^2 / 2^65, which is nothing here.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from inner_agent.checks import words_of

Numbers = NDArray[np.uint64]
_FACTOR = 0x9E3779B97F4A7C15  # odd, so that no bit of a word is lost by multiplying
SHINGLE = 3  # words; a text of fewer is one shingle


@lru_cache(maxsize=200_000)
def _number(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")


def numbers(text: str) -> Numbers:
    """The words of a text in their order, by number: shape (words,)."""
    return numbers_of(words_of(text))


def numbers_of(words: Sequence[str]) -> Numbers:
    """As ``numbers``, of words."""
    return np.fromiter(map(_number, words), np.uint64, len(words))


def runs(text: Numbers, length: int) -> Numbers:
    """A number for each ``length`` words in a row: shape (words - length + 1,), or empty."""
    if len(text) < length:
        return text[:0]
    found = np.zeros(len(text) - length + 1, np.uint64)
    for k in range(length):
        found = found * np.uint64(_FACTOR) + text[k : k + len(found)]
    return found


def shingles(text: Numbers) -> Numbers:
    """The set of a text's runs of ``SHINGLE`` words, ascending; of no words, empty."""
    return np.unique(runs(text, min(SHINGLE, max(1, len(text)))))


def among(few: Numbers, many: Numbers) -> NDArray[np.bool_]:
    """Which of ``few`` are in ``many``, which is ascending and may be long: shape (few,)."""
    if not len(many):
        return np.zeros(len(few), np.bool_)
    found: NDArray[np.bool_] = many[np.minimum(np.searchsorted(many, few), len(many) - 1)] == few
    return found


def contained(text: Numbers, source: Numbers, length: int) -> float | None:
    """The share of the different runs of ``length`` words of ``text`` that are in ``source`` too;
    ``None`` of a text of fewer words.  In [0, 1]; containment as in Broder 1997."""
    mine = np.unique(runs(text, length))
    return float(np.isin(mine, runs(source, length)).mean()) if len(mine) else None
