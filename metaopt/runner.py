"""Start or resume a run: open its folder, loop, stop cleanly, say how to go on."""

import asyncio
import shlex
import signal
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from inner_agent.errors import BudgetExhausted, ProviderError, UserError
from metaopt.config import RunConfig
from metaopt.lab import Lab, open_lab
from metaopt.loop import optimize
from metaopt.monitor import Monitor
from metaopt.view import live


@dataclass(frozen=True, slots=True)
class Stopped(Exception):
    """The run stopped before its end; nothing is lost.  ``status`` is the exit status."""

    reason: str
    status: int


def run(config: RunConfig, folder: Path) -> Path:
    """Run what is owed below ``folder``, with a live view on a terminal.

    Raises ``UserError`` for bad input and ``Stopped`` (3: budget, 4: provider, 130: interrupted).
    """
    monitor = Monitor()
    lab = open_lab(config, folder, monitor)
    try:
        asyncio.run(_watched(lab, live(lab)))
    except BaseExceptionGroup as group:
        raise _first_cause(group) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise Stopped("interrupted", 130) from None
    return folder


def resume_command(config_path: Path, folder: Path, overrides: list[str]) -> str:
    """The command that goes on with a stopped run."""
    words = ["metaopt", "run", str(config_path), "--out", str(folder)]
    for text in overrides:
        words += ["--set", text]
    return shlex.join(words)


async def _watched(lab: Lab, view: AbstractContextManager[None]) -> None:
    task = asyncio.current_task()
    assert task is not None
    # SIGTERM stops like Ctrl-C: jailed children are killed, everything recorded stays.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        with view:
            await optimize(lab)
    finally:
        await lab.close()


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one thing to tell the user: what is refused first, then what ran out, then faults."""
    for kind, status in ((UserError, 0), (BudgetExhausted, 3), (ProviderError, 4)):
        found = group.subgroup(kind)
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]  # type: ignore[assignment]
        if found is not None:
            return found if status == 0 else Stopped(str(found), status)
    return group
