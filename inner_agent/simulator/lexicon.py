"""The lexicon: which sentences of a prompt the simulated agents understand as directives.

A directive is recognised sentence by sentence: every pattern of one of its alternatives has to
be found in the same sentence.  One that a negation turns around ("do not make it as hard as
possible") does not count.  docs/simulator.md has the table.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Agent = Literal["challenger", "quality_verifier", "main_agent"]
Level = Literal["curb", "invite", "demand"]

_NO = (
    r"\b(not|never|no|avoid\w*|refuse\w*|reject\w*|discard\w*|drop|without|don't|isn't|cannot"
    r"|can't|nothing|none|free of|leave out|keep out|instead of|rather than|forbid\w*|throw away)\b"
)
_REFUSE = (
    r"\b(refuse\w*|reject\w*|discard\w*|avoid\w*|never|not|no|must|should|throw away|drop|only)\b"
)
_FAIL = r"\b(fail|fails|reject\w*|refuse\w*|do not pass|don't pass|never pass|turn down)\b"
_CONTEXT = r"\b(context|set-?up)\b"
_ANSWER = r"\b(solution|answer|conclusion|finding|result|outcome|explanation)s?\b"
_NUMBERS = (
    r"(exact|specific|precise|experimental|particular|single|reported) "
    r"(experimental )?(number|figure|value|percentage)s?"
)
_NEGATED = re.compile(_NO, re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Directive:
    """``alternatives``: tuples of patterns that must all occur in one sentence.

    ``habit`` is the field of ``SimulatorParameters`` that it moves, or a name of its own.
    """

    habit: str
    level: Level
    agent: Agent
    alternatives: tuple[tuple[str, ...], ...]

    @property
    def name(self) -> str:
        """For example ``curb:leak``."""
        return f"{self.level}:{self.habit}"


def _challenger(habit: str, level: Level, *alternatives: tuple[str, ...]) -> Directive:
    return Directive(habit, level, "challenger", alternatives)


CHALLENGER = (
    _challenger(
        "generic",
        "curb",
        (r"paper-specific",),
        (r"without (having |the |this |access|any |first )*(read|see|know|paper|access)", _REFUSE, "paper"),
        (r"(specific|particular|unique|peculiar) to (this|the) paper",),
        (r"(general|textbook|common|background|prior|domain) knowledge", _REFUSE),
        (r"\bgeneric\b", _REFUSE),
        (r"only (a reader|someone|somebody|one|readers) (who|of|has|having)\b", r"\bpaper\b"),
    ),
    _challenger(
        "generic",
        "demand",
        (r"main contributions?|big picture|high-level question|broad (question|theme)s?",),
        (r"overall (idea|approach|contribution)|strengths and weaknesses",),
    ),
    _challenger(
        "leak",
        "curb",
        (
            _CONTEXT, _ANSWER, _NO,
            r"\b(stat|reveal|contain|includ|giv|disclos|leak|hint|mention|put|tell|spell|hand|hold)",
        ),
        (r"\bcontext\b", r"\b(problem|set-?up|premises?)\b", r"\b(only|nothing (else|more)|and stop)\b"),
        (r"problem and (the |its )?(set-?up|premises),? (but )?(never|not|only)",),
        (r"\b(never|not|don't) (stat|reveal|disclos|giv|hand)\w* .{0,12}(solution|conclusion|answer)",),
    ),  # fmt: skip
    _challenger("leak", "invite", (r"\bsummari[sz]e\b", r"\bfindings?\b",)),
    _challenger(
        "leak",
        "demand",
        (_CONTEXT, r"(full|complete|whole|entire) (solution|answer|derivation|explanation|result)",),
        (_CONTEXT, r"(solution|answer|conclusion|result)s? (outright|in full)",),
    ),
    _challenger(
        "negative",
        "curb",
        (r"positive[- ]only|only positive|positive weights only|strictly positive",),
        (r"\bweights?\b", r"\b(must|should|is|are|be|have)( all)?( always)?( a)? positive"),
        (r"\bnegative\b|penalt|deduct|below zero", _NO),
    ),
    _challenger("negative", "invite", (r"may carry a negative|may be negative|<negative number>",)),
    _challenger(
        "negative",
        "demand",
        (r"\b(at least|always|must|should|add|several|two|three|strong)\b", r"\bnegative\b|penalt"),
        (r"penali[sz]e|deduct points|subtract points",),
    ),
    _challenger(
        "heavy",
        "curb",
        (
            r"\bweights?\b|\bcriterion\b",
            r"(cap|capped|at most|no more than|exceed\w*|maximum|max|up to|above|than|over|between|from"
            r"|1 ?(-|–|to)|range)\D{0,28}\b([5-8]|five|six|seven|eight)\b",
        ),
        (r"\bcriterion\b", r"dominat|decide|outweigh|dwarf", _NO),
    ),  # fmt: skip
    _challenger("heavy", "invite", (r"largest weights?|most weight|heaviest",)),
    _challenger(
        "heavy",
        "demand",
        (r"\bweights?\b", r"(of|up to|to|as \w+ as) (\d\d+|ten|twelve|fifteen|twenty|thirty|fifty)\b"),
        (r"decisive criterion|one criterion (that )?(decides|outweighs)",),
    ),
    _challenger(
        "string_weight",
        "curb",
        (r"\bweights?\b", r"\b(integers?|whole numbers?|unquoted|(bare|plain|json) numbers?|numeric)\b"),
        (r"\bweights?\b|\bnumbers?\b", r"\bstrings?\b|quotes|quoted|quotation|\"\+\d", _NO),
        (r"strict(ly)? (valid )?json|valid json",),
        (r'"weight": ?(<(int|whole|num|pos)|\d)',),
    ),
    _challenger("string_weight", "invite", (r'"weight": ?"',)),
    _challenger(
        "string_weight",
        "demand",
        (r"\bweights?\b", r"(explicit|leading|with a|its) (plus )?sign|signed string|as strings"),
    ),
    _challenger("number", "curb", (_NUMBERS, _NO), (r"\bnumbers?\b", r"table|experiment|\bask", _NO)),
    _challenger("number", "demand", (_NUMBERS, r"\b(ask|tie|tied|require|test|demand|recall|hinge|about)"),),
    _challenger(
        "omit",
        "curb",
        (r"\b(every|all|each)\b", r"\b(premise|fact|assumption|statement)s?\b", r"context|answer needs"),
    ),
    _challenger(
        "omit",
        "demand",
        (r"\bcontext\b", r"as (short|brief|terse|small) as possible|(one|single|two)[- ]sentences?\b"),
        (r"minimal context|leave out (some )?premises",),
    ),
    _challenger(
        "style",
        "curb",
        (r"\b(style|fluency|clarity|tone|eloquence|general virtues?|well[- ]written)\b", _NO),
    ),
    _challenger(
        "style",
        "demand",
        (r"\b(reward|credit|grade|points? for)\b", r"\b(style|fluency|clarity|eloquence|structure)\b"),
    ),
    _challenger(
        "depth",
        "curb",
        (r"\b(three|four|3|4)( or | to |-|–| and )(four|five|4|5)\b", r"\b(step|hop|link|inference)"),
    ),
    _challenger(
        "depth",
        "demand",
        (r"as (hard|difficult|demanding|challenging) as (possible|you can)|\bhardest\b",),
        (r"(extremely|maximally|brutally) (hard|difficult)",),
        (r"(nobody|no (model|solver)|hardly any \w+) (can|could|is able to) (solve|answer)",),
        (r"at least (six|seven|eight|ten|6|7|8|10)\b", r"\b(step|hop|link|inference)"),
    ),
)  # fmt: skip
"""What the challenger understands."""

VERIFIER = (
    Directive(
        "leak", "curb", "quality_verifier",
        (
            (r"compar|sentence by sentence|line by line|quote|side by side", _CONTEXT, _ANSWER),
            (_FAIL, _CONTEXT, _ANSWER, r"\b(stat|giv|contain|reveal|hand|leak|spell|includ|hold)"),
            (_FAIL, _CONTEXT, r"\b(repeat|reword|copy|quot)"),
        ),
    ),
    Directive(
        "generic", "curb", "quality_verifier",
        (
            (_FAIL, r"generic|without (having )?(read|see|access|the paper)|any (other )?paper"),
            (_FAIL, r"(general|textbook|common|background) knowledge"),
        ),
    ),
    Directive(
        "shape", "curb", "quality_verifier",
        ((_FAIL, r"\bweights?\b", r"negative|string|integer|dominat|exceed|above|over|more than"),),
    ),
    Directive("number", "curb", "quality_verifier", ((_FAIL, _NUMBERS),)),
    Directive(
        "harsh", "demand", "quality_verifier",
        (
            (r"in (any )?doubt,? (fail|reject)|only (a )?(perfect|flawless)|(smallest|slightest) (flaw|doubt)",),
        ),
    ),
    Directive(
        "lenient", "demand", "quality_verifier",
        ((r"in doubt,? (pass|let)|benefit of the doubt|be lenient|always pass|pass (almost )?every",),),
    ),
)  # fmt: skip
"""What the quality verifier understands."""

MAIN_AGENT = (
    Directive(
        "persist", "curb", "main_agent",
        (
            (r"(never|do not|don't) (call `?finish`?|give up)",),
            (r"until .{0,40}(used up|exhausted|runs? out)|as long as .{0,30}(left|remain)",),
        ),
    ),
    Directive("persist", "invite", "main_agent", ((r"keep (going|iterating|trying)",),)),
    Directive(
        "stop_early", "demand", "main_agent",
        (
            (r"(after|at most|no more than) (one|two|1|2) (failed )?(round|attempt|tr(y|ies)|failure)",),
            (r"give up (early|quickly|soon)|call `?finish`? (early|soon|as soon as)",),
        ),
    ),
)  # fmt: skip
"""What the main agent understands."""

_BY_AGENT: dict[Agent, Sequence[Directive]] = {
    "challenger": CHALLENGER,
    "quality_verifier": VERIFIER,
    "main_agent": MAIN_AGENT,
}
_COMPILED = {
    pattern: re.compile(pattern, re.IGNORECASE)
    for directives in _BY_AGENT.values()
    for directive in directives
    for alternative in directive.alternatives
    for pattern in alternative
}
_BULLET = re.compile(r"\n\s*(?:[-*#>{}]|\d+[.)]|\n)\s*")
_STOP = re.compile(r"(?<=[.!?;])\s+(?=[\"`]?[A-Z])")
_MAX_PROMPT = 60_000


@lru_cache(maxsize=1024)
def sentences(prompt: str) -> tuple[str, ...]:
    """A prompt's sentences, wrapped lines joined, bullets and JSON lines apart."""
    parts = _BULLET.split(prompt[:_MAX_PROMPT])
    lines = (" ".join(part.split())[:2_000] for part in parts)
    return tuple(s for line in lines for s in _STOP.split(line) if len(s) > 8)


@lru_cache(maxsize=1024)
def directives(prompt: str, agent: Agent) -> frozenset[str]:
    """Names of the directives that ``agent`` finds in ``prompt``."""
    return frozenset(
        directive.name
        for directive in _BY_AGENT[agent]
        if any(_says(sentence, directive) for sentence in sentences(prompt))
    )


def says(sentence: str, agent: Agent) -> list[str]:
    """Names of the directives in one sentence."""
    return [d.name for d in _BY_AGENT[agent] if _says(sentence, d)]


def _says(sentence: str, directive: Directive) -> bool:
    for alternative in directive.alternatives:
        hits = [_COMPILED[pattern].search(sentence) for pattern in alternative]
        if None in hits:
            continue
        starts = [hit.start() for hit in hits if hit]
        if directive.level == "curb" or not _NEGATED.search(sentence[: max(starts)]):
            return True
    return False
