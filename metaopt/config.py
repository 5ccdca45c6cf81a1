"""The whole config file: the inner loop's settings, the harness to improve, the search.

TOML; paths are relative to the file that names them and may use environment variables.
"""

import re
import tomllib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, ValidationError, field_validator, model_validator

from inner_agent.errors import UserError
from inner_agent.settings import (
    InnerConfig,
    Positive,
    PositiveFloat,
    Strict,
    read_toml,
    resolve_task,
    resolved,
    validate,
)
from inner_agent.tasks.choice import task_of
from metaopt.agent import AgentSettings

BUILTIN = "builtin"
Count = Annotated[int, Field(ge=0)]
NAMED = 8  # keys in one message
# What may change between two starts of a run: none of it changes what the run computes.
RESUMABLE = (
    r"budget(\..*)?",
    r"search\.iterations",
    r"limits\.(rollouts_in_flight|grace_s)",
    r"papers\.path",
    r"endpoints\.[^.]+\.(base_url|api_key_env|max_in_flight|requests_per_minute)",
    r"endpoints\.[^.]+\.(timeout_s|max_retries|outage_s)",
    r"models\.comparer\..*",  # no rollout asks it
)


class Harness(Strict):
    """The program to improve: a git repository (or ``builtin``), and what of it may change.

    ``patch`` is a diff applied before anything else: the baseline may be a classical method.
    ``editable`` and ``fixed`` are globs relative to ``subdir``; ``fixed`` wins.
    """

    repo: str = BUILTIN
    ref: str = "HEAD"
    subdir: str = ""
    patch: str = ""
    editable: tuple[str, ...] = ("**",)
    fixed: tuple[str, ...] = ("client.py",)


POLICIES: dict[str, dict[str, Any]] = {  # what a policy has where the config is silent
    "paper": {"temperature": 0.1, "finalists": 0},
    "pooled": {"temperature": 0.03, "finalists": 4},
    "thompson": {"finalists": 4},
}


class ThompsonSettings(Strict):
    """What policy ``thompson`` may be told; docs/policies.md says how the defaults were chosen.

    ``screen`` is the number of validation papers on which a mutant is tried first.
    """

    temper: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.5
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.1
    screen: Positive = 5
    trace_uses: Positive = 8


