"""Meta-optimization: the seven steps of an iteration, and the window in which they run.

Source: Autodata (Kulikov et al. 2026), "Meta-Optimization of the Data Scientist".
"""

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from inner_agent.calls import Usage
from inner_agent.errors import UserError
from inner_agent.honeypots import STANDS, missed, try_pots
from inner_agent.papers import Paper
from inner_agent.run_paper import PaperResult
from metaopt.agent import AgentFailed
from metaopt.analyzer import Diagnosis, analyze
from metaopt.gate import gate, rules_of
from metaopt.history import HistoryEntry, outcome_line
from metaopt.implementer import implement
from metaopt.integrity import alarm, stand
from metaopt.lab import Lab
from metaopt.policy import Choice, Policy, generator, policy_of
from metaopt.population import Candidate, choose_finalist, ranked
from metaopt.predictions import check_predictions
from metaopt.state import winner
from metaopt.trace import Trace
from metaopt.tree import Tree

CONTROL = "control"  # what the decision on a live control begins with


@dataclass(frozen=True, slots=True)
class Start:
    """What an iteration starts from.

    ``source`` is the iteration whose training evaluation of the parent it takes up: its own, or an
    earlier one's.  ``history`` is what its agents may read.
    """

    choice: Choice
    source: int
    history: Sequence[HistoryEntry]


async def optimize(lab: Lab) -> None:
    """Run the iterations that are owed, ``search.parallel`` at a time, then the finalists.

    Iteration *i* starts when *i − parallel* is decided, and sees the decisions up to that one.
    Raises ``ProviderError`` or ``BudgetExhausted`` (in an ``ExceptionGroup``) when the run has to
    stop; starting it again goes on where it stopped.
    """
    state, parallel = lab.state, lab.config.search.parallel
    last, first = lab.config.search.iterations, lab.state.first_undecided()
    policy = policy_of(lab.config.search)
    decided = {i: asyncio.Event() for i in range(first, last + 1)}
    lab.monitor.first = first - 1
    _prove_auditor(lab)
    if first == 1 and (problems := await lab.smoke(lab.repo.read(lab.repo.baseline))):
        raise UserError(f"the baseline harness doesn't run: {problems[0]}")
    try:
        if not policy.spending.rerun_parent:
            await validate_baseline(lab)
        async with asyncio.TaskGroup() as group:
            for i in range(first, last + 1):
                if i - parallel in decided:
                    await decided[i - parallel].wait()
                state.advance(max(0, i - parallel))
                if state.is_decided(i):
                    decided[i].set()
                    continue
                group.create_task(_run(lab, i, policy, start(lab, policy, i), decided[i]))
        state.advance_all()
        if state.advanced == last:
            await rerun_finalists(lab, last)
    finally:
        state.advance_all()
        lab.repo.mark_best(winner(state).commit)


def start(lab: Lab, policy: Policy, i: int) -> Start:
    """Step 1, decided: from what iteration ``i`` may see."""
    choice = policy.choose(
        list(lab.state.candidates.values()), generator(lab.config.seed, i, "parent")
    )
    source = lab.state.traces.source(choice.parent.id, i, policy.spending.trace_uses)
    seen = lab.state.history[: max(0, i - lab.config.search.parallel)]
    return Start(choice, source, [e for e in seen if not e.decision.startswith(CONTROL)])


async def try_honeypots(lab: Lab) -> None:
    """Before the first validation: see what judge and auditor are worth, and keep it."""

    async def work() -> dict[str, Any]:
        outcomes = await try_pots(lab.gateway.ask, lab.config, Usage())
        for line in missed(outcomes):
            lab.monitor.say(f"honeypot: {line}")
        return {"outcomes": [asdict(o) for o in outcomes]}

    async with lab.trying:  # of several iterations that come here, one tries them
        if lab.config.audit.honeypots:
            await lab.once(0, "honeypots", work)
            _prove_auditor(lab)


def _prove_auditor(lab: Lab) -> None:
    """Who let a honeypot stand has answered: from there on, in every start of the run, an audit
    without a verdict is the item's doing and no sign of a wrong setting."""
    tried = lab.state.done(0, "honeypots") or {"outcomes": []}
    if any(o["said"] == STANDS for o in tried["outcomes"]):
        lab.rollouts.rig.proven.add("auditor")


async def _run(lab: Lab, i: int, policy: Policy, begin: Start, decided: asyncio.Event) -> None:
    every = lab.config.search.null_every
    if every and i % every == 0:
        await control(lab, i, policy, begin.choice)
    else:
        await iterate(lab, i, policy, begin)
    decided.set()


