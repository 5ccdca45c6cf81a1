"""The one seam to language models: a request, a reply, and the Protocol between them.

``OpenAIEndpoint`` speaks to any server with the OpenAI chat-completions interface and is the
only code that imports ``openai``; the simulator stands behind the same Protocol.
"""

import asyncio
import json
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from aiolimiter import AsyncLimiter

from inner_agent.errors import EndpointRefused, ProviderError, RequestRejected, Unreachable
from inner_agent.retries import Patience, retry_after
from inner_agent.traffic import Clock, SystemClock, Ticket, Traffic

REDACTED = "[key]"
SHORTEST_KEY = 8
CROWDED = (503, 529)  # statuses of servers that have too much to do
_BEARER = re.compile(r"\b([Bb]earer\s+)[\w.~+/=-]{16,}")  # longer than the words of a sentence

T = TypeVar("T")

TOKEN_CHARS = 64  # of a token at most: long runs of spaces come near it
MOST_CHARS = 10_000  # of a reply, beside those of its tokens

Message = dict[str, Any]
"""One chat message in the OpenAI wire format."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call that the model asks for; ``arguments`` is JSON text, not yet parsed."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Request:
    """One chat completion to ask for.

    ``max_tokens`` bounds the reply; ``top_logprobs`` > 0 asks for that many alternatives of the
    first token; ``schema`` is a JSON schema that the reply must follow.  ``idempotency_key`` names
    the draw to the provider; ``sending`` is to be called when the request is about to go out, and
    ``waiting`` when it will have to go out again.
    """

    model: str
    messages: Sequence[Message]
    temperature: float = 1.0
    max_tokens: int = 4096
    seed: int = 0
    tools: Sequence[Mapping[str, Any]] = ()
    schema: Mapping[str, Any] | None = None
    top_logprobs: int = 0
    idempotency_key: str = ""
    sending: Callable[[], None] = lambda: None
    waiting: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.  Token counts are the provider's, whatever it says (-1: nothing).

    ``first_logprobs``: token to logprob.
    """

    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    model: str = ""
    first_logprobs: dict[str, float] = field(default_factory=dict)


class LLM(Protocol):
    """Anything that answers a chat-completion request."""

    async def complete(self, request: Request) -> Reply:
        """Return the model's reply; raise ``ProviderError`` when there is none to be had."""
        ...


