"""What an endpoint's door decides: how many at a time, when again; which replies are faulty."""

import asyncio
from email.utils import formatdate
from typing import Any

import pytest
from clock import SkippingClock
from fake_openai import FakeOpenAI, completion, failure, rate_limited

from inner_agent.errors import EndpointDown, ProviderError, UserError
from inner_agent.faults import Names, fault_of, is_variant
from inner_agent.llm import OpenAIEndpoint, Redaction, Reply, Request, ToolCall
from inner_agent.retries import Patience, retry_after
from inner_agent.settings import Endpoint, validate
from inner_agent.traffic import Traffic
from inner_agent.window import START, Window

KIND = ("m", 5)
SECRET = "sk-0123456789"


def open_door(most: int = 4, outage_s: float = 7_200) -> tuple[Traffic, SkippingClock, list[str]]:
    """A door, its clock, and what it says."""
    clock = SkippingClock()
    door, said = Traffic("e", most, outage_s, clock), list[str]()
    door.say = said.append
    return door, clock, said


def served(window: Window, capacity: int, seconds: float, replies: int, *, refuses: bool) -> int:
    """Play a server that is always asked for as much as the window lets through.

    It refuses, or answers more slowly, what is above its capacity.  Returns the refusals.
    """
    flying: list[int] = []
    refusals = 0
    while replies:
        while len(flying) < window.limit:
            flying.append(window.start())
            if refuses and len(flying) > capacity:
                refusals += 1
                window.refused(flying[-1], len(flying))
                flying.pop()
                break
        slow = max(1.0, len(flying) / capacity)
        window.answered(flying.pop(0), True, KIND, seconds * slow)
        replies -= 1
    return refusals


def test_the_window_finds_what_a_server_takes() -> None:
    window = Window(1_000)
    served(window, 64, 1.0, 3_000, refuses=True)
    limits = []
    for _ in range(200):
        assert served(window, 64, 1.0, 100, refuses=True) <= 10
        limits.append(window.limit)
    assert max(limits) <= 66
    assert sum(limits) / len(limits) > 0.9 * 64
    served(window, 200, 1.0, 20_000, refuses=True)  # it has grown
    assert window.limit > 0.7 * 200

    for capacity in (1, 20, 100):  # never refuses: beyond its capacity it only gets slower
        window = Window(1_000)
        served(window, capacity, 1.0, 10_000, refuses=False)
        limits = []
        for _ in range(200):
            served(window, capacity, 1.0, 200, refuses=False)
            limits.append(window.limit)
        assert min(limits) >= min(capacity, START)
        assert max(limits) <= max(3 * capacity, 2 * START)
    assert Window(5).limit == 5  # no more than allowed, from the start


def test_a_burst_of_refusals_is_one() -> None:
    window = Window(64)
    window.limit = 64
    burst = [window.start() for _ in range(64)]
    for in_flight, number in enumerate(reversed(burst), 1):
        window.refused(number, 65 - in_flight)
    assert window.limit == 48
    window.refused(window.start(), 49)
    assert window.limit == 36


async def test_an_outage_lets_one_probe_through_at_a_time() -> None:
    door, clock, said = open_door()
    for _ in range(5):
        door.failed(await door.enter(), "no route")
    assert len(said) == 1
    order: list[str] = []

    async def ask(name: str) -> None:
        while True:
            ticket = await door.enter()
            order.append(name)
            if len(order) >= 10:
                return door.answered(ticket, KIND)
            assert door.in_flight == 1
            assert door.failed(ticket, "no route")  # no request's fault

    await asyncio.gather(ask("a"), ask("b"), ask("c"))
    assert order[:10] == list("abcabcabca")  # who failed goes to the end of the queue
    assert sorted(order[10:]) == ["b", "c"]
    pauses = clock.slept
    assert len(pauses) == 10
    assert all(0.75 * 2**n <= p <= 2**n for n, p in enumerate(pauses[:6]))
    assert all(45 <= p <= 60 for p in pauses[6:])
    assert [line.split(" (")[0].split(" after")[0] for line in said] == [
        "endpoints.e doesn't answer", "endpoints.e answers again",
    ]  # fmt: skip
    assert door.pause is None


