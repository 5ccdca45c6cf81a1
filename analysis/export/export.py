"""``metaopt export``: data sets of ``metaopt generate`` into a folder that trainers read.

Two passes: the first checks every item and draws the split, the second writes.  The folder is
made aside and renamed when it is whole.  The same data and options give the same bytes.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from analysis import tasks
from analysis.export.card import Card, Source, summary, write_card
from analysis.export.columns import load_pyarrow
from analysis.export.dataset import DataSet, Entry, PaperOf, entries, open_dataset
from analysis.export.files import Part, Written
from analysis.export.formats import (
    Format,
    LeftOut,
    Place,
    format_of,
    prompt_text,
    qa_id,
)
from analysis.export.rewards import reward_of
from analysis.export.splits import FILE, Split, Wanted, kept_split, make_split
from analysis.nothing import nothing_in
from inner_agent.durable import make_folder, sync_tree
from inner_agent.errors import UserError

PARTS = ("train", "test")
UNLICENSED = "their paper has no licence"
REPEATED = "the same item is in an earlier data set"
TRAINED = "the same text is trained on under another id"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for.  ``allowed``: papers without a licence whose items are wanted all the
    same, all of them where ``allow_unlicensed``; ``keep``: an earlier export whose split holds;
    ``shard``: rows in a file at most."""

    format: str
    wanted: Wanted
    keep: Path | None = None
    completion: str = "reference"
    allow_unlicensed: bool = False
    allowed: Sequence[str] = ()
    name: str = ""
    shard: int = 10_000


@dataclass(frozen=True, slots=True)
class Division:
    """The split, the texts (sha256) in its train part, and the items' kind: their task, and whether
    they have a rubric."""

    split: Split
    trained: frozenset[str]
    kind: tuple[str, bool]


@dataclass(slots=True)
class Tally:
    """What became of the items: left out (by reason, the papers), and the papers written."""

    left_out: dict[str, Counter[str]] = field(default_factory=dict)
    sources: dict[PaperOf, Source] = field(default_factory=dict)
    items: Counter[int] = field(default_factory=Counter)  # by the number of the data set
    longest_prompt: int = 0

    def leave_out(self, why: str, paper: str) -> None:
        """Count an item that isn't written."""
        self.left_out.setdefault(why, Counter())[paper] += 1

    def take(self, number: int, entry: Entry, part: str) -> None:
        """Count an item of data set ``number`` that is written to ``part``."""
        self.sources.setdefault(entry.line.paper, Source(part)).items += 1
        self.items[number] += 1
        self.longest_prompt = max(self.longest_prompt, len(prompt_text(entry)))


def export(folders: Sequence[Path], out: Path, wish: Wish) -> str:
    """Write the data sets to ``out``; returns a summary.

    Raises ``UserError`` for bad input, an ``out`` that is there already, or that can't be written.
    """
    form = format_of(wish.format, wish.completion)
    if form.suffix == "parquet":
        load_pyarrow()
    if os.path.lexists(out):
        raise UserError(f"{out}: is there already; give another --out, or remove it")
    data = _open_all(folders)
    division = _divide(data, wish)
    reward = reward_of(data, division.kind) if form.rewards else None
    tally = Tally()
    with _aside(out) as part:
        written = _write_rows(part / "data", data, form, division, wish, tally)
        card = Card(
            wish.format, wish.name, form, data, division.kind, reward, division.split, written,
            tally.sources, tally.left_out, tally.items, tally.longest_prompt,
        )  # fmt: skip
        write_card(card, part)
        _write(part / FILE, json.dumps(division.split.model_dump(), indent=1) + "\n")
        for name, text in (reward.files if reward else {}).items():
            _write(part / name, text)
    return summary(card, out)


