"""The solvers: they chain through the sentences they are given, as far as their span reaches.

A solver finds the shortest way between the terms that the question names and follows it hop by
hop; at each hop it may lose the thread.  What the context states outright it simply repeats.
Around that it writes fluent remarks that fit any question.  Where its prompt wants a last line
``Answer: …``, it reads that off the way; once the thread is lost, it guesses.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from inner_agent.llm import Reply, Request
from inner_agent.simulator import phrases
from inner_agent.simulator.chains import phrase
from inner_agent.simulator.parameters import SimulatorParameters
from inner_agent.simulator.reading import Sentence, read, read_paper, shared, stems, trace
from inner_agent.simulator.wire import content, inside, last_user, say, terms

_FIGURES = re.compile(r"\d")
_FIGURE = re.compile(r"\d+(?:\.\d+)?")
_GLOOMY = re.compile(r"\b(?:without|free of)\b", re.IGNORECASE)
_FINAL = "\nAnswer: <"  # as the prompt of a question with one right answer shows it


@dataclass(frozen=True, slots=True)
class Known:
    """What a solver finds: sentences that state the matter outright, or else the way there."""

    asked: Sequence[str]
    sentences: Sequence[Sentence]
    stated: Sequence[Sentence] = ()
    way: Sequence[Sentence] = ()
    understood: frozenset[str] = frozenset()


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
    if any(_FINAL in content(m) for m in request.messages if m.get("role") == "system"):
        return say(_checked(_know(context, question, paper), question, span, rng, p))
    if not terms(question):
        remarks = len(phrases.REMARKS) - 1  # nothing else to say
    said = rng.sample(phrases.REMARKS, min(remarks, len(phrases.REMARKS)))
    worked = _work(_know(context, question, paper), span, rng, p)
    cut = rng.randint(1, len(said)) if said else 0
    return say("\n\n".join(filter(None, [" ".join(said[:cut]), worked, " ".join(said[cut:])])))


def _best_attempt(text: str) -> str:
    """Merging attempts keeps the one that ties most terms together."""
    attempts = text.split("<attempt>")[1:]
    return max(
        (a.partition("</attempt>")[0].strip() for a in attempts), key=lambda a: len(terms(a))
    )


def _know(context: str, question: str, paper: str) -> Known:
    """What context and paper hold of what the question asks for; nothing for one without terms."""
    asked = terms(question)
    head, _, body = context.partition("\n\n")
    sentences, understood = (read(body), stems(head)) if body else (read(context), frozenset())
    if not asked:
        return Known(asked, sentences)
    start, end = stems(asked[0]), stems(asked[-1])
    stated = [s for s in sentences if start <= s.stems and end <= s.stems and start != end]
    if stated:
        return Known(asked, sentences, stated)
    way = [sentences[i] for i in trace(sentences, start, end, understood)]
    if not way and paper:
        way, understood = _in_paper(paper, start, end)
    return Known(asked, sentences, (), way, understood)


def _work(known: Known, span: float, rng: Random, p: SimulatorParameters) -> str:
    """Everything that is specific to the question: empty for one that names no terms."""
    asked = known.asked
    if not asked:
        return ""
    if known.stated:
        return " ".join(f"It is given: {s.text}" for s in known.stated[:3])
    if not known.way:
        return f"The question turns on `{asked[0]}` and `{asked[-1]}`; the facts leave it open."
    asides = [s.text for s in known.sentences if s not in known.way and rng.random() < p.asides]
    return " ".join([_follow(known.way, asked, known.understood, span, rng, p), *asides[:3]])


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
        if _lost(hop, span, rng, p):
            lines.append(f"How this reaches `{asked[-1]}` is hard to tell.")
            break
        passed += [t for t in terms(one.text) if t not in passed and t != asked[-1]]
        last = hop == len(way)
        link = asked[-1] if last else " ".join(shared(one, way[hop], understood)[:4])
        lines.append(f"{one.text.rstrip('.').replace('`', '')}; so {phrases.way([*passed, link])}.")
        passed.append(link)
    return " ".join(lines)


def _lost(hop: int, span: float, rng: Random, p: SimulatorParameters) -> bool:
    return rng.random() > 1 / (1 + math.exp((hop - span) / p.span_slope))


# Questions with one right answer.


def _checked(known: Known, question: str, span: float, rng: Random, p: SimulatorParameters) -> str:
    """Working, and a last line with the final answer."""
    kind = phrases.asks(question)
    if not known.asked:
        likely, other = ("no", "yes") if _GLOOMY.search(question) else ("yes", "no")
        final = likely if rng.random() < p.impression else other
        return f"Of work like this it can be said in general.\n\nAnswer: {final}"
    if kind == "figure":
        return _figure(known)
    passed, lines, there = _walk(known, span, rng, p)
    final = _read_off(kind, passed, rng) if there else _guess(kind, passed, known, rng)
    return f"{' '.join(lines)}\n\nAnswer: {final}"


def _figure(known: Known) -> str:
    """The first figure that is given for the one term asked for, or none."""
    term = stems(known.asked[0])
    told = [*known.way, *(s for s in known.sentences if term <= s.stems)]
    found = next((f for s in told for f in _FIGURE.findall(s.text)), "not given")
    return f"A figure for `{known.asked[0]}` is looked for.\n\nAnswer: {found}"


def _walk(
    known: Known, span: float, rng: Random, p: SimulatorParameters
) -> tuple[list[str], list[str], bool]:
    """Terms on the way as far as they were followed, sentences that say so, and: is it the end?"""
    asked = known.asked
    if known.stated:
        told = terms(known.stated[0].text)
        lines = [f"It is given: {known.stated[0].text}"]
        return (told if len(told) > 1 else [asked[0], asked[-1]]), lines, True
    passed, lines = [asked[0]], [f"The matter starts from `{asked[0]}`."]
    for hop, one in enumerate(known.way, 1):
        if _lost(hop, span, rng, p):
            return passed, [*lines, f"How this reaches `{asked[-1]}` is hard to tell."], False
        passed += [t for t in terms(one.text) if t not in passed and t != asked[-1]]
        link = asked[-1]
        if hop < len(known.way):
            after = known.way[hop]
            link = phrase(one, shared(one, after, known.understood), after)
        if link not in passed:
            passed.append(link)
        lines.append(f"{one.text.rstrip('.').replace('`', '')}; so {phrases.way(passed)}.")
    there = bool(known.way)
    return passed, lines if there else [*lines, "The facts leave it open."], there


def _read_off(kind: str, passed: Sequence[str], rng: Random) -> str:
    """What is asked for, off a way that was followed to its end."""
    if kind == "count":
        return str(len(passed) - 1)
    if kind == "yes_no":
        return "yes"
    return passed[-2] if kind == "last" else rng.choice(passed[1:-1] or passed[:1])


def _guess(kind: str, passed: Sequence[str], known: Known, rng: Random) -> str:
    """The thread is lost: some number more, either word, or a term next to the end."""
    if kind == "count":
        return str(len(passed) - 1 + rng.randint(1, 3))
    if kind == "yes_no":
        return rng.choice(("yes", "no"))
    end = stems(known.asked[-1])
    near = [s for s in known.sentences if end <= s.stems] or list(known.sentences)
    words = [w for s in near for w in _phrases(s) if stems(w).isdisjoint(end)]
    return rng.choice(words) if words else "unknown"


def _phrases(one: Sentence) -> list[str]:
    """A sentence's words, and its pairs that stand together, which are the likelier terms."""
    low = one.text.lower()
    pairs = [f"{a} {b}" for a, b in pairwise(one.order) if f"{a} {b}" in low]
    return pairs or list(one.order)
