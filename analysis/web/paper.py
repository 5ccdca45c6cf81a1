"""One paper under one harness: its storyboard, its raw messages, and where else it was tried."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from analysis.web.candidate import Side
from analysis.web.exchanges import Exchange, Section, exchanges, sections
from analysis.web.storyboard import Board, storyboard
from analysis.web.trajectories import NoTrajectory, read_trajectory
from inner_agent.errors import UserError
from inner_agent.papers import file_name
from inner_agent.run_paper import PaperResult
from inner_agent.tasks.choice import built_in, trusted
from metaopt.record import RunRecord
from metaopt.show import repeats, validated
from metaopt.store import Store

PARTS = {
    "train": "training",
    "val": "validation",
    "honeypot": "a paper of which nothing can be asked",
}
AGAIN = 6  # other runs of the same harness that are linked


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The same paper in another rollout; ``who`` says whose."""

    who: str
    side: Side


@dataclass(frozen=True, slots=True)
class PaperPage:
    """All that is shown of one rollout.  ``board`` is ``None`` where ``why_not`` says so.

    ``repeated``: it passed, but another paper of the same evaluation got the same question, so it
    is no pass, in ``result`` neither.
    """

    candidate: int
    part: str
    iteration: int
    paper: str
    result: PaperResult
    repeated: bool
    papers: Sequence[str]
    elsewhere: Sequence[Elsewhere]
    board: Board | None
    why_not: str

    @property
    def where(self) -> str:
        """Part and iteration in words."""
        return f"{PARTS.get(self.part, self.part)} in iteration {self.iteration}"

    @property
    def anchor(self) -> str:
        """Its name within a file of several, as ``FileLinks`` calls it."""
        return f"paper-{self.candidate}-{self.part}-{self.iteration}-{file_name(self.paper)}"

    @property
    def place(self) -> int:
        """The how-manieth of its evaluation's papers this one is."""
        return self.papers.index(self.paper) + 1

    @property
    def previous(self) -> str:
        """The paper before this one in the same evaluation, or nothing."""
        return self.papers[self.place - 2] if self.place > 1 else ""

    @property
    def next(self) -> str:
        """The paper after this one in the same evaluation, or nothing."""
        return self.papers[self.place] if self.place < len(self.papers) else ""


@dataclass(frozen=True, slots=True)
class RawPage:
    """The messages of one section, or of one step with all that it repeats."""

    page: PaperPage
    sections: Sequence[Section]
    section: str
    step: int | None
    exchanges: Sequence[Exchange]
    own_prompts: bool


def paper_page(
    record: RunRecord, candidate: int, part: str, iteration: int, file: str
) -> PaperPage:
    """The rollout of the paper whose file is named ``file``.

    Raises ``UserError`` when no such rollout is recorded.
    """
    return _page(record, candidate, part, iteration, file)[0]


def raw_page(
    record: RunRecord, candidate: int, part: str, iteration: int, file: str,
    section: str = "", step: int | None = None,
) -> RawPage:  # fmt: skip
    """The messages of ``section`` (the first one where there is none of that name), or of one
    step.  Raises ``UserError`` when no such rollout is recorded."""
    page, trajectory = _page(record, candidate, part, iteration, file)
    known = built_in(record.config) is not None
    own = known and (record.state.opened or {}).get("prompts") == trusted(record.config)
    config = record.config if own else None
    parts = sections(page.board) if page.board else []
    if step is not None:
        shown = exchanges(trajectory, config, step, step + 1, whole=True)
        return RawPage(page, parts, "", step, shown, own)
    chosen = next((s for s in parts if s.name == section), parts[0] if parts else None)
    shown = exchanges(trajectory, config, chosen.start, chosen.stop) if chosen else []
    return RawPage(page, parts, chosen.name if chosen else "", None, shown, own)


def _page(
    record: RunRecord, candidate: int, part: str, iteration: int, file: str
) -> tuple[PaperPage, Any]:
    with closing(Store(record.folder / "run.db", readonly=True)) as store:
        results = store.results(candidate, part, iteration)
        paper = next((p for p in results if file_name(p) == file), None)
        if paper is None:
            raise UserError(
                f"no rollout of candidate {candidate}, {part}, iteration {iteration} is recorded"
                f" for a paper {file[:200]!r}"
            )
        elsewhere = _elsewhere(record, store, candidate, part, iteration, paper)
        result = _result(record, store, candidate, part, iteration, paper)
    board, why_not, trajectory = None, "", None
    try:
        trajectory = read_trajectory(record.folder, candidate, part, iteration, paper)
        wanted = record.config.models["weak"].attempts
        task = built_in(record.config)
        board = storyboard(trajectory, task.rule if task else None, wanted)
    except NoTrajectory as e:
        why_not = str(e)
    page = PaperPage(
        candidate, part, iteration, paper, result, repeats(result), sorted(results), elsewhere,
        board, why_not,
    )  # fmt: skip
    return page, trajectory


def _elsewhere(
    record: RunRecord, store: Store, candidate: int, part: str, iteration: int, paper: str
) -> list[Elsewhere]:
    """The same paper under the parent, the mutant and the baseline, and under this one again."""
    selected = record.stages.get(candidate, {}).get("selected", {})
    others: dict[str, int] = {"parent": selected["parent"]} if "parent" in selected else {}
    chosen = record.stages.get(iteration, {}).get("selected", {})
    if iteration != candidate and chosen.get("parent") == candidate:
        others["mutant"] = iteration
    if 0 not in (candidate, others.get("parent")):
        others["baseline"] = 0
    found = []
    for who, c in others.items():
        if runs := store.iterations(c, part, paper):
            near = min(runs, key=lambda i: (abs(i - iteration), i))
            told = f"{who} {c}" if c else "baseline"
            found.append(_other(record, store, told, c, part, near, paper, iteration))
    again = [i for i in store.iterations(candidate, part, paper) if i != iteration]
    again = sorted(again, key=lambda i: abs(i - iteration))[:AGAIN]
    found += [
        _other(record, store, "again", candidate, part, i, paper, iteration) for i in sorted(again)
    ]
    return found


def _result(
    record: RunRecord, store: Store, candidate: int, part: str, i: int, paper: str
) -> PaperResult:
    """A rollout's result; one on a validation paper as it counts."""
    counted = validated(record, store, candidate, i) if part == "val" else {}
    return counted.get(paper) or store.results(candidate, part, i)[paper]


def _other(
    record: RunRecord, store: Store, who: str, candidate: int, part: str, i: int, paper: str,
    here: int,
) -> Elsewhere:  # fmt: skip
    result = _result(record, store, candidate, part, i, paper)
    told = who if i == here else f"{who} in iteration {i}"
    return Elsewhere(told, Side(candidate, part, i, result))
