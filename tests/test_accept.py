"""`metaopt generate --accept N`: the same items whatever the timing, and an honest forecast."""

import asyncio
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_generate import PAPERS, calls, generate

from inner_agent.checks import repeated
from inner_agent.generate import Results
from inner_agent.intake import End, Intake, Slot, slots_of
from inner_agent.papers import Paper
from inner_agent.settings import Budget
from metaopt.forecast import FIRST, Seen, forecast, items, until
from metaopt.outlook import Outlook, seen

QUESTIONS = (
    "why does the ring of the outer shaft wear",
    "how deep is the lake in spring",
    "which of the two bounds is tight and why",
)


def ends(rng: random.Random, papers: int) -> list[End]:
    """Papers of which half pass, some with a question that others have as well."""
    found = []
    for n in range(papers):
        own = " ".join(rng.choices("abcdefgh", k=12))
        question = rng.choice([own, own, own, rng.choice(QUESTIONS)])
        found.append(End(f"p{n:02d}", rng.random() < 0.5, question, 1.0, 10, 100, 1.0))
    return found


def first_enough(found: list[End], accept: int) -> set[str] | None:
    """What is kept at the first paper by which enough are; by the definition."""
    for k in range(1, len(found) + 1):
        passed = {end.paper: end.question for end in found[:k] if end.passed}
        kept = passed.keys() - repeated(passed, 0.8)
        if len(kept) >= accept:
            return set(kept)
    return None


async def taken(
    found: list[End], accept: int, rng: random.Random, workers: int, recorded: list[End]
) -> Intake:
    """Take papers in until there is enough; rollouts in flight end in a random order."""
    by_id = {end.paper: end for end in found}
    intake = Intake([Slot(Paper(end.paper, "", Path(), "")) for end in found], 0.8, accept)
    intake.recorded(recorded)
    in_flight: list[asyncio.Future[None]] = []

    async def worker() -> None:
        while slot := await intake.next():
            turn = asyncio.get_running_loop().create_future()
            in_flight.append(turn)
            await turn
            intake.ended(by_id[slot.paper.id])

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(worker()) for _ in range(workers)]
        while not all(task.done() for task in tasks):
            if in_flight:
                in_flight.pop(rng.randrange(len(in_flight))).set_result(None)
            for _ in range(3):
                await asyncio.sleep(0)
            assert in_flight or all(task.done() for task in tasks), "all of them wait"
    return intake


def test_what_is_kept_depends_on_no_timing() -> None:
    short = 0
    for seed in range(150):
        rng = random.Random(seed)
        found, accept = ends(rng, 30), rng.randint(1, 12)
        wanted = first_enough(found, accept)
        earlier = rng.sample(found, rng.choice([0, 0, 10]))
        intake = asyncio.run(taken(found, accept, rng, rng.choice([1, 4, 16]), earlier))
        if wanted is None:
            short += 1
            assert len(intake.front) == 30
        else:
            assert intake.chosen() == {(paper, 1) for paper in wanted}
        assert intake.full == (wanted is not None)
    assert 0 < short < 75


async def test_nothing_is_begun_that_will_not_be_needed() -> None:
    found = [End(f"p{n}", True, f"question {n} of its own", 1, 1, 1, 1) for n in range(9)]
    intake = Intake([Slot(Paper(end.paper, "", Path(), "")) for end in found], 0.8, 3)
    for _ in range(4):
        assert await intake.next()
    for n in (1, 2, 3):
        intake.ended(found[n])
    waiting = asyncio.create_task(intake.next())  # three are there, the first paper isn't
    await asyncio.sleep(0)
    assert not waiting.done()
    intake.ended(found[0])
    assert await waiting is None
    assert intake.chosen() == {("p0", 1), ("p1", 1), ("p2", 1)}


