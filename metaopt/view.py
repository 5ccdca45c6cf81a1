"""The live view of a run: a few lines that a terminal redraws, or plain lines elsewhere.

At most the terminal's height is drawn, so that nothing scrolls and nothing flickers over ssh;
what is decided is printed above and stays.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from metaopt.lab import Lab
from metaopt.monitor import PAUSED, Active
from metaopt.population import Candidate
from metaopt.state import winner
from metaopt.text import amount, clean, dollars, duration

OTHER_LINES = 5  # of the view, beside one for each iteration under way
BAR_WIDTH = 16


@contextmanager
def live(lab: Lab, console: Console | None = None) -> Iterator[None]:
    """Show the run while the body runs, on stderr unless ``console`` says otherwise."""
    console = console or Console(stderr=True)
    (lab.folder / PAUSED).unlink(missing_ok=True)  # of a process that was killed
    lab.gateway.tell(lambda line: _paused_or_back(lab, line))
    if not console.is_terminal:
        lab.monitor.say = lambda line: _plain(console, _stamp(lab) + clean(line))
        yield
        return
    lab.monitor.say = lambda line: console.print(Text(clean(line)))
    with Live(
        get_renderable=lambda: screen(lab, console.height),
        console=console,
        refresh_per_second=4,
        redirect_stdout=False,
    ):
        yield


def screen(lab: Lab, height: int = 24) -> Group:
    """What the terminal shows now, in at most ``height`` lines."""
    active = sorted(lab.monitor.active.values(), key=lambda a: a.iteration)
    pauses = [_cut(clean(line), "bold yellow") for line in lab.gateway.pauses]
    room = max(1, height - OTHER_LINES - len(pauses))
    shown = active if len(active) <= room else active[: room - 1]
    table = Table.grid(padding=(0, 2))
    for one in shown:
        table.add_row(*_row(one))
    rest = len(active) - len(shown)
    more = [Text(f"and {rest} more iterations under way", style="dim")] if rest else []
    return Group(_headline(lab), _rates(lab), table, *more, *pauses, _costs(lab))


def _cut(line: str, style: str) -> Text:
    return Text(line, style=style, no_wrap=True, overflow="ellipsis")


def _paused_or_back(lab: Lab, line: str) -> None:
    """Say it, and leave word for ``metaopt status`` for as long as an endpoint is down."""
    lab.monitor.say(line)
    note = lab.folder / PAUSED
    if lab.gateway.pauses:
        note.write_text(json.dumps({"line": line, "at": time.time()}), encoding="utf-8")
    else:
        note.unlink(missing_ok=True)


def _row(one: Active) -> tuple[Text | ProgressBar, ...]:
    cells = (
        Text(f"iteration {one.iteration}", no_wrap=True),
        Text(f"parent {one.parent}", style="dim", no_wrap=True),
        Text(one.stage, no_wrap=True),
    )
    if not one.wanted:
        return cells
    bar = ProgressBar(total=one.wanted, completed=one.done, width=BAR_WIDTH)
    return (*cells, bar, Text(f"{one.done}/{one.wanted}", no_wrap=True))


def _headline(lab: Lab) -> Text:
    decided = sum(lab.state.is_decided(i) for i in range(1, lab.monitor.iterations + 1))
    text = Text("SIMULATED  " if lab.config.simulated else "", style="bold yellow")
    text.append(f"{decided}/{lab.monitor.iterations} iterations", style="bold")
    text.append(f", {len(lab.state.population) - 1} accepted", style="not bold default")
    left = lab.monitor.seconds_left(decided)
    if left is not None:
        text.append(f", about {duration(left)} left", style="not bold default")
    return text


def _rates(lab: Lab) -> Text:
    """Baseline and best by their averages over all runs; single scores mislead."""
    top, baseline = winner(lab.state), lab.state.candidates[0]
    text = Text(f"baseline {_rate(baseline)}")
    if top.id:
        text.append("   ")
        text.append(f"best {_rate(top)} (candidate {top.id})", style="green")
    return text


def _rate(candidate: Candidate) -> str:
    if not candidate.papers:
        return "not validated yet"
    return f"{candidate.rate:.0%} of {candidate.papers}"


def _costs(lab: Lab) -> Text:
    total = lab.gateway.ledger.total
    words = [f"{dollars(total.usd)}", f"{total.calls:,} calls", f"{amount(total.tokens)} tokens"]
    if lab.gateway.replayed:
        words.append(f"{lab.gateway.replayed:,} replayed")
    return Text("  ".join([*words, f"{lab.gateway.in_flight} in flight"]), style="dim")


def _stamp(lab: Lab) -> str:
    """Cost so far, in front of each plain line; nothing for free models."""
    usd = lab.gateway.ledger.total.usd
    return f"[{dollars(usd)}] " if usd else ""


def _plain(console: Console, line: str) -> None:
    print(line, file=console.file or sys.stderr, flush=True)