async def iterate(lab: Lab, i: int, policy: Policy, begin: Start) -> None:
    """One iteration: select, evaluate, analyze, implement, re-evaluate, accept, summarize."""
    choice, parent, history = begin.choice, begin.choice.parent, begin.history
    await select(lab, i, choice)
    papers = minibatch(lab, begin.source)
    await trace(lab, i, parent, papers, begin.source)
    diagnosis = None
    try:
        traces = lab.rollouts.traces(begin.source, parent.id, "train", papers)
        diagnosis = await diagnose(lab, i, traces, history)
        mutant = await edit(lab, i, parent, diagnosis, history)
    except AgentFailed as e:
        await give_up(lab, i, parent, str(e), None, diagnosis)
        return
    if (twin := lab.state.by_tree.get(mutant.tree, i)) <= i - lab.config.search.parallel:
        await give_up(lab, i, parent, f"same harness as candidate {twin}", mutant, diagnosis)
        return
    scores = await validate(lab, i, policy, choice, mutant)
    await check_predictions(lab, i, mutant, papers)
    decision = "accepted" if admitted(policy, choice, scores) else "rejected"
    await decide(lab, i, choice, mutant, diagnosis, scores, decision)


async def control(lab: Lab, i: int, policy: Policy, choice: Choice) -> None:
    """A live control: the parent against itself.  What the gate says is noise; nobody joins."""
    parent = choice.parent
    await select(lab, i, choice)

    async def work() -> dict[str, Any]:
        lab.repo.keep(i, parent.commit)
        return {"commit": parent.commit, "tree": parent.tree, "control": True,
                "summary": "Live control: its parent, unchanged"}  # fmt: skip

    done = await lab.once(i, "implemented", work)
    mutant = Candidate(i, parent.id, done["commit"], done["tree"], done["summary"])
    scores = await validate(lab, i, policy, choice, mutant)
    decision = "accepted" if admitted(policy, choice, scores) else "rejected"
    await decide(lab, i, choice, mutant, None, scores, f"control: {decision}")


def admitted(policy: Policy, choice: Choice, scores: dict[str, Any]) -> bool:
    """Step 6, decided: from what validation recorded."""
    if scores["stopped"]:
        return False
    return policy.admit(choice.rate, scores["parent"], scores["mutant"])


async def validate_baseline(lab: Lab) -> None:
    """Where parents aren't validated again, the baseline needs a validation of its own."""

    async def work() -> dict[str, Any]:
        await try_honeypots(lab)
        papers = lab.split["val"]
        lab.monitor.stage(0, "baseline on validation papers", len(papers))
        results = await lab.evaluate(0, lab.state.candidates[0], "val", papers)
        found = stand(results, lab.config.audit.repeat_max)
        lab.monitor.active.pop(0, None)
        return {
            "papers": [p.id for p in papers],
            "passed": [p.id in found.passed for p in papers],
            "audit": found.for_record(),
        }

    await lab.once(0, "baseline", work)


async def select(lab: Lab, i: int, choice: Choice) -> None:
    """Step 1: record the parent that the policy chose."""

    async def work() -> dict[str, Any]:
        return {"parent": choice.parent.id, "rate": choice.rate}

    await lab.once(i, "selected", work)
    lab.monitor.parent(i, choice.parent.id)


async def trace(lab: Lab, i: int, parent: Candidate, papers: Sequence[Paper], source: int) -> None:
    """Step 2: run the parent on the training minibatch, keeping its trajectories; or take up what
    iteration ``source`` has of it."""

    async def work() -> dict[str, Any]:
        lab.monitor.stage(i, "training papers", len(papers))
        results = await lab.evaluate(source, parent, "train", papers, shown=i)
        accepted = [results[p.id].accepted for p in papers]
        return {"papers": [p.id for p in papers], "accepted": accepted, "source": source}

    await lab.once(i, "traced", work)
    await lab.evaluate(source, parent, "train", papers, shown=i)  # nothing, unless files are gone


async def diagnose(
    lab: Lab, i: int, traces: Sequence[Trace], history: Sequence[HistoryEntry]
) -> Diagnosis:
    """Step 3: an agent reads the trajectories and writes a root-cause analysis."""

    async def work() -> dict[str, Any]:
        lab.monitor.stage(i, "analyzing")
        settings = lab.config.search.analyzer
        found = await analyze(lab.gateway.ask, traces, history, f"{i}", settings)
        return found.model_dump(mode="json")

    return Diagnosis.model_validate(await lab.once(i, "diagnosed", work), strict=False)


