"""Formulas, as programs write them or as LaTeX does, read into a tree.  Nothing is evaluated.

Recursive descent over at most ``MAX_TOKENS`` tokens, each taken once, at most ``MAX_DEPTH`` deep.
"""

import re
from dataclasses import dataclass
from itertools import takewhile

from .numbers import ungrouped, unnamed
from .words import GREEK, greek, told

MAX_CHARS, MAX_TOKENS, MAX_DEPTH, MAX_NAME = 200, 120, 24, 12
FUNCTIONS = (
    "sqrt", "exp", "log", "abs", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh",
    "tanh",
)  # fmt: skip
ORDERS = ("O", "o", "Theta", "Omega", "omega")
_LETTERS = frozenset(greek(chr(n)) for n in range(913, 970) if GREEK.match(chr(n)))
# n(n+1); f, σ, Γ and capitals are functions, unless they are inside again: N(N-1).
_FACTOR = re.compile(r"[a-eg-z]\d*|alpha|beta|delta|epsilon|eta|lambda|mu|pi|rho|tau")
_BASED = re.compile(r"log(\d{1,3})")
_SHORT = re.compile(r"[A-Za-z]\d*|oo")
_TOKEN = re.compile(
    r"(?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<name>(?:\\[A-Za-z]+\s*|[A-Za-z][A-Za-z0-9]*)(?:_(?:\{[\w ,+-]*\}|[A-Za-z0-9]+))?)"
    r"|(?P<sign>\*\*|\\[{}]|[-+*/^()\[\]{}|,])|\s+|(?P<other>.)",
    re.S,
)
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "∞": " oo ", "√": " sqrt ", ";": ","})
_CLOSING = {"(": (")", "]"), "[": (")", "]"), "{": ("}",), r"\{": (r"\}",)}
_MATRIX = re.compile(r"\\begin\{([pb]?)matrix\}(.*?)\\end\{\1matrix\}", re.S)
_DIGITS = re.compile(r"(\\[dt]?frac)\s*(\d)\s*(\d)(?!\d)")
_THREES = re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?![\w.,]?\d)")
_MIXED = re.compile(r"\d\s*\\[dt]?frac\s*\{\s*\d+\s*\}\s*\{\s*\d+\s*\}")


class NoExpression(Exception):
    """The text isn't an expression, or one that is too large to be compared."""


@dataclass(frozen=True, slots=True)
class Node:
    """``kind``: number, name, call, order (``O(n)``), group, neg, or an operator; ``text``: the
    number, the name, the function, or a group's brackets (``""`` for none)."""

    kind: str
    text: str
    parts: "tuple[Node, ...]" = ()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number, name, word (a name of several letters), function, fraction, sign, end
    text: str
    glued: bool = False  # to what stands before it


def read(text: str) -> Node:
    """The tree of a text; raises ``NoExpression``."""
    if len(text) > MAX_CHARS:
        raise NoExpression
    said = _DIGITS.sub(r"\1{\2}{\3}", unnamed(told(ungrouped(text)))).translate(_SIGNS)
    if _MIXED.search(said):  # three and a half, or three halves
        raise NoExpression
    if not re.search(r"[(\[{]", said):
        said = _THREES.sub(lambda m: m[0].replace(",", ""), said)
    said = _MATRIX.sub(_rows, GREEK.sub(lambda m: rf"\{greek(m[0])} ", said))
    return _Reader(_tokens(said)).whole()


def _rows(matrix: re.Match[str]) -> str:
    r"""``[[1,2],[3,4]]``, of the rows ``1&2\\3&4``."""
    rows = matrix[2].strip().removesuffix(r"\\").replace("&", ",").split(r"\\")
    return f"[{','.join(f'[{row}]' for row in rows)}]"


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    end = 0
    for found in _TOKEN.finditer(text):
        if found["other"] or len(tokens) > MAX_TOKENS:
            raise NoExpression
        if found["name"]:
            kind, said = _named(found["name"])
            tokens.append(_Token(kind, said, found.start() == end))
        elif found.lastgroup:
            said = found[0].replace("**", "^")
            tokens.append(_Token(found.lastgroup, said, found.start() == end))
        end = found.end() if found.lastgroup else end
    return tokens


def _named(written: str) -> tuple[str, str]:
    r"""Kind and text of a name: ``x_1`` (or x1), ``\alpha``, ``\log_2``, ``\frac``, ``rate``."""
    stem, _, index = re.sub(r"[{}\s]", "", written).partition("_")
    command, stem = stem.startswith("\\"), stem.removeprefix("\\var").removeprefix("\\")
    name = f"{stem}_{index}" if index and not index.isdecimal() else stem + index
    if name in ("frac", "dfrac", "tfrac"):
        return "fraction", name
    if name in FUNCTIONS or name == "ln" or _BASED.fullmatch(name):
        return "function", name
    if len(name) > MAX_NAME or (command and stem not in _LETTERS):
        raise NoExpression
    return "name" if stem in _LETTERS or _SHORT.fullmatch(stem) else "word", name


