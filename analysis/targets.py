"""The files that commands are asked to write: refused before any work is done for them."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inner_agent.errors import UserError

SUFFIXES = (".pdf", ".png", ".svg")  # of figures


def check_target(path: Path, suffixes: Sequence[str]) -> None:
    """Raise ``UserError`` for another suffix, and for a folder that isn't there."""
    if path.suffix.lower() not in suffixes:
        raise UserError(f"{path}: write it as one of {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise UserError(f"{path}: no folder {path.parent}; make it first")


def write_text(path: Path, text: str) -> None:
    """Write a file; of a folder's name that isn't UTF-8 the odd bytes become question marks, here
    and below.  Raises ``UserError`` when it can't be written."""
    try:
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as e:
        raise UserError(f"{path}: can't be written ({e.strerror})") from None


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the same keys as CSV.  Raises ``UserError`` when it can't be written."""
    try:
        with open(path, "w", newline="", encoding="utf-8", errors="replace") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as e:
        raise UserError(f"{path}: can't be written ({e.strerror})") from None
