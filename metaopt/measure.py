"""Harnesses measured outside of any run: every arm on every paper, several times.

A measurement's folder holds ``arms.json`` (what is compared), ``config.toml`` (what the rollouts
are a function of), ``measured.db`` (results, as in run.db: an arm's number for the candidate, the
repeat for the iteration), ``calls.db``, ``trajectories/``, and ``cache/``, which can be deleted.

**Common random numbers.**  A draw is named by part, repeat and paper and not by its arm, so where
two arms send the same text they get the same reply: what differs between them is their doing.
Repeats differ in all their draws.
"""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inner_agent.calls import CallStore
from inner_agent.errors import UserError
from inner_agent.gateway import Gateway
from inner_agent.generate import write_json
from inner_agent.papers import Paper
from inner_agent.run_paper import PaperResult, Rig
from inner_agent.sandbox import choose_mode
from inner_agent.tasks.choice import other_texts, trusted
from metaopt.config import RunConfig, load_config
from metaopt.harnesses import Source, open_harnesses
from metaopt.integrity import Stand, stand
from metaopt.lab import loop_papers, remove_caches
from metaopt.progress import Progress, run_watched
from metaopt.record import ARMS
from metaopt.rollouts import Draw, Rollouts, freeze_inner, refuse_other_inner
from metaopt.runner import stopped_by_full_disk
from metaopt.store import Store, claim

FORMAT = 1
DATABASE = "measured.db"
CACHE = "cache"


