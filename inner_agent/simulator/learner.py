"""The analyzer between two batches of a data set: what failed rounds show, as directions.

It reads the digest's rounds as it reads those of trajectories, and words a direction for the
challenger as the implementer words an edit.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from random import Random

from inner_agent.llm import Reply
from inner_agent.simulator.lexicon import directives
from inner_agent.simulator.modes import FIXES, OF_ANSWERS, OF_RUBRICS, blame
from inner_agent.simulator.parameters import SimulatorParameters
from inner_agent.simulator.phrases import CHAIN_QUESTIONS
from inner_agent.simulator.rounds import rounds_in
from inner_agent.simulator.wire import say

_REPEATS = re.compile(r"^# .*, item \d+: passed, but its question", re.MULTILINE)
_PASSED_TYPES = re.compile(r"^Question types of those that passed: (.*)$", re.MULTILINE)
_HEADING = re.compile(r"^([A-Z ]+)\n((?:- .*\n?)+)", re.MULTILINE)
_MODES_NAMED, _ENTRIES = 3, 5


def reply(digest: str, former: str, rng: Random, p: SimulatorParameters) -> Reply:
    """``{"too_easy": […], "repeats": […], "missing": […]}``."""
    kept = {m[1]: re.findall(r"^- (.*)$", m[2], re.MULTILINE) for m in _HEADING.finditer(former)}
    repeats = [_direction("generic", rng)] if _REPEATS.search(digest) else []
    return say(
        json.dumps(
            {
                "too_easy": _merged(list(_faults(digest, rng, p)), kept.get("TOO EASY", [])),
                "repeats": _merged(repeats, kept.get("REPEATS", [])),
                "missing": list(_missing(digest))[:_ENTRIES],
            }
        )
    )


def _faults(digest: str, rng: Random, p: SimulatorParameters) -> Iterator[str]:
    """A direction for each of the commonest modes of failed rounds; now and then a wrong one."""
    rounds = rounds_in(digest)
    blamed = (blame(outcome, fields) for _, outcome, fields in rounds)
    counts = Counter(mode for mode in blamed if mode and _directed(mode))
    ranked = [mode for mode, _ in counts.most_common(_MODES_NAMED)]
    if rng.random() < p.misdiagnosis:
        graded = all(fields.get("rubric") != [] for *_, fields in rounds)
        known = OF_RUBRICS if graded else OF_ANSWERS
        ranked = [rng.choice([mode for mode in known if _directed(mode)]), *ranked[1:]]
    for mode in dict.fromkeys(ranked):
        seen = f" That would have helped in {counts[mode]} of {counts.total()} failed rounds."
        yield _direction(mode, rng) + seen * (counts[mode] > 0)


def _directed(mode: str) -> bool:
    """Can the challenger do something about it?"""
    return any(agent == "challenger" for agent, _, _ in FIXES[mode])


def _direction(mode: str, rng: Random) -> str:
    wordings = next(words for agent, _, words in FIXES[mode] if agent == "challenger")
    return rng.choice(wordings)


def _merged(new: list[str], former: list[str]) -> list[str]:
    """What is new, and what was said before of other things."""
    said = frozenset[str]().union(*(directives(entry, "challenger") for entry in new))
    return [*new, *(old for old in former if not directives(old, "challenger") & said)][:_ENTRIES]


def _missing(digest: str) -> Iterator[str]:
    types = _PASSED_TYPES.search(digest)
    for kind, _ in CHAIN_QUESTIONS:
        if types and kind not in types[1]:
            yield f"No item that passed is of the type {kind}."
