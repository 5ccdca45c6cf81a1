"""The worked example of docs/tasks.md: questions about what a program prints, which is run."""

import asyncio
import contextlib
import dataclasses
import io
import json
import re
import socket
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_openai import Answer, Body, FakeOpenAI, completion
from scripted import audit_sheet

from inner_agent import evaluate_rubric, sandbox
from inner_agent.items import Item, parse_item
from inner_agent.programs import run_program
from inner_agent.settings import Limits
from inner_agent.tasks.choice import task_of
from inner_agent.tasks.task import Task
from metaopt.cli import app, invoke
from metaopt.config import RunConfig, load_config

ROOT = Path(__file__).parents[1]
HOME = ROOT / "docs/examples/code_task"
ROLES = (
    "main_agent", "challenger", "quality_verifier", "weak", "strong", "judge", "auditor",
    "analyzer", "implementer",
)  # fmt: skip
Capture = pytest.CaptureFixture[str]
# What of each module the challenger asks for.
ASKED = {
    "cache": 'c = Cache(2, 4)\nfor k in "abacad": c.put(k, 1)\nprint(sorted(c.values), c.uses)',
    "change": "till = {1: 3, 5: 2, 10: 0}\nprint(pay(till, 13, [10, 10]), till)",
    "digits": "print(balanced(47), negative(47, 3), zeckendorf(47))",
    "intervals": "print(without([(9, 12), (1, 4), (5, 6)], 4, 10), size([(1, 3), (4, 4)]))",
    "justify": 'print(justified("a bc def gh ijk", 8))',
    "ledger": 'b = Ledger(5)\nb.deposit("x", 9)\nb.hold("x", 6)\nprint(b.transfer("x", "y", 9),'
    ' b.refused, b.available("x"))',
    "life": 'print(after(".#... ..#.. ###.. ..... .....", 3))',
    "order": 'w = {"d": ["b", "c"], "b": ["a"], "e": ["e"]}\n'
    'print(batches(w), longest(w, {"c": 7}))',
    "ring": "r = Ring(3)\nfor k in range(5): r.put(k)\nprint(r.take(), list(r), r.dropped)",
    "runs": 'print(encode("aab~cccc"), decode("x~3,yz"))',
    "table": "t = Table(5)\nprint([t.add(k) for k in (1, 6, 11)], t.remove(6), t.probes, t.slots)",
    "tokens": 'print(postfix("2 - -3 * (4 + 1)"), value("7 - 9 / -2"))',
}


def program_of(module: str) -> str:
    source = (HOME / f"corpus/{module}.py").read_text(encoding="utf-8")
    return f"{source}\n\n{ASKED[module]}\n"


def printed_by(module: str) -> str:
    """What one of our own programs prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(program_of(module), {})
    return out.getvalue().strip()


def written(program: str, answer: str, question: str = "What does it print?") -> dict[str, Any]:
    """An item as the challenger writes it."""
    return {
        "question_type": "state",
        "reasoning_skills": ["tracing"],
        "context": f"A program is given.\n\n```python\n{program}```",
        "question": question,
        "reference_answer": f"Step by step.\nAnswer: {answer}",
    }


def item_of(program: str, answer: str) -> Item:
    return parse_item({**written(program, answer), "rubric": []})


HOSTILE = 'import os\nwhile True:\n    os.write(1, b"y" * 4096)\n'


@dataclass
class Cast:
    """All roles.  Of each module the challenger first writes an item with a wrong answer (of
    ``ring`` a hostile one next), then one that is right; the weak solver is wrong and the strong
    one right."""

    written: Counter[str] = field(default_factory=Counter)

    def __call__(self, body: Body) -> Answer:
        text = str(body["messages"][-1]["content"])
        return getattr(self, str(body["model"]))(text, body["messages"])  # type: ignore[no-any-return]

    def main_agent(self, text: str, messages: list[Body]) -> Answer:
        said = json.loads(text) if messages[-1]["role"] == "tool" else {}
        if "round" in said:
            return call("quality_verifier", item=said["item"])
        if said.get("passed"):
            return call("evaluate", item=said["item"], phase="weak-only")
        if said.get("status") == "WEAK_PASSED":
            return call("evaluate", item=said["item"], phase="strong-only")
        return call("challenger", instructions="")

    def challenger(self, text: str, messages: list[Body]) -> Answer:
        title = text.removeprefix("<paper>\n# ").partition("\n")[0]
        module = next(m for m in ASKED if f"# {title}\n" in program_of(m))
        self.written[module] += 1
        program, answer = program_of(module), printed_by(module)
        match self.written[module], module:
            case 1, _:
                return json.dumps(written(program, f"not {answer}"))
            case 2, "ring":
                return json.dumps(written(HOSTILE, "y"))
        asked = f"{title}: what does the program print for {ASKED[module]}?"
        return json.dumps(written(program, answer, asked))

    def quality_verifier(self, text: str, messages: list[Body]) -> Answer:
        return json.dumps({"passed": True, "feedback": "fine"})

    def weak(self, text: str, messages: list[Body]) -> Answer:
        return "It must be so.\nAnswer: [0]"

    def strong(self, text: str, messages: list[Body]) -> Answer:
        followed = (printed_by(m) for m in ASKED if ASKED[m] in text)
        return f"I follow it.\nAnswer: `{next(followed, 'lost')}`"

    def auditor(self, text: str, messages: list[Body]) -> Answer:
        return audit_sheet()


def call(name: str, **arguments: str) -> Body:
    return completion(None, tool_calls=[(name, json.dumps(arguments))])


def config(*overrides: str) -> RunConfig:
    return load_config(HOME / "config.toml", overrides)


def generate(server: FakeOpenAI, out: Path, *more: str) -> int:
    """The example's own config, but for who plays the models."""
    given = [f"endpoints.provider.base_url={server.base_url}"]
    given += [f"models.{role}.model={role}" for role in ROLES]
    words = [word for text in (*given, *more) for word in ("--set", text)]
    return invoke(
        app, ["generate", "--config", str(HOME / "config.toml"), "--out", str(out), *words]
    )


