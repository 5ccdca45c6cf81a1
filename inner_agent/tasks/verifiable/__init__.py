"""Task ``verifiable``: questions with one right answer, checked and not graded.

An item has no rubric.  Its reference answer ends with a line ``Answer: …``, and so do the solvers'
answers; an attempt scores 1 where the two final answers agree and 0 where they don't.  The rule
counts right attempts: by majority (strong right, weak wrong), or by given numbers (Autodata; the
mathematics variant of arXiv 2606.25996 has weak right in at most 1 of 4, strong in at least 3).
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from inner_agent import checks, prompts, roles
from inner_agent.checks import Finding
from inner_agent.criteria import Rule, by_counts, by_majority
from inner_agent.items import Item
from inner_agent.llm import Message, Reply
from inner_agent.prompts import block
from inner_agent.roles import Verdict
from inner_agent.settings import Audit, InnerConfig
from inner_agent.tasks import rubric
from inner_agent.tasks.task import Asking, Attempt, Probe, Task
from inner_agent.tasks.verifiable.answers import Agree, agreements, final_answer
from inner_agent.tasks.verifiable.answers.words import same_text

HERE = Path(__file__).parent
ANSWER_CHARS = 300  # of a final answer: what is longer can't be compared, only read
COMMON = ("0", "1", "2", "yes", "no", "true", "false", "A", "B", "C", "D")


class _Judged(BaseModel):
    model_config = ConfigDict(strict=True)
    reason: str = ""
    right: bool


def make(config: InnerConfig) -> Task:
    """The task under a config; ``task.answer`` says how final answers are compared."""
    one_by_one = config.models["judge"].judge_mode == "yes_no"
    messages = same_messages if one_by_one else verifier_messages
    by_model = config.task.answer == "verifier"
    agree = agreements(config.task.tolerance).get(config.task.answer)
    return Task(
        name="verifiable",
        rule=_rule(config),
        refusal=refusal,
        solver=partial(roles.solver_messages, folder=HERE),
        grade=partial(check, agree) if agree else verify,
        judged=(lambda item, answer: [messages(item, answer)]) if by_model else _nobody,
        findings=lambda item, paper: list(findings(item, paper, config.audit, agree)),
        probes=lambda item: [
            Probe("says nothing", rubric.NOTHING, 1.0),
            Probe("is on another subject", rubric.OFF_TOPIC, 1.0),
        ],
        auditor=prompts.load("auditor", HERE),
        sources={f"verifiable/{p.stem}": prompts.load(p.stem, HERE).sha256
                 for p in sorted(HERE.glob("*.md"))},
    )  # fmt: skip


def _rule(config: InnerConfig) -> Rule:
    attempts, task = config.models["weak"].attempts, config.task
    if task.rule == "majority":
        return by_majority(attempts)
    return by_counts(task.weak_right_max, task.strong_right_min, attempts)


def refusal(item: Item) -> str:
    """A rubric would be graded by nobody, and without a final answer nothing can be compared."""
    if item.rubric:
        return "rubric: must be [] in a verifiable item; its reference answer is what counts"
    answer = final_answer(item.reference_answer)
    if not answer or len(answer) > ANSWER_CHARS:
        return (
            "reference_answer: must end with a line 'Answer: ' and the final answer, of at most"
            f" {ANSWER_CHARS} characters"
        )
    return ""


async def check(agree: Agree, asking: Asking, item: Item, answer: str, sample: str) -> Attempt:
    """Compare final answers by code: no model is asked."""
    wanted, given = final_answer(item.reference_answer), final_answer(answer)
    right = len(given) <= ANSWER_CHARS and agree(given, wanted)
    reason = f"{given[:ANSWER_CHARS]!r} {'is' if right else 'is not'} {wanted!r}"
    return Attempt(answer, float(right), (Verdict(reason, float(right)),))


async def verify(asking: Asking, item: Item, answer: str, sample: str) -> Attempt:
    """Have the judge compare final answers: for those that code can't."""
    if asking.models["judge"].judge_mode == "yes_no":
        verdict = await roles.yes_or_no(
            asking.ask, same_messages(item, answer), sample, asking.usage
        )
    else:
        said = await roles.read_verdict(
            asking.ask, "judge", verifier_messages(item, answer), _parse, f"{sample}/t",
            asking.usage,
        )  # fmt: skip
        verdict = Verdict(said.reason, float(said.right))
    return Attempt(answer, verdict.score, (verdict,))


def verifier_messages(item: Item, answer: str) -> list[Message]:
    """What a judge sees that compares: of both sides the final answer alone."""
    return [
        {"role": "system", "content": prompts.load("verifier", HERE).render()},
        {"role": "user", "content": _sides(item, answer)},
    ]


def same_messages(item: Item, answer: str) -> list[Message]:
    """As ``verifier_messages``, for a judge that says yes or no."""
    ask = "Do the two final answers say the same? Reply with one word, yes or no."
    return [
        {"role": "system", "content": prompts.load("verifier_yes_no", HERE).render()},
        {"role": "user", "content": f"{_sides(item, answer)}\n\n{ask}"},
    ]


def _sides(item: Item, answer: str) -> str:
    return "\n\n".join(
        [
            block("question", item.question),
            block("reference", final_answer(item.reference_answer)),
            block("answer", final_answer(answer)[:ANSWER_CHARS]),
        ]
    )


def _parse(reply: Reply) -> _Judged:
    return roles.read_sheet(reply, _Judged)


def _nobody(item: Item, answer: str) -> list[list[Message]]:
    return []


def findings(item: Item, paper: str, audit: Audit, agree: Agree | None) -> Iterator[Finding]:
    """Checks of the text: orders and hidden text, a context that holds the working, an answer that
    a guess would hit."""
    yield from checks.text_findings(item, paper)
    yield from checks.answer_leaks(item, audit)
    answer = final_answer(item.reference_answer)
    same = agree or same_text
    if hit := next((guess for guess in COMMON if same(guess, answer)), None):
        yield Finding("guessable", f"the answer is {hit!r}, which a guess hits often enough")
