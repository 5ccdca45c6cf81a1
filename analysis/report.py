"""``metaopt report``: what a run did and how far to believe it, for a colleague who wasn't there.

This module says what stands in the report; ``analysis.markdown`` how it looks.  All text is plain:
what models wrote is in it, and only the form knows how to make that harmless.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analysis.deviations import deviations
from analysis.predictions import Score, audit
from inner_agent.calls import Usage
from inner_agent.criteria import Criteria
from inner_agent.tasks.choice import task_of
from metaopt.config import RunConfig
from metaopt.integrity import audited_text
from metaopt.optimism import Figure, cells, meter
from metaopt.population import Candidate
from metaopt.predictions import checked
from metaopt.record import RunRecord, open_record, usage
from metaopt.sealed import opened_text
from metaopt.state import winner
from metaopt.status import PAPER, SIMULATED
from metaopt.text import amount, dollars, duration, moment, one_line, ordinal, pooled, several
from metaopt.validations import AgainstLuck, against_luck, interval, luck_text, validations

# Figures of the best, at its choice, that had no part in it.
UNCHOSEN = ("finalist, run again", "sealed test, best", "sealed test, the best then")
MODES = 8  # failure modes that the predictions' table shows
BARE = "There is no validated candidate yet, so there is nothing to report about rates."


@dataclass(frozen=True, slots=True)
class Table:
    """A heading and rows; columns whose name starts with ``>`` align to the right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[str]


Block = str | Table | Bullets


@dataclass(frozen=True, slots=True)
class Section:
    """A title and what stands below it, paragraph by paragraph."""

    title: str
    blocks: Sequence[Block] = field(default_factory=list)


def run_report(run: Path) -> list[Section]:
    """The whole report; its first section's title is the report's.  Raises ``UserError``."""
    record = open_record(run)
    figures = meter(record)
    sections = [_head(record, figures), _methods(record), _deviations(record)]
    if figures:
        sections += [
            _rates(figures),
            _sealed(record),
            _acceptances(record),
            _predictions(record),
        ]
    return [*sections, _integrity(record), _lineage(record), _cost(record)]


def _head(record: RunRecord, figures: Sequence[Figure]) -> Section:
    decided, wanted = len(record.decisions), record.config.search.iterations
    blocks: list[Block] = [f"{SIMULATED}."] if record.config.simulated else []
    blocks.append(
        f"{decided} of {wanted} iterations are decided. From the first to the last thing recorded"
        f" it took {duration(record.times[1] - record.times[0])}, pauses included."
    )
    blocks.append(Bullets(list(_in_short(record, figures))) if figures else BARE)
    return Section(f"Meta-optimization of a harness: {record.folder.resolve().name}", blocks)


def _in_short(record: RunRecord, figures: Sequence[Figure]) -> Iterator[str]:
    told = {f.name: f for f in figures}
    yield f"Baseline: {_said(told['baseline, its runs in the search'])}."
    if top := told.get("best, its runs in the search"):
        luck_points = several(max(0, round(100 * top.luck)), "point")
        yield (
            f"Best: candidate {top.candidate}, {_said(top)}. It was chosen by these very runs: on"
            f" average luck alone adds {luck_points} to such a figure in a run like this one."
        )
    else:
        yield "No candidate is held to be better than the baseline."
    unbiased = [f for f in figures if f.name in UNCHOSEN]
    for f in unbiased:
        name = f"{f.name[0].upper()}{f.name[1:]}"
        name += f", candidate {f.candidate}" if f.candidate != (top.candidate if top else 0) else ""
        yield f"{name}: {_said(f)}. These runs had no part in the choice."
    if not unbiased:
        yield "No figure here is free of the choice: the sealed test papers were never opened."
    mutants, controls = against_luck(record)
    for found, what in ((mutants, "validated mutants"), (controls, "live controls")):
        expected = f"{found.expected:.1f} ± {found.spread:.1f}"
        if found.tried:
            yield (
                f"{found.accepted} of {found.tried} {what} were accepted; had no edit changed"
                f" anything, this gate would have accepted {expected}."
            )


def _said(f: Figure) -> str:
    interval = f", 95% interval {f.interval[0]:.0%} to {f.interval[1]:.0%}" if f.interval else ""
    return f"{f.rate:.1%} of {f.rollouts} rollouts on {f.papers} papers{interval}"


def _methods(record: RunRecord) -> Section:
    config, search = record.config, record.config.search
    text = (
        "A population of harnesses, each a code edit of the baseline, was searched by the"
        ' procedure of "Autodata" (Kulikov et al. 2026, arXiv 2606.25996). Each iteration drew a'
        f" parent from the population (policy “{search.policy}”), ran it on"
        f" {search.minibatch} training papers, had an analyzer read what happened and name root"
        " causes, had an implementer edit the code, and validated the result on"
        f" {_validation_papers(record)} other papers, the same in every iteration. The loop never"
        " saw the sealed test papers."
    )
    return Section("What was done", [text, _how(record), _passing(config), _who(config)])