class Search(Strict):
    """The outer loop (Autodata, "Meta-Optimization"): how long, how wide, by which policy.

    Left out, ``temperature`` and ``finalists`` are the policy's own (``POLICIES``).
    ``null_every``: every so many iterations the mutant is its parent, unchanged; 0: never.
    """

    iterations: Positive = 20
    parallel: Positive = 2
    policy: Literal["paper", "pooled", "thompson"] = "paper"
    temperature: PositiveFloat | None = None
    thompson: ThompsonSettings = ThompsonSettings()
    finalists: Count = 0
    report_runs: Positive = 3
    null_every: Count = 0
    minibatch: Positive = 10
    validation_papers: Positive | None = None
    audit_analyzer: Annotated[int, Field(ge=0)] = 0
    analyzer: AgentSettings = AgentSettings()
    implementer: AgentSettings = AgentSettings()
    max_file_kb: Annotated[int, Field(gt=0)] = 256
    max_tree_kb: Annotated[int, Field(gt=0)] = 2048

    @field_validator("null_every")
    @classmethod
    def _something_is_searched(cls, every: int) -> int:
        if every == 1:
            raise ValueError("every mutant would be its parent, unchanged; give 2 or more, or 0")
        return every

    @model_validator(mode="before")
    @classmethod
    def _own_defaults(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        policy = data.get("policy", "paper")
        if policy == "thompson" and data.get("temperature") is not None:
            raise ValueError("temperature: policy thompson has none; set thompson.temper")
        return {**(POLICIES.get(policy) or {}), **data}


class RunConfig(InnerConfig):
    """Everything that a run is a function of, but its papers' texts."""

    harness: Harness = Harness()
    search: Search = Search()

    @model_validator(mode="after")
    def _outer_roles(self) -> "RunConfig":
        for role in ("analyzer", "implementer"):
            if role not in self.models:
                raise ValueError(f"models.{role} is missing: every role names its model")
        return self


def load_config(path: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a config file and apply ``key.path=value`` overrides.  Raises ``UserError``."""
    config = read_config(path, overrides)
    task_of(config)  # one of the user's own says now what is wrong with it
    return config


def read_config(path: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """As ``load_config``, without looking for a task of the user's own: of a run or a data set from
    elsewhere, its module may be gone, and isn't to be run."""
    data = read_toml(path)
    for text in overrides:
        _override(data, text)
    _resolve_paths(data, path.parent)
    return validate(RunConfig, data, str(path))


def other_policy(config: RunConfig, policy: str, overrides: Iterable[str] = ()) -> RunConfig:
    """The same config with another search policy at its own defaults, then ``overrides``, which
    may be of that policy's own keys.

    Raises ``UserError``.
    """
    data = config.model_dump(mode="json", exclude_none=True)
    for key in ("temperature", "finalists", "thompson"):
        data["search"].pop(key, None)
    data["search"]["policy"] = policy
    validate(RunConfig, data, f"--policy {policy}")
    own = "search.thompson.*" if policy == "thompson" else "search.temperature"
    for text in overrides:
        key = text.partition("=")[0].strip()
        if key != own and not (own.endswith("*") and key.startswith(own[:-1])):
            raise UserError(f"--set {text}: of a replay by policy {policy} only {own} can be set")
        _override(data, text)
    return validate(RunConfig, data, f"--policy {policy}")


def freeze(config: RunConfig, without: Collection[str] = ()) -> str:
    """The config as TOML text, every default written out, ``without`` some of its tables."""
    data = config.model_dump(mode="json", exclude_none=True, exclude=set(without))
    return tomli_w.dumps(data)


def refuse_other_config(
    frozen: Path, config: RunConfig, where: Path, without: Collection[str] = ()
) -> None:
    """Raise ``UserError`` naming the keys in which a resumed run's config differs from the one in
    the file ``frozen``.

    The tables in ``without`` don't count, whatever an older version wrote there.
    """
    old, new = (
        {k: v for k, v in _flat(_with_defaults(data)).items() if k.split(".")[0] not in without}
        for data in (read_toml(frozen), tomllib.loads(freeze(config)))
    )
    changed = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
    bad = [k for k in changed if not any(re.fullmatch(p, k) for p in RESUMABLE)]
    if bad:
        named = ", ".join(bad[:NAMED]) + (f" and {len(bad) - NAMED} more" if bad[NAMED:] else "")
        raise UserError(
            f"{where}: begun with other values of {named}; give the same config, or another --out"
        )


def _with_defaults(data: dict[str, Any]) -> dict[str, Any]:
    """A frozen config's data; what an older version had no key for has its default."""
    try:
        return RunConfig.model_validate(data).model_dump(mode="json")
    except ValidationError:
        return data


def _override(data: dict[str, Any], text: str) -> None:
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise UserError(f"--set {text!r}: write key=value, for example search.iterations=5")
    try:
        parsed: Any = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # a bare word is a string
    *tables, last = key.strip().split(".")
    for name in tables:
        data = data.setdefault(name, {})
        if not isinstance(data, dict):
            raise UserError(f"--set {text!r}: {name} isn't a table")
    data[last] = parsed


def _resolve_paths(data: dict[str, Any], folder: Path) -> None:
    papers, harness = data.get("papers"), data.get("harness")
    if isinstance(papers, dict):
        for key in ("path", "split"):
            if isinstance(papers.get(key), str):
                papers[key] = resolved(papers[key], folder, f"papers.{key}")
    repo = harness.get("repo") if isinstance(harness, dict) else None
    if (
        isinstance(harness, dict)
        and isinstance(repo, str)
        and repo != BUILTIN
        and not re.match(r"[^/]+:", repo)  # a URL, or git's host:path
    ):
        harness["repo"] = resolved(repo, folder, "harness.repo")
    if isinstance(harness, dict) and isinstance(harness.get("patch"), str):
        harness["patch"] = resolved(harness["patch"], folder, "harness.patch")
    resolve_task(data, folder)


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
