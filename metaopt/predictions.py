"""Did the papers that an analyzer named become better, and worse, as it said?

Its predictions are about papers of the minibatch that it read, where the mutant never runs by
itself.  So every ``search.audit_analyzer``-th iteration runs the mutant there too, by the same
score.  For nothing, but seldom, the same is learned of an accepted mutant that is a parent later,
on those of its new minibatch's papers that were in the old one.
"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import Any

from inner_agent.papers import Paper
from metaopt.analyzer import Diagnosis
from metaopt.lab import Lab
from metaopt.population import Candidate
from metaopt.record import RunRecord
from metaopt.store import Store
from metaopt.validations import is_control


@dataclass(frozen=True, slots=True)
class Checked:
    """One diagnosis, and what became of its papers: passed by the parent, then by the mutant.

    ``before`` and ``after`` have the same papers, those of the minibatch that the mutant was run
    on: all of them where ``rerun``, else those that it met by itself.
    """

    iteration: int
    diagnosis: Diagnosis
    before: dict[str, bool]
    after: dict[str, bool]
    rerun: bool

    @property
    def fixed(self) -> set[str]:
        """Failed before, passed after."""
        return {p for p, passed in self.after.items() if passed and not self.before[p]}

    @property
    def broken(self) -> set[str]:
        """Passed before, failed after."""
        return {p for p, passed in self.after.items() if not passed and self.before[p]}


async def check_predictions(lab: Lab, i: int, mutant: Candidate, papers: Sequence[Paper]) -> None:
    """Run the mutant of an iteration that is due on the papers that its diagnosis is about."""
    every = lab.config.search.audit_analyzer
    if not every or i % every:
        return

    async def work() -> dict[str, Any]:
        lab.monitor.stage(i, "training papers again", len(papers))
        results = await lab.evaluate(i, mutant, "train", papers)
        return {"papers": [p.id for p in papers], "passed": [results[p.id].passed for p in papers]}

    await lab.once(i, "rerun", work)


def checked(record: RunRecord, iterations: Iterable[int] | None = None) -> list[Checked]:
    """The diagnoses of these iterations (none given: of all) whose predictions can be looked at;
    controls' left out."""
    wanted = sorted(record.stages if iterations is None else iterations)
    with closing(Store(record.folder / "run.db", readonly=True)) as store:

        @cache
        def training(candidate: int) -> dict[str, list[tuple[int, bool]]]:
            """By paper, the candidate's training runs: (iteration, passed), in order."""
            runs: dict[str, list[tuple[int, bool]]] = {}
            for part, i, result in store.results_of(candidate):
                if part == "train":
                    runs.setdefault(result.paper, []).append((i, result.passed))
            return runs

        found = []
        for i in wanted:
            stages = record.stages[i]
            if "implemented" in stages and "diagnosed" in stages and not is_control(record, i):
                before, after = training(stages["selected"]["parent"]), training(i)
                read = [p for p in stages["traced"]["papers"] if p in before and p in after]
                if read:
                    found.append(_check(i, stages, read, before, after))
    return found


def _check(
    i: int,
    stages: dict[str, dict[str, Any]],
    papers: Sequence[str],
    before: dict[str, list[tuple[int, bool]]],
    after: dict[str, list[tuple[int, bool]]],
) -> Checked:
    return Checked(
        iteration=i,
        diagnosis=Diagnosis.model_validate(stages["diagnosed"], strict=False),
        # The parent's last run by then: that is the one the analyzer read.
        before={p: [passed for j, passed in before[p] if j <= i][-1] for p in papers},
        after={p: after[p][0][1] for p in papers},
        rerun="rerun" in stages,
    )
