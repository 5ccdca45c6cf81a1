"""Evaluate one item: attempts, verdicts, report.  Weak first, and no call that can't matter.

The exact short-circuit stops a phase as soon as its verdict can't change any more; the verdict
is the same as with all attempts, at fewer calls.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from inner_agent import roles
from inner_agent.calls import Usage
from inner_agent.errors import EndpointRefused
from inner_agent.items import Item
from inner_agent.roles import Ask, NoAnswer, Tier
from inner_agent.settings import InnerConfig
from inner_agent.tasks.choice import task_of
from inner_agent.tasks.task import Asking, Attempt, Review, Task

Status = Literal["WEAK_PASSED", "WEAK_FAILED", "STRONG_PASSED", "STRONG_FAILED", "SOLVER_ERROR"]
SHOWN_CHARS = 1_500  # of each answer, in the report that agents read


@dataclass(frozen=True, slots=True)
class Phase:
    """What weak-only or strong-only found.  ``report`` is the text that agents read."""

    tier: Tier
    status: Status
    attempts: tuple[Attempt, ...]
    report: str
    weak_avg: float | None = None
    strong_avg: float | None = None
    review: Review | None = None

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
        review = {"review": dict(self.review.said)} if self.review else {}
        return {"status": self.status, "report": self.report, "attempts": attempts, **review}


@dataclass(slots=True)
class Evaluator:
    """Plays the trusted roles for one rollout, by the config's task; ``usage`` counts what they
    used.

    ``proven`` are roles that have given something usable before, in any rollout that shares it.
    """

    ask: Ask
    config: InnerConfig
    paper_text: str
    usage: Usage = field(default_factory=Usage)
    proven: set[str] = field(default_factory=set)
    task: Task = field(init=False)

    def __post_init__(self) -> None:
        self.task = task_of(self.config)

    async def weak(self, item: Item, sample: str) -> Phase:
        """The weak solver's attempts against the weak rule."""
        return await self._phase("weak", item, sample, None)

    async def strong(self, item: Item, sample: str, weak: Phase) -> Phase:
        """The strong solver's attempts against the strong rule, which looks back on ``weak``."""
        assert weak.weak_avg is not None
        return await self._phase("strong", item, sample, weak)

    async def _phase(self, tier: Tier, item: Item, sample: str, weak: Phase | None) -> Phase:
        weak_avg, review = weak.weak_avg if weak else None, None
        try:
            attempts, passed = await self._attempts(tier, item, f"{sample}/{tier}", weak_avg)
            if weak and passed and self.task.review:
                asking, name = self._asking, f"{sample}/review"
                review = await self.task.review(asking, item, weak.attempts, attempts, name)
                passed = review.passed
        except NoAnswer as e:
            if e.role not in self.proven:  # a wrong setting must not measure as a bad harness
                raise EndpointRefused(
                    f"models.{e.role}: {e}, and never before; try metaopt doctor, more max_tokens,"
                    " judge_mode or accept_truncated"
                ) from None
            return Phase(tier, "SOLVER_ERROR", (), f"SOLVER_ERROR: {e}", weak_avg)
        return self._summed_up(tier, attempts, passed, weak_avg, review)

    @property
    def _asking(self) -> Asking:
        return Asking(self.ask, self.config.models, self.usage)

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
        scores, wanted = [a.score for a in attempts], self.config.models[tier].attempts
        if tier == "weak":
            return self.task.rule.weak_verdict(scores, wanted)
        return self.task.rule.strong_verdict(scores, weak_avg or 0.0, wanted)

    async def _attempt(self, tier: Tier, item: Item, sample: str) -> Attempt:
        model = self.config.models[tier]
        messages = self.task.solver(item, self.paper_text if model.paper else None)
        answer = await roles.solve(self.ask, tier, model, messages, sample, self.usage)
        attempt = await self.task.grade(self._asking, item, answer, f"{sample}/judge")
        self.proven |= {tier, "judge"}
        return attempt

    def _summed_up(
        self, tier: Tier, attempts: list[Attempt], passed: bool, weak_avg: float | None,
        review: Review | None,
    ) -> Phase:  # fmt: skip
        average, strong_avg = fmean(a.score for a in attempts), None
        status: Status
        if tier == "weak":
            status = "WEAK_PASSED" if passed else "WEAK_FAILED"
            weak_avg = average
        else:
            status, strong_avg = ("STRONG_PASSED" if passed else "STRONG_FAILED"), average
        wanted = self.config.models[tier].attempts
        report = _report(status, attempts, wanted, self.task, weak_avg, review)
        return Phase(tier, status, tuple(attempts), report, weak_avg, strong_avg, review)


def other_verdict(weak: Phase | None, strong: Phase | None, config: InnerConfig) -> str:
    """What the task's other rule says of the same attempts: it is logged for nothing."""
    other = task_of(config).other
    if weak is None or other is None:
        return "unknown"
    wanted = config.models["weak"].attempts
    return other.verdict(weak.scores, strong.scores if strong else [], wanted)


def _report(
    status: Status, attempts: list[Attempt], wanted: int, task: Task, weak_avg: float | None,
    review: Review | None,
) -> str:  # fmt: skip
    average = fmean(a.score for a in attempts)
    scores = ", ".join(f"{a.score:.0%}" for a in attempts)
    lines = [status, f"average {average:.1%} of {len(attempts)} attempts ({scores})"]
    if len(attempts) < wanted:
        lines.append(f"{wanted - len(attempts)} attempts spared: the verdict could not change")
    if status.startswith("STRONG"):
        assert weak_avg is not None
        lines.append(f"weak average {weak_avg:.1%}, gap {average - weak_avg:+.1%}")
        lines.append(f"rule: {task.rule.strong_text}")
    else:
        lines.append(f"rule: {task.rule.weak_text}")
    if review:
        lines += ["", "What a judge says of all attempts:"]
        said = (
            (name.replace("_", " "), " ".join(text.split())) for name, text in review.said.items()
        )
        lines += [f"  {name}: {text}" for name, text in said]
    for n, attempt in enumerate(attempts, 1):
        lines.append(f"\nAttempt {n}: {attempt.score:.0%}")
        lines += [f"  {k}. {v.score:g} {v.reason}" for k, v in enumerate(attempt.verdicts, 1)]
        lines.append("  answer: " + " ".join(attempt.answer.split())[:SHOWN_CHARS])
    return "\n".join(lines)