@dataclass(frozen=True, slots=True)
class Arm:
    """A harness that is measured: what it is called, its commit, the id of its tree."""

    name: str
    commit: str
    tree: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: each arm on each of ``papers`` (sha256 by id), ``repeats`` times."""

    arms: tuple[Arm, ...]
    part: str
    papers: Mapping[str, str]
    repeats: int

    def rollouts(self) -> Iterator[tuple[int, str, int, str]]:
        """(arm, part, repeat, paper) of every rollout, the arms side by side: load that comes and
        goes mustn't fall on one of them."""
        for repeat in range(self.repeats):
            for paper in self.papers:
                for arm in range(len(self.arms)):
                    yield arm, self.part, repeat, paper


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of it.  ``results[arm][repeat]`` and ``timing[arm][repeat]`` are by paper id;
    ``stands[arm][repeat]`` says which papers count as passed; ``sizes`` are all that were asked
    for, (papers, repeats), in their order."""

    folder: Path
    config: RunConfig
    plan: Plan
    results: list[list[dict[str, PaperResult]]]
    timing: list[list[dict[str, dict[str, float]]]]
    stands: list[list[Stand]]
    sizes: tuple[tuple[int, int], ...]

    @property
    def simulated(self) -> bool:
        """Was any role played by the simulator?"""
        return self.config.simulated

    def passes(self) -> NDArray[np.float64]:
        """1 where a rollout passed, else 0, by [arm, repeat, paper].

        A question that another paper's rollout has as well doesn't count, as in validation.
        """
        passed = [[set(one.passed) for one in arm] for arm in self.stands]
        return np.array(
            [[[p in one for p in self.plan.papers] for one in arm] for arm in passed], dtype=float
        )

    def numbers(self, of: Callable[[PaperResult], float]) -> NDArray[np.float64]:
        """A number of each rollout, by [arm, repeat, paper]."""
        papers, results = self.plan.papers, self.results
        return np.array(
            [[[of(one[p]) for p in papers] for one in arm] for arm in results], dtype=float
        )

    def in_flight(self) -> NDArray[np.float64]:
        """Calls that were in flight when a rollout began, by [arm, repeat, paper]."""
        papers, timing = self.plan.papers, self.timing
        return np.array([[[one[p]["in_flight"] for p in papers] for one in arm] for arm in timing])


def part_papers(
    config: RunConfig, folder: Path, part: str, limit: int | None = None
) -> list[Paper]:
    """The first ``limit`` papers of a part that the loop may see, all of them without a limit.

    Raises ``UserError`` for the sealed part, an unknown one, when there are fewer papers, and as
    ``refuse_other_folder`` does: synthetic papers are written below ``folder``.
    """
    refuse_other_folder(folder)
    if part == "test":
        raise UserError("--part test: sealed; metaopt test opens it, once. Give val or train")
    split = loop_papers(config, folder / CACHE)
    if part not in split:
        raise UserError(f"--part {part}: give {' or '.join(split)}")
    if limit is not None and limit > len(split[part]):
        raise UserError(f"--papers {limit}: {part} has only {len(split[part])}")
    return split[part][:limit]


def measure(
    config: RunConfig,
    folder: Path,
    wanted: Mapping[str, str | None],
    part: str,
    papers: Sequence[Paper],
    repeats: int,
) -> Measured:
    """Run what is owed, and give back what came of it.

    ``wanted`` has the arms by name, as ``open_harnesses`` takes them; else as ``measure_open``.
    """
    refuse_other_folder(folder)
    with open_harnesses(config.harness, list(wanted.values())) as sources:
        named = dict(zip(wanted, sources, strict=True))
        return measure_open(config, folder, named, part, papers, repeats)


def measure_open(
    config: RunConfig,
    folder: Path,
    sources: Mapping[str, Source],
    part: str,
    papers: Sequence[Paper],
    repeats: int,
) -> Measured:
    """Run what is owed, and give back what came of it.

    ``sources`` has the arms by name; their repositories are open.  Papers and repeats may be
    added later; the arms may not.  Where all is recorded, nothing is run, locked or written.
    Raises ``UserError`` and ``Stopped`` as ``metaopt.runner.run`` does.
    """
    refuse_other_folder(folder)
    plan = plan_of(sources, part, papers, repeats)
    refuse_other_measurement(folder, config, plan)
    if _owed(folder, plan):
        _run(config, folder, plan, list(sources.values()), {p.id: p for p in papers})
    return read_measured(folder, plan)


def plan_of(
    sources: Mapping[str, Source], part: str, papers: Sequence[Paper], repeats: int
) -> Plan:
    """What is to be measured."""
    arms = tuple(Arm(name, source.commit, source.tree) for name, source in sources.items())
    return Plan(arms, part, {p.id: p.sha256 for p in papers}, repeats)


def read_measured(folder: Path, plan: Plan | None = None) -> Measured:
    """Read a measurement, or the part of it that ``plan`` names.  Raises ``UserError``."""
    plan, data = plan or _recorded_plan(folder), _recorded(folder)
    if plan is None or data is None or _owed(folder, plan):
        raise UserError(f"{folder}: not measured to its end; give the command again to go on")
    times = range(plan.repeats)
    results: list[list[dict[str, PaperResult]]] = [[{} for _ in times] for _ in plan.arms]
    timing: list[list[dict[str, dict[str, float]]]] = [[{} for _ in times] for _ in plan.arms]
    with closing(Store(folder / DATABASE, readonly=True)) as store:
        for arm, repeat, result, took in store.timed_results(plan.part):
            if repeat < plan.repeats and result.paper in plan.papers:
                results[arm][repeat][result.paper] = result
                timing[arm][repeat][result.paper] = took
    config = load_config(folder / "config.toml")
    most = config.audit.repeat_max
    stands = [[stand(one, most) for one in arm] for arm in results]
    sizes = tuple((papers, repeats) for papers, repeats in data["sizes"])
    return Measured(folder, config, plan, results, timing, stands, sizes)


@contextmanager
def no_trace(folder: Path) -> Iterator[None]:
    """What is refused before anything was measured leaves no folder behind that wasn't there."""
    there = folder.exists()
    try:
        yield
    except UserError:
        if not there and folder.is_dir() and {p.name for p in folder.iterdir()} <= {CACHE}:
            shutil.rmtree(folder)
        raise


def refuse_other_folder(folder: Path, mark: str = ARMS) -> None:
    """Raise ``UserError`` where ``folder`` holds something else than a measurement, by ``mark``."""
    if folder.is_dir() and not (folder / mark).exists():
        if any(path.name not in ("lock", CACHE) for path in folder.iterdir()):
            raise UserError(f"{folder}: holds something else; give another --out")
    elif folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: not a folder; give another --out")


def _run(
    config: RunConfig, folder: Path, plan: Plan, sources: Sequence[Source],
    papers: Mapping[str, Paper],
) -> None:  # fmt: skip
    mode = choose_mode(config)
    with stopped_by_full_disk(), ExitStack() as held:
        held.enter_context(claim(folder))
        _keep(folder, config, plan)
        freeze_inner(folder, config)
        caches = folder / CACHE / "harness", folder / CACHE / "papers"
        remove_caches(*caches)
        harnesses = [source.export(caches[0]).folder for source in sources]
        calls = held.enter_context(closing(CallStore(folder / "calls.db")))
        store = held.enter_context(closing(Store(folder / DATABASE)))
        rig = Rig(config, Gateway(config, calls), mode, caches[1])
        owed = _owed(folder, plan)
        wanted = sum(1 for _ in plan.rollouts())
        first = wanted - len(owed)
        progress = Progress(rig.gateway, config.simulated, "rollouts", wanted, first, first)
        rollouts = Rollouts(folder, rig, store)
        run_watched(progress, lambda: _all(rollouts, harnesses, papers, owed, progress))


