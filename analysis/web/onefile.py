"""``metaopt report --out report.html``: a run's pages in one file, to be passed on.

The file asks nothing of any network: plotting library, data and styles are in it, and its
Content-Security-Policy lets only these very scripts run.  It carries the report's text, the
charts, every candidate while there is room, and the storyboards of a sample of rollouts.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.course import course
from analysis.failures import failure_mix
from analysis.lineage import lineage
from analysis.report import Section, run_report
from analysis.spending import spending
from analysis.targets import check_target, write_text
from analysis.web import charts
from analysis.web.candidate import CandidatePage, candidate_page
from analysis.web.diff import highlight_rules
from analysis.web.links import FileLinks, Links
from analysis.web.overview import overview, summaries, unchosen
from analysis.web.render import FOLDER, plotting_script, render
from metaopt.record import RunRecord, open_record
from metaopt.state import winner
from metaopt.validations import validations

MOST_BYTES = 20_000_000  # mail and chat refuse more


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
    check_target(out, (".html",))
    sections = run_report(run)
    text = one_file(open_record(run), sections)
    write_text(out, text)
    return f"{out}: {sections[0].title}, {len(text.encode()) / 1e6:.1f} MB"


def one_file(record: RunRecord, sections: Sequence[Section]) -> str:
    """The whole file."""
    links = FileLinks()
    scripts = [_inline(plotting_script()), _inline(FOLDER / "static" / "app.js")]
    sheets = [(FOLDER / "static" / "app.css").read_text(encoding="utf-8"), highlight_rules()]
    style = "\n".join(sheets)
    fixed = sum(len(text.encode()) for text in (*scripts, style))
    drawn = dict(_charts(record, links))
    candidates, left_out = _within(MOST_BYTES - fixed, _candidates(record, links))
    return render(
        "report.html",
        sections=sections, page=overview(record), links=links, charts=drawn, scripts=scripts,
        style=style, policy=str(Policy(scripts, style)), candidates=candidates, left_out=left_out,
        simulated=record.config.simulated,
    )  # fmt: skip


def _inline(path: Path) -> str:
    """A script as it may stand in a page: nothing in it ends the element."""
    return path.read_text(encoding="utf-8").replace("</script", "<\\/script")


def _charts(record: RunRecord, links: Links) -> Iterator[tuple[str, charts.Chart]]:
    points = course(record)
    told = summaries(record)
    yield "course", charts.course_chart(points, unchosen(record), told, links)
    yield "lineage", charts.lineage_chart(lineage(record), told, links)
    yield "papers", charts.paper_chart(validations(record), links)
    yield "failures", charts.failure_chart(failure_mix(record))
    if (record.folder / "calls.db").is_file():
        yield "spending", charts.spending_chart(spending(record))


def _candidates(record: RunRecord, links: Links) -> Iterator[tuple[int, str]]:
    """Each iteration's section: the best and its ancestors, then the accepted, then the rest."""
    line, at = [], winner(record.state)
    while True:
        line.append(at.id)
        if at.parent is None:
            break
        at = record.state.candidates[at.parent]
    accepted = [c.id for c in record.state.population]
    for i in dict.fromkeys([*line, *accepted, *sorted(record.stages)]):
        page: CandidatePage = candidate_page(record, i)
        yield i, render("parts/one_candidate.html", page=page, links=links)


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
