"""The analyzer: reads some trajectories with its tools, then names what their text shows."""

import re
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

from inner_agent.llm import Reply, Request
from inner_agent.simulator import learner
from inner_agent.simulator.modes import MODES, OF_ANSWERS, OF_RUBRICS, blame
from inner_agent.simulator.parameters import SimulatorParameters
from inner_agent.simulator.rounds import rounds_in
from inner_agent.simulator.verifier import faults
from inner_agent.simulator.wire import (
    call,
    content,
    find_object,
    inside,
    last_user,
    say,
    tool_calls,
)

_PAPER_LINE = re.compile(r"^- ([^\s:]+): (\w+)(.*)$", re.MULTILINE)
_FALLEN = re.compile(r"^## Audit of the accepted item: it does not stand\n", re.MULTILINE)
_READ_ON = re.compile(r"read on with offset=(\d+)\]")
_PAPERS_READ = 6
_MODES_NAMED = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """One failed round that was read: paper, number, the mode it shows, its question, and whether
    the item had a rubric."""

    paper: str
    number: int
    mode: str
    question: str
    graded: bool = True


def reply(request: Request, rng: Random, p: SimulatorParameters) -> Reply:
    """Read first pages, read second pages, report; of a batch of items, learnings at once."""
    talk = request.messages
    if batch := inside(asked := last_user(talk), "digest"):
        return learner.reply(batch, inside(asked, "learnings"), rng, p)
    papers = _papers(talk)
    if not papers:
        return call(rng, ("list_trajectories", {}))
    pages = _pages(talk)
    if not pages:
        return _read_first(papers, rng)
    unread = [
        (paper, int(more[-1]))
        for paper, texts in pages.items()
        if len(texts) == 1 and (more := _READ_ON.findall(texts[0][-200:]))
    ]
    if unread:
        return call(
            rng, *(("read_trajectory", {"paper": a, "offset": n}) for a, n in unread[:_PAPERS_READ])
        )
    if rng.random() < p.slip:
        return say("I have read enough and will report next.")
    return call(rng, ("report", _report(papers, pages, rng, p)))


def _papers(talk: Any) -> dict[str, str]:
    """Paper ids and how they ended, from the digest or the list of trajectories."""
    for message in talk:
        if message.get("role") in ("user", "tool"):
            text = content(message).partition("# Earlier iterations")[0]
            found = {m[1]: m[2] for m in _PAPER_LINE.finditer(text)}
            if found:
                return found
    return {}


def _pages(talk: Any) -> dict[str, list[str]]:
    """What was read so far, by paper."""
    asked: dict[str, str] = {}
    for message in talk:
        for one in tool_calls(message):
            if one.name == "read_trajectory":
                asked[one.id] = str(find_object(one.arguments).get("paper", ""))
    pages: dict[str, list[str]] = {}
    for message in talk:
        paper = asked.get(str(message.get("tool_call_id")))
        if message.get("role") == "tool" and paper:
            pages.setdefault(paper, []).append(content(message))
    return pages


def _read_first(papers: dict[str, str], rng: Random) -> Reply:
    failed = [paper for paper, reason in papers.items() if reason != "passed"]
    passed = [paper for paper, reason in papers.items() if reason == "passed"]
    chosen = rng.sample(failed, min(_PAPERS_READ - 1, len(failed)))
    chosen += rng.sample(passed, min(_PAPERS_READ - len(chosen), 1, len(passed)))
    return call(rng, *(("read_trajectory", {"paper": paper}) for paper in chosen))


def _report(
    papers: dict[str, str], pages: dict[str, list[str]], rng: Random, p: SimulatorParameters
) -> dict[str, Any]:
    """The diagnosis; its shares are counts over the rounds that were read."""
    seen = [one for paper, texts in pages.items() for one in _rounds(paper, "".join(texts))]
    counts = Counter(one.mode for one in seen)
    ranked = [mode for mode, _ in counts.most_common(_MODES_NAMED)]
    if not ranked or rng.random() < p.misdiagnosis:
        known = OF_RUBRICS if all(one.graded for one in seen) else OF_ANSWERS
        ranked = [rng.choice(list(known)), *ranked][:_MODES_NAMED]
    ranked = list(dict.fromkeys(ranked))
    blamed = [one.paper for one in seen if one.mode == ranked[0]]
    failed = {paper for paper, reason in papers.items() if reason != "passed"}
    passed = [paper for paper, reason in papers.items() if reason == "passed"]
    return {
        "failure_modes": [_mode(mode, seen, list(papers), counts) for mode in ranked],
        "root_cause": MODES[ranked[0]].cause,
        "proposed_change": MODES[ranked[0]].change,
        "predicted_fixes": [a for a, _ in Counter(blamed).most_common(4) if a in failed],
        "papers_at_risk": rng.sample(passed, 1) if passed and rng.random() < 0.3 else [],
    }


def _mode(mode: str, seen: list[Seen], papers: list[str], counts: Counter[str]) -> dict[str, Any]:
    mine = [one for one in seen if one.mode == mode]
    evidence = [f'{one.paper}, round {one.number}: "{one.question[:160]}"' for one in mine[:4]]
    return {
        "name": MODES[mode].name,
        "share": round(counts[mode] / max(1, len(seen)), 3),
        "evidence": evidence or ["suspected from the digest; no round that was read shows it"],
        "papers": list(dict.fromkeys(one.paper for one in mine)) or papers[:1],
    }


def _rounds(paper: str, text: str) -> list[Seen]:
    """The failed rounds in a trajectory's text, each with the mode that it shows."""
    rounds, seen = rounds_in(text), []
    for number, outcome, fields in rounds:
        mode, graded = blame(outcome, fields), fields.get("rubric") != []
        if not graded and outcome == "accepted" and _FALLEN.search(text):
            mode = next(iter(faults(fields)), None)
        if mode:
            seen.append(Seen(paper, number, mode, str(fields.get("question", "")), graded))
    ending = re.search(rf"^- {re.escape(paper)}: not_accepted", text, re.MULTILINE)
    if ending and len(rounds) <= 3:
        seen.append(Seen(paper, len(rounds), "gave_up", "(finished with rounds to spare)"))
    return seen
