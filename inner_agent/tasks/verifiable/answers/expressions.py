"""Answers as expressions: read by Python's parser into a tree of which only arithmetic and a few
functions are let through, within bounds that keep every comparison short."""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from .words import FRACTION, raised, same_text

MAX_CHARS, MAX_NODES, MAX_EXPONENT, MAX_DIGITS = 200, 60, 32, 15
MAX_BITS = 4_096  # of a number on the way: 1e308 is short to write, and a power of it is endless
_ENDLESS = re.compile(r"e[+-]\d{3}")  # 1e308, or 1e-308: no constant has such an exponent
MAX_ROOT = 10**6  # x**0.123456 is a root of this order
MAX_INSIDE, MAX_LOGS = 10**6, 1_000  # numbers in an exponential, and in one with a logarithm
POINTS = 6  # at which two expressions are compared
_LATEX = {
    r"\cdot": "*", r"\times": "*", r"\div": "/", r"\pi": "pi", r"\left": "", r"\right": "",
    r"\infty": "oo", r"\,": "", r"\!": "", r"\;": "", "π": "pi", "∞": "oo", "−": "-", "×": "*",
    "·": "*", "÷": "/", "√": "sqrt", "^": "**", "$": "", "{": "(", "}": ")",
}  # fmt: skip
_ROOT = re.compile(r"\\sqrt\s*\{([^{}]*)\}")
_NAMES = "sqrt|exp|log|ln|sin|cos|tan|abs"
_BARE = re.compile(rf"\b({_NAMES})\s+(\w+)")  # log n
# A product without a sign: 2x, 2 (x), )(, and a single letter before another or a function.
_TIMES = re.compile(
    r"(?<=\d)\s*(?=[A-Za-z(])(?![eE][-+]?\d)|(?<=\))\s*(?=[\w(])"
    rf"|(?<=\b[A-Za-z])\s+(?=[A-Za-z]\b|\(|(?:{_NAMES})\()"
    r"|(?<=\b[a-eg-z])(?=\()"  # n(n+1); f(x) is none
)
_OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.Pow: operator.pow,
}  # fmt: skip
FUNCTIONS = tuple(_NAMES.split("|"))
CONSTANTS = ("pi", "oo")


class NoExpression(ValueError):
    """The text isn't an expression, or one that is too large to be compared."""


def same_expression(given: str, wanted: str) -> bool:
    """Equal for every value of their symbols, tried at fixed points; ``x = …`` is its right side.

    What is no expression on either side is compared as text.
    """
    try:
        left, right = _read(given), _read(wanted)
        return len(left) == len(right) and all(map(_equal, left, right))
    except (NoExpression, ArithmeticError, TypeError, ValueError, RecursionError):  # sympy's too
        return same_text(given, wanted)


def _read(text: str) -> tuple[Any, ...]:
    """The expressions of a text: one, or as many as a list or a tuple has."""
    tree = _tree(text)
    parts = tree.elts if isinstance(tree, ast.Tuple | ast.List) else [tree]
    if not parts:
        raise NoExpression
    return tuple(_build(part) for part in parts)


def _tree(text: str) -> ast.expr:
    plain = raised(text.strip())
    if len(plain) > MAX_CHARS or "#" in plain:  # what follows it, Python wouldn't read
        raise NoExpression
    head, equals, tail = plain.rpartition("=")
    if equals and re.fullmatch(r"\s*\\?[A-Za-z]\w*(\([A-Za-z, ]*\))?\s*", head):
        plain = tail
    for _ in range(4):  # one in another
        plain = _ROOT.sub(r"sqrt(\1)", FRACTION.sub(r"((\1)/(\2))", plain))
    for mark, by in _LATEX.items():
        plain = plain.replace(mark, by)
    plain = _BARE.sub(r"\1(\2)", plain.replace("\\", " ").strip(" .,;"))
    plain = _TIMES.sub("*", plain)
    try:
        tree = ast.parse(plain, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise NoExpression from None
    if sum(1 for _ in ast.walk(tree)) > 2 * MAX_NODES:
        raise NoExpression
    return tree


def _build(node: ast.expr, powers: int = 0) -> Any:
    """A sympy expression, of numbers that can be held; ``powers`` as in ``_of``."""
    built = _of(node, powers)
    if any(max(abs(n.p), n.q).bit_length() > MAX_BITS for n in built.atoms(_sympy().Rational)):
        raise NoExpression
    return built


def _of(node: ast.expr, powers: int) -> Any:
    """``powers``: the exponentiations around this node, of which two nest."""
    sympy = _sympy()
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            if len(str(value)) > MAX_DIGITS or _ENDLESS.search(str(value)):
                raise NoExpression
            return sympy.Rational(str(value))
        case ast.Name(id=name) if name in CONSTANTS:
            return getattr(sympy, name)
        case ast.Name(id=name) if len(name) <= 12 and name not in FUNCTIONS:
            return sympy.Symbol(name, positive=True)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_build(inner, powers)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _build(inner, powers)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_build(left, powers + 1), _build(right, powers + 1), powers)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_build(left, powers), _build(right, powers))
        case ast.Call(func=ast.Name(id="exp"), args=[inner], keywords=[]):
            return _exp(_build(inner, powers + 2), powers)
        case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in FUNCTIONS:
            return getattr(sympy, {"ln": "log", "abs": "Abs"}.get(name, name))(
                _build(inner, powers)
            )
    raise NoExpression


def _power(base: Any, exponent: Any, powers: int) -> Any:
    if powers > 1 or (exponent.is_number and abs(exponent.evalf(20)) > MAX_EXPONENT):
        raise NoExpression
    if any(n.q > MAX_ROOT for n in exponent.atoms(_sympy().Rational)):
        raise NoExpression
    return base**exponent


def _exp(inner: Any, powers: int) -> Any:
    """No power around an exponential nor inside one: its digits can't be held; and no large number
    inside, least of all with a logarithm: exp(n*log(7)) is the integer 7**n at once."""
    sympy = _sympy()
    most = MAX_LOGS if inner.has(sympy.log) else MAX_INSIDE
    if powers or any(abs(n.p) > most for n in inner.atoms(sympy.Rational)):
        raise NoExpression
    return sympy.exp(inner)


def _equal(left: Any, right: Any) -> bool:
    """The same at fixed points, to 25 of 40 digits: a chance agreement at all is out of the
    question, and no simplification can take for ever."""
    sympy = _sympy()
    if any(side.has(sympy.zoo, sympy.nan) for side in (left, right)):
        return False
    if left == right:
        return True
    if sympy.oo in (left, right, -left, -right):
        return False
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    compared = 0
    for n in range(POINTS if symbols else 1):
        at = {s: sympy.Rational(7 * n + 3 * k + 5, 11 + 2 * n + k) for k, s in enumerate(symbols)}
        # Put in while it is evaluated, never before: 2**(x*10**15) has no exact value to hold.
        a, b = (side.evalf(40, subs=at) for side in (left, right))
        if not (a.is_finite and b.is_finite):
            if a.is_finite or b.is_finite:
                return False
            continue
        scale = max(abs(a), abs(b), sympy.Float("1e-12"))
        if abs(a - b) > scale * sympy.Float("1e-25"):
            return False
        compared += 1
    return compared > 0


@cache
def _sympy() -> Any:
    """Imported where it is needed: it takes half a second."""
    import sympy  # type: ignore[import-untyped]

    return sympy
