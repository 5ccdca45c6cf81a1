"""Spending limits that hold with any number of calls in flight: reserve, then settle.

A reservation is the worst case (the whole prompt, ``max_tokens`` of reply); it is replaced by
what the call really used.  So spending never passes a cap, whatever is in flight.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
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

    @contextmanager
    def reserve(self, role: str, tokens: int, usd: float) -> Iterator[Reservation]:
        """Hold the worst case of one call.  Raises ``BudgetExhausted`` before anything is sent."""
        want = Reservation(tokens, usd)
        account = self._accounts[role]
        self._refuse_over_cap(role, account, want)
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

    def _refuse_over_cap(self, role: str, account: _Account, want: Reservation) -> None:
        wall = self._budget.wall_s
        if wall is not None and time.monotonic() - self._started > wall:
            raise BudgetExhausted(f"budget.wall_s = {wall:g} is used up")
        if passed := self._total.room_for(self._budget, want):
            raise BudgetExhausted(f"budget.{passed} would be passed by the next call ({role})")
        for name, cap in self._budget.roles.items():
            if name == role and (passed := account.room_for(cap, want)):
                raise BudgetExhausted(f"budget.roles.{role}.{passed} would be passed")

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
