"""The solvers: they chain through the sentences they are given, as far as their span reaches.

A solver finds the shortest way between the terms that the question names and follows it hop by
hop; at each hop it may lose the thread.  What the context states outright it simply repeats.
Around that it writes fluent remarks that fit any question.
"""

import math
import re
from collections.abc import Sequence
from random import Random

from inner_agent.llm import Reply, Request
from inner_agent.simulator import phrases
from inner_agent.simulator.parameters import SimulatorParameters
from inner_agent.simulator.reading import Sentence, read, read_paper, shared, stems, trace
from inner_agent.simulator.wire import inside, last_user, say, terms

_FIGURES = re.compile(r"\d")


def weak(request: Request, rng: Random, p: SimulatorParameters) -> Reply:
    """The weak solver's answer."""
    return _solve(request, rng, p.weak_span, p.weak_remarks, p)


def strong(request: Request, rng: Random, p: SimulatorParameters) -> Reply:
    """The strong solver's answer."""
    return _solve(request, rng, p.strong_span, p.strong_remarks, p)


def _solve(
    request: Request, rng: Random, span: float, remarks: int, p: SimulatorParameters
) -> Reply:
    text = last_user(request.messages)
    if "<attempt>" in text:
        return say(_best_attempt(text))
    context, question = inside(text, "context"), inside(text, "question")
    paper = inside(text.partition("<context>")[0], "paper")
    if not terms(question):
        remarks = len(phrases.REMARKS) - 1  # nothing else to say
    said = rng.sample(phrases.REMARKS, min(remarks, len(phrases.REMARKS)))
    worked = _work(context, question, paper, span, rng, p)
    cut = rng.randint(1, len(said)) if said else 0
    return say("\n\n".join(filter(None, [" ".join(said[:cut]), worked, " ".join(said[cut:])])))


def _best_attempt(text: str) -> str:
    """Merging attempts keeps the one that ties most terms together."""
    attempts = text.split("<attempt>")[1:]
    return max(
        (a.partition("</attempt>")[0].strip() for a in attempts), key=lambda a: len(terms(a))
    )


def _work(
    context: str, question: str, paper: str, span: float, rng: Random, p: SimulatorParameters
) -> str:
    """Everything that is specific to the question: empty for one that names no terms."""
    asked = terms(question)
    if not asked:
        return ""
    head, _, body = context.partition("\n\n")
    sentences, understood = (read(body), stems(head)) if body else (read(context), frozenset())
    start, end = stems(asked[0]), stems(asked[-1])
    stated = [s for s in sentences if start <= s.stems and end <= s.stems and start != end]
    if stated:
        return " ".join(f"It is given: {s.text}" for s in stated[:3])
    way = [sentences[i] for i in trace(sentences, start, end, understood)]
    if not way and paper:
        way, understood = _in_paper(paper, start, end)
    if not way:
        return f"The question turns on `{asked[0]}` and `{asked[-1]}`; the facts leave it open."
    asides = [s.text for s in sentences if s not in way and rng.random() < p.asides]
    return " ".join([_follow(way, asked, understood, span, rng, p), *asides[:3]])


def _in_paper(
    paper: str, start: frozenset[str], end: frozenset[str]
) -> tuple[list[Sentence], frozenset[str]]:
    """Privileged information: the way through the paper's own sentences."""
    known = read_paper(paper)
    if start == end:
        hits = [s for s in known.prose if start <= s.stems and _FIGURES.search(s.text)]
        return hits[:1], known.common
    return [known.prose[i] for i in trace(known.prose, start, end, known.common)], known.common


def _follow(
    way: Sequence[Sentence],
    asked: Sequence[str],
    understood: frozenset[str],
    span: float,
    rng: Random,
    p: SimulatorParameters,
) -> str:
    """Hop along ``way`` until the thread is lost; every hop is a statement of its own."""
    lines, passed = [f"The matter starts from `{asked[0]}`."], [asked[0]]
    for hop, one in enumerate(way, 1):
        if rng.random() > 1 / (1 + math.exp((hop - span) / p.span_slope)):
            lines.append(f"How this reaches `{asked[-1]}` is hard to tell.")
            break
        passed += [t for t in terms(one.text) if t not in passed and t != asked[-1]]
        last = hop == len(way)
        link = asked[-1] if last else " ".join(shared(one, way[hop], understood)[:4])
        lines.append(f"{one.text.rstrip('.').replace('`', '')}; so {phrases.way([*passed, link])}.")
        passed.append(link)
    return " ".join(lines)
