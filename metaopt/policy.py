"""Which parent, how many rollouts, and is the mutant let in?  Pure and small, behind one seam.

``Paper`` is exactly the published procedure (Autodata, "Meta-Optimization", steps 1, 5 and 6).
docs/policies.md has what the others gain, and what else was tried.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, expit, gammaln

from inner_agent.errors import UserError
from metaopt.config import Search
from metaopt.population import Candidate, posterior


@dataclass(frozen=True, slots=True)
class Choice:
    """A parent, and the pass rate that the policy holds it to have."""

    parent: Candidate
    rate: float


@dataclass(frozen=True, slots=True)
class Spending:
    """Where rollouts go.

    ``rerun_parent``: the parent is validated again beside each mutant.  ``trace_uses``: so many
    iterations share one training evaluation of a parent.  ``block``: papers that a mutant is
    validated on between two looks; 0 looks at the end only.
    """

    rerun_parent: bool = True
    trace_uses: int = 1
    block: int = 0


class Policy(Protocol):
    """A search policy decides from scores alone."""

    @property
    def spending(self) -> Spending:
        """Where rollouts go."""
        ...

    def choose(self, candidates: Sequence[Candidate], rng: np.random.Generator) -> Choice:
        """The next parent: an accepted one of ``candidates``, which holds rejected ones too."""
        ...

    def hopeless(self, rate: float, mutant: Sequence[bool], papers: int) -> str:
        """Why a mutant isn't run on more of the ``papers``, in a line; empty: it goes on.

        ``mutant``: whether it passed, paper by paper, in the (random) order of the papers.
        ``rate`` is the parent's, as ``choose`` gave it.
        """
        ...

    def admit(self, rate: float, parent: Sequence[bool], mutant: Sequence[bool]) -> bool:
        """Does the mutant join the population?

        Both were run on the same papers, or ``parent`` is empty where it isn't run again.
        """
        ...

    def deviations(self) -> tuple[str, ...]:
        """What is done otherwise than published, a sentence each."""
        ...


@dataclass(frozen=True, slots=True)
class Paper:
    """Boltzmann parents, P(c) ∝ exp(s_c / T); both re-run; strictly greater is accepted."""

    temperature: float = 0.1
    spending: Spending = Spending()

    def choose(self, candidates: Sequence[Candidate], rng: np.random.Generator) -> Choice:
        """Sample by the average over all of a candidate's validation runs."""
        population = [c for c in candidates if c.accepted]
        scores = np.array([c.rate for c in population])
        parent = population[_boltzmann(scores, self.temperature, rng)]
        return Choice(parent, parent.rate)

    def hopeless(self, rate: float, mutant: Sequence[bool], papers: int) -> str:
        """Never: every mutant is run on all papers."""
        return ""

    def admit(self, rate: float, parent: Sequence[bool], mutant: Sequence[bool]) -> bool:
        """Strictly more passes than the parent, on the same papers in the same iteration."""
        return sum(mutant) > sum(parent)

    def deviations(self) -> tuple[str, ...]:
        """None but another temperature."""
        if self.temperature == 0.1:
            return ()
        return (f"The temperature of the parents' choice is {self.temperature:g} instead of 0.1.",)


@dataclass(frozen=True, slots=True)
class Pooled:
    """The published gate; parents by scores that are pooled over the family tree.

    Pooled scores lie closer together than plain averages, so the temperature is lower.
    """

    temperature: float = 0.03
    spending: Spending = Spending()

    def choose(self, candidates: Sequence[Candidate], rng: np.random.Generator) -> Choice:
        """Boltzmann sampling by pooled rates."""
        known = posterior(candidates)
        rates = expit(known.logits)
        k = _boltzmann(rates, self.temperature, rng)
        return Choice(known.members[k], float(rates[k]))

    hopeless = Paper.hopeless
    admit = Paper.admit

    def deviations(self) -> tuple[str, ...]:
        """What differs from ``Paper``."""
        return (
            "Parents are chosen by pass rates pooled over all runs and the family tree instead of"
            f" by plain averages, at temperature {self.temperature:g} instead of 0.1.",
        )


