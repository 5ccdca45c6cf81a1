"""``metaopt ablate``: a candidate beside itself without one part of its change, part by part.

All on the same papers and draws.  Nothing is written into the run; the trees that lack something
are commits of a repository that is gone afterwards, and files below the measurement's folder.
"""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from inner_agent.errors import UserError
from inner_agent.sandbox import Mode, choose_mode
from metaopt.config import RunConfig
from metaopt.gate import gate, rules_of
from metaopt.harnesses import Source
from metaopt.hunks import Group, Hunk, runnable_groups, split_diff, take_back
from metaopt.measure import (
    Measured,
    measure_open,
    no_trace,
    part_papers,
    plan_of,
    refuse_other_measurement,
)
from metaopt.population import Candidate
from metaopt.record import RunRecord, find, open_record
from metaopt.repo import HarnessRepo
from metaopt.runner import say
from metaopt.smoke import Smoke
from metaopt.text import several
from metaopt.tree import Tree

WHOLE, BEFORE = "candidate", "before"


@dataclass(frozen=True, slots=True)
class Ablated:
    """What was measured.  ``arms`` names, for each group, the arm without it (``None``: it can't
    be taken back alone); several may be one arm, ``BEFORE`` among them, where the trees are one.
    """

    candidate: Candidate
    against: Candidate
    hunks: Sequence[Hunk]
    groups: Sequence[Group]
    arms: Sequence[str | None]
    measured: Measured


def take_apart(
    run: Path, name: str, out: Path, part: str, limit: int | None, repeats: int,
    baseline: bool = False, config: RunConfig | None = None,
) -> Ablated:  # fmt: skip
    """Measure, or go on measuring, candidate ``name`` of a run in the folder ``out``.

    Taken back is its change to its parent, or to the baseline.  ``limit`` takes the first papers
    of ``part``; ``config`` is the run's own unless one is given.  Raises ``UserError`` and
    ``Stopped`` as ``metaopt.measure.measure`` does.
    """
    record = open_record(run)
    config = config or record.config
    candidate = find(record, name).made()
    if candidate.parent is None:
        raise UserError("the baseline differs from nothing; name another candidate")
    against = find(record, "0" if baseline else str(candidate.parent)).made()
    with no_trace(out), _scratch_repository(record, candidate) as repo:
        papers = part_papers(config, out, part, limit)
        before, after = repo.read(against.commit), repo.read(candidate.commit)
        hunks = split_diff(before, after, partial(repo.file_diff, against.commit, candidate.commit))
        if not hunks:
            raise UserError(f"candidate {candidate.id} is candidate {against.id}: no hunk differs")
        sources = {
            WHOLE: Source(repo, candidate.commit, candidate.tree),
            BEFORE: Source(repo, against.commit, against.tree),
        }
        begun = plan_of(sources, part, papers, repeats)
        refuse_other_measurement(out, config, begun, more=True)
        say(f"{several(len(hunks), 'hunk')}: seeing which can be taken back alone")
        groups = asyncio.run(_groups(config, choose_mode(config), before, after, hunks))
        arms: list[str | None] = []
        for group in groups:
            back = [hunks[k] for k in group.members]
            tree = take_back(before, after, hunks, back)
            arms.append(None if group.problem else _add(sources, repo, against, tree, group))
        say(f"{several(len(sources) * len(papers) * repeats, 'rollout')}:"
            f" {several(len(sources), 'harness')} on {several(len(papers), 'paper')},"
            f" {several(repeats, 'repeat')}")  # fmt: skip
        measured = measure_open(config, out, sources, part, papers, repeats)
    return Ablated(candidate, against, hunks, groups, arms, measured)


def label(group: Group) -> str:
    """The hunks' numbers, from 1: ``2`` or ``2+5``."""
    return "+".join(str(k + 1) for k in group.members)


@contextmanager
def _scratch_repository(record: RunRecord, candidate: Candidate) -> Iterator[HarnessRepo]:
    """The candidate and what it comes from, in a repository of their own."""
    with closing(record.repo()):
        pass  # says what is missing
    home = {"repo": str((record.folder / "harness.git").resolve()), "patch": ""}
    harness = record.config.harness.model_copy(
        update={**home, "ref": f"refs/candidates/{candidate.id}"}
    )
    with (
        tempfile.TemporaryDirectory(prefix="metaopt-ablate-") as scratch,
        closing(HarnessRepo(Path(scratch, "harness.git"), harness)) as repo,
    ):
        yield repo


def _add(
    sources: dict[str, Source], repo: HarnessRepo, against: Candidate, tree: Tree, group: Group
) -> str:
    """The arm with this tree, a new one if none has it.

    Committed on what the candidate is compared with: files that are as they were there keep their
    modes as well.
    """
    commit = repo.commit(against.commit, tree, f"Without {label(group)}\n")
    made = Source(repo, commit, repo.tree_id(commit))
    for name, source in sources.items():
        if source.tree == made.tree:
            return name
    name = f"without {label(group)}"
    sources[name] = made
    return name


async def _groups(
    config: RunConfig, mode: Mode, before: Tree, after: Tree, hunks: Sequence[Hunk]
) -> list[Group]:
    rules = rules_of(config)
    with tempfile.TemporaryDirectory(prefix="metaopt-smoke-") as scratch:
        smoke = Smoke(mode, config.limits, Path(scratch, "smoke"))

        async def check(tree: Tree) -> list[str]:
            return await gate(tree, before, rules, smoke)

        try:
            if problems := await check(after):
                raise UserError(f"the candidate doesn't run here: {problems[0]}")
            return await runnable_groups(before, after, hunks, check)
        finally:
            await smoke.close()
