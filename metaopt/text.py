"""Numbers and model-written text as people read them in a terminal."""

import io
import shutil
import textwrap
import time
from collections.abc import Iterable, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table

from metaopt.population import Candidate

WORD = 12  # letters of a word that isn't broken to make a table fit
GUTTER = 2  # columns of the terminal between two of a table


def clean(text: str) -> str:
    """``text`` without control characters: what a model wrote mustn't steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def one_line(text: str, limit: int = 100) -> str:
    """``text`` on one line of at most ``limit`` characters."""
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= limit else f"{flat[: limit - 1]}…"


def pooled(candidate: Candidate, interval: tuple[float, float] | None = None) -> str:
    """A candidate's rate over all its validation runs, with its 95 % interval where it is given."""
    if not candidate.papers:
        return "not validated yet"
    runs, sizes = len(candidate.runs), {papers for *_, papers in candidate.runs}
    times = f"{runs} run{'s' if runs > 1 else ''}"
    times += f" × {sizes.pop()} papers" if len(sizes) == 1 else f", {candidate.papers} rollouts"
    known = f" [{interval[0]:.0%} to {interval[1]:.0%}]" if interval else ""
    return f"{candidate.rate:.1%}{known} in {times}"


def duration(seconds: float) -> str:
    """A length of time in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def moment(seconds: float) -> str:
    """A point in time, given in seconds since the epoch, on this machine's clock."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def several(count: int, what: str) -> str:
    """A number of things: 1 repeat, 3 repeats, 2 harnesses."""
    ending = "es" if what.endswith("s") else "s"
    return f"{count:,} {what}{'' if count == 1 else ending}"


def ordinal(n: int) -> str:
    """1st, 2nd, 3rd, 11th."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th") if n % 100 not in (11, 12, 13) else "th"
    return f"{n}{ending}"


def amount(count: float) -> str:
    """A count of tokens or calls to three digits: 950, 12.3 k, 4.56 M."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= 0.9995 * unit:  # what rounds to a thousand is one of the next
            return f"{count / unit:.3g}{name}"
    return f"{count:.0f}"


def dollars(usd: float) -> str:
    """USD to the cent; to two digits below ten cents, to the dollar from a thousand on."""
    if usd >= 1000:
        return f"${usd:,.0f}"
    return f"${usd:,.2f}" if usd >= 0.1 or not usd else f"${usd:.2g}"


def screen_width() -> int:
    """The terminal's columns, 60 at least; 240 where there is none."""
    return max(60, _columns())


def _columns() -> int:
    return shutil.get_terminal_size((240, 24)).columns


def fold(text: str, indent: int = 0) -> list[str]:
    """``text`` in lines that fit the terminal, however narrow, beside an indent."""
    width = max(10, _columns() - indent)
    parts = (textwrap.wrap(x, width, break_on_hyphens=False) for x in text.split("\n"))
    return [line for part in parts for line in part or [""]]


def grid(*columns: str) -> Table:
    """An empty table with these headings; one that starts with ``>`` aligns to the right.

    Where it is too wide, the columns that align to the left are folded, at words if they have no
    more than ``WORD`` letters.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        if name.startswith(">"):
            table.add_column(name[1:], justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow="fold")
    return table


def render(table: Table) -> str:
    """A table as plain text, as wide as the terminal; into a pipe, as wide as it likes.

    Where its figures and words don't fit it is wider: a row that the terminal breaks can still be
    read, and a figure that was cut off can't.
    """
    width = _fit(table.columns, screen_width())
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())


def _fit(columns: Sequence[Column], room: int) -> int:
    """Narrow the columns that fold, the widest first, as far as that is needed to fit and breaks no
    word; the width that it comes to."""
    texts = [[str(column.header), *map(str, column.cells)] for column in columns]
    widths = [_longest(line for text in column for line in text.split("\n")) for column in texts]
    least = [min(WORD, _longest(word for text in column for word in text.split()))
             for column in texts]  # fmt: skip
    gaps = GUTTER * (len(columns) - 1)
    while sum(widths) + gaps > room:
        spare = [k for k, c in enumerate(columns) if not c.no_wrap and widths[k] > least[k]]
        if not spare:
            break
        widths[max(spare, key=widths.__getitem__)] -= 1
    for column, width in zip(columns, widths, strict=True):
        column.width = width
    return sum(widths) + gaps


def _longest(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)