@dataclass(frozen=True, slots=True)
class Thompson:
    """Parents by draws from the posterior; mutants are screened, stopped early, compared with it.

    The first ``spending.block`` papers are a screen: a mutant below its parent's rate there is
    done.  From then on it is stopped once it is hopeless at level ``alpha``, paper by paper.
    """

    temper: float = 0.5
    alpha: float = 0.1
    spending: Spending = Spending(rerun_parent=False, trace_uses=8, block=5)

    def choose(self, candidates: Sequence[Candidate], rng: np.random.Generator) -> Choice:
        """The best in one joint draw from the posterior, tempered towards its mean."""
        known = posterior(candidates)
        k = int(known.sample(rng, self.temper).argmax())
        return Choice(known.members[k], float(expit(known.logits[k])))

    def hopeless(self, rate: float, mutant: Sequence[bool], papers: int) -> str:
        """The screen, then the sequential test at every paper since."""
        screen, needed = self.spending.block, _needed(rate, papers)
        if not screen <= len(mutant) < papers:
            return ""
        if sum(mutant[:screen]) < _needed(rate, screen):
            return _stopped("screened out", mutant[:screen], rate)
        ruled_out = out_of_reach(needed, mutant, papers, rate, self.alpha)
        seen = next((n for n in range(screen, len(mutant)) if ruled_out[n]), None)
        return "" if seen is None else _stopped("stopped as hopeless", mutant[: seen + 1], rate)

    def admit(self, rate: float, parent: Sequence[bool], mutant: Sequence[bool]) -> bool:
        """A higher pass rate than its parent is held to have."""
        return sum(mutant) >= _needed(rate, len(mutant))

    def deviations(self) -> tuple[str, ...]:
        """What differs from ``Paper``."""
        return (
            "Parents are chosen by Thompson sampling from a posterior pooled over all runs and the"
            " family tree instead of by Boltzmann sampling of plain averages.",
            "The parent isn't validated again: a mutant is compared with its parent's pooled rate.",
            f"A mutant that isn't above its parent's rate on its first {self.spending.block}"
            " validation papers is rejected there.",
            "A mutant that can hardly come to exceed its parent's rate any more is stopped early"
            f" (an anytime-valid test at level {self.alpha:g}).",
            f"A parent's training trajectories serve {self.spending.trace_uses} iterations instead"
            " of one.",
        )


def generator(seed: int, i: int, what: str) -> np.random.Generator:
    """Randomness that is a function of the seed, the iteration and its purpose alone."""
    digest = hashlib.sha256(f"{seed}/{i}/{what}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def policy_of(search: Search) -> Policy:
    """The policy that a config asks for."""
    if search.policy == "thompson":
        own = search.thompson
        spending = Spending(rerun_parent=False, trace_uses=own.trace_uses, block=own.screen)
        return Thompson(own.temper, own.alpha, spending)
    assert search.temperature is not None  # filled in by ``Search`` for these two
    return (Paper if search.policy == "paper" else Pooled)(search.temperature)


def refuse_whole_screen(search: Search, papers: int) -> None:
    """Raise ``UserError`` where a screen would be all of so many validation papers."""
    if search.policy == "thompson" and search.thompson.screen >= papers:
        raise UserError(
            f"search.thompson.screen = {search.thompson.screen}: a screen of all validation papers"
            f" ({papers}) is none; set it lower"
        )


PRIOR_PAPERS = 6.0  # the test's bet on a mutant: as if so many papers had been seen at the rate


def out_of_reach(
    needed: int, mutant: Sequence[bool], papers: int, rate: float, alpha: float
) -> NDArray[np.bool_]:
    """After each outcome: has a sequential test ruled out ``needed`` passes on all ``papers``?

    The outcomes on all papers are taken as fixed, their order as random: sampling without
    replacement, K passes in all.  For each K, prior(K) / posterior(K) is a martingale that starts
    at 1 if K is the truth, so it exceeds 1 / ``alpha`` at any time with probability ``alpha`` at
    most (Ville), whatever the prior.  ``needed`` is out of reach once that holds for every
    K ≥ ``needed``.  A mutant that would be admitted after all is stopped with probability
    ``alpha`` at most, however often one looks.

    Source: Waudby-Smith and Ramdas 2020, "Confidence sequences for sampling without replacement"
    (the prior-posterior-ratio martingale, hypergeometric).  The prior is beta-binomial around
    ``rate``.
    """
    total, seen = np.arange(papers + 1), np.arange(1, len(mutant) + 1)[:, None]
    passed = np.cumsum(mutant)[:, None]
    a, b = PRIOR_PAPERS * rate, PRIOR_PAPERS * (1 - rate)
    prior = np.exp(
        _log_choose(papers, total) + betaln(total + a, papers - total + b) - betaln(a, b)
    )
    possible = (total >= passed) & (papers - total >= seen - passed)
    rest = np.clip(total - passed, 0, papers - seen)
    likelihood = np.exp(_log_choose(papers - seen, rest) - _log_choose(papers, total)) * possible
    evidence = likelihood @ prior  # posterior / prior = likelihood / evidence
    ruled_out: NDArray[np.bool_] = (likelihood[:, needed:] <= alpha * evidence[:, None]).all(axis=1)
    return ruled_out


def _stopped(how: str, mutant: Sequence[bool], rate: float) -> str:
    return f"{how}: {sum(mutant)} of {len(mutant)} papers, its parent's rate is {rate:.0%}"


def _needed(rate: float, papers: int) -> int:
    """The smallest number of passes that is a higher rate than ``rate``."""
    return int(np.floor(rate * papers + 1e-9)) + 1


def _log_choose(n: int | NDArray[np.int_], k: NDArray[np.int_]) -> NDArray[np.float64]:
    chosen: NDArray[np.float64] = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return chosen


def _boltzmann(scores: NDArray[np.float64], temperature: float, rng: np.random.Generator) -> int:
    weights = np.exp((scores - scores.max()) / temperature)
    return int(rng.choice(len(scores), p=weights / weights.sum()))
