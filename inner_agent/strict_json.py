"""JSON from untrusted hands: no duplicate keys, no NaN, no depth bombs."""

import json
from typing import Any


class JSONRefused(ValueError):
    """The text isn't acceptable JSON; the message says why in one line."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [k for k, _ in pairs]
        raise JSONRefused(f"duplicate key {next(k for k in keys if keys.count(k) > 1)!r}")
    return found


def _no_constants(name: str) -> Any:
    raise JSONRefused(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constants)


def loads(text: str | bytes) -> Any:
    """Parse one JSON document.  Raises ``JSONRefused`` with a one-line reason."""
    try:
        return _DECODER.decode(text if isinstance(text, str) else text.decode("utf-8"))
    except JSONRefused:
        raise
    except RecursionError:
        raise JSONRefused("nested too deeply") from None
    except ValueError as e:  # includes JSONDecodeError, UnicodeDecodeError, too long integers
        raise JSONRefused(f"not JSON: {str(e).splitlines()[0]}") from None


def find_object(text: str) -> dict[str, Any]:
    """The first JSON object in a model's reply, bare, fenced or with prose around it.

    Raises ``JSONRefused`` when there is none.
    """
    reason = "no JSON object in the reply"
    start = text.find("{")
    for _ in range(8):  # prose may hold a few stray braces; a reply of only braces must not cost
        if start < 0:
            break
        try:
            found, _ = _DECODER.raw_decode(text, start)
            return dict(found)
        except RecursionError:
            raise JSONRefused("nested too deeply") from None
        except ValueError as e:
            reason = f"not JSON: {str(e).splitlines()[0]}"
        start = text.find("{", start + 1)
    raise JSONRefused(reason)


def canonical(value: Any) -> bytes:
    """The one byte string for a JSON value: sorted keys, no spaces, UTF-8."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode("utf-8", "surrogatepass")
