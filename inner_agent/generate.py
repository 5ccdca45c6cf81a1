"""Many papers into a data set: one harness, rollouts side by side, every paper's outcome kept.

The folder of a data set holds ``items.jsonl`` (items that passed), ``results.db`` (how every slot
went: a paper, and which of its items), and below ``papers/`` what the rollouts left:
``result.json`` as the harness submitted it, the solvers' attempts, the trajectory.  Below
``learnings/`` is what each batch taught, where they are made in batches.  A slot is done once it is
in ``results.db``; starting again does what is owed.
"""

import asyncio
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from inner_agent import learnings
from inner_agent.checks import Key, Repeats
from inner_agent.durable import as_written, open_database, read_database, write_files
from inner_agent.errors import UserError
from inner_agent.intake import End, Intake, Kept, Slot
from inner_agent.items import parse_item
from inner_agent.learnings import NOTHING, Ended, Learnings, digest
from inner_agent.papers import file_name, read_paper
from inner_agent.patience import with_patience
from inner_agent.run_paper import PaperResult, Rig, Rollout, run_paper
from inner_agent.told import Told

FORMAT = 1  # of a line of items.jsonl
DATABASE_FORMAT = 2
READABLE = (1, DATABASE_FORMAT)  # one item a paper, before that
SCHEMA = """
CREATE TABLE IF NOT EXISTS results (
  paper TEXT NOT NULL,
  number INTEGER NOT NULL,     -- which item of the paper: 1, 2, …
  sha256 TEXT NOT NULL,        -- of the paper's file
  told INTEGER NOT NULL,       -- the batch whose learnings the challenger had; 0: none
  data TEXT NOT NULL,          -- PaperResult as JSON
  item TEXT,                   -- the line of items.jsonl, if there is one
  timing TEXT NOT NULL,        -- JSON: wall_s, in_flight
  at REAL NOT NULL,            -- seconds since the epoch
  PRIMARY KEY (paper, number)
) WITHOUT ROWID
"""
UPGRADE = f"""
ALTER TABLE results RENAME TO one_each;
{SCHEMA};
INSERT INTO results SELECT paper, 1, sha256, 0, data, item, timing, at FROM one_each;
DROP TABLE one_each
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """The harness that makes the items: its folder, commit, and the id of its tree."""

    folder: Path
    commit: str
    tree: str


class HarnessOf(BaseModel):
    """The same as it is written down, in ``harness.json`` and with each item."""

    model_config = ConfigDict(frozen=True)
    commit: str
    tree: str


@dataclass(slots=True)
class Tally:
    """How far it is: slots wanted and done, passed ones (in all, and by which item of its paper it
    is), reasons, outcomes of all rounds."""

    slots: int
    done: int = 0
    passed: int = 0
    repeated: int = 0  # passed, but with a question that another item has as well
    reasons: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)  # where no item could be evaluated
    done_by: Counter[int] = field(default_factory=Counter)
    passed_by: Counter[int] = field(default_factory=Counter)

    def add(self, slot: Slot, result: PaperResult) -> None:
        """Count one slot."""
        self.done += 1
        self.passed += result.passed
        self.done_by[slot.number] += 1
        self.passed_by[slot.number] += result.passed
        self.reasons[result.reason] += 1
        self.outcomes.update(result.outcomes)
        if result.reason == "not_accepted" and result.detail:
            self.refusals[result.detail] += 1


@dataclass(frozen=True, slots=True)
class Row:
    """A slot that is done; ``told``: the batch whose learnings its challenger had (0: none)."""

    result: PaperResult
    told: int
    item: dict[str, Any] | None
    seconds: float

    def end(self, number: int) -> End:
        """What of it the intake goes by."""
        return end_of(self.result, self.seconds, number, self.item)


class Results:
    """``results.db``: one row a slot, committed when ``put`` returns."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.  Raises ``UserError`` for another version's, and for rows that
        aren't what was written, here and below."""
        self._db = open_database(
            path, SCHEMA, DATABASE_FORMAT, synchronous="NORMAL", upgrade=UPGRADE
        )
        self._path = path
        _refuse_odd_rows(self._db, "results", path)

    def get(self, slot: Slot) -> Row | None:
        """How this very slot (same paper id, same bytes) went, if it is done."""
        row = self._db.execute(
            "SELECT data, told, item, timing FROM results"
            " WHERE paper = ? AND number = ? AND sha256 = ?",
            (*slot.key, slot.paper.sha256),
        ).fetchone()
        if row is None:
            return None
        with as_written(self._path, f"the result of {slot.paper.id!r}"):
            result, item = PaperResult.model_validate_json(row[0]), json.loads(row[2] or "null")
            if item is not None:
                parse_item(item)
            return Row(result, row[1], item, float(json.loads(row[3])["wall_s"]))

    def put(self, slot: Slot, rollout: Rollout, item: str | None, told: int = 0) -> None:
        """Record a rollout."""
        self._db.execute(
            "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*slot.key, slot.paper.sha256, told, rollout.result.model_dump_json(), item,
             json.dumps(rollout.timing), time.time()),
        )  # fmt: skip

    def items(self) -> Iterator[tuple[Key, str]]:
        """Slot and line of ``items.jsonl`` of everything that passed, by paper id and number."""
        rows = self._db.execute(
            "SELECT paper, number, item FROM results WHERE item IS NOT NULL ORDER BY paper, number"
        )
        yield from (((paper, number), item) for paper, number, item in rows)

    def taken(self, slot: Slot) -> list[dict[str, Any]]:
        """The items that passed of the same paper before this one."""
        earlier = (self.get(Slot(slot.paper, n)) for n in range(1, slot.number))
        return [row.item for row in earlier if row and row.item]

    def repeated(self, limit: float) -> set[Key]:
        """Items that passed and repeat another one's question, as ``Repeats`` has it."""
        repeats = Repeats(limit)
        for paper, number, question, whole in self._db.execute(
            "SELECT paper, number, data ->> '$.question', item ->> '$.question' FROM results"
            " WHERE item IS NOT NULL"
        ):
            repeats.add(paper, question, number, whole)
        return repeats.same

    def close(self) -> None:
        """Close the file."""
        self._db.close()


