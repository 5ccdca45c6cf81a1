"""Which papers are held out: those whose hash lies below a boundary, so that none is in two parts.

The hash depends on the paper's id and the seed alone.  The boundary only ever falls as a data set
grows: no paper that was trained on is held out later.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inner_agent import strict_json
from inner_agent.errors import UserError
from metaopt.text import several

HELD_OUT = 100  # items, where there are enough (Autodata holds out as many)
SHARE = "3" * 64  # a fifth of all hashes lie below
FILE = "split.json"
KEPT = "as in an earlier export"


class Split(BaseModel):
    """Papers whose ``mark`` is below ``test_below`` are the test part."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    seed: int
    rule: str  # for people
    test_below: str = Field(pattern=r"^[0-9a-f]{0,64}$")

    def part(self, paper: str) -> str:
        """``test`` or ``train``."""
        return "test" if mark(paper, self.seed) < self.test_below else "train"


@dataclass(frozen=True, slots=True)
class Wanted:
    """``test``: so many items, as nearly as whole papers allow; ``None``: a fifth of the papers,
    at most ``HELD_OUT`` items."""

    test: int | None
    seed: int


def mark(paper: str, seed: int) -> str:
    """A paper's place among the hashes, as 64 hexadecimal digits."""
    return hashlib.sha256(f"{seed}:{paper}".encode()).hexdigest()


def make_split(items: Mapping[str, int], wanted: Wanted) -> Split:
    """Draw the boundary, given how many items each paper has."""
    limit = HELD_OUT if wanted.test is None else wanted.test
    below = SHARE if wanted.test is None else "f" * 64
    held = 0
    for found, paper in sorted((mark(paper, wanted.seed), paper) for paper in items):
        held += items[paper]
        if held > limit:
            below = min(below, found)
            break
    few = f"a fifth of the papers, {HELD_OUT} items at most"
    rule = few if wanted.test is None else several(wanted.test, "item")
    return Split(seed=wanted.seed, rule=rule, test_below=below if limit else "")


def read_split(export: Path) -> Split:
    """The split of an earlier export.  Raises ``UserError``."""
    path = export / FILE
    try:
        split = Split.model_validate(strict_json.loads(path.read_bytes()))
    except OSError as e:
        raise UserError(
            f"{path}: can't be read ({e.strerror}); name the folder of an earlier export"
        ) from None
    except (strict_json.JSONRefused, ValidationError):
        raise UserError(f"{path}: not the split of an export; name another folder") from None
    rule = f"{KEPT} ({split.rule})"
    return split if split.rule.startswith(KEPT) else split.model_copy(update={"rule": rule})
