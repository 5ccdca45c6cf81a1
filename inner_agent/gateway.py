"""The one door to models: a role asks, a recorded or a fresh reply comes back.

The gateway knows which endpoint plays a role, keys and records every reply, reserves the budget
and counts.  It gives each draw of the same content its own seed, so that three attempts of a
solver are three samples and not one.
"""

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from inner_agent import strict_json
from inner_agent.budget import Ledger
from inner_agent.calls import CallStore, Usage
from inner_agent.errors import UserError
from inner_agent.llm import LLM, Message, OpenAIEndpoint, Reply, Request
from inner_agent.settings import Endpoint, InnerConfig, Model, Price
from inner_agent.simulator import Simulator

CHARS_PER_TOKEN_AT_LEAST = 2  # for reservations: no tokenizer of today averages below this


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
        price = model.price or self._config.endpoints[model.endpoint].price
        worst_prompt = size // CHARS_PER_TOKEN_AT_LEAST + 1
        worst_usd = price.usd(worst_prompt, model.max_tokens)
        with self.ledger.reserve(role, worst_prompt + model.max_tokens, worst_usd) as reservation:
            self.in_flight += 1
            try:
                reply = await self._endpoints[model.endpoint].complete(request)
            finally:
                self.in_flight -= 1
            usd = _cost(price, reply)
            # Committed before anybody sees it: a crash from here on repeats nothing paid for.
            self._calls.put(key, sample, role, reply, usd, time.time())
            reservation.settle(reply, usd)
        return reply, usd

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
    """sha256 over all that shapes the reply, and the size in bytes of what is sent."""
    text = strict_json.canonical(
        [model.endpoint, model.model, model.temperature, model.max_tokens, list(messages),
         list(tools), schema, top_logprobs]
    )  # fmt: skip
    return hashlib.sha256(text).digest(), len(text)


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
        endpoint.timeout_s, endpoint.max_retries,
    )  # fmt: skip


def _seed(run_seed: int, key: bytes, sample: str) -> int:
    """31 bits (servers reject more), distinct for each draw."""
    digest = hashlib.sha256(key + sample.encode() + str(run_seed).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _cost(price: Price, reply: Reply) -> float:
    return price.usd(reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens)
