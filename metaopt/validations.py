"""Every validation of a run, paper by paper, as its log has it; and what luck says to them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from metaopt.chance import Papers, accepted, known_papers, number_of
from metaopt.population import Candidate, shrunk_rates
from metaopt.record import RunRecord
from metaopt.statistics import wilson


@dataclass(frozen=True, slots=True)
class Validation:
    """One candidate on validation papers in one iteration; ``passed`` is in the papers' order."""

    iteration: int
    candidate: int
    papers: tuple[str, ...]
    passed: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class AgainstLuck:
    """Of ``tried`` mutants ``accepted`` were let in; had none of them changed anything, the gate
    would have let in ``expected``, give or take ``spread`` (a standard deviation)."""

    tried: int
    accepted: int
    expected: float
    spread: float


def validations(record: RunRecord) -> list[Validation]:
    """The parents' and the mutants', by iteration."""
    found = []
    for i, stages in sorted(record.stages.items()):
        if "validated" in stages:
            scores, parent = stages["validated"], stages["selected"]["parent"]
            for who, passed in ((parent, scores["parent"]), (i, scores["mutant"])):
                if passed:  # a policy may not run the parent again
                    papers = tuple(scores["papers"][: len(passed)])
                    found.append(Validation(i, who, papers, tuple(passed)))
    return found


def by_paper(found: Sequence[Validation]) -> dict[str, tuple[int, int]]:
    """Passes and runs of each paper, over all these validations."""
    passes, runs = Counter[str](), Counter[str]()
    for v in found:
        for paper, passed in zip(v.papers, v.passed, strict=True):
            passes[paper] += passed
            runs[paper] += 1
    return {paper: (passes[paper], n) for paper, n in runs.items()}


def papers_of_run(record: RunRecord) -> Papers:
    """The run's validation papers, each as hard as it was.  Raises ``UserError`` before any."""
    counts = by_paper(validations(record)).values()
    return known_papers([passes for passes, _ in counts], [runs for _, runs in counts])


def is_control(record: RunRecord, i: int) -> bool:
    """Was iteration ``i``'s mutant a copy of its parent, made to measure the gate?"""
    return bool(record.stages[i].get("implemented", {}).get("control"))


def searched(record: RunRecord) -> list[Candidate]:
    """The validated candidates, rejected ones too, controls not; the baseline first."""
    known = record.state.candidates.values()
    return sorted((c for c in known if c.runs and not is_control(record, c.id)), key=lambda c: c.id)


def against_luck(record: RunRecord, controls: bool) -> AgainstLuck:
    """The controls' acceptances, or all others', against what luck alone would have let in.

    Each parent's true rate is taken for its shrunk one.  Raises ``UserError`` before any
    validation.
    """
    papers, rates = papers_of_run(record), shrunk_rates(record.state.candidates.values())
    chances, let_in = [], 0
    for i, stages in record.stages.items():
        if "validated" in stages and is_control(record, i) == controls:
            scores = stages["validated"]
            let_in += sum(scores["mutant"]) > sum(scores["parent"])
            rate = min(max(rates[stages["selected"]["parent"]], 0.01), 0.99)
            chances.append(accepted(papers, rate))
    return AgainstLuck(len(chances), let_in, *number_of(chances))


def luck_text(found: AgainstLuck) -> str:
    """On one line, with the 95 % interval of the share that was accepted."""
    low, high = wilson(found.accepted, found.tried)
    return (
        f"{found.accepted} of {found.tried} accepted [{low:.0%} to {high:.0%}];"
        f" {found.expected:.1f} ± {found.spread:.1f} expected of edits that change nothing"
    )
