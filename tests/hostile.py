"""What a paper, a model or a harness may write to take over a page that shows it.

Every script among these sets the global ``CANARY``, the rest asks ``HOST`` for something: a page
that shows them as text does neither.
"""

import json
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from inner_agent.papers import MANIFEST
from inner_agent.synthetic import write_papers

CANARY = "hostile_canary"
HOST = "evil.example"
OUTSIDE = "this text lies outside of the run"
FILE = "notes (new)/@x +y=,a- b.py"  # as odd as the gate lets a path be
_DO = f"window.{CANARY}=1"
# The plotting library reads this in texts.
MARKUP = (
    f'<a href="javascript:{_DO}">a link</a> <b>bold</b> <br> <sup>up</sup> %{{x}} %{{customdata}}'
)
MARKS = (
    f"<script>{_DO}</script>",
    f'<img src=x onerror="{_DO}">',
    f"</script><script>{_DO}</script>",
    f"<svg onload={_DO}><a xlink:href='javascript:{_DO}'><text>x</text></a></svg>",
    "{{7*7}} {% raw %} ${7*7} #{7*7} {{ ''.__class__.__mro__ }}",
    MARKUP,
    f"\"' onmouseover={_DO} x='\" `{_DO}`",
    "\u202egnp.exe\u202c \u2066isolated\u2069 \u200bzero\u200b \ufeffwidth",
    "\x1b[31mred\x1b[0m\x07\x08\x0b\x7f\x85 control",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd \u0645\u0631 right to left",
    "\U0001f9ea\U0001f468\u200d\U0001f469\u200d\U0001f467 emoji e\u0301\u0302\u0303\u0304\u0305",
    f"<iframe src='http://{HOST}/'></iframe><link rel=stylesheet href=//{HOST}/x.css>",
    f"<form action=http://{HOST}/><input name=q autofocus onfocus={_DO}></form>",
    f"<!-- --><![CDATA[ ]]><math><mi xlink:href='data:x,<script>{_DO}</script>'></math>",
    "<style>*{display:none}</style><plaintext><textarea><title>",
    f"../../../../etc/passwd\n\r\n# Heading\n> quoted\n[link](javascript:{_DO})",
    "=HYPERLINK(\"http://evil.example\") @SUM(1) -2+3 |",
)  # fmt: skip
NULS = "a NUL \x00 and more \x00\x01\x02"
LONG = "x" * 1_000_000
_SAID = (
    "question", "context", "reference_answer", "criterion", "feedback", "answer", "reason",
    "content", "report", "detail", "title", "message", "arguments", "stderr",
)  # fmt: skip


def spiced(text: str, salt: str = "") -> str:
    """``text`` with a mark; the same text with the same salt gets the same one."""
    return f"{text} {MARKS[sum(map(ord, text + salt)) % len(MARKS)]}"


def spiced_all(found: Any, key: str = "") -> Any:
    """A trajectory with a mark at the end of everything that a paper, model or harness said."""
    if isinstance(found, dict):
        return {k: spiced_all(v, k) for k, v in found.items()}
    if isinstance(found, list):
        return [spiced_all(v, key) for v in found]
    said = isinstance(found, str) and key in _SAID
    return spiced(found) + ("\0" if key == "answer" else "") if said else found


def write_hostile_papers(folder: Path, split: Path) -> Path:
    """Papers whose ids and titles are hostile, and the demo's split of them; returns the split."""
    write_papers(folder, 100, 0)
    rows = [json.loads(line) for line in (folder / MANIFEST).read_text("utf-8").splitlines()]
    names = {}
    for n, row in enumerate(rows):
        mark = MARKS[n % len(MARKS)].replace("\n", " ")
        names[row["id"]] = f"p{n} {mark}" if n % 3 else row["id"]
        row |= {"id": names[row["id"]], "title": spiced(row["title"])}
    (folder / MANIFEST).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    parts = json.loads(split.read_text("utf-8"))
    for part in ("train", "val", "test"):
        parts[part] = [{**row, "id": names[row["id"]]} for row in parts[part]]
    made = folder / "split.json"
    made.write_text(json.dumps(parts), "utf-8")
    return made


def _cut(path: Path) -> None:
    path.write_text(path.read_text("utf-8")[:5_000], "utf-8")


def _without(key: str) -> Callable[[Path], None]:
    def work(path: Path) -> None:
        found = json.loads(path.read_text("utf-8"))
        del found[key]
        path.write_text(json.dumps(found), "utf-8")

    return work


def _wrong_types(path: Path) -> None:
    found = json.loads(path.read_text("utf-8"))
    found["rounds"] = {"0": None}
    found["steps"] = [1, "two", None, {"kind": ["chat"]}, *found["steps"], {"kind": "evaluate"}]
    found["result"]["passed"] = "yes"
    found["paper"] = 7
    path.write_text(json.dumps(found), "utf-8")


def _wrong_inside(path: Path) -> None:
    """The outermost is as it should be; what is in the rounds and steps isn't."""
    found = json.loads(path.read_text("utf-8"))
    odd = {"messages": "text", "item": None, "attempts": {"a": 1}, "reply": []}
    even = {"continues": -3, "findings": None, "phase": {"x": 1}}
    for n, one in enumerate(found["rounds"]):
        one |= {"rubric": "none", "weak": ["x", None], "strong": 3} if n % 2 else {"question": 5}
    for n, step in enumerate(found["steps"]):
        step |= odd if n % 2 else even
    path.write_text(json.dumps(found), "utf-8")


def _long_line(path: Path) -> None:
    found = json.loads(path.read_text("utf-8"))
    found["rounds"][0]["feedback"] = LONG
    for step in found["steps"]:
        for attempt in step.get("attempts", []):
            attempt["answer"] = LONG
    path.write_text(json.dumps(found), "utf-8")


def _half_emoji(path: Path) -> None:
    found = json.loads(path.read_text("utf-8"))
    found["rounds"][0]["question"] += " \ud83e"
    path.write_text(json.dumps(found), "utf-8")  # as an escape: that is valid JSON


def _deep(path: Path) -> None:
    path.write_text("[" * 100_000, "utf-8")


def _folder(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    run = path.parents[3]
    secret = run.with_name(f"{run.name}-outside.json")
    secret.write_text(json.dumps({"stderr": OUTSIDE}), "utf-8")
    path.symlink_to(secret)


BREAKS: dict[str, Callable[[Path], None]] = {
    "cut": _cut, "no rounds": _without("rounds"), "no steps": _without("steps"),
    "no result": _without("result"), "no paper": _without("paper"), "wrong types": _wrong_types,
    "wrong inside": _wrong_inside, "a long line": _long_line, "half an emoji": _half_emoji,
    "deep": _deep, "empty": lambda path: path.write_text("") and None,
    "not UTF-8": lambda path: path.write_bytes(b'{"rounds": "\xff\xfe"}') and None,
    "absent": lambda path: None, "a folder": _folder, "a link out of the run": _link,
}  # fmt: skip
_ALONE = ("a folder", "absent", "a link out of the run")  # nothing may lie there


def break_trajectories(paths: Iterable[Path]) -> dict[str, Path]:
    """Break one trajectory in each way; which one is broken how."""
    broken = dict(zip(BREAKS, list(islice(paths, len(BREAKS))), strict=True))
    for name, path in broken.items():
        whole = path.read_bytes()
        path.unlink()  # it may be one file under several names
        if name not in _ALONE:
            path.write_bytes(whole)
        BREAKS[name](path)
    return broken
