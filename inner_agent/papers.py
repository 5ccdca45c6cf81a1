"""Papers: found in a folder or a manifest, checked, read one at a time.

A folder holds ``.txt``/``.md`` files, or a ``papers.jsonl`` manifest whose rows name files
relative to it (``id``, ``file``, optionally ``title``, ``sha256``, ``topic``, ``licence``).
Texts aren't kept in memory: a corpus of 10,000 papers is a list of paths.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inner_agent import strict_json
from inner_agent.errors import UserError

CHARS_PER_TOKEN = 4  # the usual estimate for English; only used to cut over-long papers
MANIFEST = "papers.jsonl"
_HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Paper:
    """Where a paper is and what it is; ``sha256`` is of the file's bytes."""

    id: str
    title: str
    path: Path
    sha256: str
    topic: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class PaperText:
    """The text that agents see, and how many tokens were cut from its end."""

    paper: Paper
    text: str
    cut_tokens: int


def find_papers(where: Path) -> dict[str, Paper]:
    """All papers under ``where`` (a folder or a ``.jsonl`` manifest), by id, in a fixed order.

    Raises ``UserError`` for a missing place, an empty, binary or non-UTF-8 paper, a changed
    file or a duplicate id.
    """
    if where.is_dir():
        manifest = where / MANIFEST
        rows = _manifest_rows(manifest) if manifest.exists() else _folder_rows(where)
    elif where.suffix == ".jsonl" and where.is_file():
        rows = _manifest_rows(where)
    else:
        raise UserError(f"{where}: no such folder or .jsonl manifest of papers")
    papers: dict[str, Paper] = {}
    for row in rows:
        paper = _checked(row)
        if paper.id in papers:
            raise UserError(f"{paper.path}: paper id {paper.id!r} is there twice; ids are unique")
        papers[paper.id] = paper
    if not papers:
        raise UserError(f"{where}: no papers (.txt or .md files, or a {MANIFEST})")
    return papers


def read_paper(paper: Paper, max_tokens: int) -> PaperText:
    """The paper's text, cut at a section boundary to ``max_tokens`` (4 characters each).

    Raises ``UserError`` when the file changed since it was found.
    """
    data = _read_bytes(paper.path)
    if hashlib.sha256(data).hexdigest() != paper.sha256:
        raise UserError(f"{paper.path}: changed while in use; restore it or make a new split")
    text = data.decode("utf-8-sig")
    kept = _cut(text, max_tokens * CHARS_PER_TOKEN)
    return PaperText(paper, kept, (len(text) - len(kept)) // CHARS_PER_TOKEN)


def file_name(paper: str) -> str:
    """A file name of its own for a paper's id, which may hold any character."""
    name = re.sub(r"[^\w.-]", "_", paper)[:120].lstrip(".")
    if name == paper:
        return name
    return f"{name}-{hashlib.sha256(paper.encode()).hexdigest()[:8]}"  # two ids, two files


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    cuts = [m.start() for m in _HEADING.finditer(text, 0, limit)]
    # A heading too near the start would throw most of the paper away: cut a paragraph instead.
    good = [c for c in cuts if c > limit // 2] or [text.rfind("\n\n", limit // 2, limit)]
    return text[: good[-1]].rstrip() + "\n" if good[-1] > 0 else text[:limit]


def _folder_rows(folder: Path) -> list[dict[str, Any]]:
    files = sorted(p for p in folder.iterdir() if p.suffix in (".txt", ".md") and p.is_file())
    if odd := [p for p in files if p.name.encode(errors="ignore").decode() != p.name]:
        raise UserError(f"{odd[0]}: its name isn't UTF-8; rename it")
    return [{"id": p.stem, "path": p} for p in files]


def _manifest_rows(manifest: Path) -> list[dict[str, Any]]:
    rows = []
    text = _read_text(manifest)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = strict_json.loads(line)
        except strict_json.JSONRefused as e:
            raise UserError(f"{manifest}:{number}: {e}") from None
        if not isinstance(row, dict):
            raise UserError(f"{manifest}:{number}: a row is a JSON object")
        for key in ("id", "file"):
            if not isinstance(row.get(key), str) or not row[key] or "\0" in row[key]:
                raise UserError(f"{manifest}:{number}: needs {key!r}, a non-empty string")
        rows.append(row | {"path": manifest.parent / row["file"]})
    return rows


def _checked(row: dict[str, Any]) -> Paper:
    path: Path = row["path"]
    data = _read_bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    if row.get("sha256") not in (None, digest):
        raise UserError(f"{path}: its sha256 isn't the manifest's; restore it or mend the manifest")
    if b"\0" in data:
        raise UserError(f"{path}: binary, not text; convert the paper to plain text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: not UTF-8 at byte {e.start}; convert it") from None
    if not text.strip():
        raise UserError(f"{path}: the paper is empty; remove it")
    title = row.get("title") or _title(text)
    return Paper(
        str(row["id"]), str(title), path, digest, str(row.get("topic") or ""),
        str(row.get("licence") or row.get("license") or ""),
    )  # fmt: skip


def _title(text: str) -> str:
    first = next(line for line in text.splitlines() if line.strip())
    return first.lstrip("# ").strip()[:200]


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise UserError(f"{path}: can't be read ({e.strerror})") from None


def _read_text(path: Path) -> str:
    try:
        return _read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: not UTF-8 at byte {e.start}; convert it") from None
