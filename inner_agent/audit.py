"""The fixed auditor of accepted items, out of the harness's reach.

A harness holds the prompts of the challenger and of the quality verifier, so a pass rate can rise
by loosening what it holds.  An item that the solvers' scores accept is therefore audited: the
checks of its text (``checks.py``); three answers that show no work, graded by the same judge; and
a model that reads paper and item against six questions.  The first of them that finds something
settles it, the cheap ones first.  What it finds counts in ``pass`` and is kept.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from inner_agent import checks, items, prompts, roles
from inner_agent.calls import Usage
from inner_agent.checks import Finding
from inner_agent.errors import ReplyRefused
from inner_agent.items import Item
from inner_agent.llm import Message, Reply
from inner_agent.prompts import block
from inner_agent.roles import TRIES, Ask, NoAnswer
from inner_agent.settings import InnerConfig

Question = Literal["leak", "needs_paper", "reasoning", "supported", "gradable", "no_orders"]
QUESTIONS: tuple[Question, ...] = get_args(Question)
NOTHING = "I do not know."
OFF_TOPIC = (
    "A sourdough loaf rises because wild yeast feeds on the sugars of the flour. A long rest in the"
    " cold slows the yeast down and gives the bacteria time to make acid, which is where the taste"
    " comes from. Steam in the first minutes of baking keeps the crust soft, so that the loaf can"
    " still expand; a dry oven would set it too early. A baker who is short of time would therefore"
    " rather shorten the second rest than the first."
)


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
    found = tuple(checks.findings(item, paper, config.audit))
    probes: dict[str, float] = {}
    if not found and config.audit.probes:
        probes, found = await _probe(ask, config, item, f"{sample}/probe", usage)
    if not found and config.audit.llm:
        found = await _read(ask, item, paper, f"{sample}/auditor", usage)
    return Report(found, probes)


async def _probe(
    ask: Ask, config: InnerConfig, item: Item, sample: str, usage: Usage
) -> tuple[dict[str, float], tuple[Finding, ...]]:
    """Grade what should earn little: nothing, another subject, the context handed back."""
    limits = {
        "says nothing": (NOTHING, config.audit.null_max),
        "is on another subject": (OFF_TOPIC, config.audit.off_topic_max),
        # What is as good as the strong solver's least has nothing left to be worked out.
        "repeats the context": (item.context, config.criteria.strong_avg_min),
    }
    scores: dict[str, float] = {}
    for what, (answer, most) in limits.items():
        if not answer.strip():
            continue
        verdicts = await roles.judge(
            ask, config.models["judge"], item, answer, f"{sample}{len(scores)}", usage
        )
        scores[what] = items.score(item.rubric, [v.score for v in verdicts])
        if scores[what] >= most:
            said = f"an answer that {what} earns {scores[what]:.0%} of the rubric"
            return scores, (Finding("probe", said),)
    return scores, ()


async def _read(ask: Ask, item: Item, paper: str, sample: str, usage: Usage) -> tuple[Finding, ...]:
    """The auditor's own reading: a finding for each question whose answer isn't sound."""
    messages, reason = auditor_messages(item, paper), ""
    for n in range(TRIES):
        try:
            reply = await ask(
                "auditor",
                messages,
                sample=f"{sample}{n}",
                usage=usage,
                usable=roles.readable(_parse),
            )
            lines = _parse(reply)
        except (ValueError, ReplyRefused) as e:
            reason = str(e)
            continue
        return tuple(Finding(f"auditor:{x.id}", x.reason[:500]) for x in lines if not x.sound)
    raise NoAnswer("auditor", f"the auditor gave no readable verdict in {TRIES} tries ({reason})")


def auditor_messages(item: Item, paper: str) -> list[Message]:
    """What the auditor sees: the paper first, so that a paper's audits share a prefix."""
    parts = [
        block("paper", paper), block("context", item.context), block("question", item.question),
        block("reference", item.reference_answer), block("rubric", roles.rubric_lines(item)),
    ]  # fmt: skip
    return [
        {"role": "system", "content": prompts.load("auditor").render()},
        {"role": "user", "content": "\n\n".join(parts)},
    ]


def _parse(reply: Reply) -> list[_Line]:
    """Raises ``ValueError`` unless every question is answered exactly once."""
    sheet = roles.read_sheet(reply, _Sheet)
    if sorted(line.id for line in sheet.checks) != sorted(QUESTIONS):
        raise ValueError(f"checks {[c.id for c in sheet.checks]} where all six were asked for")
    return sheet.checks
