"""The storyboard of one rollout, after the published figure of an example trajectory: a row a
round, from the question over the solvers' answers and the judge's matrix to the outcome.

Made from the trajectory alone and the thresholds of the run (Autodata, "Example execution").  A
trajectory may lack anything: what is missing is missing from the board, and nothing raises.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from analysis.colours import ENDS
from analysis.web import loose
from analysis.web.spans import Span, Step, item_of, mark, said, same, spans
from inner_agent import strict_json
from inner_agent.criteria import Bound, Rule
from metaopt.text import several

MEANT = {  # outcomes whose names (``ENDS``) don't say it all
    "weak_zero": "A weak answer earned nothing.",
    "invalid_item": "What was written is no item.",
    "unfinished": "It wasn't evaluated to the end.",
}
CHECKED = "The answer is right"  # all that is asked of one where there is no rubric
MOST_STRAYS = 50  # evaluated items of no round on one page; the raw messages have them all
PLANNED = ("chat", "evaluate", "submit", "audit", "fresh", "refused")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judge on one criterion of one answer: the share that is met, and why."""

    score: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One answer of a solver.  ``name`` is W1, S2, …; ``score`` a fraction."""

    name: str
    tier: str
    answer: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Criterion:
    """A row of the matrix: a verdict for each attempt, ``None`` where there is none."""

    text: str
    weight: str
    penalty: bool
    verdicts: tuple[Verdict | None, ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """A solver's attempts against its thresholds; ``spared`` weren't needed for the verdict.

    ``review`` is what a judge said of all attempts of both solvers together, by name.
    """

    tier: str
    status: str
    attempts: tuple[Attempt, ...]
    average: float | None
    spared: int
    bounds: tuple[Bound, ...]
    review: tuple[tuple[str, str], ...] = ()

    @property
    def broken(self) -> tuple[Bound, ...]:
        """The thresholds that weren't kept."""
        return tuple(b for b in self.bounds if b.holds is False)

    @property
    def zone(self) -> tuple[float, float] | None:
        """Where the average may lie: from, to."""
        limits = [b for b in self.bounds if b.name == "average"]
        if not limits:
            return None
        low = max((b.limit for b in limits if b.relation == ">="), default=0.0)
        high = min((b.limit for b in limits if b.relation != ">="), default=1.0)
        return low, min(high, 1.0)


@dataclass(frozen=True, slots=True)
class Trial:
    """The answers to one question, and the judge's matrix: criteria by attempts."""

    weak: Phase | None
    strong: Phase | None
    criteria: tuple[Criterion, ...]
    notes: tuple[str, ...]

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Those that took place."""
        return tuple(p for p in (self.weak, self.strong) if p)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The matrix's columns."""
        return tuple(a for p in self.phases for a in p.attempts)

    @property
    def broken(self) -> tuple[Bound, ...]:
        """The thresholds that weren't kept."""
        return tuple(b for p in self.phases for b in p.broken)

    @property
    def review(self) -> tuple[tuple[str, str], ...]:
        """What a judge said of all attempts together; empty where the task has none."""
        return self.strong.review if self.strong else ()


@dataclass(frozen=True, slots=True)
class Told:
    """What the challenger was told besides what it was told for the first question: all of it, and
    the lines that were new.  ``None``: it isn't recorded."""

    all: str
    new: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was answered with an error."""

    method: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Question:
    """An item as it was written.  ``rubric`` is only there where it can't be shown as a matrix."""

    type: str
    skills: tuple[str, ...]
    question: str
    context: str
    reference_answer: str
    rubric: str


@dataclass(frozen=True, slots=True)
class Round:
    """A row.  ``verified`` is ``None`` where nothing tells; ``told`` led to this round's question.

    ``asked``: is a chat with the verifier recorded?
    """

    number: str
    item: Question
    verified: bool | None
    asked: bool
    feedback: str
    trial: Trial
    outcome: str
    final: bool
    told: Told | None
    refused: tuple[Refusal, ...]
    span: Span

    @property
    def title(self) -> str:
        """The outcome's name, as charts and search have it."""
        name = ENDS[self.outcome][0] if self.outcome in ENDS else self.outcome
        return f"{name[0].upper()}{name[1:]}" if name else "Outcome not recorded"

    @property
    def meant(self) -> str:
        """What the outcome's name doesn't say; may be empty."""
        return MEANT.get(self.outcome, "")

    @property
    def evaluated(self) -> bool:
        """Was a solver asked?"""
        return bool(self.trial.phases or self.trial.notes)


