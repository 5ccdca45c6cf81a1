"""Does the 80 % interval that `generate --accept` foretells after 20 papers hold what comes of it?

    python benchmarks/forecast.py [--corpora 2000] [--real 10] [--papers 60]

In numbers: corpora whose papers differ in how easy they are (normal on the logit scale, standard
deviation ``spread``), and papers that pass use less, and end sooner, than those that don't.  And
data sets that were made to their end: ``--real`` of so many synthetic papers each, every role
played by the simulator, forecast from their first 20; and as many in batches, forecast from the
first 20 papers that were told of learnings.  Prints the tables of benchmarks/README.md.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import ROOT, machine
from numpy.typing import NDArray

from inner_agent.generate import Results
from inner_agent.intake import End, Intake, Slot
from inner_agent.papers import Paper
from inner_agent.settings import Audit, Budget
from metaopt.chance import drawn_papers
from metaopt.config import load_config
from metaopt.forecast import FIRST, HOPELESS, Seen, forecast, items, until
from metaopt.generate import Wanted, make_dataset
from metaopt.lab import papers_of
from metaopt.outlook import seen

SEED = 20
RATES = (0.01, 0.03, 0.1, 0.2, 0.42, 0.6)
SPREADS = (0.0, 1.5)
SIZES = (60, 500)
WORKERS = 16
WANTED = 0.5  # items wanted, as a share of those that are to be expected of the corpus
HARNESS = "classic:published_fixes"
BATCH = 10


@dataclass(frozen=True, slots=True)
class Corpus:
    """What each paper comes to, in the papers' order."""

    passed: NDArray[np.bool_]
    usd: NDArray[np.float64]
    ended: NDArray[np.float64]  # when, with ``WORKERS`` side by side

    def seen(self, papers: int, wanted: int) -> Seen:
        """As it stands after so many papers."""
        used = {"usd": self.usd[:papers].tolist()}
        kept = self.passed[:papers].tolist()
        return Seen(kept, len(self.passed) - papers, wanted, used, {})

    def hasty(self) -> Seen:
        """After the ``FIRST`` papers that ended, whichever these are."""
        first = np.argsort(self.ended)[:FIRST]
        left = len(self.passed) - FIRST
        return Seen(self.passed[first].tolist(), left, len(self.passed), {}, {})

    def end(self, wanted: int) -> int | None:
        """The paper that brings the last item that is wanted."""
        reached = np.flatnonzero(np.cumsum(self.passed) >= wanted)
        return int(reached[0]) + 1 if len(reached) else None


def corpora(rate: float, spread: float, size: int, count: int) -> Sequence[Corpus]:
    """``count`` corpora of one kind."""
    rng = np.random.default_rng((SEED, round(rate * 100), round(spread * 10), size))
    papers = drawn_papers(size, spread)
    chances = 1 / (1 + np.exp(-papers.draw(rng, count) - papers.quality(rate)))
    return [_corpus(rng, row) for row in rng.random(chances.shape) < chances]


def _corpus(rng: np.random.Generator, passed: NDArray[np.bool_]) -> Corpus:
    long = np.where(passed, 0.5, 1.0) * rng.lognormal(0.0, 0.6, len(passed))
    free, ended = np.zeros(WORKERS), np.zeros(len(passed))
    for n, seconds in enumerate(long):
        worker = int(free.argmin())
        free[worker] += seconds
        ended[n] = free[worker]
    return Corpus(passed, 0.02 * long, ended)


def held(found: Sequence[Corpus], of: Callable[[Corpus], tuple[float, float, float] | None]) -> str:
    """The share of intervals that hold the truth; ``of`` gives low, high, truth."""
    bounds = [b for corpus in found if (b := of(corpus)) is not None]
    if len(bounds) < 50:
        return ""
    return f"{np.mean([low <= truth <= high for low, high, truth in bounds]):.1%}"


def of_items(corpus: Corpus) -> tuple[float, float, float]:
    """The interval of the final yield, and the yield."""
    return *items(corpus.seen(FIRST, len(corpus.passed))), float(corpus.passed.sum())


def of_haste(corpus: Corpus) -> tuple[float, float, float]:
    """The same from the papers that ended first."""
    return *items(corpus.hasty()), float(corpus.passed.sum())


def of_papers(wanted: int, name: str) -> Callable[[Corpus], tuple[float, float, float] | None]:
    """The interval of papers, or of USD, until ``wanted`` items; none where it isn't foretold."""

    def bounds(corpus: Corpus) -> tuple[float, float, float] | None:
        now, size = corpus.seen(FIRST, wanted), len(corpus.passed)
        if now.count >= wanted:
            return None
        what, end = forecast(now), corpus.end(wanted)
        if name == "usd":
            return *what.used["usd"], float(corpus.usd[: end or size].sum())
        low, high = (float("inf") if p is None else p for p in what.papers)
        return low, high, float("inf") if end is None else end

    return bounds


