"""Meta-optimization: the seven steps of an iteration, and the window in which they run.

Source: Autodata (Kulikov et al. 2026), "Meta-Optimization of the Data Scientist".
"""

import asyncio
import hashlib
import random
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from inner_agent.calls import Usage
from inner_agent.errors import UserError
from inner_agent.honeypots import STANDS, missed, try_pots
from inner_agent.papers import Paper
from metaopt.agent import AgentFailed
from metaopt.analyzer import Diagnosis, analyze
from metaopt.gate import gate, rules_of
from metaopt.history import HistoryEntry
from metaopt.implementer import implement
from metaopt.integrity import alarm, stand
from metaopt.lab import Lab
from metaopt.policy import Paper as PaperPolicy
from metaopt.policy import Policy
from metaopt.population import Candidate, best
from metaopt.predictions import check_predictions
from metaopt.tree import Tree


async def optimize(lab: Lab) -> None:
    """Run the iterations that are owed, ``search.parallel`` at a time.

    Iteration *i* starts when *i − parallel* is decided, and sees the decisions up to that one.
    Raises ``ProviderError`` or ``BudgetExhausted`` (in an ``ExceptionGroup``) when the run has to
    stop; starting it again goes on where it stopped.
    """
    state, parallel = lab.state, lab.config.search.parallel
    last, first = lab.config.search.iterations, lab.state.first_undecided()
    policy = PaperPolicy(lab.config.search.temperature)
    decided = {i: asyncio.Event() for i in range(first, last + 1)}
    lab.monitor.first = first - 1
    _prove_auditor(lab)
    if first == 1 and (problems := await lab.smoke(lab.repo.read(lab.repo.baseline))):
        raise UserError(f"the baseline harness doesn't run: {problems[0]}")
    try:
        async with asyncio.TaskGroup() as group:
            for i in range(first, last + 1):
                if i - parallel in decided:
                    await decided[i - parallel].wait()
                state.advance(max(0, i - parallel))
                if state.is_decided(i):
                    decided[i].set()
                    continue
                parent = policy.choose(state.population, generator(lab, i, "parent"))
                history = state.history[: max(0, i - parallel)]
                group.create_task(_run(lab, i, policy, parent, history, decided[i]))
    finally:
        state.advance_all()
        lab.repo.mark_best(best(state.population).commit)


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


async def _run(
    lab: Lab, i: int, policy: Policy, parent: Candidate, history: Sequence[HistoryEntry],
    decided: asyncio.Event,
) -> None:  # fmt: skip
    await iterate(lab, i, policy, parent, history)
    decided.set()


async def iterate(
    lab: Lab, i: int, policy: Policy, parent: Candidate, history: Sequence[HistoryEntry]
) -> None:
    """One iteration: select, evaluate, analyze, implement, re-evaluate, accept, summarize."""
    await select(lab, i, parent)
    papers = minibatch(lab, i)
    await trace(lab, i, parent, papers)
    diagnosis = None
    try:
        diagnosis = await diagnose(lab, i, parent, papers, history)
        mutant = await edit(lab, i, parent, diagnosis, history)
    except AgentFailed as e:
        await give_up(lab, i, parent, str(e), None, diagnosis)
        return
    if (twin := lab.state.by_tree.get(mutant.tree, i)) <= i - lab.config.search.parallel:
        await give_up(lab, i, parent, f"same harness as candidate {twin}", mutant, diagnosis)
        return
    scores = await validate(lab, i, parent, mutant)
    await check_predictions(lab, i, mutant, papers)
    accepted = policy.admit(sum(scores["parent"]), sum(scores["mutant"]), len(scores["papers"]))
    await decide(lab, i, parent, mutant, diagnosis, scores, accepted)


async def select(lab: Lab, i: int, parent: Candidate) -> None:
    """Step 1: record the parent that the policy chose."""

    async def work() -> dict[str, Any]:
        return {"parent": parent.id}

    await lab.once(i, "selected", work)
    lab.monitor.parent(i, parent.id)