@pytest.mark.usefixtures("bubblewrap")
def test_a_data_set_of_programs_is_made(
    fake_openai: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", fake_openai.key)
    fake_openai.reply = Cast()
    assert generate(fake_openai, tmp_path / "d") == 0
    said = capsys.readouterr().out
    assert "papers by end   12 passed" in said
    assert "13 invalid item, 12 accepted in the loop" in said
    lines = [json.loads(line) for line in (tmp_path / "d/items.jsonl").read_text().splitlines()]
    assert [line["paper"]["id"] for line in lines] == sorted(ASKED)
    for line in lines:
        assert (line["task"], line["rubric"], line["simulated"]) == ("code", [], False)
        assert (line["weak_avg"], line["strong_avg"]) == (0.0, 1.0)
        assert line["reference_answer"].endswith(f"Answer: {printed_by(line['paper']['id'])}")
        assert line["paper"]["licence"] == "MIT"
    assert not [r for r in fake_openai.requests if r.body["model"] == "judge"]
    told = (tmp_path / "d/papers/ring/trajectory.json").read_text()
    assert "reference_answer: says 'not 2 [3, 4] 2', but the program prints '2 [3, 4] 2'" in told
    assert "context: the program can't be used, for it prints more than 10000 bytes" in told


GOT_IN = "got in"
DEFENDED = {  # they work where nothing defends
    "reads a file of the host": "print(open({file!r}).read())",
    "starts another process": "import os\nif os.fork() == 0:\n    os._exit(0)\nprint('got in')",
    "runs a command": "import subprocess\nsubprocess.run(['true'], check=True)\nprint('got in')",
    "opens the network": "import socket\nsocket.create_connection(('127.0.0.1', {port}), 5)\n"
    "print('got in')",
    "writes to the host": "open({new!r}, 'w').write('x')\nprint('got in')",
}  # fmt: skip
HARMFUL = {
    "never ends": ("while True: pass", "it takes more than 1 s"),
    "prints without end": (HOSTILE, "bytes"),
    "catches what stops it": (
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
        "it ends with status 137",
    ),
    "takes all memory": ("x = [b'x' * 2**20 for _ in range(2**20)]", "MemoryError"),
    "fills the disk": ("open('/work/x', 'wb').write(b'x' * 2**24)", "it ends with status 1"),
    "kills what it can": ("import os\nos.kill(-1, 9)", "it ends with status"),
    "is no program": ("print(", "SyntaxError"),
    "is another each time": ("import os\nprint(os.urandom(4).hex())", "something else each time"),
    "prints nothing": ("x = 1", "must print one line"),
    "prints two lines": ("print(1)\nprint(2)", "must print one line"),
}
SMALL = Limits(cpu_s=1, idle_s=300, memory_mb=256, file_mb=1)


def refused_for(program: str, limits: Limits = SMALL) -> str:
    """What the task says of an item with this program, which claims that it got in."""
    examine = sys.modules[task_of(config()).refusal.__module__].examine
    return str(asyncio.run(examine(item_of(program + "\n", GOT_IN), limits)))


@pytest.mark.usefixtures("bubblewrap")
def test_a_program_reaches_nothing(tmp_path: Path) -> None:
    assert refused_for("print('got in')") == ""
    (tmp_path / "file").write_text(GOT_IN)
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = {"file": str(tmp_path / "file"), "new": str(tmp_path / "new"),
                 "port": server.getsockname()[1]}  # fmt: skip
        for name, source in DEFENDED.items():
            program = source.format(**there)
            alone = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, check=True
            )
            assert alone.stdout.strip() == GOT_IN, name
            (tmp_path / "new").unlink(missing_ok=True)
            assert "it ends with status 1" in refused_for(program), name
            assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("bubblewrap")
