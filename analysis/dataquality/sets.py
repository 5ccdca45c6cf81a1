"""The data sets that are to be measured: their items, and the papers that those are about."""

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.groups import refuse_mixed
from analysis.inspect.rows import checked, items_file, lines, refuse_unfit
from analysis.nothing import none_passed, nothing_in
from inner_agent import generate
from inner_agent.broker import ResultFile
from inner_agent.durable import read_json
from inner_agent.errors import UserError
from inner_agent.generate import HarnessOf
from inner_agent.items import Item, ItemRefused
from inner_agent.papers import Paper
from inner_agent.tasks.choice import TASKS, task_of
from inner_agent.tasks.task import Task
from metaopt.config import RunConfig, read_config
from metaopt.dataquality import DataSet, Kind, Piece
from metaopt.lab import papers_of


@dataclass(slots=True)
class Library:
    """The given config's task, and papers by the sha256 of their file: the config's, then a data
    set's own."""

    config: RunConfig
    cache: Path
    task: Task = field(init=False)
    found: dict[str, Paper] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.task = task_of(self.config)
        self._add(self.config)

    def _add(self, config: RunConfig) -> None:
        for paper in papers_of(config, self.cache).values():
            self.found.setdefault(paper.sha256, paper)

    def task_of_set(self, config: RunConfig) -> str:
        """A data set's task by name.  A module that its config names may be somebody else's, and
        isn't run; the one that the given config names too is known."""
        name = config.task.name
        return self.task.name if name not in TASKS and name == self.config.task.name else name

    def paper(self, data: Path, name: str, sha256: str) -> Paper:
        """Raises ``UserError`` where no paper has these bytes any more."""
        own = data / "config.toml"
        if sha256 not in self.found and own.is_file():
            self._add(read_config(own))
        if sha256 not in self.found:
            raise UserError(
                f"{data}: the text of its paper {name!r} isn't among the config's papers (sha256"
                f" {sha256[:12]}); set papers.path to where it is"
            )
        return self.found[sha256]


@dataclass(frozen=True, slots=True)
class _Found:
    """An item as a data set has it; ``paper`` is its id."""

    paper: str
    sha256: str
    item: Item


@dataclass(frozen=True, slots=True)
class Empty:
    """A data set whose method gave no item of the kind asked for on any of ``tried`` papers."""

    name: str
    simulated: bool
    tried: int
    why: str


def read_sets(
    data: Sequence[Path], kind: Kind, config: RunConfig, cache: Path
) -> tuple[list[DataSet], list[Empty]]:
    """The data sets, each a folder or a ``.jsonl`` file of items (accepted ones only), those whose
    method gave nothing apart; papers that are made are put into ``cache``.

    Raises ``UserError`` for what is no data set, where none has an item of that kind, for one that
    is named twice, for items of another task than the config's, and for simulated ones among
    others.
    """
    places = [path.resolve() for path in data]
    if twice := [path for path in places if places.count(path) > 1]:
        raise UserError(f"{twice[0]}: given twice, but it is one data set; name it once")
    library = Library(config, cache)
    read = _accepted if kind == "accepted" else _final
    names = [os.fsencode(_name(path, data)).decode(errors="replace") for path in data]
    found = [read(path, name, library) for path, name in zip(data, names, strict=True)]
    refuse_mixed([(one.name, one.simulated) for one in found])
    sets = [one for one in found if isinstance(one, DataSet)]
    empty = [one for one in found if isinstance(one, Empty)]
    if not sets:
        instead = "; --items final measures what was handed in, passed or not"
        raise UserError(
            f"{data[0]}: nothing to measure, for {empty[0].why}{instead * (kind == 'accepted')}"
        )
    return sets, empty


def _name(path: Path, others: Sequence[Path]) -> str:
    """What a data set is called: its folder, with those above it where two are the same."""
    place, places = path.resolve(), [other.resolve() for other in others]
    if sum(other.stem == place.stem for other in places) == 1:
        return place.stem
    named = (
        ["/".join(one.parts[-n:]) for one in (place, *places)] for n in range(2, len(place.parts))
    )
    return next((name for name, *every in named if every.count(name) == 1), str(place))


