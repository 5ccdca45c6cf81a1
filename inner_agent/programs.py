"""Run a program that a model wrote, once: what does it print?

In the jail of ``sandbox.py`` and nowhere else, whatever ``sandbox.mode`` says: such a program
wasn't chosen by anybody, and a run may meet thousands of them.
"""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from inner_agent import sandbox
from inner_agent.errors import UserError
from inner_agent.sandbox import Mount
from inner_agent.settings import Limits

SCRIPT = "/work/program.py"
MOST_BYTES = 10_000  # of what is printed: a program that prints more has no answer to be read


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program printed, and what went wrong (``""``: it came to its end)."""

    printed: str
    fault: str = ""


async def run_program(source: str, limits: Limits) -> Ran:
    """Run Python ``source``, which has the standard library, no input, and no file but itself.

    Of ``limits`` these hold: ``cpu_s``, ``memory_mb``, ``file_mb`` (of each file and of what it
    prints), and ``idle_s`` from beginning to end.  Raises ``UserError`` where there is no
    bubblewrap, ``JailFailed`` when the program could not be started.
    """
    if problem := sandbox.bubblewrap_problem():
        raise UserError(
            f"sandbox: {problem}; {sandbox.INSTALL}: programs that models write run in the jail"
            " alone, whatever sandbox.mode says"
        )
    with _file(source) as path, tempfile.TemporaryFile() as output:
        child = sandbox.start("bubblewrap", [SCRIPT], [Mount(path, SCRIPT)], limits, output)
        try:
            status = await child.wait(limits.idle_s)
            child.raise_if_jail_failed()
        finally:
            errors = child.close()
        output.seek(0)
        printed = output.read(MOST_BYTES + 1)
    return Ran(printed.decode("utf-8", "replace"), _fault(status, len(printed), errors, limits))


@contextmanager
def _file(source: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="metaopt-") as folder:
        path = Path(folder, "program.py")
        path.write_text(source, encoding="utf-8", newline="")
        yield path


def _fault(status: int | None, size: int, errors: str, limits: Limits) -> str:
    if status is None:
        return f"it had not come to its end after {limits.idle_s:g} s"
    if status == 128 + signal.SIGXCPU:
        return f"it takes more than {limits.cpu_s} s"
    if size > MOST_BYTES:
        return f"it prints more than {MOST_BYTES} bytes"
    if status:
        last = (errors.strip().splitlines() or ["no message"])[-1]
        return f"it ends with status {status} ({last[:200]})"
    return ""
