"""A search's answer for the terminal: hits by kind, each with where to read on."""

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

from analysis.search.answer import Answer, Hit, Snippet, covered
from analysis.search.searcher import Searcher, open_searcher
from metaopt.progress import LINE_EVERY_S
from metaopt.record import open_record
from metaopt.status import SIMULATED
from metaopt.text import clean, one_line, several

VIEWS = {"diff": " --diff", "diagnosis": " --analysis"}


def search_run(run: Path, typed: str, limit: int) -> str:
    """What a search finds; the index is brought up to date first, which Ctrl-C cuts short.

    Raises ``UserError`` for what isn't a run.
    """
    record = open_record(run)
    with closing(open_searcher(record)) as searcher:
        _index(searcher)
        answer = searcher.search(record, typed, limit)
    simulated = [SIMULATED] if record.config.simulated else []
    return "\n".join([*simulated, *_lines(answer, run)])


def _index(searcher: Searcher) -> None:
    """Let the writer work; how far it is on stderr, where it takes longer."""
    began = printed = time.monotonic()
    on_terminal = sys.stderr.isatty()
    every = 0.2 if on_terminal else LINE_EVERY_S

    def going_on(done: int, total: int) -> bool:
        nonlocal printed
        now = time.monotonic()
        if now - printed >= every or (on_terminal and printed > began and done == total):
            printed = now
            line = f"indexed {done:,} of {total:,} trajectories (Ctrl-C: search those)"
            print(line, end="\r" if on_terminal else "\n", file=sys.stderr, flush=True)
        return True

    with suppress(KeyboardInterrupt):
        searcher.index_now(going_on)
    if on_terminal and printed > began:
        print("\x1b[K", end="", file=sys.stderr, flush=True)


def _lines(answer: Answer, run: Path) -> Iterator[str]:
    yield from map(clean, answer.notes)
    if not answer.query.asks:
        yield "nothing to look for: a search needs a word (letters or digits) or a filter"
        return
    yield f"{several(answer.count, 'hit')}. {covered(answer.progress)}"
    for group in answer.groups:
        shown = "" if group.count == len(group.hits) else f", {len(group.hits)} shown"
        yield f"\n{group.heading}: {group.count:,}{shown}"
        for hit in group.hits:
            yield f"  {_where(hit, run)}"
            yield f"    {_snippet(hit.snippet, sys.stdout.isatty())}"


def _where(hit: Hit, run: Path) -> str:
    if hit.file:
        return f"{one_line(hit.place, 200)}\n  {clean(str(run / hit.file))}"
    if hit.candidate is None:
        return f"{one_line(hit.field, 200)}: metaopt status {shlex.quote(str(run))}"
    more = f"metaopt show {shlex.quote(str(run))} {hit.candidate}{VIEWS.get(hit.kind, '')}"
    return f"candidate {hit.candidate}, {one_line(hit.field, 200)}: {more}"


def _snippet(snippet: Snippet, bold: bool) -> str:
    """On one line; what was searched for in bold, on a terminal."""
    text = clean(snippet.text).replace("\n", " ")  # as long as before, so that the marks still fit
    if not bold:
        return text
    ends = [0, *(end for mark in snippet.marks for end in mark), len(text)]
    pieces = [text[a:b] for a, b in pairwise(ends)]
    return "".join(f"\x1b[1m{p}\x1b[0m" if n % 2 else p for n, p in enumerate(pieces))