def stops(found: Sequence[Corpus], wanted: int) -> tuple[str, str]:
    """Of the corpora with enough items the share that was stopped before it had them; and of
    those without, after how many papers half of them were stopped."""
    wrong, right = [], []
    for corpus in found:
        end, size = corpus.end(wanted), len(corpus.passed)
        at = next(
            (k for k in range(FIRST, end or size) if until(corpus.seen(k, wanted))[-1] < HOPELESS),
            None,
        )
        (right if end is None else wrong).append(at or size)
    early = f"{np.mean([at < len(found[0].passed) for at in wrong]):.1%}" if len(wrong) > 9 else ""
    return early, f"{np.median(right):.0f}" if len(right) > 9 else ""


def numbers(count: int) -> None:
    """The first table."""
    print("| rate | spread | papers | final yield | by the first to end | papers until | USD until"
          " | enough, yet stopped: half / all | twice, stopped after |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for size in SIZES:
        for rate in RATES:
            for spread in SPREADS:
                found = corpora(rate, spread, size, count)
                wanted = max(1, round(WANTED * rate * size))
                some, few, due = found[: count // 4], found[: count // 8], round(rate * size)
                cells = [
                    f"{rate:.0%}", f"{spread:g}", str(size), held(found, of_items),
                    held(found, of_haste), held(some, of_papers(wanted, "papers")),
                    held(some, of_papers(wanted, "usd")),
                    f"{stops(few, wanted)[0]} / {stops(few, max(1, due))[0]}",
                    stops(few, max(2, 2 * due))[1],
                ]  # fmt: skip
                print("| " + " | ".join(cells) + " |", flush=True)


def real(count: int, papers: int) -> None:
    """The second table: whole data sets by the simulator."""
    print(f"\n| corpus (simulated) | kept of the first {FIRST} | foretold of {papers}, 80 %"
          " | came of it | held |")  # fmt: skip
    print("|---|---|---|---|---|")
    for seed in range(count):
        with tempfile.TemporaryDirectory(prefix="metaopt-forecast-") as folder:
            ends = made(Path(folder) / "data", f"synthetic:{papers}:{seed}")
        whole, first = intake_of(ends, papers), intake_of(ends, papers, FIRST)
        low, high = items(seen(first, Budget()))
        cells = [str(seed), str(first.kept), f"{low} to {high}", str(whole.kept)]
        print("| " + " | ".join([*cells, _held((low, high), whole.kept)]) + " |", flush=True)


def batched(count: int, papers: int) -> None:
    """The third table: data sets in batches by the baseline, to which learnings matter most; by
    the papers that were told of some, and by all so far."""
    print(f"\n| corpus (simulated) | kept of the first {BATCH}, of the next {FIRST} | foretold of"
          f" {papers}, 80 % | came of it | held | by all papers alike | held |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for seed in range(count):
        with tempfile.TemporaryDirectory(prefix="metaopt-forecast-") as folder:
            ends = made(Path(folder) / "data", f"synthetic:{papers}:{seed}", None, BATCH)
        whole, now = intake_of(ends, papers), intake_of(ends, papers, BATCH + FIRST)
        told, alike = (items(seen(now, Budget(), batch)) for batch in (BATCH, None))
        flags = now.kept_of_front
        cells = [str(seed), f"{sum(flags[:BATCH])}, {sum(flags[BATCH:])}",
                 f"{told[0]} to {told[1]}", str(whole.kept), _held(told, whole.kept),
                 f"{alike[0]} to {alike[1]}", _held(alike, whole.kept)]  # fmt: skip
        print("| " + " | ".join(cells) + " |", flush=True)


def _held(ends: tuple[int, int], truth: int) -> str:
    return "yes" if ends[0] <= truth <= ends[1] else "**no**"


def made(
    folder: Path, papers: str, harness: str | None = HARNESS, batch: int | None = None
) -> list[End]:
    """How the papers of a whole data set ended, in their order."""
    config = load_config(ROOT / "configs/demo.toml", [f'papers.path="{papers}"'])
    make_dataset(config, folder, harness, Wanted(batch=batch))
    with closing(Results(folder / "results.db")) as results:
        found = [results.get(Slot(paper)) for paper in papers_of(config, folder / "cache").values()]
    return [row.end(1) for row in found if row]


def intake_of(ends: Sequence[End], papers: int, first: int | None = None) -> Intake:
    """As `generate` sees it once these papers, or the first of them, have ended."""
    corpus = [Slot(Paper(end.paper, "", Path(), "")) for end in ends]
    intake = Intake(corpus, Audit().repeat_max, papers + 1)
    intake.recorded(ends[:first])
    return intake


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=int, default=2_000)
    parser.add_argument("--real", type=int, default=10)
    parser.add_argument("--papers", type=int, default=60)
    given = parser.parse_args()
    print(machine())
    numbers(given.corpora)
    real(given.real, given.papers)
    batched(given.real, given.papers)


if __name__ == "__main__":
    main()
