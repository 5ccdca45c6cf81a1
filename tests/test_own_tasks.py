"""Tasks of one's own and wrong settings: what is refused, in one line, and by what name."""

import textwrap
from pathlib import Path

import pytest

from inner_agent.tasks import choice
from metaopt.cli import app, invoke
from metaopt.config import load_config

ROOT = Path(__file__).parents[1]
DEMO = str(ROOT / "configs/demo.toml")
CODE = str(ROOT / "docs/examples/code_task/config.toml")
Capture = pytest.CaptureFixture[str]


def generate(out: Path, config: str, *overrides: str) -> int:
    """On three synthetic papers, with the simulator unless the config says otherwise."""
    words = [word for text in overrides for word in ("--set", text)]
    return invoke(
        app,
        ["generate", "--config", config, "--papers", "synthetic:3:0", "--out", str(out), *words],
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "task.name = '{path}': can't be read (No such file or directory)"),
        ("def make(config:", "{path}: SyntaxError: '(' was never closed"),
        ("import no_such_thing", "{path}: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("raise SystemExit(3)", "{path}: SystemExit: 3"),
        (
            "def make(config): raise SystemExit(4)",
            "{path}: make(config): SystemExit: 4",
        ),
        ("x = 1", "{path}: no function make(config); docs/tasks.md shows how to write one"),
        ("make = 1", "{path}: no function make(config)"),
        ("def make(config): return 1", "{path}: make(config) must return a Task, not int"),
        ("def make(config): raise ValueError('two\\nlines')",
         "{path}: make(config): ValueError: two lines"),
        ("from inner_agent.errors import UserError\n"
         "def make(config): raise UserError('task.options.x: not this')",
         "{path}: task.options.x: not this"),
    ],
)  # fmt: skip
def test_a_module_that_is_no_task_is_one_line(
    tmp_path: Path, capsys: Capture, source: str | None, said: str
) -> None:
    path = tmp_path / "mine.py"
    if source is not None:
        path.write_text(source)
    assert generate(tmp_path / "d", DEMO, f"task.name={path}") == 2
    error = capsys.readouterr().err
    assert error.startswith("metaopt: " + said.format(path=path))
    assert error.count("\n") == 1
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("config", "overrides", "said"),
    [
        (DEMO, ["task.name=rubrik"], "no task 'rubrik'; did you mean 'rubric'?"),
        (DEMO, ["task.accept=['medium']"], "task.accept is no key of task 'rubric'; leave it out"),
        (DEMO, ["task.name=verifiable", "task.accept=['medium']"], "no key of task 'verifiable'"),
        (DEMO, ["task.name=learnable", "task.answer=numeric"], "no key of task 'learnable'"),
        (DEMO, ["task.name=learnable", "task.accept=[]"], "task.accept: "),
        (DEMO, ["task.options.x=1"], "task.options is no key of task 'rubric'"),
        (
            DEMO,
            ["task.name=verifiable", "task.rule=count", "task.strong_right_min=4"],
            "task.strong_right_min = 4, but models.strong.attempts is 3: nothing could pass",
        ),
        (
            DEMO,
            ["task.name=verifiable", "criteria.gap_min=0.3", "criteria.weak_max=0.5"],
            "criteria.weak_max, criteria.gap_min: without effect in task 'verifiable', where",
        ),
        (
            DEMO,
            ["task.name=verifiable", "criteria.preset=prose"],
            " criteria.preset: without effec",
        ),
        (CODE, ["task.options.cpu=1"], "task.options.cpu: this task has no such option"),
        (CODE, ["task.options.cpu_s=0.5"], "task.options.cpu_s = 0.5: give whole seconds"),
        (CODE, ["task.answer=numeric"], "task.answer: this task compares the lines as printed"),
    ],
)
def test_a_wrong_setting_is_one_line(
    tmp_path: Path, capsys: Capture, config: str, overrides: list[str], said: str
) -> None:
    assert generate(tmp_path / "d", config, *overrides) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_task_may_hold_dataclasses_and_its_file_s_hash_is_kept(tmp_path: Path) -> None:
    """Their annotations are looked up by the module's name."""
    source = """
        from __future__ import annotations
        from dataclasses import dataclass, replace
        from pydantic import BaseModel
        from inner_agent.tasks import verifiable

        @dataclass(frozen=True, slots=True)
        class Pair:
            left: Side

        class Side(BaseModel):
            text: str

        class Sheet(BaseModel):
            side: Side

        def make(config):
            Sheet(side={"text": "x"})
            return replace(verifiable.make(config), name="mine")
    """
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(source))
    first = choice.trusted(load_config(Path(DEMO), [f"task.name={path}"]))
    path.write_text(textwrap.dedent(source) + "# changed\n")
    choice._module.cache_clear()  # a process keeps to what it has begun with
    second = choice.trusted(load_config(Path(DEMO), [f"task.name={path}"]))
    assert {name for name in first if first[name] != second[name]} == {"mine.py"}


def test_a_changed_task_is_not_mixed_into_an_old_data_set(tmp_path: Path, capsys: Capture) -> None:
    path, out = tmp_path / "mine.py", tmp_path / "d"
    path.write_text("from inner_agent.tasks.rubric import make\n")
    assert generate(out, DEMO, f"task.name={path}") == 0
    before = (out / "items.jsonl").read_bytes()
    path.write_text("from inner_agent.tasks.rubric import make  # by another judge\n")
    choice._module.cache_clear()
    assert generate(out, DEMO, f"task.name={path}") == 2
    assert f"{out}: begun with another text of mine.py; restore it" in capsys.readouterr().err
    assert (out / "items.jsonl").read_bytes() == before


def test_a_harness_of_another_task_is_named(tmp_path: Path, capsys: Capture) -> None:
    """The baseline writes rubrics: under another task no item is one, and the summary says why."""
    assert generate(tmp_path / "d", DEMO, "task.name=verifiable") == 0
    said = capsys.readouterr().out
    assert "on 3 papers no item could be evaluated; mostly: rubric: must be []" in said
    assert invoke(app, ["doctor", DEMO, "--set", "task.name=verifiable"]) == 0
    said = capsys.readouterr().out
    assert "every item was refused, the last with" in " ".join(said.split())
    assert "--set harness.patch=populations/tasks/verifiable.diff" in said
    path = tmp_path / "mine.py"
    path.write_text("from inner_agent.tasks.verifiable import make\n")
    assert generate(tmp_path / "own", DEMO, f"task.name={path}") == 0
    assert "the simulator's challenger writes items of the built-in" in capsys.readouterr().out
    assert invoke(app, ["doctor", DEMO, "--set", f"task.name={path}"]) == 0
    assert f"edit {DEMO}: the simulator's challenger" in capsys.readouterr().out


def test_thresholds_that_are_only_recorded_are_named(capsys: Capture) -> None:
    given = ["--set", "task.name=learnable", "--set", "criteria.gap_min=0.3", "--no-paper"]
    assert invoke(app, ["doctor", DEMO, *given]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "criteria warning gap_min set, but in task 'learnable' task.accept decides" in said
