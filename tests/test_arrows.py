"""The rooms and their import arrows, read from the source.

``analysis -> metaopt -> inner_agent -> third party``; ``baseline_harness`` imports only the
standard library and itself, and nobody imports it.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("inner_agent", "metaopt", "analysis")  # each may import itself and those before it
HARNESS = "baseline_harness"
SOLE_IMPORTER = {"openai": "inner_agent/llm.py", "git": "metaopt/repo.py"}
EVERYWHERE = (*ROOMS, HARNESS, "tests", "benchmarks", "scripts")


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, top-level module) of every absolute import, those inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level > 1:
            yield node.lineno, "a relative import from above"


def forbidden(room: str, path: str, module: str, own: set[str]) -> str | None:
    """Say why ``path`` in ``room`` may not import ``module``, or None if it may.

    ``own`` are the names of the harness's files, which it imports as top-level modules.
    """
    if room == HARNESS:
        fine = module in own or module in sys.stdlib_module_names
        return None if fine else "the harness imports only the standard library and itself"
    if module == HARNESS:
        return "nobody imports the harness"
    if room in ROOMS and module in ROOMS[ROOMS.index(room) + 1 :]:
        return f"{room} lies further in than {module}"
    if room in ROOMS and path != SOLE_IMPORTER.get(module, path):
        return f"only {SOLE_IMPORTER[module]} may"
    if module.startswith("a relative"):
        return "imports name their room"
    return None


def violations(root: Path) -> list[str]:
    """Return every forbidden import under ``root`` as ``path:line imports module: why``."""
    own = {path.stem for path in (root / HARNESS).rglob("*.py")} | {HARNESS}
    found = []
    for room in EVERYWHERE:
        for path in sorted((root / room).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            for line, module in imports(path.read_text(encoding="utf-8")):
                if why := forbidden(room, name, module, own):
                    found.append(f"{name}:{line} imports {module}: {why}")
    return found


def test_imports_follow_the_arrows() -> None:
    assert all((ROOT / room).is_dir() for room in (*ROOMS, HARNESS))
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("inner_agent/planted.py", "import metaopt.loop"),
        ("inner_agent/planted.py", "def late():\n    from analysis import report"),
        ("metaopt/planted.py", "from analysis.cli import main"),
        ("metaopt/planted.py", "import baseline_harness"),
        ("analysis/planted.py", "from baseline_harness.harness import loop"),
        ("tests/planted.py", "import baseline_harness"),
        ("baseline_harness/planted.py", "import pydantic"),
        ("baseline_harness/planted.py", "from inner_agent import papers"),
        ("metaopt/planted.py", "import openai"),
        ("inner_agent/simulator.py", "from openai import AsyncOpenAI"),
        ("metaopt/store.py", "import git"),
        ("metaopt/deep/planted.py", "from ..errors import UserError"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, path: str, source: str) -> None:
    _plant(tmp_path, path, source)
    (found,) = violations(tmp_path)
    assert found.startswith(f"{path}:")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("analysis/fine.py", "import metaopt.loop, inner_agent, matplotlib"),
        ("inner_agent/llm.py", "import openai"),
        ("metaopt/repo.py", "import git"),
        ("baseline_harness/fine.py", "import json, fine"),
        ("tests/fine.py", "import openai, git, metaopt"),
    ],
)
def test_what_the_arrows_allow_is_not(tmp_path: Path, path: str, source: str) -> None:
    _plant(tmp_path, path, source)
    assert violations(tmp_path) == []


def _plant(root: Path, path: str, source: str) -> None:
    (root / path).parent.mkdir(parents=True)
    (root / path).write_text(source)
