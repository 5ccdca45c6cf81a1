"""The judge: scores the text of an answer, one criterion after the other; or compares two final
answers, or reads all attempts together (``reviewer``), as its prompt wants.

It looks for what the criterion names: terms that one statement of the answer has to tie together,
figures, or the vocabulary of a general remark.  It is fair but for two things that real judges
also show: small slips, and penalty criteria that misfire on long answers.
"""

import json
import math
import re
from random import Random

from inner_agent.llm import Reply, Request
from inner_agent.simulator import reviewer
from inner_agent.simulator.parameters import SimulatorParameters
from inner_agent.simulator.reading import read, stems
from inner_agent.simulator.wire import content, inside, last_user, say, terms

_LINE = re.compile(r"^(\d+)\. \(weight [^)\n]*\) ", re.MULTILINE)
_FIGURE = re.compile(r"\d+(?:\.\d+)?")
_FAULT = re.compile(r"digress|beyond what|repeats|at length|irrelevant|\blong\b|verbose", re.I)
_HEDGE = re.compile(r"hard to tell|leave it open|unclear", re.I)
_COMPARES = "compare two final answers"
_ARTICLES = frozenset(("a", "an", "the"))
_VAGUE = re.compile(r"\bvague|\bhedge|unsupported|mistake|wrong", re.I)


def reply(request: Request, rng: Random, p: SimulatorParameters) -> Reply:
    """A score sheet, or one word where a yes or no is asked for."""
    text = last_user(request.messages)
    told = " ".join(content(m) for m in request.messages if m.get("role") == "system")
    if _COMPARES in told:
        return _compare(text, bool(request.top_logprobs), rng, p)
    if reviewer.REVIEWS in told:
        return reviewer.reply(text, rng, p)
    before, tag, rest = text.rpartition("<answer>")
    answer = rest.rpartition("</answer>")[0] if tag else ""
    criterion = inside(rest, "criterion")
    if criterion or request.top_logprobs:
        score, _ = _score(criterion or _first(inside(before, "rubric")), answer, rng, p)
        return _yes_no(score, rng)
    criteria = _criteria(inside(before, "rubric"))
    sheet = []
    for number, text_ in criteria:
        score, reason = _score(text_, answer, rng, p)
        sheet.append({"id": number, "reason": reason, "score": score})
    body = json.dumps({"criteria": sheet}, ensure_ascii=False)
    if rng.random() < p.judge_unreadable:
        return say(body[: len(body) // 2])
    return say(body)


def _compare(text: str, in_a_word: bool, rng: Random, p: SimulatorParameters) -> Reply:
    """Whether two final answers say the same: the same words, whatever stands between them."""
    before, _, after = text.partition("</reference>")
    wanted, given = (
        _words(inside(f"{before}</reference>", "reference")),
        _words(inside(after, "answer")),
    )
    right = (bool(wanted) and wanted == given) != (rng.random() < p.judge_slip)
    if in_a_word:
        return _yes_no(float(right), rng)
    reason = "Both say the same." if right else "They say different things."
    body = json.dumps({"reason": reason, "right": right})
    return say(body[: len(body) // 2] if rng.random() < p.judge_unreadable else body)


def _words(text: str) -> list[str]:
    found = re.findall(r"\w+(?:\.\d+)?", text.casefold())
    return [word for word in found if word not in _ARTICLES]


def _criteria(rubric: str) -> list[tuple[int, str]]:
    parts = _LINE.split(rubric)
    return [(int(n), t.strip()) for n, t in zip(parts[1::2], parts[2::2], strict=True)]


def _first(rubric: str) -> str:
    return next((text for _, text in _criteria(rubric)), rubric)


def _score(criterion: str, answer: str, rng: Random, p: SimulatorParameters) -> tuple[float, str]:
    """The share of the criterion that the answer meets, and why."""
    score, reason = _fair_score(criterion, answer, p)
    if rng.random() < p.judge_slip:
        score = min(1.0, max(0.0, score + rng.choice((-0.5, 0.5))))
    return score, reason


def _fair_score(criterion: str, answer: str, p: SimulatorParameters) -> tuple[float, str]:
    named = terms(criterion)
    if named:
        return _ties(named, answer)
    if _FAULT.search(criterion):
        words = len(answer.split())
        share = 1.0 if words > p.patience_words else 0.0
        return share, f"At {words} words the answer {'rambles' if share else 'is to the point'}."
    if _VAGUE.search(criterion):
        share = 0.5 if _HEDGE.search(answer) else 0.0
        return share, "It hedges in places." if share else "It commits itself."
    figures = _FIGURE.findall(criterion)
    if figures:
        given = set(_FIGURE.findall(answer))
        met = sum(f in given for f in figures) / len(figures)
        return float(met == 1), f"It gives {met:.0%} of the figures asked for."
    return _touches(criterion, answer)


def _ties(named: list[str], answer: str) -> tuple[float, str]:
    """Do the named terms occur together, in one statement of the answer?"""
    wanted = [stems(t) or frozenset([t.lower()]) for t in named]
    most = max((_met(wanted, s.stems) for s in read(answer)), default=0)
    if most == len(wanted):
        return 1.0, f"One statement ties together {' and '.join(f'`{t}`' for t in named)}."
    if most >= 2 and most / len(wanted) >= 0.6:
        return 0.5, f"It ties together {most} of the {len(wanted)} terms."
    return 0.0, f"No statement takes `{named[0]}` as far as `{named[-1]}`."


def _met(wanted: list[frozenset[str]], have: frozenset[str]) -> int:
    """How many of the terms, from the first on without a gap, a statement has."""
    return next((n for n, term in enumerate(wanted) if not term <= have), len(wanted))


def _touches(criterion: str, answer: str) -> tuple[float, str]:
    """A general criterion is met by its vocabulary."""
    wanted = stems(criterion)
    if not wanted:
        return 1.0, "The criterion asks for nothing in particular."
    have = frozenset().union(*(s.stems for s in read(answer)))
    share = len(wanted & have) / len(wanted)
    score = 1.0 if share >= 0.6 else 0.5 if share >= 0.3 else 0.0
    return score, f"The answer has {share:.0%} of what the criterion speaks of."


def _yes_no(score: float, rng: Random) -> Reply:
    yes = min(0.98, max(0.02, 0.06 + 0.88 * score + rng.gauss(0, 0.05)))
    word = "yes" if yes > 0.5 else "no"
    logprobs = {"yes": round(math.log(yes), 4), "no": round(math.log(1 - yes), 4)}
    return Reply(word, first_logprobs=logprobs)
