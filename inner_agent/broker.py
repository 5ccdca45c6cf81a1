"""The trusted end of a harness's socket: three methods, hostile parsing, its own record.

A request is one JSON line; they are handled one at a time, so a flood waits in the kernel's
buffer and two evaluations can't race.  What the harness *claims* never matters: ``accepted`` is
decided here, from the recorded evaluations of exactly the item that it names as final.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inner_agent import strict_json
from inner_agent.calls import Usage
from inner_agent.errors import RequestRejected
from inner_agent.evaluation import Evaluator, Phase
from inner_agent.gateway import Gateway
from inner_agent.items import Item, ItemRefused, first_error, parse_item
from inner_agent.llm import Message
from inner_agent.settings import Limits
from inner_agent.told import with_told
from inner_agent.trajectory import Steps

MAX_LINE = 2**20  # with its line feed
MAX_SAID = 2**24  # characters of messages that a rollout's trajectory keeps: it goes to disk
EVALUATION_TRIES = 3  # of an item whose evaluation gave no verdict: more would be fishing
SECOND_LOOK_S = 1.0
MAX_VIOLATIONS = 20  # junk lines before the harness is given up
REQUESTS_PER_ALLOWED = 10  # requests for each chat and item allowed: refusals are free, not endless
MAX_MESSAGE = 500  # characters of a refusal: it may quote what the harness wrote


class Refusal(Exception):
    """An error answer to the harness; it may go on."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Function(BaseModel):
    model_config = ConfigDict(strict=True)
    name: Annotated[str, Field(max_length=64)]
    arguments: Annotated[str, Field(max_length=200_000)]


class _Call(BaseModel):
    model_config = ConfigDict(strict=True)
    id: Annotated[str, Field(max_length=128)]
    type: Literal["function"] = "function"
    function: _Function


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: Annotated[list[_Call], Field(max_length=32)] | None = None
    tool_call_id: Annotated[str, Field(max_length=128)] | None = None


class _Tool(BaseModel):
    """A function and nothing else: providers have tools of their own that reach the network."""

    model_config = ConfigDict(strict=True, extra="forbid")
    type: Literal["function"]
    function: dict[str, Any]


