"""The documentation names what there is: config keys with their defaults, linked files, configs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from inner_agent.simulator.parameters import Habit, SimulatorParameters
from metaopt.config import RESUMABLE, RunConfig, load_config

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    page
    for folder in ("", "docs", "benchmarks", "populations/classics", "populations/tasks")
    for page in (ROOT / folder).glob("*.md")
)
ROW = re.compile(r"^\| `(\w+)`( ↻)? \| .+ \| (.+?) \| .+ \|$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def tables(annotation: Any) -> list[type[BaseModel]]:
    """The models in a type such as ``dict[str, Model] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in get_args(annotation) for m in tables(part)]


def keys(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    """Each key as a dotted path, with its default as TOML; names of tables' rows are NAME."""
    for name, field in model.model_fields.items():
        below = tables(field.annotation)
        if not below:
            if field.is_required():
                yield path + name, "required"
            else:
                known = field.default is not None
                yield path + name, f"`{json.dumps(field.default)}`" if known else "none"
        elif below[0] is not SimulatorParameters:  # docs/simulator.md has them
            row = "NAME." if str(field.annotation).startswith("dict") else ""
            yield from keys(below[0], f"{path}{name}.{row}")


def documented() -> dict[str, tuple[str, bool]]:
    """What docs/config.md says: key path to default and whether a resumed run may change it."""
    found = {}
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    for section in re.split(r"^##+ ", page, flags=re.MULTILINE)[1:]:
        heading = section.split("\n", 1)[0].replace("ROLE", "NAME")
        for table in re.findall(r"`\[(.+?)\]`", heading) or [""]:
            for key, resumable, default in ROW.findall(section):
                found[f"{table}.{key}".lstrip(".")] = (default, bool(resumable))
    return found


def test_every_config_key_is_documented_as_it_is() -> None:
    defined = {
        key: (default, any(re.fullmatch(p, key) for p in RESUMABLE))
        for key, default in keys(RunConfig)
    }
    assert documented() == defined


@pytest.mark.parametrize("model", [SimulatorParameters, Habit])
def test_every_simulator_parameter_is_documented(model: type[BaseModel]) -> None:
    page = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
    assert [name for name in model.model_fields if not re.search(rf"\b{name}\b", page)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    links = [x for x in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in x]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("name", ["demo", "real-papers", "local-llama"])
def test_shipped_configs_load(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAOPT_PAPERS", "/papers")
    assert load_config(ROOT / "configs" / f"{name}.toml").search.policy == "paper"


def test_every_promise_of_security_names_a_test_that_is_there() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)\(", tests, re.MULTILINE))
    there |= {path.name for path in (ROOT / "tests").glob("test_*.py")}
    rows = [row for row in page.splitlines() if row.count(" | ") == 3]
    promises = [row for row in rows if not row.startswith(("| promise", "|---"))]
    assert len(promises) >= 30
    for row in promises:
        shown_by = row.rstrip(" |").rpartition(" | ")[2]
        named = re.findall(r"`([\w/.]+)`", shown_by)
        assert named, row
        for name in named:
            assert name in there or (ROOT / name).exists(), name
