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
_REFUSE = r"\b(refuse\w*|reject\w*|discard\w*|avoid\w*|never|not|no|must|should|throw away|only)\b"
_FAIL = r"\b(fail|fails|reject\w*|refuse\w*|do not pass|don't pass|never pass|turn down)\b"
_CONTEXT = r"\b(context|set-?up)\b"
_ANSWER = r"\b(solution|answer|conclusion|finding|result|outcome|explanation)s?\b"
_TELL = r"\b(stat|reveal|contain|includ|giv|disclos|leak|hint|mention|put|tell|spell|hand|hold)"
_WEIGHT = r"\bweights?\b"
_UNREAD = r"without (having |the |this |access|any |first )*(read|see|know|paper|access)"
_KNOWN = r"(general|textbook|common|background|prior|domain) knowledge"
_NUMBERS = (
    r"(exact|specific|precise|experimental|particular|single|reported) "
    r"(experimental )?(number|figure|value|percentage)s?"
)
_LIMIT = (
    r"(cap|capped|at most|no more than|exceed\w*|maximum|max|up to|above|than|over|between|from"
    r"|1 ?(-|–|to)|range)\D{0,28}\b([5-8]|five|six|seven|eight)\b"
)
_INTEGER = r"\b(integers?|whole numbers?|unquoted|(bare|plain|json) numbers?|numeric)\b"
_STRING = r"\bstrings?\b|quotes|quoted|quotation|\"\+\d"
_PENALTY = r"\bnegative\b|penalt|deduct|below zero"
_STYLE = r"\b(style|fluency|clarity|tone|eloquence|general virtues?|well[- ]written)\b"
_FEW_STEPS = r"\b(three|four|3|4)( or | to |-|–| and )(four|five|4|5)\b"
_STEP = r"\b(step|hop|link|inference)"
_HARDEST = (
    (r"as (hard|difficult|demanding|challenging) as (possible|you can)|\bhardest\b",),
    (r"(extremely|maximally|brutally) (hard|difficult)",),
    (r"(nobody|no (model|solver)|hardly any \w+) (can|could|is able to) (solve|answer)",),
)
_NEGATED = re.compile(_NO, re.IGNORECASE)

Alternative = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Directive:
    """Something that a prompt can say.

    ``habit`` is what it moves: for the challenger a ``Habit`` of ``SimulatorParameters``.
    ``alternatives``: each a tuple of patterns that must all occur in one sentence.
    """

    level: Level
    habit: str
    alternatives: tuple[Alternative, ...]

    @property
    def name(self) -> str:
        """For example ``curb:leak``."""
        return f"{self.level}:{self.habit}"


def _curb(habit: str, *alternatives: Alternative) -> Directive:
    return Directive("curb", habit, alternatives)


def _invite(habit: str, *alternatives: Alternative) -> Directive:
    return Directive("invite", habit, alternatives)


def _demand(habit: str, *alternatives: Alternative) -> Directive:
    return Directive("demand", habit, alternatives)


