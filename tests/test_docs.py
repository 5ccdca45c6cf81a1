"""The documentation names every config key, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

from inner_agent.criteria import Criteria
from inner_agent.settings import Cap, Endpoint, Limits, Model, Papers, Price, Sandbox
from metaopt.agent import AgentSettings
from metaopt.config import Harness, RunConfig, Search, load_config

ROOT = Path(__file__).parent.parent
TABLES = (
    RunConfig, Papers, Endpoint, Price, Model, Criteria, Limits, Sandbox, Cap,
    Harness, Search, AgentSettings,
)  # fmt: skip
PAGES = ("README.md", "AGENTS.md", "benchmarks/README.md", "populations/classics/README.md")


def test_every_key_is_documented() -> None:
    text = (ROOT / "docs" / "config.md").read_text()
    missing = [
        f"{table.__name__}.{key}"
        for table in TABLES
        for key in table.model_fields
        if not re.search(rf"\b{key}\b", text)
    ]
    assert not missing


@pytest.mark.parametrize(
    "page", [*PAGES, *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text())
    local = [link for link in links if "://" not in link]
    assert all(((ROOT / page).parent / link).exists() for link in local), local


@pytest.mark.parametrize("name", ["demo", "real-papers", "local-llama"])
def test_shipped_configs_load(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAOPT_PAPERS", "/papers")
    assert load_config(ROOT / "configs" / f"{name}.toml").search.policy == "paper"