def _how(record: RunRecord) -> str:
    """What it takes to do it again."""
    config, search = record.config, record.config.search
    opened = record.state.opened or {}
    again = f"; the {search.finalists} best were run again at the end" if search.finalists else ""
    nulls = (
        f"; every {ordinal(search.null_every)} mutant was a copy of its parent, to measure the gate"
        if search.null_every
        else ""
    )
    models = "an embedded simulator in place of models" if config.simulated else "the models below"
    return (
        f"It was done with metaopt {opened.get('metaopt', 'of an unknown version')}, {models}, seed"
        f" {config.seed}, {several(search.iterations, 'iteration')}, {search.parallel} at a time"
        f"{again}{nulls}. The baseline is commit {str(opened.get('commit', ''))[:12]} of the run's"
        f" harness.git, begun on {moment(record.times[0])}."
    )


def _passing(config: RunConfig) -> str:
    return (
        f"A paper passes if within {config.limits.items} questions the harness finds one"
        f" {_accepted(config)}; and if it then stands the audit"
        + (" and a second evaluation with new attempts." if config.score == "fresh" else ".")
    )


def _accepted(config: RunConfig) -> str:
    """When the task takes an item, as what follows "one"."""
    hard = "that is hard for the weak solver and not for the strong one"
    each = f"at {config.models['weak'].attempts} attempts each"
    if config.task.name == "rubric":
        return f"{hard}, {each}: {_thresholds(config.criteria)}"
    if config.task.name == "verifiable":
        rule = task_of(config).rule
        how = (
            "by the judge"
            if config.task.answer == "verifier"
            else f"by code ({config.task.answer})"
        )
        return (
            f"with one right answer {hard}: {rule.weak_text}, and {rule.strong_text}; final answers"
            f" are compared with the reference {how}"
        )
    if config.task.name == "learnable":
        levels = " or ".join(f"“{level}”" for level in config.task.accept)
        return (
            f"that is worth training on. Both solvers answer it, {each}, and are graded by its"
            " rubric, without thresholds; a judge that reads all attempts has to call its"
            f" suitability {levels}"
        )
    return f"that the task {Path(config.task.name).name} accepts, {each}"


def _thresholds(c: Criteria) -> str:
    limit = "at most" if c.weak_avg_inclusive else "below"
    upper = f" and below {c.strong_avg_below:.0%}" if c.strong_avg_below <= 1 else ""
    zero = "" if c.zeros_allowed else ", and no attempt of either scores 0"
    return (
        f"weak average {limit} {c.weak_avg_max:.0%}, no weak attempt above {c.weak_max:.0%},"
        f" strong average at least {c.strong_avg_min:.0%}{upper}, a gap of {c.gap_min:.0%} or"
        f" more{zero}"
    )


def _who(config: RunConfig) -> Table:
    rows = [
        (role.replace("_", " "), m.model, f"{m.temperature:g}", f"{m.max_tokens:,}")
        for role, m in config.models.items()
    ]
    return Table(("role", "model", ">temperature", ">most tokens"), rows)


def _deviations(record: RunRecord) -> Section:
    found = deviations(record.config, _validation_papers(record))
    lead = "All that differs from the published procedure; published values in parentheses."
    return Section("Deviations from the published procedure", [lead, Bullets(found)])


def _rates(figures: Sequence[Figure]) -> Section:
    rows = [(f.name, *cells(f)) for f in figures]
    sealed = any(f.name == "sealed test, paper" for f in figures)
    head = ("figure", ">candidate", ">rate", ">95% interval", ">rollouts", ">luck")
    return Section(
        "How good is the best?",
        [
            "The baseline; then what the search came to, told in several ways, the most flattering"
            " first. What had no part in the choice comes last, where there is any of it.",
            Table(head, rows),
            *([f"{PAPER[0].upper()}{PAPER[1:]}."] if sealed else []),
            "Interval: for other papers like these; runs of one paper resemble each other, and"
            " count accordingly. It doesn't account for the choice. Luck: what the choice alone"
            " adds on average, found by going through a run of this length again in numbers with"
            " edits like this run's; give or take a third.",
        ],
    )


def _sealed(record: RunRecord) -> Section:
    """Whether the test papers are still unseen, and what was seen."""
    opened = opened_text(record.folder, "\n")
    looks = [f"{text[0].upper()}{text[1:]}." for text in opened.splitlines()] or ["Not opened."]
    blocks: list[Block] = [looks[0]]
    if looks[1:]:
        blocks.append("Only the first opening was a test: what came later could know its result.")
        blocks.append(Bullets(looks[1:]))
    return Section("Sealed test", blocks)


