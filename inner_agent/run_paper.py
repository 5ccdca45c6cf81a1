"""One harness on one paper: jail, broker, verdict.

The score comes from the broker's record.  A broken harness (crash, hang, junk) is a result with
a reason; a failing provider is no result at all and raises.
"""

import asyncio
import hashlib
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from inner_agent import sandbox
from inner_agent.audit import Report, audit
from inner_agent.broker import MAX_LINE, Broker, Record, ResultFile, Round
from inner_agent.checks import Finding, own_words
from inner_agent.errors import EndpointRefused, RequestRejected
from inner_agent.evaluation import Evaluator, other_verdict
from inner_agent.gateway import Gateway
from inner_agent.items import Item, ItemRefused
from inner_agent.papers import PaperText
from inner_agent.roles import NoAnswer
from inner_agent.sandbox import Mode, Mount
from inner_agent.settings import InnerConfig
from inner_agent.trajectory import FORMAT, Steps

Reason = Literal[
    "passed", "fresh_failed", "audit_failed", "not_accepted", "no_result",
    "crashed", "timed_out", "junk",
]  # fmt: skip
Count = Annotated[int, Field(ge=0, le=2**53)]  # a float has it to the unit
ENTRY = "harness.py"
QUESTION_CHARS = 1_000  # of the accepted question, in its result
TRIES = 10  # of a child that somebody kills
# Exit statuses of an end that may have come from outside, as Popen and as bubblewrap say it.  Any
# other signal (abort, a bad address, too much CPU) is the child's own doing.
KILLED = {
    status
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for status in (-number, 128 + number)
}


class PaperResult(BaseModel):
    """What one rollout came to.  Scores are fractions; averages and ``review`` (what a judge said
    of all attempts, for tasks that have one) are of the final item (fresh attempts where there were
    some), or of the last one evaluated.

    ``accepted`` is by the solvers' scores; ``findings`` are the checks that the audit of the
    accepted item failed; ``question`` is what of the accepted one isn't copied from the paper, to
    be compared with other papers'.  ``detail`` is the last line on stderr of a harness that
    failed, and the latest refusal of one whose items were refused before any could be evaluated.
    """

    model_config = ConfigDict(frozen=True)
    paper: str
    passed: bool
    accepted: bool
    reason: Reason
    rounds: Count = 0
    outcomes: dict[str, Count] = {}
    weak_avg: float | None = None
    strong_avg: float | None = None
    gap: float | None = None
    other_verdict: str = "unknown"
    findings: tuple[str, ...] = ()
    question: str = ""
    review: dict[str, str] = {}
    calls: Count = 0
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    usd: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Rig:
    """What every rollout of a run shares.  ``folder`` holds the papers as the jail sees them."""

    config: InnerConfig
    gateway: Gateway
    mode: Mode
    folder: Path
    proven: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Rollout:
    """A result, the trajectory behind it, the result.json, and what timing it had."""

    result: PaperResult
    trajectory: dict[str, Any]
    submitted: ResultFile | None
    item: Item | None
    timing: dict[str, float]


async def run_paper(
    rig: Rig, harness: Path, paper: PaperText, sample: str, *, fresh: bool, told: str = ""
) -> Rollout:
    """Run the harness in folder ``harness`` on one paper.

    ``sample`` names this draw: the same harness, paper and sample replay recorded replies.
    ``fresh``: evaluate the accepted item again with new attempts, so that many tries can't win
    by luck.  ``told`` stands at the end of each chat of the challenger (``Told.text``).  Raises
    ``ProviderError`` or ``BudgetExhausted``; neither is a score.
    """
    started, in_flight = time.monotonic(), rig.gateway.in_flight
    sample = f"{sample}/{paper.paper.id}"  # a chat may be the same on two papers: two draws
    broker, fault, stderr = await _converse(rig, harness, paper, sample, told)
    evaluator, steps = broker.evaluator, broker.steps
    final = None if fault else broker.accepted()
    found: tuple[Finding, ...] = ()
    if final:
        report = await audited(evaluator, final.item, f"{sample}/audit")
        steps.audited(report)
        found = report.findings
    passed, scored = final is not None and not found, final
    if final and passed and fresh and rig.config.score == "fresh":
        scored = await _fresh(evaluator, final.item, f"{sample}/fresh", steps)
        passed = bool(scored.strong and scored.strong.passed)
    rounds = _rounds(broker)
    result = _result(
        paper.paper.id, fault, broker, final, found, passed, scored, rounds, rig.config, stderr
    )
    timing = {"wall_s": round(time.monotonic() - started, 3), "in_flight": float(in_flight)}
    trajectory = {
        "format": FORMAT,
        "simulated": rig.config.simulated,
        "task": broker.evaluator.task.name,
        "paper": {"id": paper.paper.id, "title": paper.paper.title,
                  "sha256": paper.paper.sha256, "cut_tokens": paper.cut_tokens},
        "sample": sample,
        "result": result.model_dump(),
        "rounds": rounds,
        "steps": steps.list,
        "stderr": stderr,
        "timing": timing,
    }  # fmt: skip
    return Rollout(result, trajectory, broker.result, final.item if final else None, timing)


