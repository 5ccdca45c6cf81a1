"""What a search found, for its page: grouped by kind, each hit with the page it leads to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from analysis.search.answer import Answer, Group, Hit, Snippet, covered
from analysis.search.query import ROLLOUTS_END, ROUNDS_END
from analysis.search.searcher import MOST_HITS
from analysis.search.texts import KINDS, RECORDED
from analysis.web.links import Links

SECTIONS = {"diff": "changes", "diagnosis": "analysis"}  # of a candidate's page


@dataclass(frozen=True, slots=True)
class Row:
    """A hit: ``href`` is empty where there is no page; ``pieces`` are (is it marked, text)."""

    href: str
    name: str
    where: str
    pieces: Sequence[tuple[bool, str]]


@dataclass(frozen=True, slots=True)
class Section:
    """The hits of a kind; ``more`` leads to more of them, where there are and can be shown."""

    kind: str
    heading: str
    count: int
    rows: Sequence[Row]
    more: str
    note: str


@dataclass(frozen=True, slots=True)
class SearchPage:
    """One answer.  ``again``: the index is behind, and asking again may find more."""

    typed: str
    asked: bool
    count: int
    sections: Sequence[Section]
    covered: str
    again: bool
    notes: Sequence[str]
    milliseconds: int
    kinds: Sequence[str] = (*RECORDED, *KINDS)
    rounds_end: Mapping[str, str] = field(default_factory=lambda: ROUNDS_END)
    rollouts_end: Sequence[str] = ROLLOUTS_END


def search_page(typed: str, answer: Answer, links: Links) -> SearchPage:
    """The page of what was typed and found."""
    return SearchPage(
        typed,
        answer.query.asks,
        answer.count,
        [_section(group, typed, answer, links) for group in answer.groups],
        covered(answer.progress),
        not answer.progress.complete,
        answer.notes,
        round(1000 * answer.seconds),
    )


def _section(group: Group, typed: str, answer: Answer, links: Links) -> Section:
    narrowed = "kind" in answer.query.filters
    more = "" if narrowed or group.count <= len(group.hits) else f"{typed} kind:{group.kind}"
    notes = []
    if not group.ranked:
        why = "Too many to rank: the" if answer.query.match else "The"
        notes.append(f"{why} newest iterations first.")
    if narrowed and group.count > MOST_HITS:
        notes.append(f"The first {MOST_HITS} are shown; more words narrow it down.")
    rows = [_row(hit, links) for hit in group.hits]
    href = links.search(more) if more else ""
    return Section(group.kind, group.heading, group.count, rows, href, " ".join(notes))


def _row(hit: Hit, links: Links) -> Row:
    if hit.paper:
        href = links.paper(hit.candidate or 0, hit.part, hit.iteration, hit.paper, _section_of(hit))
        name = hit.title or hit.paper
    elif hit.candidate is None:
        href, name = links.overview(), "The run"
    else:
        href = links.candidate(hit.candidate, SECTIONS.get(hit.kind, ""))
        name = f"Candidate {hit.candidate}"
    return Row(href, name, hit.place, list(_pieces(hit.snippet)))


def _section_of(hit: Hit) -> str:
    """The section of a storyboard's page that a hit stands in."""
    if hit.kind == "audit":
        return "audit"
    if "fresh" in hit.field.split():
        return "fresh"
    return f"round-{hit.round}" if hit.round else ""


def _pieces(snippet: Snippet) -> Iterator[tuple[bool, str]]:
    end = 0
    for start, stop in snippet.marks:
        if end < start:
            yield False, snippet.text[end:start]
        yield True, snippet.text[start:stop]
        end = stop
    if end < len(snippet.text):
        yield False, snippet.text[end:]
