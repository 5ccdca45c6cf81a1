"""Task ``learnable``: would training on this question teach anything?

Items and grading are those of task ``rubric``, without thresholds: once both solvers have answered,
the judge reads every attempt with its score and gives a structured verdict (the legal variant of
arXiv 2606.25996).  An item is accepted when its suitability is one of ``task.accept``.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from inner_agent import prompts, roles
from inner_agent.criteria import all_attempts, by_thresholds
from inner_agent.items import Item
from inner_agent.llm import Message, Reply
from inner_agent.prompts import block
from inner_agent.settings import InnerConfig
from inner_agent.tasks import rubric
from inner_agent.tasks.task import Asking, Attempt, Review, Task

HERE = Path(__file__).parent
Said = Annotated[str, Field(min_length=1, max_length=2_000)]


class Verdict(BaseModel):
    """What the judge says of all attempts together; reasons stand before the suitability."""

    model_config = ConfigDict(strict=True)
    weak_pattern: Said
    strong_pattern: Said
    gap_reading: Said
    rubric_concerns: Said
    suitability: Literal["high", "medium", "low"]
    suggestion: Said


def make(config: InnerConfig) -> Task:
    """The task under a config; ``task.accept`` are the suitabilities that are taken."""
    accept = config.task.accept

    async def review(
        asking: Asking, item: Item, weak: Sequence[Attempt], strong: Sequence[Attempt], sample: str
    ) -> Review:
        verdict = await roles.read_verdict(
            asking.ask, "judge", review_messages(item, weak, strong), _parse, sample, asking.usage
        )
        return Review(verdict.suitability in accept, verdict.model_dump())

    return replace(
        rubric.make(config),
        name="learnable",
        rule=all_attempts(),
        review=review,
        other=by_thresholds(config.criteria),
        sources={"learnable": prompts.load("review", HERE).sha256},
    )


def review_messages(
    item: Item, weak: Sequence[Attempt], strong: Sequence[Attempt]
) -> list[Message]:
    """What the judge sees: the item without its reference answer, then every attempt."""
    parts = [
        block("context", item.context), block("question", item.question),
        block("rubric", roles.rubric_lines(item)),
        *_shown("weak", weak), *_shown("strong", strong),
    ]  # fmt: skip
    return [
        {"role": "system", "content": prompts.load("review", HERE).render()},
        {"role": "user", "content": "\n\n".join(parts)},
    ]


def _shown(tier: str, attempts: Sequence[Attempt]) -> list[str]:
    """Each attempt with its score and what of each criterion it met."""
    shown = []
    for n, one in enumerate(attempts, 1):
        met = ", ".join(f"{k}: {v.score:g}" for k, v in enumerate(one.verdicts, 1))
        head = f"{tier} solver, attempt {n}: {one.score:.0%} of the rubric (by criterion {met})"
        shown.append(f"{head}\n{block('attempt', one.answer)}")
    return shown


def _parse(reply: Reply) -> Verdict:
    return roles.read_sheet(reply, Verdict)
