"""Is everything there that a run needs?  One row a thing, and for each fault what mends it.

Endpoints are asked for real: a listing proves neither that a key may be used for a model nor that
the server takes tool calls or gives log-probabilities.  Those calls are a few tokens each.
"""

import asyncio
import difflib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from inner_agent.calls import CallStore, Usage
from inner_agent.criteria import changed
from inner_agent.errors import (
    BudgetExhausted,
    EndpointRefused,
    JailFailed,
    ProviderError,
    Unreachable,
    UserError,
)
from inner_agent.gateway import Gateway
from inner_agent.honeypots import missed, try_pots
from inner_agent.llm import OpenAIEndpoint, Reply, Request, key_problem
from inner_agent.papers import Paper, read_paper
from inner_agent.run_paper import PaperResult, Rig, run_paper
from inner_agent.sandbox import INSTALL, bubblewrap_problem, choose_mode
from inner_agent.settings import Endpoint, Limits, Model, Price, Role
from inner_agent.simulator import Simulator
from inner_agent.tasks.choice import not_played
from metaopt.config import BUILTIN, Harness, RunConfig, load_config
from metaopt.lab import papers_of
from metaopt.policy import refuse_whole_screen
from metaopt.repo import HarnessRepo, write_tree
from metaopt.splits import PARTS, read_split
from metaopt.text import clean, dollars, grid, one_line, render
from metaopt.tree import matches, may_edit

OK, WARN, FAIL, SKIP = "ok", "warning", "FAILS", "-"
WITH_TOOLS: tuple[Role, ...] = ("main_agent", "analyzer", "implementer")
ENDPOINT_TIMEOUT_S = 30.0
REPLY_TOKENS = 512  # room for a reasoning model to come to its word
ITEMS = 2  # of the paper that goes through: enough to see every role at work
TOOL = {
    "type": "function",
    "function": {
        "name": "report",
        "description": "Report that you are ready.",
        "parameters": {
            "type": "object", "properties": {"ready": {"type": "boolean"}}, "required": ["ready"]
        },
    },
}  # fmt: skip

HARNESS_KEYS = {  # what a refused harness is told by: the key at fault
    "remote ref": "ref", "not our ref": "ref", "no folder": "subdir", "no harness.py": "subdir",
    "doesn't apply": "patch", "harness.patch": "patch",
}  # fmt: skip

T = TypeVar("T")


@dataclass(slots=True)
class Checkup:
    """The rows found so far, and what the checks cost."""

    config_path: Path
    overrides: list[str]
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    usd: float = 0.0

    def add(self, what: str, outcome: str, detail: str, mend: str = "") -> None:
        """One row; ``mend`` is the command that puts a failing one right."""
        self.rows.append((what, outcome, " ".join(clean(detail).split()), mend))

    def attempt(self, what: str, mend: Callable[[str], str], work: Callable[[], T]) -> T | None:
        """The result of ``work``, or a failing row and ``None``; ``mend`` is given the fault."""
        try:
            return work()
        except (UserError, ProviderError, BudgetExhausted, OSError) as e:
            self.add(what, FAIL, str(e), mend(str(e)))
            return None

    def set(self, key: str, value: str) -> str:
        """The command that tries another value of a key, with the given overrides."""
        words = ["metaopt", "doctor", str(self.config_path)]
        kept = [text for text in self.overrides if text.partition("=")[0].strip() != key]
        for text in (*kept, f"{key}={value}"):
            words += ["--set", text]
        return shlex.join(words)

    def all_right(self, but: str = "") -> bool:
        """Does nothing fail, ``but`` aside?"""
        return all(outcome != FAIL for what, outcome, _, _ in self.rows if what != but)


def examine(path: Path, overrides: list[str], paper: bool) -> tuple[str, bool]:
    """Check a config and all that it names; a table, and whether a run can start.

    ``paper``: take one training paper through, with the configured models.
    """
    checkup = Checkup(path, overrides)

    def mend(fault: str) -> str:
        unset = re.search(r"the environment variable (\w+) isn't set", fault)
        edit = f"edit {path}, or metaopt init DIR for one that works"
        return f"export {unset[1]}=..." if unset else edit

    config = checkup.attempt("config", mend, lambda: load_config(path, overrides))
    _python(checkup)
    if config is not None:
        simulated = "; simulated: no result says anything about real models"
        checkup.add("config", OK, f"{path}{simulated if config.simulated else ''}")
        _criteria(checkup, config)
        with tempfile.TemporaryDirectory(prefix="metaopt-doctor-") as folder:
            asyncio.run(_examine(checkup, config, Path(folder), paper))
    return _report(checkup), checkup.all_right()


