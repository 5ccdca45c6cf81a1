"""Answers as numbers, with a unit or without."""

import re
from fractions import Fraction

from .words import ARTICLE, plain, same_text, told

LONGEST = 40  # digits: more is no measured number
# 1 000 in any of the ways to set it; commas group as well, where no list is meant.
_GROUPS = re.compile(
    r"(?<![\w.,])\d{1,3}(?:(?:\{,\}|\\[,;: ]|[ \u00a0\u2009\u202f])\d{3})+(?![\w.,]?\d)"
)
_NAME = re.compile(r"\s*\\?[^\W\d_]\w*(?:_\{[\w ,+-]+\})?(?:\([\w, ]*\))?\s*=(?!=)")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}|(\d)\s*(\d)(?!\d))")
_MIXED = re.compile(r"(?<![\w.,/^])(\d{1,9})\s+(\d{1,9})\s*/\s*(\d{1,9})(?![\w.^])")
_NUMBER = re.compile(
    r"\s*[~=]*\s*(?P<coin>[€£]?)\s*(?P<sign>[-+]?)\s*"
    r"(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?P<part>\.\d+)?"
    r"(?:\s*(?:\^|\*\*)\{?(?P<raised>[-+]?\d{1,3})\}?(?![\w.]))?"
    r"(?:\s*(?:[eE]|[*×x·]\s*10\s*(?:\^|\*\*))\s*\{?(?P<power>[-+]?\d{1,3})\}?(?![\w.]))?"
    r"(?:\s*/\s*(?P<under>\d+(?:\.\d+)?))?(?!\()\s*(?P<rest>.*)",
    re.S,
)
_SPREAD = re.compile(r"([^±(]*?)\s*\(?±\s*\d+(?:\.\d+)?(?:\s*\1)?\)?")  # % ± 0.2 %
# Letters, with an exponent (s^-1, m2) or as the name of a type (H100), and the marks of prose.
_UNIT = re.compile(
    r"(?![-^*+/])(?:[A-Za-zÀ-ɏΩμ°%‰€£]|(?<=[A-Za-zΩμ°])\^?-?\d(?!\d)|(?<=[A-Z])\d{2,3}(?!\d)"
    r"|[\s.,;:'\"()*·/—-])*"
)
_LETTERS = frozenset("smhgdlxXkLKNJWVACFHMBGTΩ")  # a unit if alone; another may be a variable
# What makes another number of it, or leads to a second one.
_OTHER = re.compile(
    r"\b(?:or|and|not|to|plus|minus|over|half|halves|thirds?|quarters?|fifths?"
    r"|(?:ten|hundred|thousand|million)ths?|squared|cubed|factorial|choose|mod|pi|sqrt|exp|log|ln"
    r"|sin|cos|tan|x\d\w*)\b",
    re.I,
)
_SCALES = {
    "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "dozen": 12,
}  # fmt: skip
_SCALE = re.compile(rf"\s*({'|'.join(_SCALES)})s?\b", re.I)
# In units that no side leaves out: 3k may be 3,000, and parts per million aren't ones.
_SCALED = re.compile(rf"\b(?:[kMBGT]|(?i:[bm]n)|mln|pp[mb]|(?:{'|'.join(_SCALES)})s?)\b")


def same_number(given: str, wanted: str, tolerance: float) -> bool:
    """Numbers within ``tolerance`` of the wanted one, relative; units, if both have one, the same.

    What is no number on both sides is compared as text.
    """
    left, right = _number(given), _number(wanted)
    if left is None or right is None:
        return left is None and right is None and same_text(given, wanted)
    (value, unit), (target, target_unit) = left, right
    if unit != target_unit and ((unit and target_unit) or _SCALED.search(unit + target_unit)):
        return False
    return abs(value - target) <= Fraction(tolerance) * abs(target)


def ungrouped(text: str) -> str:
    """With ``1 000``, in any of the ways to set it but ``1,000``, as ``1000``."""
    return _GROUPS.sub(lambda m: re.sub(r"\D", "", m[0]), text)


def unnamed(text: str) -> str:
    """``x = 3`` and ``T(n) = 3`` without the name."""
    named = _NAME.match(text)
    return text[named.end() :] if named else text


def _number(text: str) -> tuple[Fraction, str] | None:
    """Value and unit (in plain text, ``""`` for none); None of a text with a second number, which
    would leave it to whoever compares which one was meant, and of what may be another number."""
    said = _FRACTION.sub(r" \1\3/\2\4", told(ungrouped(text)))
    found = _NUMBER.match(unnamed(_MIXED.sub(_improper, said.replace("≈", "="))))
    if not found or not (found["whole"] or found["part"]):
        return None
    digits = (found["whole"] or "0").replace(",", "") + (found["part"] or "")
    if max(len(digits), len(found["under"] or "")) > LONGEST or not (unit := _unit(found["rest"])):
        return None
    value, under, exponent = Fraction(digits), Fraction(found["under"] or 1), found["raised"] or "1"
    if not under or (not value and exponent.startswith("-")):
        return None
    scale, named = unit
    value = value ** int(exponent) * Fraction(10) ** int(found["power"] or 0) * scale / under
    return (-value if found["sign"] == "-" else value), found["coin"] or named


def _improper(mixed: re.Match[str]) -> str:
    """``5/2`` for ``2 1/2``."""
    whole, over, under = map(int, mixed.groups())
    return f"{whole * under + over}/{under}" if over < under else mixed[0]


def _unit(rest: str) -> tuple[int, str] | None:
    """What follows a number: a scale (1,000,000 for million) and a unit as it is compared; None of
    what may make another number of it."""
    scale = 1
    while found := _SCALE.match(rest):
        scale, rest = scale * _SCALES[found[1].lower()], rest[found.end() :].lstrip()
    rest = rest.replace("\\%", "%")
    if spread := _SPREAD.match(rest):
        rest = spread[1] + rest[spread.end() :]
    rest = ARTICLE.sub(" ", rest)
    letters = re.findall(r"(?<![^\W\d_])[^\W\d_](?![^\W\d_])", rest)
    if not _UNIT.fullmatch(rest) or _OTHER.search(rest) or not _LETTERS.issuperset(letters):
        return None
    unit = plain(rest, _folded)
    return scale, "%" if unit in ("percent", "per cent") else unit


def _folded(unit: str) -> str:
    """Without case but where it counts: mW isn't MW, nor is Mb MB."""
    return re.sub(r"[^\W\d_]+", _lowered, unit)


def _lowered(word: re.Match[str]) -> str:
    keep = "mMbBgGtT" if len(word[0]) < 3 else ""
    return "".join(c if c in keep else c.lower() for c in word[0])
