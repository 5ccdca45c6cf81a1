"""Many papers into a data set: one harness, rollouts side by side, every paper's outcome kept.

The folder of a data set holds ``items.jsonl`` (items that passed), ``results.db`` (how every paper
went), and below ``papers/`` what the rollouts left: ``result.json`` as the harness submitted it,
the solvers' attempts, the trajectory.  A paper is done once it is in ``results.db``; starting
again does what is owed.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inner_agent.checks import repeated
from inner_agent.durable import open_database, write_files
from inner_agent.intake import End, Intake
from inner_agent.items import parse_item
from inner_agent.papers import Paper, file_name, read_paper
from inner_agent.patience import with_patience
from inner_agent.run_paper import PaperResult, Rig, Rollout, run_paper

FORMAT = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS results (
  paper TEXT PRIMARY KEY,
  sha256 TEXT NOT NULL,        -- of the paper's file
  data TEXT NOT NULL,          -- PaperResult as JSON
  item TEXT,                   -- the line of items.jsonl, if there is one
  timing TEXT NOT NULL,        -- JSON: wall_s, in_flight
  at REAL NOT NULL             -- seconds since the epoch
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """The harness that makes the items: its folder, commit, and the id of its tree."""

    folder: Path
    commit: str
    tree: str


@dataclass(slots=True)
class Tally:
    """How far it is: papers wanted and done, passed ones, reasons, outcomes of all rounds."""

    papers: int
    done: int = 0
    passed: int = 0
    repeated: int = 0  # passed, but with a question that another paper has as well
    reasons: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, result: PaperResult) -> None:
        """Count one paper."""
        self.done += 1
        self.passed += result.passed
        self.reasons[result.reason] += 1
        self.outcomes.update(result.outcomes)


class Results:
    """``results.db``: one row a paper, committed when ``put`` returns."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.  Raises ``UserError`` for another version's."""
        self._db = open_database(path, SCHEMA, FORMAT, synchronous="NORMAL")

    def get(self, paper: Paper) -> tuple[PaperResult, float] | None:
        """How this very paper (same id, same bytes) went, and its seconds, if it is done."""
        row = self._db.execute(
            "SELECT data, timing FROM results WHERE paper = ? AND sha256 = ?",
            (paper.id, paper.sha256),
        ).fetchone()
        if row is None:
            return None
        return PaperResult.model_validate_json(row[0]), json.loads(row[1])["wall_s"]

    def put(self, paper: Paper, rollout: Rollout, item: str | None) -> None:
        """Record a rollout."""
        self._db.execute(
            "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?)",
            (paper.id, paper.sha256, rollout.result.model_dump_json(), item,
             json.dumps(rollout.timing), time.time()),
        )  # fmt: skip

    def items(self) -> Iterator[tuple[str, str]]:
        """Paper id and line of ``items.jsonl`` of every paper that passed, by id."""
        yield from self._db.execute(
            "SELECT paper, item FROM results WHERE item IS NOT NULL ORDER BY paper"
        )

    def questions(self) -> dict[str, str]:
        """The questions of the papers that passed, by id."""
        return dict(
            self._db.execute(
                "SELECT paper, data ->> '$.question' FROM results WHERE item IS NOT NULL"
            )
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()


async def generate(
    rig: Rig,
    origin: Origin,
    intake: Intake,
    results: Results,
    folder: Path,
    tally: Tally,
    progress: Callable[[PaperResult], None],
) -> None:
    """Run the harness on the papers of ``intake`` that are owed, ``limits.rollouts_in_flight`` at
    a time, until it gives out no more; rollouts in flight are then waited for.

    ``tally`` and ``progress`` (told of each paper) say how far it is.  Raises (in an
    ``ExceptionGroup``) ``ProviderError`` when an endpoint keeps failing and ``BudgetExhausted``;
    what is done stays done, and ``items.jsonl`` holds all of it that counts.
    """
    repeat_max = rig.config.audit.repeat_max
    _take_recorded(intake, results, tally, progress)
    write_items(results, folder, intake, repeat_max)  # a crash may have left it a line short
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(rig.config.limits.rollouts_in_flight):
                group.create_task(_worker(rig, origin, intake, results, folder, tally, progress))
    finally:
        tally.repeated = write_items(results, folder, intake, repeat_max)


def _take_recorded(
    intake: Intake, results: Results, tally: Tally, progress: Callable[[PaperResult], None]
) -> None:
    ends = []
    for paper in intake.papers:
        if found := results.get(paper):
            ends.append(end_of(*found))
            tally.add(found[0])
            progress(found[0])
    intake.recorded(ends)


async def _worker(
    rig: Rig, origin: Origin, intake: Intake, results: Results, folder: Path, tally: Tally,
    progress: Callable[[PaperResult], None],
) -> None:  # fmt: skip
    while paper := await intake.next():
        rollout = await _one(rig, origin, paper, results, folder)
        intake.ended(end_of(rollout.result, rollout.timing["wall_s"]))
        tally.add(rollout.result)
        progress(rollout.result)


def end_of(result: PaperResult, seconds: float) -> End:
    """What of a rollout the intake goes by; it took so many seconds."""
    tokens = result.prompt_tokens + result.completion_tokens
    return End(
        result.paper, result.passed, result.question, result.usd, result.calls, tokens, seconds
    )


async def _one(rig: Rig, origin: Origin, paper: Paper, results: Results, folder: Path) -> Rollout:
    text = read_paper(paper, rig.config.papers.max_paper_tokens)
    # The paper's id: two papers may have one title, and are still two draws.
    sample = f"{origin.tree[:16]}/generate/{paper.id}"
    rollout = await with_patience(lambda: run_paper(rig, origin.folder, text, sample, fresh=True))
    line = None
    if rollout.result.passed:
        line = json.dumps(item_line(paper, origin, rollout), ensure_ascii=False)
    # Files first: what is recorded as done has its files on disk.
    await asyncio.to_thread(write_rollout, folder / "papers" / file_name(paper.id), rollout)
    results.put(paper, rollout, line)
    if line:
        _append(folder / "items.jsonl", line)
    return rollout


def item_line(paper: Paper, origin: Origin, rollout: Rollout) -> dict[str, Any]:
    """One line of ``items.jsonl``; averages are fractions, of the fresh attempts if there are."""
    assert rollout.item is not None
    result = rollout.result
    return {
        "format": FORMAT,
        "simulated": rollout.trajectory["simulated"],
        "paper": {"id": paper.id, "title": paper.title, "sha256": paper.sha256,
                  "licence": paper.licence},
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


def write_items(results: Results, folder: Path, intake: Intake, repeat_max: float) -> int:
    """Write ``items.jsonl`` anew from what is recorded, in an order that timing can't change.

    Items whose question another paper has as well are left out; returns how many.
    """
    lines, chosen, left_out = dict(results.items()), intake.chosen(), intake.repeated
    if chosen is None:
        repeats = repeated(results.questions(), repeat_max)
        chosen, left_out = lines.keys() - repeats, len(repeats)
    kept = "".join(f"{line}\n" for paper, line in lines.items() if paper in chosen)
    write_files({folder / "items.jsonl": kept})
    return left_out


def _append(path: Path, line: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(line + "\n")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Put indented JSON on disk, making folders as needed."""
    write_files({path: _indented(value)})


def _indented(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
