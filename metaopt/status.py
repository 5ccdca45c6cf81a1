"""How a run stands: what a colleague asks first, and what was tried so far."""

import shlex
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from inner_agent.calls import Usage
from metaopt.history import HistoryEntry
from metaopt.integrity import audited_text
from metaopt.optimism import meter, meter_table, rerun_text, sealed
from metaopt.policy import policy_of
from metaopt.population import Candidate, shrunk_rates
from metaopt.record import RunRecord, open_record, running_process, seconds_left, usage
from metaopt.sealed import opened_text, openings, times
from metaopt.standing import standing
from metaopt.state import winner
from metaopt.text import (
    amount,
    clean,
    dollars,
    duration,
    fold,
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
    "interval: 95%, for other papers like these. luck: what the choice alone adds, on\n"
    "average, in a run of this length"
)
PAPER = "paper: the candidate that the published procedure would report"
INDENT = 12


def summary(folder: Path) -> str:
    """What a colleague asks first, in about ten lines that fit the terminal.

    The luck that only simulation tells is left to ``full``: it takes seconds.  Raises
    ``UserError`` when it isn't a run.
    """
    record = open_record(folder)
    top = winner(record.state)
    rows = [
        *_standing(record),
        ("best", _best(record, top)),
        *([("", _believed(record, top))] if top.id else []),
        *_test(record),
        *_luck_in_short(record),
        *(("audit", line) for line in _alarms(record)),
        ("last", _decision_line(record)),
        ("cost", _cost(record)),
    ]
    width = screen_width() - INDENT
    cut = [(name, one_line(text, width)) for name, text in rows]
    return _page(record, [*cut, ("next", "\n".join(_look(record)))])


def full(folder: Path) -> str:
    """State, rates, luck, spending by role and next commands.  Raises ``UserError``."""
    record = open_record(folder)
    top = winner(record.state)
    best = [_best(record, top) + rerun_text(record, top.id)]
    if top.id:
        best.append(one_line(f"{_shrunk(record, top)}; {top.summary}", screen_width() - INDENT))
    opened = opened_text(folder, "\n")
    rows = [
        *_standing(record),
        ("best", "\n".join(best)),
        ("audit", "\n".join([_audited(record, top), *_alarms(record)])),
        *_luck(record),
        ("last", one_line(_decision_line(record), screen_width() - INDENT)),
        ("time", _time(record)),
        *([("test", opened)] if opened else []),
    ]
    told = meter(record)
    seen = [PAPER] if any(f.name == "sealed test, paper" for f in told) else []
    figures = [meter_table(told), *seen, f"{LUCK}\n"] if told else []
    tables = [*figures, _spending(usage(folder)), "", *_next_commands(record)]
    return "\n".join([_page(record, rows), "", *tables])


def _page(record: RunRecord, rows: Sequence[tuple[str, str]]) -> str:
    """The run's name above its rows; a row's further lines are indented.

    Commands are left whole: the terminal breaks them so that they can be copied.
    """
    head = clean(record.folder.resolve().name)
    if record.config.simulated:
        head += f"   {SIMULATED}"
    lines = fold(head)
    for name, text in rows:
        parts = text.split("\n") if name == "next" else fold(text, INDENT)
        lines += [f"{name:<{INDENT}}{parts[0]}", *(f"{'':<{INDENT}}{part}" for part in parts[1:])]
    return "\n".join(lines)


def _standing(record: RunRecord) -> list[tuple[str, str]]:
    """What both pages begin with."""
    baseline = record.state.candidates[0]
    return [
        ("state", standing(record).told(time.time() - record.times[1])),
        ("iterations", _iterations(record, record.decisions)),
        ("baseline", pooled(baseline, interval(validations(record), 0))),
    ]


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


def rates_text(record: RunRecord, entry: HistoryEntry) -> str:
    """What an outcome rests on: the parent's rate, and the mutant's; empty where none is known."""
    if entry.parent_rate is None or entry.mutant_rate is None:
        return ""
    rates = f"{entry.parent_rate:.0%} -> {_score(record, entry)}"
    if policy_of(record.config.search).spending.rerun_parent:
        return f"parent {rates} on the same papers"
    return f"parent held to be at {rates}"


def _score(record: RunRecord, entry: HistoryEntry) -> str:
    """The mutant's rate; its passes and papers where it was stopped, for no rate is in so few."""
    if entry.mutant_rate is None:
        return ""
    passed = record.stages[entry.iteration]["validated"]["mutant"]
    return f"{sum(passed)} of {len(passed)}" if entry.stopped else f"{entry.mutant_rate:.0%}"


def _decision_line(record: RunRecord) -> str:
    """The last iteration's outcome."""
    if not record.decisions:
        return "no decision yet"
    entry, rates = record.decisions[-1], ""
    if entry.parent_rate is not None and entry.mutant_rate is not None:
        rates = f" ({entry.parent_rate:.0%} -> {_score(record, entry)})"
    text = f"iteration {entry.iteration}, parent {entry.parent}: {outcome_text(entry)}{rates}"
    return f"{text}: {entry.summary}" if entry.summary else text


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


def _best(record: RunRecord, top: Candidate) -> str:
    if top.id == 0:
        return "still the baseline"
    return f"candidate {top.id}: {pooled(top, interval(validations(record), top.id))}"


def _believed(record: RunRecord, top: Candidate) -> str:
    """What to believe of the best: its runs that had no part in choosing it, or else what its
    relatives make of it; and what it did."""
    again = rerun_text(record, top.id).removeprefix("; ")
    return f"{again or _shrunk(record, top)}; {top.summary}"


