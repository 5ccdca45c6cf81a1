"""Search over everything that a run tells: its own record, diffs, and its trajectories.

The record and the diffs are small and are put into an index in memory on the spot; trajectories
are looked up in the index on disk (``search_index``), which a process of its own makes and keeps up
to date.  What it hasn't got yet isn't found, and the answer says so.  Every hit is read anew from
where it stands and matched once more, so nothing is shown that isn't there.
"""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from heapq import nlargest
from pathlib import Path

from analysis import search_index
from analysis.search_index import (
    NUMBERS,
    TOKENIZER,
    File,
    Home,
    Progress,
    numbers_of,
    place_of,
)  # fmt: skip
from analysis.search_query import Query, parse
from analysis.search_texts import KINDS, RECORDED, Told, printable
from inner_agent.errors import UserError
from metaopt.record import RunRecord, paused, stop_reason

ON_PAGE = 5  # hits of one kind, where all kinds are shown
MOST_HITS = 50  # of one kind
MOST_RANKED = 20_000  # hits; of more than these the newest come first
AGAIN_S = 3.0  # between two looks for new trajectories
SNIPPET_TOKENS = 32
SNIPPET_CHARS = 600  # where "words" are very long
_ON, _OFF = "\x02", "\x03"  # no text has them: ``printable``
_PLACE = search_index.DOCUMENT_BITS + search_index.ROUND_BITS + search_index.ORDER_BITS


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of a text; ``marks`` are half-open ranges of it, in order, that were searched for."""

    text: str
    marks: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A text that was found.

    Where it doesn't belong to a rollout, ``part``, ``paper`` and ``file`` are empty, and
    ``candidate`` is ``None`` where it belongs to the whole run.  ``file`` is relative to the run's
    folder.  ``round`` is 0 for none.  ``score``: the higher, the better, by BM25, comparable
    within a kind only; 0 where there were too many to rank.
    """

    kind: str
    candidate: int | None
    part: str
    iteration: int
    paper: str
    title: str
    round: int
    field: str
    snippet: Snippet
    score: float
    file: str = ""

    @property
    def place(self) -> str:
        """Where in the run it stands: its field, and the rollout that it is from."""
        if not self.paper:
            return self.field
        where = [self.field, *([f"round {self.round}"] if self.round else [])]
        rollout = (f"candidate {self.candidate}", self.part, f"iteration {self.iteration}")
        return " · ".join([*where, *rollout])


@dataclass(frozen=True, slots=True)
class Group:
    """The hits of one kind: ``count`` in all, the best of them; ``ranked`` or else newest first."""

    kind: str
    heading: str
    count: int
    hits: Sequence[Hit]
    ranked: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query found, and how much of the run that covers.  ``notes`` are for people."""

    query: Query
    groups: Sequence[Group]
    progress: Progress
    notes: Sequence[str]
    seconds: float

    @property
    def count(self) -> int:
        """Hits of all kinds."""
        return sum(group.count for group in self.groups)


def covered(progress: Progress) -> str:
    """How much of the run's trajectories an answer covers, as a sentence."""
    if progress.total < 0:
        return "The trajectories aren't indexed yet: their texts aren't among these results."
    if not progress.complete:
        return (
            f"Indexed {progress.done:,} of {progress.total:,} papers, the newest iterations first:"
            " what the others hold isn't among these results yet."
        )
    text = f"All of the run's {progress.total:,} trajectories were searched"
    bad = progress.unreadable
    return f"{text} but for {bad:,} that can't be read." if bad else f"{text}."


@dataclass(frozen=True, slots=True)
class _Said:
    """A text of the run's own record."""

    kind: str
    iteration: int | None  # and the candidate's number
    field: str
    text: str