class _Reader:
    def __init__(self, tokens: list[_Token]) -> None:
        self.left = [_Token("end", ""), *reversed(tokens)]
        self.last = self.left[0]
        self.depth = 0  # of brackets, functions and powers
        self.bars = False  # is a | open?

    def take(self, *wanted: str) -> str:
        """The next token's text if it is one of ``wanted``, else ``""``."""
        if self.left[-1].text not in wanted:
            return ""
        self.last = self.left.pop()
        return self.last.text

    def must(self, *wanted: str) -> str:
        if not (said := self.take(*wanted)):
            raise NoExpression
        return said

    def whole(self) -> Node:
        if [t.kind for t in self.left] == ["end", "word"]:
            raise NoExpression
        parts = self.listed()
        if self.left[-1].kind != "end":
            raise NoExpression
        return parts[0] if len(parts) == 1 else Node("group", "", parts)

    def listed(self) -> tuple[Node, ...]:
        parts = [self.sum()]
        while self.take(","):
            parts.append(self.sum())
        return tuple(parts)

    def sum(self) -> Node:
        node = self.product()
        while sign := self.take("+", "-"):
            node = Node(sign, "", (node, self.product()))
        return node

    def product(self) -> Node:
        node = self.signed()
        while True:
            if sign := self.take("*", "/"):
                node = Node(sign, "", (node, self.signed()))
            elif self.beside():
                node = Node("*", "", (node, self.power()))
            else:
                return node

    def signed(self) -> Node:
        negative = False
        while sign := self.take("+", "-"):
            negative ^= sign == "-"
        return Node("neg", "", (self.power(),)) if negative else self.power()

    def power(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NoExpression
        node = self.atom()
        if self.take("^"):
            node = Node("^", "", (node, self.signed()))
        self.depth -= 1
        return node

    def atom(self) -> Node:
        if self.left[-1].text in _CLOSING:
            return self.group()
        if self.take("|"):
            if self.bars:
                raise NoExpression
            self.bars = True
            inner = self.sum()
            self.must("|")
            self.bars = False
            return Node("call", "abs", (inner,))
        token = self.last = self.left.pop()
        match token.kind:
            case "number":
                return Node("number", token.text)
            case "name" | "word" if token.text in ORDERS and self.left[-1].text == "(":
                return Node("order", token.text, (self.group(),))
            case "name" | "word":
                return Node("name", token.text)
            case "function":
                return self.function(token.text)
            case "fraction":
                return Node("/", "", (self.argument(), self.argument()))
        raise NoExpression

    def group(self) -> Node:
        opening, bars, self.bars = self.must(*_CLOSING), self.bars, False
        parts = self.listed()
        closing, self.bars = self.must(*_CLOSING[opening]), bars
        return Node("group", opening + closing, parts)

    def argument(self) -> Node:
        r"""Of ``\frac``: braces, or one character."""
        if self.left[-1].text != "{" and len(self.left[-1].text) != 1:
            raise NoExpression
        return self.atom()

    def function(self, name: str) -> Node:
        r"""Of ``\sqrt[3]{x}``, ``\log_2 n``, ``\sin^2 x``, ``sin(x)``, ``sin 2x``."""
        index = raised = None
        if name == "sqrt" and self.take("["):
            index = self.sum()
            self.must("]")
        elif self.take("^"):
            raised = self.atom()
            if (raised.parts[0] if len(raised.parts) == 1 else raised).kind != "number":
                raise NoExpression  # the -1 of an inverse
        bare = self.left[-1].text not in ("(", "{")
        inner = self.power() if bare and name != "sqrt" else self.atom()
        if bare and self.last.kind == "number" and self.left[-1].glued and self.beside():
            inner = Node("*", "", (inner, self.power()))
        if bare and self.beside() and self.left[-1].kind != "function":
            raise NoExpression  # the sine of pi, times x, or of pi x
        node = _called(name, inner, index)
        return Node("^", "", (node, raised)) if raised else node

    def beside(self) -> bool:
        """Does a product without a sign go on: 2x, a b, n(n+1), x log x?"""
        last, coming = self.last.kind, self.left[-1]
        if coming.kind in ("name", "function", "fraction"):
            return last != "word"
        if coming.kind == "word":
            return last in ("number", "sign")
        if coming.kind == "number":
            return self.last.text == "}"  # 2^{a} 2^{b}
        if last == "name" and coming.text == "(":
            return self.factor()
        if coming.text == "|":
            return last != "word" and not self.bars
        return last not in ("name", "word") and coming.text in ("(", "[")

    def factor(self) -> bool:
        """Is a name before a bracket one?  T(n), p(-x) and f(n + 1) are functions."""
        inside = [t.text for t in takewhile(lambda t: t.text != ")", reversed(self.left[:-1]))]
        alone = len(inside) - ("-" in inside) < 2
        return not alone and (bool(_FACTOR.fullmatch(self.last.text)) or self.last.text in inside)


def _called(name: str, inner: Node, index: Node | None) -> Node:
    if index:
        return Node("^", "", (inner, Node("/", "", (Node("number", "1"), index))))
    if based := _BASED.fullmatch(name):
        base = Node("call", "log", (Node("number", based[1]),))
        return Node("/", "", (Node("call", "log", (inner,)), base))
    return Node("call", "log" if name == "ln" else name, (inner,))
