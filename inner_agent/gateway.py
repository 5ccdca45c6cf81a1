"""The one door to models: a role asks, a recorded or a fresh reply comes back.

The gateway knows which endpoint plays a role, keys and records every reply, reserves the budget
and counts.  It gives each draw of the same content its own seed, so that three attempts of a
solver are three samples and not one.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from inner_agent import strict_json
from inner_agent.budget import Ledger, Reservation
from inner_agent.calls import CallStore, Usage
from inner_agent.errors import (
    BudgetExhausted,
    EndpointRefused,
    ProviderError,
    ReplyRefused,
    RequestRejected,
    UserError,
)
from inner_agent.faults import REFUSED, SET_ASIDE, Fault, Names, fault_of
from inner_agent.llm import LLM, Message, OpenAIEndpoint, Reply, Request, key_problem
from inner_agent.settings import Endpoint, InnerConfig, Model, Price
from inner_agent.simulator import Simulator
from inner_agent.tool_schema import with_call, without_tools
from inner_agent.traffic import Door

BYTES_PER_TOKEN_AT_LEAST = 1  # for reservations: digits and emoji come near it
MOST_TOKENS = 10**9  # of one reply: a larger count is a mistake, not a bill


@dataclass(slots=True, eq=False)
class Purchase:
    """One call on its way: a task of the gateway's own, which askers only wait for.

    ``sent`` is when its request went out (monotonic seconds); ``None`` while it waits for room in
    the budget or for its turn at the endpoint.
    """

    task: asyncio.Task[tuple[Reply, float]] = field(init=False)
    sent: float | None = None


class Gateway:
    """Models by role, over recorded calls and a budget."""

    def __init__(
        self, config: InnerConfig, calls: CallStore, endpoints: Mapping[str, LLM] | None = None
    ) -> None:
        """``endpoints`` overrides how endpoints are opened (the same names as in the config)."""
        self._config = config
        self._calls = calls
        self.ledger = Ledger(config.budget, calls.usage_by_role(), config.limits.grace_s)
        self._endpoints = endpoints or {
            name: open_endpoint(name, e, config.seed) for name, e in config.endpoints.items()
        }
        self._buying: dict[tuple[bytes, str], Purchase] = {}
        self._names = Names()
        self.in_flight = 0
        self.replayed = 0

    async def ask(
        self,
        role: str,
        messages: Sequence[Message],
        *,
        sample: str,
        tools: Sequence[Mapping[str, Any]] = (),
        schema: Mapping[str, Any] | None = None,
        top_logprobs: int = 0,
        usage: Usage | None = None,
        usable: Callable[[Reply], str | None] = lambda _reply: None,
    ) -> Reply:
        """One completion for ``role``; the same arguments again replay it at no cost.

        ``sample`` tells draws of the same content apart.  Who stops waiting doesn't stop the
        call: it is paid for, and recorded for the next time.  ``usable`` says what is wrong with
        a reply for this role: a faulty reply is set aside (see ``faults``), which the ledger
        counts and ``usage`` doesn't.  Raises ``ProviderError``, ``EndpointRefused``,
        ``ReplyRefused`` or ``BudgetExhausted``.
        """
        model = self._config.models[role]  # type: ignore[index]
        key, size = content_key(model, messages, tools, schema, top_logprobs)
        purchase = self._buying.get((key, sample))
        recorded = None if purchase else self._calls.get(key, sample)
        if purchase or recorded:
            self.replayed += 1  # or on its way already: the very same draw is paid for once
        if not recorded:
            purchase = purchase or self._begin(
                role, model, key, sample, size,
                Request(model.model, messages, model.temperature, model.max_tokens,
                        _seed(self._config.seed, key, sample), tools, schema, top_logprobs),
                usable,
            )  # fmt: skip
            recorded = await asyncio.shield(purchase.task)
        reply, usd = recorded
        if usage is not None:
            usage.add(reply, usd)
        if reply.finish_reason in REFUSED:
            said = " ".join(reply.content.split())[:200] or reply.finish_reason
            raise ReplyRefused(f"endpoints.{model.endpoint}: {model.model} refused: {said}")
        return reply

    def _begin(
        self, role: str, model: Model, key: bytes, sample: str, size: int, request: Request,
        usable: Callable[[Reply], str | None],
    ) -> Purchase:  # fmt: skip
        purchase = self._buying[key, sample] = Purchase()
        work = self._buy_usable(purchase, role, model, key, sample, size, request, usable)
        purchase.task = asyncio.create_task(work)

        def over(task: asyncio.Task[tuple[Reply, float]]) -> None:
            del self._buying[key, sample]
            if not task.cancelled():
                task.exception()  # seen, also when nobody waits for it any more

        purchase.task.add_done_callback(over)
        return purchase

    async def _buy_usable(
        self, purchase: Purchase, role: str, model: Model, key: bytes, sample: str, size: int,
        request: Request, usable: Callable[[Reply], str | None],
    ) -> tuple[Reply, float]:  # fmt: skip
        """Buy until a reply counts.  What was set aside before a crash counts as tried."""
        aside, fault = 0, None
        while self._calls.get(key, f"{sample}#unusable{aside + 1}"):
            aside += 1

        def name_for(reply: Reply) -> str:
            nonlocal fault
            fault = self._fault(model.endpoint, request, reply, usable)
            if aside >= SET_ASIDE and fault and fault.kind != "other_model":
                fault = None  # said three times, it is the model's word
            return f"{sample}#unusable{aside + 1}" if fault else sample

        while True:
            # A name of its own for each: a provider that knows it would send the same reply again.
            draw = f"{sample}#{aside}" if aside else sample
            bought = await self._buy(purchase, role, model, key, draw, name_for, size, request)
            if fault is None:
                return bought
            aside, purchase.sent = aside + 1, None
            if aside > SET_ASIDE:
                raise EndpointRefused(
                    f"endpoints.{model.endpoint}: {fault.why}, {SET_ASIDE + 1} times for"
                    f" models.{role}; if another model is meant to go on here, start again"
                )

    def _fault(
        self, endpoint: str, request: Request, reply: Reply, usable: Callable[[Reply], str | None]
    ) -> Fault | None:
        """What is wrong with a reply.  Only a server can be at fault; the simulator is a model."""
        if not isinstance(self._endpoints[endpoint], OpenAIEndpoint):
            return None
        self._names.heard(endpoint, request.model, reply.model)
        fault = fault_of(request, reply, self._names.known(endpoint, request.model))
        if fault is None and (why := usable(reply)):
            fault = Fault(why)
        return fault

    async def _buy(
        self, purchase: Purchase, role: str, model: Model, key: bytes, draw: str,
        name_for: Callable[[Reply], str], size: int, request: Request,
    ) -> tuple[Reply, float]:  # fmt: skip
        """Buy one reply; it is recorded under the sample that ``name_for`` gives it."""
        price = self._config.price_of(role) or Price()
        worst = size // BYTES_PER_TOKEN_AT_LEAST + 1, model.max_tokens
        timeout_s = self._config.endpoints[model.endpoint].timeout_s
        async with self.ledger.reserve(role, sum(worst), _most(price, *worst), timeout_s) as held:
            self.in_flight += 1
            try:
                reply = await self._send(purchase, role, model, key, draw, request, held)
                seconds = time.monotonic() - (purchase.sent or time.monotonic())
                seconds = min(seconds, held.seconds or seconds)
                reply = believable(reply, *worst)
                usd = price.usd(reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens)
                # On disk before anybody sees it: a crash from here on repeats nothing paid for.
                # Once put it is spent, also when we are stopped before the disk has said so.
                name = name_for(reply)
                put = self._calls.put(key, name, role, reply, usd, time.time(), seconds)
                held.settle(reply, usd, seconds)
                await asyncio.wrap_future(put)
            finally:
                self.in_flight -= 1
        return reply, usd

    async def _send(
        self, purchase: Purchase, role: str, model: Model, key: bytes, draw: str,
        request: Request, held: Reservation,
    ) -> Reply:  # fmt: skip
        """Ask the endpoint, until ``budget.wall_s`` at most, or for the seconds that are held."""
        loop = asyncio.get_running_loop()
        try:
            async with (
                asyncio.timeout(self.ledger.seconds_left()) as wall,
                asyncio.timeout(None) as own,
            ):

                def sending() -> None:
                    purchase.sent = time.monotonic()
                    if held.seconds is not None and not own.expired():
                        own.reschedule(loop.time() + held.seconds)

                def waiting() -> None:
                    purchase.sent = None
                    if not own.expired():
                        own.reschedule(None)

                if not isinstance(self._endpoints[model.endpoint], OpenAIEndpoint):
                    sending()  # others don't make a call wait for its turn
                request = replace(
                    request, sending=sending, waiting=waiting,
                    idempotency_key=idempotency_key(self._config.seed, key, draw),
                )  # fmt: skip
                return await self._complete(role, model.endpoint, request)
        except TimeoutError:
            if wall.expired():
                raise BudgetExhausted(self.ledger.wall_passed()) from None
            if own.expired():
                raise ProviderError(
                    f"endpoints.{model.endpoint}: no reply within timeout_s = {held.seconds:g},"
                    f" which is what budget.roles.{role}.wall_s holds for a call"
                ) from None
            raise

    async def _complete(self, role: str, endpoint: str, request: Request) -> Reply:
        """Ask the endpoint.  A rejection before the role ever got a reply is the config's fault:
        put down to the harness, it would make a score of a wrong setting."""
        try:
            if self._config.models[role].tool_calls == "native":  # type: ignore[index]
                return await self._endpoints[endpoint].complete(request)
            reply = await self._endpoints[endpoint].complete(without_tools(request))
            return with_call(reply) if request.tools else reply
        except RequestRejected as e:
            if not self.ledger.by_role[role].calls:
                raise EndpointRefused(
                    f"models.{role}: its first request was rejected ({e})"
                ) from None
            raise

    def tell(self, say: Callable[[str], None]) -> None:
        """Let ``say`` be told, in a line each, when an endpoint goes down and when it is back, and
        when it begins to limit the rate."""
        for endpoint in self._endpoints.values():
            if isinstance(endpoint, OpenAIEndpoint):
                endpoint.traffic.say = say

    @property
    def doors(self) -> list[Door]:
        """How each endpoint takes calls now; the simulator has no door."""
        return [e.traffic.door for e in self._endpoints.values() if isinstance(e, OpenAIEndpoint)]

    @property
    def pauses(self) -> list[str]:
        """A line for each endpoint that is down."""
        return [door.pause for door in self.doors if door.pause]

    async def close(self, say: Callable[[str], None] = lambda _line: None) -> None:
        """Wait up to ``limits.grace_s`` for the calls in flight, then close everything.

        They are paid for: their replies are recorded as any others.  What hasn't been sent yet
        isn't any more.  ``say`` is told when there is something to wait for; cancelling ends the
        wait at once.
        """
        try:
            await self._drain(say)
        finally:
            await _cancel([p.task for p in self._buying.values()])
            for endpoint in self._endpoints.values():
                if isinstance(endpoint, OpenAIEndpoint):
                    await endpoint.close()
            self._calls.close()

    async def _drain(self, say: Callable[[str], None]) -> None:
        await _cancel([p.task for p in self._buying.values() if p.sent is None])
        sent = [p.task for p in self._buying.values()]
        left = self.ledger.seconds_left()
        grace = self._config.limits.grace_s
        grace = grace if left is None else max(0.0, min(grace, left))
        if sent and grace:
            calls = f"{len(sent)} call{'s' if len(sent) > 1 else ''}"
            say(f"finishing {calls} in flight, up to {grace:.0f} s; Ctrl-C again stops now")
            await asyncio.wait(sent, timeout=grace)


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def believable(reply: Reply, prompt_at_most: int, completion_at_most: int) -> Reply:
    """The reply with token counts that can be counted with.

    Where the provider gave none, or something that is no count (negative, not a whole number,
    past ``MOST_TOKENS``), it is taken for the worst case: a cap must not be passed for want of a
    number.  A possible count is believed, also above the worst case: it is what will be billed.
    """
    prompt = _count(reply.prompt_tokens, prompt_at_most)
    completion = _count(reply.completion_tokens, completion_at_most)
    cached = min(_count(reply.cached_tokens, 0), prompt)
    if (prompt, completion, cached) == (
        reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens,
    ):  # fmt: skip
        return reply
    return replace(reply, prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)


def _count(given: Any, otherwise: int) -> int:
    whole = isinstance(given, int) and not isinstance(given, bool)
    return given if whole and 0 <= given <= MOST_TOKENS else otherwise


def content_key(
    model: Model,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] = (),
    schema: Mapping[str, Any] | None = None,
    top_logprobs: int = 0,
) -> tuple[bytes, int]:
    """sha256 over all that shapes the reply, and the size in bytes of what is sent.

    A message's text is hashed as it is, after the JSON of everything else, which tells its
    length: escaping a paper as JSON costs four times as much as hashing it.
    """
    shells: list[Message] = []
    texts: list[bytes] = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content.encode("utf-8", "surrogatepass"))
            message = {**message, "content": {"bytes": len(texts[-1])}}
        shells.append(message)
    head = strict_json.canonical(
        [model.endpoint, model.model, model.temperature, model.max_tokens, shells,
         list(tools), schema, top_logprobs]
    )  # fmt: skip
    whole = b"\0".join([head, *texts])
    return hashlib.sha256(whole).digest(), len(whole)


def open_endpoint(name: str, endpoint: Endpoint, seed: int) -> LLM:
    """Connect to one endpoint.  Raises ``UserError`` when its key variable isn't set."""
    if endpoint.simulator is not None:
        return Simulator(seed, endpoint.simulator)
    key = os.environ.get(endpoint.api_key_env, "") if endpoint.api_key_env else "none"
    if not key:
        raise UserError(
            f"endpoints.{name}: the environment variable {endpoint.api_key_env} isn't set;"
            f" export it, or change endpoints.{name}.api_key_env"
        )
    if problem := key_problem(key):
        raise UserError(
            f"endpoints.{name}: the key in {endpoint.api_key_env} {problem}; export it anew"
        )
    return OpenAIEndpoint(
        name, endpoint.base_url, key, endpoint.max_in_flight, endpoint.requests_per_minute,
        endpoint.timeout_s, endpoint.max_retries, endpoint.token_limit, endpoint.leave_out,
        endpoint.outage_s,
    )  # fmt: skip


def _seed(run_seed: int, key: bytes, sample: str) -> int:
    """31 bits (servers reject more), distinct for each draw."""
    digest = hashlib.sha256(key + sample.encode() + str(run_seed).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def idempotency_key(run_seed: int, key: bytes, draw: str) -> str:
    """The same draw, the same key: a provider that honours it charges a repetition once.

    Another seed is another draw.  Two runs of one config and seed have the same keys.
    """
    return hashlib.sha256(f"{run_seed}/".encode() + key + draw.encode()).hexdigest()


def _most(price: Price, prompt: int, completion: int) -> float:
    """USD at most, whatever part of the prompt the provider had cached."""
    return max(price.usd(prompt, completion), price.usd(prompt, completion, prompt))
