"""Candidates and how good they are, from every validation run they ever had."""

from collections.abc import Iterable
from dataclasses import dataclass, field

SHRINK_PAPERS = 25  # a child's own runs are weighed against this many papers at its parent's rate


@dataclass(slots=True)
class Candidate:
    """A harness: a commit in harness.git, named by the iteration that made it (0: baseline).

    ``runs`` has a row for each validation run: (iteration, passes, papers).
    """

    id: int
    parent: int | None
    commit: str
    tree: str
    summary: str = ""
    accepted: bool = True
    runs: list[tuple[int, int, int]] = field(default_factory=list)
    passes: int = 0
    papers: int = 0

    def add_run(self, iteration: int, passes: int, papers: int) -> None:
        """Count one validation run."""
        self.runs.append((iteration, passes, papers))
        self.passes += passes
        self.papers += papers

    @property
    def rate(self) -> float:
        """Pass rate over all validation runs; 0 before the first."""
        return self.passes / self.papers if self.papers else 0.0


def shrunk_rates(population: Iterable[Candidate]) -> dict[int, float]:
    """Each candidate's rate drawn towards its parent's: one lucky run doesn't make a winner.

    A child's prior is ``SHRINK_PAPERS`` papers at its parent's shrunk rate.
    """
    rates: dict[int, float] = {}
    for c in sorted(population, key=lambda c: c.id):  # parents come before their children
        prior = None if c.parent is None else rates.get(c.parent)
        if prior is None:
            rates[c.id] = c.rate
        else:
            rates[c.id] = (c.passes + SHRINK_PAPERS * prior) / (c.papers + SHRINK_PAPERS)
    return rates


def best(population: Iterable[Candidate]) -> Candidate:
    """The candidate to take away: the highest shrunk rate, the oldest of equals."""
    members = list(population)
    rates = shrunk_rates(members)
    return max(members, key=lambda c: (rates[c.id], -c.id))


def highest_average(population: Iterable[Candidate]) -> Candidate:
    """What the published procedure would report: the highest plain average over all validation
    runs, the oldest of equals (Autodata, Kulikov et al. 2026, "Meta-Optimization").
    """
    return max(population, key=lambda c: (c.rate, -c.id))
