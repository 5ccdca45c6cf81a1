"""What a data set's papers came to: how rollouts and rounds ended, and which topics are covered."""

import tomllib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from os.path import expandvars
from pathlib import Path

from analysis.inspect.spread import Spread, spread
from inner_agent import generate, strict_json
from inner_agent.durable import as_written
from inner_agent.errors import UserError
from inner_agent.papers import MANIFEST
from inner_agent.run_paper import PaperResult
from metaopt.statistics import wilson


@dataclass(frozen=True, slots=True)
class Corpus:
    """The papers that are done, in so many ``rollouts``: how many ``passed``, of those how many
    have an item (``kept``; the others' questions repeat, or ``--accept`` was met before them), and
    how many items that is; how rollouts (``reasons``) and rounds (``outcomes``) ended, the most
    frequent first; rollouts that passed of those that are done, ``by_number`` (which of its paper's
    items it was to make) and ``by_batch`` (whose learnings it was told; 0: none); rounds of
    rollouts that passed and of those that didn't; and what was spent.

    ``topics``: done papers and those with an item, by topic; empty where the papers' manifest isn't
    there or names none.  ``lost``: files of learnings that items were made with and that can't be
    read any more, a line each.
    """

    papers: int
    rollouts: int
    passed: int
    kept: int
    items: int
    reasons: dict[str, int]
    outcomes: dict[str, int]
    by_number: dict[int, tuple[int, int]]
    by_batch: dict[int, tuple[int, int]]
    rounds_passed: Spread | None
    rounds_failed: Spread | None
    calls: int
    tokens: int
    usd: float
    topics: dict[str, tuple[int, int]]
    lost: tuple[str, ...]

    @property
    def left_out(self) -> int:
        """Rollouts that passed and whose item isn't in the data set: its question repeats, or there
        were enough before."""
        return max(0, self.reasons.get("passed", 0) - self.items)

    @property
    def coverage(self) -> float:
        """The share of done papers with an item."""
        return self.kept / self.papers if self.papers else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval for other papers like these (Wilson)."""
        return wilson(self.kept, self.papers)

    @property
    def topics_covered(self) -> float | None:
        """The share of topics with an item."""
        covered = sum(kept > 0 for _, kept in self.topics.values())
        return covered / len(self.topics) if self.topics else None


def read_corpus(folder: Path, items: Mapping[str, int]) -> Corpus:
    """Of the data set in ``folder``, in which papers (by id) have so many ``items``.

    Raises ``UserError`` for another version's file.
    """
    reasons: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    usd = 0.0
    rounds: dict[bool, list[int]] = {True: [], False: []}
    numbers: list[tuple[int, bool]] = []
    batches: list[tuple[int, bool]] = []
    ids: list[str] = []
    passed: set[str] = set()
    with closing(generate.read_results(folder)) as db:
        for paper, number, told, data in db.execute(
            "SELECT paper, number, told, data FROM slots ORDER BY paper, number"
        ):
            with as_written(folder / "results.db", "a result"):
                result = PaperResult.model_validate_json(data)
            ids.append(str(paper))
            passed.update([ids[-1]] if result.passed else [])
            numbers.append((number, result.passed))
            batches.append((told, result.passed))
            reasons[result.reason] += 1
            outcomes.update(result.outcomes)
            rounds[result.passed].append(result.rounds)
            spent.update(calls=result.calls)
            spent.update(tokens=result.prompt_tokens + result.completion_tokens)
            usd += result.usd
    papers = list(dict.fromkeys(ids))
    kept = [paper for paper in papers if items.get(paper)]
    lost = (line.removeprefix(f"{folder}/") for line in generate.lost_learnings(folder))
    by_topic = _by_topic(_topics(folder), papers, items.keys())
    return Corpus(
        len(papers), len(ids), len(passed), len(kept), sum(items[paper] for paper in kept),
        dict(reasons.most_common()), dict(outcomes.most_common()), _passed_by(numbers),
        _passed_by(batches), spread(rounds[True]), spread(rounds[False]), spent["calls"],
        spent["tokens"], usd, by_topic, tuple(lost),
    )  # fmt: skip


def _passed_by(rollouts: Sequence[tuple[int, bool]]) -> dict[int, tuple[int, int]]:
    """Passed ones and all, by number."""
    done, passed = Counter(n for n, _ in rollouts), Counter(n for n, ok in rollouts if ok)
    return {n: (passed[n], done[n]) for n in sorted(done)}


def _by_topic(
    topics: Mapping[str, str], papers: Collection[str], with_item: Collection[str]
) -> dict[str, tuple[int, int]]:
    done = Counter(topics[p] for p in papers if topics.get(p))
    kept = Counter(topics[p] for p in with_item if topics.get(p))
    return {t: (n, kept[t]) for t, n in sorted(done.items(), key=lambda x: (-x[1], x[0]))}


def _topics(folder: Path) -> dict[str, str]:
    """Topics by paper id, from the manifests of the papers, as far as those are still there."""
    found: dict[str, str] = {}
    for manifest in _manifests(folder):
        try:
            text = manifest.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue  # the items may have been moved here without their papers
        for line in filter(str.strip, text.split("\n")):
            try:
                row = strict_json.loads(line)
            except strict_json.JSONRefused as e:
                raise UserError(f"{manifest}: {e}; mend it, or move it away") from None
            if isinstance(row, dict) and row.get("topic"):
                found[str(row.get("id"))] = str(row["topic"])
    return found


def _manifests(folder: Path) -> list[Path]:
    generated = sorted((folder / "cache").glob(f"synthetic-*/{MANIFEST}"))
    try:
        config = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
        where = Path(expandvars(config["papers"]["path"]))
    except (OSError, ValueError, KeyError, TypeError):
        return generated
    return [*generated, where if where.suffix == ".jsonl" else where / MANIFEST]
