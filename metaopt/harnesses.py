"""Which harness does somebody mean?  A diff, a folder, a branch, or a run's candidate."""

import tempfile
from contextlib import closing
from pathlib import Path

from inner_agent.errors import UserError
from inner_agent.generate import Origin
from metaopt.config import BUILTIN, Harness
from metaopt.record import find, open_record
from metaopt.repo import HarnessRepo, read_folder


def export_harness(harness: Harness, wanted: str | None, folder: Path) -> Origin:
    """Write the harness that ``wanted`` names below ``folder``, in a folder named by its tree.

    ``wanted``: ``None`` (as configured), a ``.diff`` or ``.patch`` on the configured harness, a
    folder with a ``harness.py``, ``RUN:NUMBER`` (or another name that ``metaopt.record.find``
    takes), or a branch or commit of ``harness.repo``.  Raises ``UserError`` when it names nothing.
    """
    source = _source(harness, wanted)
    with (
        tempfile.TemporaryDirectory(prefix="metaopt-harness-") as scratch,
        closing(HarnessRepo(Path(scratch, "harness.git"), source)) as repo,
    ):
        changed = wanted if source is harness else None
        commit = _changed(repo, Path(changed)) if changed else repo.baseline
        return Origin(repo.export(commit, folder), commit, repo.tree_id(commit))


def _changed(repo: HarnessRepo, change: Path) -> str:
    """The configured harness with a diff applied, or with a folder in its place."""
    if change.is_dir():
        return repo.commit(repo.baseline, read_folder(change), f"Harness from {change.name}\n")
    return repo.apply(repo.baseline, change.read_bytes(), change.name)


def _source(harness: Harness, wanted: str | None) -> Harness:
    """Where to fetch from: ``harness`` itself when ``wanted`` is a change of it (or nothing)."""
    if wanted is not None and Path(wanted, "run.db").is_file():
        raise UserError(f"--harness {wanted}: a run; name its candidate, as in {wanted}:best")
    if wanted is None or Path(wanted).is_dir() or _is_diff(wanted):
        return harness
    run, colon, candidate = wanted.rpartition(":")
    if colon:  # no branch's name has one
        return _of_run(Path(run), candidate)
    if harness.repo == BUILTIN:
        raise UserError(
            f"--harness {wanted}: no such .diff, folder or RUN:CANDIDATE; a branch needs"
            " harness.repo in the config"
        )
    return harness.model_copy(update={"ref": wanted})


def _is_diff(wanted: str) -> bool:
    path = Path(wanted)
    if path.suffix not in (".diff", ".patch"):
        return False
    if not path.is_file():
        raise UserError(f"--harness {wanted}: no such file")
    return True


def _of_run(run: Path, candidate: str) -> Harness:
    """``ref`` is as ``metaopt.repo`` names it."""
    if not (run / "run.db").is_file():
        raise UserError(f"--harness {run}:{candidate}: {run} isn't a run")
    record = open_record(run)
    repo, ref = (run / "harness.git").resolve(), find(record, candidate).made().id
    return record.config.harness.model_copy(
        update={"repo": str(repo), "ref": f"refs/candidates/{ref}", "patch": ""}
    )
