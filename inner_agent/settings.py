"""What the inner loop is told: endpoints, models, criteria, limits, sandbox, budget.

Frozen models; an unknown key is an error that names the nearest known one.  Units are in the
names: seconds ``_s``, megabytes ``_mb``, USD per million tokens in ``Price``.
"""

import difflib
import os
import re
import tomllib
import types
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inner_agent.criteria import Criteria, Share, changed
from inner_agent.errors import UserError
from inner_agent.items import first_error
from inner_agent.simulator.parameters import SimulatorParameters

Role = Literal[
    "main_agent", "challenger", "quality_verifier",
    "weak", "strong", "judge", "auditor", "comparer",
    "analyzer", "implementer",
]  # fmt: skip
HARNESS_ROLES: tuple[Role, ...] = ("main_agent", "challenger", "quality_verifier")
# The comparer is asked by nothing but a measurement of data sets, and may be missing.
INNER_ROLES: tuple[Role, ...] = (*HARNESS_ROLES, "weak", "strong", "judge", "auditor")
OUTER_TABLES = ("harness", "search")  # the outer loop's tables in the same file

M = TypeVar("M", bound=BaseModel)
Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Strict(BaseModel):
    """Frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Price(Strict):
    """USD per million tokens."""

    input: Annotated[float, Field(ge=0)] = 0.0
    output: Annotated[float, Field(ge=0)] = 0.0
    cached_input: Annotated[float, Field(ge=0)] | None = None

    def usd(self, prompt: int, completion: int, cached: int = 0) -> float:
        """The cost of one call, given its token counts."""
        rate = self.input if self.cached_input is None else self.cached_input
        paid = (prompt - cached) * self.input + cached * rate + completion * self.output
        return paid / 1e6


class Endpoint(Strict):
    """A server with the OpenAI chat-completions interface, or the embedded simulator.

    Servers differ in what they take: ``token_limit`` is the field that bounds a reply, and
    ``leave_out`` names fields that the server rejects.  ``max_in_flight`` is the most: how many
    calls at a time the server takes is found out.
    """

    kind: Literal["openai", "simulator"] = "openai"
    base_url: str = ""
    api_key_env: str = ""
    max_in_flight: Positive = 64
    requests_per_minute: Positive | None = None
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    leave_out: tuple[Literal["temperature", "seed"], ...] = ()
    timeout_s: PositiveFloat = 600.0
    max_retries: Annotated[int, Field(ge=0)] = 8
    outage_s: Annotated[float, Field(ge=0)] = 7_200.0
    price: Price | None = None
    simulator: SimulatorParameters | None = None

    @model_validator(mode="before")
    @classmethod
    def _simulator_defaults(cls, given: object) -> object:
        """A simulator's parameters are written out, so that a frozen config has all of them."""
        if isinstance(given, dict) and given.get("kind") == "simulator":
            return {"simulator": {}} | given
        return given

    @model_validator(mode="after")
    def _reachable(self) -> "Endpoint":
        if self.kind == "openai" and not self.base_url.startswith(("http://", "https://")):
            raise ValueError("base_url must start with http:// or https://")
        return self

    @model_validator(mode="after")
    def _holds_no_secret(self) -> "Endpoint":
        """What is in the config is kept with every run and shown: a key belongs elsewhere."""
        url = urlsplit(self.base_url)
        if "@" in url.netloc or url.query or url.fragment:
            raise ValueError(
                "base_url must be without user:password@, ?query and #fragment: the run keeps it;"
                " put the key into an environment variable and name that in api_key_env"
            )
        if self.api_key_env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env):
            raise ValueError("api_key_env must be the name of an environment variable, not a key")
        return self


class Model(Strict):
    """One role's model: where, which, how it samples.

    ``tool_calls = "schema"`` is for models that can't call tools but can follow a JSON schema.
    ``attempts`` to ``accept_truncated`` are a solver's mode (Autodata: weak and strong may be one
    model in two modes): attempts per question, samples merged into one answer, the paper's text
    as privileged information, and whether an answer cut off at ``max_tokens`` counts.
    """

    endpoint: str
    model: str
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    max_tokens: Positive = 4096
    price: Price | None = None
    attempts: Positive = 3
    samples: Positive = 1
    paper: bool = False
    accept_truncated: bool = False
    judge_mode: Literal["rubric", "yes_no"] = "rubric"
    tool_calls: Literal["native", "schema"] = "native"