def drawn(kept: int, left: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """What may come of papers to come, by brute force: [draw, paper]."""
    rates = rng.beta(0.5 + kept, 0.5 + FIRST - kept, 20_000)
    return np.asarray(rng.random((20_000, left)) < rates[:, None])


@pytest.mark.parametrize(("kept", "left", "wanted"), [(0, 80, 2), (3, 60, 9), (9, 40, 25)])
def test_the_forecast_is_what_brute_force_finds(kept: int, left: int, wanted: int) -> None:
    rng = np.random.default_rng(1)
    later = drawn(kept, left, rng).cumsum(axis=1) + kept
    flags = [n < kept for n in range(FIRST)]
    paid = [2.0 if flag else 5.0 for flag in flags]
    seen = Seen(flags, left, wanted, {"usd": paid}, {"usd": sum(paid) + 4.5 * left})
    reached = (later >= wanted).mean(axis=0)
    assert until(seen)[1:] == pytest.approx(reached, abs=0.015)
    assert items(seen) == pytest.approx(np.quantile(later[:, -1], [0.1, 0.9]), abs=1)
    what = forecast(seen)
    assert what.chance == pytest.approx(reached[-1], abs=0.015)
    tried = np.where(later[:, -1] >= wanted, (later < wanted).sum(axis=1) + 1, left)
    more = later[np.arange(len(later)), tried - 1] - kept
    usd = sum(paid) + (2.0 if kept else 5.0) * more + 5.0 * (tried - more)
    if kept:  # of none that is kept nobody knows what it uses
        assert what.used["usd"] == pytest.approx(np.quantile(usd, [0.1, 0.9]), rel=0.03)
    fits = (later[:, -1] >= wanted) & (usd <= seen.caps["usd"])
    assert what.within["usd"] == pytest.approx(fits.mean(), abs=0.04)


def corpus(rate: float, rng: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which of 120 unlike papers are kept, and which of them end first, 16 side by side."""
    ease = rng.normal(0, 1, 120)
    low, high = -9.0, 9.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if np.mean(1 / (1 + np.exp(-ease - middle))) < rate else (low, middle)
        )
    kept = rng.random(120) < 1 / (1 + np.exp(-ease - low))
    free, ended = np.zeros(16), np.zeros(120)
    for n, passes in enumerate(kept):
        free[worker := free.argmin()] += rng.lognormal(0, 0.5) * (0.5 if passes else 1)
        ended[n] = free[worker]
    return kept, np.argsort(ended)[:FIRST]


def test_its_80_percent_interval_holds_the_final_yield() -> None:
    rng = np.random.default_rng(2)
    honest, hasty = [], []
    for rate in (0.02, 0.1, 0.2, 0.42, 0.6):
        for _ in range(300):
            kept, first = corpus(rate, rng)
            for held, these in ((honest, np.arange(FIRST)), (hasty, first)):
                low, high = items(Seen(kept[these].tolist(), 100, 120, {}, {}))
                held.append(low <= kept.sum() <= high)
    by_rate = np.reshape(honest, (5, 300)).mean(axis=1)
    assert by_rate.min() > 0.75, by_rate
    assert 0.8 < np.mean(honest) < 0.92
    assert np.mean(hasty) < 0.75  # from the papers that ended first it would not hold


def test_papers_unlike_those_to_come_say_nothing_of_them() -> None:
    """A first batch, of 10, is told nothing; what is kept rises from one in ten to one in two."""
    rng = np.random.default_rng(3)
    held: dict[int, list[bool]] = {10: [], 0: []}
    for _ in range(600):
        kept = rng.random(100) < np.where(np.arange(100) < 10, 0.1, 0.5)
        for unlike, inside in held.items():
            low, high = items(Seen(kept[:30].tolist(), 70, 100, {}, {}, unlike))
            inside.append(low <= kept.sum() <= high)
    assert np.mean(held[10]) > 0.75
    assert np.mean(held[0]) < 0.7  # with all papers alike it would not hold
    assert forecast(Seen([False] * 10 + [True] * 20, 70, 60, {}, {}, 10)).chance > 0.99


@pytest.mark.parametrize(
    ("papers", "each", "batch", "front", "unlike", "asked"),
    [
        (60, 1, None, 20, 0, True),
        (60, 1, 10, 29, 10, False),
        (60, 1, 10, 30, 10, True),
        (20, 1, 30, 19, 0, False),  # there is no second batch
        (30, 2, None, 49, 0, True),
        (30, 2, None, 50, 30, True),  # second items are left alone, and some have ended
        (30, 2, 40, 60, 40, False),
    ],
)
def test_what_a_forecast_goes_by_is_like_what_is_to_come(
    papers: int, each: int, batch: int | None, front: int, unlike: int, asked: bool
) -> None:
    slots = slots_of([Paper(f"p{n}", "", Path(), "") for n in range(papers)], each)
    done = [End(s.paper.id, False, "", 1.0, 10, 100, 1.0, s.number) for s in slots[:front]]
    outlook = Outlook(Budget(), 1, True, lambda _line: None, batch)
    intake = Intake(slots, 0.8, len(slots), outlook)
    intake.recorded(done)
    assert seen(intake, Budget(), batch).unlike == unlike
    assert bool(intake.stopped) == asked == (outlook.latest is not None)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three items, one rollout at a time."""
    out = tmp_path_factory.mktemp("accept") / "data"
    assert generate(out, "--accept", "3", "--set", "limits.rollouts_in_flight=1") == 0
    return out


def rows(out: Path) -> int:
    with sqlite3.connect(out / "results.db") as db:
        return int(db.execute("SELECT COUNT(*) FROM results").fetchone()[0])


def kept(out: Path) -> bytes:
    return (out / "items.jsonl").read_bytes()


def test_it_ends_with_so_many_items_and_goes_on_to_more(
    three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kept(three).count(b"\n") == 3
    assert rows(three) < PAPERS
    wide, out = tmp_path / "wide", tmp_path / "more"
    assert generate(wide, "--accept", "3", "--set", "limits.rollouts_in_flight=8") == 0
    assert kept(wide) == kept(three)
    shutil.copytree(wide, out)
    assert generate(out, "--accept", "4") == 0
    assert generate(wide, "--accept", "4", "--max-papers", "11") == 0
    assert kept(out) == kept(wide)
    assert kept(out).count(b"\n") == 4
    assert generate(out, "--accept", "3") == 0
    assert kept(out) == kept(three)
    assert "kept in" in capsys.readouterr().out


def killed_after(results: int, arguments: list[str]) -> None:
    """Generate, and kill -9 as soon as so many results were recorded."""
    put, left = Results.put, iter(range(results))

    def put_and_die(*given: object) -> None:
        put(*given)  # type: ignore[arg-type]
        if next(left) == results - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    Results.put = put_and_die  # type: ignore[method-assign,assignment]
    generate(Path(arguments[0]), *arguments[1:])


def test_killed_and_resumed_it_has_the_items_of_an_unbroken_one(
    three: Path, tmp_path: Path
) -> None:
    context, out = multiprocessing.get_context("spawn"), tmp_path / "data"
    for results in (1, 3):
        given = [str(out), "--accept", "3", "--set", "limits.rollouts_in_flight=4"]
        process = context.Process(target=killed_after, args=(results, given))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert rows(out) == 4
    assert generate(out, "--accept", "3") == 0
    assert kept(out) == kept(three)


def test_papers_or_budget_that_cannot_suffice_stop_it_early(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, many = tmp_path / "data", ("--papers", "synthetic:40:0")
    assert generate(out, *many, "--accept", "38", "--set", "limits.rollouts_in_flight=1") == 3
    said = capsys.readouterr().err.splitlines()
    [foretold] = [line for line in said if "forecast after" in line]
    assert foretold.startswith(f"SIMULATED  forecast after {FIRST} papers, 80% intervals: ")
    assert "of all 40 papers; 38 not with these papers" in foretold
    assert "the papers will not suffice" in said[-1]
    assert said[-1].endswith("--no-forecast-stop")
    assert rows(out) == FIRST
    paid = calls(out)
    spent = ("--set", f"budget.calls={paid + 200}")
    assert generate(out, *many, "--accept", "23", *spent) == 3
    assert f"budget.calls = {paid + 200} won't last" in capsys.readouterr().err
    assert (rows(out), calls(out)) == (FIRST, paid)
    assert generate(out, *many, "--accept", "38", "--no-forecast-stop") == 3
    assert "all 40 papers were tried" in capsys.readouterr().err
    assert rows(out) == 40


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--accept", "0"], "--accept"),
        (["--accept", str(PAPERS + 1)], f"only {PAPERS} papers"),
        (["--accept", "3", "--max-papers", "2"], "only 2 papers"),
        (["--no-forecast-stop"], "only --accept has a forecast"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert generate(tmp_path / "data", *more) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
