"""The raw messages of one rollout, step by step: what was said to whom, and what came back.

A trajectory keeps no prompt of a solver or a judge, only the item and the answers.  Those prompts
are fixed files, so they are put together again, as long as the files are the run's own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.web import loose
from analysis.web.spans import Step, said
from analysis.web.storyboard import Board
from inner_agent.items import Item, ItemRefused, parse_item
from inner_agent.settings import InnerConfig
from inner_agent.tasks.choice import task_of
from inner_agent.trajectory import PAPER_MARK

MOST_STEPS = 100  # in one section
AGENTS = {
    "main_agent": "Main agent",
    "challenger": "Challenger",
    "quality_verifier": "Quality verifier",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One message, or one part of a record.  ``kind``: said, reply, call, prompt or record."""

    kind: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """A step: ``repeats`` messages were as in step ``repeats_from``, and aren't among ``parts``."""

    step: int
    kind: str
    title: str
    parts: tuple[Part, ...]
    repeats: int = 0
    repeats_from: int | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """The steps of one round, or those after the last.  ``name`` is what an address calls it."""

    name: str
    title: str
    start: int
    stop: int


def sections(board: Board) -> list[Section]:
    """The raw page's parts, in order; one of many steps comes in several."""
    rounds = [
        Section(str(n), f"Round {r.number}", r.span.start, r.span.stop)
        for n, r in enumerate(board.rounds, start=1)
    ]
    end = Section("end", "After the rounds" if rounds else "All steps",
                  board.after.start, board.after.stop)  # fmt: skip
    return [page for s in (*rounds, end) for page in _pages(s)]


def _pages(section: Section) -> Iterator[Section]:
    """At most ``MOST_STEPS`` steps each; the first one keeps the name."""
    for n, start in enumerate(range(section.start, section.stop, MOST_STEPS)):
        stop = min(section.stop, start + MOST_STEPS)
        name, title = (f"{section.name}-{n + 1}", f", {n + 1}") if n else (section.name, "")
        yield Section(name, section.title + title, start, stop)


def exchanges(
    trajectory: Any, config: InnerConfig | None, start: int, stop: int, *, whole: bool = False
) -> list[Exchange]:
    """Steps ``start`` to ``stop`` (exclusive).  ``whole``: with the messages that repeat.

    ``config`` is ``None`` where solvers' and judge's prompts aren't the run's.
    """
    steps = loose.tables(loose.table(trajectory).get("steps"))
    chats = said(steps)
    found, before = [], dict[str, int]()
    for n, step in enumerate(steps[:stop]):
        agent = loose.text(step.get("agent"))
        if n >= start:
            make = _MAKERS.get(loose.text(step.get("kind")), _other)
            if n in chats:
                found.append(_chat(n, step, chats[n], before.get(agent), whole))
            else:
                found.append(make(n, step, config))
        if n in chats:
            before[agent] = n
    return found


def _chat(
    n: int, step: Step, messages: Sequence[Mapping[str, Any]], before: int | None, whole: bool
) -> Exchange:
    agent = loose.text(step.get("agent"))
    new = len(loose.tables(step.get("messages")))
    repeats = 0 if whole else len(messages) - new
    parts = [part for m in messages[repeats:] for part in _message(m)]
    reply = loose.table(step.get("reply"))
    ended = loose.text(reply.get("finish_reason"))
    cut = f" ({ended})" if ended not in ("", "stop", "tool_calls") else ""
    parts += _answer("reply", f"reply{cut}", reply)
    return Exchange(n, "chat", AGENTS.get(agent, agent), tuple(parts), repeats, before)


def _message(message: Mapping[str, Any]) -> list[Part]:
    role = loose.text(message.get("role")) or "message without a role"
    if message.get("tool_call_id"):
        role = f"{role} {loose.text(message.get('tool_call_id'))}"
    return _answer("said", role, message)


def _answer(kind: str, title: str, said_: Mapping[str, Any]) -> list[Part]:
    """The text, if there is one, and the tool calls that came with it."""
    content, calls = loose.text(said_.get("content")), loose.tables(said_.get("tool_calls"))
    parts = [Part(kind, title, content)] if content or not calls else []
    for call in calls:
        function = loose.table(call.get("function")) or call  # as requests and as replies have it
        name = f"{title}: calls {loose.text(function.get('name'))}"
        parts.append(Part(kind, name, loose.text(function.get("arguments"))))
    return parts


