"""Evaluate one item: attempts, verdicts, report.  Weak first, and no call that can't matter.

The exact short-circuit stops a phase as soon as its verdict can't change any more; the verdict
is the same as with all attempts, at fewer calls.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from inner_agent import items, roles
from inner_agent.calls import Usage
from inner_agent.criteria import Criteria, other_preset, strong_verdict, verdict, weak_verdict
from inner_agent.errors import EndpointRefused
from inner_agent.items import Item
from inner_agent.roles import Ask, NoAnswer, Tier, Verdict
from inner_agent.settings import InnerConfig

Status = Literal["WEAK_PASSED", "WEAK_FAILED", "STRONG_PASSED", "STRONG_FAILED", "SOLVER_ERROR"]
SHOWN_CHARS = 1_500  # of each answer, in the report that agents read


@dataclass(frozen=True, slots=True)
class Attempt:
    """One answer, its verdicts and its score in [0, 1]."""

    answer: str
    score: float
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """What weak-only or strong-only found.  ``report`` is the text that agents read."""

    tier: Tier
    status: Status
    attempts: tuple[Attempt, ...]
    report: str
    weak_avg: float | None = None
    strong_avg: float | None = None

    @property
    def scores(self) -> list[float]:
        """The attempts' scores, in order."""
        return [a.score for a in self.attempts]

    @property
    def passed(self) -> bool:
        """Did this phase's rule hold?"""
        return self.status in ("WEAK_PASSED", "STRONG_PASSED")

    @property
    def gap(self) -> float | None:
        """strong_avg − weak_avg, where both are known."""
        if self.weak_avg is None or self.strong_avg is None:
            return None
        return self.strong_avg - self.weak_avg

    def for_record(self) -> dict[str, Any]:
        """As the trajectory keeps it."""
        attempts = [
            {"answer": a.answer, "score": a.score, "criteria": [v.for_record() for v in a.verdicts]}
            for a in self.attempts
        ]
        return {"status": self.status, "report": self.report, "attempts": attempts}


@dataclass(slots=True)
class Evaluator:
    """Plays the trusted roles for one rollout; ``usage`` counts what they used.

    ``proven`` are roles that have given something usable before, in any rollout that shares it.
    """

    ask: Ask
    config: InnerConfig
    paper_text: str
    usage: Usage = field(default_factory=Usage)
    proven: set[str] = field(default_factory=set)

    async def weak(self, item: Item, sample: str) -> Phase:
        """The weak solver's attempts against the weak rule."""
        return await self._phase("weak", item, sample, None)

    async def strong(self, item: Item, sample: str, weak: Phase) -> Phase:
        """The strong solver's attempts against the strong rule and the gap to ``weak``."""
        assert weak.weak_avg is not None
        return await self._phase("strong", item, sample, weak.weak_avg)

    async def _phase(self, tier: Tier, item: Item, sample: str, weak_avg: float | None) -> Phase:
        try:
            attempts, passed = await self._attempts(tier, item, f"{sample}/{tier}", weak_avg)
        except NoAnswer as e:
            if e.role not in self.proven:  # a wrong setting must not measure as a bad harness
                raise EndpointRefused(
                    f"models.{e.role}: {e}, and never before; try metaopt doctor, more max_tokens,"
                    " judge_mode or accept_truncated"
                ) from None
            return Phase(tier, "SOLVER_ERROR", (), f"SOLVER_ERROR: {e}", weak_avg)
        return _summed_up(tier, attempts, passed, weak_avg, self.config)

    async def _attempts(
        self, tier: Tier, item: Item, sample: str, weak_avg: float | None
    ) -> tuple[list[Attempt], bool]:
        wanted = self.config.models[tier].attempts
        if not self.config.short_circuit:
            done = await asyncio.gather(
                *(self._attempt(tier, item, f"{sample}{n}") for n in range(wanted))
            )
            return list(done), bool(self._decide(tier, done, weak_avg))
        attempts: list[Attempt] = []
        passed = None
        while passed is None:
            attempts.append(await self._attempt(tier, item, f"{sample}{len(attempts)}"))
            passed = self._decide(tier, attempts, weak_avg)
        return attempts, passed

    def _decide(
        self, tier: Tier, attempts: Sequence[Attempt], weak_avg: float | None
    ) -> bool | None:
        scores = [a.score for a in attempts]
        wanted, criteria = self.config.models[tier].attempts, self.config.criteria
        if tier == "weak":
            return weak_verdict(scores, wanted, criteria)
        return strong_verdict(scores, weak_avg or 0.0, wanted, criteria)

    async def _attempt(self, tier: Tier, item: Item, sample: str) -> Attempt:
        models = self.config.models
        answer = await roles.solve(
            self.ask, tier, models[tier], item, self.paper_text, sample, self.usage
        )
        verdicts = await roles.judge(
            self.ask, models["judge"], item, answer, f"{sample}/judge", self.usage
        )
        self.proven |= {tier, "judge"}
        score = items.score(item.rubric, [v.score for v in verdicts])
        return Attempt(answer, score, tuple(verdicts))


def other_verdict(weak: Phase | None, strong: Phase | None, config: InnerConfig) -> str:
    """What the other published rule says of the same attempts: it is logged for nothing."""
    if weak is None:
        return "unknown"
    wanted, other = config.models["weak"].attempts, other_preset(config.criteria)
    return verdict(weak.scores, strong.scores if strong else [], wanted, other)


def _summed_up(
    tier: Tier, attempts: list[Attempt], passed: bool, weak_avg: float | None, config: InnerConfig
) -> Phase:
    average = fmean(a.score for a in attempts)
    status: Status
    if tier == "weak":
        status = "WEAK_PASSED" if passed else "WEAK_FAILED"
        weak_avg, strong_avg = average, None
    else:
        status, strong_avg = ("STRONG_PASSED" if passed else "STRONG_FAILED"), average
    report = _report(status, attempts, config.models[tier].attempts, config.criteria, weak_avg)
    return Phase(tier, status, tuple(attempts), report, weak_avg, strong_avg)


def _report(
    status: Status, attempts: list[Attempt], wanted: int, c: Criteria, weak_avg: float | None
) -> str:
    average = fmean(a.score for a in attempts)
    scores = ", ".join(f"{a.score:.0%}" for a in attempts)
    lines = [status, f"average {average:.1%} of {len(attempts)} attempts ({scores})"]
    if len(attempts) < wanted:
        lines.append(f"{wanted - len(attempts)} attempts spared: the verdict could not change")
    if status.startswith("STRONG"):
        assert weak_avg is not None
        lines.append(f"weak average {weak_avg:.1%}, gap {average - weak_avg:+.1%}")
        lines.append(
            f"rule: {c.strong_avg_min:.0%} <= strong average < {c.strong_avg_below:.0%},"
            f" gap >= {c.gap_min:.0%}"
        )
    else:
        lines.append(f"rule: weak average <= {c.weak_avg_max:.0%}, each <= {c.weak_max:.0%}")
    for n, attempt in enumerate(attempts, 1):
        lines.append(f"\nAttempt {n}: {attempt.score:.0%}")
        lines += [f"  {k}. {v.score:g} {v.reason}" for k, v in enumerate(attempt.verdicts, 1)]
        lines.append("  answer: " + " ".join(attempt.answer.split())[:SHOWN_CHARS])
    return "\n".join(lines)
