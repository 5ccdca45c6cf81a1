"""Search policies: what is believed of candidates, when a mutant is stopped, whole runs."""

import json
import re
import shutil
import sqlite3
from collections.abc import Sequence
from itertools import combinations, product
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import binom, norm, t
from whole_runs import small_config, story

from metaopt.cli import app, invoke
from metaopt.config import Search, load_config
from metaopt.offpolicy import replay_policy, told
from metaopt.policy import Paper, Pooled, Thompson, out_of_reach, policy_of
from metaopt.population import (
    BREAKS,
    ROOT,
    STEP,
    TAIL,
    Candidate,
    best,
    choose_finalist,
    posterior,
    ranked,
)
from metaopt.record import open_record
from metaopt.store import Event

FIXES = Path(__file__).parent.parent / "populations/classics/published_fixes.diff"
Runs = Sequence[tuple[int | None, int, int, bool]]  # parent, passes, papers, accepted


def family(*rows: tuple[int | None, int, int, bool]) -> list[Candidate]:
    made = []
    for k, (parent, passes, papers, accepted) in enumerate(rows):
        made.append(Candidate(k, parent, "", "", accepted=accepted))
        made[k].add_run(k, passes, papers)
    return made


TREE: Runs = (
    (None, 9, 75, True), (0, 14, 50, True), (0, 0, 5, False), (1, 22, 50, True), (1, 0, 25, False),
    (3, 30, 75, True), (0, 3, 25, True), (3, 1, 25, False),
)  # fmt: skip


LEAP: Runs = ((None, 1, 25, True), (0, 25, 25, True), (1, 0, 25, True), (1, 0, 25, True))


@pytest.mark.parametrize("rows", [TREE, LEAP])  # half a hundred steps lead to the latter's
def fair_share(parent: float, papers: int) -> float:
    """How likely a mutant that passed nothing isn't broken: by integration over its step."""
    steps = np.linspace(-8, 8, 8_001)
    none = (1 - expit(parent + steps)) ** papers @ t.pdf(steps, TAIL, scale=STEP)
    fair = (1 - BREAKS) * none * (steps[1] - steps[0])
    return float(fair / (fair + BREAKS))


def test_posterior_is_the_mode_of_the_stated_model() -> None:
    """What a mutant without a pass says counts as far as it isn't broken; so for a fixed point."""
    candidates = family(*TREE)
    known = posterior(candidates)
    logits = {c.id: float(x) for c, x in zip(known.members, known.logits, strict=True)}
    shares = {c.id: 1.0 if c.passes else fair_share(logits[c.parent or 0], c.papers)
              for c in candidates}  # fmt: skip

    def minus_log_density(x: Any) -> float:
        total = norm.logpdf(x[0], *ROOT)
        for c in candidates:
            own = binom.logpmf(c.passes, c.papers, expit(x[c.id]))
            if c.parent is not None:
                own += t.logpdf(x[c.id] - x[c.parent], TAIL, scale=STEP)
            total += shares[c.id] * own
        return float(-total)

    found = minimize(minus_log_density, np.full(len(TREE), -1.5), method="BFGS").x
    assert [c.id for c in known.members] == [0, 1, 3, 5, 6]
    assert known.logits == pytest.approx(found[[0, 1, 3, 5, 6]], abs=0.03)


def test_draws_have_the_posteriors_mean_and_spread() -> None:
    known = posterior(family(*TREE))
    rng = np.random.default_rng(0)
    draws = np.array([known.sample(rng) for _ in range(20_000)])
    covariance = np.linalg.inv(known.factor @ known.factor.T)
    assert draws.mean(axis=0) == pytest.approx(known.logits, abs=0.01)
    assert np.cov(draws.T) == pytest.approx(covariance, rel=0.1, abs=0.004)
    assert known.sample(rng, temper=0) == pytest.approx(known.logits)


def test_relatives_speak_for_each_other() -> None:
    lucky = family((None, 10, 100, True), (0, 8, 25, True), (0, 9, 75, True))
    rates = posterior(lucky).rates
    assert 0.10 < rates[1] < 0.2 < lucky[1].rate  # one lucky run counts for less than it shows
    proven = family((None, 10, 100, True), (0, 80, 250, True))
    assert posterior(proven).rates[1] == pytest.approx(0.32, abs=0.02)
    # A child that broke says next to nothing about its parent, of which little is known.
    broken = [(0, 0, 5, False), (0, 0, 25, False)]
    for passes in (13, 20):
        before, after = (
            posterior(family((None, passes, 25, True), *children)).rates[0]
            for children in ((), broken)
        )
        assert after == pytest.approx(before, abs=0.04)
    assert best(family((None, 2, 25, True), (0, 2, 25, True))).id == 0  # the older of equals


