"""A report as Markdown.  All of its text is escaped: models wrote some of it."""

import re
from collections.abc import Sequence
from pathlib import Path

from analysis.report import Block, Bullets, Section, Table, run_report
from analysis.targets import write_text
from metaopt.text import clean

SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&!])")
LEADING = re.compile(r"^([-+=]|\d+[.)])(?=\s|$)")  # of a list or a heading


def write_report(run: Path, out: Path | None) -> str:
    """The report of a run, or word of the file ``out`` that it was written to.

    Raises ``UserError`` for what isn't a run, or a file that can't be written.
    """
    sections = run_report(run)
    text = markdown(sections)
    if out is None:
        return text
    write_text(out, text)
    return f"{out}: {sections[0].title}"


def markdown(sections: Sequence[Section]) -> str:
    """The first section's title is the document's."""
    parts = []
    for n, section in enumerate(sections):
        parts.append(f"{'#' if n == 0 else '##'} {escape(section.title)}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """``text`` on one line, so that it is read as it stands and steers nothing."""
    flat = " ".join(clean(text).split())
    return LEADING.sub(lambda m: f"{m[1][:-1]}\\{m[1][-1]}", SPECIAL.sub(r"\\\1", flat))


def _block(block: Block) -> str:
    if isinstance(block, Bullets):
        return "\n".join(f"- {escape(item)}" for item in block.items)
    if isinstance(block, Table):
        return as_table(block)
    return escape(block)


def as_table(table: Table) -> str:
    """A table with its cells escaped."""
    right = [name.startswith(">") for name in table.head]
    heads = [escape(name.removeprefix(">")) for name in table.head]
    rules = ["---:" if r else "---" for r in right]
    rows = [[escape(cell) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows))
