"""Prompts are files; rendering is strict and their hash goes into every record.

A placeholder is written ``${name}`` (``string.Template``), so that the braces of JSON examples
need no escaping.  A missing or an unexpected value is a programming error and raises.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

_TAGS = re.compile(
    r"<(/?\s*(?:paper|context|question|reference|rubric|answer|criterion|attempt|earlier|learnings"
    r"|digest)\s*>)",
    re.IGNORECASE,
)
# Some servers read these in a message's text as the end of it and the start of another.
_TURNS = re.compile(
    r"(<)(\|[^|<>\n]{1,40}\|>|｜[^｜<>\n]{1,40}｜>|/?s>|(?:start|end)_of_turn>|</?SYS>>)"
    r"|(\[)(/?INST\])",
    re.IGNORECASE,
)
# Controls but line feed and tab, marks of zero width or direction, tags, selectors of variants,
# letters that are drawn as nothing: nobody would see them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e"
    "\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)
HERE = Path(__file__).parent / "prompts"


@dataclass(frozen=True)
class Prompt:
    """A prompt template with the sha256 of its text."""

    name: str
    template: Template
    sha256: str

    def render(self, **values: str) -> str:
        """Fill every placeholder.  Raises ``ValueError`` when names don't match exactly."""
        wanted = set(self.template.get_identifiers())
        if wanted != set(values):
            raise ValueError(f"prompt {self.name} wants {sorted(wanted)}, got {sorted(values)}")
        return self.template.substitute(values)


@cache
def load(name: str, folder: Path = HERE) -> Prompt:
    """Read ``folder/name.md``."""
    text = (folder / f"{name}.md").read_text(encoding="utf-8").strip()
    return Prompt(name, Template(text), hashlib.sha256(text.encode()).hexdigest())


def hashes(folder: Path = HERE) -> dict[str, str]:
    """sha256 of each trusted prompt, by name: part of what a run's numbers depend on."""
    return {p.stem: load(p.stem, folder).sha256 for p in sorted(folder.glob("*.md"))}


def block(tag: str, text: str) -> str:
    """Wrap untrusted text in a tag that it can neither close nor open another of.

    Nor can it end its message, and what people would not see of it the models don't see either.
    """
    seen = _TAGS.sub(r"<\\\1", _UNSEEN.sub("", text))
    safe = _TURNS.sub(lambda m: f"{m[1] or m[3]}\\{m[2] or m[4]}", seen)
    return f"<{tag}>\n{safe.strip()}\n</{tag}>"
