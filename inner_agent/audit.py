"""The fixed auditor of accepted items, out of the harness's reach.

A harness holds the prompts of the challenger and of the quality verifier, so a pass rate can rise
by loosening what it holds.  An item that the solvers' scores accept is therefore audited: the
checks of its text (``checks.py``); answers that show no work, graded as any other; and a model
that reads paper and item against six questions.  The first of them that finds something
settles it, the cheap ones first.  What it finds counts in ``pass`` and is kept.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from inner_agent import roles
from inner_agent.calls import Usage
from inner_agent.checks import Finding
from inner_agent.items import Item
from inner_agent.llm import Message, Reply
from inner_agent.prompts import Prompt, block
from inner_agent.roles import Ask, read_verdict
from inner_agent.settings import InnerConfig
from inner_agent.tasks.choice import task_of
from inner_agent.tasks.task import Asking, Task

Question = Literal["leak", "needs_paper", "reasoning", "supported", "gradable", "no_orders"]
QUESTIONS: tuple[Question, ...] = get_args(Question)


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found; ``probes`` are the scores of the answers that show no work."""

    findings: tuple[Finding, ...]
    probes: dict[str, float]

    @property
    def passed(self) -> bool:
        """Did the item stand?"""
        return not self.findings

    def for_record(self) -> dict[str, Any]:
        """As the trajectory keeps it."""
        found = [f.for_record() for f in self.findings]
        return {"passed": self.passed, "findings": found, "probes": self.probes}


class _Line(BaseModel):
    model_config = ConfigDict(strict=True)
    id: Question
    reason: str = ""
    sound: bool


class _Sheet(BaseModel):
    checks: list[_Line]


async def audit(
    ask: Ask, config: InnerConfig, item: Item, paper: str, sample: str, usage: Usage
) -> Report:
    """Examine an accepted item that was made from the text ``paper``.

    Raises ``NoAnswer`` when judge or auditor give nothing readable in ``TRIES`` tries.
    """
    task = task_of(config)
    found = tuple(task.findings(item, paper))
    probes: dict[str, float] = {}
    if not found and config.audit.probes:
        asking = Asking(ask, config.models, usage)
        probes, found = await _probe(task, asking, item, f"{sample}/probe")
    if not found and config.audit.llm:
        found = await _read(task, ask, item, paper, f"{sample}/auditor", usage)
    return Report(found, probes)


async def _probe(
    task: Task, asking: Asking, item: Item, sample: str
) -> tuple[dict[str, float], tuple[Finding, ...]]:
    """Grade what should earn little."""
    scores: dict[str, float] = {}
    for probe in task.probes(item):
        if not probe.answer.strip():
            continue
        graded = await task.grade(asking, item, probe.answer, f"{sample}{len(scores)}")
        scores[probe.what] = graded.score
        if graded.score >= probe.below:
            of = "of the rubric" if task.by_rubric else "of the score"
            said = f"an answer that {probe.what} earns {graded.score:.0%} {of}"
            return scores, (Finding("probe", said),)
    return scores, ()


async def _read(
    task: Task, ask: Ask, item: Item, paper: str, sample: str, usage: Usage
) -> tuple[Finding, ...]:
    """The auditor's own reading: a finding for each question whose answer isn't sound."""
    messages = auditor_messages(item, paper, task.auditor)
    lines = await read_verdict(ask, "auditor", messages, _parse, sample, usage)
    return tuple(Finding(f"auditor:{x.id}", x.reason[:500]) for x in lines if not x.sound)


def auditor_messages(item: Item, paper: str, prompt: Prompt) -> list[Message]:
    """What the auditor sees: the paper first, so that a paper's audits share a prefix."""
    parts = [
        block("paper", paper), block("context", item.context), block("question", item.question),
        block("reference", item.reference_answer),
        *([block("rubric", roles.rubric_lines(item))] if item.rubric else []),
    ]  # fmt: skip
    return [
        {"role": "system", "content": prompt.render()},
        {"role": "user", "content": "\n\n".join(parts)},
    ]


def _parse(reply: Reply) -> list[_Line]:
    """Raises ``ValueError`` unless every question is answered exactly once."""
    sheet = roles.read_sheet(reply, _Sheet)
    if sorted(line.id for line in sheet.checks) != sorted(QUESTIONS):
        raise ValueError(f"checks {[c.id for c in sheet.checks]} where all six were asked for")
    return sheet.checks
