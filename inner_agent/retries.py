"""One request's tries: how long to wait before the next, and when it is enough."""

import math
import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from inner_agent.errors import ProviderError

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0  # before a request is sent again
JITTER = 0.25  # of a pause at most is left out, so that requests don't come back together


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
