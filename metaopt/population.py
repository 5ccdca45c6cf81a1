"""Candidates, and how good they are by every validation run that any of them ever had.

A single validation score is noise for the most part: on 25 papers at a pass rate of 0.13 its
standard deviation is 7 points, where an edit moves 2.  But an edit changes little, so relatives
speak for each other.  ``posterior`` pools all runs over the family tree.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import expit

STEP = 0.25  # typical change of the logit of the pass rate from parent to child
TAIL = 4.0  # degrees of freedom: most edits are idle, a few are leaps
BREAKS = 0.07  # share of edits after which nothing passes any more, whatever the parent was
ROOT = (-1.5, 2.0)  # mean and standard deviation of the baseline's logit before any run
SWEEPS, ENOUGH = 100, 5e-3  # Newton steps, and the change of a logit that ends them
FAR = 3.0  # logits: at most so far does one step look beyond where it stands
FLAT = 0.02  # the least variance of an outcome that a Newton step reckons with


@dataclass(slots=True)
class Candidate:
    """A harness: a commit in harness.git, named by the iteration that made it (0: baseline).

    ``runs`` has a row for each validation run: (iteration, passes, papers).
    """

    id: int
    parent: int | None
    commit: str
    tree: str
    summary: str = ""
    accepted: bool = True
    runs: list[tuple[int, int, int]] = field(default_factory=list)
    passes: int = 0
    papers: int = 0

    def add_run(self, iteration: int, passes: int, papers: int) -> None:
        """Count one validation run."""
        self.runs.append((iteration, passes, papers))
        self.passes += passes
        self.papers += papers

    @property
    def rate(self) -> float:
        """Pass rate over all validation runs; 0 before the first."""
        return self.passes / self.papers if self.papers else 0.0


@dataclass(frozen=True, slots=True)
class Posterior:
    """What is believed of the ``members`` (accepted candidates, by id) after all runs.

    ``logits``: the mean of each one's logit of the pass rate.  ``factor``: the lower Cholesky
    factor of the joint precision.  Both in the members' order.
    """

    members: tuple[Candidate, ...]
    logits: NDArray[np.float64]
    factor: NDArray[np.float64]

    @property
    def rates(self) -> dict[int, float]:
        """Each member's pass rate, by id."""
        return {c.id: float(r) for c, r in zip(self.members, expit(self.logits), strict=True)}

    def sample(self, rng: np.random.Generator, temper: float = 1.0) -> NDArray[np.float64]:
        """One joint draw of the members' logits, its deviation from the mean times ``temper``."""
        noise = rng.standard_normal(len(self.members))
        away: NDArray[np.float64] = solve_triangular(self.factor, noise, trans=1, lower=True)
        return self.logits + temper * away


def posterior(candidates: Iterable[Candidate]) -> Posterior:
    """Pool all runs over the family tree; parents have to be among the candidates.

    The model: an edit breaks everything (``BREAKS``), or the child's logit is its parent's plus a
    Student-t step (scale ``STEP``, ``TAIL`` degrees of freedom); passes are binomial.  A Gaussian
    is fitted at the mode by Newton's method, the steps' tails and the broken ones by reweighting.
    Rejected candidates have no children; what they say is folded into their parents, so the work is
    a dense solve in the number of accepted ones.
    """
    ordered = sorted(candidates, key=lambda c: (not c.accepted, c.id))
    n = sum(c.accepted for c in ordered)
    index = {c.id: k for k, c in enumerate(ordered)}
    parent = np.array([index[c.parent] if c.parent is not None else 0 for c in ordered])
    passes, papers = (np.array([float(getattr(c, f)) for c in ordered]) for f in _COUNTS)
    logits = np.full(len(ordered), ROOT[0])
    for _ in range(SWEEPS):
        before = logits
        logits, factor = _newton(logits, n, parent, passes, papers)
        if np.max(np.abs(logits - before)) < ENOUGH:
            break
    return Posterior(tuple(ordered[:n]), logits[:n], factor)