async def _converse(
    rig: Rig, harness: Path, paper: PaperText, sample: str, told: str
) -> tuple[Broker, str, str]:
    """Run the child to its end: the record, the fault (``""`` if none), the tail of its stderr.

    A child that ended by a signal which anybody may have sent (an administrator, the kernel short
    of memory) is run again, for that is no fault of the harness; what it was told is replayed.
    It counts only where the child asks again for exactly what it asked before: one that hopes for
    better luck is a crash at once, and one that kills itself is one in the end.  All runs together
    have the own time of one.
    """
    longest: list[bytes] = []
    limits = rig.config.limits
    for tries_left in reversed(range(TRIES)):
        steps = Steps(paper.text)
        evaluator = Evaluator(rig.gateway.ask, rig.config, paper.text, proven=rig.proven)
        broker = Broker(rig.gateway, evaluator, limits, sample, steps, evaluator.usage, told)
        fault, status, stderr = await _one_child(rig, harness, paper, broker, tries_left)
        asked, killed = broker.asked, status in KILLED
        limits = limits.model_copy(update={"own_s": max(0.0, broker.own_s)})
        same = min(len(asked), len(longest))
        if asked[:same] != longest[:same] or (len(asked) < len(longest) and not killed):
            fault = "crashed"
        elif killed:
            longest = max(longest, asked, key=len)
            continue
        break
    return broker, fault, stderr


async def _one_child(
    rig: Rig, harness: Path, paper: PaperText, broker: Broker, tries_left: int
) -> tuple[str, int | None, str]:
    """Fault, exit status (``None``: it was given up on), tail of stderr."""
    mounts = [
        Mount(harness, "/harness"),
        Mount(_paper_file(rig.folder, paper), "/work/paper.txt"),
    ]
    child = sandbox.start(rig.mode, [f"/harness/{ENTRY}"], mounts, rig.config.limits)
    status = None
    try:
        reader, writer = await asyncio.open_connection(sock=child.sock, limit=MAX_LINE - 1)
        try:
            fault = await broker.serve(reader, writer)
            if not fault:
                status = await child.wait(rig.config.limits.idle_s)
                if not (tries_left and status in KILLED):
                    child.raise_if_jail_failed()
                fault = "timed_out" if status is None else "crashed" if status else ""
        finally:
            child.kill()
            writer.transport.abort()  # closing would wait for a harness that never reads
    finally:
        stderr = child.close()
    return fault, status, stderr


async def audited(evaluator: Evaluator, item: Item, sample: str) -> Report:
    """What the fixed auditor finds.  An audit that gives nothing readable is a finding as well,
    unless the role never worked: then a wrong setting would measure as a bad harness.  So is an
    item that is too long to be audited: the harness wrote it, and must not stop a run with it."""
    try:
        report = await audit(
            evaluator.ask, evaluator.config, item, evaluator.paper_text, sample, evaluator.usage
        )
        evaluator.proven.add("auditor")
    except NoAnswer as e:
        if e.role not in evaluator.proven:
            raise EndpointRefused(
                f"models.{e.role}: {e}, and never before; try metaopt doctor, more max_tokens,"
                " or audit.llm = false"
            ) from None
        report = Report((Finding("unreadable", str(e)),), {})
    except RequestRejected as e:
        report = Report((Finding("unreadable", str(e)),), {})
    return report


