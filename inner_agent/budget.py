"""Spending limits that hold with any number of calls in flight: reserve, then settle.

A reservation is the worst case (the whole prompt, ``max_tokens`` of reply); it is replaced by
what the call really used.  So spending never passes a cap, whatever is in flight.  Where only
reservations stand in the way, a call waits for them to settle: near a cap work gets narrower
before it stops, and nothing that is being paid for is broken off.

A provider that reports more than the worst case is believed, for that is what it will charge.  The
calls then in flight may pass a cap by what they report beyond their worst case; every later
reservation of the role is larger by the worst factor seen.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from inner_agent.calls import Usage
from inner_agent.errors import BudgetExhausted
from inner_agent.llm import Reply
from inner_agent.settings import Budget, Cap, RoleCap


@dataclass(slots=True)
class Reservation:
    """The most that one call may use; ``settle`` replaces it by what it did use.

    ``seconds`` only where a cap counts them: then the call may not take longer.  ``factor`` is how
    much larger it is for a provider that has reported more than the worst case before.
    """

    tokens: int
    usd: float
    seconds: float | None
    factor: float = 1.0
    reply: Reply | None = None
    paid: float = 0.0
    took: float = 0.0

    def settle(self, reply: Reply, usd: float, seconds: float) -> None:
        """Tell what the call used."""
        self.reply, self.paid, self.took = reply, usd, seconds

    def factor_seen(self) -> float:
        """How much larger it should have been to hold what the provider reported."""
        if self.reply is None:
            return 1.0
        tokens = self.reply.prompt_tokens + self.reply.completion_tokens
        excess = max(tokens / max(1, self.tokens), self.paid / self.usd if self.usd else 0.0)
        return self.factor * excess


@dataclass(slots=True)
class _Account:
    spent: Usage = field(default_factory=Usage)
    held_calls: int = 0
    held_tokens: int = 0
    held_usd: float = 0.0
    held_seconds: float = 0.0

    def room_for(self, cap: Cap, want: Reservation) -> str | None:
        """The name of the cap that the reservation might pass, if any."""
        if cap.calls is not None and self.spent.calls + self.held_calls + 1 > cap.calls:
            return f"calls = {cap.calls}"
        used = self.spent.tokens + self.held_tokens
        if cap.tokens is not None and used + want.tokens > cap.tokens:
            return f"tokens = {cap.tokens}"
        if cap.usd is not None and self.spent.usd + self.held_usd + want.usd > cap.usd:
            return f"usd = {cap.usd}"
        seconds = self.spent.seconds + self.held_seconds + (want.seconds or 0.0)
        if isinstance(cap, RoleCap) and cap.wall_s is not None and seconds > cap.wall_s:
            return f"wall_s = {cap.wall_s:g}"
        return None

    def hold(self, want: Reservation, sign: int) -> None:
        self.held_calls += sign
        self.held_tokens += sign * want.tokens
        self.held_usd += sign * want.usd
        self.held_seconds += sign * (want.seconds or 0.0)


class Ledger:
    """What a run has spent, by role and in all, against its caps."""

    def __init__(
        self, budget: Budget, spent: dict[str, Usage] | None = None, grace_s: float = 0.0
    ) -> None:
        """``spent``: what earlier starts of the same run used; caps survive a resume.

        ``grace_s``: this long before ``wall_s`` (but not before half of it) nothing is begun.
        """
        self._budget = budget
        self._grace_s = grace_s
        self._started = time.monotonic()
        self._accounts: defaultdict[str, _Account] = defaultdict(_Account)
        for role, usage in (spent or {}).items():
            self._accounts[role].spent = usage
        self._total = _Account(_sum(spent or {}))
        self._factors: defaultdict[str, float] = defaultdict(lambda: 1.0)
        self._settled = asyncio.Event()

    @asynccontextmanager
    async def reserve(
        self, role: str, tokens: int, usd: float, seconds: float
    ) -> AsyncIterator[Reservation]:
        """Hold the worst case of one call.  Raises ``BudgetExhausted`` before anything is sent."""
        account = self._accounts[role]
        while True:
            self._refuse_late_call(role)
            want = self._worst(role, tokens, usd, seconds)
            passed = self._passed_cap(role, account, want)
            if passed is None:
                break
            if not self._total.held_calls:
                raise BudgetExhausted(
                    f"{passed} would be passed by the next call ({role}): raise it"
                )
            self._settled.clear()
            await self._settled.wait()
        account.hold(want, +1)
        self._total.hold(want, +1)
        try:
            yield want
        finally:
            account.hold(want, -1)
            self._total.hold(want, -1)
            if want.reply is not None:
                account.spent.add(want.reply, want.paid, want.took)
                self._total.spent.add(want.reply, want.paid, want.took)
            self._factors[role] = max(self._factors[role], want.factor_seen())
            self._settled.set()

    def seconds_left(self) -> float | None:
        """Until ``budget.wall_s``; ``None`` without one."""
        if self._budget.wall_s is None:
            return None
        return self._budget.wall_s - (time.monotonic() - self._started)

    def seconds_for_new_calls(self) -> float | None:
        """Until nothing new is begun: calls on their way then still have the grace to end."""
        left, wall = self.seconds_left(), self._budget.wall_s
        return None if left is None or wall is None else left - min(self._grace_s, wall / 2)

    def shares(self) -> dict[str, float]:
        """How much of each cap that is set has been used, as a fraction, by its config key below
        ``budget``: calls, tokens, usd, wall_s, ``roles.judge.usd``, …"""
        found = _shares(self._budget, self._total.spent)
        left, wall = self.seconds_left(), self._budget.wall_s
        if left is not None and wall:
            found["wall_s"] = 1 - left / wall
        for role, cap in self._budget.roles.items():
            account = self._accounts.get(str(role)) or _Account()  # asking opens none
            used = _shares(cap, account.spent)
            found |= {f"roles.{role}.{name}": share for name, share in used.items()}
        return found

    def wall_passed(self) -> str:
        """What to say when the time is over."""
        return f"budget.wall_s = {self._budget.wall_s:g} is over"

    def _refuse_late_call(self, role: str) -> None:
        left = self.seconds_for_new_calls()
        if left is not None and left <= 0:
            raise BudgetExhausted(
                f"budget.wall_s = {self._budget.wall_s:g} would be passed by the next call ({role})"
            )

    def _role_cap(self, role: str) -> RoleCap | None:
        return {str(name): cap for name, cap in self._budget.roles.items()}.get(role)

    def _worst(self, role: str, tokens: int, usd: float, seconds: float) -> Reservation:
        factor, cap = self._factors[role], self._role_cap(role)
        timed = cap is not None and cap.wall_s is not None
        return Reservation(
            math.ceil(tokens * factor), usd * factor, seconds if timed else None, factor
        )

    def _passed_cap(self, role: str, account: _Account, want: Reservation) -> str | None:
        """The config key of a cap that the call might pass, with its value."""
        if passed := self._total.room_for(self._budget, want):
            return f"budget.{passed}"
        cap = self._role_cap(role)
        passed = account.room_for(cap, want) if cap else None
        return f"budget.roles.{role}.{passed}" if passed else None

    @property
    def total(self) -> Usage:
        """Spent so far, reservations left out."""
        return self._total.spent

    @property
    def by_role(self) -> dict[str, Usage]:
        """Spent so far by role."""
        return {role: account.spent for role, account in self._accounts.items()}


def _shares(cap: Cap, spent: Usage) -> dict[str, float]:
    pairs = [
        ("calls", spent.calls, cap.calls),
        ("tokens", spent.tokens, cap.tokens),
        ("usd", spent.usd, cap.usd),
        ("wall_s", spent.seconds, cap.wall_s if isinstance(cap, RoleCap) else None),
    ]
    return {name: used / most for name, used, most in pairs if most}


def _sum(spent: dict[str, Usage]) -> Usage:
    total = Usage()
    for u in spent.values():
        total.calls += u.calls
        total.prompt_tokens += u.prompt_tokens
        total.completion_tokens += u.completion_tokens
        total.cached_tokens += u.cached_tokens
        total.usd += u.usd
        total.seconds += u.seconds
    return total