class OpenAIEndpoint:
    """A chat-completions server behind ``openai.AsyncOpenAI``.

    The connection pool is as large as the number of calls in flight (the client's own stops at
    100 idle connections) and the aiohttp transport is used where it is installed.  The client's
    own retries are off: how often and how many at a time is ``Traffic``'s to say.  The key is
    taken out of everything that comes back, errors and replies alike.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        api_key: str,
        max_in_flight: int = 64,
        requests_per_minute: int | None = None,
        timeout_s: float = 600.0,
        max_retries: int = 8,
        token_limit: str = "max_tokens",
        leave_out: Sequence[str] = (),
        outage_s: float = 7_200.0,
        clock: Clock | None = None,
    ) -> None:
        """``name`` is the endpoint's name in the config, for messages."""
        self.name = name
        self._token_limit, self._leave_out = token_limit, leave_out
        self._timeout_s, self._max_retries, self._outage_s = timeout_s, max_retries, outage_s
        self._clock = clock or SystemClock()
        self.traffic = Traffic(name, max_in_flight, outage_s, self._clock)
        self._rate = (
            AsyncLimiter(1, 60 / requests_per_minute) if requests_per_minute else nullcontext()
        )
        self._redacted = Redaction(api_key)
        self._client = _open_client(base_url, api_key, max_in_flight, timeout_s)

    async def complete(self, request: Request) -> Reply:
        """Ask the server, as often as it takes.

        Raises ``EndpointRefused`` (bad key, unknown model), ``RequestRejected`` (this request
        is at fault), ``EndpointDown`` (it was waited for long enough) or ``ProviderError``
        (after all retries).
        """
        arguments = self._arguments(request)

        async def send() -> Reply:
            request.sending()
            answer = await self._client.chat.completions.create(**arguments)
            return _reply(answer, self._redacted, MOST_CHARS + request.max_tokens * TOKEN_CHARS)

        return await self._persist(send, request.model, request.waiting)

    async def models(self) -> list[str]:
        """The ids that the server lists.  Raises as ``complete`` does."""

        async def send() -> list[str]:
            return [self._redacted(m.id) async for m in self._client.models.list()]

        return await self._persist(send)

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text, in their order.  Raises as ``complete`` does."""

        async def send() -> list[list[float]]:
            answer = await self._client.embeddings.create(
                model=model, input=list(texts), encoding_format="float"
            )
            return _vectors(answer, len(texts))

        return await self._persist(send, model)

    async def _persist(
        self, send: Callable[[], Awaitable[T]], model: str = "",
        waiting: Callable[[], None] = lambda: None,
    ) -> T:  # fmt: skip
        """Do ``send`` until it succeeds, within the limits of ``Traffic`` and ``Patience``."""
        traffic, patience = self.traffic, Patience(self._max_retries, self._outage_s)
        while True:
            ticket = await traffic.enter()
            try:
                async with self._rate, asyncio.timeout(self._timeout_s):
                    ticket.started = self._clock.now()
                    got = await send()
            except Exception as e:
                fault = self._fault(e, model)
                if fault is None:
                    traffic.gone(ticket)
                    raise
            except BaseException:  # cancelled
                traffic.gone(ticket)
                raise
            else:
                traffic.answered(ticket, (model, _length(got)))
                return got
            waiting()
            await traffic.rest(self._after(fault, ticket, patience))

    def _after(self, fault: "_Fault", ticket: Ticket, patience: Patience) -> float:
        """Seconds before the next try.  Raises the fault's error when there is to be none."""
        traffic, why = self.traffic, fault.why
        if fault.kind == "final":
            traffic.alive(ticket)
            raise fault.error from None
        wait_s = fault.wait_s or 0.0
        if fault.kind == "limited":
            if traffic.limited(ticket, why, wait_s):
                return 0.0
            return patience.after_refusal(fault.error, fault.wait_s, self._clock.now())
        if traffic.failed(ticket, why, wait_s, crowded=fault.kind == "crowded"):
            return 0.0  # the outage's, not this request's: it waits at the door
        return patience.after_fault(fault.error, fault.wait_s)

    def _fault(self, e: Exception, model: str) -> "_Fault | None":
        """What an exception of the client or its transport means; ``None`` for a bug of ours."""
        import openai

        where, why = f"endpoints.{self.name}", _short(e, self._redacted)
        if isinstance(e, openai.AuthenticationError | openai.PermissionDeniedError):
            mend = "with a good key the same command goes on"
            return _Fault("final", EndpointRefused(f"{where}: key refused ({why}); {mend}"), why)
        if isinstance(e, openai.NotFoundError):
            what = f"no model {model!r} there" if model else "no such path there"
            return _Fault("final", EndpointRefused(f"{where}: {what} ({why})"), why)
        if isinstance(e, openai.APIStatusError):
            code, wait_s = e.status_code, retry_after(e.response.headers, time.time())
            if code in (400, 413, 422):
                return _Fault("final", RequestRejected(f"{where}: {why}"), why)
            error = ProviderError(f"{where}: {why}")
            if code == 429 and e.code != "insufficient_quota":  # no credit: waiting won't help
                return _Fault("limited", error, why, wait_s)
            if code in CROWDED:
                return _Fault("crowded", error, why, wait_s)
            again = code >= 500 or code in (408, 409)
            return _Fault("failed" if again else "final", error, why, wait_s)
        # The aiohttp transport calls a refused connection a ConnectTimeout, at once.
        unconnected = type(e.__cause__).__name__ == "ConnectTimeout"
        if isinstance(e, TimeoutError | openai.APITimeoutError) and not unconnected:
            why = f"no complete reply within {self._timeout_s:g} s"
            return _Fault("crowded", Unreachable(f"{where}: {why}"), why)
        if isinstance(e, openai.APIConnectionError):  # its own text says less than its cause's
            why = _short(e.__cause__ or e, self._redacted)
            return _Fault("failed", Unreachable(f"{where}: {why}"), why)
        if isinstance(e, json.JSONDecodeError):
            why = f"a reply that isn't JSON; is base_url right? ({why})"
        # The client raises the last two for a number without end, and for lists within lists.
        odd = ValueError | OSError | OverflowError | RecursionError
        if isinstance(e, openai.OpenAIError | odd):
            return _Fault("failed", ProviderError(f"{where}: {why}"), why)
        return None

    def _arguments(self, request: Request) -> dict[str, Any]:
        given: dict[str, Any] = {
            "model": request.model,
            "messages": list(request.messages),
            "temperature": request.temperature,
            self._token_limit: request.max_tokens,
            "seed": request.seed,
        }
        if request.tools:
            given["tools"] = list(request.tools)
        if request.schema:
            shape = {"name": "reply", "schema": request.schema, "strict": True}
            given["response_format"] = {"type": "json_schema", "json_schema": shape}
        if request.top_logprobs:
            given |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        if request.idempotency_key:
            given["extra_headers"] = {"Idempotency-Key": request.idempotency_key}
        return {k: v for k, v in given.items() if k not in self._leave_out}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


@dataclass(frozen=True, slots=True)
class _Fault:
    """What went wrong with one try, and what it raises if that was the last."""

    kind: Literal["final", "limited", "crowded", "failed"]
    error: ProviderError
    why: str
    wait_s: float | None = None


