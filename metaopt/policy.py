"""Which parent, and is the mutant let in?  Pure and small, behind one seam.

``Paper`` is exactly the published procedure (Autodata, "Meta-Optimization", steps 1 and 6).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from metaopt.population import Candidate


class Policy(Protocol):
    """A search policy decides from scores alone."""

    def choose(self, population: Sequence[Candidate], rng: np.random.Generator) -> Candidate:
        """The next parent."""
        ...

    def admit(self, parent_passes: int, mutant_passes: int, papers: int) -> bool:
        """Does the mutant join the population?  Both were run on the same ``papers`` papers."""
        ...


@dataclass(frozen=True, slots=True)
class Paper:
    """Boltzmann parents, P(c) ∝ exp(s_c / T); both re-run; strictly greater is accepted."""

    temperature: float = 0.1

    def choose(self, population: Sequence[Candidate], rng: np.random.Generator) -> Candidate:
        """Sample by the average over all of a candidate's validation runs."""
        scores = np.array([c.rate for c in population])
        weights = np.exp((scores - scores.max()) / self.temperature)
        return population[int(rng.choice(len(population), p=weights / weights.sum()))]

    def admit(self, parent_passes: int, mutant_passes: int, papers: int) -> bool:
        """Strictly more passes than the parent, on the same papers in the same iteration."""
        return mutant_passes > parent_passes
