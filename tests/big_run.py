"""A test's tool: run folders as large as real ones, in seconds.

Loop, store, state, harness.git and all files are the real ones.  Made up are the rollouts
(variations of a few that were really simulated), diagnoses and edits: the rates say nothing at all.

    python tests/big_run.py OUT --iterations 233 --all

With the defaults of ``build``, 233 iterations have some 20,000 paper results.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import sqlite3
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from big_texts import diagnosis, edited
from hostile import (
    FILE,
    LONG,
    MARKS,
    MARKUP,
    break_trajectories,
    spiced,
    spiced_all,
    write_hostile_papers,
)
from scipy.special import expit, logit

from inner_agent.calls import _decode
from inner_agent.llm import Reply
from inner_agent.papers import Paper
from inner_agent.run_paper import PaperResult, Rig
from metaopt import loop, store
from metaopt.agent import AgentFailed
from metaopt.analyzer import Diagnosis
from metaopt.config import RunConfig, load_config
from metaopt.implementer import Edit
from metaopt.lab import Lab, open_lab, sealed_papers
from metaopt.monitor import Monitor
from metaopt.population import Candidate
from metaopt.record import open_record
from metaopt.rollouts import Draw, Rollouts
from metaopt.sealed import close_opening, open_seal
from metaopt.store import Store
from metaopt.tree import Tree

HERE = Path(__file__).parent
DEMO = HERE.parent / "configs" / "demo.toml"
FIXES = HERE.parent / "populations" / "classics" / "published_fixes.diff"
SPLIT = HERE.parent / "splits" / "demo.json"
ACCEPTED = 0.54  # of the mutants
MOST_VARIATIONS = 3  # of one outcome on one paper: their files are shared
FAILURES = {  # how a paper fails: weights
    "not_accepted": 78, "fresh_failed": 9, "audit_failed": 5, "crashed": 3, "timed_out": 2,
    "no_result": 2, "junk": 1,
}  # fmt: skip
_TERM = re.compile(r"`([a-z]+(?: [a-z]+)*)`")
_OWN = re.compile(r'"(\w+)\\?": (?:"(\w+)")?')  # what a trajectory itself is made of


@dataclass(frozen=True)
class Template:
    """A rollout that was really simulated: its trajectory as JSON, its result, its calls as
    (role, reply, usd, seconds)."""

    text: str
    result: PaperResult
    title: str
    calls: tuple[tuple[str, Reply, float, float], ...]


@cache
def templates() -> dict[str, list[Template]]:
    """By how they ended; what didn't happen is made of what did."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, "run")
        found = asyncio.run(_simulated(folder))
    passed, failed = found["passed"], found["not_accepted"]
    found["audit_failed"] += [_unaudited(t) for t in passed[:2]]
    for reason in ("crashed", "timed_out", "no_result", "junk"):
        found[reason] = [_broken(t, reason) for t in failed[:2]]
    found["fresh_failed"] = found["fresh_failed"] or [_unaudited(passed[0], "fresh_failed")]
    return found


async def _simulated(folder: Path) -> defaultdict[str, list[Template]]:
    """Of the baseline, which seldom passes, and of one with the published fixes."""
    lab = open_lab(config_of(1), folder, Monitor())
    try:
        commit = lab.repo.apply(lab.repo.baseline, FIXES.read_bytes(), FIXES.name)
        fixed = Candidate(1, 0, commit, lab.repo.tree_id(commit))
        papers = lab.split["val"]
        weak = await lab.evaluate(0, lab.state.candidates[0], "val", papers[:8])
        good = await lab.evaluate(1, fixed, "val", papers[8:])
    finally:
        await lab.close()
    found = defaultdict(list)
    titles = {p.id: p.title for p in papers}
    with closing(sqlite3.connect(folder / "calls.db")) as db:
        for candidate, results in enumerate((weak, good)):
            for paper, result in results.items():
                path = lab.rollouts.trajectory_path(candidate, candidate, "val", paper)
                rows = db.execute(
                    "SELECT role, reply, usd, seconds FROM calls WHERE instr(sample, ?)", (paper,)
                )
                calls = tuple((r[0], _decode(r[1]), r[2], r[3]) for r in rows)
                text = path.read_text(encoding="utf-8")
                found[result.reason].append(Template(text, result, titles[paper], calls))
    return found


