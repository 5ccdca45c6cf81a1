"""How far many rollouts outside of a run have come: one line, redrawn or printed now and then."""

import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from inner_agent.gateway import Gateway
from inner_agent.run_paper import PaperResult
from metaopt.redraw import can_redraw, redrawn
from metaopt.runner import run_until_stopped, say, within_wall_time
from metaopt.screen import door_text
from metaopt.text import amount, clean, dollars, duration

LINE_EVERY_S = 10.0  # where no terminal redraws: a line at most this often


@dataclass(slots=True)
class Progress:
    """Rollouts, or whatever else, wanted and done, of which ``first`` were there at the start;
    passed ones (``None``: nothing passes or fails).

    ``outlook`` may know more of what is left than the pace tells; ``tell`` prints a line above.
    """

    gateway: Gateway
    simulated: bool
    what: str
    wanted: int
    first: int = 0
    done: int = 0
    passed: int | None = 0
    started: float = field(default_factory=time.monotonic)
    outlook: Callable[[], str] = lambda: ""
    show: Callable[[], None] = lambda: None
    tell: Callable[[str], None] = say

    def add(self, result: PaperResult) -> None:
        """Count a rollout."""
        if self.passed is not None:
            self.passed += result.passed
        self.step()

    def step(self) -> None:
        """Count one."""
        self.done += 1
        self.show()

    def told(self, text: str) -> None:
        """Print a line of its own."""
        self.tell(self._marked(text))

    def line(self) -> str:
        """How it stands, on one line."""
        total = self.gateway.ledger.total
        text = f"{self.done}/{self.wanted} {self.what}"
        text += "" if self.passed is None else f", {self.passed} passed"
        text += f", {amount(total.calls)} calls, {dollars(total.usd)}"
        if self.gateway.replayed:
            text += f", {amount(self.gateway.replayed)} replayed"
        fresh = self.done - self.first
        if known := self.outlook():
            text += f", {known}"
        elif fresh > 0 and self.done < self.wanted:
            pace = (time.monotonic() - self.started) / fresh
            text += f", about {duration(pace * (self.wanted - self.done))} left"
        held = [door_text(d).plain for d in self.gateway.doors if d.limited or d.pause]
        text = "; ".join([text, *held])
        return self._marked(text)

    def _marked(self, text: str) -> str:
        return ("SIMULATED  " if self.simulated else "") + text


def run_watched(progress: Progress, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``work`` to its end with ``progress`` shown, within ``budget.wall_s``.

    The gateway is closed, whatever happens.  Raises ``UserError`` or ``Stopped`` as
    ``metaopt.runner.run_until_stopped`` does.
    """
    run_until_stopped(_watched(progress, work))


async def _watched(progress: Progress, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        with _shown(progress):
            async with within_wall_time(progress.gateway):
                await work()
    finally:
        await progress.gateway.close(say)


@contextmanager
def _shown(progress: Progress) -> Iterator[None]:
    """Show the line: redrawn on a terminal, else as plain lines now and then."""
    console = Console(stderr=True)
    if can_redraw(console):
        with redrawn(console, lambda _width, _height: Text(progress.line())) as above:
            progress.tell = above
            progress.gateway.tell(above)
            yield
        return
    progress.gateway.tell(lambda line: say(clean(line)))
    printed = progress.started

    def show() -> None:
        nonlocal printed
        now = time.monotonic()
        if now - printed >= LINE_EVERY_S:
            printed = now
            say(progress.line())

    progress.show = show
    yield
