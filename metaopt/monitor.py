"""What a run is doing right now.  The loop writes it; a terminal view or plain lines read it."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

PAUSED = "paused.json"  # in a run's folder while an endpoint is down
RECENT = 100  # rollouts by which the pace is told


@dataclass(slots=True)
class Active:
    """One iteration on its way: stage, and papers done of those the stage wants."""

    iteration: int
    parent: int = 0
    stage: str = "starting"
    done: int = 0
    wanted: int = 0


@dataclass(slots=True)
class Monitor:
    """Plain numbers; ``say`` prints a line for each thing worth one, ``beat`` is called after each
    paper (both do nothing by default).  ``recent``: when the last rollouts ended (monotonic)."""

    iterations: int = 0
    say: Callable[[str], None] = lambda _line: None
    beat: Callable[[], None] = lambda: None
    active: dict[int, Active] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    first: int = 0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def stage(self, i: int, stage: str, wanted: int = 0) -> None:
        """Iteration ``i`` enters a stage that is to do ``wanted`` papers."""
        active = self.active.setdefault(i, Active(i))
        active.stage, active.done, active.wanted = stage, 0, wanted

    def parent(self, i: int, parent: int) -> None:
        """Iteration ``i`` has chosen its parent."""
        self.active.setdefault(i, Active(i)).parent = parent

    def paper_done(self, i: int, run_now: bool = True) -> None:
        """One more rollout of iteration ``i`` is there: ``run_now``, or found recorded."""
        if i in self.active:
            self.active[i].done += 1
        if run_now:
            self.recent.append(time.monotonic())
        self.beat()

    def decided(self, i: int, line: str) -> None:
        """Iteration ``i`` is over; ``line`` says how."""
        self.active.pop(i, None)
        self.say(line)

    def pace(self) -> float | None:
        """Rollouts per minute, by the recent ones; ``None`` before there are two."""
        recent = list(self.recent)
        if len(recent) < 2:
            return None
        return 60 * (len(recent) - 1) / max(1e-3, time.monotonic() - recent[0])

    def seconds_left(self, decided: int) -> float | None:
        """Time left at the pace so far, or ``None`` before the first decision of this start."""
        finished = decided - self.first
        if finished <= 0:
            return None
        pace = (time.monotonic() - self.started) / finished
        return pace * (self.iterations - decided)
