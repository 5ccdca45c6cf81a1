"""``Task``: what the loop leaves to a task, as one record of functions.

The loop asks solvers, counts, records and decides by the task's rule; it doesn't know what an item
of the task looks like or what makes an answer good.  A task is made by a function of the config
(``choice.py``); one that is much like another is that one with some fields replaced.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from inner_agent.calls import Usage
from inner_agent.checks import Finding
from inner_agent.criteria import Rule
from inner_agent.items import Item
from inner_agent.llm import Message
from inner_agent.prompts import Prompt
from inner_agent.roles import Ask, Verdict
from inner_agent.settings import Model, Role


@dataclass(frozen=True, slots=True)
class Asking:
    """A task's way to the models by role; every reply is recorded, and counted in ``usage``."""

    ask: Ask
    models: Mapping[Role, Model]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Attempt:
    """One answer, its verdicts and its score in [0, 1]."""

    answer: str
    score: float
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Review:
    """What a judge made of all attempts together: whether the item is taken, and what it said."""

    passed: bool
    said: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Probe:
    """An answer that shows no work: ``answer`` must score less than ``below``."""

    what: str
    answer: str
    below: float


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    ``refusal`` says why an item isn't one of the task, naming the field, or ``""``.  ``examine``
    says the same of what takes time to find out, such as what its program prints: it is asked once
    an item, before any solver, and what it refuses counts as one of ``limits.items``; None: the
    task has nothing of the kind.  ``solver`` makes the messages for a solver, who gets the paper's
    text (or None: the item alone).  ``grade(asking, item, answer, sample)`` raises ``NoAnswer``
    where nothing usable was said; ``sample`` begins the names of its draws.  ``judged`` are the
    messages of the models' part in it.  ``review(asking, item, weak, strong, sample)`` follows a
    strong phase that the rule let through; None: the rule alone decides.

    For the audit of an accepted item: ``findings`` of its text and the paper's, ``probes``, and
    the ``auditor``'s prompt.  ``by_rubric``: answers are graded by the item's rubric.  ``other`` is
    a second rule, whose verdict is recorded beside.  ``sources`` are hashes of what the task is
    made of, as far as it isn't metaopt's own code: another one makes another measurement.
    """

    name: str
    rule: Rule
    refusal: Callable[[Item], str]
    solver: Callable[[Item, str | None], list[Message]]
    grade: Callable[[Asking, Item, str, str], Awaitable[Attempt]]
    judged: Callable[[Item, str], list[list[Message]]]
    findings: Callable[[Item, str], list[Finding]]
    probes: Callable[[Item], Sequence[Probe]]
    auditor: Prompt
    examine: Callable[[Item], Awaitable[str]] | None = None
    review: (
        Callable[[Asking, Item, Sequence[Attempt], Sequence[Attempt], str], Awaitable[Review]]
        | None
    ) = None
    by_rubric: bool = False
    other: Rule | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
