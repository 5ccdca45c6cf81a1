"""The one door to models: a role asks, a recorded or a fresh reply comes back.

The gateway knows which endpoint plays a role, keys and records every reply, reserves the budget
and counts.  It gives each draw of the same content its own seed, so that three attempts of a
solver are three samples and not one.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from inner_agent import strict_json
from inner_agent.budget import Ledger
from inner_agent.calls import CallStore, Usage
from inner_agent.errors import EndpointRefused, RequestRejected, UserError
from inner_agent.llm import LLM, Message, OpenAIEndpoint, Reply, Request
from inner_agent.settings import Endpoint, InnerConfig, Model, Price
from inner_agent.simulator import Simulator
from inner_agent.tool_schema import with_call, without_tools

BYTES_PER_TOKEN_AT_LEAST = 1  # for reservations: digits and emoji come near it


class Gateway:
    """Models by role, over recorded calls and a budget."""

    def __init__(
        self, config: InnerConfig, calls: CallStore, endpoints: Mapping[str, LLM] | None = None
    ) -> None:
        """``endpoints`` overrides how endpoints are opened (the same names as in the config)."""
        self._config = config
        self._calls = calls
        self.ledger = Ledger(config.budget, calls.usage_by_role())
        self._endpoints = endpoints or {
            name: open_endpoint(name, e, config.seed) for name, e in config.endpoints.items()
        }
        self._buying: dict[tuple[bytes, str], asyncio.Event] = {}
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
    ) -> Reply:
        """One completion for ``role``; the same arguments again replay it at no cost.

        ``sample`` tells draws of the same content apart.  Raises ``ProviderError``,
        ``EndpointRefused`` or ``BudgetExhausted``.
        """
        model = self._config.models[role]  # type: ignore[index]
        key, size = content_key(model, messages, tools, schema, top_logprobs)
        while busy := self._buying.get((key, sample)):
            await busy.wait()  # the very same draw is on its way: it is paid for once
        recorded = self._calls.get(key, sample)
        if recorded:
            self.replayed += 1
        reply, usd = recorded or await self._buy(
            role, model, key, sample, size,
            Request(model.model, messages, model.temperature, model.max_tokens,
                    _seed(self._config.seed, key, sample), tools, schema, top_logprobs),
        )  # fmt: skip
        if usage is not None:
            usage.add(reply, usd)
        return reply

    async def _buy(
        self, role: str, model: Model, key: bytes, sample: str, size: int, request: Request
    ) -> tuple[Reply, float]:
        price = self._config.price_of(role) or Price()
        worst = size // BYTES_PER_TOKEN_AT_LEAST + 1, model.max_tokens
        async with self.ledger.reserve(role, sum(worst), price.usd(*worst)) as reservation:
            self.in_flight += 1
            self._buying[key, sample] = done = asyncio.Event()
            try:
                reply = await self._complete(role, model.endpoint, request)
                usd = _cost(price, reply)
                # Committed before anybody sees it: a crash from here on repeats nothing paid for.
                self._calls.put(key, sample, role, reply, usd, time.time())
            finally:
                self.in_flight -= 1
                del self._buying[key, sample]
                done.set()
            reservation.settle(reply, usd)
        return reply, usd

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

    async def close(self) -> None:
        """Close connections and the call store."""
        for endpoint in self._endpoints.values():
            if isinstance(endpoint, OpenAIEndpoint):
                await endpoint.close()
        self._calls.close()


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
    return OpenAIEndpoint(
        name, endpoint.base_url, key, endpoint.max_in_flight, endpoint.requests_per_minute,
        endpoint.timeout_s, endpoint.max_retries, endpoint.token_limit, endpoint.leave_out,
    )  # fmt: skip


def _seed(run_seed: int, key: bytes, sample: str) -> int:
    """31 bits (servers reject more), distinct for each draw."""
    digest = hashlib.sha256(key + sample.encode() + str(run_seed).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _cost(price: Price, reply: Reply) -> float:
    return price.usd(reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens)