async def _all(
    rollouts: Rollouts, harnesses: Sequence[Path], papers: Mapping[str, Paper],
    owed: Sequence[tuple[int, str, int, str]], progress: Progress,
) -> None:  # fmt: skip
    left = iter(owed)  # shared: there are only as many tasks as run at a time

    async def worker() -> None:
        for arm, part, repeat, paper in left:
            draw = Draw(arm, part, repeat, f"measure/{part}/{repeat}")
            export: Callable[[], Path] = partial(harnesses.__getitem__, arm)
            progress.add(await rollouts.one(draw, export, papers[paper]))

    async with asyncio.TaskGroup() as group:
        for _ in range(rollouts.rig.config.limits.rollouts_in_flight):
            group.create_task(worker())


def _owed(folder: Path, plan: Plan) -> list[tuple[int, str, int, str]]:
    """What isn't recorded yet, in the order in which it is to be run."""
    path = folder / DATABASE
    if not path.exists():
        return list(plan.rollouts())
    with closing(Store(path, readonly=True)) as store:
        done = store.finished()
    return [key for key in plan.rollouts() if key not in done]


def _keep(folder: Path, config: RunConfig, plan: Plan) -> None:
    """Write down what is measured, before anything of it is."""
    old, size = _recorded_plan(folder), [len(plan.papers), plan.repeats]
    sizes = (_recorded(folder) or {"sizes": []})["sizes"]
    if old:
        papers, repeats = {**old.papers, **plan.papers}, max(old.repeats, plan.repeats)
        plan = Plan(plan.arms, plan.part, papers, repeats)
    write_json(
        folder / ARMS,
        {
            "format": FORMAT,
            "metaopt": version("metaopt"),
            "prompts": trusted(config),
            "part": plan.part,
            "repeats": plan.repeats,
            "sizes": sizes if size in sizes else [*sizes, size],
            "arms": [asdict(arm) for arm in plan.arms],
            "papers": dict(plan.papers),
        },
    )


def recorded(path: Path, version: int) -> dict[str, Any] | None:
    """What a measurement's JSON file says that was begun; None where there is none.

    Raises ``UserError`` for one that isn't of format ``version``, or can't be read.
    """
    if not path.exists():
        return None
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] == version:
            return data
    except (ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{path}: can't be read; restore it, or give another --out")


def _recorded(folder: Path) -> dict[str, Any] | None:
    return recorded(folder / ARMS, FORMAT)


def _recorded_plan(folder: Path) -> Plan | None:
    data = _recorded(folder)
    if data is None:
        return None
    arms = tuple(Arm(**arm) for arm in data["arms"])
    return Plan(arms, data["part"], data["papers"], data["repeats"])


def refuse_other_measurement(
    folder: Path, config: RunConfig, plan: Plan, more: bool = False
) -> None:
    """Raise ``UserError`` unless ``plan`` only adds to what this config began in ``folder``.

    ``more``: other arms will follow those that ``plan`` has.
    """
    _refuse_other_plan(folder, config, plan, more)
    refuse_other_inner(folder, config)


def _refuse_other_plan(folder: Path, config: RunConfig, plan: Plan, more: bool) -> None:
    old, data = _recorded_plan(folder), _recorded(folder)
    if old is None or data is None:
        return
    arms = old.arms[: len(plan.arms)] if more else old.arms
    if [a.name for a in arms] != [a.name for a in plan.arms]:
        was = ", ".join(a.name for a in old.arms)
        raise UserError(f"{folder}: begun with the arms {was}; give the same, or another --out")
    for before, now in zip(arms, plan.arms, strict=True):
        if before.tree != now.tree:
            raise UserError(
                f"{folder}: {now.name} is another harness by now (tree {before.tree[:12]}, now"
                f" {now.tree[:12]}); give another --out"
            )
    if old.part != plan.part:
        raise UserError(f"{folder}: begun with --part {old.part}; give the same, or another --out")
    changed = [p for p, digest in plan.papers.items() if old.papers.get(p, digest) != digest]
    if changed:
        raise UserError(f"{folder}: {changed[0]!r} has changed since (sha256); give another --out")
    if names := other_texts(data["prompts"], config):
        raise UserError(
            f"{folder}: begun with another text of {names} (metaopt {data['metaopt']}); restore it,"
            " or give another --out"
        )
