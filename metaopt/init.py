"""``metaopt init``: a project of one's own that runs at once, on synthetic papers."""

import shlex
import tempfile
from contextlib import closing
from pathlib import Path

from inner_agent.errors import UserError
from inner_agent.papers import find_papers
from inner_agent.synthetic import generate_papers
from metaopt.config import Harness
from metaopt.repo import HarnessRepo
from metaopt.splits import make_split, write_split

TEMPLATE = Path(__file__).parent / "template"
SIZES = {"train": 12, "val": 8, "test": 4}


def lay_out(folder: Path) -> str:
    """Write config, harness repository, papers and split into ``folder``; returns what to do next.

    Raises ``UserError`` when it exists and isn't empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists and isn't empty; name a new folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"{folder}: can't be made ({e.strerror})") from None
    _papers(folder)
    _harness(folder / "harness")
    for source, target in (("config.toml",) * 2, ("README.md",) * 2, ("gitignore", ".gitignore")):
        text = (TEMPLATE / source).read_text(encoding="utf-8")
        (folder / target).write_text(text, encoding="utf-8")
    config = shlex.quote(str(folder / "config.toml"))
    run = shlex.quote(str(folder / "runs" / "first"))
    return (
        f"{folder}: config, harness, {sum(SIZES.values())} synthetic papers and their split\n"
        f"Try it as it is:  metaopt run {config} --out {run}\n"
        f"Make it yours:    {shlex.quote(str(folder / 'README.md'))}"
    )


def _papers(folder: Path) -> None:
    """Plain files, no manifest: a paper that is put beside them counts at once."""
    place = folder / "papers"
    place.mkdir()
    for paper in generate_papers(sum(SIZES.values()), seed=0):
        (place / f"{paper.id}.txt").write_text(paper.text, encoding="utf-8")
    (place / "README").write_text(
        "Put your papers here as UTF-8 .txt or .md files (or list them in papers.jsonl), remove\n"
        "the synthetic ones, and make a new split: see ../README.md.\n",
        encoding="utf-8",
    )
    write_split(make_split(find_papers(place), SIZES, seed=0), folder / "split.json")


def _harness(folder: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="metaopt-init-") as scratch,
        closing(HarnessRepo(Path(scratch, "harness.git"), Harness())) as repo,
    ):
        repo.checkout(repo.baseline, "main", folder.resolve())