@dataclass(frozen=True, slots=True)
class Audit:
    """What the fixed auditor found (check, detail), and the scores of answers that show no work."""

    passed: bool
    findings: tuple[tuple[str, str], ...]
    probes: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """How the paper ended, and the numbers of its result.  Scores are fractions."""

    reason: str
    title: str
    passed: bool
    sentence: str
    detail: str
    weak_avg: float | None
    strong_avg: float | None
    gap: float | None
    calls: int
    tokens: int
    usd: float


@dataclass(frozen=True, slots=True)
class Board:
    """One rollout.  ``unreadable`` says what of its trajectory isn't as expected.

    ``strays``: evaluated items that no round names; ``more_strays`` are left out.
    """

    paper: str
    title: str
    simulated: bool
    rounds: tuple[Round, ...]
    audit: Audit | None
    fresh: Trial | None
    strays: tuple[tuple[Question, Trial], ...]
    more_strays: int
    ending: Ending
    refused: tuple[Refusal, ...]
    stderr: str
    unreadable: tuple[str, ...]
    after: Span

    @property
    def whose(self) -> str:
        """Which answers the averages of the result are of."""
        if self.fresh:
            return "fresh answers"
        if taken := next((r for r in self.rounds if r.final), None):
            return f"round {taken.number}, the accepted one"
        known = [r for r in self.rounds if r.trial.weak and r.trial.weak.average is not None]
        if self.strays or not known:
            return "the last question evaluated"
        return f"round {known[-1].number}, the last one evaluated"


@dataclass(frozen=True, slots=True)
class _Wanted:
    rule: Rule | None
    attempts: int


def storyboard(trajectory: Any, rule: Rule | None, attempts: int) -> Board:
    """The board of a decoded trajectory.  ``attempts``: how many each solver was to have; without a
    ``rule`` no bounds are shown."""
    read, wanted = loose.table(trajectory), _Wanted(rule, attempts)
    steps, listed = loose.tables(read.get("steps")), loose.tables(read.get("rounds"))
    found = spans(steps, listed)
    final = _final(steps, listed, loose.table(read.get("result")))
    told, groups = _told(steps, found[:-1]), _evaluated(steps)
    asked = [groups.get(mark(round_), []) for round_ in listed]
    named = set(map(mark, listed))
    strays = [group for key, group in groups.items() if key not in named]
    rounds = tuple(
        _round(steps, round_, evaluated, span, wanted, heard, n == final)
        for n, (round_, evaluated, span, heard) in enumerate(
            zip(listed, asked, found, told, strict=False)
        )
    )
    again = [s for s in steps if s.get("kind") == "fresh"]
    fresh = _trial(again, again[-1].get("item"), wanted) if again else None
    audit = _audit(steps)
    result = loose.table(read.get("result"))
    paper = loose.table(read.get("paper"))
    return Board(
        paper=loose.text(paper.get("id")) or loose.text(result.get("paper")),
        title=loose.text(paper.get("title")),
        simulated=bool(read.get("simulated")),
        rounds=rounds,
        audit=audit,
        fresh=fresh,
        strays=tuple(_stray(steps, group, wanted) for group in strays[:MOST_STRAYS]),
        more_strays=max(0, len(strays) - MOST_STRAYS),
        ending=_ending(result, rounds, audit, fresh),
        refused=_refusals(steps[found[-1].start :]),
        stderr=loose.text(read.get("stderr")),
        unreadable=tuple(_unreadable(trajectory)),
        after=found[-1],
    )