def _changed(t: Template, told: dict[str, Any], **changes: Any) -> Template:
    result = t.result.model_copy(update=changes)
    trajectory = json.loads(t.text) | told | {"result": result.model_dump()}
    return Template(json.dumps(trajectory, ensure_ascii=False), result, t.title, t.calls)


def _unaudited(t: Template, reason: str = "audit_failed") -> Template:
    """One that passed, as it would be had its audit failed."""
    steps = [s for s in json.loads(t.text)["steps"] if s["kind"] not in ("audit", "fresh")]
    if reason == "fresh_failed":
        return _changed(t, {}, passed=False, reason=reason)
    why = {"check": "supported", "detail": "criterion 3 isn't supported by the paper"}
    steps.append({"kind": "audit", "passed": False, "findings": [why], "probes": {}})
    return _changed(t, {"steps": steps}, passed=False, reason=reason, findings=("supported",))


def _broken(t: Template, reason: str) -> Template:
    """One whose harness came to no good end half-way."""
    steps = json.loads(t.text)["steps"]
    said = "Traceback (most recent call last):\n  File main_agent.py, line 31\nKeyError: 'round'"
    told = {"steps": steps[: len(steps) // 2], "rounds": [], "stderr": said}
    return _changed(
        t, told, reason=reason, rounds=0, outcomes={}, accepted=False, question="",
        detail="KeyError: 'round'",
    )  # fmt: skip


@cache
def _words() -> tuple[str, ...]:
    """The words that the templates' papers made up."""
    texts = [t.text for ts in templates().values() for t in ts]
    own = {word for text in texts for found in _OWN.findall(text) for word in found}
    terms = {term for text in texts for term in _TERM.findall(text)}
    words = {word for term in terms for word in term.split() if len(word) > 4}
    return tuple(sorted(words - own))


@cache
def _translation(paper: str) -> Callable[[str], str]:
    """Words of one paper for those of another: the same questions would be told from each other."""
    mixed = list(_words())
    random.Random(paper).shuffle(mixed)
    other = dict(zip(_words(), mixed, strict=True))
    pattern = re.compile(r"\b(?:" + "|".join(sorted(other, key=len, reverse=True)) + r")\b")
    return lambda text: pattern.sub(lambda m: other[m[0]], text)


@dataclass
class MadeUp:
    """In the place of ``Rollouts``: results and trajectories from templates.

    ``first``: iterations from there on keep their trajectories.  ``calls_each``: calls recorded of
    a rollout at most (None: all).  ``last``: the run is stopped when that iteration is decided.
    """

    real: Rollouts
    lab: Lab
    last: int
    first: int
    calls_each: int | None
    hostile: bool
    clock: Callable[[], float]
    files: dict[tuple[int, str], Path] = field(default_factory=dict)
    plans: dict[int, tuple[set[str], set[str]]] = field(default_factory=dict)

    @property
    def rig(self) -> Rig:
        return self.real.rig

    def traces(self, *_: Any) -> list[Any]:
        """The made-up analyzer doesn't read."""
        return []

    async def evaluate(
        self, draw: Draw, export: Any, papers: Sequence[Paper], progress: Callable[[bool], None]
    ) -> dict[str, PaperResult]:
        """As ``Rollouts.evaluate``."""
        if draw.iteration > self.last:
            await self._stop()
        done = self.real.store.results(draw.candidate, draw.part, draw.iteration)
        for paper in papers:
            if paper.id not in done:
                done[paper.id] = self._one(draw, paper, self._passes(draw, paper))
                await asyncio.sleep(0)
            progress(True)
        return {p.id: done[p.id] for p in papers}

    async def _stop(self) -> None:
        state = self.lab.state
        while not all(map(state.is_decided, range(1, self.last + 1))):  # noqa: ASYNC110  no event says it
            await asyncio.sleep(0)
        raise Enough

    def _passes(self, draw: Draw, paper: Paper) -> bool:
        i = draw.iteration
        if draw.part == "val":
            if i not in self.plans:
                self.plans[i] = self._plan(i)
            return paper.id in self.plans[i][draw.candidate == i]
        if draw.part == "honeypot":
            return i % 41 == 40
        rng = random.Random(f"{draw.candidate}/{draw.part}/{i}/{paper.id}")
        return rng.random() < self._chance(draw.candidate, paper.id)

    def _chance(self, candidate: int, paper: str) -> float:
        """The candidate's pass rate on the paper: rising, the papers' difficulties differ."""
        rng = random.Random(f"candidate {candidate}")
        rate = 0.12 + 0.32 * (1 - np.exp(-candidate / 90)) + rng.gauss(0, 0.02) * (candidate > 0)
        harder = random.Random(f"paper {paper}").gauss(0, 0.9)
        return float(expit(logit(min(0.9, max(0.02, rate))) + harder))

    def _plan(self, i: int) -> tuple[set[str], set[str]]:
        """What parent and mutant pass on validation; the share of accepted ones is as wanted."""
        rng = random.Random(f"plan {i}")
        stages, papers = self.lab.state.stages[i], [p.id for p in self.lab.split["val"]]
        control = stages["implemented"].get("control")
        wanted = rng.random() < ACCEPTED and not _gamed(i)
        while True:
            parent, mutant = (
                {p for p in papers if rng.random() < self._chance(c, p)}
                for c in (stages["selected"]["parent"], i)
            )
            if control or (len(mutant) > len(parent)) == wanted:
                return parent, mutant

    def _one(self, draw: Draw, paper: Paper, passes: bool) -> PaperResult:
        where = (draw.iteration, draw.candidate, draw.part)
        rng = random.Random(f"{where}/{paper.id}")
        reason = "passed" if passes else rng.choices(list(FAILURES), list(FAILURES.values()))[0]
        if not passes and _gamed(draw.iteration) and draw.candidate == draw.iteration:
            reason = rng.choice(["audit_failed", "not_accepted"])
        known = templates()[reason]
        start = int(hashlib.sha256(paper.id.encode()).hexdigest()[:8], 16)
        template = known[(start + rng.randrange(MOST_VARIATIONS)) % len(known)]
        result = self._result(template, paper)
        path = self.real.trajectory_path(*where, paper.id)
        if draw.iteration >= self.first and not path.exists():
            self._write(path, template, paper, result)
        timing = {"wall_s": round(rng.gammavariate(8, 12), 3), "in_flight": float(rng.randrange(8))}
        self.real.store.put_result(draw.candidate, draw.part, draw.iteration, result, timing)
        self._call(rng, f"{draw.sample}/{paper.id}", template)
        return result

    def _result(self, template: Template, paper: Paper) -> PaperResult:
        said = _translation(paper.id)
        changes: dict[str, Any] = {"paper": paper.id, "question": said(template.result.question)}
        if self.hostile:
            for key in ("question", "detail"):
                text = changes.get(key, getattr(template.result, key))
                changes[key] = spiced(text, paper.id) if text else ""
        return template.result.model_copy(update=changes)

    def _write(self, path: Path, template: Template, paper: Paper, result: PaperResult) -> None:
        """A file that was written before is given another name: those of one paper are alike."""
        path.parent.mkdir(parents=True, exist_ok=True)
        known = self.files.get((id(template), paper.id))
        if known is None:
            path.write_text(self._trajectory(template, paper, result), encoding="utf-8")
            self.files[id(template), paper.id] = path
        else:
            os.link(known, path)

    def _trajectory(self, template: Template, paper: Paper, result: PaperResult) -> str:
        text = _translation(paper.id)(template.text)
        told = json.loads(text.replace(template.result.paper, _escaped(paper.id)))
        told["paper"] |= {"title": paper.title, "sha256": paper.sha256}
        if self.hostile:
            told = spiced_all(told)
            if not sum(map(ord, paper.id)) % 5 and told["rounds"]:
                told["rounds"][0]["feedback"] += f"\n{LONG}"
        return json.dumps(told | {"result": result.model_dump()}, ensure_ascii=False)

    def _call(self, rng: random.Random, sample: str, template: Template) -> None:
        at = self.clock()
        every = 1 if self.calls_each is None else max(1, len(template.calls) // self.calls_each)
        for n, (role, reply, usd, seconds) in enumerate(template.calls[::every]):
            self.record(rng, f"{sample}/{n}", role, reply, usd, seconds, at)

    def record(
        self, rng: random.Random, sample: str, role: str, reply: Reply, usd: float, seconds: float,
        at: float,
    ) -> None:  # fmt: skip
        """One call in calls.db."""
        key = rng.randbytes(32)
        self.lab.gateway._calls.put(key, sample, role, reply, usd, at, seconds)


class Enough(Exception):
    """The run is to stop here."""


def _gamed(i: int) -> bool:
    """Does the mutant of iteration ``i`` only look better?"""
    return i % 37 == 5


def _escaped(text: str) -> str:
    """As it stands within a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


@dataclass
class Agents:
    """In the place of the two outer agents."""

    rollouts: MadeUp
    hostile: bool

    async def analyze(self, ask: Any, traces: Any, history: Any, sample: str, _: Any) -> Diagnosis:
        """As ``metaopt.analyzer.analyze``."""
        i, lab = int(sample), self.rollouts.lab
        rng = self._called("analyzer", i)
        if rng.random() < 0.02:
            raise AgentFailed(self._spiced("analyzer: no report within 40 steps", i))
        papers = lab.state.stages[i]["traced"]["papers"]
        found = diagnosis(rng, papers)
        if not self.hostile:
            return found
        modes = tuple(
            m.model_copy(
                update={"name": spiced(m.name)[:200], "evidence": tuple(map(spiced, m.evidence))}
            )
            for m in found.failure_modes
        )
        changes = {k: spiced(getattr(found, k), f"{i}") for k in ("root_cause", "proposed_change")}
        return found.model_copy(update={"failure_modes": modes, **changes})

    async def implement(
        self, ask: Any, found: Any, history: Any, tree: Tree, editable: Any, fixed: Any, check: Any,
        sample: str, _: Any,
    ) -> Edit:  # fmt: skip
        """As ``metaopt.implementer.implement``."""
        i, lab = int(sample), self.rollouts.lab
        rng = self._called("implementer", i)
        fate = rng.random()
        if fate < 0.04:
            raise AgentFailed(self._spiced("gate: prompts/challenger.md lost its placeholder", i))
        if fate < 0.06 and i > 10:
            earlier = lab.state.candidates[min(2, *lab.state.candidates.keys() - {0})]
            return Edit(lab.repo.read(earlier.commit), earlier.summary, 4, 0)
        new, summary = edited(rng, tree, i)
        if self.hostile:
            new |= {
                FILE: f"# {MARKS[i % len(MARKS)]}\n# no end of line: {i}".encode(),
                "one_line.py": f"A = '{i}{LONG}'\n".encode(),
                "control.py": b"# \x1b[31m \xe2\x80\xae \r\n# \xff\xfe not UTF-8\n" + b"%d" % i,
                "bytes.bin": bytes(range(256)) + b"%d" % i,
                "prompts/challenger.md": new["prompts/challenger.md"]
                + f"\n{MARKS[(3 * i) % len(MARKS)]}\n".encode(),
            }
            summary = f"{MARKUP} {summary}"
        return Edit(new, self._spiced(summary, i), 3 + rng.randrange(9), rng.randrange(2))

    def _spiced(self, text: str, i: int) -> str:
        return spiced(text, f"{i}") if self.hostile else text

    def _called(self, role: str, i: int) -> random.Random:
        """Record some calls of the agent; what is random in iteration ``i`` of it."""
        rng, reply = random.Random(f"{role} {i}"), Reply("", model=f"sim-{role}")
        for n in range(rng.randint(3, 9)):
            told = Reply("{}", (), "tool_calls", 30_000 + 400 * n, 700, 24_000, reply.model)
            usd, at = 0.0104, self.rollouts.clock()
            self.rollouts.record(rng, f"{i}/{n}", role, told, usd, 9.5, at)
        return rng


def config_of(iterations: int, minibatch: int = 20, papers: Path | None = None) -> RunConfig:
    """The demo's config, as long and as wide as wanted, with prices."""
    price = "{input = 0.25, output = 2.0, cached_input = 0.03}"
    sets = [
        f"search.iterations={iterations}", f"search.minibatch={minibatch}", "search.null_every=20",
        "search.finalists=4", "search.audit_analyzer=1", f"endpoints.simulator.price={price}",
    ]  # fmt: skip
    if papers:
        sets += [f"papers.path={papers}", f"papers.split={papers / 'split.json'}"]
    return load_config(DEMO, sets)


def build(
    folder: Path, iterations: int = 233, *, planned: int | None = None, minibatch: int = 20,
    kept: int | None = None, calls_each: int | None = 8, hostile: bool = False, days: float = 9.0,
) -> Path:  # fmt: skip
    """Make a run's folder.

    ``planned``: of so many iterations, ``iterations`` of them decided; then it has no finalists
    and no test.  ``kept``: so many of the last iterations have their trajectories (None: all).
    ``calls_each``: as in ``MadeUp``.  ``hostile``: everything untrusted is; the papers lie beside
    the folder.  ``days``: how long it took at most, until now.
    """
    papers = None
    if hostile:
        papers = folder.with_name(f"{folder.name}-papers")
        write_hostile_papers(papers, SPLIT)
    config = config_of(planned or iterations, minibatch, papers)
    first = 1 if kept is None else iterations - kept + 1
    templates()  # by the real clock
    expected = (planned or iterations) * (2 * minibatch + 60)
    with _clock(time.time() - 86_400 * days, 86_400 * days / expected) as clock:
        _work(folder, config, iterations, first, calls_each, hostile, clock, at_once=True)
        if not planned or planned == iterations:
            _test(folder, config)
    if hostile:
        break_trajectories(_breakable(folder))
    return folder


def append(folder: Path, iterations: int = 1, *, calls_each: int | None = 8) -> None:
    """Go on with a folder of ``build(planned=…)`` by so many iterations, as a running run does;
    the next ones are begun."""
    record = open_record(folder)
    last = record.state.advanced + iterations
    _work(folder, record.config, last, 1, calls_each, False, time.time, at_once=False)


@contextmanager
def _clock(start: float, step: float) -> Iterator[Callable[[], float]]:
    """run.db's clock: each look at it takes ``step`` seconds, but it doesn't pass the real one."""
    now = [start]

    def tick() -> float:
        now[0] = min(now[0] + step, time.time())
        return now[0]

    with patch.object(store, "time", SimpleNamespace(time=tick)):
        yield lambda: now[0]


def _work(
    folder: Path, config: RunConfig, last: int, first: int, calls_each: int | None, hostile: bool,
    clock: Callable[[], float], *, at_once: bool,
) -> None:  # fmt: skip
    templates()  # before a loop runs
    lab = open_lab(config, folder, Monitor())
    made = MadeUp(lab.rollouts, lab, last, first, calls_each, hostile, clock)
    lab.rollouts = made  # type: ignore[assignment]
    agents = Agents(made, hostile)

    async def until() -> None:
        try:
            await loop.optimize(lab)
        except* Enough:
            pass
        finally:
            if at_once:
                lab.store._db.execute("COMMIT")
            await lab.close()

    if at_once:
        lab.store._db.execute("BEGIN")  # thousands, in one commit
    with (
        patch.object(loop, "analyze", agents.analyze),
        patch.object(loop, "implement", agents.implement),
    ):
        asyncio.run(until())


def _test(folder: Path, config: RunConfig) -> None:
    """The sealed papers, opened."""
    papers = sealed_papers(config, folder)
    opening = open_seal(open_record(folder), papers, 2, again=False)
    rng = random.Random("test")
    rate = {"best": 0.45, "paper": 0.4, "baseline": 0.18}
    rates = {arm.candidate: rate[name] for name, arm in opening.arms.items()}
    close_opening(
        folder,
        {c: [[rng.random() < r for _ in papers] for _ in range(2)] for c, r in rates.items()},
    )


def _breakable(folder: Path) -> Iterator[Path]:
    """Trajectories with rounds, those of the newest candidates first."""
    for tree in sorted((folder / "trajectories").iterdir(), key=lambda p: -int(p.name)):
        for path in sorted((tree / "val").glob("*.json")):
            if json.loads(path.read_text(encoding="utf-8"))["rounds"]:
                yield path


def main() -> None:
    """Build a run's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--iterations", type=int, default=233)
    parser.add_argument("--planned", type=int, help="of so many; then it isn't finished")
    parser.add_argument("--kept", type=int, help="iterations with trajectories; default: all")
    parser.add_argument("--all-calls", action="store_true", help="a calls.db of full size")
    parser.add_argument("--hostile", action="store_true")
    told = parser.parse_args()
    started = time.monotonic()
    build(
        told.out, told.iterations, planned=told.planned, kept=told.kept,
        calls_each=None if told.all_calls else 8, hostile=told.hostile,
    )  # fmt: skip
    with closing(Store(told.out / "run.db", readonly=True)) as made:
        results = len(made.finished())
    print(f"{told.out}: {results} results in {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