def key_problem(key: str) -> str | None:
    """Why no request can carry this key, or ``None``; waiting wouldn't help.

    A header loses spaces around it: what a server echoes would not be known for the key any more.
    """
    if re.fullmatch("[!-~]+", key):
        return None
    return "has a space, a line break or another character that no key has"


class Redaction:
    """Takes a key out of texts that a server sends: errors and replies are kept and shown."""

    def __init__(self, key: str) -> None:
        """A key shorter than 8 characters is a placeholder, and no secret."""
        self._key = key if len(key) >= SHORTEST_KEY else None

    def __call__(self, text: str) -> str:
        """The text without the key."""
        if self._key and self._key in text:
            text = text.replace(self._key, REDACTED)
        return _BEARER.sub(rf"\1{REDACTED}", text) if "earer" in text else text


def _open_client(base_url: str, api_key: str, max_in_flight: int, timeout_s: float) -> Any:
    import openai  # 0.6 s: paid only by runs on real endpoints

    timeout = openai.Timeout(timeout_s, connect=60.0)
    limits = openai.DEFAULT_CONNECTION_LIMITS.__class__(
        max_connections=max_in_flight, max_keepalive_connections=max_in_flight
    )
    try:
        http: Any = openai.DefaultAioHttpClient(limits=limits, timeout=timeout)
    except RuntimeError:  # the transport's package isn't there
        http = openai.DefaultAsyncHttpxClient(limits=limits, timeout=timeout)
    return openai.AsyncOpenAI(
        base_url=base_url, api_key=api_key, http_client=http, timeout=timeout, max_retries=0
    )


def _reply(answer: Any, redacted: Redaction, most_chars: int) -> Reply:
    """Read a provider's body defensively: servers differ, and a 200 may hold anything.

    Raises ``ValueError``, also for a reply of more than ``most_chars``.  A refusal becomes the
    content, with a finish reason of its own.
    """
    if isinstance(answer, str):
        begins = redacted(answer)[:40]
        raise ValueError(f"a reply that isn't JSON; is base_url right? It begins {begins!r}")
    try:
        choice = answer.choices[0]
        message, usage = choice.message, answer.usage
        calls = tuple(
            ToolCall(*(redacted(_text(t)) for t in (c.id, c.function.name, c.function.arguments)))
            for c in message.tool_calls or ()
            if c.type == "function"
        )
        refusal = _text(getattr(message, "refusal", None))
        length = len(_text(message.content) or refusal) + sum(len(c.arguments) for c in calls)
        if length > most_chars:
            raise ValueError(f"a reply of {length:,} characters, far more than max_tokens allows")
        details = getattr(usage, "prompt_tokens_details", None)
        return Reply(
            content=redacted(_text(message.content) or refusal),
            tool_calls=calls,
            finish_reason="refusal" if refusal else redacted(_text(choice.finish_reason)) or "stop",
            prompt_tokens=usage.prompt_tokens if usage else -1,
            completion_tokens=usage.completion_tokens if usage else -1,
            cached_tokens=getattr(details, "cached_tokens", None) or 0,
            model=redacted(_text(answer.model)),
            first_logprobs=_first_logprobs(choice),
        )
    except (AttributeError, IndexError, TypeError) as e:
        raise ValueError(f"a reply without a usable choice ({e})") from None


def _vectors(answer: Any, wanted: int) -> list[list[float]]:
    """Vectors by the index that each has.  Raises ``ValueError`` unless there is one for each."""
    try:
        found = {one.index: [float(x) for x in one.embedding] for one in answer.data}
        ordered = [found[n] for n in range(wanted)]
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise ValueError(f"a reply without a vector for each of {wanted} texts ({e})") from None
    if not all(any(v) and all(map(math.isfinite, v)) for v in ordered):
        raise ValueError("a reply with a vector of nothing, or of something infinite")
    return ordered


def _length(got: object) -> int:
    """The order of magnitude of a reply, whose latency is compared with that of others like it."""
    tokens = got.completion_tokens if isinstance(got, Reply) else 0
    return tokens.bit_length() if isinstance(tokens, int) else 0


def _text(given: Any) -> str:
    """A provider's text; half an emoji (a reply cut inside a surrogate pair) can't be stored."""
    if not isinstance(given, str | None):
        raise TypeError(f"text expected, not {type(given).__name__}")
    return (given or "").encode("utf-8", "replace").decode()


def _first_logprobs(choice: Any) -> dict[str, float]:
    content = choice.logprobs.content if choice.logprobs else None
    return {t.token: t.logprob for t in content[0].top_logprobs} if content else {}


def _short(error: BaseException, redacted: Redaction) -> str:
    """Redacted before it is cut: half a key would not be known for one."""
    return " ".join(redacted(str(error)).split())[:300] or type(error).__name__
