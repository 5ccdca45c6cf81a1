"""Which papers are for training, validation and the sealed test: ids with sha256 of the files.

The test part is written and checked like the others, but the loop is never given it.
"""

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inner_agent import strict_json
from inner_agent.errors import UserError
from inner_agent.papers import Paper

PARTS = ("train", "val", "test")


def make_split(papers: Mapping[str, Paper], sizes: Mapping[str, int], seed: int) -> dict[str, Any]:
    """Draw disjoint parts, each with the topics' shares of the whole as nearly as counts allow.

    Raises ``UserError`` when there are too few papers, for a part that the loop needs and that
    would be empty, and when one text would be in two parts.
    """
    for part in ("train", "val"):
        if sizes[part] < 1:
            raise UserError(f"split: {part} = {sizes[part]}; the loop needs 1 paper or more there")
    wanted = sum(sizes.values())
    if wanted > len(papers):
        raise UserError(f"split: {wanted} papers wanted, {len(papers)} there; ask for fewer")
    rng = random.Random(seed)
    left: dict[str, list[Paper]] = defaultdict(list)
    for ident in sorted(papers):
        left[papers[ident].topic].append(papers[ident])
    for name in sorted(left):
        rng.shuffle(left[name])
    split: dict[str, Any] = {"seed": seed}
    for part in PARTS:
        shares = _shares({name: len(left[name]) for name in sorted(left)}, sizes[part])
        drawn = {name: [left[name].pop() for _ in range(n)] for name, n in shares.items()}
        split[part] = [{"id": p.id, "sha256": p.sha256} for p in _interleaved(drawn, rng)]
    _refuse_twins(split)
    return split


def write_split(split: dict[str, Any], path: Path) -> None:
    """Write a split.  Raises ``UserError`` when its folder isn't there."""
    try:
        path.write_text(json.dumps(split, indent=1) + "\n", encoding="utf-8")
    except OSError as e:
        raise UserError(f"{path}: can't be written ({e.strerror})") from None


def read_split(path: Path, papers: Mapping[str, Paper]) -> dict[str, list[Paper]]:
    """The papers of each part.

    Rows are ids, or objects with ``id`` and ``sha256``.  Raises ``UserError`` for an unknown,
    changed or repeated paper, and for an empty training or validation part.
    """
    try:
        data = strict_json.loads(path.read_bytes())
    except OSError as e:
        raise UserError(
            f"{path}: can't be read ({e.strerror}); make it with metaopt split"
        ) from None
    except strict_json.JSONRefused as e:
        raise UserError(f"{path}: {e}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: a split is an object with {', '.join(PARTS)}")
    seen: dict[str, str] = {}
    split = {part: _part(path, part, data.get(part, []), papers, seen) for part in PARTS}
    for part in ("train", "val"):
        if not split[part]:
            raise UserError(f"{path}: {part} is empty; make a split with metaopt split")
    return split


def digest(split: Mapping[str, list[Paper]]) -> str:
    """What tells one split from another: sha256 of the parts' papers, ids and texts, in order."""
    rows = {part: [(p.id, p.sha256) for p in papers] for part, papers in split.items()}
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def _refuse_twins(split: Mapping[str, Any]) -> None:
    """The same text under two ids would let a part see another's papers."""
    seen: dict[str, tuple[str, str]] = {}
    for part in PARTS:
        for row in split[part]:
            where, twin = seen.setdefault(row["sha256"], (part, row["id"]))
            if where != part:
                raise UserError(
                    f"split: {twin!r} ({where}) and {row['id']!r} ({part}) are the same text;"
                    " remove one of them"
                )


def _part(
    path: Path, part: str, rows: Any, papers: Mapping[str, Paper], seen: dict[str, str]
) -> list[Paper]:
    found = []
    for row in rows if isinstance(rows, list) else [None]:
        ident, digest = (row, None) if isinstance(row, str) else _row(path, part, row)
        if ident in seen:
            raise UserError(
                f"{path}: {ident!r} is in {seen[ident]} and in {part}; parts must not overlap"
            )
        if ident not in papers:
            raise UserError(f"{path}: {part} names {ident!r}, which isn't among the papers")
        if digest not in (None, papers[ident].sha256):
            raise UserError(f"{path}: {ident!r} has changed since the split was made (sha256)")
        seen[ident] = part
        found.append(papers[ident])
    return found


def _row(path: Path, part: str, row: Any) -> tuple[str, str | None]:
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        raise UserError(f"{path}: {part} must be a list of ids or of objects with id and sha256")
    return row["id"], row.get("sha256")


def _shares(counts: dict[str, int], wanted: int) -> dict[str, int]:
    """``wanted`` divided in proportion to ``counts``, by largest remainder."""
    total = max(1, sum(counts.values()))
    shares = {name: wanted * n // total for name, n in counts.items()}
    missing = wanted - sum(shares.values())
    for name in sorted(counts, key=lambda name: -(wanted * counts[name] % total))[:missing]:
        shares[name] += 1
    return shares


def _interleaved(topics: Mapping[str, list[Paper]], rng: random.Random) -> list[Paper]:
    """Topics spread evenly along the list: its first papers are a fair sample too."""
    placed = []
    for name, members in topics.items():
        offset = rng.random()
        placed += [((k + offset) / len(members), name, p) for k, p in enumerate(members)]
    return [p for _, _, p in sorted(placed, key=lambda x: x[:2])]