async def edit(
    lab: Lab, i: int, parent: Candidate, diagnosis: Diagnosis, history: Sequence[HistoryEntry]
) -> Candidate:
    """Step 4: an agent edits the code; the gate must let the result through."""
    harness, before = lab.config.harness, lab.repo.read(parent.commit)
    rules = rules_of(lab.config)

    async def check(tree: Tree) -> list[str]:
        return await gate(tree, before, rules, lab.smoke)

    async def work() -> dict[str, Any]:
        lab.monitor.stage(i, "editing")
        made = await implement(
            lab.gateway.ask, diagnosis, history, before, harness.editable, harness.fixed, check,
            f"{i}", lab.config.search.implementer,
        )  # fmt: skip
        message = f"Candidate {i}, from {parent.id}\n\n{made.summary}\n"
        commit = lab.repo.commit(parent.commit, made.tree, message)
        lab.repo.keep(i, commit)
        tree = lab.repo.tree_id(commit)
        return {"commit": commit, "tree": tree, "summary": made.summary,
                "steps": made.steps, "repairs": made.repairs}  # fmt: skip

    done = await lab.once(i, "implemented", work)
    return Candidate(i, parent.id, done["commit"], done["tree"], done["summary"])


@dataclass(frozen=True, slots=True)
class Tried:
    """A mutant's validation: results by paper in the order in which it was run, also on papers of
    which nothing can be asked; and why it was stopped early, if it was."""

    results: dict[str, PaperResult]
    pots: Iterable[PaperResult] = ()
    stopped: str = ""


async def validate(
    lab: Lab, i: int, policy: Policy, choice: Choice, mutant: Candidate
) -> dict[str, Any]:
    """Step 5: run the mutant on the validation papers, and its parent where the policy wants it."""
    rerun, repeat_max = policy.spending.rerun_parent, lab.config.audit.repeat_max

    async def work() -> dict[str, Any]:
        await try_honeypots(lab)
        papers = lab.split["val"]
        lab.monitor.stage(i, "validation papers", (1 + rerun) * len(papers) + len(lab.honeypots))
        async with asyncio.TaskGroup() as group:
            old = group.create_task(_parent(lab, i, choice.parent, rerun))
            new = group.create_task(_mutant(lab, i, policy, choice, mutant))
        tried, known = new.result(), old.result()
        ids = list(tried.results)
        before = stand({p: known[p] for p in ids}, repeat_max)
        after = stand(tried.results, repeat_max)
        return {
            "papers": ids,
            "parent": [p in before.passed for p in ids] if rerun else [],
            "before": [p in before.passed for p in ids],
            "mutant": [p in after.passed for p in ids],
            "stopped": tried.stopped,
            "audit": {"parent": before.for_record(), "mutant": after.for_record()},
            "alarm": alarm(before, after, tried.pots),
        }

    return await lab.once(i, "validated", work)


async def _parent(lab: Lab, i: int, parent: Candidate, rerun: bool) -> dict[str, PaperResult]:
    """The parent on all validation papers: run again, or as it was when it joined."""
    if rerun:
        return await lab.evaluate(i, parent, "val", lab.split["val"])
    return lab.store.results(parent.id, "val", parent.id)


async def _mutant(lab: Lab, i: int, policy: Policy, choice: Choice, mutant: Candidate) -> Tried:
    """The mutant on the validation papers, block by block, until it is through or hopeless."""
    block, papers = policy.spending.block, list(lab.split["val"])
    if block:
        generator(lab.config.seed, i, "order").shuffle(papers)
    block = block or len(papers)
    draws = "/control" if mutant.tree == choice.parent.tree else ""
    results: dict[str, PaperResult] = {}
    for start_at in range(0, len(papers), block):
        now = papers[start_at : start_at + block]
        last = start_at + block >= len(papers)
        async with asyncio.TaskGroup() as group:
            new = group.create_task(lab.evaluate(i, mutant, "val", now, draws))
            pots = lab.honeypots if last else []
            sure = group.create_task(lab.evaluate(i, mutant, "honeypot", pots, draws))
        results |= new.result()
        passed = stand(results, lab.config.audit.repeat_max).passed
        if why := policy.hopeless(choice.rate, [p in passed for p in results], len(papers)):
            return Tried(results, stopped=why)
    return Tried(results, sure.result().values())