@pytest.mark.parametrize("name", HARMFUL)
def test_a_hostile_program_comes_to_nothing(name: str) -> None:
    program, why = HARMFUL[name]
    assert why in refused_for(program)


@pytest.mark.parametrize(
    ("context", "why"),
    [
        ("No program.", "must hold one program"),
        ("```python\nprint(1)\n```\n\n```python\nprint(2)\n```", "must hold one program"),
        ("```python\nprint(1)", "must hold one program"),
        ("```python\nprint('</s>')\n```", "aren't shown as it is"),
        ("```python\nprint('\u200b')\n```", "aren't shown as it is"),
        ("```python\nprint('1')\n```", ""),
    ],
)
def test_what_is_run_is_what_solvers_see(context: str, why: str) -> None:
    item = item_of("", "1").model_copy(update={"context": context})
    said = task_of(config()).refusal(item)
    assert why in said if why else not said


@pytest.mark.usefixtures("bubblewrap")
def test_a_program_that_waits_is_ended() -> None:
    short = SMALL.model_copy(update={"idle_s": 1})
    waiting = "import threading\nthreading.Event().wait()"
    assert "had not come to its end after 1 s" in refused_for(waiting, short)


@pytest.mark.usefixtures("bubblewrap")
def test_an_item_from_the_shell_is_run_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none is used")
    (tmp_path / "item.json").write_text(item_of("print(1 + 1)\n", "3").model_dump_json())
    given = ["--weak-only", "--input", tmp_path / "item.json", "--output-dir", tmp_path / "d"]
    assert evaluate_rubric.main([*map(str, given), "--config", str(HOME / "config.toml")]) == 2
    said = capsys.readouterr().err
    assert "item.json: reference_answer: says '3', but the program prints '2'\n" in said


def test_without_the_jail_no_program_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*arguments: object) -> None:
        raise AssertionError("it was run")

    monkeypatch.setattr(sandbox, "bubblewrap_problem", lambda: "there is none")
    monkeypatch.setattr(sandbox, "start", started)
    with pytest.raises(sandbox.UserError, match=r"there is none.*whatever sandbox\.mode says"):
        asyncio.run(run_program("print(1)", SMALL))


def own_task() -> str:
    """The part of docs/tasks.md that shows the example."""
    page = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")
    return page.partition("## A task of your own")[2]


def test_what_the_documentation_quotes_is_what_is_there() -> None:
    files = [path.read_text(encoding="utf-8") for path in HOME.iterdir() if path.is_file()]
    diff = (HOME / "harness.diff").read_text(encoding="utf-8")
    files.append(diff.replace("\n+", "\n"))
    quoted = re.findall(r"^```(python|toml|md)\n(.*?)^```$", own_task(), re.M | re.S)
    assert Counter(kind for kind, _ in quoted) == {"python": 4, "toml": 1, "md": 1}
    for _, text in quoted:
        assert any(text in file for file in files), text


@pytest.mark.usefixtures("bubblewrap")
def test_the_documentation_s_item_is_one() -> None:
    [text] = re.findall(r"^```json\n(.*?)^```$", own_task(), re.M | re.S)
    item = parse_item(json.loads(text))
    task = task_of(config())
    assert task.refusal(item) == ""
    assert asyncio.run(task.examine(item)) == ""  # type: ignore[misc, arg-type]
    assert task.findings(item, program_of("ring")) == []


def test_every_field_of_a_task_is_in_the_documentation() -> None:
    rows = re.findall(r"^\| `(\w+)", own_task(), re.M)
    assert sorted(rows) == sorted(field.name for field in dataclasses.fields(Task))
