"""The seal on a run's test papers: when they were opened, for which candidates, what they showed.

``test.json`` in the run's folder gets an opening before the first rollout on a test paper, synced,
so that no crash leaves an opening that nobody knows of.  The passes are filled in at its end; an
opening without them was interrupted, and is gone on with rather than repeated.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from inner_agent.durable import write_files
from inner_agent.errors import UserError
from inner_agent.papers import Paper
from metaopt.record import RunRecord, find
from metaopt.text import moment, several

NAME = "test.json"
ARMS = ("best", "baseline", "paper")


class Arm(BaseModel):
    """One candidate on the test papers; ``runs`` has a row of passes, paper by paper, a repeat."""

    model_config = ConfigDict(frozen=True)
    candidate: int
    runs: tuple[tuple[bool, ...], ...] = ()

    @property
    def rate(self) -> float:
        """Pass rate over all repeats."""
        return sum(map(sum, self.runs)) / sum(map(len, self.runs))


class Opening(BaseModel):
    """The test papers, opened once.  ``at``: seconds since the epoch; ``again``: not the first.

    ``sha256`` are the papers' texts: ids may mean other papers in another folder.
    """

    model_config = ConfigDict(frozen=True)
    at: float
    again: bool
    simulated: bool
    repeats: int
    papers: tuple[str, ...]
    sha256: tuple[str, ...]
    arms: dict[str, Arm]

    @property
    def finished(self) -> bool:
        """Were all of its rollouts made?"""
        return all(arm.runs for arm in self.arms.values())

    def told(self) -> str:
        """When it was, and what it showed."""
        if not self.finished:
            return f"{moment(self.at)}, not finished"
        rates = ", ".join(
            f"{name} {arm.rate:.1%}" + (f" (candidate {arm.candidate})" if arm.candidate else "")
            for name, arm in self.arms.items()
        )
        papers = f"{several(len(self.papers), 'paper')} × {several(self.repeats, 'repeat')}"
        return f"{moment(self.at)}: {rates} on {papers}"


class _File(BaseModel):
    """All of ``test.json``."""

    openings: tuple[Opening, ...] = ()


def openings(folder: Path) -> list[Opening]:
    """How often the test papers of the run in ``folder`` were opened, the first one first.

    Raises ``UserError`` for a file that isn't whole: nobody can tell then whether they were.
    """
    path = folder / NAME
    try:
        return list(_File.model_validate_json(path.read_bytes()).openings)
    except FileNotFoundError:
        return []
    except OSError as e:
        raise UserError(f"{path}: can't be read ({e.strerror})") from None
    except ValidationError as e:
        where = ".".join(map(str, e.errors()[0]["loc"]))
        raise UserError(
            f"{path}: not what metaopt test wrote ({where or e.errors()[0]['msg']}); restore it"
        ) from None


def open_seal(
    record: RunRecord, papers: Sequence[Paper], repeats: int | None, again: bool
) -> Opening:
    """Break the seal, on disk when this returns; or give back an opening that was interrupted.

    The caller holds the run.  Raises ``UserError`` for a run that isn't finished, for a second
    opening without ``again``, and for another number of ``repeats`` than the interrupted one's.
    """
    before = openings(record.folder)
    if before and not before[-1].finished:
        return _unfinished(record, before[-1], papers, repeats)
    if before and not again:
        raise UserError(
            f"{record.folder}: the test papers were opened on {before[-1].told()}; another look"
            " is no test any more: --again takes it, and it stays on record"
        )
    _refuse_unfinished_run(record)
    opening = Opening(
        at=time.time(),
        again=bool(before),
        simulated=record.config.simulated,
        repeats=repeats or 1,
        papers=tuple(p.id for p in papers),
        sha256=tuple(p.sha256 for p in papers),
        arms={name: Arm(candidate=find(record, name).id) for name in ARMS},
    )
    _write(record.folder, [*before, opening])
    return opening


def close_opening(folder: Path, passes: Mapping[int, Sequence[Sequence[bool]]]) -> Opening:
    """Fill in what the last opening showed: each candidate's passes, a row a repeat."""
    *before, last = openings(folder)
    arms = {
        name: Arm(candidate=arm.candidate, runs=tuple(map(tuple, passes[arm.candidate])))
        for name, arm in last.arms.items()
    }
    done = last.model_copy(update={"arms": arms})
    _write(folder, [*before, done])
    return done


def opened_text(folder: Path, between: str = "; ") -> str:
    """How often, what the first opening showed, and the later looks; empty while the seal is
    whole."""
    found = openings(folder)
    if not found:
        return ""
    first = f"opened {times(len(found))}, {'first ' if found[1:] else ''}{found[0].told()}"
    return between.join([first, *(f"looked again, {later.told()}" for later in found[1:])])


def times(count: int) -> str:
    """Once, or how often."""
    return "once" if count == 1 else f"{count} times"


def siblings(folder: Path, sha256: Sequence[str]) -> list[str]:
    """Runs beside this one that opened some of these papers, each with when: what was chosen
    after seeing that isn't blind to them."""
    seen, found = set(sha256), []
    here = folder.resolve()
    for path in sorted(here.parent.glob(f"*/{NAME}")):
        if path.parent == here:
            continue
        try:
            theirs = [o for o in openings(path.parent) if seen.intersection(o.sha256)]
        except UserError:
            continue  # somebody else's file
        if theirs:
            shared = len(seen.intersection(theirs[-1].sha256))
            found.append(f"{path.parent.name} ({moment(theirs[-1].at)}, {shared} papers)")
    return found


def _unfinished(
    record: RunRecord, opening: Opening, papers: Sequence[Paper], repeats: int | None
) -> Opening:
    if repeats not in (None, opening.repeats):
        raise UserError(
            f"{record.folder}: an opening with --repeats {opening.repeats} isn't finished; go on"
            " with it first"
        )
    if tuple(p.sha256 for p in papers) != opening.sha256:
        raise UserError(
            f"{record.folder}: the test papers aren't those of the opening that isn't finished;"
            f" restore {record.config.papers.split}"
        )
    return opening


def _refuse_unfinished_run(record: RunRecord) -> None:
    """Whoever goes on after having seen the test tunes on it; the finalists' re-run is owed too."""
    decided, wanted = len(record.decisions), record.config.search.iterations
    if decided < wanted:
        raise UserError(
            f"{record.folder}: {decided} of {wanted} iterations are decided; a run is tested when"
            f" it is finished: go on with metaopt run, or end it with --set"
            f" search.iterations={max(1, *record.stages)}"
        )
    if record.owes_finalists:
        raise UserError(
            f"{record.folder}: its finalists aren't run again yet, and one of them is the best; go"
            " on with metaopt run"
        )


def _write(folder: Path, found: Sequence[Opening]) -> None:
    text = _File(openings=tuple(found)).model_dump_json(indent=1)
    write_files({folder / NAME: text + "\n"})