@dataclass(slots=True)
class Searcher:
    """Searches one run; may be called from any thread, close it at the end."""

    run: Path
    home: Home
    first: str = ""  # what the run began with
    _writer: subprocess.Popen[bytes] | None = None
    _looked: float = -AGAIN_S
    _said: list[_Said] = field(default_factory=list)
    _events: int = -1
    _patches: dict[str, str] = field(default_factory=dict)
    _note: str = ""  # on the diffs
    _trouble: str = ""  # on the index
    _held: ExitStack = field(default_factory=ExitStack)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def search(self, record: RunRecord, typed: str, limit: int = ON_PAGE) -> Answer:
        """The best ``limit`` hits of each kind; sees to it that the index is brought up to date."""
        started, query = time.monotonic(), parse(typed)
        with self._guard:
            self._keep_up()
            self._learn(record)
            said = [*self._said, *_stops(record.folder)]
        groups, progress, trouble = self._trajectories(query, limit)
        own = _recorded(said, query, limit) if query.match else []
        found = sorted((g for g in (*own, *groups) if g.count), key=lambda g: _ORDER[g.kind])
        faults = (self.home.note, self._note, self._trouble, trouble)
        notes = [*query.wrong, *dict.fromkeys(filter(None, faults))]
        return Answer(query, found, progress, notes, time.monotonic() - started)

    def index_now(self, going_on: Callable[[int, int], bool]) -> None:
        """Bring the index up to date in this process, at its priority."""
        self._trouble = search_index.write(self.run, self.home, going_on)
        self._looked = time.monotonic()

    def close(self) -> None:
        """Stop the writer; what it has committed stays."""
        with self._guard:
            if self._writer is not None:
                self._writer.terminate()
                self._writer.communicate()
                self._writer = None
            self._held.close()
            if self.home.note:
                self.home.remove()

    @property
    def indexing(self) -> bool:
        """Is the writer this one started at work?"""
        return self._writer is not None and self._writer.poll() is None

    def _keep_up(self) -> None:
        """Have a process look for new trajectories, unless that was done just now."""
        if self.indexing:
            return
        if self._writer is not None:
            said, status = self._writer.communicate()[0], self._writer.returncode
            self._trouble = said.decode(errors="replace") or "it broke off" * bool(status)
            self._writer = None
        if time.monotonic() - self._looked < AGAIN_S:
            return
        self._looked = time.monotonic()
        arguments = [str(self.run.absolute()), str(self.home.folder)]
        self._writer = subprocess.Popen(
            [sys.executable, "-m", search_index.__name__, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parent.parent,
        )  # fmt: skip

    def _learn(self, record: RunRecord) -> None:
        """Take in what the run has recorded since."""
        if len(record.events) == self._events:
            return
        commits = {i: made["commit"] for i, made in _edits(record)}
        new = [c for c in commits.values() if c not in self._patches]
        try:
            with closing(record.repo()) as repo:
                self._patches |= repo.patches(new)
            self._note = ""
        except UserError as e:
            self._note = f"diffs aren't searched: {e}"
        diffs = (
            _Said("diff", i, path, changed)
            for i, commit in commits.items()
            for path, changed in changed_lines(self._patches.get(commit, ""))
        )
        self._said = [s for s in (*_own_words(record), *diffs) if s.text.strip()]
        self._events = len(record.events)

    def _trajectories(self, query: Query, limit: int) -> tuple[list[Group], Progress, str]:
        """What the index has, how far it is, and what is wrong with it."""
        path, progress = self.home.database(), Progress()
        if path is None:
            return [], progress, ""
        try:
            with closing(search_index.open_to_read(path)) as db:
                progress = search_index.read_progress(db)
                groups = _Lookup(db, self.run, query, limit).groups() if query.match else []
                return groups, progress, ""
        except sqlite3.OperationalError as e:  # busy for long, or replaced just now
            return [], progress, f"the index can't be read now ({e}); search again"
        except sqlite3.DatabaseError as e:
            self.home.mark_damaged()
            self._looked = -AGAIN_S
            return [], progress, f"the index is damaged ({e}) and is made anew; search again"


_ORDER = {kind: n for n, kind in enumerate((*RECORDED, *KINDS))}


def open_searcher(record: RunRecord) -> Searcher:
    """Ready to search a run; the index is made when it is first asked."""
    home = search_index.home_of(record.folder, _first(record))
    searcher = Searcher(record.folder, home, _first(record))
    with suppress(OSError):
        searcher._held.enter_context(search_index.in_use(home))
        if not home.note:
            search_index.tidy(home.folder.parent, home.folder)
    return searcher


def _first(record: RunRecord) -> str:
    return f"{record.times[0]} {record.events[0].data}"


@dataclass(slots=True)
class Searchers:
    """One for each run, opened when it is first wanted; for any thread."""

    _open: dict[Path, Searcher] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def of(self, record: RunRecord) -> Searcher:
        """The run's searcher; a new one where another run has taken its folder."""
        with self._guard:
            searcher = self._open.get(record.folder)
            if searcher is None or searcher.first != _first(record):
                if searcher is not None:
                    searcher.close()
                searcher = self._open[record.folder] = open_searcher(record)
            return searcher

    def close(self) -> None:
        """Stop what they do."""
        with self._guard:
            for searcher in self._open.values():
                searcher.close()
            self._open.clear()


# The run's own record


def _edits(record: RunRecord) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Candidates that an edit made, by iteration; a live control has its parent's commit."""
    for i, stages in sorted(record.stages.items()):
        made = stages.get("implemented")
        if made and not made.get("control"):
            yield i, made


def _own_words(record: RunRecord) -> Iterator[_Said]:
    for i, made in _edits(record):
        yield _Said("summary", i, "summary", made["summary"])
    for i, stages in sorted(record.stages.items()):
        if "diagnosed" in stages:
            yield from _diagnosis(i, stages["diagnosed"])
        for outcome in stages.get("honeypots", {}).get("outcomes", ()):
            pot = f"{outcome['name']}: {outcome['said']}"
            yield _Said("decision", None, f"honeypot, {outcome['kind']}", pot)
    for entry in record.decisions:
        for name in ("decision", "alarm", "stopped", "audit"):
            yield _Said("decision", entry.iteration, name, getattr(entry, name))
        for name in ("fixed", "broken"):
            yield _Said("decision", entry.iteration, name, ", ".join(getattr(entry, name)))


def _stops(run: Path) -> Iterator[_Said]:
    if reason := stop_reason(run):
        yield _Said("decision", None, "why it stopped", reason)
    if down := paused(run):
        yield _Said("decision", None, "paused", down[0])


def _diagnosis(i: int, data: Mapping[str, object]) -> Iterator[_Said]:
    modes = data.get("failure_modes")
    for mode in modes if isinstance(modes, list) else ():
        lines = [mode["name"], *mode.get("evidence", ()), ", ".join(mode.get("papers", ()))]
        yield _Said("diagnosis", i, "failure mode", "\n".join(lines))
    for name in ("root_cause", "proposed_change", "predicted_fixes", "papers_at_risk"):
        value = data.get(name) or ""
        text = value if isinstance(value, str) else ", ".join(map(str, value))  # type: ignore[call-overload]
        yield _Said("diagnosis", i, name.replace("_", " "), text)


def changed_lines(diff: str) -> Iterator[tuple[str, str]]:
    """Each file of a unified diff with its added and removed lines, signs and all."""
    path, lines, within = "", [""], False
    for line in (*diff.split("\n"), "diff --git "):
        if line.startswith("diff --git "):
            if len(lines) > 1:
                yield path, "\n".join(lines)
            path, within = line.rpartition(" b/")[2], False
            lines = [path]
        elif line.startswith("@@ "):
            within = True
        elif within and line.startswith(("+", "-")):
            lines.append(line)


def _recorded(said: Sequence[_Said], query: Query, limit: int) -> list[Group]:
    wanted = query.filters
    if wanted.keys() & {"part", "paper", "outcome"}:
        return []
    number = {int(wanted[k]) for k in ("candidate", "iteration") if k in wanted}
    among = [
        s for s in said
        if wanted.get("kind", s.kind) == s.kind and (not number or number == {s.iteration})
    ]  # fmt: skip
    hits: dict[str, list[Hit]] = {}
    for k, snippet, score in _matched(query.match, enumerate(s.text for s in among)):
        s = among[k]
        hit = Hit(s.kind, s.iteration, "", s.iteration or 0, "", "", 0, s.field, snippet, score)
        hits.setdefault(s.kind, []).append(hit)
    return [
        Group(kind, RECORDED[kind], len(found), sorted(found, key=lambda h: -h.score)[:limit])
        for kind, found in hits.items()
    ]


# Trajectories


@dataclass(slots=True)
class _Lookup:
    """One query in one open index."""

    db: sqlite3.Connection
    run: Path
    query: Query
    limit: int
    _told: dict[int, tuple[File, Told, dict[int, list[int]]] | None] = field(default_factory=dict)

    def groups(self) -> list[Group]:
        """The hits, by kind."""
        wanted = self.query.filters.get("kind")
        papers = [self._papers()] if wanted in (None, "paper") else []
        if wanted in RECORDED:
            return papers
        where, given = self._where(wanted)
        counts = {
            NUMBERS[kind]: count
            for kind, count in self.db.execute(
                f"SELECT rowid >> {_PLACE}, COUNT(*) FROM words WHERE {where} GROUP BY 1", given
            )
        }
        ranked = sum(counts.values()) <= MOST_RANKED
        best = self._best(where, given) if ranked else {kind: self._newest(kind) for kind in counts}
        return papers + [
            Group(kind, KINDS[kind], counts[kind], self._shown(best[kind]), ranked)
            for kind in counts.keys() & best.keys()
        ]

    def _best(self, where: str, given: Sequence[object]) -> dict[str, dict[int, float]]:
        """Places of the highest scores by kind; of equal ones the newest.

        One query for all kinds: to rank, SQLite goes through all rows that have a word.
        """
        rows: dict[str, list[tuple[float, int]]] = {}
        for number, score in self.db.execute(
            f"SELECT rowid, -rank FROM words WHERE {where}", given
        ):
            rows.setdefault(NUMBERS[number >> _PLACE], []).append((score, number))
        return {
            kind: {number: score for score, number in nlargest(self.limit, found)}
            for kind, found in rows.items()
        }

    def _newest(self, kind: str) -> dict[int, float]:
        where, given = self._where(kind)
        sql = f"SELECT rowid, 0.0 FROM words WHERE {where} ORDER BY rowid DESC LIMIT ?"
        return dict(self.db.execute(sql, (*given, self.limit)).fetchall())

    def _where(self, kind: str | None) -> tuple[str, list[object]]:
        """The query, for one kind or all, as SQL with its values."""
        narrowed, values = self._narrowed()
        if kind is None:
            return f"words MATCH ?{narrowed}", [self.query.match, *values]
        within = f"words MATCH ? AND rowid BETWEEN ? AND ?{narrowed}"
        return within, [self.query.match, *numbers_of(kind), *values]

    def _narrowed(self) -> tuple[str, list[object]]:
        """The filters as SQL on ``rowid``, with their values."""
        document = f"(rowid >> {search_index.ROUND_BITS + search_index.ORDER_BITS})"
        document += f" & {(1 << search_index.DOCUMENT_BITS) - 1}"
        sql, values = f" AND {document} NOT IN (SELECT id FROM gone)", list[object]()
        clauses, own = _on_documents(self.query.filters)
        if clauses:
            sql += f" AND {document} IN (SELECT id FROM documents WHERE {clauses})"
            values += own
        if outcome := self.query.filters.get("outcome"):
            bits = search_index.ROUND_BITS
            mask = (1 << search_index.DOCUMENT_BITS + bits) - 1
            place = f"(rowid >> {search_index.ORDER_BITS}) & {mask}"
            sql += (
                f" AND ({place} IN (SELECT document << {bits} | round FROM rounds"
                f" WHERE outcome = ?) OR {document} IN (SELECT id FROM documents WHERE reason = ?))"
            )
            values += [outcome, outcome]
        return sql, values

    def _shown(self, scores: Mapping[int, float]) -> list[Hit]:
        """The hits at these places, in their order; what isn't there any more is left out."""
        texts: list[tuple[int, str]] = []
        for number in scores:
            if read := self._read(place_of(number).document):
                _, told, places = read
                texts.append(
                    (number, "\n".join(told.texts[k].text for k in places.get(number, ())))
                )
        found = {number: snippet for number, snippet, _ in _matched(self.query.match, texts)}
        return [self._hit(n, found[n], score) for n, score in scores.items() if n in found]

    def _hit(self, number: int, snippet: Snippet, score: float) -> Hit:
        place, read = place_of(number), self._read(place_of(number).document)
        assert read is not None
        file, told, places = read
        text = told.texts[places[number][0]]
        return Hit(
            place.kind, file.candidate, file.part, file.iteration, told.paper, told.title,
            place.round, text.field, snippet, score, str(file.path()),
        )  # fmt: skip

    def _read(self, document: int) -> tuple[File, Told, dict[int, list[int]]] | None:
        if document not in self._told:
            row = self.db.execute(
                "SELECT candidate, part, iteration, file, size, changed FROM documents"
                " WHERE id = ?", (document,),
            ).fetchone()  # fmt: skip
            self._told[document] = None
            with suppress(OSError, ValueError, RecursionError):
                if row is not None:
                    file = File(*row)
                    told = search_index.read_told(self.run, file)
                    self._told[document] = file, told, search_index.placed(document, told)
        return self._told[document]

    def _papers(self) -> Group:
        """Papers by id and title, each once, with its newest rollout."""
        clauses, values = _on_documents(self.query.filters)
        if outcome := self.query.filters.get("outcome"):
            clauses += f"{' AND ' if clauses else ''}reason = ?"
            values.append(outcome)
        rows = self.db.execute(
            "SELECT paper, title, MAX(id), COUNT(*), candidate, part, iteration, file"
            " FROM documents WHERE problem = ''"
            f"{' AND ' if clauses else ''}{clauses} GROUP BY paper", values,
        ).fetchall()  # fmt: skip
        names = enumerate(printable(f"{title}\n{paper}") for paper, title, *_ in rows)
        hits = []
        for k, snippet, score in _matched(self.query.match, names):
            paper, title, _, count, candidate, part, iteration, name = rows[k]
            often = f"{count:,} rollout{'s' if count > 1 else ''}, the newest"
            path = Path("trajectories", str(candidate), part, name)
            hits.append(
                Hit("paper", candidate, part, iteration, paper, title, 0, often, snippet, score,
                    str(path))
            )  # fmt: skip
        best = sorted(hits, key=lambda h: -h.score)[: self.limit]
        return Group("paper", RECORDED["paper"], len(hits), best)


def _on_documents(filters: Mapping[str, str]) -> tuple[str, list[object]]:
    """Filters as a condition on the table of documents; empty for none."""
    clauses, values = [], list[object]()
    for name in ("candidate", "iteration"):
        if name in filters:
            clauses.append(f"{name} = ?")
            values.append(int(filters[name]))
    if "part" in filters:
        clauses.append("part = ?")
        values.append(filters["part"])
    if "paper" in filters:
        clauses.append("(instr(lower(paper), ?) OR instr(lower(title), ?))")
        values += [filters["paper"].lower()] * 2
    return " AND ".join(clauses), values


# Matching


def _matched(match: str, texts: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Snippet, float]]:
    """Those of the texts that match, by their numbers, with the best piece and a BM25 score."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"CREATE VIRTUAL TABLE t USING fts5(text, tokenize='{TOKENIZER}')")
        plain = ((number, printable(text)) for number, text in texts)
        db.executemany("INSERT INTO t (rowid, text) VALUES (?, ?)", plain)
        rows = db.execute(
            "SELECT rowid, snippet(t, 0, ?, ?, '…', ?), -bm25(t) FROM t WHERE t MATCH ?",
            (_ON, _OFF, SNIPPET_TOKENS, match),
        )
        for number, marked, score in rows:
            yield number, _snippet(marked), score


def _snippet(marked: str) -> Snippet:
    """Take the marks out of a text, and too much of it."""
    first = marked.find(_ON)
    if len(marked) > SNIPPET_CHARS:
        start = max(0, first - SNIPPET_CHARS // 4)
        marked = f"{'…' * (start > 0)}{marked[start : start + SNIPPET_CHARS]}…"
    text, marks, begun = "", [], 0
    for piece in _pieces(marked):
        if piece == _ON:
            begun = len(text)
        elif piece == _OFF:
            marks.append((begun, len(text)))
        else:
            text += piece
    if marked.rfind(_ON) > marked.rfind(_OFF):  # cut within
        marks.append((begun, len(text)))
    return Snippet(text, tuple(marks))


def _pieces(marked: str) -> Iterator[str]:
    for n, piece in enumerate(marked.split(_ON)):
        if n:
            yield _ON
        inside, off, rest = piece.partition(_OFF)
        yield inside
        if off:
            yield _OFF
            yield rest
