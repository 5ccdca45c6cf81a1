"""What one harness did on one paper, as text that an analyzer can read, search and cite.

Everything that a harness or a solver wrote is quoted: each of its lines starts with ``> ``, so
that no paper, question or answer can pass for a heading, a score or an instruction.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

MAX_DETAIL = 200


@dataclass(frozen=True, slots=True)
class Trace:
    """A paper's id and the trajectory that ``inner_agent.run_paper`` recorded for it."""

    paper: str
    trajectory: Mapping[str, Any]


def digest(traces: Sequence[Trace]) -> str:
    """The whole minibatch on one screen: how papers ended, how rounds ended, scores by paper."""
    results = [trace.trajectory["result"] for trace in traces]
    rounds = [round_ for trace in traces for round_ in trace.trajectory["rounds"]]
    passed = sum(bool(result["passed"]) for result in results)
    weak = [fmean(r["weak"]) for r in rounds if r.get("weak")]
    strong = [fmean(r["strong"]) for r in rounds if r.get("strong")]
    return "\n".join(
        [
            f"{passed} of {len(traces)} papers passed ({percent(passed / max(1, len(traces)))}).",
            f"How papers ended: {_counts(result['reason'] for result in results)}.",
            f"How {len(rounds)} rounds ended: {_counts(r['outcome'] for r in rounds)}.",
            f"Mean weak score {_mean(weak)}, mean strong score {_mean(strong)}.",
            "",
            "Papers:",
            *map(paper_line, traces),
        ]
    )


def paper_line(trace: Trace) -> str:
    """One line: id, how the paper ended, and every round's outcome with its mean scores."""
    result, rounds = trace.trajectory["result"], trace.trajectory["rounds"]
    summary = ", ".join(map(_round_summary, rounds)) or "no rounds"
    # What was refused stands with its round; here, what broke.
    told = result.get("detail") if result["reason"] != "not_accepted" else ""
    detail = f" ({told[:MAX_DETAIL]!r})" if told else ""
    return f"- {trace.paper}: {result['reason']}{detail}; {summary}"


def render(trace: Trace) -> str:
    """The full exchanges of a trajectory as text.

    Rounds come first, each with its item and all evaluations of it; then evaluations of anything
    else, refusals, the harness's own chats and the tail of its standard error.
    """
    trajectory = trace.trajectory
    title = trajectory["paper"].get("title", "")
    parts = [f"# {trace.paper} {title!r}", paper_line(trace)]
    evaluations = [s for s in trajectory["steps"] if s["kind"] in ("evaluate", "fresh")]
    for round_ in trajectory["rounds"]:
        parts += _round(round_)
        parts += [text for s in evaluations if _same_item(s, round_) for text in _evaluation(s)]
    for step in evaluations:
        if not any(_same_item(step, round_) for round_ in trajectory["rounds"]):
            parts += ["## Evaluation of an item of no round", quote(_json(step["item"]))]
            parts += _evaluation(step)
    parts += [text for s in trajectory["steps"] if s["kind"] == "audit" for text in _audit(s)]
    refusals = [s for s in trajectory["steps"] if s["kind"] == "refused"]
    # A refused method may be any string that the harness made up.
    parts += [f"## Refused {s['method']!r} ({s['code']})\n{quote(s['message'])}" for s in refusals]
    parts += [text for s in trajectory["steps"] if s["kind"] == "chat" for text in _chat(s)]
    if trajectory.get("stderr"):
        parts += ["## Standard error of the harness (tail)", quote(trajectory["stderr"])]
    return "\n".join(parts)


def quote(text: str) -> str:
    """Mark every line as quoted."""
    return "\n".join(f"> {line}" for line in str(text).splitlines()) or "> (empty)"


def percent(share: float) -> str:
    """A fraction as whole percent."""
    return f"{share:.0%}"


def _counts(names: Iterable[str]) -> str:
    counted = Counter(names)
    total = counted.total()
    shares = (f"{name} {n} ({percent(n / total)})" for name, n in counted.most_common())
    return ", ".join(shares) or "none"


def _mean(scores: Sequence[float]) -> str:
    return f"{percent(fmean(scores))} over {len(scores)} rounds" if scores else "not measured"


def _round_summary(round_: Mapping[str, Any]) -> str:
    measured = [who for who in ("weak", "strong") if round_.get(who)]
    scores = ", ".join(f"{who} {percent(fmean(round_[who]))}" for who in measured)
    return f"r{round_['round']} {round_['outcome']}" + (f" ({scores})" if scores else "")


def _round(round_: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n## Round {_round_summary(round_)[1:]}"
    for name in ("question_type", "question", "context", "reference_answer"):
        yield f"{name}:\n{quote(round_.get(name) or '')}"
    rubric = round_.get("rubric")
    lines = map(_criterion, rubric) if isinstance(rubric, list) else [_json(rubric)]
    yield f"rubric:\n{quote(chr(10).join(lines))}"
    if round_.get("feedback"):
        yield f"feedback:\n{quote(round_['feedback'])}"


def _criterion(criterion: Any) -> str:
    if isinstance(criterion, dict):
        return f"(weight {criterion.get('weight')!r}) {criterion.get('criterion')}"
    return _json(criterion)


def _same_item(step: Mapping[str, Any], round_: Mapping[str, Any]) -> bool:
    return identity(step["item"]) == identity(round_)


def identity(item: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells items apart.  A round has what the harness wrote, an evaluation the parsed item:
    keys that parsing drops must not count."""
    rubric = item["rubric"] if isinstance(item.get("rubric"), list) else []
    criteria = [(c.get("criterion"), c.get("weight")) for c in rubric if isinstance(c, dict)]
    return item.get("question"), item.get("context"), item.get("reference_answer"), criteria


def _audit(step: Mapping[str, Any]) -> Iterator[str]:
    yield f"## Audit of the accepted item: {'it stands' if step['passed'] else 'it does not stand'}"
    for finding in step["findings"]:
        yield quote(f"{finding['check']}: {finding['detail']}")


def _evaluation(step: Mapping[str, Any]) -> Iterator[str]:
    again = "fresh " if step["kind"] == "fresh" else ""
    yield f"### {again}{step['phase']}: {step['status']}\n{quote(step.get('report', ''))}"
    for number, attempt in enumerate(step.get("attempts", ()), start=1):
        score = "no score" if attempt.get("score") is None else percent(attempt["score"])
        yield f"attempt {number}, {score}:\n{quote(attempt.get('answer', ''))}"
        verdicts = enumerate(attempt.get("criteria") or (), start=1)
        lines = [f"{n}. {percent(v['score'])}: {v['reason']}" for n, v in verdicts]
        yield f"judge on attempt {number}:\n{quote(chr(10).join(lines))}"


def _chat(step: Mapping[str, Any]) -> Iterator[str]:
    before = f", after {step['continues']} messages as before" if step.get("continues") else ""
    yield f"\n## Chat of {step['agent']}{before}"
    for message in (*step["messages"], {"role": "reply", **step["reply"]}):
        content = message.get("content") or ""
        text = content if isinstance(content, str) else _json(content)
        yield f"{message['role']}:\n{quote(text)}"
        if message.get("tool_calls"):
            yield f"tool calls:\n{quote(_json(message['tool_calls']))}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