def _accepted(path: Path, name: str, library: Library) -> DataSet | Empty:
    """The lines of ``items.jsonl``."""
    file, trees = items_file(path), set()
    found: list[_Found] = []
    simulated: bool | None = None
    for where, value in lines(file, whole=path.is_dir()):
        line, item = checked(where, value)
        _refuse_other_task(where, line.task, library.task)
        refuse_unfit(where, item, library.task.refusal)
        if simulated not in (None, line.simulated):
            raise UserError(f"{where}: simulated items among others; measure each alone")
        simulated = line.simulated
        trees.add(_tree(value))
        found.append(_Found(line.paper.id, line.paper.sha256, item))
    if not found and path.is_dir():
        if why := none_passed(path):
            return _empty(path, name, library, why)
        raise UserError(nothing_in(path))
    if not found:
        raise UserError(f"{file}: no item; leave it out")
    tree = trees.pop() if len(trees) == 1 else ""
    tried = _papers(path) if path.is_dir() else None
    return _set(path, name, tree, bool(simulated), tried, found, library)


def _refuse_other_task(where: str, task: str, wanted: Task) -> None:
    if task != wanted.name:
        raise UserError(
            f"{where}: of the task {task!r}, where the config's is {wanted.name!r}; items of one"
            " task alone can be measured alike"
        )


def _tree(value: dict[str, Any]) -> str:
    harness = value.get("harness")
    return str(harness.get("tree", "")) if isinstance(harness, dict) else ""


def _empty(path: Path, name: str, library: Library, why: str) -> Empty:
    config = read_config(path / "config.toml")
    _refuse_other_task(str(path), library.task_of_set(config), library.task)
    return Empty(name, config.simulated, _papers(path), why)


def _final(path: Path, name: str, library: Library) -> DataSet | Empty:
    """What each paper's ``result.json`` names as its final item, accepted or not."""
    if not path.is_dir():
        raise UserError(f"{path}: --items final needs the folder that metaopt generate made")
    items_file(path)
    config = read_config(path / "config.toml")
    _refuse_other_task(str(path), library.task_of_set(config), library.task)
    found = [
        _Found(paper, sha256, item)
        for paper, number, sha256 in _slots(path)
        if (
            item := _final_item(
                generate.slot_folder(path, paper, number) / "result.json", library.task
            )
        )
    ]
    if not found and (why := none_passed(path)) and any(path.glob("papers/*/result.json")):
        return _empty(path, name, library, f"{why} or was handed in")
    if not found:
        raise UserError(f"{path}: no result.json below papers/ names a final item; leave it out")
    tree = read_json(path / "harness.json", HarnessOf).tree
    return _set(path, name, tree, config.simulated, _papers(path), found, library)


def _slots(path: Path) -> list[tuple[str, int, str]]:
    """What is done: papers by id, which of its items it is, the paper's sha256."""
    with closing(generate.read_results(path)) as db:
        rows = db.execute("SELECT paper, number, sha256 FROM slots ORDER BY paper, number")
        return rows.fetchall()


def _papers(path: Path) -> int:
    return len({paper for paper, *_ in _slots(path)})


def _final_item(path: Path, task: Task) -> Item | None:
    """The item that a ``result.json`` names as final, if a solver can be shown it."""
    if not path.is_file():
        return None
    result = read_json(path, ResultFile)
    final = result.final()
    try:
        item = result.item_of(final) if final else None
    except ItemRefused:
        return None
    return None if item is None or task.refusal(item) else item


def _set(
    path: Path, name: str, tree: str, simulated: bool, tried: int | None,
    found: Sequence[_Found], library: Library,
) -> DataSet:  # fmt: skip
    pieces = tuple(Piece(library.paper(path, f.paper, f.sha256), f.item) for f in found)
    gave = len({piece.paper.sha256 for piece in pieces})
    return DataSet(name, tree, simulated, tried, gave, pieces)