def _evaluation(n: int, step: Step, config: InnerConfig | None) -> Exchange:
    tier = loose.text(step.get("phase")).removesuffix("_only") or "unknown"
    again = "Fresh evaluation" if step.get("kind") == "fresh" else "Evaluation"
    status = loose.text(step.get("status"))
    item = _item(step)
    parts = [Part("record", "item", loose.text(step.get("item")))]
    if config and item and tier in ("weak", "strong"):
        parts.append(Part("prompt", f"prompt of the {tier} solver", _solver(config, tier, item)))
    for k, attempt in enumerate(loose.tables(step.get("attempts")), start=1):
        answer, verdicts = loose.text(attempt.get("answer")), loose.tables(attempt.get("criteria"))
        score = loose.number(attempt.get("score"))
        told = "no score" if score is None else f"{score:.1%}"
        parts.append(Part("reply", f"{tier} solver, attempt {k}: {told}", answer))
        if config and item and (asked := _judge(config, item, answer)):
            parts.append(Part("prompt", f"prompt of the judge on attempt {k}", asked))
        lines = [
            f"{c}. {loose.text(v.get('score'))}: {loose.text(v.get('reason'))}"
            for c, v in enumerate(verdicts, start=1)
        ]
        parts.append(Part("reply", f"judge on attempt {k}", "\n".join(lines)))
    parts.append(Part("record", "report, as the harness got it", loose.text(step.get("report"))))
    title = f"{again}: {tier} solver and judge, {status}"
    return Exchange(n, loose.text(step.get("kind")), title, tuple(parts))


def _item(step: Step) -> Item | None:
    try:
        return parse_item(step.get("item"))
    except (ItemRefused, RecursionError):
        return None


def _solver(config: InnerConfig, tier: str, item: Item) -> str:
    model = config.models["weak" if tier == "weak" else "strong"]
    told = _as_text(task_of(config).solver(item, PAPER_MARK if model.paper else None))
    if model.samples > 1:
        told += f"\n\n({model.samples} drafts were merged into one answer; drafts aren't kept)"
    return told


def _judge(config: InnerConfig, item: Item, answer: str) -> str:
    """What the judge was sent of an answer; ``""`` where code checked it."""
    return "\n\n".join(map(_as_text, task_of(config).judged(item, answer)))


def _as_text(messages: Sequence[Mapping[str, Any]]) -> str:
    return "\n\n".join(f"{m['role']}:\n{m['content']}" for m in messages)


def _submitted(n: int, step: Step, config: InnerConfig | None) -> Exchange:
    taken = "accepted" if step.get("accepted") is True else "not accepted yet"
    return Exchange(n, "submit", f"Result handed in: {taken}", ())


def _refused(n: int, step: Step, config: InnerConfig | None) -> Exchange:
    method, code = loose.text(step.get("method")), loose.text(step.get("code"))
    part = Part("record", "answer", loose.text(step.get("message")))
    return Exchange(n, "refused", f"Refused: {method} ({code})", (part,))


def _audited(n: int, step: Step, config: InnerConfig | None) -> Exchange:
    stood = "it stands" if step.get("passed") is True else "it does not stand"
    parts = (
        Part("record", "findings", loose.text(step.get("findings"))),
        Part("record", "scores of answers that show no work", loose.text(step.get("probes"))),
    )
    return Exchange(n, "audit", f"Audit of the accepted item: {stood}", parts)


def _other(n: int, step: Step, config: InnerConfig | None) -> Exchange:
    kind = loose.text(step.get("kind"))
    part = Part("record", "as it is recorded", loose.text(dict(step)))
    return Exchange(n, "other", f"A step of an unknown kind: {kind}", (part,))


_MAKERS: dict[str, Callable[[int, Step, InnerConfig | None], Exchange]] = {
    "evaluate": _evaluation,
    "fresh": _evaluation,
    "submit": _submitted,
    "refused": _refused,
    "audit": _audited,
}
