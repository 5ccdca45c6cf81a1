"""What a run spent, iteration by iteration, and how good its best was by then.

Every call that was paid for is in calls.db under the name of its draw, which says the iteration:
rollouts' begin with tree, part and iteration (``Lab.evaluate``), analyzer's and implementer's are
the iteration.  So nothing has to be allotted by guess.  What the baseline's own validation and the
honeypots' trial cost is iteration 0's; finalists are the last iteration's.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from analysis.course import Point, course
from inner_agent import calls
from inner_agent.calls import Usage
from inner_agent.durable import read_database
from inner_agent.errors import UserError
from metaopt import store
from metaopt.record import RunRecord

# The 17 characters before the part are the tree's, and a slash.
USED = """
SELECT
  CASE
    WHEN role IN ('analyzer', 'implementer') THEN CAST(sample AS INTEGER)
    WHEN sample LIKE 'honeypot/%' THEN 0
    ELSE CAST(substr(sample, 18 + instr(substr(sample, 18), '/')) AS INTEGER)
  END AS iteration, role, COUNT(*), SUM(prompt_tokens), SUM(completion_tokens),
  SUM(cached_tokens), SUM(usd), SUM(seconds), MAX(rowid)
FROM calls WHERE rowid > ? GROUP BY iteration, role
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """All that was spent up to the decision of ``iteration``, and the best by then.

    ``tokens`` are prompt and completion together, ``cached_tokens`` those of the prompts that a
    provider had in its cache; ``rollouts`` are one harness on one paper each.  The best's rate and
    95 % interval are as in ``analysis.course.Point``.
    """

    iteration: int
    usd: float
    calls: int
    tokens: int
    cached_tokens: int
    rollouts: int
    best: int
    best_rate: float | None
    best_low: float
    best_high: float
    best_shrunk: float


@dataclass(slots=True)
class Ledger:
    """What the calls of a run used, by iteration and role; ``update`` reads only what is new."""

    used: dict[tuple[int, str], Usage] = field(default_factory=dict)
    row: int = 0

    def update(self, folder: Path) -> None:
        """Read on.  Raises ``UserError`` when calls.db is missing or can't be read."""
        path = folder / "calls.db"
        if not path.is_file():
            raise UserError(f"{path}: missing, so nobody can say what the run cost; restore it")
        try:
            with closing(read_database(path, calls.FORMAT)) as db:
                rows = db.execute(USED, (self.row,)).fetchall()
        except sqlite3.Error as e:
            raise UserError(f"{path}: can't be read ({e})") from None
        for iteration, role, *sums, row in rows:
            key = (iteration, role)
            self.used[key] = self.used.get(key, Usage()) + Usage(*sums)
            self.row = max(self.row, row)

    def by_role(self) -> dict[str, Usage]:
        """The sums by role."""
        found: dict[str, Usage] = {}
        for (_, role), usage in sorted(self.used.items()):
            found[role] = found.get(role, Usage()) + usage
        return found


def spending(
    record: RunRecord, ledger: Ledger | None = None, points: Sequence[Point] | None = None
) -> list[Spent]:
    """After each decision, in the iterations' order.  Raises as ``Ledger.update`` does.

    ``ledger``: one that was read of this run before; it is read on.  ``points``: the run's course,
    where it is known already.
    """
    ledger = ledger or Ledger()
    ledger.update(record.folder)
    return _summed_up(points or course(record), ledger, _rollouts(record.folder))


def _summed_up(points: Sequence[Point], ledger: Ledger, rollouts: Counter[int]) -> list[Spent]:
    by_iteration: dict[int, Usage] = {}
    for (i, _), usage in sorted(ledger.used.items()):
        by_iteration[i] = by_iteration.get(i, Usage()) + usage
    total, done, found = by_iteration.get(0, Usage()), rollouts[0], list[Spent]()
    for p in points:
        total += by_iteration.get(p.iteration, Usage())
        done += rollouts[p.iteration]
        found.append(
            Spent(p.iteration, total.usd, total.calls, total.tokens, total.cached_tokens, done,
                  p.best, p.best_rate, p.best_low, p.best_high, p.best_shrunk)
        )  # fmt: skip
    return found


def _rollouts(folder: Path) -> Counter[int]:
    """How many there are of each iteration."""
    with closing(read_database(folder / "run.db", store.FORMAT)) as db:
        return Counter(dict(db.execute("SELECT iteration, COUNT(*) FROM results GROUP BY 1")))
