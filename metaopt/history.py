"""What earlier iterations tried and what came of it, as later agents read it.

One entry an iteration (Autodata, Kulikov et al. 2026, "meta-optimization": summarize the
outcome into a history log).  What was predicted stands beside what was measured.
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

MAX_FIELD = 600  # characters of one model-written field in the digest


class HistoryEntry(BaseModel):
    """One finished iteration.

    Candidates have numbers, 0 is the baseline.  ``decision`` is ``accepted``, ``rejected``,
    ``failed: <stage and reason>``, or of a live control ``control: accepted`` or ``control:
    rejected``.  Rates are pass rates in [0, 1] on validation papers, ``None``
    where nothing was measured.  ``fixed`` and ``broken`` are ids of papers whose verdict changed
    from parent to mutant.  ``audit`` says what of the mutant's accepted items stood the fixed
    audit; ``alarm``, why its rise isn't to be believed; ``stopped``, why it wasn't run on all
    validation papers.  Where the parent isn't validated beside its mutant, ``parent_rate`` is what
    the policy holds it to have, and papers are compared with its last validation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    iteration: int
    parent: int
    candidate: int | None = None
    decision: str
    summary: str = ""
    failure_modes: tuple[str, ...] = ()
    proposed_change: str = ""
    predicted_fixes: tuple[str, ...] = ()
    papers_at_risk: tuple[str, ...] = ()
    parent_rate: float | None = None
    mutant_rate: float | None = None
    fixed: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    audit: str = ""
    alarm: str = ""
    stopped: str = ""


def outcome_line(entry: HistoryEntry) -> str:
    """An iteration's outcome in a sentence, for those who watch."""
    rates = ""
    if entry.stopped:
        rates = f" ({entry.stopped})"
    elif entry.parent_rate is not None and entry.mutant_rate is not None:
        rates = f" ({entry.parent_rate:.0%} -> {entry.mutant_rate:.0%})"
    summary = f": {entry.summary}" if entry.summary else ""
    return f"iteration {entry.iteration}: {entry.decision}{rates}{summary}"


def render_history(entries: Sequence[HistoryEntry], limit: int) -> str:
    """The last ``limit`` entries as text, oldest first."""
    shown = entries[-limit:] if limit else ()
    if not shown:
        return "No earlier iteration is on record."
    older = len(entries) - len(shown)
    head = [f"({older} older iterations are not shown.)"] if older else []
    return "\n\n".join([*head, *map(_render_entry, shown)])


def _render_entry(entry: HistoryEntry) -> str:
    what = "no candidate" if entry.candidate is None else f"candidate {entry.candidate}"
    head = f"Iteration {entry.iteration}, {what} from parent {entry.parent}"
    lines = [f"{head}: {_one_line(entry.decision)}"]
    if entry.failure_modes:
        lines.append(f"  Diagnosed: {_one_line('; '.join(entry.failure_modes))}")
    if entry.proposed_change:
        lines.append(f"  Proposed: {_one_line(entry.proposed_change)}")
    if entry.predicted_fixes or entry.papers_at_risk:
        lines.append(
            f"  Predicted on training papers: fixes {_ids(entry.predicted_fixes)};"
            f" at risk {_ids(entry.papers_at_risk)}"
        )
    if entry.summary:
        lines.append(f"  Edit made: {_one_line(entry.summary)}")
    if entry.parent_rate is not None and entry.mutant_rate is not None:
        lines.append(f"  Validation pass rate: {entry.parent_rate:.1%} -> {entry.mutant_rate:.1%}")
        lines.append(f"  Fixed: {_ids(entry.fixed)}. Broken: {_ids(entry.broken)}.")
    if entry.stopped:
        lines.append(f"  Not run on all validation papers: {entry.stopped}.")
    if entry.audit:
        lines.append(f"  Audit: {entry.audit}.")
    if entry.alarm:
        lines.append(f"  Alarm: {_one_line(entry.alarm)}.")
    return "\n".join(lines)


def _ids(papers: Sequence[str]) -> str:
    return ", ".join(papers) or "none"


def _one_line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= MAX_FIELD else f"{flat[:MAX_FIELD]}…"
