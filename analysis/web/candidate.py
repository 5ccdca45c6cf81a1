"""One iteration and the candidate that it made: what was changed, why, and what came of it."""

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
from metaopt.status import outcome_text, rate_text
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
    """A training paper that the analyzer named; ``after`` is ``None`` where nobody looked."""

    paper: str
    predicted: str  # fixed, at risk
    before: bool | None
    after: bool | None

    @property
    def outcome(self) -> str:
        """What became of it, in a word."""
        if self.before is None or self.after is None:
            return "not run again"
        if self.before == self.after:
            return "still passes" if self.after else "still fails"
        return "fixed" if self.after else "broken"


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
    rate: str
    shrunk: float | None
    audit: str
    diagnosis: Diagnosis | None
    predictions: Sequence[Prediction]
    surprises: Sequence[str]
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
        rate=rate_text(record, made) if made else "",
        shrunk=rates.get(i) if made and made.runs else None,
        audit=audited_text(record, i) if made and made.runs else "",
        diagnosis=diagnosis,
        predictions=_predictions(diagnosis, checks[0] if checks else None),
        surprises=_surprises(diagnosis, checks[0] if checks else None),
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


def _predictions(diagnosis: Diagnosis | None, check: Checked | None) -> list[Prediction]:
    if diagnosis is None:
        return []
    before, after = (check.before, check.after) if check else ({}, {})
    named = [(p, "fixed") for p in diagnosis.predicted_fixes]
    named += [(p, "at risk") for p in diagnosis.papers_at_risk]
    return [Prediction(p, what, before.get(p), after.get(p)) for p, what in named]


def _surprises(diagnosis: Diagnosis | None, check: Checked | None) -> list[str]:
    """Papers that changed although nobody had named them, each with what it did."""
    if diagnosis is None or check is None:
        return []
    named = {*diagnosis.predicted_fixes, *diagnosis.papers_at_risk}
    return [
        f"{paper} ({what})"
        for what, papers in (("fixed", check.fixed), ("broken", check.broken))
        for paper in sorted(papers - named)
    ]
