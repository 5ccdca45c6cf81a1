"""Rounds as the analyzer is shown them: headings, and below them fields whose lines are quoted."""

import re
from typing import Any

_ROUND = re.compile(r"^## Round (\d+) (\w+)", re.MULTILINE)
_FIELD = re.compile(r"^(question|context|rubric|feedback):\n((?:>.*\n?)+)", re.MULTILINE)
_VERDICT = re.compile(r"^>   suggestion: (.*)$", re.MULTILINE)
_CRITERION = re.compile(r"^\(weight (.+?)\) (.*)$", re.MULTILINE)


def rounds_in(text: str) -> list[tuple[int, str, dict[str, Any]]]:
    """Number, outcome and fields of each round; ``verdict``: what a reader of all attempts says.

    ``rubric`` is empty for an item without one, and missing where it can't be read.
    """
    marks = list(_ROUND.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [
        (int(mark[1]), mark[2], _fields(text[mark.end() : end]))
        for mark, end in zip(marks, ends, strict=False)  # without a round there is an end to none
    ]


def _fields(text: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        m[1]: "\n".join(line[2:] for line in m[2].splitlines()) for m in _FIELD.finditer(text)
    }
    written = fields.pop("rubric", "")
    rubric = [{"criterion": m[2], "weight": _number(m[1])} for m in _CRITERION.finditer(written)]
    if rubric or written == "(empty)":  # one that a page's end cuts in two is not known
        fields["rubric"] = rubric
    if verdict := _VERDICT.search(text):
        fields["verdict"] = verdict[1]
    return fields


def _number(text: str) -> int | float | str:
    """A weight as Python shows it; a quoted one stays a string."""
    try:
        return float(text)
    except ValueError:
        return text
