"""A run in numbers: a policy's own code searches, and a world stands in for harnesses and papers.

What a policy would do is found by letting it: the expected luck in a run's figures, how often a
gate passes noise, and the comparison of policies all go through here.  The steps are those of
``metaopt.loop``, one iteration at a time.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from metaopt.policy import Choice, Policy
from metaopt.population import Candidate


class World(Protocol):
    """Harnesses, numbered from 0, the baseline; and validation papers, numbered too."""

    @property
    def papers(self) -> int:
        """How many validation papers there are."""
        ...

    def mutate(self, parent: int) -> None:
        """Make the next harness from an old one."""
        ...

    def run(self, harness: int, papers: NDArray[np.int_]) -> list[bool]:
        """Roll a harness out on these papers: which of them passed?"""
        ...


@dataclass(slots=True)
class Rehearsal:
    """A search so far.  ``rollouts`` counts training papers too, ``minibatch`` at a time."""

    policy: Policy
    world: World
    rng: np.random.Generator
    minibatch: int = 10
    candidates: list[Candidate] = field(default_factory=list)
    uses: dict[int, int] = field(default_factory=dict)
    rollouts: int = 0

    def __post_init__(self) -> None:
        self.candidates.append(Candidate(0, None, "", ""))

    def whole(self, harness: int) -> list[bool]:
        """A harness on all validation papers."""
        self.rollouts += self.world.papers
        return self.world.run(harness, np.arange(self.world.papers))

    def validate_baseline(self) -> None:
        """Give the baseline a validation of its own."""
        passed = self.whole(0)
        self.candidates[0].add_run(0, sum(passed), len(passed))

    def iterate(self) -> Candidate:
        """One iteration; the mutant that came of it, accepted or not."""
        i, policy = len(self.candidates), self.policy
        choice = policy.choose(self.candidates, self.rng)
        parent = choice.parent
        self._trace(parent.id)
        self.world.mutate(parent.id)
        beside = self.whole(parent.id) if policy.spending.rerun_parent else []
        passed, stopped = self._validate(choice, i)
        if beside:
            parent.add_run(i, sum(beside), len(beside))
        accepted = not stopped and policy.admit(choice.rate, beside, passed)
        mutant = Candidate(i, parent.id, "", "", accepted=accepted)
        mutant.add_run(i, sum(passed), len(passed))
        self.candidates.append(mutant)
        return mutant

    def _trace(self, parent: int) -> None:
        used = self.uses.get(parent, 0)
        if used % self.policy.spending.trace_uses == 0:
            self.rollouts += self.minibatch
        self.uses[parent] = used + 1

    def _validate(self, choice: Choice, mutant: int) -> tuple[list[bool], str]:
        papers, passed = self.world.papers, list[bool]()
        order = self.rng.permutation(papers)
        block, stopped = self.policy.spending.block or papers, ""
        while len(passed) < papers and not stopped:
            now = order[len(passed) : len(passed) + block]
            passed += self.world.run(mutant, now)
            self.rollouts += len(now)
            stopped = self.policy.hopeless(choice.rate, passed, papers)
        return passed, stopped
