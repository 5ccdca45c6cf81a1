"""The live view of a run: a few lines that a terminal redraws, or plain lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from metaopt.lab import Lab
from metaopt.population import best


@contextmanager
def live(lab: Lab) -> Iterator[None]:
    """Show the run while the body runs."""
    console = Console(stderr=True)
    say = console.print if console.is_terminal else _plain
    lab.monitor.say = lambda line: say(_stamp(lab) + line)
    if not console.is_terminal:
        yield
        return
    with Live(get_renderable=lambda: _screen(lab), console=console, refresh_per_second=4):
        yield


def _plain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _stamp(lab: Lab) -> str:
    """Cost so far, in front of each plain line; nothing for free models."""
    usd = lab.gateway.ledger.total.usd
    return f"[${usd:.2f}] " if usd else ""


def _screen(lab: Lab) -> Group:
    table = Table.grid(padding=(0, 2))
    for active in sorted(lab.monitor.active.values(), key=lambda a: a.iteration):
        done = f"{active.done}/{active.wanted}" if active.wanted else ""
        table.add_row(
            f"iteration {active.iteration}", f"parent {active.parent}", active.stage, done
        )
    return Group(_headline(lab), table, _costs(lab))


def _headline(lab: Lab) -> Text:
    state, monitor = lab.state, lab.monitor
    top, baseline = best(state.population), state.candidates[0]
    left = monitor.seconds_left(state.first_undecided() - 1)
    text = Text("SIMULATED  " if lab.config.simulated else "", style="bold yellow")
    text.append(f"{state.first_undecided() - 1}/{monitor.iterations} iterations", style="bold")
    text.append(f"  {len(state.population) - 1} accepted  baseline {baseline.rate:.0%}")
    text.append(f"  best {top.rate:.0%} (candidate {top.id})", style="green")
    if left is not None:
        text.append(f"  about {_duration(left)} left")
    return text


def _costs(lab: Lab) -> Text:
    total = lab.gateway.ledger.total
    text = f"{total.calls:,} calls  {total.tokens / 1e6:.2f} M tokens  ${total.usd:.2f}"
    if lab.gateway.replayed:
        text += f"  {lab.gateway.replayed:,} replayed"
    return Text(f"{text}  {lab.gateway.in_flight} in flight", style="dim")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
