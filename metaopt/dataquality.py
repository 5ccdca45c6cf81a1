"""Data sets measured alike: each item tried afresh by the same solvers, pairs of items compared.

A measurement's folder holds ``quality.json`` (what is measured), ``config.toml`` (what results are
a function of), ``quality.db`` (results by item, by pair), ``calls.db``, and ``cache/``, which can
be deleted.  A result is kept under the hash of paper and item, and draws are named by neither data
set nor method: an item that two data sets have is tried once, and comes to the same in both.

**Fresh.**  Items were accepted for the scores of some attempts, so those attempts flatter them.
Here every item gets attempts that no harness has seen, all that the config asks for: the
short-circuit is off.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, Literal

from pydantic import BaseModel

from inner_agent.calls import CallStore, Usage
from inner_agent.durable import as_written
from inner_agent.errors import EndpointRefused, RequestRejected, UserError
from inner_agent.evaluation import Evaluator, Phase
from inner_agent.gateway import Gateway
from inner_agent.generate import write_json
from inner_agent.items import Item
from inner_agent.papers import Paper, read_paper
from inner_agent.patience import with_patience
from inner_agent.roles import Ask, NoAnswer
from inner_agent.run_paper import audited
from inner_agent.settings import validate
from inner_agent.tasks.choice import trusted
from metaopt.comparer import PROMPT, Shown, both_orders
from metaopt.config import RunConfig
from metaopt.measure import recorded, refuse_other_folder
from metaopt.progress import Progress, run_watched
from metaopt.quality_store import Compared, QualityStore, Tried
from metaopt.record import QUALITY
from metaopt.rollouts import freeze_inner, refuse_other_inner
from metaopt.runner import stopped_by_full_disk
from metaopt.store import claim

FORMAT = 1
DATABASE = "quality.db"
TRIES = 3  # of attempts that come to no score
Kind = Literal["accepted", "final"]


@dataclass(frozen=True)
class Piece:
    """An item that is to be measured, and its paper."""

    paper: Paper
    item: Item

    @cached_property
    def key(self) -> str:
        """What results are kept under: a hash of the paper's file and of the item."""
        return hashlib.sha256(f"{self.paper.sha256} {self.item.sha256}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class DataSet:
    """Items by the method that made them.  ``tree`` is its harness's; ``tried`` is on how many
    papers it was run, and ``gave`` on how many it gave an item that is of the kind asked for (an
    empty text and ``None`` where that isn't known)."""

    name: str
    tree: str
    simulated: bool
    tried: int | None
    gave: int
    pieces: tuple[Piece, ...]

    def by_paper(self) -> dict[str, list[Piece]]:
        """The items of each paper, by the sha256 of its file: one text under two names is one."""
        found: dict[str, list[Piece]] = {}
        for piece in self.pieces:
            found.setdefault(piece.paper.sha256, []).append(piece)
        return found


class _SetOf(BaseModel):
    """A data set as ``quality.json`` has it; ``items`` are (paper's id, item's sha256)."""

    name: str
    tree: str
    items: list[tuple[str, str]]


class _Begun(BaseModel):
    """``quality.json``; ``sizes`` are how much was asked for, one time after the other: items by
    data set, then pairs."""

    metaopt: str
    prompts: dict[str, str]
    comparer: dict[str, Any] | None
    kind: Kind
    seed: int
    sizes: list[list[int]]
    sets: list[_SetOf]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two items, of the data sets with these numbers."""

    sets: tuple[int, int]
    one: Piece
    other: Piece

    @property
    def key(self) -> tuple[str, str]:
        """What the verdicts are kept under."""
        return self.one.key, self.other.key

    @property
    def same_item(self) -> bool:
        """Are the two one and the same?  Then nobody is asked."""
        return self.one.key == self.other.key


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: the items of each data set, and the pairs (none: nothing is compared)."""

    sets: tuple[DataSet, ...]
    kind: Kind
    pairs: tuple[Pair, ...]
    seed: int

    @property
    def simulated(self) -> bool:
        """Was any role played by the simulator when the items were made?"""
        return any(data.simulated for data in self.sets)

    def pieces(self) -> list[Piece]:
        """All items, each once, the data sets side by side: load that comes and goes mustn't fall
        on one of them."""
        turns = sorted(
            (n, number) for number, data in enumerate(self.sets) for n in range(len(data.pieces))
        )
        found = (self.sets[number].pieces[n] for n, number in turns)
        return list({piece.key: piece for piece in found}.values())

    def questions(self) -> list[Pair]:
        """All pairs that the comparer is to be asked about, each once."""
        return list({pair.key: pair for pair in self.pairs if not pair.same_item}.values())


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of it: by item, by pair."""

    folder: Path
    config: RunConfig
    plan: Plan
    tried: Mapping[str, Tried]
    compared: Mapping[tuple[str, str], Compared]

    @property
    def simulated(self) -> bool:
        """Was any role played by the simulator, here or when the items were made?"""
        return self.config.simulated or self.plan.simulated


def plan_of(sets: Sequence[DataSet], kind: Kind, sample: int | None, pairs: int, seed: int) -> Plan:
    """What is to be measured: of each data set the items of ``sample`` papers (``None``: all), and
    up to ``pairs`` pairs of items for every two data sets.

    Both are drawn by ``seed`` from the papers alone, so that data sets of the same papers are
    measured on the same ones.
    """
    drawn = tuple(_drawn(data, sample, seed) for data in sets)
    found = [
        pair
        for numbers in combinations(range(len(drawn)), 2)
        for pair in _pairs(drawn, numbers, seed)[:pairs]
    ]
    return Plan(drawn, kind, tuple(found), seed)


def _drawn(data: DataSet, sample: int | None, seed: int) -> DataSet:
    by_paper = data.by_paper()
    kept = sorted(by_paper, key=lambda paper: _rank(seed, paper))[:sample]
    pieces = tuple(piece for paper in kept for piece in by_paper[paper])
    return replace(data, pieces=pieces)


def _rank(seed: int, paper: str) -> bytes:
    return hashlib.sha256(f"{seed} {paper}".encode()).digest()


def _pairs(sets: Sequence[DataSet], numbers: tuple[int, int], seed: int) -> list[Pair]:
    """One pair a paper that both have; where they share fewer than two, papers drawn together."""
    one, other = (sets[n].by_paper() for n in numbers)
    shared = [paper for paper in one if paper in other]
    rng = Random(f"{seed} pairs")
    if len(shared) >= 2:
        matched = [(one[paper], other[paper]) for paper in shared]
    else:
        left, right = list(one.values()), list(other.values())
        matched = list(zip(left, rng.sample(right, len(right)), strict=False))
    return [Pair(numbers, rng.choice(a), rng.choice(b)) for a, b in matched]


def measure_quality(config: RunConfig, folder: Path, plan: Plan) -> Measured:
    """Try and compare what is owed, and give back what came of it.

    ``config.short_circuit`` has to be off.  Items may be added later, and pairs; the data sets may
    not.  Where all is recorded, nothing is asked, locked or written.  Raises ``UserError`` and
    ``Stopped`` as ``metaopt.runner.run`` does.
    """
    assert not config.short_circuit
    refuse_other_quality(folder, config, plan)
    if any(owed(folder, plan)):
        _run(config, folder, plan)
    with closing(QualityStore(folder / DATABASE, readonly=True)) as store:
        return Measured(folder, config, plan, store.tried(), store.compared())


def _keep(folder: Path, config: RunConfig, plan: Plan) -> None:
    """Write down what is measured, before anything of it is."""
    old = _recorded(folder)
    size, sizes = [*(len(data.pieces) for data in plan.sets), len(plan.pairs)], steps_of(folder)
    begun = _Begun(
        metaopt=version("metaopt"),
        prompts=_prompts(config),
        comparer=_comparer(config) if plan.pairs else old and old.comparer,
        kind=plan.kind,
        seed=plan.seed,
        sizes=sizes if size in sizes else [*sizes, size],
        sets=_sets_of(plan),
    )
    write_json(folder / QUALITY, {"format": FORMAT, **begun.model_dump()})


def _sets_of(plan: Plan) -> list[_SetOf]:
    return [
        _SetOf(name=data.name, tree=data.tree,
               items=[(piece.paper.id, piece.item.sha256) for piece in data.pieces])
        for data in plan.sets
    ]  # fmt: skip


def _prompts(config: RunConfig) -> dict[str, str]:
    return {**trusted(config), PROMPT.name: PROMPT.sha256}


def _comparer(config: RunConfig) -> dict[str, Any] | None:
    model = config.models.get("comparer")
    return model.model_dump(mode="json") if model else None


def _recorded(folder: Path) -> _Begun | None:
    path = folder / QUALITY
    data = recorded(path, FORMAT)
    with as_written(path, "what was begun"):
        return None if data is None else _Begun.model_validate(data)


def steps_of(folder: Path) -> list[list[int]]:
    """How much was asked for, one time after the other: items by data set, then pairs."""
    old = _recorded(folder)
    return old.sizes if old else []


def refuse_other_quality(folder: Path, config: RunConfig, plan: Plan) -> None:
    """Raise ``UserError`` unless ``plan`` only adds to what this config began in ``folder``."""
    refuse_other_folder(folder, QUALITY)
    old = _recorded(folder)
    if old is None:
        return
    if (was := _named(old.sets)) != (now := _named(plan.sets)):
        raise UserError(f"{folder}: begun with {was}, now {now}; give the same, or another --out")
    for begun, option, asked in ((old.kind, "--items", plan.kind), (old.seed, "--seed", plan.seed)):
        if begun != asked:
            raise UserError(
                f"{folder}: begun with {option} {begun}; give the same, or another --out"
            )
    if old.prompts != _prompts(config):
        raise UserError(
            f"{folder}: begun with other prompts (metaopt {old.metaopt}); give another --out"
        )
    if plan.pairs and old.comparer not in (None, _comparer(config)):
        raise UserError(f"{folder}: begun with another models.comparer; give another --out")
    refuse_other_inner(folder, config)


def _named(sets: Sequence[_SetOf] | Sequence[DataSet]) -> str:
    return ", ".join(f"{s.name} (harness {s.tree[:12] or 'not known'})" for s in sets)


def owed(folder: Path, plan: Plan) -> tuple[list[Piece], list[Pair]]:
    """What isn't recorded yet, in the order in which it is to be done."""
    path, pieces, pairs = folder / DATABASE, plan.pieces(), plan.questions()
    if not path.exists():
        return pieces, pairs
    with closing(QualityStore(path, readonly=True)) as store:
        tried, compared = store.keys()
    return [p for p in pieces if p.key not in tried], [p for p in pairs if p.key not in compared]


def _run(config: RunConfig, folder: Path, plan: Plan) -> None:
    with stopped_by_full_disk(), ExitStack() as held:
        held.enter_context(claim(folder))
        _keep(folder, config, plan)
        freeze_inner(folder, config)
        calls = held.enter_context(closing(CallStore(folder / "calls.db")))
        store = held.enter_context(closing(QualityStore(folder / DATABASE)))
        pieces, pairs = owed(folder, plan)
        wanted = len(plan.pieces()) + len(plan.questions())
        first = wanted - len(pieces) - len(pairs)
        gateway = Gateway(config, calls)
        what = "items and pairs" if plan.pairs else "items"
        simulated = config.simulated or plan.simulated
        progress = Progress(gateway, simulated, what, wanted, first, first, None)
        bench = _Bench(config, gateway.ask, store, set())
        work = [*(bench.trying(p) for p in pieces), *(bench.comparing(p) for p in pairs)]
        at_a_time = config.limits.rollouts_in_flight
        run_watched(progress, lambda: _side_by_side(work, at_a_time, progress.step))


async def _side_by_side(
    work: Sequence[Callable[[], Awaitable[None]]], at_a_time: int, step: Callable[[], None]
) -> None:
    left = iter(work)  # shared: there are only as many tasks as run at a time

    async def worker() -> None:
        for one in left:
            await one()
            step()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_a_time):
            group.create_task(worker())


