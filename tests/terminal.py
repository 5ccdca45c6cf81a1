"""A terminal of a few dozen lines' worth: what a program's output leaves on its screen.

It knows what rich sends, folds lines that are too long, and folds them anew when it is made
narrower, as most terminals do.  On an unknown sequence it fails.
"""

import fcntl
import os
import re
import select
import struct
import termios
from collections.abc import Callable

PATIENCE_S = 120.0  # for something to appear: only a hang takes so long
_SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b\[[?0-9;]*$|\x1b$|([^\x1b])")


class Terminal:
    """The screen behind one end of a pty.  ``seen`` is all that was ever written to it."""

    def __init__(self, descriptor: int, width: int, height: int) -> None:
        """``descriptor``: the controlling end; the program gets the other one."""
        self.rows = [""]
        self.seen = ""
        self.cursor_shown = True
        self._drawing = False  # between the marks of a drawing that is to be seen at once
        self._at = (0, 0)  # row, column
        self._fd, self._rest = descriptor, b""
        self._set_size(width, height)

    def _set_size(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def resize(self, width: int, height: int) -> None:
        """As a window manager does: the program is told by SIGWINCH."""
        row, column = self._at
        folded: list[str] = []
        for n, text in enumerate(self.rows):
            if n == row:
                row = len(folded) + column // width
                column %= width
            folded += [text[k : k + width] for k in range(0, max(1, len(text)), width)]
        self.rows, self._at = folded, (row, column)
        self._set_size(width, height)
        self._scroll()

    def type(self, text: str) -> None:
        """What somebody types."""
        os.write(self._fd, text.encode())

    @property
    def text(self) -> str:
        """The screen."""
        return "\n".join(row.rstrip() for row in self.rows)

    def until(self, true: Callable[[str], object]) -> str:
        """Read on until ``true`` of the screen, with no drawing half done; returns the screen.
        At the program's end it fails."""
        while self._drawing or not true(self.text):
            assert self._read(), f"not on the screen:\n{self.text}"
        return self.text

    def to_the_end(self) -> str:
        """Read until nobody has the other end open any more; returns the screen."""
        while self._read():
            pass
        return self.text

    def _read(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], PATIENCE_S)
        assert ready, f"nothing new on the screen:\n{self.text}"
        try:
            data = os.read(self._fd, 65_536)
        except OSError:  # EIO: the other end is closed
            return False
        data = self._rest + data
        text = data.decode(errors="ignore")  # the end of a character may be still to come
        self._rest = data[len(text.encode()) :]
        self._show(text)
        return bool(data)

    def _show(self, text: str) -> None:
        self.seen += text
        for found in _SEQUENCE.finditer(text):
            if found.group(3):
                self._put(found.group(3))
            elif found.group(2):
                self._obey(found.group(1), found.group(2))
            else:  # cut in two
                self.seen = self.seen.removesuffix(found.group())
                self._rest = found.group().encode() + self._rest

    def _put(self, character: str) -> None:
        row, column = self._at
        if character == "\r":
            self._at = (row, 0)
        elif character == "\n":
            self._at = (row + 1, column)
        else:
            if column == self.width:
                row, column = row + 1, 0
            self._at = (row, column)
            self._scroll()
            row, column = self._at
            line = self.rows[row].ljust(column)
            self.rows[row] = line[:column] + character + line[column + 1 :]
            self._at = (row, column + 1)
        self._scroll()

    def _obey(self, given: str, command: str) -> None:
        row, column = self._at
        if command == "A":
            self._at = (max(0, row - int(given or 1)), column)
        elif (given, command) == ("", "H"):
            self._at = (0, 0)
        elif (given, command) == ("2", "K"):
            self.rows[row] = ""
        elif (given, command) == ("2", "J"):
            self.rows = [""] * len(self.rows)
        elif given == "?25":
            self.cursor_shown = command == "h"
        elif given == "?2026":
            self._drawing = command == "h"
        else:
            assert command == "m", (given, command)

    def _scroll(self) -> None:
        row, column = self._at
        self.rows += [""] * (row + 1 - len(self.rows))
        gone = max(0, len(self.rows) - self.height)
        self.rows, self._at = self.rows[gone:], (max(0, row - gone), column)
