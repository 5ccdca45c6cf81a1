"""How an endpoint is spoken to: how many calls at a time, when again after a fault, when at all.

``Window`` finds the number of calls in flight that an endpoint takes: additive increase,
multiplicative decrease (Jacobson 1988, "Congestion Avoidance and Control"), with latency as a
second signal, because many servers never refuse but only get slower.  ``Traffic`` lets requests
through the window, and through nothing but one probe at a time while the endpoint is down.
Neither knows HTTP.
"""

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from inner_agent.errors import EndpointDown, ProviderError

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
OPEN_AFTER = 5  # faults in a row, over all requests, that make an outage
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # between two probes
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0  # before a request is sent again
JITTER = 0.25  # of a pause at most is left out, so that requests don't come back together

Kind = tuple[str, int]
"""Replies that are alike: the model, and the bit length of the completion's token count."""


class Clock(Protocol):
    """Time, as far as pauses and latencies need it (seconds)."""

    def now(self) -> float:
        """Seconds since some point in time; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that long."""
        ...


class SystemClock:
    """The real one."""

    def now(self) -> float:
        """As ``time.monotonic``."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """As ``asyncio.sleep``."""
        await asyncio.sleep(seconds)


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


@dataclass(slots=True)
class Ticket:
    """One request on its way."""

    number: int
    full: bool
    probe: bool
    started: float = 0.0


@dataclass(slots=True)
class _Outage:
    since: float
    why: str
    pause_s: float
    next_at: float


class Traffic:
    """The door of one endpoint: ``await enter()``, then say how it went, exactly once.

    While the endpoint is down, requests wait, one of them tries again after growing pauses (the
    one that failed goes to the end of the queue), and none uses up its tries.  ``say`` is told
    when that begins and when it ends.
    """

    def __init__(self, name: str, most: int, outage_s: float, clock: Clock) -> None:
        """``most`` calls in flight; an outage of ``outage_s`` seconds is waited out."""
        self.say: Callable[[str], None] = lambda _line: None
        self.window = Window(most)
        self.in_flight = 0
        self._name, self._outage_s, self._clock = name, outage_s, clock
        self._waiting: deque[asyncio.Future[Ticket]] = deque()
        self._faults = 0
        self._first_fault = 0.0
        self._outage: _Outage | None = None
        self._probing = False

    async def enter(self) -> Ticket:
        """Return when a request may go out.  Raises ``EndpointDown``."""
        if not self._waiting and self._room():
            ticket = self._admit()
        else:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                ticket = await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled() and not turn.exception():
                    self.gone(turn.result())  # its turn came as it was cancelled
                raise
        try:
            if ticket.probe and self._outage:
                await self._clock.sleep(max(0.0, self._outage.next_at - self._clock.now()))
        except asyncio.CancelledError:
            self.gone(ticket)
            raise
        ticket.started = self._clock.now()
        return ticket

    def answered(self, ticket: Ticket, kind: Kind) -> None:
        """A reply came."""
        latency_s = self._clock.now() - ticket.started
        self.window.answered(ticket.number, ticket.full, kind, latency_s)
        self.alive(ticket)

    def alive(self, ticket: Ticket) -> None:
        """No reply, but a word that shows that somebody is there, such as a 400."""
        self._faults = 0
        if self._outage:
            lasted = _lasting(self._clock.now() - self._outage.since)
            self._outage = None
            self.say(f"endpoints.{self._name} answers again after {lasted}: going on")
        self.gone(ticket)

    def limited(self, ticket: Ticket, why: str, wait_s: float) -> bool:
        """A 429.  Returns whether the endpoint is down, raises as ``failed`` does.

        Refusing single calls again and again is an outage as well.
        """
        self.window.refused(ticket.number, self.in_flight)
        if self._outage is None and self.window.limit > 1:
            self.gone(ticket)
            return False
        return self.failed(ticket, why, wait_s)

    def failed(
        self, ticket: Ticket, why: str, wait_s: float = 0.0, *, crowded: bool = False
    ) -> bool:
        """A fault of the endpoint: returns whether it is down, which is no request's fault.

        ``crowded``: it had too much to do.  Raises ``EndpointDown`` when that lasted too long.
        """
        now = self._clock.now()
        if crowded:
            self.window.refused(ticket.number, self.in_flight)
        if not self._faults:
            self._first_fault = now
        self._faults += 1
        if self._faults >= OPEN_AFTER or self._outage:
            self._pause(now, why, wait_s, ticket)
        self.gone(ticket)
        return self._outage is not None

    def gone(self, ticket: Ticket) -> None:
        """Nothing was learned: the request was given up here."""
        self.in_flight -= 1
        if ticket.probe:
            self._probing = False
        while self._waiting and self._room():
            turn = self._waiting.popleft()
            if not turn.done():  # those who no longer wait are left in the queue
                turn.set_result(self._admit())

    @property
    def pause(self) -> str | None:
        """What to tell while the endpoint is down: since when, why, when the next try is."""
        if not self._outage:
            return None
        now = self._clock.now()
        since = _lasting(now - self._outage.since)
        again = _lasting(max(0.0, self._outage.next_at - now))
        why = self._outage.why
        return f"endpoints.{self._name} is down for {since} ({why}); next try in {again}"

    def _room(self) -> bool:
        return not self._probing if self._outage else self.in_flight < self.window.limit

    def _admit(self) -> Ticket:
        self.in_flight += 1
        self._probing = self._outage is not None
        full = bool(self._waiting) or self.in_flight >= 0.9 * self.window.limit
        return Ticket(self.window.start(), full, self._probing)

    def _pause(self, now: float, why: str, wait_s: float, ticket: Ticket) -> None:
        """Begin an outage, or make its pauses longer after a probe that failed."""
        began = self._outage is None
        outage = self._outage = self._outage or _Outage(self._first_fault, why, 0.0, now)
        if now - outage.since >= self._outage_s:
            self._give_up(ticket, outage, now, why)
        if not began and not ticket.probe:
            return  # it was on its way when the outage began
        longer = 2 * outage.pause_s or FIRST_PAUSE_S
        outage.why, outage.pause_s = why, min(LONGEST_PAUSE_S, longer)
        outage.next_at = now + max(jittered(outage.pause_s), min(wait_s, self._outage_s))
        if began:
            self.window.outage()
            self.say(
                f"endpoints.{self._name} doesn't answer ({why}): paused, next try in"
                f" {_lasting(outage.next_at - now)}; giving up after {_lasting(self._outage_s)}"
            )

    def _give_up(self, ticket: Ticket, outage: _Outage, now: float, why: str) -> None:
        lasted = _lasting(now - outage.since)
        text = f"endpoints.{self._name}: no answer for {lasted} ({why})"
        self._outage, self._faults = None, 0
        waiting, self._waiting = self._waiting, deque()
        for turn in waiting:
            if not turn.done():
                turn.set_exception(EndpointDown(text))
        self.gone(ticket)
        raise EndpointDown(text)


@dataclass(slots=True)
class Patience:
    """One request's own tries: counts faults, says how long to wait, or that it's enough."""

    max_retries: int
    limited_s: float  # refusals alone may go on for that long
    faults: int = 0
    refusals: int = 0
    refused_since: float | None = None

    def after_fault(self, error: ProviderError, wait_s: float | None) -> float:
        """Seconds to wait.  Raises ``error`` once ``max_retries`` are used up."""
        self.faults += 1
        if self.faults > self.max_retries:
            raise error
        return pause_before(self.faults, wait_s)

    def after_refusal(self, error: ProviderError, wait_s: float | None, now: float) -> float:
        """Seconds to wait after a 429; uses up no try.  Raises ``error`` after ``limited_s``."""
        self.refusals += 1
        since = self.refused_since = now if self.refused_since is None else self.refused_since
        pause_s = pause_before(self.refusals, wait_s)
        if now + pause_s - since > self.limited_s:
            raise error
        return pause_s


def pause_before(retry: int, asked_s: float | None) -> float:
    """Seconds before the ``retry``-th try again: what the provider asked for, or doubling."""
    if asked_s is not None:
        return asked_s * (1 + JITTER * random.random())  # never earlier than asked
    return jittered(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(retry - 1, 16)))


def jittered(seconds: float) -> float:
    """Up to a quarter less."""
    return seconds * (1 - JITTER * random.random())


def retry_after(headers: Any, wall_now: float) -> float | None:
    """Seconds that a response asks to wait, if it says so (RFC 9110, 10.2.3).

    ``headers``: a mapping with names in lower case or case-insensitive; ``wall_now``: seconds
    since the epoch.  ``retry-after-ms`` isn't in the RFC, but more exact where it is sent.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        return seconds if 0 <= seconds < math.inf else None
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except (TypeError, ValueError):
        return None
    return max(0.0, date.timestamp() - wall_now)


def _lasting(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3600:.1f} h"
