"""Doubles for tests of the trusted side: models whose scores a test chooses, and harness sources.

The solvers' answers carry their score; the judge gives every criterion the score that it reads
there.  Nothing is drawn by chance.
"""

import json
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

from inner_agent.audit import QUESTIONS
from inner_agent.calls import CallStore
from inner_agent.gateway import Gateway
from inner_agent.llm import LLM, Reply, Request
from inner_agent.papers import Paper, PaperText
from inner_agent.run_paper import Rig, Rollout, run_paper
from inner_agent.sandbox import Mode
from inner_agent.settings import INNER_ROLES, InnerConfig

ITEM: dict[str, Any] = {
    "question_type": "mechanism",
    "reasoning_skills": ["deduction"],
    "context": "Widgets are round.",
    "question": "Why do they roll?",
    "reference_answer": "Because they are round.",
    "rubric": [
        {"criterion": "says why", "weight": 5},
        {"criterion": "says how", "weight": 3},
        {"criterion": "says when", "weight": 2},
    ],
}
PAPER = PaperText(Paper("p1", "On Widgets", Path("p1"), "0" * 64), "# On Widgets\n\nRound.\n", 0)


def config(**changes: Any) -> InnerConfig:
    """A config in which each role's model has the role's name; ``changes`` are whole tables.

    Of the audit only the checks of the text are on, unless ``audit`` says more.
    """
    models = {role: {"endpoint": "e", "model": role} for role in INNER_ROLES}
    models |= {r: {**models[r], **more} for r, more in changes.pop("models", {}).items()}
    given = {
        "papers": {"path": ""}, "endpoints": {"e": {"kind": "simulator"}}, "models": models,
        "audit": {"llm": False, "probes": False},
    }  # fmt: skip
    return InnerConfig.model_validate(given | changes)


class Models:
    """All roles.  ``weak`` and ``strong`` are the scores of successive answers, over and over.

    ``first`` gives replies (or exceptions to raise) that a role's first requests get instead.
    """

    def __init__(
        self,
        weak: Sequence[float] = (0.4,),
        strong: Sequence[float] = (0.8,),
        first: dict[str, list[str | Reply | Exception]] | None = None,
    ) -> None:
        self._scores = {"weak": cycle(weak), "strong": cycle(strong)}
        self.first = first or {}
        self.requests: list[Request] = []

    @property
    def asked(self) -> Counter[str]:
        """How often each role was asked."""
        return Counter(r.model for r in self.requests)

    async def complete(self, request: Request) -> Reply:
        """Answer in the role that ``request.model`` names."""
        self.requests.append(request)
        if self.first.get(request.model):
            given = self.first[request.model].pop(0)
            if isinstance(given, Exception):
                raise given
            return given if isinstance(given, Reply) else Reply(given)
        if request.model in self._scores:
            return Reply(f"scores {next(self._scores[request.model])}", prompt_tokens=10)
        if request.model == "judge":
            return Reply(_sheet(str(request.messages[-1]["content"])))
        if request.model == "auditor":
            return Reply(audit_sheet())
        return Reply("hello")


def _sheet(task: str) -> str:
    found = re.search(r"<answer>\n(?:scores (\S+))?", task)
    assert found, task
    criteria = len(re.findall(r"^\d+\. \(weight", task, re.MULTILINE))
    return sheet([float(found[1] or 0)] * criteria)


def audit_sheet(*unsound: str) -> str:
    """An auditor's reply; the named questions aren't sound."""
    lines = [{"id": q, "reason": "so", "sound": q not in unsound} for q in QUESTIONS]
    return json.dumps({"checks": lines})


def sheet(scores: Sequence[float]) -> str:
    """A judge's reply with these scores."""
    lines = [{"id": n, "reason": "so", "score": s} for n, s in enumerate(scores, 1)]
    return json.dumps({"criteria": lines})


CHILD = f"""
import json, os, socket, subprocess, sys, threading, time
FD = int(os.environ["METAOPT_FD"])
SOCKET = socket.socket(fileno=FD)
LINES = SOCKET.makefile("rb")
ITEM = json.loads({json.dumps(json.dumps(ITEM))})

def say(*words):
    print(json.dumps(words), file=sys.stderr, flush=True)

def send(line):
    SOCKET.sendall(line if isinstance(line, bytes) else line.encode())

def call(method, **params):
    send(json.dumps({{"id": 1, "method": method, "params": params}}) + "\\n")
    return json.loads(LINES.readline())

def evaluate(item=ITEM):
    return [call("evaluate", item=item, phase=p) for p in ("weak_only", "strong_only")]

def result(item=ITEM, **claims):
    played = {{k: item[k] for k in ("question", "context", "reference_answer", "rubric")}}
    played |= {{
        "refinement_round": 1, "accepted": True, "quality_verifier_kimi_passed": True,
        "quality_verifier_kimi_feedback": "", "weak_solver_avg": 0.1, "strong_solver_avg": 0.9,
        "gap": 0.8, "eval_report": "WEAK_PASSED STRONG_PASSED", "eval_output_dir": "", **claims,
    }}
    return {{
        "paper_title": "", "question_type": "", "reasoning_skills": [], "rounds": [played],
        "final_accepted_round": 1, "total_rounds": 1,
    }}
"""
HONEST = "evaluate()\ncall('submit', result=result())"


class Bench:
    """Runs harness sources, one after the other, over one gateway."""

    def __init__(
        self, folder: Path, mode: Mode, models: LLM, settings: InnerConfig, paper: PaperText = PAPER
    ) -> None:
        gateway = Gateway(settings, CallStore(folder / "calls.db"), {"e": models})
        self.rig = Rig(settings, gateway, mode, folder / "papers")
        self._folder, self.paper = folder, paper

    async def run(self, source: str, *, fresh: bool = False, **limits: float) -> Rollout:
        """One rollout of ``CHILD`` + ``source`` on the paper; each call is a draw of its own."""
        config = self.rig.config
        short = config.model_copy(update={"limits": config.limits.model_copy(update=limits)})
        harness = self._folder / f"harness-{len(list(self._folder.iterdir()))}"
        harness.mkdir()
        (harness / "harness.py").write_text(CHILD + textwrap.dedent(source))
        return await run_paper(
            replace(self.rig, config=short), harness, self.paper, harness.name, fresh=fresh
        )


def said(rollout: Rollout) -> list[Any]:
    """What the harness wrote with ``say``."""
    lines = rollout.trajectory["stderr"].splitlines()
    return [json.loads(line) for line in lines if line.startswith("[")]


OpenBench = Callable[..., Bench]
