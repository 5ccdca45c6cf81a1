"""Standard streams that outlast the terminal: a run goes on, or stops cleanly, without one."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


class _Lasting:
    """A text stream; once writing fails, its descriptor leads to /dev/null.

    A terminal that was closed answers EIO, a pipe whose reader went away EPIPE.  Neither may end
    a run, nor Python's own flush at exit, and nobody is left to be told.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        # What the encoding lacks, as a path that is no UTF-8, becomes question marks: as wide.
        coding = self._stream.encoding or "utf-8"
        known = text.encode(coding, errors="replace").decode(coding)
        self._or_nowhere(lambda: self._stream.write(known))
        return len(text)

    def flush(self) -> None:
        self._or_nowhere(self._stream.flush)

    def _or_nowhere(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            with suppress(OSError):  # what it had kept back
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Let stdout and stderr outlast the terminal or pipe behind them while the body runs."""
    before = sys.stdout, sys.stderr
    lasting = [cast(TextIO, _Lasting(stream)) for stream in before]
    sys.stdout, sys.stderr = lasting
    try:
        yield
    finally:
        for stream in lasting:
            stream.flush()
        sys.stdout, sys.stderr = before
