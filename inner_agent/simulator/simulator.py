"""``Simulator``: an embedded endpoint whose replies are a function of what it is sent."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

from inner_agent.errors import EndpointRefused
from inner_agent.llm import Reply, Request
from inner_agent.simulator import (
    analyzer,
    auditor,
    comparer,
    explorer,
    implementer,
    judge,
    main_agent,
    solver,
    verifier,
)
from inner_agent.simulator.parameters import SimulatorParameters
from inner_agent.simulator.wire import content

Persona = Callable[[Request, Random, SimulatorParameters], Reply]

_PERSONAS: Mapping[str, Persona] = {
    "sim-main-agent": main_agent.reply,
    "sim-challenger": explorer.reply,
    "sim-quality-verifier": verifier.reply,
    "sim-weak": solver.weak,
    "sim-strong": solver.strong,
    "sim-judge": judge.reply,
    "sim-auditor": auditor.reply,
    "sim-comparer": comparer.reply,
    "sim-analyzer": analyzer.reply,
    "sim-implementer": implementer.reply,
}
_CHARS_PER_TOKEN = 4


class Simulator:
    """Answers chat completions; stateless, so any number of calls may run at once."""

    def __init__(self, seed: int = 0, parameters: SimulatorParameters | None = None) -> None:
        self.seed = seed
        self.parameters = parameters or SimulatorParameters()

    @staticmethod
    def models() -> list[str]:
        """The model names that it answers to; each is a persona."""
        return list(_PERSONAS)

    async def complete(self, request: Request) -> Reply:
        """Reply = f(seed, model, messages, request.seed).  Raises ``EndpointRefused``."""
        persona = _PERSONAS.get(request.model)
        if persona is None:
            known = ", ".join(_PERSONAS)
            raise EndpointRefused(f"simulator: no model {request.model!r}; there are {known}")
        if self.parameters.latency_s:
            await asyncio.sleep(self.parameters.latency_s)
        rng = Random(self._draw(request))
        return _measured(request, persona(request, rng, self.parameters))

    def _draw(self, request: Request) -> int:
        digest = hashlib.blake2b(digest_size=8)
        digest.update(f"{self.seed} {request.model} {request.seed}".encode())
        for message in request.messages:
            said = f"\0{message.get('role')}\0{content(message)}"
            digest.update(said.encode("utf-8", "surrogatepass"))
            if message.get("tool_calls"):
                digest.update(json.dumps(message["tool_calls"], default=str).encode())
        return int.from_bytes(digest.digest())


def _measured(request: Request, reply: Reply) -> Reply:
    """Cut at ``max_tokens``, with token counts by the usual estimate of four characters each."""
    text, finish = reply.content, reply.finish_reason
    if len(text) > request.max_tokens * _CHARS_PER_TOKEN:
        text, finish = text[: request.max_tokens * _CHARS_PER_TOKEN], "length"
    sent = sum(len(content(m)) for m in request.messages)
    written = len(text) + sum(len(c.arguments) for c in reply.tool_calls)
    return replace(
        reply,
        content=text,
        finish_reason=finish,
        model=request.model,
        prompt_tokens=-(-sent // _CHARS_PER_TOKEN),
        completion_tokens=-(-written // _CHARS_PER_TOKEN),
    )