def _criteria(checkup: Checkup, config: RunConfig) -> None:
    keys = changed(config.criteria)
    if keys and config.task.name == "learnable":
        detail = (
            f"{', '.join(keys)} set, but in task 'learnable' task.accept decides; what these say"
        )
        checkup.add("criteria", WARN, f"{detail} is only recorded beside")


async def _examine(checkup: Checkup, config: RunConfig, folder: Path, paper: bool) -> None:
    _sandbox(checkup, config)
    used = {model.endpoint for model in config.models.values()}
    for name in sorted(used):
        await _endpoint(checkup, config, name)
    first = _papers(checkup, config, folder)
    harness = _harness(checkup, config, folder)
    if not paper:
        checkup.add("one paper", SKIP, "not tried: --no-paper")
    elif first is None or harness is None or not checkup.all_right(but="split"):
        checkup.add("one paper", SKIP, "not tried: mend the rest first")
    else:
        await _one_paper(checkup, config, folder, first, harness)
        await _honeypots(checkup, config)


def _python(checkup: Checkup) -> None:
    found = f"{sys.version.split()[0]}, metaopt {version('metaopt')}"
    good = sys.version_info >= (3, 11)
    checkup.add("python", OK if good else FAIL, found, "" if good else "python3.11 -m venv .venv")


def _sandbox(checkup: Checkup, config: RunConfig) -> None:
    mode = checkup.attempt("sandbox", lambda _: INSTALL, lambda: choose_mode(config))
    if mode == "bubblewrap":
        root = "; metaopt is root, for whom the kernel doesn't limit a harness's threads"
        detail = "bubblewrap and its filter of system calls work"
        checkup.add("sandbox", OK, detail + (root if os.geteuid() == 0 else ""))
    elif mode == "none":
        why = bubblewrap_problem() or 'sandbox.mode = "none"'
        checkup.add("sandbox", WARN, f"harnesses run unconfined ({why})", INSTALL)


async def _endpoint(checkup: Checkup, config: RunConfig, name: str) -> None:
    """Key, answer, and every model that a role wants there."""
    what, endpoint = f"endpoints.{name}", config.endpoints[name]
    roles = {role: m for role, m in config.models.items() if m.endpoint == name}
    variable = endpoint.api_key_env
    if endpoint.kind == "simulator":
        _personas(checkup, what, roles)
        return
    if variable and not os.environ.get(variable):
        detail = f"the key's variable {variable} isn't set"
        checkup.add(what, FAIL, detail, f"export {variable}=...")
        return
    key = os.environ[variable] if variable else "none"
    if problem := key_problem(key):
        checkup.add(what, FAIL, f"the key in {variable} {problem}", f"export {variable}=...")
        return
    timeout = min(endpoint.timeout_s, ENDPOINT_TIMEOUT_S)
    client = OpenAIEndpoint(
        name, endpoint.base_url, key, timeout_s=timeout, max_retries=1, outage_s=timeout
    )
    try:
        listed = await _listed(checkup, what, endpoint, client)
        if listed is not None:
            for model in dict.fromkeys(m.model for m in roles.values()):
                same = {role: m for role, m in roles.items() if m.model == model}
                await _model(checkup, endpoint, client, same, listed)
    finally:
        await client.close()


def _personas(checkup: Checkup, what: str, roles: dict[Role, Model]) -> None:
    known = Simulator.models()
    for role, model in roles.items():
        if model.model not in known:
            near = difflib.get_close_matches(model.model, known, n=1, cutoff=0) or known
            detail = f"the simulator has no {model.model!r}"
            checkup.add(f"models.{role}", FAIL, detail,
                        checkup.set(f"models.{role}.model", near[0]))  # fmt: skip
    checkup.add(what, OK, "the embedded simulator: no key, no cost")


async def _listed(
    checkup: Checkup, what: str, endpoint: Endpoint, client: OpenAIEndpoint
) -> list[str] | None:
    """The models that the server lists; none where it can't list, ``None`` where it is no use."""
    mend = f"curl {endpoint.base_url.rstrip('/')}/models   (is it up? or {what}.base_url is wrong)"
    try:
        async with asyncio.timeout(ENDPOINT_TIMEOUT_S):
            models = await client.models()
    except EndpointRefused as e:
        export = f"export {endpoint.api_key_env}=..." if endpoint.api_key_env else ""
        checkup.add(what, FAIL, str(e), export or checkup.set(f"{what}.api_key_env", "VARIABLE"))
        return None
    except TimeoutError:
        checkup.add(what, FAIL, f"no answer within {ENDPOINT_TIMEOUT_S:g} s", mend)
        return None
    except Unreachable as e:
        checkup.add(what, FAIL, str(e), mend)
        return None
    except ProviderError as e:
        checkup.add(what, WARN, f"answers, but doesn't list its models ({e})")
        return []
    checkup.add(what, OK, f"answers at {endpoint.base_url}; lists {len(models)} models")
    return models