def test_finalists_are_chosen_by_all_their_runs() -> None:
    candidates = family((None, 10, 100, True), (0, 8, 25, True), (0, 7, 25, True))
    assert [c.id for c in ranked(candidates)] == [1, 2, 0]
    lucky, sound = [True] * 2 + [False] * 23, [True] * 9 + [False] * 16
    assert choose_finalist(candidates, {1: lucky, 2: sound}).id == 2
    assert choose_finalist(candidates, {1: lucky}).id == 1  # only who was run again
    assert [len(c.runs) for c in candidates] == [1, 1, 1]


@pytest.mark.parametrize(("papers", "rate"), [(8, 0.2), (10, 0.5), (12, 0.7)])
def test_a_mutant_that_would_be_admitted_is_stopped_at_most_as_often_as_promised(
    papers: int, rate: float
) -> None:
    """Every order of the outcomes, counted one by one."""
    alpha, needed = 0.2, int(rate * papers) + 1
    for total in range(needed, papers + 1):
        stopped = 0
        for places in combinations(range(papers), total):
            outcomes = [k in places for k in range(papers)]
            stopped += bool(out_of_reach(needed, outcomes, papers, rate, alpha)[:-1].any())
        assert stopped <= alpha * comb(papers, total), total


def test_stopping_looks_at_exact_odds() -> None:
    """Against the definition: prior / posterior of every K, from the hypergeometric sums."""
    papers, rate, alpha, needed = 10, 0.3, 0.3, 4
    a, b = 6 * rate, 6 * (1 - rate)
    grid = (np.arange(20_000) + 0.5) / 20_000
    density = grid ** (a - 1) * (1 - grid) ** (b - 1)
    prior = np.array([(binom.pmf(k, papers, grid) * density).sum() for k in range(papers + 1)])
    prior /= prior.sum()
    for outcomes in product([False, True], repeat=6):
        for seen in range(1, 7):
            passed = sum(outcomes[:seen])
            odds = [
                comb(papers - seen, k - passed) / comb(papers, k) if k >= passed else 0.0
                for k in range(papers + 1)
            ]
            posterior_ = np.array(odds) * prior / (np.array(odds) @ prior)
            wanted = bool((posterior_[needed:] <= alpha * prior[needed:]).all())
            said = out_of_reach(needed, outcomes, papers, rate, alpha)[seen - 1]
            assert said == wanted, (outcomes, seen)


def test_thompson_screens_then_stops_then_compares() -> None:
    policy = Thompson(alpha=0.1)
    assert policy.hopeless(0.3, [False] * 4, 25) == ""  # not before the screen's end
    assert "screened out: 1 of 5" in policy.hopeless(0.3, [True, *[False] * 4], 25)
    good_start = [True] * 2 + [False] * 3
    assert policy.hopeless(0.3, good_start, 25) == ""
    assert "hopeless: 4 of" in policy.hopeless(0.6, [True] * 4 + [False] * 16, 25)
    assert policy.hopeless(0.3, [True] * 2 + [False] * 23, 25) == ""  # through: the gate decides
    assert policy.admit(0.3, [], [True] * 8 + [False] * 17)
    assert not policy.admit(0.32, [], [True] * 8 + [False] * 17)  # equal is not above


def test_policies_are_what_the_config_says() -> None:
    assert policy_of(Search()) == Paper(0.1)
    assert policy_of(Search(policy="pooled")) == Pooled(0.03)
    thompson = policy_of(Search.model_validate({"policy": "thompson", "thompson": {"screen": 8}}))
    assert thompson.spending.block == 8
    assert not Paper().deviations()
    assert len(thompson.deviations()) == 5
    rng = np.random.default_rng(0)
    candidates = family((None, 10, 100, True), (0, 25, 25, False), (0, 80, 100, True))
    for policy in (Paper(), Pooled(), thompson):
        chosen = {policy.choose(candidates, rng).parent.id for _ in range(40)}
        assert 2 in chosen
        assert 1 not in chosen  # a rejected candidate is never a parent