class _Chat(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    agent: Literal["main_agent", "challenger", "quality_verifier"]
    messages: Annotated[list[_Message], Field(min_length=1, max_length=1_000)]
    tools: Annotated[list[_Tool], Field(max_length=32)] = []
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class _Evaluate(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    item: dict[str, Any]
    phase: Literal["weak_only", "strong_only"]


class Round(BaseModel):
    """One round of result.json, as the seed document lays it out."""

    model_config = ConfigDict(strict=True)
    refinement_round: int
    question: str
    context: str
    reference_answer: str
    rubric: list[Any]
    accepted: bool
    quality_verifier_kimi_passed: bool
    quality_verifier_kimi_feedback: str
    weak_solver_avg: float | None
    strong_solver_avg: float | None
    gap: float | None
    eval_report: str
    eval_output_dir: str


class ResultFile(BaseModel):
    """result.json: every round, accepted or not (Autodata, main agent prompt, "Output")."""

    model_config = ConfigDict(strict=True)
    paper_title: str
    question_type: str
    reasoning_skills: list[str]
    rounds: Annotated[list[Round], Field(max_length=100)]
    final_accepted_round: int | None
    total_rounds: int

    def final(self) -> Round | None:
        """The round that the harness names as its accepted one."""
        found = (r for r in self.rounds if r.refinement_round == self.final_accepted_round)
        return next(found, None)

    def item_of(self, r: Round) -> Item:
        """The round as an item.  Raises ``ItemRefused``."""
        return parse_item(
            {
                "question_type": self.question_type,
                "reasoning_skills": self.reasoning_skills,
                "context": r.context,
                "question": r.question,
                "reference_answer": r.reference_answer,
                "rubric": r.rubric,
            }
        )


class _Submit(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    result: ResultFile


@dataclass(slots=True)
class Record:
    """What was found out about one item; ``tries`` counts evaluations that gave no verdict.

    ``refused`` is what the task found wrong when it examined the item, or ``""``.
    """

    item: Item
    refused: str = ""
    weak: Phase | None = None
    strong: Phase | None = None
    tries: int = 0


@dataclass(slots=True)
class Broker:
    """State of one rollout: allowances used, evaluations recorded, the last submitted result.

    ``own_s`` is what the harness has left of its own time, in seconds; ``told`` is added to each
    chat of the challenger.
    """

    gateway: Gateway
    evaluator: Evaluator
    limits: Limits
    sample: str
    steps: Steps
    usage: Usage = field(default_factory=Usage)
    told: str = ""
    records: dict[str, Record] = field(default_factory=dict)
    result: ResultFile | None = None
    chats: int = 0
    requests: int = 0
    violations: int = 0
    asked: list[bytes] = field(default_factory=list)  # a hash of each request line
    own_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.own_s = self.limits.own_s

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Answer until the harness hangs up: ``""``, or why it was given up on.

        ``ProviderError`` and ``BudgetExhausted`` pass through: they are no fault of the harness.
        """
        clock = asyncio.get_running_loop().time
        while True:
            asked, patience_s = clock(), min(self.limits.idle_s, self.own_s)
            try:
                line = await _read_line(reader, patience_s)
            except TimeoutError:
                return "timed_out"
            except asyncio.LimitOverrunError:
                return "junk"
            except (asyncio.IncompleteReadError, ConnectionError):
                return ""
            finally:
                self.own_s -= min(clock() - asked, patience_s)
            self.asked.append(hashlib.sha256(line).digest())
            answer = await self.answer(line)
            if self.violations > MAX_VIOLATIONS or self.requests > self._requests_allowed:
                return "junk"
            try:
                writer.write(json.dumps(answer).encode() + b"\n")
                if writer.transport.get_write_buffer_size():  # it mostly went out at once
                    async with asyncio.timeout(self.limits.idle_s):
                        await writer.drain()
            except TimeoutError:
                return "timed_out"  # it doesn't read what it asked for
            except ConnectionError:
                return ""

    @property
    def _requests_allowed(self) -> int:
        return REQUESTS_PER_ALLOWED * (self.limits.chats + self.limits.items)

    async def answer(self, line: bytes) -> dict[str, Any]:
        """The answer to one request line."""
        self.requests += 1
        ident: Any = None
        method: Any = None
        try:
            request = strict_json.loads(line)
            if not isinstance(request, dict):
                raise Refusal("bad_request", "a request is a JSON object")
            ident, method = request.get("id"), request.get("method")
            if isinstance(ident, bool) or not isinstance(ident, int | str):
                ident = None
                raise Refusal("bad_request", "id: must be an integer or a string")
            return {"id": ident, "result": await self._dispatch(method, request.get("params"))}
        except strict_json.JSONRefused as e:
            refusal = Refusal("bad_request", str(e))
        except Refusal as e:
            refusal = e
        self.violations += refusal.code == "bad_request"
        message = " ".join(str(refusal).split())[:MAX_MESSAGE]
        self.steps.refused(str(method)[:40], refusal.code, message)
        return {"id": ident, "error": {"code": refusal.code, "message": message}}

    async def _dispatch(self, method: Any, params: Any) -> dict[str, Any]:
        if method == "chat":
            return await self._chat(_parse(_Chat, params))
        if method == "evaluate":
            return await self._evaluate(_parse(_Evaluate, params))
        if method == "submit":
            return self._submit(_parse(_Submit, params).result)
        raise Refusal("bad_request", "method: must be chat, evaluate or submit")

    async def _chat(self, chat: _Chat) -> dict[str, Any]:
        if self.chats >= self.limits.chats:
            raise Refusal("limit", f"{self.limits.chats} chats a paper are used up")
        if self.steps.size > MAX_SAID:
            raise Refusal("limit", f"the chats of this paper passed {MAX_SAID} characters")
        self.chats += 1
        dumped = chat.model_dump(include={"messages", "tools"}, exclude_none=True)
        messages: Sequence[Message] = dumped["messages"]
        if chat.agent == "challenger":
            messages = with_told(messages, self.told)
        try:
            reply = await self.gateway.ask(
                chat.agent, messages, sample=f"{self.sample}/chat{self.chats}",
                tools=dumped["tools"], schema=chat.schema_, usage=self.usage,
            )  # fmt: skip
        except RequestRejected as e:  # too long or malformed: the harness wrote it
            raise Refusal("bad_request", str(e)) from None
        shown = {
            "content": reply.content,
            "tool_calls": [
                {"id": t.id, "name": t.name, "arguments": t.arguments} for t in reply.tool_calls
            ],
            "finish_reason": reply.finish_reason,
        }
        self.steps.chat(chat.agent, messages, shown)
        return shown

    async def _evaluate(self, wanted: _Evaluate) -> dict[str, Any]:
        try:
            item = self._of_the_task(parse_item(wanted.item))
        except ItemRefused as e:
            raise Refusal("invalid_item", str(e)) from None
        record = self.records.get(item.sha256) or await self._new_record(item)
        if record.refused:
            raise Refusal("invalid_item", record.refused)
        known = record.weak if wanted.phase == "weak_only" else record.strong
        try:
            phase = known or await self._new_phase(record, wanted.phase)
        except RequestRejected as e:  # too long for a solver or the judge: the harness wrote it
            record.tries += 1
            raise Refusal("invalid_item", f"item: {e}") from None
        return {
            "status": phase.status,
            "report": phase.report,
            "scores": phase.scores,
            "average": sum(phase.scores) / len(phase.scores) if phase.scores else None,
            "weak_avg": phase.weak_avg,
            "strong_avg": phase.strong_avg,
            "gap": phase.gap,
            "output_dir": f"eval_attempts/{item.sha256[:12]}",
        }

    def _of_the_task(self, item: Item) -> Item:
        if reason := self.evaluator.task.refusal(item):
            raise ItemRefused(reason)
        return item

    def record_of(self, r: Round) -> Record | None:
        """What was found out about a submitted round's item, if it was ever evaluated.

        Raises ``ItemRefused`` for one that can't be.
        """
        assert self.result is not None
        record = self.records.get(self._of_the_task(self.result.item_of(r)).sha256)
        if record and record.refused:
            raise ItemRefused(record.refused)
        return record

    async def _new_record(self, item: Item) -> Record:
        if len(self.records) >= self.limits.items:
            raise Refusal("limit", f"{self.limits.items} items a paper are used up")
        examine = self.evaluator.task.examine
        refused = await examine(item) if examine else ""
        return self.records.setdefault(item.sha256, Record(item, refused))

    async def _new_phase(self, record: Record, name: str) -> Phase:
        """Evaluate for the first time: the record is kept, so asking twice gives no second draw."""
        if record.tries >= EVALUATION_TRIES:
            raise Refusal("limit", "this item was tried too often without a verdict")
        sample = f"{self.sample}/{record.item.sha256[:16]}.{record.tries}"
        if name == "weak_only":
            phase = await self.evaluator.weak(record.item, sample)
        elif record.weak and record.weak.passed:
            phase = await self.evaluator.strong(record.item, sample, record.weak)
        else:
            raise Refusal("order", "strong_only comes after WEAK_PASSED on the same item")
        self.steps.evaluated("evaluate", name, record.item, phase)
        if phase.status == "SOLVER_ERROR":
            record.tries += 1  # the next try draws anew
        elif name == "weak_only":
            record.weak = phase
        else:
            record.strong = phase
        return phase

    def _submit(self, result: ResultFile) -> dict[str, Any]:
        self.result = result
        accepted = self.accepted() is not None
        self.steps.submitted(accepted)
        return {"accepted": accepted}

    def accepted(self) -> Record | None:
        """The record of the final item, if its evaluations here earn acceptance."""
        final = self.result.final() if self.result else None
        if final is None or not final.quality_verifier_kimi_passed:
            return None
        try:
            record = self.record_of(final)
        except ItemRefused:
            return None
        earned = record and record.weak and record.weak.passed and record.strong
        return record if earned and record and record.strong and record.strong.passed else None


async def _read_line(reader: asyncio.StreamReader, timeout_s: float) -> bytes:
    """A line of at most ``MAX_LINE`` bytes.  Raises ``TimeoutError``.

    After Ctrl-Z and fg, or on a machine that was paused, the time is over while the line is long
    there: so it looks a second time before it calls a harness silent.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await reader.readuntil(b"\n")
    except TimeoutError:
        async with asyncio.timeout(min(timeout_s, SECOND_LOOK_S)):
            return await reader.readuntil(b"\n")


def _parse(model: Callable[..., Any] | type[BaseModel], params: Any) -> Any:
    if not isinstance(params, Mapping):
        raise Refusal("bad_request", "params: must be a JSON object")
    try:
        return model.model_validate(params)  # type: ignore[union-attr]
    except ValidationError as e:
        raise Refusal("bad_request", first_error(e, "params")) from None
    except RecursionError:
        raise Refusal("bad_request", "params: nested too deeply") from None