_COUNTS = ("passes", "papers")
_Array = NDArray[np.float64]


def _newton(
    x: _Array, n: int, parent: NDArray[np.int_], passes: _Array, papers: _Array
) -> tuple[_Array, _Array]:
    """One step from logits ``x``, members (``n``) first: new logits, the precision's factor."""
    p = expit(x)
    slope = np.maximum(p * (1 - p), FLAT)
    told = papers * slope  # precision of what a candidate's own runs say, and what they say
    said = x + np.clip((passes - papers * p) / np.maximum(told, FLAT), -FAR, FAR)
    tie = (TAIL + 1) / (TAIL * STEP**2 + (x - x[parent]) ** 2)
    kids, mums = np.arange(1, n), parent[1:n]
    leaves, folded = slice(n, None), told[n:] * tie[n:] / (told[n:] + tie[n:])
    folded *= np.where(passes[n:] > 0, 1.0, unbroken(x[parent[n:]], papers[n:]))
    diagonal, right = told[:n].copy(), told[:n] * said[:n]
    diagonal[0] += ROOT[1] ** -2
    right[0] += ROOT[0] * ROOT[1] ** -2
    for at, weight in ((parent[leaves], folded), (mums, tie[1:n]), (kids, tie[1:n])):
        np.add.at(diagonal, at, weight)
    np.add.at(right, parent[leaves], folded * said[leaves])
    precision = np.diag(diagonal)
    precision[kids, mums] = precision[mums, kids] = -tie[1:n]
    factor = cholesky(precision, lower=True, overwrite_a=True, check_finite=False)
    means = cho_solve((factor, True), right, check_finite=False)
    held = told[n:] + tie[n:]
    rest = (told[n:] * said[leaves] + tie[n:] * means[parent[leaves]]) / held
    return np.concatenate([means, rest]), factor


def unbroken(parent: _Array, papers: _Array) -> _Array:
    """How likely it is that a mutant which passed none of so many papers isn't broken, by its
    parent's logit.  A broken one says nothing about its parent."""
    shift, weight = _STEPS
    none = (1 - expit(parent[:, None] + shift)) ** papers[:, None] @ weight
    fair = (1 - BREAKS) * none
    likely: _Array = fair / (fair + BREAKS)
    return likely


# Three points stand for the step: those of a normal of its standard deviation.
_STEPS = (
    STEP * np.sqrt(TAIL / (TAIL - 2)) * np.array([-np.sqrt(3), 0.0, np.sqrt(3)]),
    np.array([1, 4, 1]) / 6,
)


def shrunk_rates(candidates: Iterable[Candidate]) -> dict[int, float]:
    """Each accepted candidate's pass rate as all runs of its relatives and its own make it.

    One lucky run doesn't make a winner.
    """
    known = list(candidates)
    return posterior(known).rates if known else {}


def ranked(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The accepted candidates by shrunk rate, the best first, the oldest of equals first."""
    known = posterior(candidates)
    rates = known.rates
    return sorted(known.members, key=lambda c: (-rates[c.id], c.id))


def best(candidates: Iterable[Candidate]) -> Candidate:
    """The candidate to take away: the highest shrunk rate."""
    return ranked(candidates)[0]


def choose_finalist(
    candidates: Iterable[Candidate], reruns: Mapping[int, Sequence[bool]]
) -> Candidate:
    """The best of the finalists, by all their runs and one more each (``reruns``, by id)."""
    known = [replace(c, runs=list(c.runs)) for c in candidates]
    for c in known:
        if c.id in reruns:
            c.add_run(c.id, sum(reruns[c.id]), len(reruns[c.id]))
    return next(c for c in ranked(known) if c.id in reruns)


def highest_average(candidates: Iterable[Candidate]) -> Candidate:
    """What the published procedure would report: the highest plain average over all validation
    runs, the oldest of equals (Autodata, Kulikov et al. 2026, "Meta-Optimization").
    """
    return max((c for c in candidates if c.accepted), key=lambda c: (c.rate, -c.id))
