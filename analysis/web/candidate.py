"""One iteration and the candidate that it made: what was changed, why, and what came of it."""

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from analysis.web.diff import FileDiff, file_diffs
from inner_agent.run_paper import PaperResult
from metaopt.analyzer import Diagnosis
from metaopt.history import HistoryEntry
from metaopt.integrity import audited_text
from metaopt.population import Candidate, shrunk_rates
from metaopt.predictions import Checked, checked
from metaopt.record import Found, RunRecord, find
from metaopt.show import before_it, validated
from metaopt.status import outcome_text, rate_text, rates_text
from metaopt.store import Store

Results = Mapping[str, PaperResult]


@dataclass(frozen=True, slots=True)
class Side:
    """One rollout in a table: where its storyboard lies, and its result (``None``: not run)."""

    candidate: int
    part: str
    iteration: int
    result: PaperResult | None


@dataclass(frozen=True, slots=True)
class Named:
    """A training paper that the analysis names, and the rollout that it is named for, if known."""

    paper: str
    side: Side | None


@dataclass(frozen=True, slots=True)
class Quote:
    """A piece of evidence: its text, and the rollout and round (0: none) that it names."""

    text: str
    side: Side | None
    round: int


@dataclass(frozen=True, slots=True)
class Mode:
    """A failure mode; ``share``: the analyzer's estimate, of the failed rounds or papers."""

    name: str
    share: float
    papers: Sequence[Named]
    evidence: Sequence[Quote]


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A validation paper under the parent and under the candidate; ``passed`` of ``runs``."""

    paper: str
    before: Side | None
    after: Side
    passed: int
    runs: int

    @property
    def change(self) -> str:
        """``fixed``, ``broken`` or nothing."""
        if self.before is None or self.before.result is None or self.after.result is None:
            return ""
        was, now = self.before.result.passed, self.after.result.passed
        return "fixed" if now and not was else "broken" if was and not now else ""


@dataclass(frozen=True, slots=True)
class Validated:
    """The papers of a candidate's own validation; ``then`` is the iteration of the parent's run."""

    iteration: int
    then: int
    rows: Sequence[PaperRow]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A training paper that the analyzer named; ``after`` is ``None`` where nobody looked.

    ``read`` is the rollout that the analyzer read, ``again`` the mutant's on the same paper.
    """

    paper: str
    predicted: str  # fixed, at risk
    before: bool | None
    after: bool | None
    read: Side | None
    again: Side | None

    @property
    def outcome(self) -> str:
        """What became of it, in a word."""
        if self.before is None or self.after is None:
            return "not run again"
        if self.before == self.after:
            return "still passes" if self.after else "still fails"
        return "fixed" if self.after else "broken"


@dataclass(frozen=True, slots=True)
class Surprise:
    """A training paper that changed (``what``) although nobody had named it."""

    what: str
    named: Named


@dataclass(frozen=True, slots=True)
class CandidatePage:
    """All that is shown of an iteration.  ``candidate`` is ``None`` where it made none."""

    id: int
    last: int
    parent: int | None
    children: Sequence[int]
    candidate: Candidate | None
    entry: HistoryEntry | None
    control: bool
    outcome: str
    why: str
    rate: str
    shrunk: float | None
    audit: str
    diagnosis: Diagnosis | None
    modes: Sequence[Mode]
    predictions: Sequence[Prediction]
    surprises: Sequence[Surprise]
    against: str
    diffs: Sequence[FileDiff]
    validated: Validated | None
    read: Sequence[Side]
    trained: Sequence[Side]


def candidate_page(record: RunRecord, i: int, against: str = "parent") -> CandidatePage:
    """What iteration ``i`` did, its diff ``against`` the parent or the baseline.

    Raises ``UserError`` for an iteration that isn't there.
    """
    found, stages = find(record, str(i)), record.stages[i]
    made = found.candidate
    entry = next((d for d in record.decisions if d.iteration == i), None)
    diagnosis = _diagnosis(record, i)
    checks = checked(record, [i])
    rates = shrunk_rates(record.state.candidates.values())
    with closing(Store(record.folder / "run.db", readonly=True)) as store:
        table = _validated(record, store, made) if made and made.runs else None
        read = _read(record, store, i)
        trained = _trained(store, i) if made else []
    return CandidatePage(
        id=i,
        last=max(record.stages),
        parent=stages["selected"]["parent"] if "selected" in stages else None,
        children=[c.id for c in record.state.candidates.values() if c.parent == i],
        candidate=made,
        entry=entry,
        control=bool(stages.get("implemented", {}).get("control")),
        outcome=outcome_text(entry) if entry else "baseline" if not i else "not decided yet",
        why=rates_text(record, entry) if entry else "",
        rate=rate_text(record, made) if made else "",
        shrunk=rates.get(i) if made and made.runs else None,
        audit=audited_text(record, i) if made and made.runs else "",
        diagnosis=diagnosis,
        modes=_modes(diagnosis, read),
        predictions=_predictions(diagnosis, checks[0] if checks else None, read, trained),
        surprises=_surprises(diagnosis, checks[0] if checks else None, trained),
        against=against,
        diffs=_diffs(record, found, against),
        validated=table,
        read=read,
        trained=trained,
    )


