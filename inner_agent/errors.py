"""The vocabulary of failure, in one place.

Three kinds are kept apart because they are treated differently everywhere:

* ``UserError``: somebody asked for something that can't be done.  One line, exit status 2.
* ``ProviderError``: an endpoint failed.  It is never a score: the work is owed, not lost.
* ``BudgetExhausted``: a limit that the user set was reached.  Stopping is clean; resuming goes on.

What a harness does wrong is not an exception at all but data: the ``reason`` of its paper result.
"""


class UserError(Exception):
    """Bad input.  The text is one line: what is wrong, where, what to do."""


class ProviderError(Exception):
    """An endpoint gave no usable reply after all retries (429, 5xx, time-out, broken body)."""


class Unreachable(ProviderError):
    """No connection, or no answer within the time: nobody is there, or not any more."""


class EndpointDown(ProviderError):
    """An endpoint has been down for longer than the run is told to wait; trying on is no use."""


class RequestRejected(ProviderError):
    """The endpoint refuses this very request (400, 422): too long or malformed; no retry helps."""


class ReplyRefused(RequestRejected):
    """The model or the provider's filter won't reply to this request, each time it was asked."""


class JailFailed(ProviderError):
    """The jail did not start, so the harness never ran: as little a score as a provider's fault."""


class EndpointRefused(ProviderError, UserError):
    """An endpoint will never answer as configured: bad key, unknown model, no such path."""


class BudgetExhausted(Exception):
    """The next call might pass a limit of ``[budget]``; nothing was sent."""
