"""Which harness does somebody mean?  A diff, a classic, a folder, a branch, a run's candidate."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from inner_agent.errors import UserError
from inner_agent.generate import Origin
from metaopt.classics import PREFIX, classic_diff
from metaopt.config import BUILTIN, Harness
from metaopt.record import RunRecord, find, open_record
from metaopt.repo import HarnessRepo, read_folder


@dataclass(frozen=True, slots=True)
class Source:
    """A harness in a repository that is open."""

    repo: HarnessRepo
    commit: str
    tree: str

    def export(self, folder: Path) -> Origin:
        """Write it below ``folder``, in a folder named by its tree."""
        return Origin(self.repo.export(self.commit, folder, self.tree), self.commit, self.tree)


def export_harness(harness: Harness, wanted: str | None, folder: Path) -> Origin:
    """Write the harness that ``wanted`` names, as ``open_harnesses`` takes it, below ``folder``."""
    with open_harnesses(harness, [wanted]) as (source,):
        return source.export(folder)


@contextmanager
def open_harnesses(harness: Harness, wanted: Sequence[str | None]) -> Iterator[list[Source]]:
    """The harnesses that ``wanted`` name; their repositories are open while the body runs.

    Each is ``None`` (as configured), a ``.diff`` or ``.patch`` on the configured harness,
    ``classic:NAME`` for one that ships (``metaopt.classics``), a folder with a ``harness.py``,
    ``RUN:NUMBER`` (or another name that ``metaopt.record.find`` takes), or a branch or commit of
    ``harness.repo``.  Raises ``UserError`` when one names nothing.
    """
    runs: dict[Path, tuple[RunRecord, HarnessRepo]] = {}
    scratch: dict[str, HarnessRepo] = {}  # by ref: several diffs are made in one
    with ExitStack() as held:

        def source(name: str | None) -> Source:
            run, candidate = candidate_of_run(name) or (None, "")
            if run is None:
                return _made(held, scratch, harness, name)
            if run not in runs:
                record = _record(run, candidate)
                runs[run] = record, held.enter_context(closing(record.repo()))
            found = find(runs[run][0], candidate).made()
            return Source(runs[run][1], found.commit, found.tree)

        yield [source(name) for name in wanted]


def candidate_of_run(wanted: str | None) -> tuple[Path, str] | None:
    """Run and candidate where ``wanted`` is of the form ``RUN:CANDIDATE``.

    Raises ``UserError`` for a run without a candidate.
    """
    if wanted is None or _change(wanted):
        if wanted is not None and Path(wanted, "run.db").is_file():
            raise UserError(f"harness {wanted}: a run; name its candidate, as in {wanted}:best")
        return None
    run, colon, candidate = wanted.rpartition(":")
    if f"{run}:" == PREFIX and not Path(run).exists():
        raise UserError(f"harness {wanted}: no classic has this name; metaopt classics lists them")
    return (Path(run), candidate) if colon else None  # no branch's name has one


def _made(
    held: ExitStack, scratch: dict[str, HarnessRepo], harness: Harness, wanted: str | None
) -> Source:
    """The configured harness, or a change of it, or another branch, in a scratch repository."""
    changed = None if wanted is None else _change(wanted)
    if wanted is not None and changed is None:
        if harness.repo == BUILTIN:
            raise UserError(
                f"harness {wanted}: no such .diff, folder, classic:NAME or RUN:CANDIDATE; a branch"
                " needs harness.repo in the config"
            )
        harness = harness.model_copy(update={"ref": wanted})
    repo = scratch.get(harness.ref)
    if repo is None:
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="metaopt-harness-"))
        repo = HarnessRepo(Path(folder, "harness.git"), harness)
        scratch[harness.ref] = held.enter_context(closing(repo))
    commit = _changed(repo, changed) if changed else repo.baseline
    return Source(repo, commit, repo.tree_id(commit))


def _changed(repo: HarnessRepo, change: Path) -> str:
    """The configured harness with a diff applied, or with a folder in its place."""
    if change.is_dir():
        return repo.commit(repo.baseline, read_folder(change), f"Harness from {change.name}\n")
    return repo.apply(repo.baseline, change.read_bytes(), change.name)


def _change(wanted: str) -> Path | None:
    """The folder or the diff that ``wanted`` names, if it is a name of that kind."""
    path = Path(wanted)
    if path.is_dir():
        return path
    if path.suffix in (".diff", ".patch"):
        if not path.is_file():
            raise UserError(f"harness {wanted}: no such file")
        return path
    return classic_diff(wanted)


def _record(run: Path, candidate: str) -> RunRecord:
    if not (run / "run.db").is_file():
        raise UserError(f"harness {run}:{candidate}: {run} isn't a run")
    return open_record(run)
