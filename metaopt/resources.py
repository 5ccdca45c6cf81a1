"""Where the files that ship with metaopt are: in a checkout, or inside an installed wheel."""

from pathlib import Path

from inner_agent.errors import UserError

_HERE = Path(__file__).parent


def shipped(name: str) -> Path:
    """The path of ``baseline_harness``, ``populations/classics``, ``configs`` or ``splits``.

    A wheel carries them under ``metaopt/data``; a checkout has them at its top.
    """
    for root in (_HERE / "data", _HERE.parent):
        if (root / name).exists():
            return root / name
    raise UserError(f"{name} is missing from this installation of metaopt; reinstall it")
