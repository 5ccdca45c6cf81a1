"""Items read from a data set one at a time, each kept as what its figures need: no texts.

A data set is the folder that ``metaopt generate`` made, or a ``.jsonl`` file of such items.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from analysis import tasks
from analysis.inspect.answers import Final, final
from analysis.inspect.words import Numbers, contained, numbers
from analysis.nothing import nothing_in
from inner_agent import generate, strict_json
from inner_agent.checks import answer_leaks, bare_criteria, leaks, told_criteria, words_of
from inner_agent.errors import UserError
from inner_agent.items import Item, ItemRefused, first_error, parse_item
from inner_agent.settings import Audit
from metaopt.text import one_line

SHOWN = 160  # characters of a question that a report may quote
NO_CONCERN = ("none", "no")  # how a review begins that has nothing against a rubric
LIMITS = Audit()  # a leak is one by the same measure in every data set
MOST = 2**53  # rounds: so many a float can count
Share = Annotated[float, Field(ge=0, le=1)]


class _Paper(BaseModel):
    id: str
    title: str = ""
    sha256: str = ""


class Line(BaseModel):
    """What a line of ``items.jsonl`` has beside its item."""

    model_config = ConfigDict(strict=True)
    format: int
    task: str = tasks.DEFAULT
    simulated: bool
    paper: _Paper
    review: dict[str, str] = {}
    weak_avg: Share
    strong_avg: Share
    gap: Annotated[float, Field(ge=-1, le=1)]
    rounds: Annotated[int, Field(ge=1, le=MOST)]


@dataclass(frozen=True, slots=True)
class Text:
    """A question, its context, its answer: words by number, and how they begin."""

    shown: str
    context: Numbers
    question: Numbers
    answer: Numbers


@dataclass(frozen=True, slots=True)
class Said:
    """A judge's review of all attempts at an item: its suitability, and its suggestion (words by
    number); ``concern``: it found something wrong with the rubric."""

    suitability: str
    concern: bool
    suggestion: Numbers


@dataclass(frozen=True, slots=True)
class Row:
    """One item.  ``weights`` are its rubric's; ``bare`` criteria ask for a figure and little else,
    ``told`` ones stand in the context; ``words_given`` and ``runs_given`` are the shares of the
    answer's words, and of its runs of three, that context and question hold.

    ``final``: the final answer of an item without a rubric.  ``review``: where the task has one.
    """

    paper: str
    sha256: str
    type: str
    skills: tuple[str, ...]
    text: Text
    weights: tuple[float, ...]
    bare: int
    told: int
    leaks: bool
    words_given: float | None
    runs_given: float | None
    weak: float
    strong: float
    gap: float
    rounds: int
    final: Final | None
    review: Said | None


@dataclass(frozen=True, slots=True)
class Items:
    """A data set's items, all of one format, one task, and simulated or not."""

    name: str
    task: str
    simulated: bool
    rows: tuple[Row, ...]


def items_file(data: Path) -> Path:
    """Where the items of ``data``, a folder or a .jsonl file, are.

    Raises ``UserError`` for what is neither.
    """
    if data.is_dir():
        if not (data / "results.db").is_file():
            raise UserError(
                f"{data}: not a data set; give a folder made by metaopt generate, or a .jsonl file"
                " of items"
            )
        return data / "items.jsonl"
    if data.suffix == ".jsonl" and data.is_file():
        return data
    raise UserError(f"{data}: no such data set (a folder made by metaopt generate, or a .jsonl)")


def read_items(data: Path) -> Items:
    """Read a data set.

    Raises ``UserError``, with the line, for one that isn't an item of ``metaopt generate``; for
    items of several formats, tasks or kinds (simulated or not); and where there are none.
    """
    path, rows = items_file(data), []
    first: tuple[Line, Item] | None = None
    for where, value in lines(path, whole=data.is_dir()):
        this = checked(where, value)
        first = first or this
        _refuse(where, first, this)
        rows.append(_row(*this))
    if first is None:
        raise UserError(nothing_in(data) if data.is_dir() else f"{path}: holds no item")
    return Items(data.resolve().name, first[0].task, first[0].simulated, tuple(rows))


def read_questions(data: Path) -> list[str]:
    """The questions of a data set that ``read_items`` could read, as they are."""
    return [str(value["question"]) for _, value in lines(items_file(data), whole=data.is_dir())]