async def _model(
    checkup: Checkup, endpoint: Endpoint, client: OpenAIEndpoint, roles: dict[Role, Model],
    listed: list[str],
) -> None:  # fmt: skip
    """A short question for each thing that the model's roles need; a row says what is missing."""
    role, model = next(iter(roles.items()))
    what = f"models.{role}" + (f" + {len(roles) - 1}" if len(roles) > 1 else "")
    tools = any(role in WITH_TOOLS for role in roles)
    logprobs = any(r == "judge" and m.judge_mode == "yes_no" for r, m in roles.items())
    try:
        said = await _question(client, model.model, logprobs)
        called = await _tool_question(client, model.model) if tools else said
    except (ProviderError, TimeoutError) as e:
        why = str(e) or f"no answer within {ENDPOINT_TIMEOUT_S:g} s"
        near = difflib.get_close_matches(model.model, listed, n=1, cutoff=0.3) or ["NAME"]
        checkup.add(what, FAIL, f"{model.model}: {why}",
                    checkup.set(f"models.{role}.model", near[0]))  # fmt: skip
        return
    for reply in (said, called) if tools else (said,):
        checkup.usd += _usd(endpoint, model, reply)
    if logprobs and not said.first_logprobs:
        checkup.add(what, FAIL, f"{model.model} gives no log-probabilities, which yes_no needs",
                    checkup.set("models.judge.judge_mode", "rubric"))  # fmt: skip
    elif tools and not called.tool_calls:
        checkup.add(what, WARN, f"{model.model} answers, but made no tool call when told to")
    else:
        proved = [text for there, text in ((tools, "tool calls"), (logprobs, "log-probs")) if there]
        checkup.add(what, OK, ", ".join([f"{model.model} answers", *proved]))


async def _question(client: OpenAIEndpoint, model: str, logprobs: bool) -> Reply:
    message = {"role": "user", "content": "Reply with one word, yes or no: is 2 even?"}
    async with asyncio.timeout(ENDPOINT_TIMEOUT_S):
        return await client.complete(
            Request(model, [message], max_tokens=REPLY_TOKENS, top_logprobs=8 if logprobs else 0)
        )


async def _tool_question(client: OpenAIEndpoint, model: str) -> Reply:
    message = {"role": "user", "content": "Call the tool report."}
    async with asyncio.timeout(ENDPOINT_TIMEOUT_S):
        return await client.complete(
            Request(model, [message], max_tokens=REPLY_TOKENS, tools=(TOOL,))
        )


def _usd(endpoint: Endpoint, model: Model, reply: Reply) -> float:
    price = model.price or endpoint.price or Price()
    return price.usd(reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens)