@pytest.mark.parametrize("policy", ["pooled", "thompson"])
def test_a_whole_run(tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = small_config(tmp_path, 'kind = "simulator"')
    out, again = tmp_path / "run", tmp_path / "again"
    settings = [f"search.policy={policy}", "search.iterations=6", "search.null_every=3",
                "search.validation_papers=8", "search.finalists=2", "search.report_runs=2",
                "search.thompson.screen=3", "search.minibatch=2"]  # fmt: skip
    words = [w for s in settings for w in ("--set", s)]
    assert invoke(app, ["run", str(config), "--out", str(out), *words]) == 0
    assert "finalists: candidate" in capsys.readouterr().err
    record = open_record(out)
    check_controls(record)
    last = record.stages[6]["finalists"]
    assert len(last["candidates"]) == min(2, len(record.state.population))
    assert last["chosen"] in last["candidates"]
    assert [len(run) for run in last["report"]] == [8, 8]
    for stages in record.stages.values():
        check_validation(stages, policy)
    if policy == "thompson":
        sources = [s["traced"]["source"] for s in record.stages.values() if "traced" in s]
        assert min(np.diff([0, *sources])) == 0  # some iterations share a training evaluation
        assert record.state.candidates[0].runs[0][0] == 0
    check_shown(out, record, capsys)
    # Stopped and gone on with, it is the same run; what the search knows has no finalists in it.
    one = [*words, "--set", "budget.calls=700"]
    while invoke(app, ["run", str(config), "--out", str(again), *one]) == 3:
        calls = int(one[-1].partition("=")[2])
        one[-1] = f"budget.calls={calls + 700}"
        shutil.rmtree(again / "trajectories/0/train", ignore_errors=True)  # made anew when read
    assert story(again) == story(out)
    assert invoke(app, ["run", str(config), "--out", str(out), *words]) == 0  # nothing is owed
    assert story(again) == story(out)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run by each of two policies, long enough to have choices."""
    runs = {}
    for policy in ("paper", "thompson"):
        folder = tmp_path_factory.mktemp(policy)
        config = small_config(folder, 'kind = "simulator"', iterations=8, minibatch=2)
        settings = [f"search.policy={policy}", "search.null_every=4", "search.thompson.screen=2",
                    "search.finalists=0", f"harness.patch={FIXES}"]  # fmt: skip
        runs[policy] = folder / "run"
        words = [w for s in settings for w in ("--set", s)]
        assert invoke(app, ["run", str(config), "--out", str(runs[policy]), *words]) == 0
    return runs


@pytest.mark.parametrize("policy", ["paper", "thompson"])
def test_replaying_a_runs_own_policy_gives_the_run(
    recorded: dict[str, Path], policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = open_record(recorded[policy])
    found = replay_policy(record, policy_of(record.config.search))
    wanted = [(d.iteration, d.parent, d.decision.partition(":")[0]) for d in record.decisions]
    assert [(s.iteration, s.parent, s.decision) for s in found.steps] == wanted
    assert {c.id: (c.passes, c.papers) for c in found.candidates} == {
        c.id: (c.passes, c.papers) for c in record.state.candidates.values()
    }
    own = ["--policy", policy]
    if policy == "thompson":
        own += ["--set", "search.thompson.screen=2"]
    capsys.readouterr()
    assert invoke(app, ["replay", str(recorded[policy]), *own]) == 0
    out = capsys.readouterr().out
    assert "SIMULATED" in out
    assert "answered    8 of 8" in out
    [spent] = re.findall(r"rollouts    (\d+) on training and validation papers", out)
    assert f"(the run: {spent})" in out
    winners = re.findall(r"^(?:winner|the run's) +(candidate .*)$", out, re.MULTILINE)
    assert len(winners) == 2
    assert winners[0] == winners[1]
    # Like with like: finalists, who aren't run again here, don't decide of the run's winner either.
    other = next(c.id for c in record.state.population if c.id != found.winner.id)
    record.state.apply(Event(8, "finalists", {"chosen": other}))
    assert told(record, policy, found).count(f"candidate {found.winner.id}:") == 2


def test_a_replay_says_what_the_record_cannot_answer(
    recorded: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    calls = (recorded["thompson"] / "calls.db").stat().st_mtime_ns
    assert invoke(app, ["replay", str(recorded["thompson"]), "--policy", "paper"]) == 2
    err = capsys.readouterr().err  # that policy never ran a parent again
    assert "policy thompson recorded no re-runs of parents, which policy paper needs" in err
    assert err.count("\n") == 1
    other = ["--policy", "thompson", "--set", "search.thompson.screen=2"]
    assert invoke(app, ["replay", str(recorded["paper"]), *other]) == 0
    out = capsys.readouterr().out
    record = open_record(recorded["paper"])
    rejected = {d.iteration for d in record.decisions if d.decision != "accepted"}
    for line in re.findall(r"another mutant of candidate (\d+)", out):
        assert int(line) in rejected or out.count(f"mutant of candidate {line}") > 0
    assert re.search(r"answered    [1-7] of 8", out)
    assert (recorded["thompson"] / "calls.db").stat().st_mtime_ns == calls
    assert invoke(app, ["replay", str(recorded["paper"]), "--policy", "greedy"]) == 2
    assert "--policy greedy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("policy", "override", "said"),
    [
        ("thompson", "search.policy=paper", "by policy thompson only search.thompson.* can be set"),
        ("thompson", "search.iterations=3", "only search.thompson.* can be set"),
        ("thompson", "search.temperature=1", "only search.thompson.* can be set"),
        ("thompson", "search.thompson.scren=2", "did you mean 'screen'"),
        ("thompson", "search.thompson.screen=5", "a screen of all validation papers (5) is none"),
        ("paper", "search.thompson.screen=2", "by policy paper only search.temperature can be set"),
        ("paper", "search.temperature=0", "search.temperature"),
    ],
)
def test_a_replay_takes_the_policys_own_keys_alone(
    recorded: dict[str, Path], capsys: pytest.CaptureFixture[str], policy: str, override: str,
    said: str,
) -> None:  # fmt: skip
    words = ["replay", str(recorded["paper"]), "--policy", policy, "--set", override]
    assert invoke(app, words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def check_shown(out: Path, record: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Every candidate can be looked at, controls and the baseline too, paper by paper."""
    for i, stages in record.stages.items():
        if i and "validated" not in stages:
            continue
        papers = stages["validated"]["papers"] if i else record.stages[6]["finalists"]["papers"]
        capsys.readouterr()
        assert invoke(app, ["show", str(out), str(i), "--papers"]) == 0
        shown = capsys.readouterr().out
        assert all(p[:20] in shown for p in papers)
        assert not i or f"candidate {i} after" in shown
        assert invoke(app, ["show", str(out), str(i)]) == 0
        said = capsys.readouterr().out
        assert ("stopped     " in said) == bool(i and stages["validated"]["stopped"])


def check_controls(record: Any) -> None:
    """A control is its parent's tree, with draws of its own, and joins nobody."""
    for i in (3, 6):
        stages = record.stages[i]
        assert stages["implemented"]["control"]
        assert stages["decided"]["entry"]["decision"].startswith("control: ")
        assert not stages["decided"]["accepted"]
        assert i not in record.state.candidates
    with sqlite3.connect(record.folder / "run.db") as db:
        told = db.execute("SELECT timing FROM results WHERE iteration = 3").fetchall()
        calls = sum(json.loads(row[0])["wall_s"] > 0 for row in told)
    db.close()
    assert calls == len(told)


def check_validation(stages: dict[str, Any], policy: str) -> None:
    if "validated" not in stages:
        return
    scores, entry = stages["validated"], stages["decided"]["entry"]
    assert len(scores["mutant"]) == len(scores["papers"]) == len(scores["before"])
    if policy == "pooled":
        assert len(scores["parent"]) == len(scores["papers"]) == 8
        return
    assert scores["parent"] == []
    assert (len(scores["papers"]) < 8) == bool(scores["stopped"])
    assert entry["parent_rate"] == stages["selected"]["rate"]
    if scores["stopped"]:
        assert entry["decision"] in ("rejected", "control: rejected")


def test_an_older_runs_config_is_still_its_own(tmp_path: Path) -> None:
    """Keys that came later have their defaults; a run isn't refused for what it didn't know."""
    config = small_config(tmp_path, 'kind = "simulator"')
    run = ["run", str(config), "--out", str(tmp_path / "run"), "--set", "search.iterations=1"]
    assert invoke(app, run) == 0
    frozen = tmp_path / "run" / "config.toml"
    kept = [line for line in frozen.read_text().splitlines() if not line.startswith("null_every")]
    frozen.write_text("\n".join(kept))
    assert invoke(app, run) == 0
    assert load_config(frozen).search.null_every == 0


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("search.temperature=0.2", "policy thompson has none"),
        ("search.null_every=1", "null_every: every mutant would be its parent"),
        ("search.thompson.screen=5", "a screen of all validation papers (5) is none"),
    ],
)
def test_what_cant_work_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, said: str
) -> None:
    config = small_config(tmp_path, 'kind = "simulator"')
    given = [str(config), "--set", "search.policy=thompson", "--set", override]
    for words in (["run", "--out", str(tmp_path / "run")], ["estimate"]):
        assert invoke(app, [*words, *given]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
    assert not (tmp_path / "run" / "run.db").exists()


def test_logit_of_a_rate_is_the_rates_own() -> None:
    """One candidate with many papers: the pool is its plain average."""
    [only] = posterior(family((None, 420, 1000, True))).logits
    assert only == pytest.approx(logit(0.42), abs=0.01)
