"""Search lines for a regular expression, as a program of its own that can be killed.

``metaopt.tree.search`` runs it; standard library only.  In: ``{"pattern", "texts": {name: text}}``
as JSON on standard input.  Out: ``{"lines": [...]}`` or ``{"error": "one line"}``.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import islice

MAX_LINE = 2_000  # characters of a line that are searched
MAX_SHOWN = 300  # characters of a line that are shown
MAX_HITS = 60


def _hits(expression: re.Pattern[str], texts: Mapping[str, str]) -> Iterator[str]:
    for name, text in texts.items():
        offset = 0
        for number, line in enumerate(text.split("\n"), start=1):
            if expression.search(line[:MAX_LINE]):
                yield f"{name}:{number} (offset {offset}): {line[:MAX_SHOWN]}"
            offset += len(line) + 1


def _main() -> None:
    request = json.load(sys.stdin)
    try:
        expression = re.compile(request["pattern"])
    except (re.error, OverflowError, RecursionError) as error:
        json.dump({"error": f"not a regular expression: {error}".splitlines()[0]}, sys.stdout)
        return
    lines = list(islice(_hits(expression, request["texts"]), MAX_HITS + 1))
    if len(lines) > MAX_HITS:
        lines[MAX_HITS] = f"[more than {MAX_HITS} lines match; narrow the pattern]"
    json.dump({"lines": lines}, sys.stdout)


if __name__ == "__main__":
    _main()
