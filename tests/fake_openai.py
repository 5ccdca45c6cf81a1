"""A small OpenAI-compatible server for the contract of the client: what goes over the wire.

It runs in a thread of its own on a free loopback port and answers ``/v1/chat/completions``,
``/v1/embeddings`` and ``/v1/models`` from a Python callable, so that a test says in one line what
the provider does::

    with FakeOpenAI() as server:
        server.reply = lambda body: "hello"            # every request
        server.queue(rate_limited(2), completion("hi"))  # or first these, one request each

Time is never slept away: ``hold()`` keeps requests waiting, ``await arrived(n)`` returns once
``n`` of them are, ``release()`` lets them go.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

Body = dict[str, Any]
DRIP_S = 0.05


@dataclass(frozen=True, slots=True)
class Broken:
    """An answer that never gets whole: nothing at all, half of it and a reset, or a slow drip."""

    how: Literal["hang", "reset", "drip"]


Answer = str | Body | tuple[int, Mapping[str, str], Any] | Broken
"""Text of the reply; a message or a whole completion; (status, headers, body); or a broken one."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it arrived; header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: Body


def completion(
    content: str | None = "ok",
    *,
    tool_calls: Sequence[tuple[str, str]] = (),
    logprobs: Mapping[str, float] | None = None,
    finish_reason: str | None = None,
    cached_tokens: int = 0,
    refusal: str | None = None,
) -> Body:
    """Return a chat completion; ``tool_calls`` are (name, arguments as JSON text).

    ``logprobs`` are the alternatives of the first token, the likeliest of which is the token.
    """
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(tool_calls, 1)
    ]
    message: Body = {"role": "assistant", "content": content}
    if refusal:
        message["refusal"] = refusal
    if calls:
        message["tool_calls"] = calls
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 0,
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": finish_reason or ("tool_calls" if calls else "stop"),
                "logprobs": _first_token(logprobs) if logprobs else None,
            }
        ],
        "usage": {"prompt_tokens_details": {"cached_tokens": cached_tokens}},
    }


def _first_token(logprobs: Mapping[str, float]) -> Body:
    alternatives = [
        {"token": token, "logprob": value, "bytes": list(token.encode())}
        for token, value in sorted(logprobs.items(), key=lambda pair: -pair[1])
    ]
    return {"content": [{**alternatives[0], "top_logprobs": alternatives}], "refusal": None}


