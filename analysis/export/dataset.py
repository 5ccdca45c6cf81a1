"""Data sets that ``metaopt generate`` made, read for export: one item at a time, checked.

An item's attempts are read from its paper's folder when they are asked for, so that what is in
memory is one item and what solvers said of it, however large the data set is.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from analysis import tasks
from inner_agent import generate, strict_json
from inner_agent.checks import Key
from inner_agent.durable import as_written, read_json
from inner_agent.errors import UserError
from inner_agent.generate import HarnessOf
from inner_agent.items import Item, ItemRefused, first_error, parse_item
from metaopt.config import RunConfig, read_config
from metaopt.generate import PLAN


class _Of(BaseModel):
    model_config = ConfigDict(frozen=True)


Count = Annotated[int, Field(ge=1, lt=2**63)]  # as columns hold it


class PaperOf(_Of):
    """The paper that an item is about; ``licence`` is empty where the manifest has none."""

    id: str
    title: str
    sha256: str
    licence: str


class PlanOf(_Of):
    """How many items of each paper were tried, at most, and how many rollouts at a time, with
    learnings in between; of a data set without ``plan.json`` one, and no batches."""

    items_per_paper: int = 1
    batch: int | None = None


class Line(_Of):
    """A line of ``items.jsonl``, without the item itself (``inner_agent.items.Item``).

    ``number``: which item of its paper; ``review``: the judge's, where the task has one.
    """

    task: str = tasks.DEFAULT
    simulated: bool
    paper: PaperOf
    number: Count = 1
    review: dict[str, str] = {}
    harness: HarnessOf
    weak_avg: float
    strong_avg: float
    gap: float
    rounds: Count
    other_verdict: str


class Criterion(_Of):
    """The judge on one criterion of one answer."""

    reason: str
    score: float


class Attempt(_Of):
    """One answer and its score, a fraction."""

    answer: str
    score: float
    criteria: list[Criterion]


class _Phase(_Of):
    attempts: list[Attempt]


@dataclass(frozen=True, slots=True)
class Attempts:
    """What the solvers said of an item: ``kind`` is ``fresh`` (the harness never saw these),
    ``in_loop``, or ``none`` where no file of them is left."""

    kind: Literal["fresh", "in_loop", "none"]
    weak: tuple[Attempt, ...] = ()
    strong: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class DataSet:
    """An open data set; ``papers`` were tried, ``made`` says on which day (UTC) each slot was done:
    a paper, and which of its items.

    ``lost``: files of learnings that items were made with and that can't be read, a line each.
    ``config`` may name a task module: it isn't loaded.
    """

    folder: Path
    config: RunConfig
    harness: HarnessOf
    papers: int
    made: Mapping[Key, str]
    plan: PlanOf
    lost: Sequence[str]

    @property
    def compared(self) -> str:
        """How final answers are compared; ``""`` where the task isn't ``verifiable``."""
        task = self.config.task
        return task.answer if task.name == "verifiable" else ""


@dataclass(frozen=True, slots=True)
class Entry:
    """An item, where it is from (``where``: file and line), and in which data set."""

    data: DataSet
    line: Line
    item: Item
    where: str

    @property
    def kind(self) -> tuple[str, bool]:
        """Its task, and whether it has a rubric."""
        return self.line.task, bool(self.item.rubric)


def open_dataset(folder: Path) -> DataSet:
    """Raises ``UserError`` for what isn't a data set."""
    if (folder / "run.db").is_file():
        raise UserError(f"{folder}: a run, not a data set; make one with metaopt generate")
    for name in ("items.jsonl", "results.db", "harness.json", "config.toml"):
        if not (folder / name).is_file():
            why = "it is a file" if folder.is_file() else f"it has no {name}"
            raise UserError(
                f"{folder}: not a data set, for {why}; give the folder that metaopt generate made"
            )
    harness = read_json(folder / "harness.json", HarnessOf)
    with closing(generate.read_results(folder)) as db:
        rows = db.execute("SELECT paper, number, at FROM slots ORDER BY paper, number").fetchall()
    with as_written(folder / "results.db", "when an item was made"):
        made = {(p, n): datetime.fromtimestamp(at, UTC).date().isoformat() for p, n, at in rows}
    papers = len({paper for paper, _ in made})
    plan = read_json(folder / PLAN, PlanOf) if (folder / PLAN).exists() else PlanOf()
    lost = generate.lost_learnings(folder)
    return DataSet(folder, read_config(folder / "config.toml"), harness, papers, made, plan, lost)


def entries(data: DataSet) -> Iterator[Entry]:
    """The items, in the file's order; a line that is just being written isn't among them.

    Raises ``UserError`` naming the line that isn't an item, or one of another format or task.
    """
    path = data.folder / "items.jsonl"
    with open(path, "rb") as file:
        for number, text in enumerate(file, 1):
            if text.endswith(b"\n"):
                yield _entry(data, text, f"{path}:{number}")


def _entry(data: DataSet, text: bytes, where: str) -> Entry:
    try:
        row = strict_json.loads(text)
        item = parse_item(row)
        line = Line.model_validate(row)
        if row.get("format") != generate.FORMAT:
            raise UserError(
                f"{where}: format {row.get('format')!r}, this version has {generate.FORMAT};"
                " export with the version that made it"
            )
        if reason := _not_of(data.config.task.name, line) or tasks.refusal(
            line.task, item, line.review
        ):
            raise ItemRefused(reason)
        return Entry(data, line, item, where)
    except (strict_json.JSONRefused, ItemRefused) as e:
        raise UserError(f"{where}: not an item: {e}") from None
    except ValidationError as e:
        raise UserError(f"{where}: not an item: {first_error(e, 'line')}") from None


def _not_of(named: str, line: Line) -> str:
    """Why a line isn't of the task that the config names, or ``""``; one's own has a name of its
    own."""
    if line.task == named or named.endswith(".py"):
        return ""
    return f"task {line.task!r}, where config.toml has {named!r}"


def attempts_of(entry: Entry) -> Attempts:
    """Those of the fresh evaluation, or else of the one in the loop.

    Raises ``UserError`` for a file of them that can't be read.
    """
    slot = generate.slot_folder(entry.data.folder, entry.line.paper.id, entry.line.number)
    folder = slot / "eval_attempts" / entry.item.sha256[:12]
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*-*-*.json"), key=_number):
        found[path.stem.partition("-")[2]] = path  # the last of each kind and phase counts
    for kind, said in (("fresh", "fresh"), ("evaluate", "in_loop")):
        weak, strong = (found.get(f"{kind}-{phase}") for phase in ("weak_only", "strong_only"))
        if weak and strong:
            phases = [read_json(path, _Phase).attempts for path in (weak, strong)]
            return Attempts(said, *map(tuple, phases))  # type: ignore[arg-type]
    return Attempts("none")


def _number(path: Path) -> tuple[int, str]:
    head = path.stem.partition("-")[0]
    return int(head) if head.isdecimal() else 0, path.name