@dataclass(frozen=True, slots=True)
class Job:
    """A data set being made.  ``batch``: so many slots at a time, with learnings in between;
    ``progress`` is told of each slot that is done, ``say`` whatever else there is to say."""

    folder: Path
    rig: Rig
    origin: Origin
    intake: Intake
    results: Results
    tally: Tally
    batch: int | None = None
    progress: Callable[[PaperResult], None] = lambda _result: None
    say: Callable[[str], None] = lambda _line: None

    @property
    def sample(self) -> str:
        """How the names of all its draws begin."""
        return f"{self.origin.tree[:16]}/generate"

    def count(self, slot: Slot, result: PaperResult) -> None:
        """A slot is done."""
        self.tally.add(slot, result)
        self.progress(result)


async def generate(job: Job) -> None:
    """Run the harness on the slots of ``job.intake`` that are owed, ``limits.rollouts_in_flight``
    at a time, until it gives out no more; rollouts in flight are then waited for.

    A batch begins when all of the one before has ended and its learnings are recorded.  Raises (in
    an ``ExceptionGroup``) ``ProviderError`` when an endpoint keeps failing and ``BudgetExhausted``;
    what is done stays done, and ``items.jsonl`` holds all of it that counts.  Raises ``UserError``
    where what is recorded was made in other batches.
    """
    intake = job.intake
    _take_recorded(job)
    write_items(job)  # a crash may have left it a line short
    size = job.batch or max(1, len(intake.slots))
    known, so_far = NOTHING, Kept(Repeats(intake.repeat_max))
    try:
        for start in range(0, len(intake.slots), size):
            if not intake.owed(start):
                break
            batch = start // size
            if batch:
                known = await _learned(
                    job, batch, intake.slots[start - size : start], known, so_far
                )
            async with asyncio.TaskGroup() as group:
                for _ in range(job.rig.config.limits.rollouts_in_flight):
                    group.create_task(_worker(job, start + size, known.text(), batch))
        for line in lost_learnings(job.folder):  # nothing more is made, so nothing needs them
            job.say(line)
    finally:
        job.tally.repeated = write_items(job)


