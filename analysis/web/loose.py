"""JSON that may hold anything, read as what it should be.

A trajectory quotes what a harness made up, and an older or damaged one lacks what newer ones have:
a reader shows what there is.  None of these functions raises.
"""

import json
from typing import Any

MOST = 1e15  # beyond it a number means nothing here, and sums of such overflow


def text(value: Any) -> str:
    """A string as it is, nothing as ``""``, anything else as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return "(can't be shown)"


def number(value: Any) -> float | None:
    """A number that sums and averages can bear, or ``None``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -MOST <= value <= MOST else None  # NaN isn't either


def whole(value: Any) -> int:
    """A count, 0 where it is none."""
    counts = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST
    return value if counts else 0


def table(value: Any) -> dict[str, Any]:
    """An object, empty where it is none."""
    return value if isinstance(value, dict) else {}


def rows(value: Any) -> list[Any]:
    """A list, empty where it is none."""
    return value if isinstance(value, list) else []


def tables(value: Any) -> list[dict[str, Any]]:
    """The objects in a list."""
    return [x for x in rows(value) if isinstance(x, dict)]
