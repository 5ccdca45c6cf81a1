"""How a run stands: what a colleague asks first, and what was tried so far."""

import shlex
import time
from collections import Counter
from pathlib import Path

from inner_agent.calls import Usage
from metaopt.history import HistoryEntry
from metaopt.integrity import audited_text
from metaopt.optimism import meter, meter_table, rerun_text
from metaopt.policy import policy_of
from metaopt.population import Candidate, shrunk_rates
from metaopt.record import (
    RunRecord,
    open_record,
    paused,
    running_process,
    stop_reason,
    usage,
)
from metaopt.sealed import opened_text, openings
from metaopt.state import winner
from metaopt.text import (
    amount,
    dollars,
    duration,
    grid,
    one_line,
    pooled,
    render,
    screen_width,
    several,
)
from metaopt.validations import against_luck, interval, luck_text, validations

SIMULATED = "SIMULATED: says nothing about real models"
LUCK = (
    "interval: 95 %, for other papers like these. luck: what the choice alone adds, on\n"
    "average, in a run of this length"
)
INDENT = 12
DOING = {  # what comes after the last thing that an iteration recorded
    "selected": "on training papers", "traced": "analyzing", "diagnosed": "editing",
    "implemented": "on validation papers", "validated": "deciding", "rerun": "deciding",
}  # fmt: skip


def summary(folder: Path) -> str:
    """State, rates, spending and next commands.  Raises ``UserError`` when it isn't a run."""
    record = open_record(folder)
    decisions = record.decisions
    pairs = [
        ("state", state_text(record)),
        ("iterations", _iterations(record, decisions)),
        ("baseline", rate_text(record, record.state.candidates[0])),
        ("best", _best(record)),
        ("audit", _audit(record)),
        *_luck(record),
        ("last", _decision_line(record, decisions[-1]) if decisions else "no decision yet"),
        ("time", _time(record)),
    ]
    if opened := opened_text(folder, f"\n{'':<{INDENT}}"):
        pairs.append(("test", opened))
    head = record.folder.resolve().name
    if record.config.simulated:
        head += f"   {SIMULATED}"
    lines = [head, *(f"{name:<{INDENT}}{text}" for name, text in pairs)]
    told = meter(record)
    figures = [meter_table(told), f"{LUCK}\n"] if told else []
    return "\n".join([*lines, "", *figures, _spending(usage(folder)), "", *_next_commands(record)])


def history(folder: Path) -> str:
    """Every iteration on a line: parent, outcome, rates, edit.  Raises ``UserError``."""
    record = open_record(folder)
    table = grid(">iteration", ">parent", "outcome", ">parent's rate", ">rate", "edit")
    for d in record.decisions:
        old = "" if d.parent_rate is None else f"{d.parent_rate:.0%}"
        edit = one_line(d.summary or d.proposed_change, 300)
        outcome = one_line(outcome_text(d), 300) + (", ALARM" if d.alarm else "")
        table.add_row(str(d.iteration), str(d.parent), outcome, old, _score(record, d), edit)
    if not table.row_count:
        return "no iteration is decided yet"
    note = "simulated\n" if record.config.simulated else ""
    more = f"metaopt show {shlex.quote(str(folder))} NUMBER --analysis (--diff, --papers)"
    if policy_of(record.config.search).spending.rerun_parent:
        rates = "parent's rate: the parent run again on the same papers in that iteration"
    else:
        rates = "parent's rate: what the policy held its pass rate to be"
    return f"{note}{render(table)}\n{rates}\n\n{more}"


def outcome_text(entry: HistoryEntry) -> str:
    """What was decided, as it was written; a mutant that wasn't run on all papers was stopped."""
    return entry.decision.replace("rejected", "stopped") if entry.stopped else entry.decision


def _score(record: RunRecord, entry: HistoryEntry) -> str:
    """The mutant's rate; its passes and papers where it was stopped, for no rate is in so few."""
    if entry.mutant_rate is None:
        return ""
    passed = record.stages[entry.iteration]["validated"]["mutant"]
    return f"{sum(passed)} of {len(passed)}" if entry.stopped else f"{entry.mutant_rate:.0%}"


def _decision_line(record: RunRecord, entry: HistoryEntry) -> str:
    """One iteration's outcome on one line."""
    rates = ""
    if entry.parent_rate is not None and entry.mutant_rate is not None:
        rates = f" ({entry.parent_rate:.0%} -> {_score(record, entry)})"
    text = f"iteration {entry.iteration}, parent {entry.parent}: {outcome_text(entry)}{rates}"
    return one_line(f"{text}: {entry.summary}" if entry.summary else text, screen_width() - INDENT)


def state_text(record: RunRecord) -> str:
    """Finished, stopped and why, or running and at what."""
    process = running_process(record.folder)
    if process is None:
        owed = record.owes_finalists
        if len(record.decisions) >= record.config.search.iterations and not owed:
            return "finished"
        reason = stop_reason(record.folder)
        text = f"stopped ({one_line(reason, 300)})" if reason else "stopped before its end"
        return f"{text}; its finalists aren't run again yet" if owed else text
    if any(not opening.finished for opening in openings(record.folder)):
        return f"process {process} is on its test papers"
    doing = [
        f"{i} {DOING.get(list(stages)[-1], '')}"
        for i, stages in sorted(record.stages.items())
        if i > 0 and "decided" not in stages
    ]
    if record.owes_finalists:
        doing.append("finalists")
    text = f"running as process {process}" + (f" ({', '.join(doing)})" if doing else "")
    if pause := paused(record.folder):
        line, since = pause
        text += f"; paused for {duration(time.time() - since)}: {one_line(line, 300)}"
    return text