@dataclass(frozen=True, slots=True)
class _Bench:
    """What trying and comparing share; ``proven`` are roles that gave something usable before."""

    config: RunConfig
    ask: Ask
    store: QualityStore
    proven: set[str]

    def trying(self, piece: Piece) -> Callable[[], Awaitable[None]]:
        """The work of trying an item and recording it."""

        async def work() -> None:
            text = self._text(piece)
            evaluator = Evaluator(self.ask, self.config, text, proven=self.proven)
            found = await with_patience(lambda: try_item(evaluator, piece.item, "dataquality"))
            self.store.put_tried(piece.key, piece.paper.id, *found)

        return work

    def comparing(self, pair: Pair) -> Callable[[], Awaitable[None]]:
        """The work of comparing two items and recording it."""

        async def work() -> None:
            one, other = (Shown(self._text(p), p.item) for p in (pair.one, pair.other))
            found = await with_patience(lambda: self._compared(one, other))
            self.store.put_compared(pair.key, found)

        return work

    async def _compared(self, one: Shown, other: Shown) -> Compared:
        try:
            said = await both_orders(self.ask, one, other, "dataquality", Usage())
        except NoAnswer as e:
            if e.role not in self.proven:  # a wrong setting must not measure as a tie
                raise EndpointRefused(
                    f"models.comparer: {e}, and never before; give a larger max_tokens or another"
                    " model, or --pairs 0"
                ) from None
            return Compared(problem=str(e))
        except RequestRejected as e:
            return Compared(problem=str(e))
        self.proven.add("comparer")
        return Compared(said=said)

    def _text(self, piece: Piece) -> str:
        return read_paper(piece.paper, self.config.papers.max_paper_tokens).text


