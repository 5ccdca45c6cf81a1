"""A few lines at the bottom of a terminal, redrawn in place, and what scrolls by above them.

A thread of its own draws, so that a terminal that takes nothing for a while (ssh, Ctrl-S) holds
nobody up.  Each drawing is one write, and there is none where nothing has changed.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import Segment, Segments
from rich.text import Text

from metaopt.text import clean

EVERY_S = 0.25  # between two drawings
KEPT = 100  # lines that scrolled by, to be shown again where the terminal was resized
# Terminals that know them show what is between all at once; the others ignore them
# (https://gist.github.com/christianparpart/d8a62cc1ab659194337d73e399004036).
BEGIN, END = Control(), Control()
BEGIN.segment, END.segment = Segment("\x1b[?2026h"), Segment("\x1b[?2026l")

Frame = Callable[[int, int], RenderableType]
"""What is to be drawn, for a terminal of so many columns and lines."""


def can_redraw(console: Console) -> bool:
    """Is there a terminal that can move its cursor?"""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def redrawn(console: Console, frame: Frame) -> Iterator[Callable[[str], None]]:
    """Keep ``frame`` drawn while the body runs.  Yields what prints a line above it."""
    drawing = _Drawing(console, frame)
    thread = threading.Thread(target=drawing.run, name="redraw", daemon=True)
    drawing.live.start()
    thread.start()
    try:
        yield drawing.lines.append
    finally:
        drawing.over.set()
        thread.join()
        drawing.live.stop()


class _Drawing:
    def __init__(self, console: Console, frame: Frame) -> None:
        self.over = threading.Event()
        self.lines = deque[str]()  # to be printed
        self._console, self._frame = console, frame
        self._printed = deque[Text](maxlen=KEPT)
        self._drawn: list[Segment] = []
        self._size = console.size
        self.live = self._new_live()

    def _new_live(self) -> Live:
        return Live(console=self._console, auto_refresh=False, redirect_stdout=False)

    def run(self) -> None:
        """Draw until it is over, and then once more."""
        while not self.over.wait(EVERY_S):
            self.draw()
        self.draw()

    def draw(self) -> None:
        """Bring the terminal up to date, in one write."""
        size, console = self._console.size, self._console
        segments = list(console.render(self._frame(size.width, size.height)))
        new = [Text(clean(self.lines.popleft())) for _ in range(len(self.lines))]
        resized, self._size = size != self._size, size
        if not (new or resized or segments != self._drawn):
            return
        self._drawn = segments
        self._printed += new
        with console:  # gathers what follows
            console.control(BEGIN)
            if resized:
                new = self._clear(size, len(list(Segment.split_lines(segments))))
            self.live.update(Segments(segments), refresh=not new)
            if new:
                console.print(Text("\n").join(new))
            console.control(END)

    def _clear(self, size: ConsoleDimensions, height: int) -> list[Text]:
        """Begin anew on a screen that was resized: it may have folded lines, and brought others
        back.  Returns those that scrolled by and have room above the frame."""
        self.live.update("", refresh=True)
        self.live.stop()
        self._console.control(Control.home(), Control.clear())
        self.live = self._new_live()
        self.live.start()
        room, shown = size.height - height - 1, deque[Text]()
        for text in reversed(self._printed):
            room -= max(1, -(-cell_len(text.plain) // size.width))
            if room < 0:
                break
            shown.appendleft(text)
        return list(shown)
