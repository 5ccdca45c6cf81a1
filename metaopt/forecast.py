"""What is still to come of a data set: items, papers, cost and time, from the papers so far.

Papers are taken for draws in no order: each is kept with one unknown probability, of which
nothing is known beforehand but Jeffreys' prior, Beta(1/2, 1/2) (Jeffreys 1946; Brown, Cai and
DasGupta 2001, "Interval Estimation for a Binomial Proportion").  Items among papers to come are
then beta-binomial, and the papers that so many items take are beta-negative-binomial: both are
exact.  Papers that differ in how easy they are make no difference to that, as long as those to come
are like those that have been.  What papers use has unknown means (Student's t around those that
were seen) and the spread that was seen, apart for papers that are kept and papers that aren't:
where few are kept, the cheap or the dear ones are missing as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FIRST = 20  # papers before anything is foretold
PRIOR = 0.5  # both parameters of the Beta distribution
TAIL = 0.1  # on either side of an interval: 80 % lie in it
HOPELESS = 0.01  # a chance below which going on is no use; it is asked again at every paper
GROUP = 3  # papers that are kept, or aren't, before what these use is taken from them alone
DRAWS, SEED = 2_000, 20_261_125  # of cost and time; the same question has the same answer

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Seen:
    """The papers so far: whether each is kept, how many more there are; items wanted in all.

    ``used`` has what each of them used, by name (``usd``, ``calls``, ``tokens``, ``seconds``);
    ``caps`` the most that all papers may use of it.  The first ``unlike`` are none of the kind of
    those to come: what they brought and used is there, and says nothing of the rest.
    """

    kept: Sequence[bool]
    left: int
    wanted: int
    used: Mapping[str, Sequence[float]]
    caps: Mapping[str, float]
    unlike: int = 0

    @property
    def papers(self) -> int:
        """Papers so far."""
        return len(self.kept)

    @property
    def count(self) -> int:
        """Items kept so far."""
        return sum(self.kept)

    @property
    def posterior(self) -> tuple[float, float]:
        """Parameters of the Beta distribution of the chance that a paper is kept."""
        alike = self.kept[self.unlike :]
        return PRIOR + sum(alike), PRIOR + len(alike) - sum(alike)


@dataclass(frozen=True, slots=True)
class Forecast:
    """80 % intervals, the papers so far counted in.

    ``items``: kept once all papers were tried.  ``papers``: tried until the wanted items are kept;
    an end is ``None`` where the papers there are may not suffice.  ``used``: until then, or until
    the papers' end.  ``chance`` that the papers suffice, and ``within`` that they do and a cap
    lasts, by its name.
    """

    seen: Seen
    items: tuple[int, int]
    papers: tuple[int | None, int | None]
    used: dict[str, Range]
    chance: float
    within: dict[str, float]


def forecast(seen: Seen) -> Forecast:
    """What is to come.  Fewer are kept than wanted, and there are two papers at least."""
    reach = until(seen)
    rng = np.random.default_rng((SEED, seen.papers))
    more = np.searchsorted(reach, rng.random(DRAWS), side="right")  # left + 1: they don't suffice
    enough, tried = more <= seen.left, np.minimum(more, seen.left)
    kept = np.where(enough, seen.wanted - seen.count, _too_few(seen, rng))
    drawn = {name: _totals(seen, used, rng, kept, tried - kept) for name, used in seen.used.items()}
    within = {cap: float((enough & (drawn[cap] <= most)).mean()) for cap, most in seen.caps.items()}
    used = {name: _range(total) for name, total in drawn.items()}
    ends = [_first_at(reach, share) for share in (TAIL, 1 - TAIL)]
    low, high = (None if end > seen.left else seen.papers + end for end in ends)
    return Forecast(seen, items(seen), (low, high), used, float(reach[-1]), within)


def items(seen: Seen) -> tuple[int, int]:
    """The 80 % interval of the items that are kept once all papers were tried."""
    total = np.cumsum(_to_come(seen))
    low, high = (min(_first_at(total, share), seen.left) for share in (TAIL, 1 - TAIL))
    return seen.count + low, seen.count + high


def until(seen: Seen) -> Floats:
    """The chance that the items still wanted are kept within r more papers, for r = 0 … left."""
    more, (a, b) = seen.wanted - seen.count, seen.posterior
    chances = np.zeros(seen.left + 1)
    r = np.arange(more, seen.left + 1)  # the last of them is kept
    log = _log_choose(r - 1, more - 1) + betaln(a + more, b + r - more) - betaln(a, b)
    chances[more:] = np.exp(log)
    return np.minimum(np.cumsum(chances), 1.0)


def _to_come(seen: Seen) -> Floats:
    """The chances of 0 … left items among all papers that are left."""
    count, (a, b) = np.arange(seen.left + 1), seen.posterior
    log = _log_choose(seen.left, count) + betaln(a + count, b + seen.left - count) - betaln(a, b)
    return np.asarray(np.exp(log))


def _too_few(seen: Seen, rng: np.random.Generator) -> Ints:
    """Draws of the items among all papers that are left, where these don't suffice."""
    chances = np.cumsum(_to_come(seen)[: seen.wanted - seen.count])
    return np.asarray(np.searchsorted(chances[:-1], rng.random(DRAWS) * chances[-1]))


def _totals(
    seen: Seen, used: Sequence[float], rng: np.random.Generator, kept: Ints, others: Ints
) -> Floats:
    """Draws of what all papers use, where so many more are kept, and so many aren't."""
    total = np.full(DRAWS, np.sum(used))
    every = np.asarray(used[seen.unlike :], float)
    is_kept = np.asarray(seen.kept[seen.unlike :], bool)
    for group, more in ((every[is_kept], kept), (every[~is_kept], others)):
        known = group if len(group) >= GROUP else every
        n, spread = len(known), float(known.std(ddof=1))
        mean = known.mean() + spread / np.sqrt(n) * rng.standard_t(n - 1, DRAWS)
        drawn = more * mean + spread * np.sqrt(more) * rng.standard_normal(DRAWS)
        total += np.maximum(drawn, 0.0)
    return total


def _range(drawn: Floats) -> Range:
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL])
    return float(low), float(high)


def _first_at(total: Floats, share: float) -> int:
    """The first index at which a distribution function has come to ``share``."""
    return int(np.searchsorted(total, share))


def _log_choose(n: Ints | int, k: Ints | int) -> Floats:
    all_, some, rest = np.add(n, 1), np.add(k, 1), np.subtract(n, k) + 1
    return np.asarray(gammaln(all_) - gammaln(some) - gammaln(rest))
