"""Answers as expressions: worked out at fixed points, in floating point of many digits.

No expression is simplified, and none is built: what a computer algebra system does of itself with
``log(log(…))`` or ``2^(1/999983)`` may take for ever.  Every step here is one operation on numbers
of ``DIGITS`` digits; what couldn't be held is refused.
"""

import hashlib
import re
from functools import cache
from typing import Any

from .reading import Node, NoExpression, read
from .words import plain

DIGITS = (300, 600)  # worked with: what the first leaves open, the second settles
AGREED = 200  # digits that agree; what is settled to fewer, or lost in a sum to so many, is refused
MAX_NUMBER = 50  # characters of a number
MAX_POWER = 10**8  # bits before the point of a power, or behind it
MAX_ANGLE = 10**40
POINTS = 8
_CONSTANTS = {"pi": "pi", "e": "e", "oo": "inf"}
_FUNCTIONS = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "abs": "fabs"}


def same_expression(given: str, wanted: str) -> bool:
    """Equal for every value of their symbols, tried at fixed points; ``x = …`` is its right side.

    What is no expression on either side is compared as text, where a single letter's case counts.
    """
    if given.strip() == wanted.strip() != "":
        return True
    try:
        return _alike(read(given), read(wanted))
    except NoExpression:
        left, right = plain(given, _folded), plain(wanted, _folded)
        return left == right != ""


def _folded(text: str) -> str:
    return re.sub(r"[^\W\d_]{2,}", lambda m: m[0].casefold(), text)


def _alike(left: Node, right: Node) -> bool:
    """Lists of the same length, alike one by one (of sets, when sorted); bounds of the same order;
    or equal expressions."""
    left, right = _bare(left), _bare(right)
    if "order" in (left.kind, right.kind):
        same = (left.kind, left.text) == (right.kind, right.text)
        return same and _alike(left.parts[0], right.parts[0])
    if "group" not in (left.kind, right.kind):
        return _equal(left, right)
    if left.kind != right.kind or len(left.parts) != len(right.parts):
        return False
    if _is_set(left) and _is_set(right):
        return all(map(_alike, _sorted(left.parts), _sorted(right.parts)))
    return _same_brackets(left, right) and all(map(_alike, left.parts, right.parts))


def _bare(node: Node) -> Node:
    """Without brackets that only group."""
    while node.kind == "group" and len(node.parts) == 1 and node.text in ("()", "[]", "{}"):
        node = node.parts[0]
    return node


def _is_set(node: Node) -> bool:
    return node.text in ("{}", r"\{\}")


def _sorted(parts: tuple[Node, ...]) -> list[Node]:
    """Elements of a set by their value at the first point."""

    def place(element: Node) -> tuple[Any, Any]:
        value = _value(_bare(element), 0, DIGITS[1])
        if value is None:
            raise NoExpression
        return value.real, value.imag

    return sorted(parts, key=place)


def _same_brackets(left: Node, right: Node) -> bool:
    """The same, or of no meaning: (0, 1), [0, 1] and [0, 1) are three intervals; of more than two
    elements (…) and […] are both a list, and one without brackets is either, or a set's."""
    kinds = {left.text.replace("\\", ""), right.text.replace("\\", "")}
    if kinds & {"(]", "[)"} or (len(left.parts) == 2 and "" not in kinds):
        return len(kinds) == 1
    return len(kinds - {""}) < 2 or "{}" not in kinds


def _equal(left: Node, right: Node) -> bool:
    """The same at all points where there is a value, and at one at least."""
    compared = 0
    for n in range(POINTS if _has_symbol(left) or _has_symbol(right) else 1):
        a, b = _settled(left, n), _settled(right, n)
        if (a is None) != (b is None) or (a is not None and not _close(a, b)):
            return False
        compared += a is not None
    return compared > 0


def _close(a: Any, b: Any) -> bool:
    most = max(abs(a), abs(b)) / 10**AGREED
    return bool(a == b or abs(a - b) <= most < _numbers(DIGITS[1]).inf)


def _has_symbol(node: Node) -> bool:
    symbol = node.kind == "name" and node.text not in _CONSTANTS
    return symbol or any(map(_has_symbol, node.parts))


def _settled(node: Node, n: int) -> Any:
    """The value at point ``n``, None without one.

    Where terms cancel, it has fewer digits than were worked with: with none left it is zero, and
    with some but not enough nothing is said (``NoExpression``).
    """
    low, high = (_value(node, n, digits) for digits in DIGITS)
    if low is None or high is None:
        return None
    if low == high or abs(low - high) <= abs(high) / 10**AGREED:
        return high
    if abs(high) < _numbers(DIGITS[1]).mpf(10) ** -DIGITS[0]:
        return high * 0
    raise NoExpression


def _value(node: Node, n: int, digits: int) -> Any:
    """At point ``n``; None where there is none, such as that of 1/0."""
    try:
        value = _worked_out(node, n, _numbers(digits))
    except (ArithmeticError, ValueError):
        return None
    return None if value != value else value


def _worked_out(node: Node, n: int, numbers: Any) -> Any:
    """A number of mpmath's; raises ``NoExpression`` where it couldn't be held."""
    node = _bare(node)
    parts = [_worked_out(part, n, numbers) for part in node.parts]
    match node.kind:
        case "number":
            return _number(node.text, numbers)
        case "name":
            constant = _CONSTANTS.get(node.text)
            return +getattr(numbers, constant) if constant else _point(node.text, n, numbers)
        case "neg":
            return -parts[0]
        case "call":
            return _called(node.text, parts[0], numbers)
        case "^":
            _bounded(parts[0], parts[1], numbers)
            return parts[0] ** parts[1]
        case "*" | "/":
            return parts[0] * parts[1] if node.kind == "*" else parts[0] / parts[1]
        case "+" | "-":
            small, large = sorted(map(abs, parts))
            if small and small < large / 10**AGREED:
                raise NoExpression  # 2^2000 - 1 would be 2^2000
            return parts[0] + parts[1] if node.kind == "+" else parts[0] - parts[1]
    raise NoExpression


def _number(written: str, numbers: Any) -> Any:
    if len(written) > MAX_NUMBER or re.search(r"^0\d|e[-+]?\d{4}", written, re.I):
        raise NoExpression
    return numbers.mpf(written)


def _called(function: str, inner: Any, numbers: Any) -> Any:
    if function in ("exp", "sinh", "cosh", "tanh"):
        _bounded(numbers.e, inner, numbers)
    if function in ("sin", "cos", "tan") and not abs(inner) < MAX_ANGLE:
        raise NoExpression
    return getattr(numbers, _FUNCTIONS.get(function, function))(inner)


def _bounded(base: Any, exponent: Any, numbers: Any) -> None:
    if base and not abs(exponent) * (abs(numbers.mag(base)) + 1) < MAX_POWER:
        raise NoExpression


def _point(symbol: str, n: int, numbers: Any) -> Any:
    """Between 1/2 and 2, below and above 1 in turn; drawn from the name, so that no other symbol
    has it and none can be named to have it."""
    drawn = int.from_bytes(hashlib.sha256(f"{n} {symbol}".encode()).digest()[:6], "big")
    share = numbers.mpf(drawn) / 2**48
    return 1 + share if n % 2 else (1 + share) / 2


@cache
def _numbers(digits: int) -> Any:
    """mpmath's, of so many digits; imported where it is needed."""
    import mpmath  # type: ignore[import-untyped]

    numbers = mpmath.mp.clone()
    numbers.dps = digits
    return numbers
