"""Untrusted text on its way to a page: what can't be seen is made visible, and none is endless."""

import re
import unicodedata

from inner_agent.papers import file_name as paper_file

__all__ = ["chart_text", "paper_file", "shown"]

LIMIT = 20_000  # characters of one text; its raw page has the rest
# Control, format (bidi marks among them), surrogate, private and unassigned characters.
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn"}
KEPT = {"\n", "\t", "\u200d"}  # \u200d joins emoji
PLOTLY = re.compile(r"[&<>\"']")  # what the plotting library reads as markup


def shown(text: object, limit: int = LIMIT) -> str:
    """``text`` with hidden characters written out, as in ``⟨U+202E⟩``, cut after ``limit``.

    It steers neither a terminal nor the direction of what stands around it.  Not escaped.
    """
    whole = str(text).replace("\r\n", "\n")
    cut = whole[:limit]
    seen = cut if cut.isprintable() else "".join(map(_visible, cut))
    more = len(whole) - limit
    return f"{seen} … ({more:,} more characters)" if more > 0 else seen


def _visible(c: str) -> str:
    if c in KEPT or unicodedata.category(c) not in HIDDEN:
        return c
    return f"⟨U+{ord(c):04X}⟩"


def chart_text(text: object, limit: int = 90) -> str:
    """``text`` for a chart: on one line, cut, and with nothing that is read as markup."""
    flat = " ".join(shown(text, 4 * limit).split())
    short = flat if len(flat) <= limit else f"{flat[: limit - 1]}…"
    return PLOTLY.sub(lambda m: f"&#{ord(m[0])};", short)
