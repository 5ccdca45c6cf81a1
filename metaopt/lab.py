"""A run's folder, opened for work: config, store, repository, papers, models, jail.

``populations/<run>/``: config.toml, run.db, calls.db, harness.git, trajectories/, and caches
that can be deleted (trees/, papers/, honeypots/, synthetic-*/, smoke/).
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from inner_agent.calls import CallStore
from inner_agent.durable import refuse_odd, sync_folders, sync_tree, write_files
from inner_agent.errors import UserError
from inner_agent.gateway import Gateway
from inner_agent.honeypots import write_papers as write_honeypots
from inner_agent.llm import LLM
from inner_agent.papers import MANIFEST, Paper, find_papers
from inner_agent.run_paper import PaperResult, Rig
from inner_agent.sandbox import choose_mode
from inner_agent.settings import InnerConfig
from inner_agent.synthetic import write_papers
from inner_agent.tasks.choice import other_texts, trusted
from metaopt.config import RunConfig, freeze, refuse_other_config
from metaopt.monitor import Monitor
from metaopt.policy import refuse_whole_screen
from metaopt.population import Candidate
from metaopt.record import what_else
from metaopt.repo import HarnessRepo
from metaopt.rollouts import Draw, Rollouts
from metaopt.smoke import Smoke
from metaopt.splits import digest, read_split
from metaopt.state import State, replay
from metaopt.store import Event, Lock, Store, claim


@dataclass(slots=True)
class Lab:
    """Everything that an iteration works with."""

    folder: Path
    config: RunConfig
    store: Store
    state: State
    repo: HarnessRepo
    gateway: Gateway
    rollouts: Rollouts
    split: dict[str, list[Paper]]
    honeypots: list[Paper]
    smoke: Smoke
    monitor: Monitor
    held: Lock
    trying: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def once(
        self, i: int, kind: str, work: Callable[[], Awaitable[dict[str, Any]]]
    ) -> dict[str, Any]:
        """Do a stage and record it, or give back what an earlier start recorded."""
        recorded = self.state.done(i, kind)
        if recorded is not None:
            return dict(recorded)
        event = Event(i, kind, await work())
        self.store.append(event)
        self.state.apply(event)
        return event.data

    async def evaluate(
        self, i: int, candidate: Candidate, part: str, papers: Sequence[Paper], draws: str = "",
        shown: int | None = None,
    ) -> dict[str, PaperResult]:  # fmt: skip
        """Rollouts of one candidate on ``papers``, the recorded ones not repeated.

        The same harness in the same iteration gets the same replies, but under another name of
        ``draws``.  ``shown``: the iteration under which the progress is seen, if it isn't ``i``.
        """
        sample = f"{candidate.tree[:16]}/{part}/{i}{draws}"
        draw = Draw(candidate.id, part, i, sample, fresh=part != "train")
        seen = i if shown is None else shown

        def export() -> Path:
            return self.repo.export(candidate.commit, self.folder / "trees", candidate.tree)

        return await self.rollouts.evaluate(
            draw, export, papers, lambda run_now: self.monitor.paper_done(seen, run_now)
        )

    async def close(self, say: Callable[[str], None] = lambda _line: None) -> None:
        """Wait for the calls in flight, as ``Gateway.close`` does, and release everything."""
        async with AsyncExitStack() as last_first:
            last_first.callback(self.held.close)
            last_first.callback(self.store.close)
            last_first.callback(self.repo.close)
            last_first.push_async_callback(self.gateway.close, say)
            last_first.push_async_callback(self.smoke.close)


def open_lab(
    config: RunConfig,
    folder: Path,
    monitor: Monitor,
    endpoints: Mapping[str, LLM] | None = None,
) -> Lab:
    """Make or reopen a run's folder.

    Raises ``UserError`` when another process is on it, when the config isn't the run's, when
    papers or split don't fit, or when real endpoints would run without a jail.
    """
    mode, folder = choose_mode(config), folder.absolute()
    with ExitStack() as undo:
        held = undo.enter_context(claim(folder))
        frozen = folder / "config.toml"
        if frozen.exists():
            refuse_odd(frozen)
            _check_whole(folder)
            _same_config_or_nothing_paid(folder, frozen, config)
        remove_caches(folder / "trees", folder / "papers", folder / "honeypots")
        split, pots = loop_papers(config, folder), honeypot_papers(config, folder)
        refuse_whole_screen(config.search, len(split["val"]))
        store = Store(folder / "run.db")
        undo.callback(store.close)
        calls = CallStore(folder / "calls.db")
        undo.callback(calls.close)
        repo = HarnessRepo(folder / "harness.git", config.harness)
        undo.callback(repo.close)
        repo.unlock()
        gateway = Gateway(config, calls, endpoints)
        state = _open_state(store, repo, config, split)
        # Last: a run that never opened holds nobody to its config.
        write_files({frozen: freeze(config)})
        monitor.iterations = config.search.iterations
        rollouts = Rollouts(folder, Rig(config, gateway, mode, folder / "papers"), store)
        smoke = Smoke(mode, config.limits, folder / "smoke")
        undo.pop_all()
        return Lab(
            folder, config, store, state, repo, gateway, rollouts, split, pots, smoke, monitor,
            held,
        )  # fmt: skip


def _check_whole(folder: Path) -> None:
    """A run that was opened before has all its parts; without one, going on would start anew."""
    if not (folder / "run.db").exists() and (other := what_else(folder)):
        raise UserError(f"{folder}: {other}; give another --out")
    for name in ("run.db", "calls.db", "harness.git/HEAD"):
        path = folder / name
        if not path.exists() or not path.stat().st_size:
            raise UserError(
                f"{path}: missing or empty, so this run can't go on; restore it from a copy, or"
                " give another --out"
            )


def _same_config_or_nothing_paid(folder: Path, frozen: Path, config: RunConfig) -> None:
    """Refuse another config, unless no reply was ever recorded: then the run begins anew."""
    try:
        refuse_other_config(frozen, config, folder)
    except UserError:
        with closing(CallStore(folder / "calls.db", readonly=True)) as calls:
            if calls.usage_by_role():
                raise
        shutil.rmtree(folder / "harness.git")
        for path in folder.glob("run.db*"):
            path.unlink()
        sync_folders([folder])  # config.toml last: no power cut leaves another run's events behind
        frozen.unlink()


def loop_papers(config: RunConfig, folder: Path) -> dict[str, list[Paper]]:
    """The papers that the loop may see: training and validation.  Raises ``UserError``."""
    split = _whole_split(config, folder)
    del split["test"]  # sealed: the loop is never given it
    if limit := config.search.validation_papers:
        split["val"] = split["val"][:limit]
    return split


def sealed_papers(config: RunConfig, folder: Path) -> list[Paper]:
    """The test papers, for ``metaopt test`` alone.  Raises ``UserError`` when there are none."""
    if papers := _whole_split(config, folder)["test"]:
        return papers
    raise UserError(f"{config.papers.split}: test is empty, so there is nothing to test on")


def _whole_split(config: RunConfig, folder: Path) -> dict[str, list[Paper]]:
    if not config.papers.split:
        raise UserError("papers.split isn't set; make a split with metaopt split and name it")
    return read_split(Path(config.papers.split), papers_of(config, folder))


def honeypot_papers(config: InnerConfig, folder: Path) -> list[Paper]:
    """Papers of which nothing can be asked, written below ``folder``; none where they are off."""
    if not config.audit.honeypots:
        return []
    target = folder / "honeypots"
    if not (target / MANIFEST).exists():
        write_honeypots(target)
    return list(find_papers(target).values())


def papers_of(config: InnerConfig, folder: Path) -> dict[str, Paper]:
    """The configured papers; ``synthetic:N:SEED`` are generated below ``folder``."""
    if not config.papers.path.startswith("synthetic:"):
        return find_papers(Path(config.papers.path))
    try:
        count, seed = (int(x) for x in config.papers.path.split(":")[1:])
    except ValueError:
        raise UserError(
            f"papers.path = {config.papers.path!r}: write synthetic:COUNT:SEED"
        ) from None
    target = folder / f"synthetic-{count}-{seed}"
    if not target.exists():
        part = target.with_name(f"{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        write_papers(part, count, seed)
        sync_tree(part)
        part.rename(target)
    return find_papers(target)


def remove_caches(*folders: Path) -> None:
    """Begin without what an earlier start left in ``folders``.

    It isn't synced: after a power cut there may be anything in them, and half a harness would be
    scored as a bad one.
    """
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def refuse_other_papers(
    opened: Mapping[str, Any], split: Mapping[str, list[Paper]], config: RunConfig
) -> None:
    """Raise ``UserError`` when training and validation papers aren't those that the run began
    with: its pass rates are on those, and test papers are sealed only if they aren't among them."""
    if opened.get("papers", digest(split)) != digest(split):  # older runs didn't keep it
        raise UserError(
            f"{config.papers.split}: training or validation papers aren't those that this run began"
            " with; restore it"
        )


def _open_state(
    store: Store, repo: HarnessRepo, config: RunConfig, split: Mapping[str, list[Paper]]
) -> State:
    state = replay(store.events())
    if state.opened is None:
        opened = {
            "commit": repo.baseline,
            "tree": repo.tree_id(repo.baseline),
            "simulated": config.simulated,
            "metaopt": version("metaopt"),
            "prompts": trusted(config),
            "papers": digest(split),
        }
        repo.keep(0, repo.baseline)
        repo.mark_best(repo.baseline)
        event = Event(0, "opened", opened)
        store.append(event)
        store.sync()
        state.apply(event)
        return state
    if names := other_texts(state.opened["prompts"], config):
        raise UserError(
            f"this run was started with another text of {names}; restore it (it was metaopt"
            f" {state.opened['metaopt']}), or start anew with another --out"
        )
    refuse_other_papers(state.opened, split, config)
    return state
