"""One candidate of a run: what it is, what it changed, why, and how it did; and taking it away."""

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from inner_agent.errors import UserError
from inner_agent.run_paper import PaperResult
from metaopt.analyzer import Diagnosis
from metaopt.config import BUILTIN
from metaopt.integrity import audit_of, audited_text
from metaopt.population import Candidate, shrunk_rates
from metaopt.predictions import checked
from metaopt.record import Found, RunRecord, find, open_record
from metaopt.status import SIMULATED, outcome_text, rate_text, rates_text
from metaopt.store import Store
from metaopt.text import clean, grid, one_line, render

Results = Mapping[str, PaperResult]
ESTIMATE = "estimate: the analyzer's, of a failure mode's share of the failed rounds or papers"
REPEATS = "repeats another paper's question"  # and would have passed otherwise


def show_candidate(
    folder: Path, candidate: str, diff: bool, baseline: bool, analysis: bool, papers: bool
) -> str:
    """What the flags ask for, or an overview.  ``candidate``: as ``find`` takes it.

    Raises ``UserError`` for an unknown run or candidate, and for what it doesn't have.
    """
    record = open_record(folder)
    found = find(record, candidate)
    parts = []
    if analysis:
        parts.append(_analysis(record, found))
    if papers:
        parts.append(_papers(record, found.made()))
    if diff or baseline:
        parts.append(_diff(record, found.made(), baseline))
    return "\n\n".join(parts or [_overview(record, found)])


def take_away(folder: Path, target: Path, candidate: str) -> str:
    """Clone the run's harnesses into ``target`` with a branch at the candidate, and write
    ``target``.diff, the same as one patch against the baseline.

    Raises ``UserError`` when either is there already or can't be made.
    """
    record = open_record(folder)
    chosen = find(record, candidate).made()
    patch = target.with_name(f"{target.name}.diff")
    if patch.exists():
        raise UserError(f"{patch}: exists; name a new folder")
    branch = f"metaopt/{_branch_word(folder)}-{chosen.id}"
    with closing(record.repo()) as repo:
        try:
            repo.checkout(chosen.commit, branch, target.resolve())
        except OSError as e:
            raise UserError(f"{target}: can't be made ({e.strerror}); name a new folder") from None
        text = repo.diff(repo.baseline, chosen.commit)
    head = (
        f"{target}: git repository, branch {branch}: candidate {chosen.id},"
        f" {rate_text(record, chosen)}"
    )
    if record.config.simulated:
        head += f"\n{SIMULATED}"
    if not text:
        return f"{head}\nIt is the baseline itself: no {patch.name}."
    patch.write_text(text, encoding="utf-8", errors="surrogateescape")
    apply = _apply_command(record, patch)
    return f"{head}\n{patch}: all its changes to the baseline\nTo apply them:  {apply}"


def _overview(record: RunRecord, found: Found) -> str:
    stages = record.stages[found.id]
    entry = next((d for d in record.decisions if d.iteration == found.id), None)
    outcome = outcome_text(entry) if entry else "not decided yet"
    lines = [f"candidate {found.id}" + (f"   {SIMULATED}" if record.config.simulated else "")]
    if found.id:
        why = f": {rates_text(record, entry)}" if entry and rates_text(record, entry) else ""
        lines += [
            f"parent      {stages['selected']['parent']}",
            f"outcome     {clean(outcome)}{why}",
        ]
    c = found.candidate
    if c is not None:
        rates = shrunk_rates(record.state.candidates.values())
        lines += [f"summary     {one_line(c.summary, 300)}", f"pass rate   {rate_text(record, c)}"]
        if c.runs and c.id in rates:
            lines.append(f"            {rates[c.id]:.1%} shrunk towards its relatives'")
        lines += [f"  iteration {i}: {passes} of {papers}" for i, passes, papers in c.runs]
        lines.append(f"audit       {audited_text(record, c.id)}")
        if entry and entry.stopped:
            lines.append(f"stopped     {one_line(entry.stopped, 300)}")
        if entry and entry.alarm:
            lines.append(f"ALARM       {one_line(entry.alarm, 300)}")
        children = [x.id for x in record.state.candidates.values() if x.parent == c.id]
        lines.append(f"children    {', '.join(map(str, children)) or 'none'}")
        lines.append(f"commit      {c.commit}")
    alone = not found.id or stages.get("implemented", {}).get("control")  # nothing was edited
    views = "--analysis" if c is None else "--papers" if alone else "--diff --analysis --papers"
    more = f"metaopt show {shlex.quote(str(record.folder))} {found.id} {views}"
    return "\n".join([*lines, "", more])


def _diff(record: RunRecord, candidate: Candidate, from_baseline: bool) -> str:
    if candidate.parent is None:
        raise UserError("the baseline differs from nothing; name another candidate")
    parent = find(record, str(candidate.parent)).made()
    with closing(record.repo()) as repo:
        before = repo.baseline if from_baseline else parent.commit
        return repo.diff(before, candidate.commit).rstrip() or "no difference"


def _analysis(record: RunRecord, found: Found) -> str:
    stages = record.stages[found.id]
    if "diagnosed" not in stages:
        why = stages.get("decided", {}).get("entry", {}).get("decision", "not there yet")
        raise UserError(f"iteration {found.id} has no analysis ({one_line(why, 200)})")
    d = Diagnosis.model_validate(stages["diagnosed"], strict=False)
    modes = sorted(d.failure_modes, key=lambda m: -m.share)
    table = grid(">estimate", "failure mode", "papers")
    for mode in modes:
        table.add_row(f"{mode.share:.0%}", clean(mode.name), clean(", ".join(mode.papers)))
    lines = [
        f"{render(table)}\n\n{ESTIMATE}",
        *(f"Evidence of {m.name}:\n{_listed(m.evidence)}" for m in modes),
        f"Root cause: {d.root_cause}",
        f"Proposed change: {d.proposed_change}",
        *_predictions(record, found, d),
    ]
    return clean("\n\n".join(lines))