async def test_waiting_requests_survive_cancelling_and_are_given_up_together() -> None:
    door, _, _ = open_door(most=1)
    first = await door.enter()
    waiting = [asyncio.create_task(door.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    door.alive(first)
    waiting[1].cancel()  # just as its turn has come
    assert (await waiting[2]).number == 2
    assert door.in_flight == 1

    door, _, _ = open_door(outage_s=0)
    tickets = [await door.enter() for _ in range(4)]
    behind = asyncio.create_task(door.enter())
    await asyncio.sleep(0)
    for ticket in tickets:
        assert not door.failed(ticket, "down")
    with pytest.raises(EndpointDown, match=r"endpoints\.e: no answer for 1 s \(down\)"):
        door.failed(await behind, "down")
    assert door.in_flight == 0


async def test_refusals_use_up_no_retry_but_time(fake_openai: FakeOpenAI) -> None:
    clock = SkippingClock()
    client = OpenAIEndpoint(
        "x", fake_openai.base_url, fake_openai.key, max_retries=0, outage_s=3_600, clock=clock
    )
    date = formatdate(clock.now() + 4e9, usegmt=True)  # far ahead: beyond the hour
    fake_openai.queue(*[rate_limited()] * 20, rate_limited(1_000), "at last")
    request = Request("m", [{"role": "user", "content": "?"}])
    assert (await client.complete(request)).content == "at last"
    assert max(clock.slept) >= 999
    fake_openai.queue(failure(429, "tomorrow", {"Retry-After": date}))
    with pytest.raises(ProviderError, match="tomorrow"):
        await client.complete(request)
    fake_openai.reply = lambda body: rate_limited()
    with pytest.raises(ProviderError, match="rate limit reached"):
        await client.complete(request)
    await client.close()


def test_when_to_try_again() -> None:
    now = 1_700_000_000.0
    given: list[tuple[dict[str, str], float | None]] = [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "9", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": formatdate(now + 30, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(now - 30, usegmt=True)}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
    ]
    assert [retry_after(headers, now) for headers, _ in given] == [s for _, s in given]
    patience, error = Patience(3, 100), ProviderError("x")
    waits = [patience.after_fault(error, None) for _ in range(3)]
    assert all(0.375 * 2**n <= w <= 0.5 * 2**n for n, w in enumerate(waits))
    with pytest.raises(ProviderError):
        patience.after_fault(error, None)


TOOL = {"type": "function", "function": {"name": "f"}}
ASKED = Request("vendor/big-1", [], max_tokens=100, tools=[TOOL])


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply("text"), None),
        (Reply(" \n"), "an empty reply"),
        (Reply("", (ToolCall("1", "f", ""),)), None),
        (Reply("", (ToolCall("1", "f", '{"a": 1}'),)), None),
        (Reply("", (ToolCall("1", "f", '{"a": 1'),)), "arguments of f that aren't JSON"),
        (Reply("", (ToolCall("1", "f", "[]"),)), "arguments of f that aren't an object"),
        (Reply("", (ToolCall("1", "g", "{}"),)), "a call of 'g', which wasn't offered"),
        (Reply("a", finish_reason="length", completion_tokens=100), None),
        (Reply("", finish_reason="length", completion_tokens=100), None),
        (Reply("a", finish_reason="length", completion_tokens=7), "after 7 of 100 tokens"),
        (Reply("no", finish_reason="refusal"), "refused (no)"),
        (Reply("half", finish_reason="content_filter"), "refused (half)"),
        (Reply("a", model="big-1-2026-01-01"), None),
        (Reply("a", model="small-1"), "answered by 'small-1', asked for 'vendor/big-1'"),
    ],
)
def test_which_replies_are_faulty(reply: Reply, why: str | None) -> None:
    fault = fault_of(ASKED, reply)
    assert (fault is None) if why is None else (fault is not None and why in fault.why)


def test_a_servers_own_name_for_a_model_is_believed_until_it_changes() -> None:
    same = ("gpt-x", "GPT-X", "gpt-x-2026-01-01", "openai/gpt-x", "gpt-x-0125", "gpt-x:latest")
    assert all(is_variant("gpt-x", said) for said in same)
    other = ("gpt-x-mini", "gpt-x-2026-mini", "gpt", "claude", "gpt-xl", "gpt-x.5", "gpt-x-2")
    assert not any(is_variant("gpt-x", said) for said in other)
    names = Names()
    for _ in range(3):
        assert names.known("e", "m") == ""
        names.heard("e", "m", "/models/llama.gguf")
    assert names.known("e", "m") == "/models/llama.gguf"
    names.heard("e", "m", "m")
    for _ in range(9):
        names.heard("e", "m", "/models/llama.gguf")
    assert names.known("e", "m") == "m"


@pytest.mark.parametrize(
    "given",
    [
        {"base_url": f"https://user:{SECRET}@host/v1"},
        {"base_url": f"https://host/v1?key={SECRET}"},
        {"base_url": f"https://host/v1#{SECRET}"},
        {"base_url": "https://host/v1", "api_key_env": SECRET},
    ],
)
def test_a_config_that_holds_a_key_is_refused_without_quoting_it(given: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"base_url must be|api_key_env must be") as caught:
        validate(Endpoint, given, "c.toml")
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_an_echoed_key_goes_no_further(fake_openai: FakeOpenAI) -> None:
    fake_openai.key = SECRET
    client = OpenAIEndpoint("x", fake_openai.base_url, SECRET, max_retries=0)
    echoed: Any = completion(f"I was sent {SECRET}", tool_calls=[(f"f{SECRET}", f'"{SECRET}"')])
    fake_openai.queue({**echoed, "model": SECRET}, failure(500, f"Bearer {SECRET}, {SECRET}"))
    request = Request("m", [{"role": "user", "content": "?"}])
    assert SECRET not in str(await client.complete(request))
    with pytest.raises(ProviderError, match=r"Bearer \[key\], \[key\]") as caught:
        await client.complete(request)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(client)
    for before in range(240, 300):  # where a long message is cut
        fake_openai.queue(failure(400, f"{'x' * before} {SECRET}"))
        with pytest.raises(ProviderError) as caught:
            await client.complete(request)
        assert SECRET[:4] not in str(caught.value)
    await client.close()
    others = Redaction("none")
    assert others("Authorization: Bearer abcdefghijklmnop0123") == "Authorization: Bearer [key]"
    assert others("none of the flag bearer nations") == "none of the flag bearer nations"