def _take_recorded(job: Job) -> None:
    ends = []
    for place, slot in enumerate(job.intake.slots):
        if row := job.results.get(slot):
            if row.told != (place // job.batch if job.batch else 0):
                raise UserError(
                    f"{job.folder}: item {slot.number} of {slot.paper.id!r} was made in another"
                    " batch; give the same papers in the same order (new ones at the end), or"
                    " another --out"
                )
            ends.append(row.end(slot.number))
            job.count(slot, row.result)
    job.intake.recorded(ends)


async def _learned(
    job: Job, batch: int, slots: Sequence[Slot], former: Learnings, so_far: Kept
) -> Learnings:
    """What the ``batch``-th batch teaches, recorded.  ``so_far`` has the items of those before."""
    for slot in slots:
        so_far.add(job.intake.ends[slot.key])
    note = learnings.recorded(job.folder, batch, [slot.key for slot in slots])
    if note is None:
        ended = [_ended(job, slot, so_far) for slot in slots]
        config, sample = job.rig.config, f"{job.sample}/learnings-{batch}"
        note = await with_patience(
            lambda: learnings.learn(job.rig.gateway.ask, config, batch, ended, former, sample)
        )
        await asyncio.to_thread(learnings.write, job.folder, note)
        if note.carried_over:
            job.say(f"batch {batch}: the analyzer gave no learnings that can be used ({note.why});"
                    " going on with the former ones")  # fmt: skip
    return note.learnings


def _ended(job: Job, slot: Slot, so_far: Kept) -> Ended:
    path = slot_folder(job.folder, *slot.key) / "trajectory.json"
    repeats = slot.key in so_far.repeats.same
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        ended = Ended(slot.key, slot.paper.title, told["result"], told["rounds"], repeats)
        digest([ended])  # whatever the agent is shown of it is there
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as e:
        raise UserError(
            f"{path}: can't be read ({e}), and the next batch learns from it; put it back"
        ) from None
    return ended


async def _worker(job: Job, stop: int, known: str, batch: int) -> None:
    while slot := await job.intake.next(stop):
        told = Told(job.results.taken(slot), known, batch)
        rollout, line = await _one(job, slot, told)
        seconds = rollout.timing["wall_s"]
        job.intake.ended(end_of(rollout.result, seconds, slot.number, line))
        job.count(slot, rollout.result)


def end_of(
    result: PaperResult, seconds: float, number: int = 1, item: Mapping[str, Any] | None = None
) -> End:
    """What of a rollout the intake goes by; it took so many seconds and gave this item, if any."""
    tokens = result.prompt_tokens + result.completion_tokens
    whole = item["question"] if item else ""
    return End(result.paper, result.passed, result.question, result.usd, result.calls, tokens,
               seconds, number, whole)  # fmt: skip


async def _one(job: Job, slot: Slot, told: Told) -> tuple[Rollout, dict[str, Any] | None]:
    """Run one slot and record it; the line of ``items.jsonl`` if it passed."""
    paper, rig = slot.paper, job.rig
    text = read_paper(paper, rig.config.papers.max_paper_tokens)
    # The paper's id: two papers may have one title, and are still two draws.
    sample = f"{job.sample}/{paper.id}" + (f"/item-{slot.number}" if slot.number > 1 else "")
    rollout = await with_patience(
        lambda: run_paper(rig, job.origin.folder, text, sample, fresh=True, told=told.text())
    )
    line = item_line(slot, job.origin, rollout) if rollout.result.passed else None
    shown = json.dumps(line, ensure_ascii=False) if line else None
    # Files first: what is recorded as done has its files on disk.
    await asyncio.to_thread(write_rollout, slot_folder(job.folder, *slot.key), rollout)
    job.results.put(slot, rollout, shown, told.batch)
    if shown:
        _append(job.folder / "items.jsonl", shown)
    return rollout, line


def slot_folder(folder: Path, paper: str, number: int) -> Path:
    """Where a data set has what the rollout on one slot left."""
    place = folder / "papers" / file_name(paper)
    return place if number == 1 else place / f"item-{number}"


def item_line(slot: Slot, origin: Origin, rollout: Rollout) -> dict[str, Any]:
    """One line of ``items.jsonl``; averages are fractions, of the fresh attempts if there are."""
    assert rollout.item is not None
    result, paper = rollout.result, slot.paper
    return {
        "format": FORMAT,
        "simulated": rollout.trajectory["simulated"],
        "paper": {"id": paper.id, "title": paper.title, "sha256": paper.sha256,
                  "licence": paper.licence},
        "number": slot.number,
        "harness": {"commit": origin.commit, "tree": origin.tree},
        "task": rollout.trajectory["task"],
        **rollout.item.model_dump(),
        "weak_avg": result.weak_avg,
        "strong_avg": result.strong_avg,
        "gap": result.gap,
        "rounds": result.rounds,
        "other_verdict": result.other_verdict,
        **({"review": result.review} if result.review else {}),
    }  # fmt: skip


def write_rollout(folder: Path, rollout: Rollout) -> None:
    """Put what a rollout left on disk, in ``folder``: result.json, attempts, trajectory."""
    left: dict[Path, Mapping[str, Any]] = {}
    if rollout.submitted:
        left[folder / "result.json"] = rollout.submitted.model_dump()
    steps = [s for s in rollout.trajectory["steps"] if s["kind"] in ("evaluate", "fresh")]
    for number, step in enumerate(steps, 1):
        item = parse_item(step["item"]).sha256[:12]
        name = f"{number:02d}-{step['kind']}-{step['phase']}.json"
        left[folder / "eval_attempts" / item / name] = step
    left[folder / "trajectory.json"] = rollout.trajectory
    write_files({path: _indented(value) for path, value in left.items()})


def write_items(job: Job) -> int:
    """Write ``items.jsonl`` anew from what is recorded, in an order that timing can't change.

    Items whose question another one has as well are left out; returns how many.
    """
    intake, lines = job.intake, dict(job.results.items())
    chosen, left_out = intake.chosen(), intake.repeated
    if chosen is None:
        repeats = job.results.repeated(intake.repeat_max)
        chosen, left_out = lines.keys() - repeats, len(repeats)
    kept = "".join(f"{line}\n" for key, line in lines.items() if key in chosen)
    write_files({job.folder / "items.jsonl": kept})
    return left_out


def read_results(folder: Path) -> sqlite3.Connection:
    """``results.db`` of a data set, to read: a view ``slots`` of the table ``results``, in which
    an older file's only items have the number 1 too.  Raises ``UserError``, also for a row of
    other types than were written."""
    db = read_database(folder / "results.db", *READABLE)
    old = db.execute("PRAGMA user_version").fetchone() == (READABLE[0],)
    later = "1 AS number, 0 AS told" if old else "number, told"
    columns = f"paper, {later}, sha256, data, item, at"
    db.execute(f"CREATE TEMP VIEW slots AS SELECT {columns} FROM results")
    _refuse_odd_rows(db, "slots", folder / "results.db")
    return db


def _refuse_odd_rows(db: sqlite3.Connection, table: str, path: Path) -> None:
    """SQLite takes any value in any column."""
    columns = ("paper", "number", "told", "sha256", "data", "at")
    kinds = " || ".join(f"typeof({column})" for column in columns)
    odd = (
        f"{kinds} <> 'textintegerintegertexttextreal' OR typeof(item) NOT IN ('text', 'null')"
        f" OR told NOT BETWEEN 0 AND (SELECT COUNT(*) FROM {table})"
    )
    if db.execute(f"SELECT 1 FROM {table} WHERE {odd} LIMIT 1").fetchone():
        db.close()
        raise UserError(f"{path}: a result isn't as metaopt wrote it; restore it from a copy")


def lost_learnings(folder: Path) -> list[str]:
    """What items of a data set were told and isn't on record any more, a line a file."""
    with closing(read_results(folder)) as db:
        told = db.execute("SELECT DISTINCT told FROM slots WHERE told > 0 ORDER BY told")
        return learnings.lost(folder, [batch for (batch,) in told])


def _append(path: Path, line: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(line + "\n")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Put indented JSON on disk, making folders as needed."""
    write_files({path: _indented(value)})


def _indented(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