async def trace(lab: Lab, i: int, parent: Candidate, papers: Sequence[Paper]) -> None:
    """Step 2: run the parent on the training minibatch, keeping its trajectories."""

    async def work() -> dict[str, Any]:
        lab.monitor.stage(i, "training papers", len(papers))
        results = await lab.evaluate(i, parent, "train", papers)
        accepted = [results[p.id].accepted for p in papers]
        return {"papers": [p.id for p in papers], "accepted": accepted}

    await lab.once(i, "traced", work)


async def diagnose(
    lab: Lab, i: int, parent: Candidate, papers: Sequence[Paper], history: Sequence[HistoryEntry]
) -> Diagnosis:
    """Step 3: an agent reads the trajectories and writes a root-cause analysis."""

    async def work() -> dict[str, Any]:
        lab.monitor.stage(i, "analyzing")
        traces = lab.rollouts.traces(i, parent.id, "train", papers)
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


async def validate(lab: Lab, i: int, parent: Candidate, mutant: Candidate) -> dict[str, Any]:
    """Step 5: run parent and mutant on the validation papers."""

    async def work() -> dict[str, Any]:
        await try_honeypots(lab)
        papers, pots = lab.split["val"], lab.honeypots
        lab.monitor.stage(i, "validation papers", 2 * len(papers) + len(pots))
        async with asyncio.TaskGroup() as group:
            old = group.create_task(lab.evaluate(i, parent, "val", papers))
            new = group.create_task(lab.evaluate(i, mutant, "val", papers))
            sure = group.create_task(lab.evaluate(i, mutant, "honeypot", pots))
        repeat_max = lab.config.audit.repeat_max
        before, after = (stand(t.result(), repeat_max) for t in (old, new))
        return {
            "papers": [p.id for p in papers],
            "parent": [p.id in before.passed for p in papers],
            "mutant": [p.id in after.passed for p in papers],
            "audit": {"parent": before.for_record(), "mutant": after.for_record()},
            "alarm": alarm(before, after, sure.result().values()),
        }

    return await lab.once(i, "validated", work)


async def decide(
    lab: Lab, i: int, parent: Candidate, mutant: Candidate, diagnosis: Diagnosis,
    scores: dict[str, Any], accepted: bool,
) -> None:  # fmt: skip
    """Steps 6 and 7: accept or reject, and write what happened into the history."""
    papers, old, new = scores["papers"], scores["parent"], scores["mutant"]
    entry = _entry(i, parent, "accepted" if accepted else "rejected", mutant, diagnosis)
    entry = entry.model_copy(
        update={
            "parent_rate": sum(old) / len(papers),
            "mutant_rate": sum(new) / len(papers),
            "fixed": tuple(p for p, a, b in zip(papers, old, new, strict=True) if b and not a),
            "broken": tuple(p for p, a, b in zip(papers, old, new, strict=True) if a and not b),
            "audit": _audit_line(scores["audit"]["mutant"]),
            "alarm": scores["alarm"],
        }
    )
    await _close(lab, i, entry, accepted)


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


def generator(lab: Lab, i: int, what: str) -> np.random.Generator:
    """Randomness that is a function of the seed, the iteration and its purpose alone."""
    digest = hashlib.sha256(f"{lab.config.seed}/{i}/{what}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


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
    rates = ""
    if entry.parent_rate is not None and entry.mutant_rate is not None:
        rates = f" ({entry.parent_rate:.0%} -> {entry.mutant_rate:.0%})"
    summary = f": {entry.summary}" if entry.summary else ""
    lab.monitor.decided(i, f"iteration {i}: {entry.decision}{rates}{summary}")
    if entry.alarm:
        lab.monitor.say(f"iteration {i}: ALARM: {entry.alarm}")