def _open_all(folders: Sequence[Path]) -> list[DataSet]:
    places = [folder.resolve() for folder in folders]
    if twice := [p for p in places if places.count(p) > 1]:
        raise UserError(f"{twice[0]}: given twice; name it once")
    data = [open_dataset(folder) for folder in folders]
    for one in data:
        if one.config.simulated != data[0].config.simulated:
            named = sorted(data, key=lambda d: not d.config.simulated)
            raise UserError(
                f"{named[0].folder} is simulated and {named[-1].folder} isn't: they can't be"
                " mixed; export them apart"
            )
    return data


def _chosen(data: Sequence[DataSet], wish: Wish, tally: Tally) -> Iterator[tuple[int, Entry]]:
    """The items that may be written, each with the number of its data set.

    Raises ``UserError`` for one of another kind than the first.
    """
    seen, first = set(), None
    for number, one in enumerate(data):
        for entry in entries(one):
            first = first or entry.kind
            if reason := tasks.mixed(first, entry.kind):
                raise UserError(f"{entry.where}: {reason}; export each alone")
            ident, paper = qa_id(entry), entry.line.paper
            if not paper.licence and not (wish.allow_unlicensed or paper.id in wish.allowed):
                tally.leave_out(UNLICENSED, paper.id)
            elif ident in seen:
                tally.leave_out(REPEATED, paper.id)
            else:
                seen.add(ident)
                yield number, entry


def _divide(data: Sequence[DataSet], wish: Wish) -> Division:
    """Check everything, and draw the split.  Raises ``UserError``."""
    tally, items, texts = Tally(), Counter[str](), set[tuple[str, str]]()
    kind = (tasks.DEFAULT, True)
    for _, entry in _chosen(data, wish, tally):
        kind = entry.kind
        items[entry.line.paper.id] += 1
        texts.add((entry.line.paper.id, entry.line.paper.sha256))
    refused = tally.left_out.get(UNLICENSED, Counter())
    if unknown := sorted(set(wish.allowed) - items.keys()):
        raise UserError(f"--allow {unknown[0]}: no item is about a paper of that id")
    if not items and refused:
        raise UserError(
            f"{data[0].folder}: no paper has a licence; give --allow-unlicensed, or --allow PAPER,"
            " if you may use them"
        )
    for one in data:
        if next(entries(one), None) is None:
            raise UserError(nothing_in(one.folder))
    split = kept_split(wish.keep) if wish.keep else make_split(items, wish.wanted)
    trained = frozenset(text for paper, text in texts if split.part(paper) == "train")
    if not trained:
        raise UserError(
            f"{data[0].folder}: all {sum(items.values())} items are held out, none is left to"
            " train on; give a lower --test, or another --seed"
        )
    return Division(split, trained, kind)


def _write_rows(
    folder: Path, data: Sequence[DataSet], form: Format, division: Division, wish: Wish,
    tally: Tally,
) -> list[Written]:  # fmt: skip
    folder.mkdir()
    parts = {name: Part(folder, name, form, wish.shard) for name in PARTS}
    try:
        for number, entry in _chosen(data, wish, tally):
            name = division.split.part(entry.line.paper.id)
            try:
                if name == "test" and entry.line.paper.sha256 in division.trained:
                    raise LeftOut(TRAINED)
                row = form.row(entry, Place(name, parts[name].rows))
            except LeftOut as e:
                tally.leave_out(str(e), entry.line.paper.id)
                continue
            parts[name].add(row)
            tally.take(number, entry, name)
        if not parts["train"].rows:
            raise UserError(f"{data[0].folder}: no item has a row in --format {wish.format}")
    except BaseException:
        for part in parts.values():
            part.abandon()
        raise
    return [w for w in (part.close() for part in parts.values()) if w.rows]


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """A folder that becomes ``out`` when the body ends well, and is gone when it doesn't."""
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        make_folder(out.absolute().parent)
        part.mkdir()
        try:
            yield part
            sync_tree(part)
            part.rename(out)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    except (OSError, UnicodeEncodeError) as e:  # pyarrow takes no name that isn't UTF-8
        why = e.strerror if isinstance(e, OSError) else "its name isn't UTF-8"
        raise UserError(f"{out}: can't be written ({why}); give another --out") from None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
