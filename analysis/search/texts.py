"""What of a run is searched: its texts, each once, with the place that it stands at.

Of a trajectory these are the items, answers, reasons, feedback, audits, faults, and what the
harness's agents said that isn't in any of those.  Left out are the messages that agents were sent
(the harness's prompts, and everything else once more) and the papers' text: they are two thirds of
a trajectory, the same in thousands of them, and every search would end in them.

Nothing but the standard library: the process that makes an index stays small.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.web import loose
from analysis.web.spans import item_of
from metaopt.trace import identity

# Kinds by their number in an index, with the heading that people read.  Append only.
KINDS = {
    "question": "Questions",
    "context": "Contexts",
    "reference": "Reference answers",
    "rubric": "Rubrics",
    "answer": "Solvers' answers",
    "reason": "Judge's reasons",
    "feedback": "Feedback",
    "audit": "Audits",
    "agent": "Agents' own words",
    "fault": "Faults and standard error",
}
RECORDED = {  # of the run itself; never in an index on disk
    "summary": "Summaries of edits",
    "diff": "Diffs",
    "diagnosis": "Diagnoses",
    "decision": "Decisions, alarms, stops",
    "paper": "Papers",
}
MOST = 1_023  # rounds of a trajectory, and texts of one kind in a round, that have a place each
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Text:
    """Something to be found.  ``round`` counts from 1, 0 is none; ``field`` says what it is."""

    kind: str
    round: int
    field: str
    text: str


@dataclass(frozen=True, slots=True)
class Told:
    """What is searched of one trajectory; ``outcomes`` are its rounds'."""

    paper: str
    title: str
    reason: str
    outcomes: Sequence[str]
    texts: Sequence[Text]


def printable(text: str) -> str:
    """``text`` as SQLite and the marks in it can bear it: characters replaced, none dropped."""
    return _CONTROLS.sub("\ufffd", text)


def told(trajectory: Any) -> Told:
    """What a trajectory tells, as far as it is one.  Never raises for JSON."""
    whole = loose.table(trajectory)
    rounds = loose.tables(whole.get("rounds"))
    result, paper = loose.table(whole.get("result")), loose.table(whole.get("paper"))
    reader = _Reader(rounds)
    reader.read(loose.tables(whole.get("steps")))
    reader.add("fault", 0, "what ended it", result.get("detail"))
    reader.add("fault", 0, "standard error", whole.get("stderr"))
    return Told(
        printable(loose.text(paper.get("id"))),
        printable(loose.text(paper.get("title"))),
        printable(loose.text(result.get("reason"))),
        [printable(loose.text(r.get("outcome"))) for r in rounds],
        reader.texts,
    )


class _Reader:
    """Collects texts; one that the trajectory has had already is passed over."""

    def __init__(self, rounds: Sequence[Mapping[str, Any]]) -> None:
        self.texts: list[Text] = []
        self._said: set[str] = set()
        self._rounds = [identity(item_of(r)) for r in rounds]
        self._audited = 0  # the round whose item was: the last one accepted
        for number, round_ in enumerate(rounds, start=1):
            self._item(round_, number)
            self.add("feedback", number, "feedback", round_.get("feedback"))
            if round_.get("outcome") == "accepted":
                self._audited = number

    def read(self, steps: Sequence[Mapping[str, Any]]) -> None:
        for step in steps:
            match step.get("kind"):
                case "evaluate" | "fresh":
                    self._evaluation(step)
                case "audit":
                    for found in loose.tables(step.get("findings")):
                        finding = (
                            f"{loose.text(found.get('check'))}: {loose.text(found.get('detail'))}"
                        )
                        self.add("audit", self._audited, "finding", finding)
                case "refused":
                    method, code = loose.text(step.get("method")), loose.text(step.get("code"))
                    refusal = f"{method} ({code}): {loose.text(step.get('message'))}"
                    self.add("fault", 0, "refused", refusal)
        for step in steps:
            if step.get("kind") == "chat":
                said = _unique(list(_said(loose.table(step.get("reply")))))
                new = "\n".join(x for x in said if x not in self._said).strip()
                self.add("agent", 0, loose.text(step.get("agent")).replace("_", " "), new)
                self._said.update(said)

    def add(self, kind: str, number: int, field: str, value: Any) -> None:
        text = loose.text(value)
        if text.strip() and text not in self._said:
            self._said.add(text)
            self.texts.append(Text(kind, min(number, MOST), field, printable(text)))

    def _item(self, item: Mapping[str, Any], number: int) -> None:
        self.add("question", number, "question", item.get("question"))
        self.add("context", number, "context", item.get("context"))
        self.add("reference", number, "reference answer", item.get("reference_answer"))
        rubric = item.get("rubric")
        criteria = [_criterion(c) for c in (rubric if isinstance(rubric, list) else [rubric])]
        self.add("rubric", number, "rubric", "\n".join(criteria))
        self._said.update(criteria)

    def _evaluation(self, step: Mapping[str, Any]) -> None:
        item = loose.table(step.get("item"))
        own = identity(item_of(item))
        number = self._rounds.index(own) + 1 if own in self._rounds else 0
        if not number:
            self._item(item, 0)
        tier = loose.text(step.get("phase")).partition("_")[0]
        who = f"fresh {tier}" if step.get("kind") == "fresh" else tier
        for n, attempt in enumerate(loose.tables(step.get("attempts")), start=1):
            self.add("answer", number, f"{who} answer {n}", attempt.get("answer"))
            verdicts = loose.tables(attempt.get("criteria"))
            # One line each, and none twice: criteria often fail for one reason.
            reasons = _unique([loose.text(v.get("reason")) for v in verdicts])
            self.add("reason", number, f"judge on {who} answer {n}", "\n".join(reasons))


def _criterion(criterion: Any) -> str:
    named = loose.table(criterion).get("criterion")
    return named if isinstance(named, str) else loose.text(criterion)


def _said(reply: Mapping[str, Any]) -> Iterator[str]:
    """What an agent said: prose as it is, JSON value by value."""
    yield from _values_in(loose.text(reply.get("content")))
    for call in loose.tables(reply.get("tool_calls")):
        yield from _values_in(loose.text(call.get("arguments")))


def _values_in(text: str) -> Iterator[str]:
    start, end = text.find("{"), text.rfind("}") + 1
    try:
        value = json.loads(text[start:end], strict=False) if 0 <= start < end else None
    except (ValueError, RecursionError):
        value = None
    if value is None:
        yield text
        return
    yield text[:start].removesuffix("```json\n")
    yield from leaves(value)
    yield text[end:].removesuffix("\n```")


def leaves(value: Any) -> Iterator[str]:
    """The strings in a JSON value, without its keys, in their order."""
    todo = [value]
    while todo:
        match todo.pop():
            case str() as text:
                yield text
            case list() as values:
                todo += reversed(values)
            case dict() as mapping:
                todo += reversed(mapping.values())


def _unique(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(texts))
