"""A unified diff, file by file and line by line, for a page; highlighted by Pygments."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import MarkdownLexer, PythonLexer, TextLexer

from analysis.web.text import shown

HEADER = re.compile(r"^diff --git a/(?P<old>.*) b/(?P<new>.*)$")
HUNK = re.compile(r"^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@(.*)$")
MOST_LINES = 4_000  # of one file; git has the rest
LINE = 2_000  # characters of one line


@dataclass(frozen=True, slots=True)
class Line:
    """``kind`` is added, removed, same, hunk or note; ``old`` and ``new`` are the line's numbers in
    the two files, ``None`` where it isn't in one."""

    kind: str
    old: int | None
    new: int | None
    html: Markup


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What happened to one file."""

    path: str
    note: str  # new file, deleted, renamed from …; empty for a plain edit
    added: int
    removed: int
    lines: Sequence[Line]
    left_out: int


def file_diffs(diff: str) -> list[FileDiff]:
    """The files of a diff as ``metaopt.repo`` makes it."""
    chunks: list[list[str]] = []
    for line in diff.split("\n"):
        if line.startswith("diff --git "):
            chunks.append([])
        if chunks:
            chunks[-1].append(line)
    return [_file(chunk) for chunk in chunks]


def _file(chunk: Sequence[str]) -> FileDiff:
    match = HEADER.match(chunk[0])
    path = match["new"] if match else chunk[0].removeprefix("diff --git ")
    start = next((k for k, line in enumerate(chunk) if line.startswith("@@ ")), len(chunk))
    body = [line for line in chunk[start:] if line]
    lines = list(_lines(body[:MOST_LINES], _lexer(path)))
    return FileDiff(
        shown(path, 300),
        _note(chunk[1:start]),
        sum(line.startswith("+") for line in body),
        sum(line.startswith("-") for line in body),
        lines,
        max(0, len(body) - MOST_LINES),
    )


def _note(head: Sequence[str]) -> str:
    for line in head:
        for start, note in (
            ("new file", "new file"),
            ("deleted file", "deleted"),
            ("rename from ", "renamed from " + line.removeprefix("rename from ")),
            ("GIT binary patch", "binary"),
        ):
            if line.startswith(start):
                return shown(note, 300)
    return ""


def _lexer(path: str) -> Lexer:
    kinds = {".py": PythonLexer, ".md": MarkdownLexer}
    kind = next((kind for end, kind in kinds.items() if path.endswith(end)), TextLexer)
    return kind(stripnl=False, ensurenl=False)


def _lines(body: Sequence[str], lexer: Lexer) -> Iterator[Line]:
    kinds = {"+": "added", "-": "removed", " ": "same", "\\": "note"}
    old = new = 0
    for line in body:
        if match := HUNK.match(line):
            old, new = int(match[1]), int(match[2])
            yield Line("hunk", None, None, Markup.escape(shown(line, LINE)))
            continue
        kind = kinds.get(line[:1], "note")
        html = _highlighted(line[1:], lexer) if kind != "note" else Markup.escape(shown(line, LINE))
        was, now = kind in ("removed", "same"), kind in ("added", "same")
        yield Line(kind, old if was else None, new if now else None, html)
        old, new = old + was, new + now


def _highlighted(text: str, lexer: Lexer) -> Markup:
    """One line with its tokens in spans; Pygments escapes what is in them."""
    return Markup(highlight(shown(text, LINE), lexer, _FORMATTER).rstrip("\n"))


_FORMATTER = HtmlFormatter(nowrap=True, classprefix="hl-")


def highlight_rules() -> str:
    """The style sheet of the highlighted tokens."""
    return str(HtmlFormatter(style="xcode", classprefix="hl-").get_style_defs(".code"))
