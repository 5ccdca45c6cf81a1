"""When is a question good?  Acceptance rules, as pure functions of solver scores.

Two rules are published (Autodata): ``deployed``, from the main agent's prompt, and ``prose``,
from the text (strong ≥ 65 %, weak < 50 %, gap ≥ 20 points).  Scores are fractions in [0, 1].
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
EPSILON = 1e-9  # averages of thirds must not fail a threshold by rounding


class Criteria(BaseModel):
    """Thresholds on the attempts' scores; a preset's values may be changed one by one."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    preset: Literal["deployed", "prose"] = "deployed"
    weak_avg_max: Share = 0.65
    weak_avg_inclusive: bool = True
    weak_max: Share = 0.75
    strong_avg_min: Share = 0.60
    strong_avg_below: Annotated[float, Field(ge=0, le=2)] = 0.95
    gap_min: Share = 0.20
    zeros_allowed: bool = False

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("preset") == "prose":
            return PROSE | given
        return given

    @model_validator(mode="after")
    def _possible(self) -> "Criteria":
        if self.strong_avg_min >= self.strong_avg_below:
            raise ValueError("strong_avg_min must be below strong_avg_below: nothing could pass")
        return self


PROSE: dict[str, object] = {
    "preset": "prose",
    "weak_avg_max": 0.50,
    "weak_avg_inclusive": False,
    "weak_max": 1.0,
    "strong_avg_min": 0.65,
    "strong_avg_below": 2.0,  # no upper bound
    "gap_min": 0.20,
    "zeros_allowed": True,
}


def other_preset(criteria: Criteria) -> Criteria:
    """The published rule that isn't in force; its verdict is logged beside the one that is."""
    other = "prose" if criteria.preset == "deployed" else "deployed"
    return Criteria.model_validate({"preset": other})


def weak_verdict(scores: Sequence[float], attempts: int, c: Criteria) -> bool | None:
    """True: passes; False: fails whatever the missing attempts bring; None: not decided yet."""
    least = sum(scores) / attempts  # the missing attempts can't score below 0
    over = least > c.weak_avg_max + EPSILON
    at_limit = not c.weak_avg_inclusive and least >= c.weak_avg_max - EPSILON
    if over or at_limit or any(s > c.weak_max + EPSILON for s in scores):
        return False
    if not c.zeros_allowed and any(s <= 0 for s in scores):
        return False
    return True if len(scores) >= attempts else None


def strong_verdict(
    scores: Sequence[float], weak_avg: float, attempts: int, c: Criteria
) -> bool | None:
    """As ``weak_verdict``, for the strong solver's average, zeros and the gap."""
    missing = attempts - len(scores)
    most, least = (sum(scores) + missing) / attempts, sum(scores) / attempts
    if most < max(c.strong_avg_min, weak_avg + c.gap_min) - EPSILON:
        return False
    if least >= c.strong_avg_below - EPSILON:
        return False
    if not c.zeros_allowed and any(s <= 0 for s in scores):
        return False
    return True if missing <= 0 else None


def verdict(weak: Sequence[float], strong: Sequence[float], attempts: int, c: Criteria) -> str:
    """``accepted``, ``rejected`` or ``unknown`` (attempts spared by the short-circuit)."""
    w = weak_verdict(weak, attempts, c)
    if w is False:
        return "rejected"
    if w is None:
        return "unknown"
    s = strong_verdict(strong, fmean(weak), attempts, c)
    return {True: "accepted", False: "rejected", None: "unknown"}[s]