def read_texts(data: Path) -> tuple[list[Text], list[dict[str, str]]]:
    """What a set to compare with asks: its texts, and its papers' ids and hashes where it says.

    Each line needs a ``question``; ``context``, ``reference_answer`` and ``paper`` may be missing,
    so that any benchmark in JSON lines will do.  Raises ``UserError`` as ``read_items``.
    """
    path, texts, papers = items_file(data), [], []
    for where, value in lines(path, whole=data.is_dir()):
        question = value.get("question")
        if not isinstance(question, str) or not question.strip():
            raise UserError(f"{where}: question: needs a text to compare with")
        fields = (value.get(key) for key in ("context", "question", "reference_answer"))
        texts.append(_text(*(x if isinstance(x, str) else "" for x in fields)))
        paper = value.get("paper")
        known = paper if isinstance(paper, dict) else {}
        papers.append({key: str(known.get(key) or "") for key in ("id", "sha256")})
    if not texts:
        raise UserError(f"{path}: empty; nothing to compare with")
    return texts, papers


def lines(path: Path, *, whole: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """JSON objects of a file, with where they stand.  ``whole``: one without a line end is still
    being written.  Raises ``UserError`` for a line that is none."""
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip() or (whole and not line.endswith("\n")):
                    continue
                where = f"{path}:{number}"
                try:
                    value = strict_json.loads(line)
                except strict_json.JSONRefused as e:
                    raise UserError(f"{where}: {e}") from None
                if not isinstance(value, dict):
                    raise UserError(f"{where}: an item is a JSON object")
                yield where, value
    except OSError as e:
        raise UserError(f"{path}: can't be read ({e.strerror})") from None
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: not UTF-8 text at byte {e.start} of a part") from None


def checked(where: str, value: dict[str, Any]) -> tuple[Line, Item]:
    """A line of ``items.jsonl``, of any task.  Raises ``UserError`` for one of something else."""
    try:
        line, item = Line.model_validate(value), parse_item(value)
    except ValidationError as e:
        raise UserError(f"{where}: {first_error(e, 'item')} (not of metaopt generate?)") from None
    except ItemRefused as e:
        raise UserError(f"{where}: {e}; mend the item or leave it out") from None
    if line.format != generate.FORMAT:
        raise UserError(f"{where}: format {line.format}; this version reads {generate.FORMAT}")
    return line, item


def refuse_unfit(where: str, item: Item, refusal: Callable[[Item], str]) -> None:
    """Raise ``UserError`` for an item that its task refuses."""
    if reason := refusal(item):
        raise UserError(f"{where}: {reason}; mend the item or leave it out")


def _refuse(where: str, first: tuple[Line, Item], this: tuple[Line, Item]) -> None:
    line, item = this
    if reason := tasks.mixed(*((o.task, bool(i.rubric)) for o, i in (first, this))):
        raise UserError(f"{where}: {reason}; inspect each alone")
    refuse_unfit(where, item, partial(tasks.refusal, line.task, review=line.review))
    if line.simulated != first[0].simulated:
        raise UserError(f"{where}: simulated items among others; inspect each alone")


def _text(context: str, question: str, answer: str) -> Text:
    shown = one_line(question, SHOWN)
    return Text(shown, numbers(context), numbers(question), numbers(answer))


def _row(line: Line, item: Item) -> Row:
    text = _text(item.context, item.question, item.reference_answer)
    shown = numbers(f"{item.context}\n{item.question}")
    return Row(
        line.paper.id, line.paper.sha256, one_line(item.question_type, 60),
        tuple(dict.fromkeys(one_line(s, 60) for s in item.reasoning_skills)), text,
        tuple(c.weight for c in item.rubric), len(bare_criteria(item)), len(told_criteria(item)),
        any((leaks if item.rubric else answer_leaks)(item, LIMITS)),
        contained(text.answer, shown, 1), contained(text.answer, shown, 3),
        line.weak_avg, line.strong_avg, line.gap, line.rounds, None if item.rubric else final(item),
        _said(line.review),
    )  # fmt: skip


def _said(review: dict[str, str]) -> Said | None:
    if not review.get("suitability"):
        return None
    concerns = words_of(review.get("rubric_concerns", ""))
    return Said(
        one_line(review["suitability"], 60), bool(concerns) and concerns[0] not in NO_CONCERN,
        numbers(review.get("suggestion", "")),
    )  # fmt: skip
