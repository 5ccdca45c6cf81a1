"""The data sets that are to be measured: their items, and the papers that those are about."""

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from analysis.groups import refuse_mixed
from analysis.inspect.rows import checked, items_file, lines
from inner_agent import generate, strict_json
from inner_agent.broker import ResultFile
from inner_agent.durable import read_database
from inner_agent.errors import UserError
from inner_agent.items import Item, ItemRefused, first_error
from inner_agent.papers import Paper, file_name
from metaopt.config import RunConfig, load_config
from metaopt.dataquality import DataSet, Kind, Piece
from metaopt.lab import papers_of
from metaopt.measure import CACHE

TASK = "rubric"  # of a data set that doesn't say


@dataclass(slots=True)
class Library:
    """Papers by the sha256 of their file: the given config's, then a data set's own."""

    config: RunConfig
    cache: Path
    found: dict[str, Paper] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._add(self.config)

    def _add(self, config: RunConfig) -> None:
        for paper in papers_of(config, self.cache).values():
            self.found.setdefault(paper.sha256, paper)

    def paper(self, data: Path, name: str, sha256: str) -> Paper:
        """Raises ``UserError`` where no paper has these bytes any more."""
        own = data / "config.toml"
        if sha256 not in self.found and own.is_file():
            self._add(load_config(own))
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


def read_sets(data: Sequence[Path], kind: Kind, config: RunConfig, out: Path) -> list[DataSet]:
    """The data sets, each a folder or a ``.jsonl`` file of items (accepted ones only).

    Raises ``UserError`` for what is no data set or has no item of that kind, for one that is named
    twice, for tasks that differ, from the config's too, and for simulated sets among others.
    """
    places = [path.resolve() for path in data]
    if twice := [path for path in places if places.count(path) > 1]:
        raise UserError(f"{twice[0]}: given twice, but it is one data set; name it once")
    library = Library(config, out / CACHE)
    wanted, found = TASK, []
    for path in data:
        task, one = (_accepted if kind == "accepted" else _final)(path, _name(path, data), library)
        if task != wanted:
            raise UserError(
                f"{path}: its items are of the task {task!r}, the config's is {wanted!r}; data sets"
                " of one task alone can be measured alike"
            )
        found.append(one)
    refuse_mixed([(one.name, one.simulated) for one in found])
    return found


def _name(path: Path, others: Sequence[Path]) -> str:
    """What a data set is called: its folder, with the one above where two are the same."""
    place = path.resolve()
    alike = sum(other.resolve().stem == place.stem for other in others)
    return place.stem if alike == 1 else f"{place.parent.name}/{place.stem}"


def _accepted(path: Path, name: str, library: Library) -> tuple[str, DataSet]:
    """The lines of ``items.jsonl``, of one task."""
    file, task, simulated, trees = items_file(path), "", False, set()
    found: list[_Found] = []
    for where, value in lines(file, whole=path.is_dir()):
        line, item = checked(where, value)
        if found and (task, simulated) != (line.task, line.simulated):
            raise UserError(f"{where}: of another task or kind than those before; measure it apart")
        task, simulated = line.task, line.simulated
        trees.add(_tree(value))
        found.append(_Found(line.paper.id, line.paper.sha256, item))
    if not found:
        raise UserError(f"{file}: no item yet; go on with metaopt generate, or give --items final")
    tree = trees.pop() if len(trees) == 1 else ""
    tried = len(_tried(path)) if path.is_dir() else None
    return task, _set(path, name, tree, simulated, tried, found, library)


def _tree(value: dict[str, Any]) -> str:
    harness = value.get("harness")
    return str(harness.get("tree", "")) if isinstance(harness, dict) else ""


def _final(path: Path, name: str, library: Library) -> tuple[str, DataSet]:
    """What each paper's ``result.json`` names as its final item, accepted or not."""
    if not path.is_dir():
        raise UserError(f"{path}: --items final needs the folder that metaopt generate made")
    items_file(path)
    tried = _tried(path)
    found = [
        _Found(paper, sha256, item)
        for paper, sha256 in tried
        for item in _final_items(path / "papers" / file_name(paper))
    ]
    if not found:
        raise UserError(f"{path}: no result.json below papers/ names a final item; leave it out")
    simulated = load_config(path / "config.toml").simulated
    tree = str(strict_json.loads((path / "harness.json").read_bytes())["tree"])
    return _task(path), _set(path, name, tree, simulated, len(tried), found, library)


def _task(path: Path) -> str:
    config = tomllib.loads((path / "config.toml").read_text(encoding="utf-8"))
    return str(config.get("task", {}).get("name", TASK))


def _tried(path: Path) -> list[tuple[str, str]]:
    """Papers that are done, by id, with their sha256."""
    with closing(read_database(path / "results.db", generate.FORMAT)) as db:
        return db.execute("SELECT paper, sha256 FROM results ORDER BY paper").fetchall()


def _final_items(folder: Path) -> Iterator[Item]:
    """Of a paper's folder: its own result, then those of its further items."""
    further = sorted(folder.glob("item-*/result.json"), key=lambda path: path.parent.name)
    for path in (folder / "result.json", *further):
        if not path.is_file():
            continue
        try:
            result = ResultFile.model_validate(strict_json.loads(path.read_bytes()))
        except strict_json.JSONRefused as e:
            raise UserError(f"{path}: {e}; restore it") from None
        except ValidationError as e:
            raise UserError(f"{path}: {first_error(e, 'file')}; restore it") from None
        final = result.final()
        try:
            if final:
                yield result.item_of(final)
        except ItemRefused:
            continue  # nothing that a solver could be shown


def _set(
    path: Path, name: str, tree: str, simulated: bool, tried: int | None,
    found: Sequence[_Found], library: Library,
) -> DataSet:  # fmt: skip
    pieces = tuple(Piece(library.paper(path, f.paper, f.sha256), f.item) for f in found)
    gave = len({piece.paper.sha256 for piece in pieces})
    return DataSet(name, tree, simulated, tried, gave, pieces)