def _listed(quotes: Sequence[str]) -> str:
    return "\n".join(f"  - {' '.join(quote.split())}" for quote in quotes)


def _predictions(record: RunRecord, found: Found, d: Diagnosis) -> list[str]:
    """What was predicted; what a run on the same papers found; and validation, on others."""
    lines = [
        f"Predicted, on its training papers: fixes {', '.join(d.predicted_fixes) or 'none'};"
        f" at risk {', '.join(d.papers_at_risk) or 'none'}"
    ]
    for check in checked(record, [found.id]):
        fixed, broken = (", ".join(sorted(p)) or "none" for p in (check.fixed, check.broken))
        where = "on them" if check.rerun else f"on {len(check.after)} of them, as a parent later"
        lines.append(f"Measured {where}: fixed {fixed}; broken {broken}")
    entry = next((d for d in record.decisions if d.iteration == found.id), None)
    if entry is not None and entry.mutant_rate is not None:
        fixed, broken = (", ".join(papers) or "none" for papers in (entry.fixed, entry.broken))
        lines.append(f"Measured, on validation papers: fixed {fixed}; broken {broken}")
    return lines


def _papers(record: RunRecord, candidate: Candidate) -> str:
    if not candidate.runs:
        raise UserError(f"candidate {candidate.id} has not been validated; --papers needs it")
    own = candidate.id or candidate.runs[-1][0]  # the baseline: its latest run
    with closing(Store(record.folder / "run.db", readonly=True)) as store:
        runs = [validated(record, store, candidate.id, i) for i, _, _ in candidate.runs]
        now = validated(record, store, candidate.id, own)
        before, then = before_it(record, store, candidate, own)
    head = f"validation in iteration {own}"
    if before:
        when = "" if then == own else f" (as it was in iteration {then})"
        head += f": parent {candidate.parent} before{when}, candidate {candidate.id} after"
    return f"{head}\n\n{_paper_table(now, before, runs)}"


def before_it(record: RunRecord, store: Store, candidate: Candidate, i: int) -> tuple[Results, int]:
    """The parent's results beside a candidate's, or where it wasn't run again, its own; and the
    iteration they are from."""
    if candidate.parent is None:
        return {}, i
    beside = validated(record, store, candidate.parent, i)
    if beside:
        return beside, i
    return validated(record, store, candidate.parent, candidate.parent), candidate.parent


def validated(record: RunRecord, store: Store, candidate: int, i: int) -> Results:
    """A candidate's results in iteration ``i``; a question that several papers share is no pass."""
    audit = audit_of(record, candidate, i)
    if audit is None:
        return {}
    found = store.results(candidate, "val", i)
    return found | {p: found[p].model_copy(update={"passed": False}) for p in audit["repeats"]}


def repeats(result: PaperResult) -> bool:
    """Is it only for its question, which another paper has too, that it is no pass?"""
    return result.reason == "passed" and not result.passed


def ended(result: PaperResult) -> str:
    """How a rollout ended, in words: run.db's, or that it repeats another paper's question."""
    return REPEATS if repeats(result) else result.reason.replace("_", " ")


def _paper_table(now: Results, before: Results, runs: list[Results]) -> str:
    """One cell for each side, so that it fits into 80 columns."""
    sides = ("before", "after") if before else ("outcome",)
    passes = (">passed",) if len(runs) > 1 else ()
    table = grid("paper", *(f"{side}\nweak/strong %, rounds" for side in sides), *passes)
    for paper in sorted(now):
        had = [run[paper].passed for run in runs if paper in run]
        table.add_row(
            clean(paper),
            *([_cell(before.get(paper))] if before else []),
            _cell(now[paper]),
            *([f"{sum(had)}/{len(had)}"] if passes else []),
        )
    table.columns[0].overflow = "ellipsis"
    for column in table.columns[1:]:
        column.no_wrap = True
    shown = [*now.values(), *(r for p, r in before.items() if p in now)]
    notes = [f"repeats: {REPEATS}"] if any(map(repeats, shown)) else []
    notes += [f"passed: in all {len(runs)} validation runs of the candidate"] if passes else []
    return "\n".join([render(table), "", *notes]).rstrip()


def _cell(result: PaperResult | None) -> str:
    if result is None:
        return ""
    weak, strong = (
        "-" if score is None else f"{100 * score:.1f}"
        for score in (result.weak_avg, result.strong_avg)
    )
    scores = f"{weak}/{strong}"
    how = "repeats" if repeats(result) else ended(result)
    return f"{how:<12} {scores:>10} {result.rounds:>2}"


def _branch_word(folder: Path) -> str:
    """The run's name, as far as git takes it for a branch."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name).strip("-") or "run"


def _apply_command(record: RunRecord, patch: Path) -> str:
    harness, path = record.config.harness, shlex.quote(str(patch.resolve()))
    if harness.repo == BUILTIN:
        return f"git apply --directory=baseline_harness {path}   (at the top of metaopt's source)"
    where = "YOUR_REPO" if "://" in harness.repo else shlex.quote(harness.repo)
    return f"git -C {where} apply {path}"
