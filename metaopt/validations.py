"""Every validation of a run, paper by paper, as its log has it; and what luck says to them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from metaopt.chance import Papers, false_accepts, known_papers, number_of
from metaopt.policy import policy_of
from metaopt.population import shrunk_rates
from metaopt.record import RunRecord
from metaopt.statistics import clustered, wilson


@dataclass(frozen=True, slots=True)
class Validation:
    """One candidate on validation papers in one iteration; ``passed`` is in the papers' order."""

    iteration: int
    candidate: int
    papers: tuple[str, ...]
    passed: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class AgainstLuck:
    """Of ``tried`` mutants ``accepted`` passed the gate; had none of them changed anything,
    ``expected`` would have, give or take ``spread`` (a standard deviation)."""

    tried: int
    accepted: int
    expected: float
    spread: float


def validations(record: RunRecord) -> list[Validation]:
    """The baseline's own if there was one, then the parents' and the mutants', by iteration.

    Those that the population has taken in, which candidates' rates are made of: in a run that goes
    on, an iteration may be validated and not be decided, or decided before an earlier one.  Runs of
    finalists aren't among them.
    """
    found = []
    if own := record.stages[0].get("baseline"):
        found.append(Validation(0, 0, tuple(own["papers"]), tuple(own["passed"])))
    for i, stages in sorted(record.stages.items()):
        if "validated" in stages and i <= record.state.advanced:
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


def interval(
    found: Sequence[Validation], candidate: int, until: int | None = None
) -> tuple[float, float]:
    """The 95 % interval of a candidate's rate over its validations (up to an iteration), for other
    papers like these; (0, 1) of none."""
    own = [v for v in found if v.candidate == candidate and (until is None or v.iteration <= until)]
    counts = by_paper(own).values()
    return clustered([x for x, _ in counts], [n for _, n in counts]) if own else (0.0, 1.0)


def papers_of_run(record: RunRecord) -> Papers:
    """The run's validation papers, each as hard as it was.  Raises ``UserError`` before any."""
    counts = by_paper(validations(record)).values()
    return known_papers([passes for passes, _ in counts], [runs for _, runs in counts])


def is_control(record: RunRecord, i: int) -> bool:
    """Was iteration ``i``'s mutant a copy of its parent, made to measure the gate?"""
    return bool(record.stages[i].get("implemented", {}).get("control"))


def against_luck(record: RunRecord) -> tuple[AgainstLuck, AgainstLuck]:
    """The mutants' acceptances, and the live controls', against what luck alone would let in.

    Each parent's true rate is taken for its shrunk one; what the policy held it to be at the time
    is on record.  Raises ``UserError`` before any validation.
    """
    rates = shrunk_rates(record.state.candidates.values())
    taken_in = record.state.advanced
    done = [i for i, s in record.stages.items() if "validated" in s and i <= taken_in]
    chosen = [record.stages[i]["selected"] for i in done]
    parents = [rates[s["parent"]] for s in chosen]
    held = [s.get("rate", true) for s, true in zip(chosen, parents, strict=True)]
    chances = false_accepts(policy_of(record.config.search), papers_of_run(record), parents, held)

    def summed_up(controls: bool) -> AgainstLuck:
        mine = [k for k, i in enumerate(done) if is_control(record, i) == controls]
        told = [record.stages[done[k]]["decided"]["entry"]["decision"] for k in mine]
        passed = sum(decision in ("accepted", "control: accepted") for decision in told)
        return AgainstLuck(len(mine), passed, *number_of([chances[k] for k in mine]))

    return summed_up(False), summed_up(True)


def luck_text(found: AgainstLuck) -> str:
    """On one line, with the 95 % interval of the share that was accepted."""
    low, high = wilson(found.accepted, found.tried)
    return (
        f"{found.accepted} of {found.tried} accepted [{low:.0%} to {high:.0%}];"
        f" {found.expected:.1f} ± {found.spread:.1f} expected of edits that change nothing"
    )
