"""A rollout's trajectory from its file: below the run's folder, of a bearable size, or a reason."""

import errno
import json
from pathlib import Path
from typing import Any

from analysis.inside import read_inside
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
        data = read_inside(folder, where, MAX_BYTES)
    except FileNotFoundError:
        raise NoTrajectory(f"{where} isn't there: somebody removed it") from None
    except OSError as e:
        link = e.errno == errno.ELOOP
        why = "is a symbolic link" if link else f"can't be read ({e.strerror})"
        raise NoTrajectory(f"{where} {why}") from None
    except ValueError as e:
        raise NoTrajectory(f"{where} {e}") from None
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as e:
        raise NoTrajectory(f"{where} isn't JSON ({str(e)[:200]})") from None
