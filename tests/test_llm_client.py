"""The client's contract, over the wire: what is sent, what comes back, its cost, its faults."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from clock import SkippingClock
from fake_openai import FakeOpenAI, completion, failure, rate_limited
from scripted import config

from inner_agent import window
from inner_agent.calls import CallStore, Usage
from inner_agent.errors import (
    BudgetExhausted,
    EndpointRefused,
    ProviderError,
    ReplyRefused,
    RequestRejected,
    Unreachable,
    UserError,
)
from inner_agent.gateway import Gateway, open_endpoint
from inner_agent.llm import OpenAIEndpoint, Reply, Request, ToolCall
from inner_agent.settings import Endpoint, Price

ASK = [{"role": "user", "content": "one two three"}]
REQUEST = Request("m", ASK)
OpenEndpoint = Callable[..., OpenAIEndpoint]
OpenGateway = Callable[..., Gateway]
SOON = {"Retry-After": "0.001"}


@pytest.fixture
async def endpoint(fake_openai: FakeOpenAI) -> AsyncIterator[OpenEndpoint]:
    """Opens endpoints on the fake server."""
    opened = []

    def open_one(key: str = "fake-key", **settings: Any) -> OpenAIEndpoint:
        settings = {"clock": SkippingClock(), **settings}
        opened.append(OpenAIEndpoint("x", fake_openai.base_url, key, **settings))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.close()


@pytest.fixture
async def gateway(fake_openai: FakeOpenAI, tmp_path: Path) -> AsyncIterator[OpenGateway]:
    """Opens gateways on the fake server, all over one calls.db."""
    opened = []

    def open_one(price: dict[str, float] | None = None, **tables: Any) -> Gateway:
        real = {"base_url": fake_openai.base_url, "max_retries": 0, "price": price or {}}
        settings = config(endpoints={"e": real, "sim": {"kind": "simulator"}}, **tables)
        client = OpenAIEndpoint("e", fake_openai.base_url, fake_openai.key, max_retries=0)
        opened.append(Gateway(settings, CallStore(tmp_path / "calls.db"), {"e": client}))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.close()


async def test_what_is_sent_and_what_comes_back(
    fake_openai: FakeOpenAI, endpoint: OpenEndpoint
) -> None:
    whole = completion(
        None, tool_calls=[("f", '{"a": 1}')], logprobs={"yes": -0.1, "no": -2.0}, cached_tokens=2
    )
    whole["usage"] |= {"prompt_tokens": 9, "completion_tokens": 4}
    fake_openai.queue(whole)
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    schema = {"type": "object"}
    request = Request("m", ASK, 0.5, 77, 123, (tool,), schema, top_logprobs=8)
    assert await endpoint().complete(request) == Reply(
        "", (ToolCall("call_1", "f", '{"a": 1}'),), "tool_calls", 9, 4, 2, "m",
        {"yes": -0.1, "no": -2.0},
    )  # fmt: skip
    [sent] = fake_openai.requests
    assert sent.headers["authorization"] == "Bearer fake-key"
    form = {"name": "reply", "schema": schema, "strict": True}
    assert sent.body == {
        "model": "m", "messages": ASK, "temperature": 0.5, "max_tokens": 77, "seed": 123,
        "tools": [tool], "response_format": {"type": "json_schema", "json_schema": form},
        "logprobs": True, "top_logprobs": 8,
    }  # fmt: skip


async def test_half_an_emoji_is_mended(fake_openai: FakeOpenAI, endpoint: OpenEndpoint) -> None:
    """A reply that was cut inside a surrogate pair can be stored and sent on."""
    fake_openai.queue("ok \ud83d")
    assert (await endpoint().complete(REQUEST)).content == "ok ?"


@pytest.mark.parametrize(
    ("answer", "error", "requests"),
    [
        (failure(401, "bad key"), EndpointRefused, 1),
        (failure(403, "not yours"), EndpointRefused, 1),
        (failure(404, "no such model"), EndpointRefused, 1),
        (failure(400, "context too long"), RequestRejected, 1),
        (failure(413, "body too large"), RequestRejected, 1),
        (failure(422, "malformed"), RequestRejected, 1),
        (failure(402, "no credit"), ProviderError, 1),
        ((429, {}, {"error": {"code": "insufficient_quota"}}), ProviderError, 1),
        (failure(500, "oh"), ProviderError, 3),
        (failure(503, "full"), ProviderError, 3),
        (failure(408, "late"), ProviderError, 3),
        ((200, {"Content-Type": "application/json"}, "{garbage"), ProviderError, 3),
        ((200, {"Content-Type": "application/json"}, "[" * 200_000), ProviderError, 3),
        ((200, {"Content-Type": "text/html"}, "<html>"), ProviderError, 3),
        ((200, {}, {"error": {"message": "upstream"}}), ProviderError, 3),
        ((200, {}, {**completion(), "choices": []}), ProviderError, 3),
        ((200, {}, completion("x" * 300_000)), ProviderError, 3),  # far more than max_tokens
        ((200, {}, {**completion(), "choices": [{"index": 0}]}), ProviderError, 3),
        ((200, {}, completion([{"type": "text"}])), ProviderError, 3),  # type: ignore[arg-type]
    ],
)
async def test_faults_are_told_apart(
    fake_openai: FakeOpenAI, endpoint: OpenEndpoint, answer: Any, error: type, requests: int
) -> None:
    fake_openai.reply = lambda body: answer
    with pytest.raises(ProviderError, match=r"^endpoints\.x: ") as caught:
        await endpoint(max_retries=2).complete(REQUEST)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert len(fake_openai.requests) == requests


async def test_a_wrong_key_or_model_costs_one_request(
    fake_openai: FakeOpenAI, endpoint: OpenEndpoint
) -> None:
    fake_openai.models = ["other"]
    with pytest.raises(EndpointRefused, match="key refused"):
        await endpoint(key="wrong").complete(REQUEST)
    with pytest.raises(EndpointRefused, match="no model 'm' there"):
        await endpoint().complete(REQUEST)
    assert await endpoint().models() == ["other"]
    assert len(fake_openai.requests) == 3


async def test_it_is_said_what_there_is_instead_of_a_server(fake_openai: FakeOpenAI) -> None:
    """Nobody, at once and not after the time-out; or a page for people."""
    nobody = OpenAIEndpoint("x", "http://127.0.0.1:1/v1", "fake-key", max_retries=0)
    with pytest.raises(Unreachable, match=r"^endpoints\.x: .*127\.0\.0\.1:1"):
        await nobody.complete(REQUEST)
    await nobody.close()
    page = OpenAIEndpoint("x", fake_openai.base_url, "fake-key", max_retries=0)
    for kind in ("text/html", "application/json"):
        fake_openai.queue((200, {"Content-Type": kind}, "<html>Log in"))
        with pytest.raises(ProviderError, match="isn't JSON; is base_url right"):
            await page.complete(REQUEST)
    await page.close()


@pytest.mark.parametrize("key", [" spaced-key", "two-lines\n", "schl\u00fcssel", "bell\x07"])
def test_a_key_that_no_header_can_carry_is_refused(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once: it would look like an outage, and be waited for."""
    monkeypatch.setenv("ODD_KEY", key)
    endpoint = Endpoint(base_url="http://127.0.0.1:1/v1", api_key_env="ODD_KEY")
    with pytest.raises(UserError, match="the key in ODD_KEY has a space") as refused:
        open_endpoint("x", endpoint, seed=0)
    assert key.strip() not in str(refused.value)