def _iterations(record: RunRecord, decisions: list[HistoryEntry]) -> str:
    outcomes = Counter(d.decision.partition(":")[0] for d in decisions)
    failed = Counter(_failed_stage(record, d) for d in decisions if d.decision.startswith("failed"))
    decided, wanted = len(decisions), record.config.search.iterations
    text = f"{decided} of {wanted}" if decided <= wanted else str(decided)
    text += f" decided: {outcomes['accepted']} accepted, {outcomes['rejected']} rejected"
    text += f", {outcomes['failed']} failed"
    stages = ", ".join(f"{stage} {n}" for stage, n in sorted(failed.items()))
    text += f" ({stages})" if stages else ""
    if controls := outcomes["control"]:
        text += f", {several(controls, 'control')}"
    return f"{text}; search.iterations is now {wanted}" if decided > wanted else text


def _failed_stage(record: RunRecord, entry: HistoryEntry) -> str:
    """Who came to nothing, by what the iteration recorded before its end."""
    stages = record.stages[entry.iteration]
    if "implemented" in stages:
        return "same harness as another"
    return "implementer" if "diagnosed" in stages else "analyzer"


def rate_text(record: RunRecord, candidate: Candidate) -> str:
    """A candidate's rate in the search; and when it was run again, if it was chosen for that."""
    known = pooled(candidate, interval(validations(record), candidate.id))
    return known + rerun_text(record, candidate.id)


def _best(record: RunRecord) -> str:
    top = winner(record.state)
    if top.id == 0:
        return "still the baseline"
    rate = shrunk_rates(record.state.candidates.values())[top.id]
    shrunk = f"{rate:.1%} shrunk towards its relatives'"
    second = one_line(f"{shrunk}; {top.summary}", screen_width() - INDENT)
    return f"candidate {top.id}: {rate_text(record, top)}\n{'':<{INDENT}}{second}"


def _audit(record: RunRecord) -> str:
    """What of the best one's accepted items stood, the alarms, the auditor's own mistakes."""
    top = winner(record.state)
    told = [audited_text(record, c) for c in dict.fromkeys((0, top.id))]
    names = ("baseline", f"candidate {top.id}")
    lines = ["; ".join(f"{n}: {text}" for n, text in zip(names, told, strict=False))]
    if alarms := [d for d in record.decisions if d.alarm]:
        last = one_line(alarms[-1].alarm, 300)
        lines.append(f"ALARM in iteration {', '.join(str(d.iteration) for d in alarms)}: {last}")
    pots = record.stages[0].get("honeypots", {}).get("outcomes", [])
    if wrong := [o for o in pots if not o["right"]]:
        names_ = ", ".join(f"{o['kind']} {o['name']}" for o in wrong)
        lines.append(f"honeypots: {len(wrong)} of {len(pots)} treated wrongly ({names_})")
    return f"\n{'':<{INDENT}}".join(lines)


def _luck(record: RunRecord) -> list[tuple[str, str]]:
    """Acceptances against what the gate would have let in of edits that do nothing."""
    if not validations(record):
        return []
    mutants, controls = against_luck(record)
    rows = [("luck", luck_text(mutants))] if mutants.tried else []
    return [*rows, ("controls", luck_text(controls))] if controls.tried else rows


def _spending(spent: dict[str, Usage]) -> str:
    table = grid("role", ">calls", ">tokens in", ">cached", ">tokens out", ">cost")
    rows = [
        (role, u.calls, u.prompt_tokens, u.cached_tokens, u.completion_tokens, u.usd)
        for role, u in sorted(spent.items())
    ]
    for role, calls, sent, cached, written, usd in [*rows, _total(rows)]:
        table.add_row(
            role, f"{calls:,}", amount(sent), amount(cached), amount(written), dollars(usd)
        )
    return render(table)


def _total(
    rows: list[tuple[str, int, int, int, int, float]],
) -> tuple[str, int, int, int, int, float]:
    calls, sent, cached, written = (sum(int(row[k]) for row in rows) for k in range(1, 5))
    return "all", calls, sent, cached, written, sum(row[5] for row in rows)


def _time(record: RunRecord) -> str:
    length = duration(record.times[1] - record.times[0])
    return f"{length} from the first to the last thing recorded, pauses included"


def _next_commands(record: RunRecord) -> list[str]:
    """Only commands that have something to show."""
    folder = shlex.quote(str(record.folder))
    config = shlex.quote(str(record.folder / "config.toml"))
    commands = {}
    if record.decisions:
        commands["what was tried"] = f"metaopt show {folder}"
    if any(d.mutant_rate is not None for d in record.decisions):
        commands["the figure"] = f"metaopt plot {folder} --out F.png"
    if winner(record.state).id:
        commands["the winner's diff"] = f"metaopt show {folder} best --diff"
        commands["take the winner"] = f"metaopt checkout {folder} DIR"
    if len(record.decisions) < record.config.search.iterations or record.owes_finalists:
        commands["go on"] = f"metaopt run {config} --out {folder}"
    return [f"{what:<20}{command}" for what, command in commands.items()]