def _test(record: RunRecord) -> list[tuple[str, str]]:
    """What the sealed test's first opening showed, once it is finished."""
    found = openings(record.folder)
    if not found or not found[0].finished:
        return [("test", opened_text(record.folder))] if found else []
    rates = {f.name.rpartition(", ")[2]: f for f in sealed(record)}
    shown = [
        f"{name} {f.rate:.1%} [{f.interval[0]:.0%} to {f.interval[1]:.0%}]"
        for name, f in rates.items()
        if name != "paper" and f.interval
    ]
    return [("test", f"{', '.join(shown)}; opened {times(len(found))}")]


def _shrunk(record: RunRecord, top: Candidate) -> str:
    rate = shrunk_rates(record.state.candidates.values())[top.id]
    return f"{rate:.1%} shrunk towards its relatives'"


def _audited(record: RunRecord, top: Candidate) -> str:
    """What of the baseline's and the best one's accepted items stood."""
    told = [audited_text(record, c) for c in dict.fromkeys((0, top.id))]
    names = ("baseline", f"candidate {top.id}")
    return "; ".join(f"{n}: {text}" for n, text in zip(names, told, strict=False))


def _alarms(record: RunRecord) -> list[str]:
    """The audit's alarms, and the auditor's own mistakes; a line each, or none."""
    lines = []
    if alarms := [d for d in record.decisions if d.alarm]:
        last = one_line(alarms[-1].alarm, 300)
        others = f", one of {len(alarms)} alarms" if alarms[1:] else ""
        lines.append(f"ALARM in iteration {alarms[-1].iteration}{others}: {last}")
    pots = record.stages[0].get("honeypots", {}).get("outcomes", [])
    if wrong := [o for o in pots if not o["right"]]:
        names = ", ".join(f"{o['kind']} {o['name']}" for o in wrong)
        lines.append(f"honeypots: {len(wrong)} of {len(pots)} treated wrongly ({names})")
    return lines


def _luck(record: RunRecord) -> list[tuple[str, str]]:
    """Acceptances against what the gate would have let in of edits that do nothing."""
    if not validations(record):
        return []
    mutants, controls = against_luck(record)
    rows = [("luck", luck_text(mutants))] if mutants.tried else []
    return [*rows, ("controls", luck_text(controls))] if controls.tried else rows


def _luck_in_short(record: RunRecord) -> list[tuple[str, str]]:
    """The mutants' in few words; without what luck would do where that has to be simulated."""
    outcomes = Counter(d.decision for d in record.decisions)
    tried = outcomes["accepted"] + outcomes["rejected"]
    if not tried:
        return []
    text = f"{outcomes['accepted']} of {tried} accepted; "
    if policy_of(record.config.search).spending.block:  # mutants are stopped early
        return [("luck", f"{text}--full tells how many luck alone would let in")]
    mutants, _ = against_luck(record)
    return [
        ("luck", f"{text}luck alone would let in {mutants.expected:.1f} ± {mutants.spread:.1f}")
    ]


def _cost(record: RunRecord) -> str:
    """Spent so far, in what time; and what time is left to a running run."""
    used = usage(record.folder).values()
    calls, tokens = sum(u.calls for u in used), sum(u.tokens for u in used)
    money = dollars(sum(u.usd for u in used))
    text = f"{money}, {amount(calls)} calls, {amount(tokens)} tokens"
    running = running_process(record.folder)
    text += f" in {duration((time.time() if running else record.times[1]) - record.times[0])}"
    left = seconds_left(record) if running else None
    return f"{text}; about {duration(left)} left" if left else text


def _spending(spent: dict[str, Usage]) -> str:
    table = grid("role", ">calls", ">tokens in", ">of them cached", ">tokens out", ">cost")
    for role, u in [*sorted(spent.items()), ("all", sum(spent.values(), Usage()))]:
        table.add_row(
            role.replace("_", " "), f"{u.calls:,}", amount(u.prompt_tokens),
            amount(u.cached_tokens), amount(u.completion_tokens), dollars(u.usd),
        )  # fmt: skip
    return render(table)


def _time(record: RunRecord) -> str:
    length = duration(record.times[1] - record.times[0])
    return f"{length} from the first to the last thing recorded, pauses included"


def _look(record: RunRecord) -> list[str]:
    """Where to look next: a command for how it stands now, and the longer page."""
    folder = shlex.quote(str(record.folder))
    now = running_process(record.folder)
    wanted = [_go_on(record)] if _owes(record) and not now else [f"metaopt show {folder}"]
    if winner(record.state).id and not _owes(record):
        wanted = [f"metaopt show {folder} best --diff"]
    return [*wanted, f"metaopt status {folder} --full"]


def _owes(record: RunRecord) -> bool:
    return len(record.decisions) < record.config.search.iterations or record.owes_finalists


def _go_on(record: RunRecord) -> str:
    folder = shlex.quote(str(record.folder))
    return f"metaopt run {shlex.quote(str(record.folder / 'config.toml'))} --out {folder}"


def _next_commands(record: RunRecord) -> list[str]:
    """Only commands that have something to show."""
    folder = shlex.quote(str(record.folder))
    commands = {}
    if record.decisions:
        commands["what was tried"] = f"metaopt show {folder}"
    if any(d.mutant_rate is not None for d in record.decisions):
        commands["the figure"] = f"metaopt plot {folder} --out F.png"
    if winner(record.state).id:
        commands["the winner's diff"] = f"metaopt show {folder} best --diff"
        commands["take the winner"] = f"metaopt checkout {folder} DIR"
    if _owes(record):
        commands["go on"] = _go_on(record)
    return [f"{what:<20}{command}" for what, command in commands.items()]
