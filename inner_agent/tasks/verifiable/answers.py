"""Final answers: where they stand in a text, and when two of them agree.

Both sides were written by models, so nothing here evaluates text as code: an expression is read by
Python's parser into a tree of which only arithmetic and a few functions are let through, within
bounds that keep every comparison short.
"""

import ast
import operator
import re
import unicodedata
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from typing import Any

Agree = Callable[[str, str], bool]

# Within a line: across lines a text of many empty ones would be read over and over.
_MARK = re.compile(
    r"^[ \t*_#>-]*(?:the )?(?:final )?answer\b[ \t*_]*(?:is|:|=)[ \t*_:]*(.*)$", re.I | re.M
)
_BOXED = re.compile(r"\\boxed\s*\{")
_ENDS = " \t*_`.,;:!?$\"'"
_HEAD = re.compile(rf"^(?:(?!\.\d)[{re.escape(_ENDS)}])+")
_FACTORIAL = re.compile(r"\)$|(?<!\w)[a-z]$")


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


# Text.

# An a before a letter is a name: A, B and C of several choices, a + b, a b.
_ARTICLE = re.compile(r"\b(?:(?:an|the)\s+(?=\w)|a\s+(?=[^\W\d_]{2}))")
_WORD = re.compile(
    r"-?\d[\d.,]*\d|-?\d|(?<![\w.])-?\.\d+|[^\W_]+|(?<=\))!|(?<=\b[a-z])!|[^\w\s.,;:!?'\"`$]"
)
_SUPERSCRIPT = re.compile("[⁺⁻]?[⁰¹²³⁴-⁹]+")


def _raised(text: str) -> str:
    """With ``x²`` as ``x^2``, for it isn't ``x2``."""
    return _SUPERSCRIPT.sub(lambda m: "^" + unicodedata.normalize("NFKC", m[0]), text)


def same_text(given: str, wanted: str) -> bool:
    """Equal but for case, articles, spaces and punctuation around words and numbers."""
    return bool(plain(given)) and plain(given) == plain(wanted)


def plain(text: str) -> str:
    """A text as it is compared; ``""`` of nothing but punctuation.  An article that is all of it is
    a letter: the A of several choices."""
    folded = unicodedata.normalize("NFKC", _raised(text)).casefold().replace("−", "-")
    words = _WORD.findall(_ARTICLE.sub(" ", folded)) or _WORD.findall(folded)
    return " ".join(words)


# Numbers.

_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
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
    said = _FRACTION.sub(r" \1/\2", _raised(text).replace("\\%", "%").replace("$", ""))
    found = _NUMBER.match(said)
    if not found or not (found["whole"] or found["part"]):
        return None
    digits = (found["whole"] or "0").replace(",", "") + (found["part"] or "")
    under, rest = Fraction(found["under"] or 1), _SPREAD.sub("", found["unit"])
    if len(digits) > LONGEST or len(found["under"] or "") > LONGEST or not under:
        return None
    value, raised = Fraction(digits), _whole(found["raised"] or "1")
    if _MORE.search(rest) or (raised < 0 and not value):
        return None
    sign = -1 if found["sign"] in ("-", "−") and found["sign"] else 1
    power = _whole(found["power"] or "0")
    return sign * value**raised * Fraction(10) ** power / under, _unit(rest)


def _whole(text: str) -> int:
    return int(text.replace("−", "-"))


def _unit(text: str) -> str:
    unit = plain(text)
    return "%" if unit in ("%", "percent", "per cent") else unit


# Expressions.

MAX_CHARS, MAX_NODES, MAX_EXPONENT, MAX_DIGITS = 200, 60, 32, 15
MAX_BITS = 4_096  # of a number on the way: 1e308 is short to write, and a power of it is endless
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
    plain = _raised(text.strip())
    if len(plain) > MAX_CHARS or "#" in plain:  # what follows it, Python wouldn't read
        raise NoExpression
    head, equals, tail = plain.rpartition("=")
    if equals and re.fullmatch(r"\s*\\?[A-Za-z]\w*(\([A-Za-z, ]*\))?\s*", head):
        plain = tail
    for _ in range(4):  # one in another
        plain = _ROOT.sub(r"sqrt(\1)", _FRACTION.sub(r"((\1)/(\2))", plain))
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
            if len(str(value)) > MAX_DIGITS:
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
    if powers > 1 or (exponent.is_number and abs(exponent) > MAX_EXPONENT):
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
