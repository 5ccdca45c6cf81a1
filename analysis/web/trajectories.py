"""A rollout's trajectory from its file: below the run's folder, of a bearable size, or a reason."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from metaopt.rollouts import trajectory_path

MAX_BYTES = 50 * 2**20


class NoTrajectory(Exception):
    """There is none to show; the message says why, for the page."""


def read_trajectory(folder: Path, candidate: int, part: str, iteration: int, paper: str) -> Any:
    """The decoded file of one rollout of the run in ``folder``.  Raises ``NoTrajectory``.

    No symbolic link is followed from the run's folder on.
    """
    where = trajectory_path(Path(), iteration, candidate, part, paper)
    try:
        data = _read(folder, where)
    except FileNotFoundError:
        raise NoTrajectory(f"{where} isn't there: somebody removed it") from None
    except OSError as e:
        link = e.errno == errno.ELOOP
        why = "is a symbolic link" if link else f"can't be read ({e.strerror})"
        raise NoTrajectory(f"{where} {why}") from None
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as e:
        raise NoTrajectory(f"{where} isn't JSON ({str(e)[:200]})") from None


def _read(folder: Path, where: Path) -> bytes:
    """Go down folder by folder, so that none of them can be a link when it counts."""
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
            raise NoTrajectory(f"{where} isn't a plain file")
        if found.st_size > MAX_BYTES:
            size = f"{found.st_size / 2**20:.0f} MB, more than {MAX_BYTES / 2**20:.0f} MB"
            raise NoTrajectory(f"{where} is too large to be shown ({size})")
        return opened.read()
