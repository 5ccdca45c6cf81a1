"""Answers as words: what of a text is compared, and what only sets it in type."""

import re
import unicodedata
from collections.abc import Callable

# An a before a letter is a name: A, B and C of several choices, a + b, a b.
ARTICLE = re.compile(r"\b(?:(?:an|the)\s+(?=\w)|a\s+(?=[^\W\d_]{2}))", re.I)
_WORD = re.compile(
    r"-?\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|-?\d+(?:\.\d+)*|(?<![\w.])-?\.\d+|[^\W_]+"
    r"|(?<=[\d)])!+|(?<=\b[A-Za-z])!+|(?<=\b[A-Za-z])'+(?=\()"  # 5!, n!, f'(x)
    r"|[^\w\s.,;:!?'\"`$]"
)
_SUPERSCRIPT = re.compile("[⁺⁻]?[⁰¹²³⁴-⁹]+")
_VULGAR = re.compile("[¼-¾⅐-⅞↉]")
GREEK = re.compile("[α-ωΑ-ΡΣ-Ω]")
_SIGNS = str.maketrans(dict.fromkeys("−–‒‐‑", "-") | {"⁄": "/", "′": "'", "⋅": "·"})

# Of LaTeX: what holds text in a font, what isn't seen, and signs.
_HOLDS = re.compile(r"\\(?:text|math(?!bb)|operatorname|mbox)[a-z]*\*?\s*\{([^{}]*)\}")
_UNSEEN = re.compile(r"(?<!\\)\\[,;:! ()\[\]]|\$")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_COMMANDS = dict.fromkeys(
    ("left", "right", "big", "Big", "bigl", "bigr", "displaystyle", "limits", "quad", "qquad"), " "
) | {
    "times": "×", "cdot": "·", "div": "÷", "pm": "±", "approx": "≈", "sim": "≈", "simeq": "≈",
    "le": "≤", "leq": "≤", "leqslant": "≤", "ge": "≥", "geq": "≥", "geqslant": "≥", "ne": "≠",
    "neq": "≠", "infty": "∞", "mid": "|", "mu": "μ", "circ": "°",
}  # fmt: skip
_DEGREES = re.compile(r"\^ ?\{? ?° ?\}?")
_INDEX = re.compile(r"([\^_])\s*\{\s*(-?\d+|[A-Za-z])\s*\}")


def told(text: str) -> str:
    """A text as it is meant: ``½`` as `` 1/2``, ``x²`` as ``x^2``, a dash as ``-``, and LaTeX
    without what only sets it in type."""
    text = _SUPERSCRIPT.sub(lambda m: "^" + unicodedata.normalize("NFKC", m[0]), text)
    text = unicodedata.normalize("NFKC", _VULGAR.sub(r" \g<0>", text)).translate(_SIGNS)
    text = _UNSEEN.sub(" ", _HOLDS.sub(r" \1", text))
    text = _COMMAND.sub(lambda m: _COMMANDS.get(m[1], m[0]), text)
    return _DEGREES.sub("°", text.replace("<=", "≤").replace(">=", "≥").replace("+/-", "±"))


def same_text(given: str, wanted: str) -> bool:
    """Equal but for case, articles, spaces, punctuation around words and numbers, and for what only
    sets LaTeX in type."""
    return plain(given) == plain(wanted) != "" or given.strip() == wanted.strip() != ""


def plain(text: str, fold: Callable[[str], str] = str.casefold) -> str:
    """A text as it is compared; ``""`` of nothing but punctuation.  An article that is all of it is
    a letter: the A of several choices."""
    said = GREEK.sub(lambda m: f" {greek(m[0])} ", _INDEX.sub(r"\1\2 ", told(text)))
    said = fold(re.sub(r"\\(?=[A-Za-z{}%$&#_])", " ", said))
    words = _WORD.findall(ARTICLE.sub(" ", said)) or _WORD.findall(said)
    return " ".join(words)


def greek(letter: str) -> str:
    """``theta`` for θ, and ``Theta`` for Θ."""
    name = unicodedata.name(letter)
    said = name.rpartition(" ")[2].lower().replace("lamda", "lambda")
    return said.capitalize() if "CAPITAL" in name else said