class TaskSettings(Strict):
    """Which task: a built-in one, or a Python file with ``make(config) -> Task`` (docs/tasks.md).

    ``answer`` to ``strong_right_min`` are task ``verifiable``'s: how final answers are compared
    (``tolerance``: relative, of numbers), and the rule, by majority or by counts of right attempts.
    ``accept`` are the suitabilities that task ``learnable`` takes; ``options`` are for a task of
    your own.
    """

    name: str = "rubric"
    answer: Literal["exact", "numeric", "symbolic", "verifier"] = "exact"
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.001
    rule: Literal["majority", "count"] = "majority"
    weak_right_max: Annotated[int, Field(ge=0)] = 1
    strong_right_min: Positive = 3
    accept: Annotated[tuple[Literal["high", "medium", "low"], ...], Field(min_length=1)] = ("high",)
    options: dict[str, str | int | float | bool] = {}

    @model_validator(mode="after")
    def _of_one_task(self) -> "TaskSettings":
        own = self.name.endswith(".py")
        if self.name not in TASK_KEYS and not own:
            near = difflib.get_close_matches(self.name, TASK_KEYS, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(TASK_KEYS)}"
            raise ValueError(f"no task {self.name!r}; {known} (your own: the path of its .py file)")
        for key, field in type(self).model_fields.items():
            takes = key == "name" or own or key in TASK_KEYS[self.name]
            if not takes and getattr(self, key) != field.default:
                raise ValueError(f"task.{key} is no key of task {self.name!r}; leave it out")
        return self


TASK_KEYS: dict[str, tuple[str, ...]] = {
    "rubric": (),
    "verifiable": ("answer", "tolerance", "rule", "weak_right_max", "strong_right_min"),
    "learnable": ("accept",),
}


class Papers(Strict):
    """Where papers are; ``path`` may use environment variables."""

    path: str
    split: str = ""
    max_paper_tokens: Positive = 24_000


class Limits(Strict):
    """What one rollout may use.  ``idle_s`` is the harness's own time between two requests,
    ``own_s`` in all; waiting for models isn't counted, so a slow provider is never a score.
    ``rollouts_in_flight`` and ``grace_s`` (for calls on their way when a run stops) are the run's.
    """

    items: Positive = 8
    chats: Positive = 160
    idle_s: PositiveFloat = 120.0
    own_s: PositiveFloat = 1_200.0
    cpu_s: Positive = 60
    memory_mb: Positive = 512
    file_mb: Positive = 16
    rollouts_in_flight: Positive = 64
    grace_s: Annotated[float, Field(ge=0)] = 30.0


class Sandbox(Strict):
    """``auto``: bubblewrap; without it only simulated runs go on.  ``none``: set by hand."""

    mode: Literal["auto", "bubblewrap", "none"] = "auto"


class Cap(Strict):
    """A limit on spending; ``None`` is no limit."""

    usd: Annotated[float, Field(ge=0)] | None = None
    calls: Annotated[int, Field(ge=0)] | None = None
    tokens: Annotated[int, Field(ge=0)] | None = None


class RoleCap(Cap):
    """One role's caps; ``wall_s`` sums the seconds of its answered calls, over all starts."""

    wall_s: PositiveFloat | None = None


class Budget(Cap):
    """The run's caps and, by role, further ones; ``wall_s`` counts from each start of the run."""

    wall_s: PositiveFloat | None = None
    roles: dict[Role, RoleCap] = {}


class Audit(Strict):
    """The fixed auditor of accepted items; what it finds counts in ``pass``.

    ``llm = false`` leaves out the auditor's model, for models too small to be one; the checks of
    the text and the probes stay.  ``null_max`` to ``leak_max`` are shares of the rubric: what an
    answer that says nothing, or one on another subject, may earn, and how much of the answer the
    context may hold.  ``repeat_max``: similarity from which two papers' questions are one.
    """

    llm: bool = True
    probes: bool = True
    honeypots: bool = True
    null_max: Share = 0.3
    off_topic_max: Share = 0.5
    leak_max: Share = 0.6
    repeat_max: Share = 0.8


