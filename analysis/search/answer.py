"""What a search found, and where each text stands."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.search.index import Progress
from analysis.search.query import Query


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of a text; ``marks`` are half-open ranges of it, in order, that were searched for."""

    text: str
    marks: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A text that was found.

    Where it doesn't belong to a rollout, ``part``, ``paper`` and ``file`` are empty, and
    ``candidate`` is ``None`` where it belongs to the whole run.  ``file`` is relative to the run's
    folder.  ``round`` is 0 for none.  ``score``: the higher, the better, by BM25, comparable
    within a kind only; 0 where there were too many to rank.
    """

    kind: str
    candidate: int | None
    part: str
    iteration: int
    paper: str
    title: str
    round: int
    field: str
    snippet: Snippet
    score: float
    file: str = ""

    @property
    def place(self) -> str:
        """Where in the run it stands: its field, and the rollout that it is from."""
        if not self.paper:
            return self.field
        where = [self.field, *([f"round {self.round}"] if self.round else [])]
        rollout = (f"candidate {self.candidate}", self.part, f"iteration {self.iteration}")
        return " · ".join([*where, *rollout])


@dataclass(frozen=True, slots=True)
class Group:
    """The hits of one kind: ``count`` in all, the best of them; ``ranked`` or else newest first."""

    kind: str
    heading: str
    count: int
    hits: Sequence[Hit]
    ranked: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query found, and how much of the run that covers.  ``notes`` are for people."""

    query: Query
    groups: Sequence[Group]
    progress: Progress
    notes: Sequence[str]
    seconds: float

    @property
    def count(self) -> int:
        """Hits of all kinds."""
        return sum(group.count for group in self.groups)


def covered(progress: Progress) -> str:
    """How much of the run's trajectories an answer covers, as a sentence."""
    if progress.total < 0:
        return "The trajectories aren't indexed yet: their texts aren't among these results."
    if not progress.complete:
        return (
            f"Indexed {progress.done:,} of {progress.total:,} trajectories, the newest iterations"
            " first: what the others hold isn't among these results yet."
        )
    text = f"All of the run's {progress.total:,} trajectories were searched"
    bad = progress.unreadable
    return f"{text} but for {bad:,} that can't be read." if bad else f"{text}."
