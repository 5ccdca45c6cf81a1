"""A few lines at the bottom of a terminal, redrawn in place, and what scrolls by above them.

A thread of its own draws, so that a terminal that takes nothing for a while (ssh, Ctrl-S) holds
nobody up.  Each drawing is one write, and there is none where nothing has changed.
"""

import os
import signal
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
    """Keep ``frame`` drawn while the body runs.  Yields what prints a line above it.

    In the background (``&``, or Ctrl-Z and ``bg``) only those lines are printed.
    """
    drawing = Drawing(console, frame)
    thread = threading.Thread(target=drawing.run, name="redraw", daemon=True)
    thread.start()
    try:
        with _stepping_aside(drawing):
            yield drawing.lines.append
    finally:
        drawing.over.set()
        thread.join()
        drawing.live.stop()


@contextmanager
def _stepping_aside(drawing: "Drawing") -> Iterator[None]:
    """On Ctrl-Z, give the shell its cursor back before stopping."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTSTP) != signal.SIG_DFL:
        yield  # nobody can stop us, or it is somebody else's to say
        return

    def stop(*_: object) -> None:
        drawing.aside = True
        drawing.console.show_cursor(True)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, stop)  # here it goes on

    signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)


class Drawing:
    """What is on the terminal.  ``lines`` are to be printed; ``aside``: others have written on it
    since, so that nobody knows where the cursor is."""

    def __init__(self, console: Console, frame: Frame) -> None:
        self.console, self.over = console, threading.Event()
        self.lines, self.aside = deque[str](), False
        self.live = self._new_live()
        self._frame = frame
        self._printed = deque[Text](maxlen=KEPT)
        self._drawn: list[Segment] = []
        self._size = console.size

    def _new_live(self) -> Live:
        return Live(console=self.console, auto_refresh=False, redirect_stdout=False)

    def run(self) -> None:
        """Draw until it is over, and then once more."""
        while not self.over.wait(EVERY_S):
            self.draw()
        self.draw()

    def draw(self) -> None:
        """Bring the terminal up to date, in one write."""
        new = [Text(clean(self.lines.popleft())) for _ in range(len(self.lines))]
        self._printed += new
        if not _in_front(self.console):
            self._forget()
            for text in new:
                self.console.print(text)
            return
        size = self.console.size
        segments = list(self.console.render(self._frame(size.width, size.height)))
        anew, self._size = self.aside or size != self._size, size
        if not (new or anew or segments != self._drawn):
            return
        self._drawn = segments
        if anew:
            self._forget()
            new = self._in_room(size, len(list(Segment.split_lines(segments))))
        with self.console:  # gathers what follows
            self.console.control(BEGIN)
            if anew:
                self.console.control(Control.home(), Control.clear())
            self.live.start()
            self.live.update(Segments(segments), refresh=not new)
            if new:
                self.console.print(Text("\n").join(new))
            self.console.control(END)

    def _forget(self) -> None:
        """Begin anew on a screen that has folded lines, or has others' on it: nothing is written,
        but the cursor is given back."""
        if self.live.is_started:
            with self.console.capture():
                self.live.stop()
            self.console.show_cursor(True)
        self.live, self.aside = self._new_live(), False

    def _in_room(self, size: ConsoleDimensions, height: int) -> list[Text]:
        """What was printed last and has room above the frame."""
        room, shown = size.height - height - 1, deque[Text]()
        for text in reversed(self._printed):
            room -= max(1, -(-cell_len(text.plain) // size.width))
            if room < 0:
                break
            shown.appendleft(text)
        return list(shown)


def _in_front(console: Console) -> bool:
    """Is the terminal ours, and not that of a shell which put us into the background?"""
    try:
        return os.tcgetpgrp(console.file.fileno()) == os.getpgrp()
    except OSError:  # it isn't our controlling terminal: nobody can put us anywhere
        return True
