"""How a run is watched as it runs: a few lines that a terminal redraws, or plain lines elsewhere.

What is decided is printed above those lines and stays.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from inner_agent.traffic import Door
from metaopt.history import HistoryEntry, outcome_line
from metaopt.lab import Lab
from metaopt.monitor import PAUSED, Active
from metaopt.population import Candidate
from metaopt.redraw import can_redraw, redrawn
from metaopt.state import winner
from metaopt.text import amount, clean, dollars, duration, several

ABOVE = 3  # lines of the terminal that are left to what was printed
NARROW = 72  # columns: below, numbers lose their words
NEAR = 0.8  # a role's cap is shown once that much of it is used
LINE_EVERY_S = 300.0  # where no terminal redraws: how it stands, at most this often


@contextmanager
def live(lab: Lab, console: Console | None = None) -> Iterator[None]:
    """Show the run while the body runs, on stderr unless ``console`` says otherwise."""
    console = console or Console(stderr=True)
    (lab.folder / PAUSED).unlink(missing_ok=True)  # of a process that was killed
    lab.gateway.tell(lambda line: _paused_or_back(lab, line))
    screen = Screen(lab)
    if not can_redraw(console):
        _plainly(screen, console)
        _say_where_it_goes_on(lab)
        yield
        return
    with redrawn(console, screen.frame) as say:
        lab.monitor.say = say
        _say_where_it_goes_on(lab)
        yield


def _say_where_it_goes_on(lab: Lab) -> None:
    """The last decision of earlier starts, if there is one."""
    decided = {i: s["decided"]["entry"] for i, s in lab.state.stages.items() if "decided" in s}
    if decided:
        entry = HistoryEntry.model_validate(decided[max(decided)])
        lab.monitor.say(f"last of {several(len(decided), 'iteration')}: {outcome_line(entry)}")


def _plainly(screen: "Screen", console: Console) -> None:
    """Print what is said, and now and then how it stands."""
    lab, printed = screen.lab, time.monotonic()

    def say(line: str) -> None:
        usd = lab.gateway.ledger.total.usd
        stamp = f"[{dollars(usd)}] " if usd else ""  # nothing for free models
        print(stamp + clean(line), file=console.file or sys.stderr, flush=True)

    def beat() -> None:
        nonlocal printed
        now = time.monotonic()
        if now - printed >= LINE_EVERY_S:
            printed = now
            say(screen.line())

    lab.monitor.say, lab.monitor.beat = say, beat


def _paused_or_back(lab: Lab, line: str) -> None:
    """Say it, and leave word for ``metaopt status`` for as long as an endpoint is down."""
    lab.monitor.say(line)
    note = lab.folder / PAUSED
    if lab.gateway.pauses:
        note.write_text(json.dumps({"line": line, "at": time.time()}), encoding="utf-8")
    else:
        note.unlink(missing_ok=True)


@dataclass(slots=True)
class Screen:
    """What is to be seen of a run.  ``frame`` may be asked from another thread: it only reads.

    ``_rates`` is kept until something is taken into the population: which one is best takes
    milliseconds to find out.
    """

    lab: Lab
    _rates: Text | None = None
    _rates_of: object = None

    def frame(self, width: int, height: int) -> Group:
        """At most ``height`` lines less those left free, each in ``width`` columns."""
        lab = self.lab
        active = sorted(lab.monitor.active.values(), key=lambda a: a.iteration)
        doors = [door_text(door, width >= NARROW) for door in lab.gateway.doors]
        costs = _flow(_costs(lab), width)
        room = max(1, height - ABOVE - 2 - len(doors) - len(costs))
        shown = active if len(active) <= room else active[: room - 1]
        rest = len(active) - len(shown)
        more = [Text(f"and {several(rest, 'more iteration')} under way", "dim")] if rest else []
        table = [_table(shown, width)] if shown else []
        return Group(self._headline(), self._rated(), *table, *more, *doors, *costs)

    def line(self) -> str:
        """The same on one line."""
        lab = self.lab
        under_way = [
            f"{a.iteration}: {a.stage}" + (f" {a.done}/{a.wanted}" if a.wanted else "")
            for a in lab.monitor.active.values()
        ]
        doors = [door_text(door).plain for door in lab.gateway.doors if door.limited or door.pause]
        texts = [self._headline().plain, ", ".join(under_way), *doors, "  ".join(_costs(lab)[1:])]
        return "; ".join(filter(None, texts))

    def _headline(self) -> Text:
        lab, monitor = self.lab, self.lab.monitor
        text = _cut("SIMULATED  " if lab.config.simulated else "", "bold yellow")
        decided = _decided(lab)
        text.append(f"{decided}/{monitor.iterations} iterations", style="bold")
        more = f", {len(lab.state.population) - 1} accepted"
        more += f", {duration(time.monotonic() - monitor.started)} so far"
        left = monitor.seconds_left(decided)
        if left is not None:
            more += f", about {duration(left)} left"
        return text.append(more, style="not bold default")

    def _rated(self) -> Text:
        """Baseline and best by their averages over all runs; single scores mislead."""
        state = self.lab.state
        seen = (state.advanced, state.candidates[0].papers, state.finalists)
        if self._rates is None or self._rates_of != seen:
            top, baseline = winner(state), state.candidates[0]
            text = _cut(f"baseline {_rate(baseline)}")
            if top.id:
                text.append(f"   best {_rate(top)} (candidate {top.id})", style="green")
            self._rates, self._rates_of = text, seen
        return self._rates


def _cut(line: str, style: str = "") -> Text:
    return Text(line, style=style, no_wrap=True, overflow="ellipsis")


def _decided(lab: Lab) -> int:
    """Iterations that are over; only those not taken in yet are counted one by one."""
    state = lab.state
    later = [s for i, s in list(state.stages.items()) if i > state.advanced]
    return state.advanced + sum("decided" in stages for stages in later)


def _rate(candidate: Candidate) -> str:
    if not candidate.papers:
        return "not validated yet"
    return f"{candidate.rate:.0%} of {candidate.papers}"


def _table(active: Sequence[Active], width: int) -> Table:
    """The iterations under way, each with its stage and a bar."""
    wide = width >= NARROW
    table = Table.grid(padding=(0, 2 if wide else 1))
    for one in active:
        numbers = [f"iteration {one.iteration}", f"parent {one.parent}"] if wide else []
        cells = [*(numbers or [str(one.iteration)]), one.stage]
        bar = ProgressBar(total=one.wanted, completed=one.done, width=16 if wide else 8)
        progress = (bar, f"{one.done}/{one.wanted}") if one.wanted else ()
        table.add_row(*cells, *progress)
    for column in table.columns:
        column.no_wrap = True
    return table


def door_text(door: Door, wide: bool = True) -> Text:
    """How an endpoint takes calls: how many, and what holds it up."""
    if door.pause:
        return _cut(clean(door.pause), "bold yellow")
    name = f"endpoints.{door.name}" if wide else door.name
    text = f"{name} limits the rate: " if door.limited else f"{name}  {door.in_flight} of "
    text += f"{several(door.limit, 'call')} at a time"
    if door.resting:
        text += f", {door.resting} wait {duration(door.rest_s)}"
    if door.queued:
        text += f", {door.queued} queued"
    if door.retried:
        text += f", {amount(door.retried)} sent again"
    return _cut(text, "yellow" if door.limited else "dim")


def _costs(lab: Lab) -> list[str]:
    """Spent so far and of which caps, then how fast, what matters most first."""
    total, pace = lab.gateway.ledger.total, lab.monitor.pace()
    words = [dollars(total.usd)]
    for cap, share in lab.gateway.ledger.shares().items():
        if not cap.startswith("roles.") or share >= NEAR:
            words.append(f"{share:.0%} of budget.{cap}")
    if pace is not None:
        words.append(f"{pace:.3g} rollouts/min")
    words += [f"{lab.gateway.in_flight} in flight", f"{total.calls:,} calls"]
    words.append(f"{amount(total.tokens)} tokens")
    if lab.gateway.replayed:
        words.append(f"{lab.gateway.replayed:,} replayed")
    return words


def _flow(words: Sequence[str], width: int) -> list[Text]:
    """Words on as many lines as they need, two at most."""
    lines = [""]
    for word in words:
        longer = f"{lines[-1]}  {word}".strip()
        if len(longer) <= width or not lines[-1]:
            lines[-1] = longer
        elif len(lines) == 2:
            break
        else:
            lines.append(word)
    return [_cut(line, "dim") for line in lines]
