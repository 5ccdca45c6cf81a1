"""Answers as numbers, with a unit or without."""

import re
from fractions import Fraction

from .words import FRACTION, plain, raised, same_text

_NUMBER = re.compile(
    r"^\s*[~≈=$€£]*\s*(?P<sign>[-+−]?)\s*(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?P<part>\.\d+)?"
    r"(?:(?:\^|\*\*)\s*\{?(?P<raised>[-+−]?\d{1,3})\}?(?![\w.]))?"
    r"(?:\s*(?:[eE]|(?:\*|×|x|·|\\times|\\cdot)\s*10\s*(?:\^|\*\*))\s*\{?(?P<power>[-+−]?\d{1,3})\}?)?"
    r"(?:\s*/\s*(?P<under>\d+(?:\.\d+)?))?\s*(?P<unit>.*)$",
    re.S,
)
_SPREAD = re.compile(r"^\(?(?:±|\+/-|\\pm)\s*\d+(?:\.\d+)?\)?")
# After a number: a second one (1 or 2; 5 + 3; 12-15), which a unit's exponent (s^-1, m2) isn't.
_MORE = re.compile(r"(?:^|[\s,;:.(\[+*/=<>~–—×·])[-−–]?\d|^[-−–^*+]|\b(?:or|not)\b", re.I)
LONGEST = 40  # digits: more is no measured number


def same_number(given: str, wanted: str, tolerance: float) -> bool:
    """Numbers within ``tolerance`` of the wanted one, relative; units, if both have one, the same.

    What is no number on both sides is compared as text.
    """
    left, right = _number(given), _number(wanted)
    if left is None or right is None:
        return left is None and right is None and same_text(given, wanted)
    (value, unit), (target, target_unit) = left, right
    if unit and target_unit and unit != target_unit:
        value, target = _without_percent(value, unit), _without_percent(target, target_unit)
        if "%" not in (unit, target_unit):
            return False
    return abs(value - target) <= Fraction(tolerance) * abs(target)


def _without_percent(value: Fraction, unit: str) -> Fraction:
    return value / 100 if unit == "%" else value


def _number(text: str) -> tuple[Fraction, str] | None:
    """Value and unit (in plain text, ``""`` for none); None of a text with a second number, which
    would leave it to whoever compares which one was meant."""
    said = FRACTION.sub(r" \1/\2", raised(text).replace("\\%", "%").replace("$", ""))
    found = _NUMBER.match(said)
    if not found or not (found["whole"] or found["part"]):
        return None
    digits = (found["whole"] or "0").replace(",", "") + (found["part"] or "")
    under, rest = Fraction(found["under"] or 1), _SPREAD.sub("", found["unit"])
    if len(digits) > LONGEST or len(found["under"] or "") > LONGEST or not under:
        return None
    value, exponent = Fraction(digits), _whole(found["raised"] or "1")
    if _MORE.search(rest) or (exponent < 0 and not value):
        return None
    sign = -1 if found["sign"] in ("-", "−") and found["sign"] else 1
    power = _whole(found["power"] or "0")
    return sign * value**exponent * Fraction(10) ** power / under, _unit(rest)


def _whole(text: str) -> int:
    return int(text.replace("−", "-"))


def _unit(text: str) -> str:
    unit = plain(text)
    return "%" if unit in ("%", "percent", "per cent") else unit
