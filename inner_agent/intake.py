"""Which items of a data set are begun, and which count once so many are wanted.

What is begun is a *slot*: a paper, and which of its items is to be made.  Slots have one order: the
first items of all papers, then the second ones, and so on.  The next item of a paper is begun once
the one before has ended, for it is told what that one asks.

Items count by the slots' order, not by when a rollout ended: the data set ends with the first
slot at which ``accept`` items are kept (passed, and with a question that no slot up to there
has as well).  So what is kept is a function of harness, config, papers, items a paper, batch and
``accept``; a slot that was begun beyond that end stays recorded, for a larger number.

What is foretold is foretold from the *front*: the slots from the first one on whose rollouts have
all ended.  Among those that ended so far there are too many that ended fast, and a harness that
fails fast, or accepts fast, would be over-counted.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from inner_agent.checks import Key, Repeats
from inner_agent.papers import Paper


@dataclass(frozen=True, slots=True)
class Slot:
    """An item to be made: the ``number``-th one of a paper."""

    paper: Paper
    number: int = 1

    @property
    def key(self) -> Key:
        """What it is recorded under."""
        return self.paper.id, self.number


def slots_of(papers: Sequence[Paper], items_per_paper: int) -> list[Slot]:
    """All slots in their order: the papers' breadth before their depth."""
    return [Slot(paper, n) for n in range(1, items_per_paper + 1) for paper in papers]


@dataclass(frozen=True, slots=True)
class End:
    """How a rollout ended, as far as it matters here; seconds of wall time, tokens both ways.

    ``question`` is as ``own_words`` gives it, ``whole`` with what is copied from the paper.
    """

    paper: str
    passed: bool
    question: str
    usd: float
    calls: int
    tokens: int
    seconds: float
    number: int = 1
    whole: str = ""

    @property
    def key(self) -> Key:
        """Of its slot."""
        return self.paper, self.number


@dataclass(slots=True)
class Kept:
    """Passed items, repeats taken out.  A later repeat takes an earlier item out as well."""

    repeats: Repeats
    passed: list[Key] = field(default_factory=list)

    def add(self, end: End) -> None:
        """Count one that has ended."""
        if end.passed:
            self.passed.append(end.key)
            self.repeats.add(end.paper, end.question, end.number, end.whole)

    def keys(self) -> list[Key]:
        """Those that are kept."""
        return [key for key in self.passed if key not in self.repeats.same]

    def count(self) -> int:
        """How many are kept."""
        return len(self.passed) - len(self.repeats.same)


class Intake:
    """Slots in their order, each given out once, until enough items are kept or it is stopped.

    ``stop`` is asked whenever the front moved while items are still wanted, and gives the reason
    to begin nothing more, or ``""``.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        repeat_max: float,
        accept: int | None = None,
        stop: Callable[["Intake"], str] = lambda _intake: "",
    ) -> None:
        self.slots, self.accept, self.repeat_max = slots, accept, repeat_max
        self.front: list[End] = []
        self.ends: dict[Key, End] = {}
        self.stopped = ""
        self._stop = stop
        self._kept = Kept(Repeats(repeat_max))  # of the front
        self._soon = Kept(Repeats(repeat_max))  # of all that ended
        self._left = list(range(len(slots)))  # slots that weren't given out
        self._changed = asyncio.Event()

    @property
    def kept(self) -> int:
        """Items kept at the front."""
        return self._kept.count()

    @property
    def kept_of_front(self) -> list[bool]:
        """Is it kept?  For each slot of the front."""
        same = self._kept.repeats.same
        return [end.passed and end.key not in same for end in self.front]

    @property
    def full(self) -> bool:
        """Are there as many as are wanted?"""
        return self.accept is not None and self.kept >= self.accept

    @property
    def repeated(self) -> int:
        """Passed items of the front whose question is also another's."""
        return len(self._kept.repeats.same)

    @property
    def passed_beyond(self) -> int:
        """Items beyond the front that passed."""
        return len(self._soon.passed) - len(self._kept.passed)

    def owed(self, start: int) -> bool:
        """Is there anything to be begun from slot number ``start`` on?"""
        done = self.full or self.stopped
        return not done and any(slot.key not in self.ends for slot in self.slots[start:])

    def chosen(self) -> set[Key] | None:
        """The items that make the data set; ``None``: all, where no number is wanted.

        Before the front has enough of them, those that ended beyond it count as well.
        """
        if self.accept is None:
            return None
        if self.full:
            return set(self._kept.keys())
        soon = set(self._soon.keys())
        return set([slot.key for slot in self.slots if slot.key in soon][: self.accept])

    def recorded(self, ends: Sequence[End]) -> None:
        """Slots that ended in an earlier start."""
        for end in ends:
            self._add(end)
        self._left = [n for n in self._left if self.slots[n].key not in self.ends]
        self._ask()

    def ended(self, end: End) -> None:
        """A slot that was given out has ended."""
        self._add(end)
        self._ask()

    async def next(self, stop: int | None = None) -> Slot | None:
        """The next slot to begin, before number ``stop``; ``None`` once there is none.

        Waits while the items that are there would be enough, should none of the rollouts in
        flight take one out: nothing is begun that won't be needed.  And while no slot that is left
        is ready.
        """
        stop = len(self.slots) if stop is None else stop
        while not (self.full or self.stopped):
            if not self._left or self._left[0] >= stop:
                return None
            left = takewhile(lambda n: n < stop, self._left)
            ready = next((n for n in left if self._ready(self.slots[n])), None)
            if ready is not None and self._wanted(ready):
                self._left.remove(ready)
                return self.slots[ready]
            self._changed.clear()
            await self._changed.wait()
        return None

    def _ready(self, slot: Slot) -> bool:
        """Has the item before it of the same paper ended?"""
        return slot.number == 1 or (slot.paper.id, slot.number - 1) in self.ends

    def _wanted(self, number: int) -> bool:
        """Are there too few items before slot ``number``, as far as rollouts have ended?"""
        if self.accept is None or self._soon.count() < self.accept:
            return True
        before = {slot.key for slot in self.slots[:number]}
        return len(before.intersection(self._soon.keys())) < self.accept

    def _add(self, end: End) -> None:
        self.ends[end.key] = end
        self._soon.add(end)
        while not self.full and len(self.front) < len(self.slots):
            following = self.ends.get(self.slots[len(self.front)].key)
            if following is None:
                break
            self.front.append(following)
            self._kept.add(following)
        self._changed.set()

    def _ask(self) -> None:
        if self.accept is not None and not self.full and not self.stopped:
            self.stopped = self._stop(self)
            self._changed.set()
