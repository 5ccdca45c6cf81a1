"""Another search policy over what a run recorded, at no cost.

A recorded mutant is a draw from what its parent's diagnosis and edit may come to.  So wherever the
other policy chooses a parent, it is dealt a recorded mutant of that parent, each once, and the
outcomes that were measured.  What the record can't answer is counted and passed over, as in the
evaluation of bandits on logged data (Li et al. 2011, "Unbiased offline evaluation of
contextual-bandit-based news article recommendation algorithms").  The run's own policy gets the
run's own answers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from inner_agent.errors import UserError
from metaopt.config import other_policy
from metaopt.policy import Choice, Policy, generator, policy_of, refuse_whole_screen
from metaopt.population import Candidate, best
from metaopt.record import RunRecord
from metaopt.state import Traces
from metaopt.text import grid, one_line, pooled, render


@dataclass(frozen=True, slots=True)
class Dealt:
    """What an iteration made of its parent: outcomes by paper, of the mutant (``None``: it came to
    none) and of the parent beside it (empty where it wasn't run)."""

    iteration: int
    mutant: Mapping[str, bool] | None
    beside: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Step:
    """An iteration of the other policy.

    ``question`` is what the record can't answer, if so.  ``traced`` is the iteration whose training
    evaluation serves it, or ``None``.  ``runs``: candidate, passes, papers.
    """

    iteration: int
    parent: int
    decision: str = ""
    mutant: int | None = None
    question: str = ""
    traced: int | None = None
    runs: tuple[tuple[int, int, int], ...] = ()


@dataclass(slots=True)
class Replayed:
    """The other policy's run.  ``rollouts`` are on training and validation papers."""

    steps: list[Step]
    candidates: list[Candidate]
    rollouts: int

    @property
    def winner(self) -> Candidate:
        """The highest shrunk rate; finalists aren't run again here."""
        return best(self.candidates)


@dataclass(slots=True)
class _Desk:
    """Where the other policy asks.

    ``papers`` are the validation papers in their order; ``stock`` has the mutants left of each
    parent, oldest first; ``controls`` the live controls by iteration, with their parent.
    """

    policy: Policy
    seed: int
    papers: list[str]
    stock: dict[int, list[Dealt]] = field(default_factory=dict)
    controls: dict[int, tuple[int, Dealt]] = field(default_factory=dict)
    traces: Traces = field(default_factory=Traces)

    def deal(self, parent: int, i: int) -> Dealt | None:
        """A mutant of ``parent`` that wasn't dealt yet: iteration ``i``'s own if it is one."""
        left = self.stock.get(parent, [])
        own = next((d for d in left if d.iteration == i), left[0] if left else None)
        if own:
            left.remove(own)
        return own

    def ask(self, choice: Choice, i: int) -> Step:
        """What comes of a choice, as far as the record tells."""
        parent = choice.parent.id
        if i in self.controls:
            return self._control(parent, i)
        dealt = self.deal(parent, i)
        if dealt is None:
            return Step(i, parent, question=f"another mutant of candidate {parent}")
        traced = self.traces.source(parent, i, self.policy.spending.trace_uses)
        if dealt.mutant is None:
            return Step(i, parent, "failed", traced=traced)
        return self._validate(choice, i, dealt, dealt.mutant, traced)

    def _control(self, parent: int, i: int) -> Step:
        recorded, dealt = self.controls[i]
        if not self.policy.spending.rerun_parent:
            return Step(i, parent, "control")
        if parent != recorded or not dealt.beside:
            return Step(i, parent, question=f"candidate {parent} beside a live control")
        run = (parent, sum(dealt.beside.values()), len(dealt.beside))
        return Step(i, parent, "control", runs=(run,))

    def _validate(
        self, choice: Choice, i: int, dealt: Dealt, mutant: Mapping[str, bool], traced: int
    ) -> Step:
        policy, parent, k = self.policy, choice.parent.id, dealt.iteration
        if policy.spending.rerun_parent and not dealt.beside:
            return Step(i, parent, question=f"candidate {parent} run again beside candidate {k}")
        order, passed, stopped = list(self.papers), list[bool](), ""
        if policy.spending.block:
            generator(self.seed, i, "order").shuffle(order)
        block = policy.spending.block or len(order)
        while len(passed) < len(order) and not stopped:
            now = order[len(passed) : len(passed) + block]
            if any(p not in mutant for p in now):
                return Step(i, parent, question=f"candidate {k} on papers that it wasn't run on")
            passed += [mutant[p] for p in now]
            stopped = policy.hopeless(choice.rate, passed, len(order))
        beside = [dealt.beside[p] for p in order] if policy.spending.rerun_parent else []
        admitted = not stopped and policy.admit(choice.rate, beside, passed)
        runs = [(parent, sum(beside), len(beside))] if beside else []
        runs.append((k, sum(passed), len(passed)))
        decision = "accepted" if admitted else "rejected"
        return Step(i, parent, decision, k, traced=traced, runs=tuple(runs))


def asked_policy(record: RunRecord, name: str, overrides: Iterable[str]) -> Policy:
    """The policy of this name, with ``overrides`` of its own keys.

    Raises ``UserError`` where there is none, or the record can answer nothing that it asks.
    """
    config = other_policy(record.config, name, overrides)
    policy, own = policy_of(config.search), record.config.search
    if policy.spending.rerun_parent and not policy_of(own).spending.rerun_parent:
        raise UserError(
            f"{record.folder}: policy {own.policy} recorded no re-runs of parents, which policy"
            f" {name} needs; give --policy {own.policy}, or a run by another policy"
        )
    if papers := _validation_papers(record):
        refuse_whole_screen(config.search, len(papers))
    return policy


def replay_policy(record: RunRecord, policy: Policy) -> Replayed:
    """Let ``policy`` search where a run has been."""
    config, desk = record.config, _desk(record, policy)
    found = Replayed([], [Candidate(0, None, "", "")], 0)
    if not policy.spending.rerun_parent:
        first = _baseline(record)
        found.candidates[0].add_run(0, sum(first), len(first))
        found.rollouts += len(first)
    waiting: list[Step] = []
    for i in (d.iteration for d in record.decisions):
        while waiting and waiting[0].iteration <= i - config.search.parallel:
            _take(waiting.pop(0), found.candidates, desk.traces)
        choice = policy.choose(found.candidates, generator(config.seed, i, "parent"))
        step = desk.ask(choice, i)
        found.steps.append(step)
        waiting.append(step)
        if step.decision != "control":
            found.rollouts += sum(papers for *_, papers in step.runs)
        if step.traced == i:
            found.rollouts += _training_papers(record)
    for step in waiting:
        _take(step, found.candidates, desk.traces)
    return found


def told(record: RunRecord, policy_name: str, replayed: Replayed) -> str:
    """The other policy's run as text."""
    steps, asked = replayed.steps, [s for s in replayed.steps if s.question]
    own = record.config.search.policy
    accepted = sum(s.decision == "accepted" for s in steps)
    was = sum(d.decision == "accepted" for d in record.decisions)
    top, before = replayed.winner, best(record.state.candidates.values())
    table = grid(">iteration", ">parent", ">mutant", "decision")
    for s in steps:
        outcome = f"not on record: {s.question}" if s.question else s.decision
        if s.mutant is not None:
            _, passes, papers = s.runs[-1]
            outcome += f", passed {passes} of {papers}"
        table.add_row(str(s.iteration), str(s.parent), str(s.mutant or ""), one_line(outcome, 200))
    simulated = "   SIMULATED" if record.config.simulated else ""
    return "\n".join([
        f"policy {policy_name} over what policy {own} recorded in {record.folder}{simulated}",
        "", render(table), "",
        f"answered    {len(steps) - len(asked)} of {len(steps)} iterations; the others are passed"
        " over",
        f"rollouts    {replayed.rollouts:,} on training and validation papers, live controls left"
        f" out (the run: {_rollouts(record):,})",
        f"accepted    {accepted} (the run: {was})",
        f"winner      candidate {top.id}: {pooled(top)}",
        f"the run's   candidate {before.id}: {pooled(before)}",
        "finalists aren't run again here: both winners have the highest shrunk rate, of the runs"
        " that the policy saw",
    ])  # fmt: skip


def _desk(record: RunRecord, policy: Policy) -> _Desk:
    desk = _Desk(policy, record.config.seed, _validation_papers(record))
    for i in (d.iteration for d in record.decisions):
        stages = record.stages[i]
        parent, dealt = stages["selected"]["parent"], _dealt(i, stages.get("validated"))
        if stages.get("implemented", {}).get("control"):
            desk.controls[i] = (parent, dealt)
        else:
            desk.stock.setdefault(parent, []).append(dealt)
    return desk


def _validation_papers(record: RunRecord) -> list[str]:
    """All of them in their order; none where nothing is validated yet."""
    return next(
        (s[kind]["papers"] for s in record.stages.values() for kind in ("baseline", "validated")
         if kind in s and (kind == "baseline" or s[kind]["parent"])), []
    )  # fmt: skip


def _training_papers(record: RunRecord) -> int:
    """The most training papers that an iteration of the run was given."""
    return max(len(s["traced"]["papers"]) for s in record.stages.values() if "traced" in s)


def _dealt(i: int, scores: dict[str, Any] | None) -> Dealt:
    if scores is None:
        return Dealt(i, None, {})
    mutant = dict(zip(scores["papers"], scores["mutant"], strict=True))
    return Dealt(i, mutant, dict(zip(scores["papers"], scores["parent"], strict=False)))


def _baseline(record: RunRecord) -> list[bool]:
    """The baseline's first validation."""
    if own := record.stages[0].get("baseline"):
        return list(own["passed"])
    return next(
        (list(s["validated"]["parent"]) for _, s in sorted(record.stages.items())
         if "validated" in s and s["selected"]["parent"] == 0), []
    )  # fmt: skip


def _take(step: Step, known: list[Candidate], traces: Traces) -> None:
    """Let what an iteration found be seen."""
    if step.traced is not None:
        traces.take(step.parent, step.traced)
    if step.mutant is not None:
        accepted = step.decision == "accepted"
        known.append(Candidate(step.mutant, step.parent, "", "", accepted=accepted))
    by_id = {c.id: c for c in known}
    for candidate, passes, papers in step.runs:
        by_id[candidate].add_run(step.iteration, passes, papers)


def _rollouts(record: RunRecord) -> int:
    """What the run spent on the same things."""
    spent = len(_baseline(record)) if "baseline" in record.stages[0] else 0
    for i, stages in record.stages.items():
        if stages.get("implemented", {}).get("control"):
            continue
        if "traced" in stages and stages["traced"].get("source", i) == i:
            spent += len(stages["traced"]["papers"])
        if scores := stages.get("validated"):
            spent += len(scores["mutant"]) + len(scores["parent"])
    return spent
