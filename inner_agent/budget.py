"""Spending limits that hold with any number of calls in flight: reserve, then settle.

A reservation is the worst case (the whole prompt, ``max_tokens`` of reply); it is replaced by
what the call really used.  So spending never passes a cap, whatever is in flight.  Where only
reservations stand in the way, a call waits for them to settle: near a cap work gets narrower
before it stops, and nothing that is being paid for is broken off.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from inner_agent.calls import Usage
from inner_agent.errors import BudgetExhausted
from inner_agent.llm import Reply
from inner_agent.settings import Budget, Cap


@dataclass(slots=True)
class Reservation:
    """The most that one call may use; ``settle`` replaces it by what it did use."""

    tokens: int
    usd: float
    reply: Reply | None = None
    paid: float = 0.0

    def settle(self, reply: Reply, usd: float) -> None:
        """Tell what the call used."""
        self.reply, self.paid = reply, usd


@dataclass(slots=True)
class _Account:
    spent: Usage = field(default_factory=Usage)
    held_calls: int = 0
    held_tokens: int = 0
    held_usd: float = 0.0

    def room_for(self, cap: Cap, want: Reservation) -> str | None:
        """The name of the cap that the reservation might pass, if any."""
        if cap.calls is not None and self.spent.calls + self.held_calls + 1 > cap.calls:
            return f"calls = {cap.calls}"
        used = self.spent.tokens + self.held_tokens
        if cap.tokens is not None and used + want.tokens > cap.tokens:
            return f"tokens = {cap.tokens}"
        if cap.usd is not None and self.spent.usd + self.held_usd + want.usd > cap.usd:
            return f"usd = {cap.usd}"
        return None

    def hold(self, want: Reservation, sign: int) -> None:
        self.held_calls += sign
        self.held_tokens += sign * want.tokens
        self.held_usd += sign * want.usd


class Ledger:
    """What a run has spent, by role and in all, against its caps."""

    def __init__(self, budget: Budget, spent: dict[str, Usage] | None = None) -> None:
        """``spent``: what earlier starts of the same run used; caps survive a resume."""
        self._budget = budget
        self._started = time.monotonic()
        self._accounts: defaultdict[str, _Account] = defaultdict(_Account)
        for role, usage in (spent or {}).items():
            self._accounts[role].spent = usage
        self._total = _Account(_sum(spent or {}))
        self._settled = asyncio.Event()

    @asynccontextmanager
    async def reserve(self, role: str, tokens: int, usd: float) -> AsyncIterator[Reservation]:
        """Hold the worst case of one call.  Raises ``BudgetExhausted`` before anything is sent."""
        want = Reservation(tokens, usd)
        account = self._accounts[role]
        while (passed := self._passed_cap(role, account, want)) and self._total.held_calls:
            self._settled.clear()
            await self._settled.wait()
        if passed:
            raise BudgetExhausted(f"{passed} would be passed by the next call ({role})")
        account.hold(want, +1)
        self._total.hold(want, +1)
        try:
            yield want
        finally:
            account.hold(want, -1)
            self._total.hold(want, -1)
            if want.reply is not None:
                account.spent.add(want.reply, want.paid)
                self._total.spent.add(want.reply, want.paid)
            self._settled.set()

    def _passed_cap(self, role: str, account: _Account, want: Reservation) -> str | None:
        """The config key of a cap that the call might pass, with its value."""
        wall = self._budget.wall_s
        if wall is not None and time.monotonic() - self._started > wall:
            return f"budget.wall_s = {wall:g}"
        if passed := self._total.room_for(self._budget, want):
            return f"budget.{passed}"
        cap = {str(name): cap for name, cap in self._budget.roles.items()}.get(role)
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


def _sum(spent: dict[str, Usage]) -> Usage:
    total = Usage()
    for u in spent.values():
        total.calls += u.calls
        total.prompt_tokens += u.prompt_tokens
        total.completion_tokens += u.completion_tokens
        total.cached_tokens += u.cached_tokens
        total.usd += u.usd
    return total
