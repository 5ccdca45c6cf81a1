"""Items and rubrics: what the challenger writes, parsed strictly, scored in one place.

An item is a context, a question, a reference answer and a rubric of weighted criteria
(Autodata, "Computer science research tasks").  Negative weights are legal: they are penalties.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from inner_agent import strict_json

Text = Annotated[str, Field(min_length=1, max_length=40_000)]
Label = Annotated[str, Field(max_length=200)]


class ItemRefused(ValueError):
    """The item isn't one; the message names the field."""


class Criterion(BaseModel):
    """One line of a rubric; a negative weight is a penalty."""

    model_config = ConfigDict(frozen=True, strict=True)
    criterion: Annotated[str, Field(min_length=1, max_length=4_000)]
    weight: Annotated[float, Field(allow_inf_nan=False, ge=-1_000, le=1_000)]

    @field_validator("weight", mode="before")
    @classmethod
    def _a_number(cls, weight: Any) -> Any:
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ValueError(f"must be a number, not {str(weight)[:20]!r}")
        if weight == 0:
            raise ValueError("must not be zero")
        return weight


class Item(BaseModel):
    """A question with its rubric, which is empty where a task has none (``tasks/task.py``).

    ``sha256`` identifies what solvers and judge see of it.
    """

    model_config = ConfigDict(frozen=True, strict=True)
    question_type: Label = ""
    reasoning_skills: Annotated[list[Label], Field(max_length=50)] = []
    context: Annotated[str, Field(max_length=40_000)]
    question: Text
    reference_answer: Text
    rubric: Annotated[list[Criterion], Field(max_length=40)]

    @cached_property
    def sha256(self) -> str:
        """Hash of context, question, reference answer and rubric.

        Type and skills are labels: result.json has no place for them in a round.
        """
        core = self.model_dump(include={"context", "question", "reference_answer", "rubric"})
        return hashlib.sha256(strict_json.canonical(core)).hexdigest()


def parse_item(value: Any) -> Item:
    """Check a decoded JSON value.  Raises ``ItemRefused`` with the first bad field's name."""
    if not isinstance(value, dict):
        raise ItemRefused("item: must be a JSON object")
    try:
        return Item.model_validate(value)
    except ValidationError as e:
        raise ItemRefused(first_error(e, "item")) from None


def first_error(error: ValidationError, whole: str) -> str:
    """The first validation error as ``rubric[2].weight: must be …``."""
    first = error.errors(include_url=False)[0]
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"])
    text = str(first["msg"]).removeprefix("Value error, ").splitlines()[0]
    return f"{where.lstrip('.') or whole}: {text}"


def score(rubric: Sequence[Criterion], fractions: Sequence[float]) -> float:
    """clip((earned − penalty) / positive total, 0, 1); ``fractions`` are the judge's, in [0, 1]."""
    if len(rubric) != len(fractions):
        raise ValueError(f"{len(fractions)} verdicts for {len(rubric)} criteria")
    total = sum(c.weight for c in rubric if c.weight > 0)
    earned = sum(c.weight * f for c, f in zip(rubric, fractions, strict=True))
    return min(1.0, max(0.0, earned / total))