def _papers(checkup: Checkup, config: RunConfig, folder: Path) -> Paper | None:
    """Papers and split; the shortest training paper, if both are fine.  Of all papers, where there
    is no split: a run needs one, a data set doesn't."""
    papers = checkup.attempt(
        "papers", lambda _: checkup.set("papers.path", "FOLDER"), lambda: papers_of(config, folder)
    )
    if papers is None:
        return None
    texts = [read_paper(paper, config.papers.max_paper_tokens) for paper in papers.values()]
    cut = sum(text.cut_tokens > 0 for text in texts)
    detail = f"{len(papers)} papers" + (f", {cut} cut to max_paper_tokens" if cut else "")
    checkup.add("papers", OK, detail)
    mend = _new_split(checkup, config, len(papers))
    sizes = {text.paper.id: len(text.text) for text in texts}
    if not config.papers.split:
        detail = "papers.split isn't set: metaopt run needs it, metaopt generate doesn't"
        checkup.add("split", FAIL, detail, mend)
        return min(papers.values(), key=lambda p: sizes[p.id])
    split = checkup.attempt(
        "split", lambda _: mend, lambda: read_split(Path(config.papers.split), papers)
    )
    if split is None:
        return None
    checkup.add("split", OK, ", ".join(f"{len(split[part])} {part}" for part in PARTS))
    wanted, there = config.search.minibatch, len(split["train"])
    if wanted > there:
        detail = f"{wanted} papers, but the training part has {there}: each iteration takes all"
        checkup.add("search.minibatch", WARN, detail, checkup.set("search.minibatch", str(there)))
    there = len(split["val"][: config.search.validation_papers])
    checkup.attempt(
        "search.thompson.screen",
        lambda _: checkup.set("search.thompson.screen", str(max(1, there // 5))),
        lambda: refuse_whole_screen(config.search, there),
    )
    return min(split["train"], key=lambda p: sizes[p.id])


def _new_split(checkup: Checkup, config: RunConfig, papers: int) -> str:
    """The commands that make a split of these papers in a new file, and try it."""
    old = Path(config.papers.split or "split.json").absolute()
    names = [old, *(old.with_stem(f"{old.stem}-{n}") for n in range(2, 100))]
    target = next((name for name in names if not name.exists()), names[-1])
    val = max(1, min(25, papers // 4))
    train = max(1, min(50, papers // 2))
    sizes = {"train": train, "val": val, "test": max(0, min(25, papers - train - val))}
    words = ["metaopt", "split", "--papers", config.papers.path, "--out", str(target)]
    for part, size in sizes.items():
        words += [f"--{part}", str(size)]
    return f"{shlex.join(words)} && {checkup.set('papers.split', str(target))}"


def _harness(checkup: Checkup, config: RunConfig, folder: Path) -> Path | None:
    """The baseline, written to a folder, if it can be read."""
    harness = config.harness

    def read() -> tuple[str, dict[str, bytes]]:
        with closing(HarnessRepo(folder / "harness.git", harness)) as repo:
            return repo.baseline, repo.read(repo.baseline)

    def mend(fault: str) -> str:
        key = next((key for sign, key in HARNESS_KEYS.items() if sign in fault), "repo")
        return checkup.set(f"harness.{key}", key.upper())

    found = checkup.attempt("harness", mend, read)
    if found is None:
        return None
    commit, tree = found
    free = sum(may_edit(path, harness.editable, harness.fixed) for path in tree)
    detail = f"{harness.repo} at {commit[:10]}: {len(tree)} files, {free} may be edited"
    checkup.add("harness", OK if free else FAIL, detail,
                "" if free else checkup.set("harness.editable", '["**"]'))  # fmt: skip
    for key in harness.model_fields_set & {"editable", "fixed"}:
        _globs(checkup, f"harness.{key}", getattr(harness, key), sorted(tree))
    _uncommitted(checkup, harness)
    target = folder / "harness"
    write_tree(tree, target)
    return target


def _globs(checkup: Checkup, key: str, globs: Sequence[str], paths: Sequence[str]) -> None:
    for glob in globs:
        if not any(matches(path, [glob.removeprefix("!")]) for path in paths):
            there = one_line(", ".join(paths), 200)
            detail = f"{glob!r} matches no file of the harness ({there})"
            checkup.add(key, WARN, detail, f"edit {key} in {checkup.config_path}")


def _uncommitted(checkup: Checkup, harness: Harness) -> None:
    """A run takes what is committed; changes in the working tree are easily forgotten."""
    if not Path(harness.repo).is_dir():
        return
    # No lock is taken in somebody's repository, and no program of its configuration is run.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", harness.repo]
    command += ["status", "--porcelain", "--", harness.subdir or "."]
    changes = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    if changes:
        files = one_line(", ".join(line[3:] for line in changes.splitlines()), 200)
        checkup.add("harness.repo", WARN, f"not committed, so not in the run: {files}",
                    f"git -C {shlex.quote(harness.repo)} commit --all")  # fmt: skip


@asynccontextmanager
async def _paid(checkup: Checkup, config: RunConfig) -> AsyncIterator[Gateway]:
    """A gateway that keeps nothing, and whose calls the checkup has paid for at the end."""
    gateway = Gateway(config, CallStore(":memory:"))
    try:
        yield gateway
    finally:
        checkup.usd += gateway.ledger.total.usd
        await gateway.close()


async def _one_paper(
    checkup: Checkup, config: RunConfig, folder: Path, paper: Paper, harness: Path
) -> None:
    limits = config.limits.model_copy(update={"items": min(ITEMS, config.limits.items)})
    short = config.model_copy(update={"limits": limits})
    text = read_paper(paper, short.papers.max_paper_tokens)
    try:
        async with _paid(checkup, short) as gateway:
            rig = Rig(short, gateway, choose_mode(short), folder / "papers")
            rollout = await run_paper(rig, harness, text, "doctor", fresh=False)
    except (JailFailed, OSError) as e:
        small = short.limits.memory_mb < Limits().memory_mb
        raised = checkup.set("limits.memory_mb", str(Limits().memory_mb))
        checkup.add("sandbox", FAIL, f"{e}; the harness never ran", raised if small else INSTALL)
        return
    except (UserError, ProviderError, BudgetExhausted) as e:
        checkup.add("one paper", FAIL, str(e), checkup.set("models.ROLE.model", "NAME"))
        return
    spent = gateway.ledger.total
    used = f"{spent.calls} calls, {spent.tokens:,} tokens"
    outcome, detail, mend = _judged(checkup, short, rollout.result)
    checkup.add("one paper", outcome, f"{detail}; {used}", mend)


async def _honeypots(checkup: Checkup, config: RunConfig) -> None:
    """What judge and auditor are worth, by items and answers whose right treatment is known."""
    try:
        async with _paid(checkup, config) as gateway:
            outcomes = await try_pots(gateway.ask, config, Usage())
    except (UserError, ProviderError, BudgetExhausted) as e:
        checkup.add("honeypots", FAIL, str(e), checkup.set("models.auditor.model", "NAME"))
        return
    if not outcomes:
        checkup.add("honeypots", SKIP, "not tried: they have rubrics, which this task has not")
        return
    wrong, right = list(missed(outcomes)), sum(o.right for o in outcomes)
    detail = f"judge and auditor treat {right} of {len(outcomes)} rightly"
    if wrong:
        detail += f"; not {'; '.join(wrong)}"
    stronger = checkup.set("models.auditor.model", "A-STRONGER-ONE") if wrong else ""
    checkup.add("honeypots", WARN if wrong else OK, detail, stronger)


def _judged(checkup: Checkup, config: RunConfig, result: PaperResult) -> tuple[str, str, str]:
    """Outcome, detail and mend of the rollout.  Not being accepted is no fault of the set-up."""
    reason = result.reason.replace("_", " ")
    if result.reason == "not_accepted" and result.detail:
        detail = f"{result.paper}: every item was refused, the last with: {result.detail}"
        if hint := not_played(config):
            return WARN, detail, f"edit {checkup.config_path}: {hint}"
        return WARN, detail, checkup.set("harness.patch", _patch_for(config))
    if result.reason in ("passed", "audit_failed", "not_accepted") and result.rounds:
        return OK, f"{result.paper}: {reason} (rounds: {result.rounds})", ""
    if result.reason == "not_accepted":
        detail = f"{result.paper}: the models brought no question to an evaluation"
        return FAIL, detail, checkup.set("models.main_agent.model", "A-MORE-CAPABLE-ONE")
    limits = config.limits
    faults = {
        "crashed": "crashed",
        "timed_out": f"was silent for longer than limits.idle_s ({limits.idle_s:g} s), or took"
        f" longer than limits.own_s ({limits.own_s:g} s) of its own time",
        "junk": "sent lines that aren't requests, or far too many",
        "no_result": "ended without submitting a result",
    }
    detail = f"{result.paper}: the harness {faults.get(result.reason, reason)}"
    if result.detail:
        detail += f' (its last line on stderr: "{result.detail}")'
    return FAIL, detail, _other_harness(checkup, config.harness)


def _patch_for(config: RunConfig) -> str:
    """The diff that makes the baseline write a task's items, where it is known."""
    tasks = {name: f"populations/tasks/{name}.diff" for name in ("verifiable", "learnable")}
    return tasks.get(config.task.name, "A-DIFF-FOR-THE-TASK")


def _other_harness(checkup: Checkup, harness: Harness) -> str:
    if harness.patch:
        return checkup.set("harness.patch", "A-DIFF-THAT-WORKS")
    key = "repo" if harness.repo == BUILTIN else "ref"
    return checkup.set(f"harness.{key}", "ONE-THAT-WORKS")


def _report(checkup: Checkup) -> str:
    table = grid("check", "", "found")
    for what, outcome, detail, _ in checkup.rows:
        table.add_row(what, outcome, detail)
    # Outside the table, so that a command can be copied whole.
    mends = [f"{what:<24}{mend}" for what, _, _, mend in checkup.rows if mend]
    failing = sum(outcome == FAIL for _, outcome, _, _ in checkup.rows)
    verdict = f"{failing} of {len(checkup.rows)} checks fail" if failing else "ready to run"
    last = f"{verdict}; the checks cost {dollars(checkup.usd)}"
    return "\n".join([render(table), "", *(["To mend", *mends, ""] if mends else []), last])
