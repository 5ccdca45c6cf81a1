"""How many calls an endpoint takes at a time, found out by asking it.

``Window`` is additive increase, multiplicative decrease (Jacobson 1988, "Congestion Avoidance and
Control"), with latency as a second signal, because many servers never refuse but only get slower.
It knows neither HTTP nor the time: it is told what happened.
"""

import math
from dataclasses import dataclass, field

START = 16  # calls in flight before anything is known
DECREASE = 0.75
EPOCH = 25  # replies that a step of the window takes at least
MOST_EPOCHS = 8  # windows full of replies after which a doubtful comparison is decided anyhow
NEAR = 0.95  # of the last ceiling: up to there it goes back in one step,
SLOWLY = 4  # and from there takes that many windows full of replies for each step
LEAST_GAIN = 0.2  # replies per second gained, for calls in flight added: below, it's a plateau
WORSE = -0.5  # such a gain of a step up means that the server thrashes
SURE = 0.1  # standard error of a gain that is good enough to go by; twice that while doubling
REST = 4  # epochs on a plateau before the next try to leave it
SLOWER = 3.0  # times as slow as before with as many calls in flight: others crowd the server

Kind = tuple[str, int]
"""Replies that are alike: the model, and the bit length of the completion's token count."""


@dataclass(slots=True)
class _Times:
    """Mean and variance of the logarithms of latencies, one pass (Welford 1962)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        off = value - self.mean
        self.mean += off / self.count
        self.squares += off * (value - self.mean)


@dataclass(slots=True)
class _Level:
    """What was measured with one number of calls in flight."""

    limit: int
    count: int = 0
    times: dict[Kind, _Times] = field(default_factory=dict)

    def add(self, kind: Kind, latency_s: float) -> None:
        self.count += 1
        if (times := self.times.get(kind)) is None:
            times = self.times[kind] = _Times()
        times.add(math.log(max(latency_s, 1e-6)))

    def rise_since(self, other: "_Level") -> tuple[float, float] | None:
        """ln(latency here / latency there) over the kinds that both have, and its error."""
        rise = weight = spread = squares = 0.0
        freedom = 0
        for kind, here in self.times.items():
            there = other.times.get(kind)
            if there is None:
                continue
            w = here.count * there.count / (here.count + there.count)
            rise, weight = rise + w * (here.mean - there.mean), weight + w
            spread += w  # w² (1/n + 1/m) = w
            squares += here.squares + there.squares
            freedom += here.count + there.count - 2
        if freedom < EPOCH:
            return None
        return rise / weight, math.sqrt(squares / freedom * spread) / weight


class Window:
    """How many calls may be in flight.  Pure: told what happened, it changes ``limit``.

    It starts at 16 and doubles while that pays.  A refusal (429) or a time-out takes a quarter off,
    once for all requests that were in flight together; from there it goes back to just below
    where it was refused, then up by one at a time (after 25 replies at least).  Without refusals
    it compares the latencies of like replies at two levels: the gain of a step is
    1 - ln(latency ratio) / ln(limit ratio), which is 1 where latency stays the same and 0 where
    replies per second do.  Small gains aren't worth a step, large losses lead further down.
    """

    def __init__(self, most: int) -> None:
        """``most``: the upper limit."""
        self.most = most
        self.started = 0  # requests so far: their numbers tell what was in flight together
        self._restart(min(most, START))

    def _restart(self, limit: int) -> None:
        self._doubling = True
        self._ceiling: int | None = None  # where it was last refused
        self._burst = 0  # requests below this number belong to a burst that is answered for
        self._rest = 0
        self._falling = False  # more calls at a time brought fewer replies: steps go down
        self._before: _Level | None = None
        self.limit = limit
        self._go(limit)

    def _go(self, limit: int) -> None:
        before, self.limit = self.limit, max(1, min(limit, self.most))
        self._level = _Level(self.limit)
        # Only requests that meet with this level tell about it: not those that fill it up.
        self._mark = self.started + max(0, self.limit - before)

    def start(self) -> int:
        """A request goes out; returns its number."""
        self.started += 1
        return self.started - 1

    def answered(self, number: int, full: bool, kind: Kind, latency_s: float) -> None:
        """A reply came.  ``full``: the window was in use when its request went out."""
        if number < self._mark or not full:
            return
        self._level.add(kind, latency_s)
        if self._level.count >= max(EPOCH, self.limit * (SLOWLY if self._at_ceiling else 1)):
            self._judge()

    @property
    def _at_ceiling(self) -> bool:
        return self._ceiling is not None and NEAR * self._ceiling - 1 < self.limit <= self._ceiling

    def refused(self, number: int, in_flight: int) -> None:
        """The endpoint had too much: a 429, or no answer in time."""
        if number < self._burst:
            return
        self._burst = self.started
        self._doubling, self._falling, self._rest, self._before = False, False, 0, None
        self._ceiling = min(self.limit, max(1, in_flight))
        self._go(int(self._ceiling * DECREASE))

    def outage(self) -> None:
        """The endpoint was down: what was known about it is of no use afterwards."""
        self._restart(min(self.limit, START))

    def _judge(self) -> None:
        """A level has been measured: step up, back, or stay."""
        level, before = self._level, self._before
        found = level.rise_since(before) if before and self._ceiling is None else None
        if found and before:
            rise, error = found
            step = math.log(level.limit / before.limit)
            doubtful = level.count < MOST_EPOCHS * self.limit
            if step:
                if error > SURE * abs(step) * (2 if self._doubling else 1) and doubtful:
                    return
                gain = 1 - rise / step
                if (gain < LEAST_GAIN) == (step > 0):  # no use to go up, or it costs to go down
                    self._falling = step > 0 and gain < WORSE
                    self._doubling, self._before = False, None
                    self._rest = 0 if self._falling else REST
                    self._go(before.limit)
                    return
            elif rise - error > math.log(SLOWER):
                self._before = None
                self._go(int(self.limit * DECREASE))
                return
        if self._rest:
            self._rest -= 1
            self._before = before or level
            self._go(self.limit)
            return
        self._before = level
        self._go(self._next_limit())

    def _next_limit(self) -> int:
        limit, ceiling = self.limit, self._ceiling
        if self._doubling:
            return 2 * limit
        if self._falling and limit > 1:
            return int(limit * DECREASE)
        self._falling = False
        if ceiling is not None and limit <= ceiling:
            return max(limit + 1, int(NEAR * ceiling))
        self._ceiling = None  # it takes more than it did
        return limit + max(1, limit // 4)
