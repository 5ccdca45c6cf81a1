"""Which task a config names: a built-in one, or a module of the user's own.

A module is trusted: it runs beside the provider's keys, not in the jail.
"""

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from inner_agent import prompts
from inner_agent.errors import UserError
from inner_agent.settings import InnerConfig
from inner_agent.tasks import learnable, rubric, verifiable
from inner_agent.tasks.task import Task

NAMED = 4  # texts in one message
Make = Callable[[InnerConfig], Task]
TASKS: dict[str, Make] = {
    "rubric": rubric.make,
    "verifiable": verifiable.make,
    "learnable": learnable.make,
}


def task_of(config: InnerConfig) -> Task:
    """The task under a config.  Raises ``UserError`` for a module that can't be used."""
    name = config.task.name
    if name in TASKS:
        return TASKS[name](config)
    make, digest = _module(Path(name))
    try:
        task = make(config)
    except UserError as e:
        raise UserError(f"{name}: {e}") from None
    except (Exception, SystemExit) as e:  # whatever the user's own code raises
        raise UserError(f"{name}: make(config): {_one_line(e)}") from None
    if not isinstance(task, Task):
        raise UserError(f"{name}: make(config) must return a Task, not {type(task).__name__}")
    return replace(task, sources={**task.sources, Path(name).name: digest})


def built_in(config: InnerConfig) -> Task | None:
    """The task if it is one of metaopt's own: to look at a run must not run a file that its config
    names, for the run may be somebody else's."""
    return task_of(config) if config.task.name in TASKS else None


def not_played(config: InnerConfig) -> str:
    """Why items of a task of the user's own are none, if the simulator writes them, or ``""``."""
    writer = config.models["challenger"].endpoint
    if config.task.name in TASKS or config.endpoints[writer].kind != "simulator":
        return ""
    return (
        "the simulator's challenger writes items of the built-in tasks alone; give"
        " models.challenger, and the solvers, real models"
    )


def trusted(config: InnerConfig) -> dict[str, str]:
    """sha256 of each prompt of the trusted roles and of what the task is made of, by name: part of
    what a run's numbers depend on."""
    return {**prompts.hashes(), **task_of(config).sources}


def other_texts(before: Mapping[str, str], config: InnerConfig) -> str:
    """Which of ``trusted`` is another text than ``before``, by name, or ``""``."""
    now = trusted(config)
    names = sorted(n for n in before.keys() | now.keys() if before.get(n) != now.get(n))
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if names[NAMED:] else "")


@cache
def _module(path: Path) -> tuple[Make, str]:
    """``make`` of a Python file, and the file's sha256."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as e:
        raise UserError(f"task.name = {str(path)!r}: can't be read ({e.strerror})") from None
    spec = importlib.util.spec_from_file_location(f"metaopt_task_{digest[:12]}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and pydantic look names up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as e:  # whatever the user's own code raises
        raise UserError(f"{path}: {_one_line(e)}") from None
    make = getattr(module, "make", None)
    if not callable(make):
        raise UserError(f"{path}: no function make(config); docs/tasks.md shows how to write one")
    return make, digest


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
