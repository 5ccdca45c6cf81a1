"""Final answers: where they stand in a text, and when two of them agree.

Both sides were written by models, so nothing here evaluates text as code.  An export has this
folder beside its reward function: it needs only Python, and mpmath where answers are expressions.
"""

import re
from collections.abc import Callable

from .expressions import same_expression
from .numbers import same_number
from .words import same_text

Agree = Callable[[str, str], bool]

# Within a line: across lines a text of many empty ones would be read over and over.
_MARK = re.compile(
    r"^[ \t*_#>-]*(?:the )?(?:final )?answer\b[ \t*_]*(?:is|:|=)[ \t*_:]*(.*)$", re.I | re.M
)
_BOXED = re.compile(r"\\boxed\s*\{")
_ENDS = " \t*_`.,;:!?$\"'"
_HEAD = re.compile(rf"^(?:(?!\.\d)[{re.escape(_ENDS)}])+")
_FACTORIAL = re.compile(r"[\d)]$|(?<!\w)[a-z]$")


def final_answer(text: str) -> str:
    r"""The final answer of a text: what follows its last ``Answer:`` (on that line, or on the next
    one), the content of its last ``\boxed{}``, or the whole of a text of one line; else ``""``."""
    marks = list(_MARK.finditer(text))
    if marks:
        said = marks[-1][1].strip() or text[marks[-1].end() :].strip().partition("\n")[0]
        return _unboxed(said) or _trimmed(said)
    if boxed := _unboxed(text):
        return boxed
    whole = text.strip()
    return "" if "\n" in whole else _trimmed(whole)


def _trimmed(text: str) -> str:
    """Without marks around it; the point of .5 and the sign of n! are none."""
    said = _HEAD.sub("", text)
    short = said.rstrip(_ENDS)
    factorial = said[len(short) :].startswith("!") and _FACTORIAL.search(short[-2:])
    return f"{short}!" if factorial else short


def _unboxed(text: str) -> str:
    """What the last box holds, braces matched; ``""`` without one that is closed."""
    starts = [m.end() for m in _BOXED.finditer(text)]
    if not starts:
        return ""
    depth = 1
    for k in range(starts[-1], len(text)):
        depth += {"{": 1, "}": -1}.get(text[k], 0)
        if depth == 0:
            return _trimmed(text[starts[-1] : k])
    return ""


def agreements(tolerance: float) -> dict[str, Agree]:
    """``agree(given, wanted)`` by kind; ``tolerance`` is relative, for numbers."""
    return {
        "exact": same_text,
        "numeric": lambda given, wanted: same_number(given, wanted, tolerance),
        "symbolic": same_expression,
    }
