"""A run's own record and its diffs: small enough to be searched in memory, on the spot."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.search.answer import Group, Hit
from analysis.search.matching import matched
from analysis.search.query import Query
from analysis.search.texts import RECORDED
from metaopt.record import RunRecord, paused, stop_reason

MOST_OF_FILE = 200_000  # characters of one file's changed lines: hostile ones have millions


@dataclass(frozen=True, slots=True)
class Said:
    """A text of the run's own record."""

    kind: str
    iteration: int | None  # and the candidate's number
    field: str
    text: str


def edits(record: RunRecord) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Candidates that an edit made, by iteration; a live control has its parent's commit."""
    for i, stages in sorted(record.stages.items()):
        made = stages.get("implemented")
        if made and not made.get("control"):
            yield i, made


def own_words(record: RunRecord) -> Iterator[Said]:
    for i, made in edits(record):
        yield Said("summary", i, "summary", made["summary"])
    for i, stages in sorted(record.stages.items()):
        if "diagnosed" in stages:
            yield from _diagnosis(i, stages["diagnosed"])
        for outcome in stages.get("honeypots", {}).get("outcomes", ()):
            pot = f"{outcome['name']}: {outcome['said']}"
            yield Said("decision", None, f"honeypot, {outcome['kind']}", pot)
    for entry in record.decisions:
        for name in ("decision", "alarm", "stopped", "audit"):
            yield Said("decision", entry.iteration, name, getattr(entry, name))
        for name in ("fixed", "broken"):
            yield Said("decision", entry.iteration, name, ", ".join(getattr(entry, name)))


def stops(run: Path) -> Iterator[Said]:
    if reason := stop_reason(run):
        yield Said("decision", None, "why it stopped", reason)
    if down := paused(run):
        yield Said("decision", None, "paused", down[0])


def _diagnosis(i: int, data: Mapping[str, object]) -> Iterator[Said]:
    modes = data.get("failure_modes")
    for mode in modes if isinstance(modes, list) else ():
        lines = [mode["name"], *mode.get("evidence", ()), ", ".join(mode.get("papers", ()))]
        yield Said("diagnosis", i, "failure mode", "\n".join(lines))
    for name in ("root_cause", "proposed_change", "predicted_fixes", "papers_at_risk"):
        value = data.get(name) or ""
        text = value if isinstance(value, str) else ", ".join(map(str, value))  # type: ignore[call-overload]
        yield Said("diagnosis", i, name.replace("_", " "), text)


@dataclass(frozen=True, slots=True)
class Changed:
    """A file's added and removed lines, signs and all, below its path; ``cut``: not all of them."""

    path: str
    text: str
    cut: bool


def changed_lines(diff: str, most: int = MOST_OF_FILE) -> Iterator[Changed]:
    """Each file of a unified diff, with at most ``most`` characters of lines."""
    path, lines, within, room = "", [""], False, most
    for line in (*diff.split("\n"), "diff --git "):
        if line.startswith("diff --git "):
            if len(lines) > 1:
                yield Changed(path, "\n".join(lines), room < 0)
            path, within, room = line.rpartition(" b/")[2], False, most
            lines = [path]
        elif line.startswith("@@ "):
            within = True
        elif within and line.startswith(("+", "-")):
            if room > 0:
                lines.append(line[:room])
            room -= len(line)


def recorded(said: Sequence[Said], query: Query, limit: int) -> list[Group]:
    wanted = query.filters
    if wanted.keys() & {"part", "paper", "outcome"}:
        return []
    number = {int(wanted[k]) for k in ("candidate", "iteration") if k in wanted}
    among = [
        s for s in said
        if wanted.get("kind", s.kind) == s.kind and (not number or number == {s.iteration})
    ]  # fmt: skip
    hits: dict[str, list[Hit]] = {}
    for k, snippet, score in matched(query.match, enumerate(s.text for s in among)):
        s = among[k]
        hit = Hit(s.kind, s.iteration, "", s.iteration or 0, "", "", 0, s.field, snippet, score)
        hits.setdefault(s.kind, []).append(hit)
    return [
        Group(
            kind, RECORDED[kind], len(found), sorted(found, key=_first)[:limit], bool(query.match)
        )
        for kind, found in hits.items()
    ]


def _first(hit: Hit) -> tuple[float, int]:
    """The best come first; of equal ones the newest."""
    return -hit.score, -hit.iteration
