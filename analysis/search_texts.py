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

from metaopt.trace import same_item

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
    """What a trajectory tells.  Raises ``ValueError`` where it isn't shaped like one."""
    try:
        rounds = list(trajectory["rounds"])
        result, paper = trajectory["result"], trajectory["paper"]
        reader = _Reader(rounds)
        reader.read(trajectory)
        outcomes = [str(r.get("outcome")) for r in rounds]
        return Told(
            str(paper["id"]), str(paper.get("title") or ""), str(result["reason"]), outcomes,
            reader.texts,
        )  # fmt: skip
    except (AttributeError, KeyError, TypeError, RecursionError) as e:
        raise ValueError(f"not a trajectory ({type(e).__name__}: {e})") from None


class _Reader:
    """Collects texts; one that the trajectory has had already is passed over."""

    def __init__(self, rounds: Sequence[Mapping[str, Any]]) -> None:
        self.texts: list[Text] = []
        self._rounds = rounds
        self._said: set[str] = set()

    def read(self, trajectory: Mapping[str, Any]) -> None:
        steps = trajectory["steps"]
        for number, round_ in enumerate(self._rounds, start=1):
            self._item(round_, number)
            self._add("feedback", number, "feedback", round_.get("feedback"))
        for step in steps:
            if step["kind"] in ("evaluate", "fresh"):
                self._evaluation(step)
            elif step["kind"] == "audit":
                for found in step["findings"]:
                    finding = f"{found.get('check')}: {found.get('detail')}"
                    self._add("audit", self._accepted(), "finding", finding)
            elif step["kind"] == "refused":
                refusal = f"{step['method']} ({step['code']}): {step['message']}"
                self._add("fault", 0, "refused", refusal)
        self._add("fault", 0, "what ended it", trajectory["result"].get("detail"))
        self._add("fault", 0, "standard error", trajectory.get("stderr"))
        for step in steps:
            if step["kind"] == "chat":
                said = [x for x in _unique(list(_said(step["reply"]))) if x not in self._said]
                self._add("agent", 0, str(step["agent"]).replace("_", " "), "\n".join(said).strip())
                self._said.update(said)

    def _add(self, kind: str, number: int, field: str, value: Any) -> None:
        text = value if isinstance(value, str) else "" if value is None else _json(value)
        if text.strip() and text not in self._said:
            self._said.add(text)
            self.texts.append(Text(kind, min(number, MOST), field, printable(text)))

    def _item(self, item: Mapping[str, Any], number: int) -> None:
        self._add("question", number, "question", item.get("question"))
        self._add("context", number, "context", item.get("context"))
        self._add("reference", number, "reference answer", item.get("reference_answer"))
        rubric = item.get("rubric")
        criteria = [_criterion(c) for c in rubric] if isinstance(rubric, list) else [_json(rubric)]
        self._said.update(criteria)
        self._add("rubric", number, "rubric", "\n".join(criteria))

    def _evaluation(self, step: Mapping[str, Any]) -> None:
        same = (n for n, r in enumerate(self._rounds, start=1) if same_item(step, r))
        number = next(same, 0)
        if not number:
            self._item(step["item"], 0)
        tier = str(step.get("phase")).partition("_")[0]
        who = f"fresh {tier}" if step["kind"] == "fresh" else tier
        for n, attempt in enumerate(step.get("attempts") or (), start=1):
            self._add("answer", number, f"{who} answer {n}", attempt.get("answer"))
            reasons = [str(v.get("reason")) for v in attempt.get("criteria") or ()]
            # One line each, and none twice: criteria often fail for one reason.
            self._add("reason", number, f"judge on {who} answer {n}", "\n".join(_unique(reasons)))

    def _accepted(self) -> int:
        """The round whose item was audited: the last one accepted."""
        found = [n for n, r in enumerate(self._rounds, start=1) if r.get("outcome") == "accepted"]
        return found[-1] if found else 0


def _criterion(criterion: Any) -> str:
    return str(criterion["criterion"]) if _has_text(criterion) else _json(criterion)


def _has_text(criterion: Any) -> bool:
    return isinstance(criterion, dict) and isinstance(criterion.get("criterion"), str)


def _said(reply: Mapping[str, Any]) -> Iterator[str]:
    """What an agent said: prose as it is, JSON value by value."""
    yield from _values_in(str(reply.get("content") or ""))
    for call in reply.get("tool_calls") or ():
        yield from _values_in(str(call.get("arguments") or ""))


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


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
