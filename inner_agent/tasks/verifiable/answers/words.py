"""Answers as words: what of a text is compared."""

import re
import unicodedata

# An a before a letter is a name: A, B and C of several choices, a + b, a b.
_ARTICLE = re.compile(r"\b(?:(?:an|the)\s+(?=\w)|a\s+(?=[^\W\d_]{2}))")
_WORD = re.compile(
    r"-?\d[\d.,]*\d|-?\d|(?<![\w.])-?\.\d+|[^\W_]+|(?<=\))!|(?<=\b[a-z])!|[^\w\s.,;:!?'\"`$]"
)
FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_SUPERSCRIPT = re.compile("[⁺⁻]?[⁰¹²³⁴-⁹]+")


def raised(text: str) -> str:
    """With ``x²`` as ``x^2``, for it isn't ``x2``."""
    return _SUPERSCRIPT.sub(lambda m: "^" + unicodedata.normalize("NFKC", m[0]), text)


def same_text(given: str, wanted: str) -> bool:
    """Equal but for case, articles, spaces and punctuation around words and numbers."""
    return bool(plain(given)) and plain(given) == plain(wanted)


def plain(text: str) -> str:
    """A text as it is compared; ``""`` of nothing but punctuation.  An article that is all of it is
    a letter: the A of several choices."""
    folded = unicodedata.normalize("NFKC", raised(text)).casefold().replace("−", "-")
    words = _WORD.findall(_ARTICLE.sub(" ", folded)) or _WORD.findall(folded)
    return " ".join(words)
