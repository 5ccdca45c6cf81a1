"""A file of a run, read without leaving the run's folder."""

import os
import stat
from pathlib import Path


def read_inside(folder: Path, where: Path, most: int) -> bytes:
    """The plain file ``where`` below ``folder``, of at most ``most`` bytes.

    No symbolic link is followed from ``folder`` on: it goes down folder by folder, so that none of
    them can be one when it counts.  Raises ``OSError``, and ``ValueError`` for what is no plain
    file or too large.
    """
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in where.parts[:-1]:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
            os.close(place)
            place = inner
        # Not blocking: a named pipe would never answer.
        file = os.open(where.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
    finally:
        os.close(place)
    with open(file, "rb") as opened:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("isn't a plain file")
        if found.st_size > most:
            size, limit = (f"{n / 2**20:.0f} MB" for n in (found.st_size, most))
            raise ValueError(f"is too large ({size}, more than {limit})")
        return opened.read()