def _round(
    steps: Sequence[Step], round_: Mapping[str, Any], evaluated: Sequence[Step], span: Span,
    wanted: _Wanted, told: Told | None, final: bool,
) -> Round:  # fmt: skip
    trial = _trial(evaluated, round_, wanted)
    if not evaluated:
        trial = _recorded(round_, trial, wanted)
    outcome = loose.text(round_.get("outcome"))
    own = steps[span.start : span.stop]
    number = round_.get("round")
    return Round(
        number=loose.text(number) or "?",
        item=_question(round_, evaluated, steps, span, bool(trial.criteria)),
        verified=_verified(outcome),
        asked=any(s.get("agent") == "quality_verifier" for s in own),
        feedback=loose.text(round_.get("feedback")),
        trial=trial,
        outcome=outcome,
        final=final,
        told=told,
        refused=_refusals(own),
        span=span,
    )


def _verified(outcome: str) -> bool | None:
    if outcome in ("invalid_item", ""):
        return None
    return outcome != "failed_quality_check"


def _question(
    item: Mapping[str, Any], evaluated: Sequence[Step], steps: Sequence[Step], span: Span | None,
    matrix: bool,
) -> Question:  # fmt: skip
    """What the round says; type and skills as the question's own reply has them, for a result.json
    has one type for all its rounds."""
    labels = loose.table(evaluated[-1].get("item")) if evaluated else {}
    if not labels and span and span.written is not None:
        reply = loose.table(steps[span.written].get("reply"))
        try:
            labels = strict_json.find_object(loose.text(reply.get("content")))
        except strict_json.JSONRefused:
            labels = {}
    labels = labels or dict(item)
    return Question(
        type=loose.text(labels.get("question_type")),
        skills=tuple(map(loose.text, loose.rows(labels.get("reasoning_skills")))),
        question=loose.text(item.get("question")),
        context=loose.text(item.get("context")),
        reference_answer=loose.text(item.get("reference_answer")),
        rubric="" if matrix or item.get("rubric") == [] else loose.text(item.get("rubric")),
    )


def _trial(evaluated: Sequence[Step], item: Any, wanted: _Wanted) -> Trial:
    """The last weak and the last strong phase of one item; a strong one is of the weak before."""
    weak = strong = None
    notes = []
    for step in evaluated:
        if not loose.rows(step.get("attempts")):
            who = loose.text(step.get("phase")).removesuffix("_only") or "a"
            notes.append(f"{who} solver, no verdict: {loose.text(step.get('report'))}")
        if step.get("phase") == "strong_only":
            strong = step
        else:
            weak, strong = step, None
    first = _phase("weak", weak, None, wanted) if weak else None
    second = _phase("strong", strong, first.average if first else None, wanted) if strong else None
    verdicts = [v for step in (weak, strong) if step for v in _verdicts(step)]
    return Trial(first, second, _criteria(item, verdicts), tuple(notes))


def _phase(tier: str, step: Step, weak_avg: float | None, wanted: _Wanted) -> Phase:
    answers = [loose.text(a.get("answer")) for a in loose.tables(step.get("attempts"))]
    scores = [loose.number(a.get("score")) for a in loose.tables(step.get("attempts"))]
    scored = _scored(tier, loose.text(step.get("status")), answers, scores, weak_avg, wanted)
    said = loose.table(step.get("review")).items()
    return replace(scored, review=tuple((k.replace("_", " "), loose.text(v)) for k, v in said))


def _scored(
    tier: str, status: str, answers: Sequence[str], scores: Sequence[float | None],
    weak_avg: float | None, wanted: _Wanted,
) -> Phase:  # fmt: skip
    attempts = tuple(
        Attempt(f"{tier[0].upper()}{n}", tier, answer, score)
        for n, (answer, score) in enumerate(zip(answers, scores, strict=True), start=1)
    )
    known = [s for s in scores if s is not None]
    bounds: tuple[Bound, ...] = ()
    if wanted.rule and known and tier == "weak":
        bounds = wanted.rule.weak(known, wanted.attempts)
    elif wanted.rule and known and weak_avg is not None:
        bounds = wanted.rule.strong(known, weak_avg, wanted.attempts)
    spared = max(0, wanted.attempts - len(attempts)) if attempts else 0
    return Phase(tier, status, attempts, fmean(known) if known else None, spared, bounds)


