"""``python -m inner_agent.evaluate_rubric``: phases, records, exit statuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_openai import FakeOpenAI, server_error

from inner_agent.evaluate_rubric import main

CONFIG = """\
[papers]
path = ""
[endpoints.fake]
base_url = "{url}"
api_key_env = "FAKE_KEY"
max_retries = 0
timeout_s = 5
[models]
main_agent = {{ endpoint = "fake", model = "m" }}
challenger = {{ endpoint = "fake", model = "m" }}
quality_verifier = {{ endpoint = "fake", model = "m" }}
weak = {{ endpoint = "fake", model = "weak" }}
strong = {{ endpoint = "fake", model = "strong" }}
judge = {{ endpoint = "fake", model = "judge" }}
auditor = {{ endpoint = "fake", model = "m" }}
"""
ITEM = {
    "context": "A cache sits in front of a disk.",
    "question": "Why does a larger cache not help a scan?",
    "reference_answer": "Each block is read once.",
    "rubric": [
        {"criterion": "Says that blocks are not read again.", "weight": 6},
        {"criterion": "Names the order of accesses.", "weight": 4},
    ],
}


def reply(body: dict[str, Any]) -> str:
    """The strong solver's answer meets both criteria, the weak one's the lighter."""
    asked = body["messages"][-1]["content"]
    if body["model"] != "judge":
        return f"an answer of the {body['model']} solver"
    met = (0.7, 1) if "the strong solver" in asked else (0, 1)
    lines = [{"id": n, "reason": "r", "score": s} for n, s in enumerate(met, 1)]
    return json.dumps({"criteria": lines})


class Shell:
    """Runs the command in one folder."""

    def __init__(self, folder: Path, server: FakeOpenAI) -> None:
        self.folder = folder
        (folder / "config.toml").write_text(CONFIG.format(url=server.base_url))
        self.write(ITEM)

    def write(self, item: dict[str, Any]) -> None:
        (self.folder / "item.json").write_text(json.dumps(item))

    def __call__(self, phase: str, *more: str) -> int:
        given = ["--input", str(self.folder / "item.json"), f"--{phase}"]
        given += ["--output-dir", str(self.folder / "attempts")]
        return main([*given, "--config", str(self.folder / "config.toml"), *more])


@pytest.fixture
def shell(tmp_path: Path, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("FAKE_KEY", fake_openai.key)
    fake_openai.reply = reply
    return Shell(tmp_path, fake_openai)


def test_weak_then_strong(
    shell: Shell, fake_openai: FakeOpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell("weak-only") == 0
    assert capsys.readouterr().out.startswith("WEAK_PASSED\naverage 40.0% of 3 attempts")
    assert shell("strong-only") == 0
    assert capsys.readouterr().out.startswith("STRONG_PASSED\naverage 82.0% of 3 attempts")
    (folder,) = (p for p in (shell.folder / "attempts").iterdir() if p.is_dir())
    record = json.loads((folder / "strong_only.json").read_text())
    assert record["gap"] == pytest.approx(0.42)
    assert len(record["attempts"]) == 3
    asked = len(fake_openai.requests)
    assert shell("weak-only") == 0  # the same item again: no second throw of the dice
    assert len(fake_openai.requests) == asked


def test_strong_needs_the_same_items_weak_phase(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell("weak-only") == 0
    shell.write(ITEM | {"question": "Another question?"})
    assert shell("strong-only") == 2
    assert "strong-only comes after WEAK_PASSED on the same item" in capsys.readouterr().err


def test_too_easy(shell: Shell, fake_openai: FakeOpenAI) -> None:
    fake_openai.reply = lambda body: reply(body).replace('"score": 0}', '"score": 1}')
    assert shell("weak-only") == 1


def test_provider_faults_and_time_outs_are_no_verdict(
    shell: Shell, fake_openai: FakeOpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_openai.reply = lambda body: server_error()
    assert shell("weak-only") == 3
    assert capsys.readouterr().out.startswith("SOLVER_ERROR")
    fake_openai.hold()
    assert shell("weak-only", "--timeout", "0.05") == 3
    fake_openai.release()
    fake_openai.reply = reply
    assert shell("weak-only") == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rubric": [{"criterion": "c", "weight": "+8"}]}, "rubric[0].weight: must be a number"),
        ({"question": ""}, "question: "),
    ],
)
def test_bad_items_are_one_line(
    shell: Shell, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    shell.write(ITEM | change)
    assert shell("weak-only") == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