async def test_rate_limits_and_faults_are_ridden_out(
    fake_openai: FakeOpenAI, endpoint: OpenEndpoint
) -> None:
    fake_openai.queue(rate_limited(0), failure(500, "oh", SOON), rate_limited(0.001), "at last")
    assert (await endpoint().complete(REQUEST)).content == "at last"
    assert len(fake_openai.requests) == 4


@pytest.mark.parametrize(("allowed", "asked"), [(3, 12), (256, 256)])
async def test_as_many_in_flight_as_allowed_and_no_more(
    fake_openai: FakeOpenAI, endpoint: OpenEndpoint, allowed: int, asked: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(window, "START", allowed)  # not only once it has found out that it may
    client = endpoint(max_in_flight=allowed)
    fake_openai.hold()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.complete(REQUEST)) for _ in range(asked)]
        await fake_openai.arrived(allowed)
        fake_openai.release()
    assert {t.result().content for t in tasks} == {"ok"}
    assert fake_openai.peak == allowed
    assert len(fake_openai.requests) == asked


async def test_a_reply_is_paid_for_once(fake_openai: FakeOpenAI, gateway: OpenGateway) -> None:
    numbers = count()
    fake_openai.reply = lambda body: f"reply {next(numbers)}"
    first = gateway()
    replies = [await first.ask("weak", ASK, sample=f"s{n}") for n in range(3)]
    assert len({r.content for r in replies}) == 3
    seeds = [r.body["seed"] for r in fake_openai.requests]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**31 for seed in seeds)

    # Reopened, as after a crash; other content, another role's model or sample is a new request.
    again = gateway()
    assert [await again.ask("weak", ASK, sample=f"s{n}") for n in range(3)] == replies
    assert again.replayed == 3
    assert len(fake_openai.requests) == 3
    await again.ask("strong", ASK, sample="s0")
    await again.ask("weak", [*ASK, *ASK], sample="s0")
    await again.ask("weak", ASK, sample="s0", schema={"type": "object"})
    assert len(fake_openai.requests) == 6
    assert len({r.body["seed"] for r in fake_openai.requests}) == 6

    both = await asyncio.gather(*(again.ask("weak", ASK, sample="new") for _ in range(5)))
    assert len({r.content for r in both}) == 1
    assert len(fake_openai.requests) == 7
    other_seed = gateway(seed=1)
    await other_seed.ask("weak", ASK, sample="other")
    await again.ask("weak", ASK, sample="other2")
    assert fake_openai.requests[-1].body["seed"] != fake_openai.requests[-2].body["seed"]