async def _fresh(evaluator: Evaluator, item: Item, sample: str, steps: Steps) -> Record:
    """Weak, then strong, with new samples.  An unusable reply is drawn again: never a score.

    An item that grew too long for the judge with the new answers is the harness's doing.
    """
    for n in range(3):
        record = Record(item)
        try:
            record.weak = await evaluator.weak(item, f"{sample}{n}")
            steps.evaluated("fresh", "weak_only", item, record.weak)
            if record.weak.passed:
                record.strong = await evaluator.strong(item, f"{sample}{n}", record.weak)
                steps.evaluated("fresh", "strong_only", item, record.strong)
        except RequestRejected as e:
            steps.refused("fresh", "invalid_item", str(e))
            continue
        if "SOLVER_ERROR" not in (record.weak.status, record.strong and record.strong.status):
            break
    return record


def _paper_file(folder: Path, paper: PaperText) -> Path:
    """The paper as the jail sees it: cut, named by its content, written once."""
    digest = hashlib.sha256(paper.text.encode()).hexdigest()[:32]
    path = folder / f"{digest}.txt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(paper.text, encoding="utf-8")
        part.rename(path)
    return path


def _rounds(broker: Broker) -> list[dict[str, Any]]:
    """The submitted rounds, each with the outcome that the record (not the harness) gives it."""
    rounds = broker.result.rounds if broker.result else []
    return [_round(broker, r) for r in rounds]


def _round(broker: Broker, r: Round) -> dict[str, Any]:
    assert broker.result is not None
    try:
        record = broker.record_of(r)
        outcome = _outcome(r, record, broker.evaluator)
    except ItemRefused:
        record, outcome = None, "invalid_item"
    review = record.strong.review if record and record.strong else None
    return {
        "round": r.refinement_round,
        "question_type": broker.result.question_type,
        "question": r.question,
        "context": r.context,
        "reference_answer": r.reference_answer,
        "rubric": r.rubric,
        "outcome": outcome,
        "feedback": r.quality_verifier_kimi_feedback,
        "weak": record.weak.scores if record and record.weak else None,
        "strong": record.strong.scores if record and record.strong else None,
        **({"review": dict(review.said)} if review else {}),
    }


def _outcome(r: Round, record: Record | None, evaluator: Evaluator) -> str:
    if not r.quality_verifier_kimi_passed:
        return "failed_quality_check"
    if record is None or record.weak is None:
        return "unfinished"
    if not record.weak.passed:
        wanted = evaluator.config.models["weak"].attempts
        bounds = evaluator.task.rule.weak(record.weak.scores, wanted)
        zero = any(b.name == "lowest" and b.holds is False for b in bounds)
        return "weak_zero" if zero else "too_easy"
    if record.strong is None:
        return "unfinished"
    if record.strong.passed:
        return "accepted"
    return "unsuitable" if record.strong.review else "failed_on_strong"


def _result(
    paper: str, fault: str, broker: Broker, final: Record | None, found: tuple[Finding, ...],
    passed: bool, scored: Record | None, rounds: list[dict[str, Any]], config: InnerConfig,
    stderr: str,
) -> PaperResult:  # fmt: skip
    failed = "audit_failed" if found else "fresh_failed" if final else "not_accepted"
    reason: Any = fault or ("passed" if passed else failed)
    if not fault and broker.result is None:
        reason = "no_result"
    shown = scored or next(reversed(broker.records.values()), None)
    weak, strong = (shown.weak, shown.strong) if shown else (None, None)
    usage = broker.usage
    return PaperResult(
        paper=paper,
        passed=passed,
        accepted=final is not None,
        reason=reason,
        rounds=len(rounds),
        outcomes=dict(sorted(Counter(r["outcome"] for r in rounds).items())),
        weak_avg=weak.weak_avg if weak else None,
        strong_avg=strong.strong_avg if strong else None,
        gap=strong.gap if strong else None,
        other_verdict=other_verdict(weak, strong, config),
        findings=tuple(f.check for f in found),
        question=own_words(final.item.question, broker.evaluator.paper_text)[:QUESTION_CHARS]
        if final
        else "",
        review=dict(strong.review.said) if strong and strong.review else {},
        calls=usage.calls,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        usd=round(usage.usd, 9),
        detail=_detail(broker, fault, stderr)[:300],
    )


def _detail(broker: Broker, fault: str, stderr: str) -> str:
    if fault:
        return (stderr.strip().splitlines() or [""])[-1]
    if any(record.weak for record in broker.records.values()):
        return ""
    refused = [s["message"] for s in broker.steps.list if s.get("code") == "invalid_item"]
    return str(refused[-1]) if refused else ""
