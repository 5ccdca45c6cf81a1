"""The classical methods that ship with metaopt, as diffs on the baseline harness.

A diff in ``populations/classics`` says in its first lines what it changes and where it comes from;
git passes over them.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from inner_agent.errors import UserError
from metaopt.resources import shipped
from metaopt.text import fold

PREFIX = "classic:"
_HEAD = re.compile(r"Changes: (.+)\nSource: (.+)\n")
_FILE = re.compile(r"^diff --git a/(\S+) b/\S+\n(deleted|new)?", re.MULTILINE)
_USE = """\
Each is a diff on the baseline (+ new file, - deleted). Use one wherever a harness is named:
  metaopt generate --config C.toml --out D --harness classic:cot_self_instruct
  metaopt compare baseline classic:published_fixes --config C.toml --out D"""
_MARKS = {"new": "+", "deleted": "-", "": ""}


@dataclass(frozen=True, slots=True)
class Classic:
    """A method: its diff, what that changes, where it comes from, and the files it touches.

    New files are marked with ``+``, deleted ones with ``-``.
    """

    name: str
    path: Path
    changes: str
    source: str
    files: tuple[str, ...]


def classics() -> list[Classic]:
    """All of them, by name.  Raises ``UserError`` for a diff without its first lines."""
    return [_read(path) for path in sorted(shipped("populations/classics").glob("*.diff"))]


def classic_diff(wanted: str) -> Path | None:
    """The diff that ``classic:NAME`` names; None for a name of another form or of none of them."""
    known = {
        f"{PREFIX}{path.stem}": path for path in shipped("populations/classics").glob("*.diff")
    }
    return known.get(wanted)


def listing() -> str:
    """What ``metaopt classics`` prints."""
    return "\n\n".join([*map(_told, classics()), _USE])


def _told(one: Classic) -> str:
    said = (one.changes, f"from: {one.source}", f"files: {', '.join(one.files)}")
    lines = [f"    {line}" for text in said for line in fold(text, 4)]
    return "\n".join([f"{PREFIX}{one.name}", *lines])


def _read(path: Path) -> Classic:
    text = path.read_text(encoding="utf-8")
    head = _HEAD.match(text)
    if head is None:
        raise UserError(f"{path}: must begin with a line 'Changes: …' and a line 'Source: …'")
    files = tuple(f"{_MARKS[kind]}{name}" for name, kind in _FILE.findall(text))
    return Classic(path.stem, path, head[1], head[2], files)
