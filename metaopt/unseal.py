"""``metaopt test``: the seal is broken on record, then the finished run's candidates are measured.

The only code that asks for test papers.  What it measures lies in the run's folder below
``test/``, a folder for each opening, with a ``calls.db`` of its own.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from inner_agent.errors import UserError
from inner_agent.papers import Paper
from inner_agent.sandbox import choose_mode
from inner_agent.tasks.choice import other_texts
from metaopt.config import RunConfig, load_config, refuse_other_config
from metaopt.harnesses import Source
from metaopt.lab import loop_papers, refuse_other_papers, sealed_papers
from metaopt.measure import Measured, measure_open
from metaopt.record import RunRecord, find, open_record
from metaopt.runner import say
from metaopt.sealed import Opening, close_opening, open_seal, openings, siblings
from metaopt.store import lock
from metaopt.text import several

FOLDER = "test"


def take_test(
    run: Path, repeats: int | None = None, again: bool = False, overrides: Sequence[str] = ()
) -> Opening:
    """Open the test papers of a run, or go on with an opening; returns what it showed.

    ``overrides`` of the run's config are those that going on with it takes as well: budgets,
    connections, the papers' folder.  Raises ``UserError`` as ``open_seal`` does, and ``UserError``
    and ``Stopped`` as ``measure``.
    """
    open_record(run)  # refuses what isn't a run before a lock is left in it
    with lock(run):
        record = open_record(run)
        frozen = run / "config.toml"
        config = load_config(frozen, overrides)
        refuse_other_config(frozen, config, run)
        _refuse_other_prompts(record)
        choose_mode(config)  # before the seal is broken for nothing
        refuse_other_papers(record.state.opened or {}, loop_papers(config, run), config)
        papers = sealed_papers(config, run)
        opening = open_seal(record, papers, repeats, again)
        for line in _beforehand(record, opening):
            say(line)
        measured = _measure(record, config, opening, papers)
        return close_opening(run, _passes(measured, opening))


def _measure(
    record: RunRecord, config: RunConfig, opening: Opening, papers: Sequence[Paper]
) -> Measured:
    """Each harness once, whatever it is in the comparison.  Another opening draws anew."""
    number = len(openings(record.folder))
    part = FOLDER if number == 1 else f"{FOLDER}-{number}"
    with closing(record.repo()) as repo:
        sources = {}
        for ident in sorted({arm.candidate for arm in opening.arms.values()}):
            made = find(record, str(ident)).made()
            sources[str(ident)] = Source(repo, made.commit, made.tree)
        return measure_open(
            config, record.folder / FOLDER / str(number), sources, part, papers, opening.repeats
        )


def _passes(measured: Measured, opening: Opening) -> dict[int, list[list[bool]]]:
    """By candidate: a row a repeat, paper by paper in the opening's order."""
    return {
        int(arm.name): [[p in one.passed for p in opening.papers] for one in stands]
        for arm, stands in zip(measured.plan.arms, measured.stands, strict=True)
    }


def _beforehand(record: RunRecord, opening: Opening) -> list[str]:
    arms = opening.arms
    candidates = {arm.candidate for arm in arms.values()}
    rollouts = len(candidates) * len(opening.papers) * opening.repeats
    lines = [
        f"{several(rollouts, 'rollout')}: {several(len(candidates), 'harness')} on"
        f" {several(len(opening.papers), 'test paper')}, {several(opening.repeats, 'repeat')}; the"
        " budget in the run's config counts anew for them"
    ]
    for ident in sorted(candidates):
        names = [name for name, arm in arms.items() if arm.candidate == ident]
        if len(names) > 1:
            lines.append(f"{', '.join(names)}: one harness (candidate {ident}), run once")
    if others := siblings(record.folder, opening.sha256):
        lines.append(
            f"note: test papers of this run were opened before, in {', '.join(others)}; what was"
            " chosen after that isn't blind to them"
        )
    return lines


def _refuse_other_prompts(record: RunRecord) -> None:
    opened = record.state.opened
    if opened is None:
        raise UserError(f"{record.folder}: a run of an older metaopt; test it with that")
    if names := other_texts(opened["prompts"], record.config):
        raise UserError(
            f"{record.folder}: a run with another text of {names}; restore it, or test the run with"
            f" metaopt {opened['metaopt']}"
        )
