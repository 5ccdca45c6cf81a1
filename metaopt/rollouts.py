"""Rollouts of harnesses on papers: side by side, recorded as they come in, none of them twice.

What a run's iterations and a measurement outside of any run have in common.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inner_agent.durable import write_files
from inner_agent.papers import Paper, file_name, read_paper
from inner_agent.patience import with_patience
from inner_agent.run_paper import PaperResult, Rig, Rollout, run_paper
from inner_agent.sandbox import precompile
from metaopt.config import RunConfig, freeze, refuse_other_config
from metaopt.store import Store
from metaopt.trace import Trace

OUTER = ("harness", "search")  # the config's tables of which rollouts are no function


@dataclass(frozen=True, slots=True)
class Draw:
    """One evaluation of one harness: what its results are kept under, and the name of its draws.

    ``candidate``, ``part`` and ``iteration`` are columns of the store.  The same request under the
    same ``sample`` gets the same reply.  ``fresh`` is as ``run_paper`` takes it.
    """

    candidate: int
    part: str
    iteration: int
    sample: str
    fresh: bool = True


@dataclass(slots=True)
class Rollouts:
    """At most ``limits.rollouts_in_flight`` at a time; trajectories lie below ``folder``."""

    folder: Path
    rig: Rig
    store: Store
    slots: asyncio.Semaphore = field(init=False)
    compiling: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.slots = asyncio.Semaphore(self.rig.config.limits.rollouts_in_flight)

    async def evaluate(
        self,
        draw: Draw,
        export: Callable[[], Path],
        papers: Sequence[Paper],
        progress: Callable[[bool], None],
    ) -> dict[str, PaperResult]:
        """Rollouts on ``papers``, the recorded ones not repeated; ``progress`` after each, told
        whether it was run now.

        ``export`` writes the harness where it isn't there any more, and returns its folder.
        Training rollouts are for reading: one whose trajectory somebody removed is made anew, from
        the recorded replies.
        """
        done = self.store.results(draw.candidate, draw.part, draw.iteration)
        if draw.part == "train":
            where = (draw.iteration, draw.candidate, draw.part)
            done = {p: r for p, r in done.items() if self.trajectory_path(*where, p).exists()}

        async def owed(paper: Paper) -> None:
            done[paper.id] = await self.one(draw, export, paper)
            progress(True)

        async with asyncio.TaskGroup() as group:
            for paper in papers:
                if paper.id in done:
                    progress(False)
                else:
                    group.create_task(owed(paper))
        return {p.id: done[p.id] for p in papers}

    async def one(self, draw: Draw, export: Callable[[], Path], paper: Paper) -> PaperResult:
        """Run one paper and record it.  Raises as ``run_paper`` does."""

        async def work() -> Rollout:
            harness = await self._compiled(export)
            return await run_paper(self.rig, harness, text, draw.sample, fresh=draw.fresh)

        async with self.slots:
            text = read_paper(paper, self.rig.config.papers.max_paper_tokens)
            rollout = await with_patience(work)
        path = self.trajectory_path(draw.iteration, draw.candidate, draw.part, paper.id)
        told = json.dumps(rollout.trajectory, ensure_ascii=False)
        # Before the result: what is recorded as done has its trajectory on disk.
        await asyncio.to_thread(write_files, {path: told})
        self.store.put_result(
            draw.candidate, draw.part, draw.iteration, rollout.result, rollout.timing
        )
        return rollout.result

    async def _compiled(self, export: Callable[[], Path]) -> Path:
        harness = export()  # a cache: somebody may have tidied up
        async with self.compiling:
            if not (harness / "__pycache__").exists():
                await precompile(self.rig.mode, harness, self.rig.config.limits)
        return harness

    def traces(self, i: int, candidate: int, part: str, papers: Sequence[Paper]) -> list[Trace]:
        """The trajectories of one evaluation, in the papers' order."""
        paths = [(p, self.trajectory_path(i, candidate, part, p.id)) for p in papers]
        return [Trace(p.id, json.loads(path.read_text(encoding="utf-8"))) for p, path in paths]

    def trajectory_path(self, i: int, candidate: int, part: str, paper: str) -> Path:
        """Where one rollout's trajectory lies."""
        return trajectory_path(self.folder, i, candidate, part, paper)


def trajectory_path(folder: Path, i: int, candidate: int, part: str, paper: str) -> Path:
    """Where one rollout's trajectory lies in a run's folder; paper ids may hold any character."""
    name = f"{file_name(paper)}.{i}.json"
    return folder / "trajectories" / str(candidate) / part / name


def freeze_inner(folder: Path, config: RunConfig) -> None:
    """Keep in ``config.toml`` what rollouts depend on.  Raises as ``refuse_other_inner`` does."""
    refuse_other_inner(folder, config)
    write_files({folder / "config.toml": freeze(_without_split(config), OUTER)})


def refuse_other_inner(folder: Path, config: RunConfig) -> None:
    """Raise ``UserError`` when the folder was begun with another config for its rollouts."""
    path = folder / "config.toml"
    if path.exists():
        refuse_other_config(path, _without_split(config), folder, OUTER)


def _without_split(config: RunConfig) -> RunConfig:
    papers = config.papers.model_copy(update={"split": ""})
    return config.model_copy(update={"papers": papers})
