"""Work that a provider broke off is owed, not lost: try it again, replaying what it got."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from inner_agent.errors import EndpointDown, ProviderError, UserError

TRIES = 3

T = TypeVar("T")


async def with_patience(work: Callable[[], Awaitable[T]]) -> T:
    """Do ``work``, up to three times while providers fail.  Raises what the last try raised."""
    for _ in range(TRIES - 1):
        try:
            return await work()
        except (UserError, EndpointDown):
            raise  # a refused key won't change, and an outage was waited for long enough
        except ProviderError:
            continue
    return await work()