async def try_item(
    evaluator: Evaluator, item: Item, sample: str
) -> tuple[Tried, tuple[Phase, ...]]:
    """Both solvers' attempts, none spared, and the audit; and the phases that scores come from.

    Attempts without a readable score are made anew, and are never a score.  Raises
    ``ProviderError`` or ``BudgetExhausted``.
    """
    report = await audited(evaluator, item, f"{sample}/audit")
    findings = tuple(finding.check for finding in report.findings)
    problem = ""
    for n in range(TRIES):
        try:
            phases = await _phases(evaluator, item, f"{sample}/{n}")
        except RequestRejected as e:  # too long, say: the item's doing
            problem = str(e)
            continue
        if phases[-1].status != "SOLVER_ERROR":
            weak, strong = phases
            passed = weak.passed and strong.passed
            scores = tuple(weak.scores), tuple(strong.scores)
            return Tried(
                weak=scores[0], strong=scores[1], accepted=passed, findings=findings
            ), phases
        problem = phases[-1].report
    return Tried(findings=findings, problem=problem), ()


async def _phases(evaluator: Evaluator, item: Item, sample: str) -> tuple[Phase, ...]:
    """Weak, and strong where weak came to anything."""
    weak = await evaluator.weak(item, sample)
    if weak.status == "SOLVER_ERROR":
        return (weak,)
    return weak, await evaluator.strong(item, sample, weak)


def afresh(config: RunConfig, attempts: int | None) -> RunConfig:
    """The config by which items are measured: all attempts, ``attempts`` of them if it is given.

    Raises ``UserError`` for a number that the config's task has no rule for.
    """
    if attempts is None:
        return config.model_copy(update={"short_circuit": False})
    data = config.model_dump(mode="json", exclude_none=True) | {"short_circuit": False}
    for role in ("weak", "strong"):
        data["models"][role]["attempts"] = attempts
    return validate(RunConfig, data, f"--attempts {attempts}")
