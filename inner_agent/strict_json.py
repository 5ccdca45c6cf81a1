"""JSON from untrusted hands: what is let through can be stored, hashed and sent on.

Refused: duplicate keys, NaN and infinities (1e999 is one), halves of surrogate pairs, deep nesting.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 64
MAX_TRIES = 32  # prose may hold a few stray braces; a reply of only braces must not cost
_NESTING = (dict, list)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class JSONRefused(ValueError):
    """The text isn't acceptable JSON; the message says why in one line."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise JSONRefused(f"duplicate key {twice[:40]!r}")
    return found


def _no_constants(name: str) -> Any:
    raise JSONRefused(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise JSONRefused(f"the number {text[:20]} is too large")
    return number


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_constant=_no_constants, parse_float=_finite
)


def loads(text: str | bytes) -> Any:
    """Parse one JSON document.  Raises ``JSONRefused`` with a one-line reason."""
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        return _sound(_DECODER.decode(text), text)
    except JSONRefused:
        raise
    except RecursionError:
        raise JSONRefused("nested too deeply") from None
    except ValueError as e:  # includes JSONDecodeError, UnicodeDecodeError, too long integers
        raise JSONRefused(f"not JSON: {str(e).splitlines()[0]}") from None


def objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a model's reply one after the other, bare, fenced or with prose around.

    Raises ``JSONRefused`` when there is none.
    """
    reason, found, end = "no JSON object in the reply", False, 0
    for _ in range(MAX_TRIES):
        if (start := text.find("{", end)) < 0:
            break
        try:
            value, end = _DECODER.raw_decode(text, start)
            value = dict(_sound(value, text))
        except RecursionError:
            raise JSONRefused("nested too deeply") from None
        except ValueError as e:
            reason, end = f"not JSON: {str(e).splitlines()[0]}", start + 1
            continue
        found = True
        yield value
    if not found:
        raise JSONRefused(reason)


def find_object(text: str) -> dict[str, Any]:
    """The first of them.  Raises ``JSONRefused`` when there is none."""
    return next(objects(text))


def _sound(value: Any, text: str) -> Any:
    """``value``, parsed from ``text``, unless writing it out again could fail."""
    level = [value] if type(value) in _NESTING else []
    for _ in range(MAX_DEPTH):
        inner = [x.values() if type(x) is dict else x for x in level]
        level = [v for values in inner for v in values if type(v) in _NESTING]
        if not level:
            break
    else:
        raise JSONRefused("nested too deeply")
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise JSONRefused("half a surrogate pair is not text") from None
    return value


def canonical(value: Any) -> bytes:
    """The one byte string for a JSON value: sorted keys, no spaces, ASCII."""
    return _ENCODER.encode(value).encode("ascii")
