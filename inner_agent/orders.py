"""Text that speaks to a model instead of about its subject: orders, roles, imitated turns.

An item whose context tells the weak solver to be weak, or whose rubric tells the judge what to
score, measures nothing (Autodata, "Hacking & limitations").  The patterns are made to be right when
they speak: papers are about models, judges and instructions too, so what counts is not the word but
the order, most of them where a sentence begins.  None matches in 9,274 paragraphs of 100 real
papers.  What they miss is left to the auditor's model.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from html import unescape

_START = r"""(?:^|[.!?:;,(>]\ ?|\ -+\ )(?:(?:please|now|then|just|simply|so|and|but)\ )*
    (?:you\ (?:must|should|are\ to|have\ to|will)\ (?:only\ |just\ )?)?"""
_END = r"(?:(?=\ ?[.;:!?,)])|(?=\W*$))"
_UNQUOTED = r"(?<![\"'“‘`])\b"
_JUDGE = r"(?:judge|grader|evaluator|scorer|marker|reviewer|grading\ model)s?"
_SOMEONE = r"(?:model|assistant|solver|respondent|llm|ai|chatbot|student|novice|beginner|child)"
_POOR = (
    r"(?:weak|small|bad|poor|confused|lazy|tiny|dumb|novice|beginner|child|(?:\w+-){1,2}year-old)"
)
_IS = rf"you\ are\ (?:now\ |only\ |just\ )*(?:an?|the)\ (?:\w+\ ){{0,3}}{_SOMEONE}\b"
_OLD = r"(?:previous|prior|above|preceding|earlier)"
_RULES = r"(?:instruction|prompt|rubric|criteri|guideline|message|directive)"
_IGNORE = r"(?:ignore|disregard|forget|override)"
_SHORT = r"""(?:(?:a\ single|one|two|three|four|five|ten|[1-9]|1\d|2[0-5])
    \ (?:words?|letters?|characters?|tokens?)|(?:a\ single|one|1)\ sentence)"""
_ANSWER = r"(?:answer|respond|reply|write)\b"
_ANY = r"(?:this(?:\ \w+)?|it|the\ answer|(?:every|each|any|all)\ (?:answer|criteri|attempt)\w*)"
_ANYTHING = r"(?:anything|any\ (?:answer|attempt|response))"
_MARKS = r"(?:full|maximum|max|top|perfect|zero|no)\ (?:marks|scores?|points|credit)\b"

# What only an order begins a sentence with.
_AT_START: dict[str, tuple[str, ...]] = {
    "says who the reader is": (
        rf"(?:if\ )?{_IS}",
        rf"(?:act|behave|reason|{_ANSWER})\ (?:as|like)\ (?:if\ you\ were\ )?an?\ {_POOR}"
        rf"(?:\ {_SOMEONE})?(?:{_END}|\ would\b)",
        r"pretend\ (?:to\ be|that\ you|you)\b",
        rf"(?:imagine|assume)\ (?:that\ )?you\ (?:are|were)\ an?\ {_POOR}\b",
        r"assume\ the\ role\b",
    ),
    "overrides instructions": (rf"{_IGNORE}\ (?:the|this|all|any)\ (?:\w+\ )?{_RULES}",),
    "cripples the answer": (
        rf"{_ANSWER}[^.]{{0,30}}\b(?:in|with|using)\ (?:only\ |just\ |exactly\ |at\ most\ "
        rf"|no\ more\ than\ )*{_SHORT}(?:{_END}|\ (?:only|and|or)\b)",
        rf"(?:keep|limit)\ (?:your\ answer|your\ reply|yourself|it)\ to\ {_SHORT}\b",
        r"(?:do\ not|don't|never|not)(?:,[^,.]{1,40},)?\ (?:show\ your\ work|explain\ your"
        r"|use\ the\ context|answer\ the\ question"
        rf"|(?:think|reason|try)(?:{_END}|\ (?:about\ (?:it|this)|at\ all|hard)))",
        rf"{_ANSWER}\ (?:badly|wrongly|poorly|incorrectly|at\ random|vaguely)",
        rf"{_ANSWER}[^.]{{0,20}}\ without\ (?:any\ )?(?:expl|reasoning|justif)",
        r"give\ no\ (?:explanation|reason)",
        rf"guess{_END}",
        rf"(?:repeat|output|print|say|{_ANSWER}(?:\ with)?)\ (?:only|just|exactly|nothing\ but)"
        r"\ (?:the\ (?:word|string|text|phrase|token)\b|[\"'“])",
    ),
    "speaks to the judge": (
        rf"(?:dear\ )?{_JUDGE}\ ?[:,]\ (?:please|you|give|award|accept|score|mark|be|assign)\b",
        rf"(?:award|give|assign|grant)\b[^.]{{0,40}}\b{_MARKS}",
        r"give\ (?:\w+\ )?credit\ (?:even|anyway|regardless|whatever|for\ any)\b",
        rf"(?:score|grade|rate|mark)\ {_ANY}(?:\ as|\ with|\ at|:)?"
        r"\ (?:1(?:\.0)?|10|100|0|full|met|satisfied|perfect|correct)(?=\W|$)",
        rf"(?:consider|count|treat)\ {_ANY}(?:\ as)?\ (?:met|satisfied|fulfilled|correct){_END}",
    ),
}
# What is one wherever it stands.
_ANYWHERE: dict[str, tuple[str, ...]] = {
    "says who the reader is": (rf"{_UNQUOTED}(?:if|as|since|because|that)\ {_IS}",),
    "overrides instructions": (
        rf"{_UNQUOTED}{_IGNORE}\ (?:\w+\ ){{0,2}}(?:{_OLD}|other|system|your)\ (?:\w+\ )?{_RULES}",
        rf"\b(?:{_OLD}\ {_RULES}\w*|{_RULES}\w*\ above)\ (?:is|are)\ (?:void|no\ longer)",
        r"\bignor(?:iere|ieren|ez|a|ad|are|ar)\ (?:\w+\ ){0,3}"
        r"(?:anweisung|instructions|instruccion|istruzion)",
    ),
    "cripples the answer": (
        r"\byour\ (?:only|real|actual|new)\ task\ is\b",
        r"(?<!\S)/no_?think\b",
    ),
    "speaks to the judge": (
        rf"\b(?:note|message|memo|instructions?|hint)\ (?:to|for)\ (?:the\ |all\ )?{_JUDGE}\ ?:",
        rf"\b{_JUDGE}\ (?:must|should|shall|will|has\ to|have\ to|please)\ (?:always\ |simply\ )?"
        rf"(?:accept\ {_ANYTHING}{_END}|be\ (?:generous|lenient|kind)"
        r"|(?:give|award|grant)\ (?:(?:\w+\ ){0,3}(?:full|maximum|top)\b|credit\ for\ any))",
        rf"\b{_MARKS}\ (?:for|to)\ (?:every|any)\ (?:answer|attempt|response)",
        r"\b(?:met|satisfied|fulfilled|full\ \w+)\b[^.]{0,30}\bregardless\ of\ (?:\w+\ ){0,2}"
        r"(?:answer|attempt|response|content|said|says)\b",
        r"\bthis\ (?:one|criterion|item|point|line)\ is\ (?:always|automatically)"
        rf"\ (?:met|satisfied|true){_END}",
        r"\b(?:counts?|taken)\ as\ met\b",
        rf"\b{_ANYTHING}\ (?:meets|satisfies|fulfils|passes)\ (?:this(?:\ \w+)?|it){_END}",
        r"\Ascore\ ?[:=]\ ?1(?:\.0)?\W*$",
    ),
}
_PATTERNS = {
    what: re.compile(f"{_START}(?:{'|'.join(starts)})|{'|'.join(_ANYWHERE[what])}", re.VERBOSE)
    for what, starts in _AT_START.items()
}
_TURNS = re.compile(
    r"""<\|[\w ]{1,40}\|> | <｜[^｜<>\n]{1,40}｜> | \[/?(?:INST|SYS|SYSTEM)\] | <</?SYS>> | </?s>
    | <(?:start|end)_of_turn>
    | </(?:context|question|reference|rubric|answer|attempt|paper)>
    | </?(?:system|assistant|instructions?|think)>
    | (?:^|\n)[ ]*\n\W{0,4}(?:system|assistant|user|human)\W{0,3}:
    | ^\#{2,}\ *(?:instructions?|system|assistant|user|human|response)[ ]*(?::|$)
    | \b\d{1,3}\.\s{0,4}\(weight\s{1,4}[-\d]
    | "criteria"\s{0,4}:\s{0,4}\[ | "id"\s{0,4}:\s{0,4}\d+,[^{}]{0,200}"score"\s{0,4}:""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)


def orders_in(text: str, paper: str) -> Iterator[str]:
    """What ``text`` does that no question needs, a line each.

    Marks of a conversation that stand in ``paper`` are a quotation: no model is sent them as
    they are.  Orders never are.
    """
    turns = (t[0].strip() for t in _TURNS.finditer(text))
    if turn := next((t for t in turns if t not in paper), None):
        yield f"imitates a conversation ({turn[:40]!r})"
    plain = plain_text(text)
    readings = dict.fromkeys((plain, _unspelt(plain)))
    for what, pattern in _PATTERNS.items():
        if found := next((m for r in readings if (m := pattern.search(r))), None):
            yield f"{what} ({found[0].strip()[:80]!r})"


# As a reader takes it in.


def _alphabet(first: int) -> dict[int, int]:
    return {first + n: ord("a") + n for n in range(26)}


_LOOKS = str.maketrans(
    "аеорсухіјѕԁһӏԛԝαεικνορτυχωօսոհցᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ’ʼ‐‑",
    "aeopcyxijsdhlqwaeikvoptuxwounhgabcdefghijklmnoprstuvwyz''--",
)
for _first in (0x1F130, 0x1F150, 0x1F170, 0x1F1E6):  # in squares, in circles, dark, of flags
    _LOOKS |= _alphabet(_first)
_MARKUP = re.compile(r"<!--|-->|</?[a-z][^<>]{0,80}>|\\[a-z]{2,20}\*?\{|[*_{}~\u115f\u1160\u3164]")
_DIGITS = str.maketrans("0134578@$", "oieastbas")
_LETTERED = re.compile(r"\b(?=[a-z]*[\d@$])(?=[\d@$]*[a-z])[a-z\d@$]{4,30}\b")
_SPELT = re.compile(r"(?<![\w'])(?:[a-z]([ .-]))(?:[a-z]\1){2,30}[a-z](?![\w'])")


@lru_cache(maxsize=64)  # the texts of an item, which several checks read
def plain_text(text: str) -> str:
    """Lower case, on one line, markup and marks on letters gone, look-alikes made Latin.

    Compatibility forms are folded sign by sign: one may stand for a whole sentence, and is left.
    """
    read = unescape(text)
    folded = read if read.isascii() else "".join(map(_folded, read.translate(_LOOKS)))
    return " ".join(_MARKUP.sub("", folded.casefold().translate(_LOOKS)).split())


def _folded(char: str) -> str:
    if char.isascii():
        return char
    forms = unicodedata.normalize("NFKD", char)
    if len(forms) > 4:
        return char
    return "".join(c for c in forms if unicodedata.category(c) not in ("Mn", "Me", "Cf"))


def _unspelt(plain: str) -> str:
    """Digits for letters read as letters, and words spelt letter by letter as words."""
    read = _LETTERED.sub(lambda m: m[0].translate(_DIGITS), plain)
    return _SPELT.sub(lambda m: m[0].replace(m[1], ""), read)