async def test_a_failed_call_is_owed_and_not_counted(
    fake_openai: FakeOpenAI, gateway: OpenGateway
) -> None:
    fake_openai.queue(failure(500, "oh"))
    door = gateway()
    with pytest.raises(ProviderError):
        await door.ask("weak", ASK, sample="s")
    assert door.ledger.total == Usage()
    assert (await door.ask("weak", ASK, sample="s")).content == "ok"
    assert door.ledger.total.calls == 1


async def test_usage_and_price_by_role(fake_openai: FakeOpenAI, gateway: OpenGateway) -> None:
    def reply(body: Any) -> Any:
        whole = completion(cached_tokens=400)
        whole["usage"] |= {"prompt_tokens": 1_000, "completion_tokens": 100}
        return whole

    fake_openai.reply = reply
    cheap = Price(input=1, output=2).model_dump()
    door = gateway(
        {"input": 10.0, "output": 40.0, "cached_input": 1.0}, models={"weak": {"price": cheap}}
    )
    mine = Usage()
    for n in range(2):
        await door.ask("strong", ASK, sample=f"{n}", usage=mine)
    await door.ask("weak", ASK, sample="0")
    usd = {"strong": 2 * (600 * 10 + 400 * 1 + 100 * 40) / 1e6, "weak": (1_000 + 2 * 100) / 1e6}
    for seen in (door, gateway()):  # the second: what calls.db tells the next start
        by_role = seen.ledger.by_role
        assert {role: u.usd for role, u in by_role.items()} == pytest.approx(usd)
        assert {role: u.tokens for role, u in by_role.items()} == {"strong": 2_200, "weak": 1_100}
        assert seen.ledger.total.usd == pytest.approx(sum(usd.values()))
    assert (mine.calls, mine.cached_tokens, mine.usd) == (2, 800, pytest.approx(usd["strong"]))
    await door.ask("strong", ASK, sample="0", usage=mine)  # replayed: the rollout's, not the run's
    assert (mine.calls, door.ledger.total.calls) == (3, 3)


async def test_a_faulty_reply_is_set_aside_and_bought_again(
    fake_openai: FakeOpenAI, gateway: OpenGateway
) -> None:
    fake_openai.honour_keys = True  # with the same key the provider would repeat itself
    said = iter(["", "not for this role", "a word", "later", "no?", "no?", "no?"])
    fake_openai.reply = lambda body: next(said)

    def usable(reply: Reply) -> str | None:
        return "unusable" if "?" in reply.content or "not" in reply.content else None

    door, mine = gateway(), Usage()
    reply = await door.ask("judge", ASK, sample="s", usage=mine, usable=usable)
    assert reply.content == "a word"
    assert len({r.body["seed"] for r in fake_openai.requests}) == 1
    assert (mine.calls, door.ledger.total.calls) == (1, 3)
    assert (await door.ask("judge", ASK, sample="t", usable=usable)).content == "later"
    reply = await door.ask("judge", ASK, sample="u", usable=usable)
    assert reply.content == "no?"  # said three times, it is the model's word
    again = gateway()
    assert again.ledger.total.calls == 7
    assert (await again.ask("judge", ASK, sample="u", usable=usable)) == reply
    assert len(fake_openai.requests) == 7

    fake_openai.reply = lambda body: completion(None, refusal="I can't")
    for door in (again, gateway()):  # bought three times, then replayed
        with pytest.raises(ReplyRefused, match="refused: I can't"):
            await door.ask("judge", ASK, sample="v")
    assert len(fake_openai.requests) == 10


