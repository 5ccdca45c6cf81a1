"""Start or resume a run: open its folder, loop, stop cleanly, say how to go on."""

import asyncio
import errno
import json
import shlex
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from inner_agent.errors import BudgetExhausted, ProviderError, UserError
from inner_agent.gateway import Gateway
from metaopt.config import RunConfig
from metaopt.lab import Lab, open_lab
from metaopt.loop import optimize
from metaopt.monitor import Monitor
from metaopt.screen import live
from metaopt.sealed import opened_text

STOPPED = "stopped.json"  # why a run stopped before its end, for those who ask later


class Stopped(Exception):
    """The run stopped before its end; nothing is lost.  ``status`` is the exit status.

    ``more``: words that the command needs besides, to go on.
    """

    def __init__(self, reason: str, status: int, more: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.reason, self.status, self.more = reason, status, more


def run(config: RunConfig, folder: Path) -> Path:
    """Run what is owed below ``folder``, with a live view on a terminal.

    Raises ``UserError`` for bad input and ``Stopped`` (3: budget, 4: provider or jail, 5: disk,
    130: interrupted).
    """
    with stopped_by_full_disk():
        lab = open_lab(config, folder, Monitor())
    if lab.rollouts.rig.mode == "none":
        print("sandbox: none; model-written code runs unconfined", file=sys.stderr)
    goes_on = lab.state.first_undecided() <= config.search.iterations
    if goes_on and (opened := opened_text(folder)):
        say(f"note: the test papers of this run were {opened}; what is decided from here on isn't"
            " blind to that")  # fmt: skip
    note = folder / STOPPED
    note.unlink(missing_ok=True)
    try:
        run_until_stopped(_watched(lab))
    except (Stopped, UserError) as stop:  # a key may be refused in mid-run
        said = {"reason": str(stop), "status": getattr(stop, "status", 2), "at": time.time()}
        with suppress(OSError):  # the disk may be what stopped it
            note.write_text(json.dumps(said), encoding="utf-8")
        raise
    return folder


def run_until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` to its end, or to Ctrl-C, SIGTERM, SIGHUP, a budget's end, a provider's failure.

    However it is stopped, ``work`` is cancelled and cleans up: jailed children are killed,
    everything recorded stays, calls in flight get ``limits.grace_s`` to come in.  A second signal
    cuts that short.  Raises ``UserError`` or ``Stopped``.
    """
    try:
        asyncio.run(_cancelled_by_signals(work))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise Stopped("interrupted", 130) from None
    except BaseExceptionGroup as group:
        raise _first_cause(group) from None
    except Exception as e:
        raise _first_cause(ExceptionGroup("", [e])) from e


@contextmanager
def stopped_by_full_disk() -> Iterator[None]:
    """Opening a folder on a disk without room is no bad input: it goes on once there is some."""
    try:
        yield
    except (OSError, sqlite3.Error) as e:
        full = getattr(e, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        if full or getattr(e, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise Stopped(str(e), 5) from None
        raise


@asynccontextmanager
async def within_wall_time(gateway: Gateway) -> AsyncIterator[None]:
    """End the body when ``budget.wall_s`` leaves only the grace for calls on their way.

    Raises ``BudgetExhausted``.
    """
    try:
        async with asyncio.timeout(gateway.ledger.seconds_for_new_calls()) as time_left:
            yield
    except TimeoutError:
        if not time_left.expired():
            raise
        raise BudgetExhausted(gateway.ledger.wall_passed()) from None


def say(line: str) -> None:
    """A line on stderr, at once."""
    print(line, file=sys.stderr, flush=True)


def resume_command(config_path: Path, folder: Path, overrides: list[str]) -> str:
    """The command that goes on with a stopped run."""
    words = ["metaopt", "run", str(config_path), "--out", str(folder)]
    for text in overrides:
        words += ["--set", text]
    return shlex.join(words)


async def _watched(lab: Lab) -> None:
    try:
        with live(lab):
            async with within_wall_time(lab.gateway):
                await optimize(lab)
    finally:
        await lab.close(say)


async def _cancelled_by_signals(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The first one stops the work, the second one its wait for calls in flight.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await work


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one thing to tell the user: what is refused first, then what ran out, then faults."""
    kinds = (
        (UserError, 0),
        (BudgetExhausted, 3),
        (ProviderError, 4),
        (OSError, 5),
        (sqlite3.Error, 5),
    )
    for kind, status in kinds:
        found = group.subgroup(kind)
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]  # type: ignore[assignment]
        if found is not None:
            return found if status == 0 else Stopped(str(found), status)
    return group if len(group.exceptions) > 1 else group.exceptions[0]