class InnerConfig(Strict):
    """Everything that the trusted side of one rollout needs."""

    seed: int = 0
    papers: Papers
    endpoints: dict[str, Endpoint]
    models: dict[Role, Model]
    task: TaskSettings = TaskSettings()
    criteria: Criteria = Criteria()
    score: Literal["fresh", "in_loop"] = "fresh"
    audit: Audit = Audit()
    short_circuit: bool = True
    limits: Limits = Limits()
    sandbox: Sandbox = Sandbox()
    budget: Budget = Budget()

    @model_validator(mode="after")
    def _complete(self) -> "InnerConfig":
        for role in INNER_ROLES:
            if role not in self.models and (role != "auditor" or self.audit.llm):
                instead = " (or set audit.llm = false)" if role == "auditor" else ""
                raise ValueError(f"models.{role} is missing: every role names its model{instead}")
        for role, model in self.models.items():
            if model.endpoint not in self.endpoints:
                known = ", ".join(sorted(self.endpoints))
                raise ValueError(
                    f"models.{role}.endpoint {model.endpoint!r} isn't in [endpoints] ({known})"
                )
        if self.models["weak"].attempts != self.models["strong"].attempts:
            raise ValueError("models.weak.attempts and models.strong.attempts must be equal")
        attempts, wanted = self.models["strong"].attempts, self.task.strong_right_min
        if self.task.rule == "count" and attempts < wanted:
            raise ValueError(
                f"task.strong_right_min = {wanted}, but models.strong.attempts is {attempts}:"
                " nothing could pass"
            )
        return self

    @model_validator(mode="after")
    def _criteria_count(self) -> "InnerConfig":
        """Thresholds that nothing goes by would be taken for the rule."""
        if self.task.name == "verifiable" and (keys := changed(self.criteria)):
            raise ValueError(
                f"{', '.join(f'criteria.{key}' for key in keys)}: without effect in task"
                " 'verifiable', where task.rule decides (by count: task.weak_right_max,"
                " task.strong_right_min); set that instead"
            )
        return self

    @model_validator(mode="after")
    def _usd_can_be_counted(self) -> "InnerConfig":
        """A cap in USD that no call could ever reach would be worse than none."""
        caps: dict[str, Cap] = {"": self.budget} | {str(r): c for r, c in self.budget.roles.items()}
        for role, model in self.models.items():
            capped = any(cap.usd is not None for name, cap in caps.items() if name in ("", role))
            real = self.endpoints[model.endpoint].kind == "openai"
            if capped and real and self.price_of(role) is None:
                raise ValueError(
                    f"budget.usd needs a price: set endpoints.{model.endpoint}.price or"
                    f" models.{role}.price (USD per million tokens; 0 for a free model)"
                )
        return self

    def price_of(self, role: str) -> Price | None:
        """What a role's calls cost: its model's price, or its endpoint's."""
        model = self.models[role]  # type: ignore[index]
        return model.price or self.endpoints[model.endpoint].price

    @property
    def simulated(self) -> bool:
        """True when any role is played by the simulator: the results say so everywhere."""
        return any(self.endpoints[m.endpoint].kind == "simulator" for m in self.models.values())


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.  Raises ``UserError`` naming file and place."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise UserError(f"{path}: can't be read ({e.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UserError(f"{path}: not TOML: {e}") from None


def validate(model: type[M], data: dict[str, Any], where: str) -> M:
    """Build ``model`` from parsed TOML.  Raises ``UserError`` with the key and the near one."""
    try:
        return model.model_validate(data)
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        loc = first["loc"]
        if first["type"] == "extra_forbidden":
            raise UserError(f"{where}: {_unknown_key(loc, _keys_at(model, loc))}") from None
        if loc[-1:] == ("[key]",):  # of a table whose keys are given, such as the roles
            known = re.findall(r"'(\w+)'", first["ctx"]["expected"])
            raise UserError(f"{where}: {_unknown_key(loc[:-1], known)}") from None
        raise UserError(f"{where}: {first_error(e, 'config')}") from None


def load_inner(path: Path) -> InnerConfig:
    """The inner part of a config file; the outer loop's own tables are left to it."""
    data = {k: v for k, v in read_toml(path).items() if k not in OUTER_TABLES}
    resolve_task(data, path.parent)
    return validate(InnerConfig, data, str(path))


def resolve_task(data: dict[str, Any], folder: Path) -> None:
    """Make the path of a task of the user's own absolute; it is relative to ``folder``."""
    task = data.get("task")
    if isinstance(task, dict) and str(task.get("name")).endswith(".py"):
        task["name"] = resolved(task["name"], folder, "task.name")


def resolved(value: str, folder: Path, key: str) -> str:
    """A path in a config file as an absolute one, variables filled in.  Raises ``UserError``."""
    if not value or value.startswith("synthetic:"):
        return value
    for name in re.findall(r"\$\{?(\w+)\}?", value):
        if name not in os.environ:
            raise UserError(
                f"{key} = {value!r}: the environment variable {name} isn't set; export it"
            )
    return str((folder / Path(os.path.expandvars(value)).expanduser()).resolve())


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys of the table that a key is in."""
    table: type[BaseModel] | None = model
    for part in loc[:-1]:
        table = _table_at(table, str(part))
    return list(table.model_fields) if table else []


def _unknown_key(loc: tuple[int | str, ...], known: list[str]) -> str:
    near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"unknown key {'.'.join(map(str, loc))!r}; {hint}"


def _table_at(table: type[BaseModel] | None, part: str) -> type[BaseModel] | None:
    """The model that describes sub-table ``part``; a dict's key keeps its value type."""
    if table is None:
        return None
    if part not in table.model_fields:
        return table  # a key of dict[str, Model]: the value type was found one step before
    return _model_in(table.model_fields[part].annotation)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (dict, Union, types.UnionType, Annotated):
        found = [m for a in get_args(annotation) if (m := _model_in(a))]
        return found[0] if found else None
    return None
