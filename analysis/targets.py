"""The files that commands are asked to write: refused before any work is done for them."""

from collections.abc import Sequence
from pathlib import Path

from inner_agent.errors import UserError

SUFFIXES = (".pdf", ".png", ".svg")  # of figures


def check_target(path: Path, suffixes: Sequence[str]) -> None:
    """Raise ``UserError`` for another suffix, and for a folder that isn't there."""
    if path.suffix.lower() not in suffixes:
        raise UserError(f"{path}: write it as one of {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise UserError(f"{path}: no folder {path.parent}; make it first")


def write_text(path: Path, text: str) -> None:
    """Write a file.  Raises ``UserError`` when it can't be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as e:
        raise UserError(f"{path}: can't be written ({e.strerror})") from None