async def test_a_cap_holds_for_replies_that_are_set_aside(
    fake_openai: FakeOpenAI, gateway: OpenGateway
) -> None:
    fake_openai.reply = lambda body: ""
    door = gateway(budget={"calls": 2})
    with pytest.raises(BudgetExhausted, match=r"budget\.calls = 2"):
        await door.ask("weak", ASK, sample="s")
    assert len(fake_openai.requests) == door.ledger.total.calls == 2
    fake_openai.reply = lambda body: "a word"
    more = gateway()
    assert (await more.ask("weak", ASK, sample="s")).content == "a word"
    assert more.ledger.total.calls == 3  # two tries before the stop, and the last one


async def test_a_server_may_call_its_one_model_what_it_likes(
    fake_openai: FakeOpenAI, gateway: OpenGateway
) -> None:
    fake_openai.reply = lambda body: {**completion("yes"), "model": "local.bin"}
    door = gateway()
    asked = [await door.ask("weak", ASK, sample=f"{n}") for n in range(5)]
    assert {r.content for r in asked} == {"yes"}
    assert len(fake_openai.requests) == 5 + 2  # two were set aside until the name was believed
    fake_openai.reply = lambda body: {**completion("yes"), "model": "other.bin"}
    with pytest.raises(EndpointRefused, match=r"answered by 'other\.bin', asked for 'local\.bin'"):
        await door.ask("weak", ASK, sample="new")


@pytest.mark.parametrize(
    "caps",
    [
        {"calls": 7},
        {"tokens": 3_000},
        {"usd": 0.004},
        {"roles": {"weak": {"calls": 7}}},
        {"roles": {"weak": {"tokens": 3_000}}},
        {"roles": {"weak": {"usd": 0.004}}},
    ],
)
async def test_spending_never_passes_a_cap(
    fake_openai: FakeOpenAI, gateway: OpenGateway, caps: dict[str, Any]
) -> None:
    def reply(body: Any) -> Any:
        whole = completion()
        whole["usage"] |= {"prompt_tokens": 20, "completion_tokens": body["max_tokens"]}
        return whole

    fake_openai.reply = reply
    weak = {"max_tokens": 300}
    spent = []
    for start in ("first", "resumed"):
        door = gateway({"input": 1.0, "output": 2.0}, budget=caps, models={"weak": weak})
        asks = (door.ask("weak", ASK, sample=f"{start}{n}") for n in range(40))
        done = await asyncio.gather(*asks, return_exceptions=True)
        refused = [e for e in done if isinstance(e, BaseException)]
        assert refused
        assert all(isinstance(e, BudgetExhausted) and "\n" not in str(e) for e in refused)
        spent.append(door.ledger.total)
        role = door.ledger.by_role["weak"]
        cap = caps.get("roles", {}).get("weak", caps)
        assert role.calls <= cap.get("calls", 40)
        assert role.tokens <= cap.get("tokens", 10**9)
        assert role.usd <= cap.get("usd", 10**9)
        assert role.calls == 40 - len(refused) + (spent[0].calls if start == "resumed" else 0)
    assert spent[0].calls >= 5  # used well, and the second start had next to nothing left
    assert spent[1].calls - spent[0].calls <= 2
    if "roles" in caps:
        assert (await door.ask("strong", ASK, sample="free")).content == "ok"


async def test_no_call_after_the_wall_clock(gateway: OpenGateway) -> None:
    door = gateway(budget={"wall_s": 1e-9})
    with pytest.raises(BudgetExhausted, match=r"budget\.wall_s"):
        await door.ask("weak", ASK, sample="s")
