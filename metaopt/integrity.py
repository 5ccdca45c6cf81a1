"""Did a candidate become better, or only better at being accepted?

A harness holds the prompts that decide what its own checks let through.  Beside the pass rate,
each validation therefore records what the solvers' scores accepted and what of it stood the fixed
audit, for parent and mutant on the same papers; and two papers of which nothing can be asked.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from inner_agent.checks import repeated
from inner_agent.run_paper import PaperResult
from metaopt.record import RunRecord

ALARM_RISE = 2  # papers: one more or less is noise

Results = Mapping[str, PaperResult]


@dataclass(frozen=True, slots=True)
class Stand:
    """One harness on one set of papers: accepted by scores, standing the audit, passing."""

    accepted: int
    audited: int
    passed: tuple[str, ...]
    repeats: tuple[str, ...]
    findings: dict[str, int]

    def for_record(self) -> dict[str, Any]:
        """As the run's log keeps it."""
        return {"accepted": self.accepted, "audited": self.audited,
                "repeats": list(self.repeats), "findings": self.findings}  # fmt: skip


def stand(results: Results, repeat_max: float) -> Stand:
    """Count one evaluation.  Papers that share a question with another one don't pass."""
    took = {paper: r for paper, r in results.items() if r.accepted}
    repeats = repeated({paper: r.question for paper, r in took.items()}, repeat_max)
    findings = Counter(f for r in took.values() for f in r.findings)
    if repeats:
        findings["repeated"] = len(repeats)
    return Stand(
        accepted=len(took),
        audited=sum(not r.findings and paper not in repeats for paper, r in took.items()),
        passed=tuple(sorted(p for p, r in results.items() if r.passed and p not in repeats)),
        repeats=tuple(sorted(repeats)),
        findings=dict(sorted(findings.items())),
    )


def alarm(parent: Stand, mutant: Stand, pots: Iterable[PaperResult] = ()) -> str:
    """Why a mutant's rise isn't to be believed, in one line; empty when nothing speaks against it.

    ``pots`` are the mutant's results on papers of which nothing can be asked.
    """
    reasons = []
    if mutant.accepted >= parent.accepted + ALARM_RISE and mutant.audited <= parent.audited:
        reasons.append(
            f"accepted {parent.accepted} -> {mutant.accepted}, but audited"
            f" {parent.audited} -> {mutant.audited}"
        )
    if fell := [r.paper for r in pots if r.passed]:
        reasons.append(f"passed on {', '.join(sorted(fell))}, of which nothing can be asked")
    return "; ".join(reasons)


def audit_of(record: RunRecord, candidate: int, i: int) -> dict[str, Any] | None:
    """What iteration ``i`` recorded of a candidate's audit, if it was validated there."""
    stages = record.stages[i]
    if "validated" in stages:
        if candidate == i:
            return dict(stages["validated"]["audit"]["mutant"])
        if candidate == stages["selected"]["parent"] and stages["validated"]["parent"]:
            return dict(stages["validated"]["audit"]["parent"])
    if "baseline" in stages and candidate == 0:
        return dict(stages["baseline"]["audit"])
    return None


def audited_text(record: RunRecord, candidate: int) -> str:
    """What of a candidate's accepted items stood the audit, over all its validations."""
    found = Counter[str]()
    for i in record.stages:
        if one := audit_of(record, candidate, i):
            found.update({k: one[k] for k in ("accepted", "audited")})
    if not found["accepted"]:
        return "no accepted item yet"
    return f"{found['audited']} of {found['accepted']} accepted items stood"
