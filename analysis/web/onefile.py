"""``metaopt report --out report.html``: a run's pages in one file, to be passed on.

The file asks nothing of any network: plotting library, data and styles are in it, and its
Content-Security-Policy lets only these very scripts run.  It carries the report's text, the
charts, every candidate while there is room, and the storyboards of a sample of rollouts.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from analysis.course import course
from analysis.failures import failure_mix
from analysis.lineage import lineage
from analysis.report import Section, run_report
from analysis.spending import spending
from analysis.targets import write_text
from analysis.web import charts
from analysis.web.candidate import PaperRow, candidate_page
from analysis.web.diff import highlight_rules
from analysis.web.links import FileLinks, Links
from analysis.web.overview import overview, summaries, unchosen
from analysis.web.paper import PaperPage, paper_page
from analysis.web.render import FOLDER, plotting_script, render
from inner_agent.errors import UserError
from inner_agent.papers import file_name
from metaopt.record import RunRecord, open_record
from metaopt.state import winner
from metaopt.validations import validations

MOST_BYTES = 20_000_000  # mail and chat refuse more

Key = tuple[int, str, int, str]  # of a rollout: candidate, part, iteration, paper


@dataclass(frozen=True, slots=True)
class Policy:
    """The file's Content-Security-Policy: these scripts and this style sheet, nothing else."""

    scripts: Sequence[str]
    style: str

    def __str__(self) -> str:
        allowed = " ".join(map(_hash, self.scripts))
        return (
            f"default-src 'none'; script-src {allowed}; style-src-elem {_hash(self.style)}"
            f" {_hash('')}; style-src-attr 'unsafe-inline'; img-src data: blob:;"
            " base-uri 'none'; form-action 'none'"
        )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def write_html(run: Path, out: Path, sample: int, papers: Sequence[str]) -> str:
    """Write the report of ``run`` into ``out``; returns word of it, with its size.

    ``papers``: those whose rollouts are wanted; none given: ``sample`` of the best candidate's,
    those first that its changes fixed or broke.  Raises ``UserError`` for what isn't a run, an
    unknown paper, a file that can't be written.
    """
    sections, record = run_report(run), open_record(run)
    text = one_file(record, sections, chosen(record, sample, papers))
    write_text(out, text)
    return f"{out}: {sections[0].title}, {len(text.encode()) / 1e6:.1f} MB"


def chosen(record: RunRecord, sample: int, papers: Sequence[str]) -> list[Key]:
    """The rollouts that are told in full, of the best candidate's validation: of ``papers``, or of
    as many as ``sample`` says, fixed and broken ones in turn before the others.  Where a change
    fixed or broke a paper, its parent's rollout comes before it.

    Raises ``UserError`` for a paper that isn't among them.
    """
    page = candidate_page(record, winner(record.state).id)
    rows = {row.paper: row for row in page.validated.rows} if page.validated else {}
    if unknown := next((p for p in papers if p not in rows), None):
        raise UserError(
            f"--paper {unknown}: the best candidate wasn't validated on it; metaopt show"
            f" {record.folder} best --papers lists them"
        )
    wanted = [rows[p] for p in dict.fromkeys(papers)] or _in_turn(list(rows.values()))[:sample]
    return [key for row in wanted for key in _keys(row)]


def _in_turn(rows: Sequence[PaperRow]) -> list[PaperRow]:
    """The first fixed one, the first broken one, the second fixed one, …; then those unchanged."""
    fixed, broken, others = (
        [row for row in rows if row.change == change] for change in ("fixed", "broken", "")
    )
    pairs = zip_longest(fixed, broken)
    return [row for pair in pairs for row in pair if row is not None] + others


def _keys(row: PaperRow) -> list[Key]:
    sides = [row.before, row.after] if row.change and row.before else [row.after]
    return [(side.candidate, side.part, side.iteration, row.paper) for side in sides]


def one_file(record: RunRecord, sections: Sequence[Section], told: Sequence[Key]) -> str:
    """The whole file, with the storyboards of the rollouts in ``told``."""
    pages = [paper_page(record, *key[:3], file_name(key[3])) for key in told]
    links = FileLinks(frozenset(k for k, page in zip(told, pages, strict=True) if page.board))
    scripts = [_inline(plotting_script()), _inline(FOLDER / "static" / "app.js")]
    sheets = [FOLDER / "static" / name for name in ("app.css", "storyboard.css")]
    style = "\n".join([*(s.read_text(encoding="utf-8") for s in sheets), highlight_rules()])
    boards = [_board(page, links) for page in pages if page.board]
    fixed = sum(len(text.encode()) for text in (*scripts, style, *boards))
    candidates, left_out = _within(MOST_BYTES - fixed, _candidates(record, links))
    return render(
        "report.html",
        sections=sections, page=overview(record), links=links, boards=boards,
        charts=_charts(record, links), scripts=scripts, style=style,
        policy=str(Policy(scripts, style)), candidates=candidates, left_out=left_out,
        simulated=record.config.simulated,
    )  # fmt: skip


def _board(page: PaperPage, links: Links) -> str:
    return render("parts/one_paper.html", page=page, links=links)


def _inline(path: Path) -> str:
    """A script as it may stand in a page: nothing in it ends the element."""
    return path.read_text(encoding="utf-8").replace("</script", "<\\/script")


def _charts(record: RunRecord, links: Links) -> dict[str, charts.Chart]:
    points, told = course(record), summaries(record)
    made = {
        "course": charts.course_chart(points, unchosen(record), told, links),
        "lineage": charts.lineage_chart(lineage(record), told, links),
        "papers": charts.paper_chart(validations(record), links),
        "failures": charts.failure_chart(failure_mix(record)),
    }
    if (record.folder / "calls.db").is_file():
        made["spending"] = charts.spending_chart(spending(record, points=points))
    name, simulated = record.folder.resolve().name, record.config.simulated
    return {kind: charts.marked(chart, name, simulated) for kind, chart in made.items()}


def _candidates(record: RunRecord, links: Links) -> Iterator[tuple[int, str]]:
    """Each iteration's section: the best and its ancestors, then the accepted, then the rest."""
    line, at = [], winner(record.state)
    while True:
        line.append(at.id)
        if at.parent is None:
            break
        at = record.state.candidates[at.parent]
    accepted, best = [c.id for c in record.state.population], line[0]
    for i in dict.fromkeys([*line, *accepted, *sorted(record.stages)]):
        page = candidate_page(record, i)
        whole = candidate_page(record, i, "baseline").diffs if i == best and page.parent else ()
        yield i, render("parts/one_candidate.html", page=page, links=links, whole=whole)


def _within(room: int, parts: Iterable[tuple[int, str]]) -> tuple[list[str], list[int]]:
    """The sections that there is room for, by iteration; and the iterations of those left out."""
    kept, left_out = [], []
    for i, text in parts:
        size = len(text.encode())
        if size <= room:
            room -= size
            kept.append((i, text))
        else:
            left_out.append(i)
    return [text for _, text in sorted(kept)], sorted(left_out)