def _recorded(round_: Mapping[str, Any], trial: Trial, wanted: _Wanted) -> Trial:
    """A round of which no evaluation is kept, but scores are."""
    weak, strong = (
        [loose.number(s) for s in loose.rows(round_.get(tier))] for tier in ("weak", "strong")
    )
    first = _scored("weak", "", [""] * len(weak), weak, None, wanted) if weak else None
    average = first.average if first else None
    second = _scored("strong", "", [""] * len(strong), strong, average, wanted) if strong else None
    blank = [[] for _ in (*weak, *strong)]  # type: list[list[Verdict]]
    return Trial(first, second, _criteria(round_, blank), trial.notes)


def _verdicts(step: Step) -> list[list[Verdict]]:
    return [
        [
            Verdict(loose.number(v.get("score")), loose.text(v.get("reason")))
            for v in map(loose.table, loose.rows(attempt.get("criteria")))
        ]
        for attempt in loose.tables(step.get("attempts"))
    ]


def _criteria(item: Any, verdicts: Sequence[Sequence[Verdict]]) -> tuple[Criterion, ...]:
    rubric = loose.rows(loose.table(item).get("rubric"))
    if not rubric and any(verdicts):  # of a task that checks answers: one verdict each
        return (Criterion(CHECKED, "", False, tuple(v[0] if v else None for v in verdicts)),)
    return tuple(
        _criterion(c, tuple(v[n] if n < len(v) else None for v in verdicts))
        for n, c in enumerate(rubric)
    )


def _criterion(value: Any, verdicts: tuple[Verdict | None, ...]) -> Criterion:
    if not isinstance(value, dict):
        return Criterion(loose.text(value), "?", False, verdicts)
    weight = loose.number(value.get("weight"))
    told = f"{weight:g}" if weight is not None else repr(value.get("weight"))[:40]
    penalty = weight is not None and weight < 0
    return Criterion(loose.text(value.get("criterion")), told, penalty, verdicts)


def _final(
    steps: Sequence[Step], rounds: Sequence[Mapping[str, Any]], result: Mapping[str, Any]
) -> int | None:
    """The round whose question was taken: the one that fresh answers were given to, or the last
    accepted one."""
    if not result.get("accepted"):
        return None
    again = [s.get("item") for s in steps if s.get("kind") == "fresh"]
    accepted = [n for n, r in enumerate(rounds) if r.get("outcome") == "accepted"]
    known = [n for n in accepted if again and same(rounds[n], again[-1])]
    return max(known or accepted, default=None)


def _told(steps: Sequence[Step], listed: Sequence[Span]) -> list[Told | None]:
    """What led to each round's question, from the chats that wrote them."""
    whole = said(steps)
    first = next((n for n, s in enumerate(steps) if s.get("agent") == "challenger"), None)
    base = _lines(whole.get(first, ())) if first is not None else []
    first_told = before = set(base)
    found = list[Told | None]()
    for n, span in enumerate(listed):
        if span.written is None or not n:
            found.append(None)
            continue
        heard = _lines(whole.get(span.written, ()))
        lines = [x for x in heard if x not in first_told]
        fresh = [x for x in lines if x not in before]
        found.append(Told("\n".join(lines), "\n".join(fresh)))
        before = set(heard)
    return found