def _acceptances(record: RunRecord) -> Section:
    mutants, controls = against_luck(record)
    said = (
        f"Mutants: {luck_text(mutants)}. A number within the"
        " expectation's reach is no sign that the edits are idle: good and bad ones balance. It"
        " says that acceptance by itself proves nothing."
    )
    blocks: list[Block] = [said if mutants.tried else "No mutant was validated."]
    return Section(
        "What the gate accepted, and what luck would have", [*blocks, _controls(controls)]
    )


def _controls(found: AgainstLuck) -> str:
    if not found.tried:
        return "There were no live controls (mutants identical to their parents) in this run."
    return f"Live controls, identical to their parents: {luck_text(found)}."


def _predictions(record: RunRecord) -> Section:
    title, checks = "Were the analyzer's predictions right?", checked(record)
    if not checks:
        why = "No mutant ran on its parent's training papers, so no prediction could be scored"
        return Section(title, [f"{why} (search.audit_analyzer = 0)."])
    again = sum(c.rerun for c in checks)
    scores = audit(checks)
    shown = [*scores[:2], *scores[2 : 2 + MODES]]
    text = (
        f"Scored in {len(checks)} iterations: in {again} the mutant was run again on the minibatch,"
        f" in {len(checks) - again} it met some of its papers later, as a parent. Chance: as many"
        " papers named at random among those that could come true. Published for another such"
        " analyzer (arXiv 2604.25850): fixes about 5 times chance, regressions about twice."
    )
    head = (
        "predicted", ">named", ">came true", ">precision", ">by chance", ">recall", ">by chance",
        ">times chance", ">p",
    )  # fmt: skip
    note = "p: how often chance does as well. Times chance: with its exact 95% interval."
    return Section(title, [text, Table(head, [_score_row(s) for s in shown]), note])


def _score_row(s: Score) -> tuple[str, ...]:
    times = ""
    if s.times_chance is not None and s.interval is not None:
        times = f"{s.times_chance:.1f} [{s.interval[0]:.1f} to {s.interval[1]:.1f}]"
    shares = (s.precision, s.chance_precision, s.recall, s.chance_recall)
    told = ("-" if share is None else f"{share:.0%}" for share in shares)
    return one_line(s.what), str(s.named), str(s.hits), *told, times, f"{s.p_value:.2g}"


def _integrity(record: RunRecord) -> Section:
    top = winner(record.state)
    items = [f"Baseline: {audited_text(record, 0)}."]
    if top.id:
        items.append(f"Best, candidate {top.id}: {audited_text(record, top.id)}.")
    alarms = [d for d in record.decisions if d.alarm]
    items += [f"Alarm in iteration {d.iteration}: {one_line(d.alarm, 300)}." for d in alarms]
    if not alarms:
        items.append("No alarm: no mutant was only better at being accepted.")
    pots = record.stages[0].get("honeypots", {}).get("outcomes", [])
    wrong = [f"{o['kind']} {o['name']}: {one_line(o['said'], 200)}" for o in pots if not o["right"]]
    if pots:
        items.append(f"Judge and auditor treated {len(pots) - len(wrong)} of {len(pots)} honeypots"
                     f" rightly{': not ' if wrong else ''}{'; '.join(wrong)}.")  # fmt: skip
    return Section("Audits, alarms and honeypots", [Bullets(items)])


def _lineage(record: RunRecord) -> Section:
    """How the best came to be, and what became of the iterations."""
    by_id: dict[int, Candidate] = record.state.candidates
    rows, at, found = [], winner(record.state), validations(record)
    while at.parent is not None:
        rows.append(
            (
                str(at.id),
                str(at.parent),
                pooled(at, interval(found, at.id)),
                one_line(at.summary, 300),
            )
        )
        at = by_id[at.parent]
    outcomes = Counter(d.decision.partition(":")[0] for d in record.decisions)
    counted = ", ".join(
        several(n, what) if what == "control" else f"{n} {what}"
        for what, n in outcomes.most_common()
    )
    blocks: list[Block] = [f"Iterations: {counted or 'none decided'}."]
    if rows:
        blocks += ["The best and its ancestors, up to the baseline:",
                   Table((">candidate", ">parent", "pass rate", "edit"), rows)]  # fmt: skip
    return Section("What was tried", blocks)


def _cost(record: RunRecord) -> Section:
    spent = usage(record.folder)
    rows = [
        (role.replace("_", " "), f"{u.calls:,}", amount(u.prompt_tokens), amount(u.cached_tokens),
         amount(u.completion_tokens), dollars(u.usd))
        for role, u in [*sorted(spent.items()), ("all", sum(spent.values(), Usage()))]
    ]  # fmt: skip
    head = ("role", ">calls", ">tokens in", ">of them cached", ">tokens out", ">cost")
    return Section("Cost", [Table(head, rows)])


def _validation_papers(record: RunRecord) -> int:
    """How many there are: of the longest validation, for one may stop early."""
    found = validations(record)
    return max((len(v.papers) for v in found), default=record.config.search.validation_papers or 0)