async def decide(
    lab: Lab, i: int, choice: Choice, mutant: Candidate, diagnosis: Diagnosis | None,
    scores: dict[str, Any], decision: str,
) -> None:  # fmt: skip
    """Steps 6 and 7: write what was decided into the history."""
    papers, old, new = scores["papers"], scores["before"], scores["mutant"]
    entry = _entry(i, choice.parent, decision, mutant, diagnosis)
    entry = entry.model_copy(
        update={
            "parent_rate": sum(old) / len(papers) if scores["parent"] else choice.rate,
            "mutant_rate": sum(new) / len(papers),
            "fixed": tuple(p for p, a, b in zip(papers, old, new, strict=True) if b and not a),
            "broken": tuple(p for p, a, b in zip(papers, old, new, strict=True) if a and not b),
            "audit": _audit_line(scores["audit"]["mutant"]),
            "alarm": scores["alarm"],
            "stopped": scores["stopped"],
        }
    )
    await _close(lab, i, entry, decision == "accepted")


async def rerun_finalists(lab: Lab, last: int) -> None:
    """Run the best candidates once more, choose the winner, and run that one for the report.

    The reported runs come after the choice, so luck in being chosen isn't in them.  The search
    never sees any of this: a run that is made longer goes on as if it had been so from the start.
    """
    count, repeat_max = lab.config.search.finalists, lab.config.audit.repeat_max
    done = lab.state.finalists  # an earlier start may have: iteration ``last`` is taken in by now
    if not count or (done is not None and done.iteration == last):
        return
    known = list(lab.state.candidates.values())
    finalists = ranked(known)[:count]

    async def once_more(candidate: Candidate, part: str) -> list[bool]:
        results = await lab.evaluate(last, candidate, part, lab.split["val"])
        passed = stand(results, repeat_max).passed
        return [p in passed for p in results]

    async def work() -> dict[str, Any]:
        papers, reports = lab.split["val"], lab.config.search.report_runs
        lab.monitor.stage(last, "finalists", (len(finalists) + reports) * len(papers))
        async with asyncio.TaskGroup() as group:
            tasks = {c.id: group.create_task(once_more(c, "final")) for c in finalists}
        runs = {c: task.result() for c, task in tasks.items()}
        chosen = choose_finalist(known, runs)
        async with asyncio.TaskGroup() as group:
            again = [group.create_task(once_more(chosen, f"report{r}")) for r in range(reports)]
        report = [task.result() for task in again]
        passes, rollouts = sum(map(sum, report)), len(papers) * reports
        told = f"{passes} of {rollouts} rollouts passed when run again"
        lab.monitor.decided(last, f"finalists: candidate {chosen.id} chosen, {told}")
        return {
            "candidates": [c.id for c in finalists],
            "papers": [p.id for p in papers],
            "runs": {str(c): [run] for c, run in runs.items()},
            "chosen": chosen.id,
            "report": report,
        }

    await lab.once(last, "finalists", work)


def _audit_line(found: dict[str, Any]) -> str:
    """What the audit of a mutant's accepted items came to, for those who diagnose next."""
    why = ", ".join(f"{name} {n}" for name, n in found["findings"].items())
    return f"{found['audited']} of {found['accepted']} accepted items stood" + (
        f" ({why})" if why else ""
    )


async def give_up(
    lab: Lab, i: int, parent: Candidate, reason: str, mutant: Candidate | None = None,
    diagnosis: Diagnosis | None = None,
) -> None:  # fmt: skip
    """Step 7 for an iteration that came to no mutant worth evaluating."""
    await _close(lab, i, _entry(i, parent, f"failed: {reason}", mutant, diagnosis), False)


def minibatch(lab: Lab, i: int) -> list[Paper]:
    """The training papers of iteration ``i``: drawn without replacement, by seed and ``i``."""
    papers = lab.split["train"]
    rng = random.Random(f"{lab.config.seed}/minibatch/{i}")
    return rng.sample(papers, min(lab.config.search.minibatch, len(papers)))


def _entry(
    i: int, parent: Candidate, decision: str, mutant: Candidate | None, diagnosis: Diagnosis | None
) -> HistoryEntry:
    return HistoryEntry(
        iteration=i,
        parent=parent.id,
        candidate=i if mutant else None,
        decision=decision,
        summary=mutant.summary if mutant else "",
        failure_modes=tuple(m.name for m in diagnosis.failure_modes) if diagnosis else (),
        proposed_change=diagnosis.proposed_change if diagnosis else "",
        predicted_fixes=diagnosis.predicted_fixes if diagnosis else (),
        papers_at_risk=diagnosis.papers_at_risk if diagnosis else (),
    )


async def _close(lab: Lab, i: int, entry: HistoryEntry, accepted: bool) -> None:
    async def work() -> dict[str, Any]:
        return {"accepted": accepted, "entry": entry.model_dump(mode="json")}

    await lab.once(i, "decided", work)
    lab.monitor.decided(i, outcome_line(entry))
    if entry.alarm:
        lab.monitor.say(f"iteration {i}: ALARM: {entry.alarm}")
