"""Texts against a query, in memory: the best piece of each one that matches, and its score."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing

from analysis.search.answer import Snippet
from analysis.search.index import TOKENIZER
from analysis.search.texts import printable

SNIPPET_TOKENS = 32
SNIPPET_CHARS = 600  # where "words" are very long
BEGINNING_CHARS = 200
_ON, _OFF = "\x02", "\x03"  # no text has them: ``printable``


def matched(match: str, texts: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Snippet, float]]:
    """Those of the texts that match, by their numbers, with the best piece and a BM25 score.

    Where there is nothing to match, all of them with their beginnings, and 0.
    """
    if not match:
        for number, text in texts:
            yield number, _beginning(printable(text)), 0.0
        return
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"CREATE VIRTUAL TABLE t USING fts5(text, tokenize='{TOKENIZER}')")
        plain = ((number, printable(text)) for number, text in texts)
        db.executemany("INSERT INTO t (rowid, text) VALUES (?, ?)", plain)
        rows = db.execute(
            "SELECT rowid, snippet(t, 0, ?, ?, '…', ?), -bm25(t) FROM t WHERE t MATCH ?",
            (_ON, _OFF, SNIPPET_TOKENS, match),
        )
        for number, marked, score in rows:
            yield number, _snippet(marked), score


def _beginning(text: str) -> Snippet:
    cut = text[:BEGINNING_CHARS]
    return Snippet(cut if cut == text else f"{cut}…", ())


def _snippet(marked: str) -> Snippet:
    """Take the marks out of a text, and too much of it."""
    first = marked.find(_ON)
    if len(marked) > SNIPPET_CHARS:
        start = max(0, first - SNIPPET_CHARS // 4)
        marked = f"{'…' * (start > 0)}{marked[start : start + SNIPPET_CHARS]}…"
    text, marks, begun = "", [], 0
    for piece in _pieces(marked):
        if piece == _ON:
            begun = len(text)
        elif piece == _OFF:
            marks.append((begun, len(text)))
        else:
            text += piece
    if marked.rfind(_ON) > marked.rfind(_OFF):  # cut within
        marks.append((begun, len(text)))
    return Snippet(text, tuple(marks))


def _pieces(marked: str) -> Iterator[str]:
    for n, piece in enumerate(marked.split(_ON)):
        if n:
            yield _ON
        inside, off, rest = piece.partition(_OFF)
        yield inside
        if off:
            yield _OFF
            yield rest
