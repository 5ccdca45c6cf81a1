"""Which papers of a data set are begun, and which items count once so many are wanted.

Items count by the papers' order, not by when a rollout ended: the data set ends with the first
paper at which ``accept`` items are kept (passed, and with a question that no paper up to there
has as well).  So what is kept is a function of harness, config, papers and ``accept``; a paper
that was begun beyond that end stays recorded, for a larger number.

What is foretold is foretold from the *front*: the papers from the first one on whose rollouts have
all ended.  Among those that ended so far there are too many that ended fast, and a harness that
fails fast, or accepts fast, would be over-counted.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from inner_agent.checks import Repeats
from inner_agent.papers import Paper


@dataclass(frozen=True, slots=True)
class End:
    """How a rollout ended, as far as it matters here; seconds of wall time, tokens both ways."""

    paper: str
    passed: bool
    question: str
    usd: float
    calls: int
    tokens: int
    seconds: float


@dataclass(slots=True)
class _Kept:
    """Passed papers, repeats taken out.  A later repeat takes an earlier item out as well."""

    repeats: Repeats
    passed: list[str] = field(default_factory=list)

    def add(self, end: End) -> None:
        if end.passed:
            self.passed.append(end.paper)
            self.repeats.add(end.paper, end.question)

    def papers(self) -> list[str]:
        return [paper for paper in self.passed if paper not in self.repeats.same]

    def count(self) -> int:
        return len(self.passed) - len(self.repeats.same)


class Intake:
    """Papers in their order, each given out once, until enough items are kept or it is stopped.

    ``stop`` is asked whenever the front moved while items are still wanted, and gives the reason
    to begin nothing more, or ``""``.
    """

    def __init__(
        self,
        papers: Sequence[Paper],
        repeat_max: float,
        accept: int | None = None,
        stop: Callable[["Intake"], str] = lambda _intake: "",
    ) -> None:
        self.papers, self.accept = papers, accept
        self.front: list[End] = []
        self.ends: dict[str, End] = {}
        self.stopped = ""
        self._stop = stop
        self._kept = _Kept(Repeats(repeat_max))  # of the front
        self._soon = _Kept(Repeats(repeat_max))  # of all that ended
        self._next = 0
        self._changed = asyncio.Event()

    @property
    def kept(self) -> int:
        """Items kept at the front."""
        return self._kept.count()

    @property
    def kept_of_front(self) -> list[bool]:
        """Is it kept?  For each paper of the front."""
        same = self._kept.repeats.same
        return [end.passed and end.paper not in same for end in self.front]

    @property
    def full(self) -> bool:
        """Are there as many as are wanted?"""
        return self.accept is not None and self.kept >= self.accept

    @property
    def repeated(self) -> int:
        """Passed papers of the front whose question is also another's."""
        return len(self._kept.repeats.same)

    @property
    def passed_beyond(self) -> int:
        """Papers beyond the front that passed."""
        return len(self._soon.passed) - len(self._kept.passed)

    def chosen(self) -> set[str] | None:
        """Papers whose items make the data set; ``None``: all, where no number is wanted.

        Before the front has enough of them, those that ended beyond it count as well.
        """
        if self.accept is None:
            return None
        if self.full:
            return set(self._kept.papers())
        soon = set(self._soon.papers())
        return set([paper.id for paper in self.papers if paper.id in soon][: self.accept])

    def recorded(self, ends: Sequence[End]) -> None:
        """Papers that ended in an earlier start."""
        for end in ends:
            self._add(end)
        self._ask()

    def ended(self, end: End) -> None:
        """A paper that was given out has ended."""
        self._add(end)
        self._ask()

    async def next(self) -> Paper | None:
        """The next paper to begin; ``None`` once nothing more is to be begun.

        Waits while the items that are there would be enough, should none of the rollouts in
        flight take one out: nothing is begun that won't be needed.
        """
        while not (self.full or self.stopped):
            while self._next < len(self.papers) and self.papers[self._next].id in self.ends:
                self._next += 1
            if self._next == len(self.papers):
                return None
            if self._wanted(self._next):
                self._next += 1
                return self.papers[self._next - 1]
            self._changed.clear()
            await self._changed.wait()
        return None

    def _wanted(self, number: int) -> bool:
        """Are there too few items before paper ``number``, as far as rollouts have ended?"""
        if self.accept is None or self._soon.count() < self.accept:
            return True
        before = {paper.id for paper in self.papers[:number]}
        return len(before.intersection(self._soon.papers())) < self.accept

    def _add(self, end: End) -> None:
        self.ends[end.paper] = end
        self._soon.add(end)
        while not self.full and len(self.front) < len(self.papers):
            following = self.ends.get(self.papers[len(self.front)].id)
            if following is None:
                break
            self.front.append(following)
            self._kept.add(following)
        self._changed.set()

    def _ask(self) -> None:
        if self.accept is not None and not self.full and not self.stopped:
            self.stopped = self._stop(self)
            self._changed.set()