CHALLENGER = (
    _curb(
        "generic",
        (r"paper-specific",),
        (_UNREAD, _REFUSE, r"\bpaper\b"),
        (r"(specific|particular|unique|peculiar) to (this|the) paper",),
        (_KNOWN, _REFUSE),
        (r"\bgeneric\b", _REFUSE),
        (r"only (a reader|someone|somebody|one|readers) (who|of|has|having)\b", r"\bpaper\b"),
    ),
    _demand(
        "generic",
        (r"main contributions?|big picture|high-level question|broad (question|theme)s?",),
        (r"overall (idea|approach|contribution)|strengths and weaknesses",),
    ),
    _curb(
        "leak",
        (_CONTEXT, _ANSWER, _NO, _TELL),
        (r"\bcontext\b", r"\b(problem|set-?up|premises?)\b", r"\b(only|nothing (else|more))\b"),
        (r"problem and (the |its )?(set-?up|premises),? (but )?(never|not|only)",),
        (r"\b(never|not|don't) (stat|reveal|disclos|giv|hand)", r"(the|its) (solution|conclusion)"),
    ),
    _invite("leak", (r"\bsummari[sz]e\b", r"\bfindings?\b")),
    _demand(
        "leak",
        (_CONTEXT, r"(full|complete|whole|entire) (solution|answer|derivation|explanation)"),
        (_CONTEXT, r"(solution|answer|conclusion|result)s? (outright|in full)"),
    ),
    _curb(
        "negative",
        (r"positive[- ]only|only positive|positive weights only|strictly positive",),
        (_WEIGHT, r"\b(must|should|is|are|be|have)( all)?( always)?( a)? positive"),
        (_PENALTY, _NO),
    ),
    _invite("negative", (r"may carry a negative|may be negative|<negative number>",)),
    _demand(
        "negative",
        (r"\b(at least|always|must|should|add|several|two|three|strong)\b", r"\bnegative\b|penalt"),
        (r"penali[sz]e|deduct points|subtract points",),
    ),
    _curb(
        "heavy",
        (r"\bweights?\b|\bcriterion\b", _LIMIT),
        (r"\bcriterion\b", r"dominat|decide|outweigh|dwarf", _NO),
    ),
    _invite("heavy", (r"largest weights?|most weight|heaviest",)),
    _demand(
        "heavy",
        (_WEIGHT, r"(of|up to|to|as \w+ as) (\d\d+|ten|twelve|fifteen|twenty|thirty|fifty)\b"),
        (r"decisive criterion|one criterion (that )?(decides|outweighs)",),
    ),
    _curb(
        "string_weight",
        (_WEIGHT, _INTEGER),
        (r"\bweights?\b|\bnumbers?\b", _STRING, _NO),
        (r"strict(ly)? (valid )?json|valid json",),
        (r'"weight": ?(<(int|whole|num|pos)|\d)',),
    ),
    _invite("string_weight", (r'"weight": ?"',)),
    _demand(
        "string_weight",
        (_WEIGHT, r"(explicit|leading|with a|its) (plus )?sign|signed string|as strings"),
    ),
    _curb("number", (_NUMBERS, _NO), (r"\bnumbers?\b", r"table|experiment|\bask", _NO)),
    _demand("number", (_NUMBERS, r"\b(ask|tie|tied|require|test|demand|recall|hinge|about)")),
    _curb(
        "omit",
        (r"\b(every|all|each)\b", r"\b(premise|fact|assumption|statement)s?\b", r"\bcontext\b"),
    ),
    _invite("omit", *_HARDEST),
    _demand(
        "omit",
        (r"\bcontext\b", r"as (short|brief|terse|small) as possible|(one|single)[- ]sentence\b"),
        (r"minimal context|leave out (some )?premises",),
    ),
    _curb("unmarked", (r"\banswer:", r"\b(last|final) line\b", r"\b(always|never|nothing|must)\b")),
    _curb("guessable", (r"\byes[- ]or[- ]no\b|\bguess", _NO)),
    _demand("guessable", (r"\byes[- ]or[- ]no question|multiple[- ]choice|true[- ]or[- ]false",)),
    _curb(
        "open",
        (r"\b(exactly|only) one (right|correct|possible) answer",),
        (r"\bquestion\b", r"\b(say|state|fix|name)s?\b", r"\bform\b", _ANSWER),
    ),
    _demand("open", (r"(several|many|different) (right|correct|valid) answers",)),
    _curb("style", (_STYLE, _NO)),
    _demand("style", (r"\b(reward|credit|grade|points? for)\b", _STYLE)),
    _curb("depth", (_FEW_STEPS, _STEP)),
    _demand("depth", *_HARDEST, (r"at least (six|seven|eight|ten|6|7|8|10)\b", _STEP)),
)
"""What the challenger understands."""

VERIFIER = (
    _curb(
        "leak",
        (r"compar|sentence by sentence|line by line|quote|side by side", _CONTEXT, _ANSWER),
        (_FAIL, _CONTEXT, _ANSWER, _TELL),
        (_FAIL, _CONTEXT, r"\b(repeat|reword|copy|quot)"),
    ),
    _curb(
        "generic",
        (_FAIL, r"\bgeneric\b|any (other )?paper"),
        (_FAIL, _UNREAD),
        (_FAIL, _KNOWN),
    ),
    _curb("shape", (_FAIL, _WEIGHT, r"negative|string|integer|dominat|exceed|above|over|than")),
    _curb("number", (_FAIL, _NUMBERS)),
    _curb("guessable", (_FAIL, r"\bguess|\byes[- ]or[- ]no\b")),
    _curb("open", (_FAIL, r"\b(several|more than one|two) (right |correct )?answers|ambiguous")),
    _demand("harsh", (r"in (any )?doubt,? (fail|reject)|only (a )?(perfect|flawless)",)),
    _demand(
        "lenient",
        (r"in doubt,? (pass|let)|benefit of the doubt|be lenient|always pass|pass every",),
    ),
)
"""What the quality verifier understands."""

MAIN_AGENT = (
    _curb(
        "persist",
        (r"(never|do not|don't) (call `?finish`?|give up)",),
        (r"until .{0,40}(used up|exhausted|runs? out)|as long as .{0,30}(left|remain)",),
    ),
    _invite("persist", (r"keep (going|iterating|trying)",)),
    _demand(
        "stop_early",
        (r"(after|at most|no more than) (one|two|1|2) (failed )?(round|attempt|try|failure)",),
        (r"give up (early|quickly|soon)|call `?finish`? (early|soon|as soon as)",),
    ),
)
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
