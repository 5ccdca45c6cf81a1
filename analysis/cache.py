"""Where what can be made anew is kept."""

import os
from pathlib import Path


def cache_home() -> Path:
    """As the XDG base directory specification has it: a relative path is none."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return given if given.is_absolute() else Path("~/.cache").expanduser()
