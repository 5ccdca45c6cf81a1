"""The analyzer's audit: precision and recall of its predictions, beside what chance would give.

Chance: in each iteration it names as many papers as it did, at random among those that it could
have named rightly (for fixes, the papers that had failed).  Hits are then hypergeometric, and over
the run the sum of such, whose distribution is exact (the test of Mantel and Haenszel 1959, without
its normal approximation).  That allows for how noisy papers are: some that failed pass the next
time whatever the edit did.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb, exp

import numpy as np

from metaopt.chance import Floats
from metaopt.predictions import Checked

FURTHEST = 14.0  # of a log odds ratio: a million to one
TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Draw:
    """One iteration: of ``papers`` that could be named ``true`` came true, ``named`` were named
    and ``hits`` of those came true."""

    papers: int
    true: int
    named: int
    hits: int

    @property
    def expected(self) -> float:
        """Hits by chance, on average."""
        return self.named * self.true / self.papers if self.papers else 0.0


@dataclass(frozen=True, slots=True)
class Score:
    """One kind of prediction over a run.

    Shares are ``None`` where nothing was named, or nothing came true.  ``times_chance`` is hits
    over those by chance, for precision and recall alike, with its 95 % interval; ``p_value``: how
    often chance does as well.
    """

    what: str
    iterations: int
    papers: int
    true: int
    named: int
    hits: int
    expected: float
    precision: float | None
    chance_precision: float | None
    recall: float | None
    chance_recall: float | None
    times_chance: float | None
    interval: tuple[float, float] | None
    p_value: float


def audit(checks: Sequence[Checked]) -> list[Score]:
    """Fixes and regressions over all iterations, then the fixes by failure mode, most named first.

    A mode's row takes only the papers that the diagnosis put down to it.
    """
    fixes = [_draw(c, c.diagnosis.predicted_fixes, passed=False) for c in checks]
    breaks = [_draw(c, c.diagnosis.papers_at_risk, passed=True) for c in checks]
    names = dict.fromkeys(m.name for c in checks for m in c.diagnosis.failure_modes)
    modes = [
        score(f"fixes, {name}", [_draw(c, _of_mode(c, name), passed=False) for c in checks])
        for name in names
    ]
    modes = sorted((m for m in modes if m.named), key=lambda m: -m.named)
    return [score("fixes", fixes), score("regressions", breaks), *modes]


def score(what: str, draws: Sequence[Draw]) -> Score:
    """Sum up what was named and what came true."""
    papers, true, named, hits = (
        sum(getattr(d, name) for d in draws) for name in ("papers", "true", "named", "hits")
    )
    expected = sum(d.expected for d in draws)
    return Score(
        what, sum(d.papers > 0 for d in draws), papers, true, named, hits, expected,
        hits / named if named else None, expected / named if named else None,
        hits / true if true else None, expected / true if true else None,
        hits / expected if expected else None, interval(draws) if expected else None,
        float(by_chance(draws)[hits:].sum()),
    )  # fmt: skip


def by_chance(draws: Iterable[Draw], odds: float = 1.0) -> Floats:
    """The distribution of all hits together, over 0 ... named, if papers are named at random.

    ``odds``: by how much naming one that comes true is likelier (Fisher's noncentral
    hypergeometric distribution).
    """
    total = np.ones(1)
    for d in draws:
        hits = range(d.named + 1)
        ways = [comb(d.true, k) * comb(d.papers - d.true, d.named - k) for k in hits]
        weights = np.array(ways, float) * odds ** np.arange(d.named + 1.0)
        total = np.convolve(total, weights / weights.sum())
    return total


def interval(draws: Sequence[Draw]) -> tuple[float, float]:
    """Hits over those by chance, 95 %: the odds with which so many are not yet improbable."""
    hits = sum(d.hits for d in draws)

    def log_odds_at(least: int, probability: float) -> float:
        """Where so many hits or more have this probability; it grows with the odds."""
        low, high = -FURTHEST, FURTHEST
        for _ in range(40):
            middle = (low + high) / 2
            below = by_chance(draws, exp(middle))[least:].sum() < probability
            low, high = (middle, high) if below else (low, middle)
        return (low + high) / 2

    ends = log_odds_at(hits, TAIL), log_odds_at(hits + 1, 1 - TAIL)
    expected, low, high = (_mean(by_chance(draws, exp(x))) for x in (0.0, *ends))
    return (low / expected if hits else 0.0), high / expected


def _mean(chances: Floats) -> float:
    return float(chances @ np.arange(len(chances)))


def _draw(check: Checked, named: Iterable[str], passed: bool) -> Draw:
    """Of the papers that had ``passed``, or not: those named, and those whose verdict changed."""
    could = {p for p, before in check.before.items() if before == passed}
    changed = check.broken if passed else check.fixed
    chosen = could & set(named)
    return Draw(len(could), len(changed), len(chosen), len(chosen & changed))


def _of_mode(check: Checked, name: str) -> set[str]:
    """The predicted fixes among the papers that were put down to this failure mode."""
    papers = {p for m in check.diagnosis.failure_modes if m.name == name for p in m.papers}
    return papers & set(check.diagnosis.predicted_fixes)
