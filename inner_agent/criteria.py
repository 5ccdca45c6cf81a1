"""When is a question good?  Acceptance rules, as pure functions of solver scores.

For rubrics two rules are published (Autodata): ``deployed``, from the main agent's prompt, and
``prose``, from the text (strong ≥ 65 %, weak < 50 %, gap ≥ 20 points).  For answers that are right
or wrong, the later report (arXiv 2606.25996) has the majority, and counts (weak right in at most 1
of 4, strong in at least 3).  Scores are fractions in [0, 1].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


def changed(criteria: Criteria) -> list[str]:
    """The keys that aren't as where nothing is set; of a preset's own values the preset alone."""
    own = Criteria.model_validate({"preset": criteria.preset})
    keys = [key for key in Criteria.model_fields if getattr(criteria, key) != getattr(own, key)]
    return ["preset"] * (criteria.preset != Criteria().preset) + keys


def other_preset(criteria: Criteria) -> Criteria:
    """The published rule that isn't in force; its verdict is logged beside the one that is."""
    other = "prose" if criteria.preset == "deployed" else "deployed"
    return Criteria.model_validate({"preset": other})


@dataclass(frozen=True, slots=True)
class Bound:
    """One threshold and the value that attempts so far give it (``None``: there are none).

    ``holds`` is ``None`` while missing attempts could still break it.
    """

    name: str
    value: float | None
    relation: Literal["<", "<=", ">", ">="]
    limit: float
    holds: bool | None


def weak_bounds(scores: Sequence[float], attempts: int, c: Criteria) -> tuple[Bound, ...]:
    """The thresholds on the weak solver's scores; ``attempts`` were wanted."""
    least = sum(scores) / attempts  # the missing attempts can't score below 0
    inclusive, average = c.weak_avg_inclusive, fmean(scores) if scores else None
    low = least <= c.weak_avg_max + EPSILON if inclusive else least < c.weak_avg_max - EPSILON
    none_over = all(s <= c.weak_max + EPSILON for s in scores)
    done = len(scores) >= attempts
    highest = max(scores, default=None)
    return (
        Bound("average", average, "<=" if inclusive else "<", c.weak_avg_max, _so_far(low, done)),
        Bound("highest", highest, "<=", c.weak_max, _so_far(none_over, done)),
        *_no_zeros(scores, done, c),
    )


def strong_bounds(
    scores: Sequence[float], weak_avg: float, attempts: int, c: Criteria
) -> tuple[Bound, ...]:
    """As ``weak_bounds``, for the strong solver's average, the gap and zeros."""
    done, average = len(scores) >= attempts, fmean(scores) if scores else None
    most, least = (sum(scores) + attempts - len(scores)) / attempts, sum(scores) / attempts
    gap = None if average is None else average - weak_avg
    enough = most >= c.strong_avg_min - EPSILON
    wide = most >= weak_avg + c.gap_min - EPSILON
    below = least < c.strong_avg_below - EPSILON
    return (
        Bound("average", average, ">=", c.strong_avg_min, _so_far(enough, done)),
        Bound("average", average, "<", c.strong_avg_below, _so_far(below, done)),
        Bound("gap", gap, ">=", c.gap_min, _so_far(wide, done)),
        *_no_zeros(scores, done, c),
    )


def _no_zeros(scores: Sequence[float], done: bool, c: Criteria) -> tuple[Bound, ...]:
    if c.zeros_allowed:
        return ()
    lowest = min(scores, default=None)
    return (Bound("lowest", lowest, ">", 0.0, _so_far(all(s > 0 for s in scores), done)),)


def _so_far(holds: bool, done: bool) -> bool | None:
    return holds if done or not holds else None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of acceptance: bounds on each phase's scores, and the line that agents read of it.

    ``weak`` takes the scores so far and how many attempts there will be; ``strong`` takes the weak
    average between the two.
    """

    weak: Callable[[Sequence[float], int], tuple[Bound, ...]]
    strong: Callable[[Sequence[float], float, int], tuple[Bound, ...]]
    weak_text: str
    strong_text: str

    def weak_verdict(self, scores: Sequence[float], attempts: int) -> bool | None:
        """True: passes; False: fails whatever the missing attempts bring; None: not decided yet."""
        return _all_hold(self.weak(scores, attempts))

    def strong_verdict(
        self, scores: Sequence[float], weak_avg: float, attempts: int
    ) -> bool | None:
        """As ``weak_verdict``, for the strong solver."""
        return _all_hold(self.strong(scores, weak_avg, attempts))

    def verdict(self, weak: Sequence[float], strong: Sequence[float], attempts: int) -> str:
        """``accepted``, ``rejected`` or ``unknown`` (attempts spared by the short-circuit)."""
        w = self.weak_verdict(weak, attempts)
        if w is False:
            return "rejected"
        if w is None:
            return "unknown"
        s = self.strong_verdict(strong, fmean(weak), attempts)
        return {True: "accepted", False: "rejected", None: "unknown"}[s]


def by_thresholds(c: Criteria) -> Rule:
    """The published rules: thresholds on averages, single attempts and the gap."""
    return Rule(
        weak=lambda scores, attempts: weak_bounds(scores, attempts, c),
        strong=lambda scores, weak_avg, attempts: strong_bounds(scores, weak_avg, attempts, c),
        weak_text=f"weak average <= {c.weak_avg_max:.0%}, each <= {c.weak_max:.0%}",
        strong_text=f"{c.strong_avg_min:.0%} <= strong average < {c.strong_avg_below:.0%},"
        f" gap >= {c.gap_min:.0%}",
    )


def by_counts(weak_right_max: int, strong_right_min: int, attempts: int) -> Rule:
    """For answers that are right (1) or wrong (0): how many of ``attempts`` have to be right."""

    def weak(scores: Sequence[float], wanted: int) -> tuple[Bound, ...]:
        done, right = len(scores) >= wanted, fmean(scores) if scores else None
        few = sum(scores) <= weak_right_max
        return (Bound("right", right, "<=", weak_right_max / wanted, _so_far(few, done)),)

    def strong(scores: Sequence[float], _: float, wanted: int) -> tuple[Bound, ...]:
        done, right = len(scores) >= wanted, fmean(scores) if scores else None
        enough = sum(scores) + wanted - len(scores) >= strong_right_min
        return (Bound("right", right, ">=", strong_right_min / wanted, _so_far(enough, done)),)

    return Rule(
        weak, strong,
        weak_text=f"the weak solver is right in at most {weak_right_max} of {attempts} attempts",
        strong_text=f"the strong solver is right in at least {strong_right_min} of {attempts}"
        " attempts",
    )  # fmt: skip


def by_majority(attempts: int) -> Rule:
    """The strong majority is right and the weak majority wrong; half of the attempts is neither."""
    return by_counts((attempts - 1) // 2, attempts // 2 + 1, attempts)


def all_attempts() -> Rule:
    """No threshold: every attempt is made, and a judge reads them all."""

    def answered(scores: Sequence[float], wanted: int) -> tuple[Bound, ...]:
        share = len(scores) / wanted
        return (Bound("answered", share, ">=", 1.0, True if share >= 1 else None),)

    text = "no threshold; a judge reads the attempts of both solvers"
    return Rule(answered, lambda scores, _, wanted: answered(scores, wanted), text, text)


def _all_hold(bounds: Sequence[Bound]) -> bool | None:
    found = {b.holds for b in bounds}
    return False if False in found else None if None in found else True