def _diagnosis(record: RunRecord, i: int) -> Diagnosis | None:
    told = record.stages[i].get("diagnosed")
    return Diagnosis.model_validate(told, strict=False) if told else None


def _diffs(record: RunRecord, found: Found, against: str) -> list[FileDiff]:
    made = found.candidate
    if made is None or made.parent is None:
        return []
    parent = find(record, str(made.parent)).made()
    with closing(record.repo()) as repo:
        before = repo.baseline if against == "baseline" else parent.commit
        return file_diffs(repo.diff(before, made.commit))


def _validated(record: RunRecord, store: Store, made: Candidate) -> Validated:
    own = made.id or made.runs[-1][0]  # the baseline: its latest run
    runs = [validated(record, store, made.id, i) for i, _, _ in made.runs]
    now = validated(record, store, made.id, own)
    before, then = before_it(record, store, made, own)
    rows = [
        PaperRow(
            paper,
            Side(made.parent, "val", then, before.get(paper)) if made.parent is not None else None,
            Side(made.id, "val", own, now[paper]),
            sum(run[paper].passed for run in runs if paper in run),
            sum(paper in run for run in runs),
        )
        for paper in sorted(now)
    ]
    return Validated(own, then, rows)


def _read(record: RunRecord, store: Store, i: int) -> list[Side]:
    """The parent's rollouts on training papers that the analyzer read."""
    stages = record.stages[i]
    if "traced" not in stages:
        return []
    parent, source = stages["selected"]["parent"], stages["traced"].get("source", i)
    found = store.results(parent, "train", source)
    return [Side(parent, "train", source, found[p]) for p in stages["traced"]["papers"]]


def _trained(store: Store, i: int) -> list[Side]:
    """The candidate's own rollouts on training papers, as a parent or to check predictions."""
    return [Side(i, part, j, r) for part, j, r in store.results_of(i) if part == "train"]


def _modes(diagnosis: Diagnosis | None, read: Sequence[Side]) -> list[Mode]:
    """The failure modes, the one with the largest share first."""
    by_paper = _by_paper(read)
    return [
        Mode(
            mode.name,
            mode.share,
            [Named(paper, by_paper.get(paper)) for paper in mode.papers],
            [_quote(text, by_paper) for text in mode.evidence],
        )
        for mode in sorted(diagnosis.failure_modes if diagnosis else (), key=lambda m: -m.share)
    ]


def _quote(text: str, by_paper: Mapping[str, Side]) -> Quote:
    """The quote with the rollout whose paper it names first, and the round named right behind."""
    found = [(text.index(paper), -len(paper), paper) for paper in by_paper if paper in text]
    if not found:
        return Quote(text, None, 0)
    start, _, paper = min(found)
    side = by_paper[paper]
    said = re.match(r"\W{1,3}round (\d{1,3})\b", text[start + len(paper) :], re.IGNORECASE)
    number = int(said[1]) if said else 0
    rounds = side.result.rounds if side.result else 0
    return Quote(text, side, number if number <= rounds else 0)


def _by_paper(sides: Sequence[Side]) -> dict[str, Side]:
    """Each paper's first rollout among these."""
    return {s.result.paper: s for s in reversed(sides) if s.result}


def _predictions(
    diagnosis: Diagnosis | None, check: Checked | None, read: Sequence[Side],
    trained: Sequence[Side],
) -> list[Prediction]:  # fmt: skip
    if diagnosis is None:
        return []
    before, after = (check.before, check.after) if check else ({}, {})
    was, now = _by_paper(read), _by_paper(trained)
    named = [(p, "fixed") for p in diagnosis.predicted_fixes]
    named += [(p, "at risk") for p in diagnosis.papers_at_risk]
    return [
        Prediction(
            p, what, before.get(p), after.get(p), was.get(p), now.get(p) if p in after else None
        )
        for p, what in named
    ]


def _surprises(
    diagnosis: Diagnosis | None, check: Checked | None, trained: Sequence[Side]
) -> list[Surprise]:
    """Papers that changed although nobody had named them, each as the mutant ran on it."""
    if diagnosis is None or check is None:
        return []
    named, now = {*diagnosis.predicted_fixes, *diagnosis.papers_at_risk}, _by_paper(trained)
    return [
        Surprise(what, Named(paper, now.get(paper)))
        for what, papers in (("fixed", check.fixed), ("broken", check.broken))
        for paper in sorted(papers - named)
    ]
