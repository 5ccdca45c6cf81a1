"""The one seam to language models: a request, a reply, and the Protocol between them.

``OpenAIEndpoint`` speaks to any server with the OpenAI chat-completions interface and is the
only code that imports ``openai``; the simulator stands behind the same Protocol.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiolimiter import AsyncLimiter

from inner_agent.errors import EndpointRefused, ProviderError, RequestRejected, Unreachable

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
    the draw to the provider; ``sending`` is to be called when the request is about to go out.
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
    100 idle connections), the aiohttp transport is used where it is installed, and retries with
    Retry-After and jitter are the client's.
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
    ) -> None:
        """``name`` is the endpoint's name in the config, for messages."""
        self.name = name
        self._token_limit, self._leave_out = token_limit, leave_out
        self._slots = asyncio.Semaphore(max_in_flight)
        self._rate = (
            AsyncLimiter(1, 60 / requests_per_minute) if requests_per_minute else nullcontext()
        )
        self._client = _open_client(base_url, api_key, max_in_flight, timeout_s, max_retries)

    async def complete(self, request: Request) -> Reply:
        """Ask the server.

        Raises ``EndpointRefused`` (bad key, unknown model), ``RequestRejected`` (this request
        is at fault) or ``ProviderError`` (after all retries).
        """
        import openai

        async with self._slots, self._rate:
            request.sending()
            try:
                answer = await self._client.chat.completions.create(**self._arguments(request))
            except (openai.AuthenticationError, openai.PermissionDeniedError) as e:
                raise EndpointRefused(f"endpoints.{self.name}: key refused ({_short(e)})") from None
            except openai.NotFoundError as e:
                raise EndpointRefused(
                    f"endpoints.{self.name}: no model {request.model!r} there ({_short(e)})"
                ) from None
            except openai.APIStatusError as e:
                kind = RequestRejected if e.status_code in (400, 413, 422) else ProviderError
                raise kind(f"endpoints.{self.name}: {_short(e)}") from None
            except openai.APIConnectionError as e:  # its own text says "timed out" of a refusal too
                raise Unreachable(f"endpoints.{self.name}: {_short(e.__cause__ or e)}") from None
            except (openai.OpenAIError, ValueError) as e:  # ValueError: the body wasn't JSON
                raise ProviderError(f"endpoints.{self.name}: {_short(e)}") from None
        return _reply(answer, self.name)

    async def models(self) -> list[str]:
        """The ids that the server lists.  Raises as ``complete`` does."""
        import openai

        try:
            return [m.id async for m in self._client.models.list()]
        except (openai.AuthenticationError, openai.PermissionDeniedError) as e:
            raise EndpointRefused(f"endpoints.{self.name}: key refused ({_short(e)})") from None
        except openai.APIConnectionError as e:
            raise Unreachable(f"endpoints.{self.name}: {_short(e.__cause__ or e)}") from None
        except (openai.OpenAIError, ValueError) as e:
            raise ProviderError(f"endpoints.{self.name}: {_short(e)}") from None

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


def _open_client(
    base_url: str, api_key: str, max_in_flight: int, timeout_s: float, max_retries: int
) -> Any:
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
        base_url=base_url, api_key=api_key, http_client=http, timeout=timeout,
        max_retries=max_retries,
    )  # fmt: skip


def _reply(answer: Any, endpoint: str) -> Reply:
    """Read a provider's body defensively: servers differ, and a 200 may hold anything."""
    try:
        choice = answer.choices[0]
        message, usage = choice.message, answer.usage
        calls = tuple(
            ToolCall(_text(c.id), _text(c.function.name), _text(c.function.arguments))
            for c in message.tool_calls or ()
            if c.type == "function"
        )
        details = getattr(usage, "prompt_tokens_details", None)
        return Reply(
            content=_text(message.content),
            tool_calls=calls,
            finish_reason=choice.finish_reason or "stop",
            prompt_tokens=usage.prompt_tokens if usage else -1,
            completion_tokens=usage.completion_tokens if usage else -1,
            cached_tokens=getattr(details, "cached_tokens", None) or 0,
            model=answer.model or "",
            first_logprobs=_first_logprobs(choice),
        )
    except (AttributeError, IndexError, TypeError) as e:
        raise ProviderError(
            f"endpoints.{endpoint}: a reply without a usable choice ({e})"
        ) from None


def _text(given: Any) -> str:
    """A provider's text; half an emoji (a reply cut inside a surrogate pair) can't be stored."""
    if not isinstance(given, str | None):
        raise TypeError(f"text expected, not {type(given).__name__}")
    return (given or "").encode("utf-8", "replace").decode()


def _first_logprobs(choice: Any) -> dict[str, float]:
    content = choice.logprobs.content if choice.logprobs else None
    return {t.token: t.logprob for t in content[0].top_logprobs} if content else {}


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
