"""One query in the index of a run's trajectories; every hit is read anew from its file."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import nlargest
from pathlib import Path

from analysis.search import index
from analysis.search.answer import Group, Hit, Snippet
from analysis.search.index import NUMBERS, File, numbers_of, place_of
from analysis.search.matching import matched
from analysis.search.query import Query
from analysis.search.texts import KINDS, RECORDED, Told, printable

MOST_RANKED = 20_000  # hits; of more than these the newest come first
_PLACE = index.DOCUMENT_BITS + index.ROUND_BITS + index.ORDER_BITS


@dataclass(slots=True)
class Lookup:
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
        ranked = bool(self.query.match) and sum(counts.values()) <= MOST_RANKED
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
        sql, values = self._narrowed()
        if kind is not None:
            sql, values = f"rowid BETWEEN ? AND ? AND {sql}", [*numbers_of(kind), *values]
        if self.query.match:
            sql, values = f"words MATCH ? AND {sql}", [self.query.match, *values]
        return sql, values

    def _narrowed(self) -> tuple[str, list[object]]:
        """The filters as SQL on ``rowid``, with their values."""
        document = f"(rowid >> {index.ROUND_BITS + index.ORDER_BITS})"
        document += f" & {(1 << index.DOCUMENT_BITS) - 1}"
        sql, values = f"{document} NOT IN (SELECT id FROM gone)", list[object]()
        clauses, own = _on_documents(self.query.filters)
        if clauses:
            sql += f" AND {document} IN (SELECT id FROM documents WHERE {clauses})"
            values += own
        if outcome := self.query.filters.get("outcome"):
            bits = index.ROUND_BITS
            mask = (1 << index.DOCUMENT_BITS + bits) - 1
            place = f"(rowid >> {index.ORDER_BITS}) & {mask}"
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
        found = {number: snippet for number, snippet, _ in matched(self.query.match, texts)}
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
                    told = index.read_told(self.run, file)
                    self._told[document] = file, told, index.placed(document, told)
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
            f"{' AND ' if clauses else ''}{clauses} GROUP BY paper ORDER BY MAX(id) DESC", values,
        ).fetchall()  # fmt: skip
        names = enumerate(printable(f"{title}\n{paper}") for paper, title, *_ in rows)
        hits = []
        for k, snippet, score in matched(self.query.match, names):
            paper, title, _, count, candidate, part, iteration, name = rows[k]
            often = f"{count:,} rollout{'s' if count > 1 else ''}, the newest"
            path = Path("trajectories", str(candidate), part, name)
            hits.append(
                Hit("paper", candidate, part, iteration, paper, title, 0, often, snippet, score,
                    str(path))
            )  # fmt: skip
        best = sorted(hits, key=lambda h: -h.score)[: self.limit]
        return Group("paper", RECORDED["paper"], len(hits), best, bool(self.query.match))


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
