"""Why rounds and papers fail: what the analyzer had to read, iteration by iteration.

A round is one question that a harness had evaluated; its outcome is the broker's record, not the
harness's claim (``inner_agent/run_paper.py``).
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise

from inner_agent.durable import read_database
from inner_agent.errors import UserError
from metaopt.record import RunRecord
from metaopt.store import FORMAT

# How a round ends, from those that come to nothing to those that are accepted.
OUTCOMES = (
    "invalid_item", "failed_quality_check", "unfinished", "too_easy", "weak_zero",
    "failed_on_strong", "unsuitable", "accepted",
)  # fmt: skip
# Shares of 880 rejected rounds (Autodata, Kulikov et al. 2026), which has these three kinds alone.
PUBLISHED = {"too_easy": 0.80, "failed_on_strong": 0.13, "failed_quality_check": 0.07}


@dataclass(frozen=True, slots=True)
class Mix:
    """What came of the rounds of the parents' rollouts on training papers, in the iterations from
    ``first`` to ``last``: ``rounds`` by outcome, and ``papers`` by the rollout's reason; counts.
    """

    first: int
    last: int
    rounds: Mapping[str, int]
    papers: Mapping[str, int]

    def shares(self, *, rejected: bool = False) -> dict[str, float]:
        """Each outcome's share of all rounds, or of those that were ``rejected``; 0 of none."""
        counts = {o: self.rounds.get(o, 0) for o in OUTCOMES if not (rejected and o == "accepted")}
        total = sum(counts.values())
        return {o: n / total if total else 0.0 for o, n in counts.items()}


def failure_mix(record: RunRecord) -> list[Mix]:
    """A mix for each iteration that rolled its parent out; those that took up an earlier
    iteration's rollouts have none of their own.  Raises ``UserError`` for a file that can't be
    read."""
    database = record.folder / "run.db"
    parents = {i: s["selected"]["parent"] for i, s in record.stages.items() if "selected" in s}
    rounds: dict[int, Counter[str]] = {}
    papers: dict[int, Counter[str]] = {}
    try:
        with closing(read_database(database, FORMAT)) as db:
            rows = db.execute(
                "SELECT iteration, candidate, data ->> '$.reason', data ->> '$.outcomes'"
                " FROM results WHERE part = 'train' ORDER BY iteration"
            )
            for i, candidate, reason, outcomes in rows:
                if candidate == parents.get(i):  # a mutant may have been run there as well
                    ended = {word: int(n) for word, n in json.loads(outcomes).items()}
                    rounds.setdefault(i, Counter()).update(ended)
                    papers.setdefault(i, Counter())[reason] += 1
    except sqlite3.Error as e:
        raise UserError(f"{database}: can't be read ({e})") from None
    except (
        TypeError,
        ValueError,
        AttributeError,
    ):  # of what SQLite gave for a row that lacks something
        raise UserError(
            f"{database}: a result isn't as metaopt wrote it; restore it from a copy"
        ) from None
    return [Mix(i, i, rounds[i], papers[i]) for i in rounds]


def together(mixes: Sequence[Mix]) -> Mix:
    """Several iterations as one mix."""
    rounds, papers = Counter[str](), Counter[str]()
    for mix in mixes:
        rounds.update(mix.rounds)
        papers.update(mix.papers)
    return Mix(mixes[0].first, mixes[-1].last, rounds, papers)


def binned(mixes: Sequence[Mix], most: int) -> list[Mix]:
    """At most so many mixes, each of about as many iterations in a row."""
    parts = -(-len(mixes) // -(-len(mixes) // most))
    ends = [len(mixes) * k // parts for k in range(parts + 1)]
    return [together(mixes[a:b]) for a, b in pairwise(ends)]
