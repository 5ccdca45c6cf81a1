"""The door of an endpoint: requests go through its window, and wait while it is down.

While an endpoint is down nothing goes through but one probe at a time.  Nothing here knows HTTP.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from inner_agent.errors import EndpointDown
from inner_agent.retries import jittered
from inner_agent.window import Kind, Window

OPEN_AFTER = 5  # faults in a row, over all requests, that make an outage
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # between two probes
QUIET_S = 60.0  # without a 429: then the rate isn't limited any more


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
class Ticket:
    """One request on its way."""

    number: int
    full: bool
    probe: bool
    started: float = 0.0


@dataclass(frozen=True, slots=True)
class Door:
    """How an endpoint takes calls at this moment, for those who watch.

    ``limit`` is how many it may have at a time now, ``most`` what the config allows; ``queued``
    wait for their turn, ``resting`` were refused or failed and are sent again in ``rest_s`` seconds
    at the latest.  ``limited``: it said 429 within the last minute.  ``retried`` counts requests
    that had to be sent again; ``pause`` is what to tell while it is down.
    """

    name: str
    in_flight: int
    limit: int
    most: int
    queued: int
    resting: int
    rest_s: float
    limited: bool
    retried: int
    pause: str | None


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
    when that begins and when it ends, and when the endpoint begins to limit the rate.
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
        self._limited_at: float | None = None
        self._retried = self._resting = 0
        self._rest_until = 0.0

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
        before, limit = self._limited_at, self.window.limit
        self._limited_at = now = self._clock.now()
        self.window.refused(ticket.number, self.in_flight)
        if self._outage is None and self.window.limit > 1:
            self.gone(ticket)
            if before is None or now - before > QUIET_S:
                self.say(
                    f"endpoints.{self._name} limits the rate ({why}): {self.window.limit} calls at"
                    f" a time instead of {limit}"
                    + (f", next try in {_lasting(wait_s)}" if wait_s else "")
                )
            return False
        return self.failed(ticket, why, wait_s)

    async def rest(self, seconds: float) -> None:
        """Let a request that has to be sent again wait for so long, before it comes back."""
        self._retried += 1
        self._rest_until = max(self._rest_until, self._clock.now() + seconds)
        self._resting += 1
        try:
            if seconds:
                await self._clock.sleep(seconds)
        finally:
            self._resting -= 1

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
    def door(self) -> Door:
        """How it takes calls now."""
        now, limited_at = self._clock.now(), self._limited_at
        return Door(
            self._name, self.in_flight, self.window.limit, self.window.most,
            sum(not turn.done() for turn in list(self._waiting)), self._resting,
            max(0.0, self._rest_until - now) if self._resting else 0.0,
            limited_at is not None and now - limited_at <= QUIET_S, self._retried, self.pause,
        )  # fmt: skip

    @property
    def pause(self) -> str | None:
        """What to tell while the endpoint is down: since when, why, when the next try is."""
        outage, now = self._outage, self._clock.now()  # a view may ask from another thread
        if outage is None:
            return None
        since, again = _lasting(now - outage.since), _lasting(max(0.0, outage.next_at - now))
        return f"endpoints.{self._name} is down for {since}, next try in {again} ({outage.why})"

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


def _lasting(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3600:.1f} h"
