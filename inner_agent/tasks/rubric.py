"""Task ``rubric``: open research questions, answers graded criterion by criterion.

The task of Autodata's computer-science research questions: an item is good when a strong model
earns much of its rubric and a weak one does not (thresholds: ``[criteria]``).
"""

from collections.abc import Sequence

from inner_agent import checks, items, prompts, roles
from inner_agent.criteria import Criteria, by_thresholds, other_preset
from inner_agent.items import Item
from inner_agent.llm import Message
from inner_agent.settings import Audit, InnerConfig
from inner_agent.tasks.task import Asking, Attempt, Probe, Task

NOTHING = "I do not know."
OFF_TOPIC = (
    "A sourdough loaf rises because wild yeast feeds on the sugars of the flour. A long rest in the"
    " cold slows the yeast down and gives the bacteria time to make acid, which is where the taste"
    " comes from. Steam in the first minutes of baking keeps the crust soft, so that the loaf can"
    " still expand; a dry oven would set it too early. A baker who is short of time would therefore"
    " rather shorten the second rest than the first."
)


def make(config: InnerConfig) -> Task:
    """The task under a config's thresholds, judge and audit."""
    one_by_one = config.models["judge"].judge_mode == "yes_no"
    return Task(
        name="rubric",
        rule=by_thresholds(config.criteria),
        refusal=refusal,
        solver=roles.solver_messages,
        grade=grade,
        judged=_one_by_one if one_by_one else _at_once,
        findings=lambda item, paper: checks.findings(item, paper, config.audit),
        probes=lambda item: probes(item, config.audit, config.criteria),
        auditor=prompts.load("auditor"),
        by_rubric=True,
        other=by_thresholds(other_preset(config.criteria)),
    )


def refusal(item: Item) -> str:
    """Without a criterion to earn there is nothing to grade by."""
    if any(c.weight > 0 for c in item.rubric):
        return ""
    return "rubric: needs at least one criterion with a positive weight"


async def grade(asking: Asking, item: Item, answer: str, sample: str) -> Attempt:
    """Have the judge score an answer, which sees the rubric and never the reference answer."""
    verdicts = await roles.judge(
        asking.ask, asking.models["judge"], item, answer, sample, asking.usage
    )
    score = items.score(item.rubric, [v.score for v in verdicts])
    return Attempt(answer, score, tuple(verdicts))


def probes(item: Item, audit: Audit, criteria: Criteria) -> Sequence[Probe]:
    """What should earn little: nothing, another subject, the context handed back."""
    return (
        Probe("says nothing", NOTHING, audit.null_max),
        Probe("is on another subject", OFF_TOPIC, audit.off_topic_max),
        # What is as good as the strong solver's least has nothing left to be worked out.
        Probe("repeats the context", item.context, criteria.strong_avg_min),
    )


def _at_once(item: Item, answer: str) -> list[list[Message]]:
    return [roles.judge_messages(item, answer)]


def _one_by_one(item: Item, answer: str) -> list[list[Message]]:
    return [roles.yes_no_messages(item, c, answer) for c in item.rubric]