def failure(status: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an error in the form that OpenAI gives it."""
    return status, headers or {}, {"error": {"message": message, "type": "fake", "code": None}}


def rate_limited(retry_after: float | None = None) -> Answer:
    """Return a 429, with ``Retry-After`` in seconds if given."""
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return failure(429, "rate limit reached", headers)


def server_error(status: int = 500) -> Answer:
    """Return a fault of the provider's own."""
    return failure(status, "the server had an error")


class FakeOpenAI:
    """The server.  Use as a context manager; all attributes may be set while it runs.

    ``base_url`` goes to the client as it is.  A request with another key than ``key`` gets a 401,
    one for a model not in ``models`` a 404 (None: every model is there).  ``requests`` has every
    request in the order of arrival, ``peak`` the most that were being answered at one time.
    With ``honour_keys`` a repeated ``Idempotency-Key`` gets the first answer again.
    """

    def __init__(
        self,
        *,
        key: str = "fake-key",
        models: Sequence[str] | None = None,
        honour_keys: bool = False,
    ) -> None:
        self.key = key
        self.honour_keys = honour_keys
        self.kept: dict[str, Answer] = {}
        self.models = models
        self.reply: Callable[[Body], Answer] = lambda body: "ok"
        self.embed: Callable[[str], Sequence[float]] = lambda text: [1.0, 0.0]
        self.requests: list[Recorded] = []
        self.base_url = ""
        self.peak = 0
        self._queue: deque[Answer] = deque()
        self._in_flight = 0

    def queue(self, *answers: Answer) -> None:
        """Answer the next requests with these, one each, before ``reply`` is asked again."""
        self._queue.extend(answers)

    def hold(self) -> None:
        """Let chat requests wait from now on, until ``release``."""
        self._call(self._set_open, False)

    def release(self) -> None:
        """Let the waiting requests go, and later ones pass."""
        self._call(self._set_open, True)

    async def arrived(self, count: int) -> None:
        """Return once ``count`` chat requests are being answered (that is, held) at one time."""
        await asyncio.wrap_future(self._submit(self._wait_for(count)))

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="fake-openai")
        self._thread.start()
        started.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self, started: threading.Event) -> None:
        asyncio.run(self._serve(started))

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop, self._open, self._changed = (
            asyncio.Event(),
            asyncio.Event(),
            asyncio.Condition(),
        )
        self._open.set()
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_get("/v1/models", self._list_models)
        runner = web.AppRunner(app, shutdown_timeout=1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        started.set()
        try:
            await self._stop.wait()
        finally:
            self._open.set()  # a test may end with requests still held
            await runner.cleanup()

    async def _set_open(self, is_open: bool) -> None:
        if is_open:
            self._open.set()
        else:
            self._open.clear()

    def _submit(self, work: Coroutine[Any, Any, None]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _call(self, function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        self._submit(function(*args)).result()

    async def _wait_for(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._in_flight >= count)

    async def _count(self, change: int) -> None:
        async with self._changed:
            self._in_flight += change
            self.peak = max(self.peak, self._in_flight)
            self._changed.notify_all()

    async def _list_models(self, request: web.Request) -> web.Response:
        self._record(request, {})
        if refusal := self._refusal(request, None):
            return _response(refusal)
        names = self.models or ()
        return web.json_response(
            {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}
        )

    async def _embeddings(self, request: web.Request) -> web.Response:
        """Vectors in another order than they were asked for: each has its index."""
        body = await request.json()
        self._record(request, body)
        if refusal := self._refusal(request, str(body["model"])):
            return _response(refusal)
        if self._queue:
            return _response(self._queue.popleft())
        data = [
            {"object": "embedding", "index": n, "embedding": list(self.embed(text))}
            for n, text in enumerate(body["input"])
        ]
        return web.json_response(
            {"object": "list", "model": body["model"], "data": data[::-1], "usage": {}}
        )

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self._record(request, body)
        if refusal := self._refusal(request, str(body["model"])):
            return _response(refusal)
        await self._count(+1)
        try:
            answer = self._queue.popleft() if self._queue else self._answer(request, body)
            await self._open.wait()
        finally:
            await self._count(-1)
        if isinstance(answer, Broken):
            return await self._break(request, answer)
        return _response(answer if isinstance(answer, tuple) else _complete(body, answer))

    def _answer(self, request: web.Request, body: Body) -> Answer:
        key = request.headers.get("Idempotency-Key")
        if not self.honour_keys or key is None:
            return self.reply(body)
        if key not in self.kept:
            answer = self.reply(body)
            if isinstance(answer, Broken):
                return answer  # nothing was charged
            self.kept[key] = answer
        return self.kept[key]

    async def _break(self, request: web.Request, answer: Broken) -> web.StreamResponse:
        """Leave the client waiting; it ends when the client goes, or the server."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if answer.how != "hang":
            response.content_length = 1_000
            await response.prepare(request)
            await response.write(b'{"id": "chatcmpl-fake",')
        while answer.how != "reset" and not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), DRIP_S)
            if answer.how == "drip":
                await response.write(b" ")
        if request.transport:
            request.transport.abort()
        return response

    def _record(self, request: web.Request, body: Body) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Recorded(request.path, headers, body))

    def _refusal(self, request: web.Request, model: str | None) -> Answer | None:
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return failure(401, "incorrect API key provided")
        if model is not None and self.models is not None and model not in self.models:
            return failure(404, f"the model {model!r} does not exist")
        return None


def _complete(body: Body, answer: str | Body) -> Answer:
    """Make a whole completion of a short answer and count its tokens, a word each."""
    if isinstance(answer, str):
        whole = completion(answer)
    elif "choices" in answer:
        whole = answer
    else:
        whole = completion()
        whole["choices"][0]["message"] |= answer
    prompt = len(json.dumps(body["messages"]).split())
    reply = len(str(whole["choices"][0]["message"].get("content") or "").split())
    tokens = {
        "prompt_tokens": prompt,
        "completion_tokens": reply,
        "total_tokens": prompt + reply,
    }
    # What the test says about usage wins over what is counted here.
    return 200, {}, {"model": body["model"], **whole, "usage": tokens | whole.get("usage", {})}


def _response(answer: Answer) -> web.Response:
    assert isinstance(answer, tuple)
    status, headers, body = answer
    if isinstance(body, str):
        return web.Response(status=status, headers=dict(headers), text=body)
    return web.json_response(body, status=status, headers=dict(headers))