def _lines(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    told = (loose.text(m.get("content")).splitlines() for m in messages)
    return [line for lines in told for line in lines if line.strip()]


def _audit(steps: Sequence[Step]) -> Audit | None:
    step = next((s for s in reversed(steps) if s.get("kind") == "audit"), None)
    if step is None:
        return None
    findings = [
        (loose.text(f.get("check")), loose.text(f.get("detail")))
        for f in loose.tables(step.get("findings"))
    ]
    probes = [(what, loose.number(s)) for what, s in loose.table(step.get("probes")).items()]
    return Audit(step.get("passed") is True, tuple(findings), tuple(probes))


def _evaluated(steps: Sequence[Step]) -> dict[Hashable, list[Step]]:
    """The evaluations of each item, in order."""
    groups: dict[Hashable, list[Step]] = {}
    for step in steps:
        if step.get("kind") == "evaluate":
            groups.setdefault(mark(step.get("item")), []).append(step)
    return groups


def _stray(
    steps: Sequence[Step], evaluated: Sequence[Step], wanted: _Wanted
) -> tuple[Question, Trial]:
    """An evaluated item that no round names."""
    item = evaluated[0].get("item")
    trial = _trial(evaluated, item, wanted)
    return _question(item_of(item), evaluated, steps, None, bool(trial.criteria)), trial


def _refusals(steps: Sequence[Step]) -> tuple[Refusal, ...]:
    return tuple(
        Refusal(*(loose.text(s.get(key)) for key in ("method", "code", "message")))
        for s in steps
        if s.get("kind") == "refused"
    )


def _ending(
    result: Mapping[str, Any], rounds: Sequence[Round], audit: Audit | None, fresh: Trial | None
) -> Ending:
    reason = loose.text(result.get("reason"))
    words = reason.replace("_", " ")
    return Ending(
        reason=reason,
        title=f"{words[0].upper()}{words[1:]}" if words else "How it ended isn't recorded",
        passed=result.get("passed") is True,
        sentence=_sentence(reason, rounds, audit, fresh),
        detail=loose.text(result.get("detail")),
        weak_avg=loose.number(result.get("weak_avg")),
        strong_avg=loose.number(result.get("strong_avg")),
        gap=loose.number(result.get("gap")),
        calls=loose.whole(result.get("calls")),
        tokens=loose.whole(result.get("prompt_tokens"))
        + loose.whole(result.get("completion_tokens")),
        usd=loose.number(result.get("usd")) or 0.0,
    )


def _sentence(
    reason: str, rounds: Sequence[Round], audit: Audit | None, fresh: Trial | None
) -> str:
    found = ", ".join(check for check, _ in audit.findings) if audit else ""
    again = "it held with new answers" if fresh else "no new answers were asked for"
    missed = (
        "the judge found it less suitable" if fresh and fresh.review else "it missed a threshold"
    )
    return {
        "passed": f"A question was accepted, stood the audit, and {again}.",
        "fresh_failed": "A question was accepted and stood the audit, but with new answers"
        f" {missed}.",
        "audit_failed": f"A question was accepted, but the audit found: {found}.",
        "not_accepted": _asked(rounds),
        "no_result": "The harness ended without handing in a result.",
        "crashed": "The harness's program broke off.",
        "timed_out": "The harness kept silent for too long, or used up its time.",
        "junk": "The harness sent what can't be read, or far too much.",
    }.get(reason, "")


def _asked(rounds: Sequence[Round]) -> str:
    """How many questions there were, none of them accepted."""
    tried = sum(r.evaluated for r in rounds)
    if not rounds:
        return "The harness handed in a result without any round."
    written = f"{several(len(rounds), 'question')} {'was' if len(rounds) == 1 else 'were'} written"
    if not tried:
        return f"{written}, none evaluated."
    if tried == len(rounds):
        return f"{written} and evaluated; none was accepted."
    return f"{written}, {tried} of them evaluated; none was accepted."


def _unreadable(trajectory: Any) -> list[str]:
    """What isn't there, or isn't what it should be."""
    if not isinstance(trajectory, dict):
        return ["the trajectory isn't a JSON object"]
    wanted = {"paper": dict, "result": dict, "rounds": list, "steps": list}
    wrong = [
        f"{key}: {'missing' if key not in trajectory else 'of another kind than expected'}"
        for key, kind in wanted.items()
        if not isinstance(trajectory.get(key), kind)
    ]
    for key in ("rounds", "steps"):
        listed = loose.rows(trajectory.get(key))
        if odd := sum(not isinstance(x, dict) for x in listed):
            wrong.append(f"{key}: {odd} of {len(listed)} can't be read")
    known = loose.tables(trajectory.get("steps"))
    if odd := sum(s.get("kind") not in PLANNED for s in known):
        wrong.append(f"steps: {odd} of a kind that this version doesn't know")
    return wrong
