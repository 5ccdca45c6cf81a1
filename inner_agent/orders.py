"""Text that speaks to a model instead of about its subject: orders, roles, imitated turns.

An item whose context tells the weak solver to be weak, or whose rubric tells the judge what to
score, measures nothing (Autodata, "Hacking & limitations").  The patterns are made to be right when
they speak: among 9,274 paragraphs of 100 real papers none matched.  What they miss is left to the
auditor's model.
"""

import re
import unicodedata
from collections.abc import Iterator

_NOT = r"(?:do\ not|don't|never|must\ not|may\ not|should\ not)"
_UNIT = r"(?:words?|letters?|characters?|tokens?|sentences?)"
_JUDGE = r"(?:judge|grader|evaluator|scorer|grading\ model)"

_ORDERS: dict[str, tuple[str, ...]] = {
    "says who the reader is": (
        r"you\ are\ (?:now\ )?(?:only\ )?(?:an?|the)\b[^.\n]{0,60}"
        r"\b(?:model|assistant|solver|respondent|llm|ai|chatbot|student)",
        r"if\ you\ are\ (?:an?|the)\ (?:weak|strong|small|large|big|less|more)",
        r"(?:act|behave|respond|answer|write|reason)\ (?:as|like)\ (?:if\ you\ were\ )?an?"
        r"\ (?:weak|small|bad|poor|confused|lazy|tiny|novice|child)",
        r"pretend\ (?:to\ be|that\ you|you)",
    ),
    "overrides instructions": (
        r"(?:ignore|disregard|forget|override)\b[^.\n]{0,40}"
        r"\b(?:instruction|prompt|rubric|criteri|guideline|system\ message|above\b|previous\b)",
    ),
    "cripples the answer": (
        r"(?:answer|respond|reply|write)\b[^.\n]{0,30}\b(?:in|with|using)\b"
        r"(?:\ only|\ just|\ exactly|\ at\ most|\ no\ more\ than)*\ (?:a\ single|one|two|three|\d+)"
        rf"\ {_UNIT}\b",
        rf"(?<!we\ )(?<!they\ ){_NOT}\ (?:think\b|reason\b|show\ your\ work|explain\ your|try\b"
        r"|use\ the\ context|answer\ the\ question)",
        r"answer\ (?:badly|wrongly|poorly|incorrectly|at\ random)",
        r"(?:repeat|output|print|say|reply\ with)\ (?:only\ |just\ |exactly\ )?"
        r"(?:the\ (?:word|string|text|phrase|token)\b|[\"'`])",
    ),
    "speaks to the judge": (
        rf"{_JUDGE}\b[^.\n]{{0,40}}(?:\b(?:must|should|shall|please|has\ to|is\ to|will|gives?"
        r"|awards?|scores?|assigns?|marks?)\b|:)",
        r"(?:award|give|assign|grant|mark)\b[^.\n]{0,40}\b(?:full|maximum|max|top|perfect|all|zero|no)"
        r"\ (?:marks?|scores?|points?|credit)",
        r"(?:score|grade|rate|mark)\ (?:this|it|the\ answer|every|each|all)\b[^.\n]{0,40}"
        r"\b(?:1(?:\.0)?|10|100\ ?%?|0|full|met|satisfied|perfect)(?=\W|$)",
        r"regardless\ of\ (?:the|what\ the|its)\ (?:answer|content)",
        r"(?:always|automatically)\ (?:met|satisfied|true|passes|counts\ as\ met)",
    ),
}
_PATTERNS = {
    what: re.compile(r"\b(?:" + "|".join(patterns) + ")", re.VERBOSE)
    for what, patterns in _ORDERS.items()
}
_TURNS = re.compile(
    r"""<\|[\w ]{1,40}\|> | \[/?INST\] | <</?SYS>> | </?s> | <(?:start|end)_of_turn>
    | </?(?:system|assistant|user|context|question|rubric|answer|criterion|attempt|paper|item)>
    | ^\W{0,4}(?:system|assistant|user|human|developer)\W{0,3}:
    | ^\W{0,4}(?:instructions?|system\ prompt)\ ?:
    | ^\#{2,}\ *(?:instruction|system|assistant|response)""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)


def orders_in(text: str) -> Iterator[str]:
    """What ``text`` does that no question needs, a line each."""
    if turn := _TURNS.search(text):
        yield f"imitates a conversation ({turn[0].strip()[:40]!r})"
    plain = plain_text(text)
    for what, pattern in _PATTERNS.items():
        if found := pattern.search(plain):
            yield f"{what} ({found[0][:80]!r})"


def plain_text(text: str) -> str:
    """As a reader takes it in: compatibility forms folded, marks without a shape gone."""
    folded = unicodedata.normalize("NFKC", text)
    if len(folded) > 2 * len(text):  # signs that stand for whole sentences, in masses
        folded = text
    return "".join(c for c in folded.casefold() if unicodedata.category(c) != "Cf")
