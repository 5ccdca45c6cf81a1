"""Budgets: never passed, whatever is in flight, whatever a provider says that it used."""

import asyncio
import math
import random
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_openai import FakeOpenAI
from scripted import config

from inner_agent.calls import CallStore, Usage
from inner_agent.errors import BudgetExhausted, ProviderError
from inner_agent.gateway import Gateway, believable
from inner_agent.llm import OpenAIEndpoint, Reply, Request
from inner_agent.settings import Price

IN_FLIGHT = 256
ASK = [{"role": "user", "content": "a question of some bytes"}]
ROLES = ("weak", "strong", "judge")


class Provider:
    """Answers in a random order; ``used`` says what each reply claims to have used."""

    def __init__(self, rng: random.Random, used: Callable[[Request], dict[str, Any]]) -> None:
        self._rng, self._used = rng, used
        self.in_flight = self.peak = 0

    async def complete(self, request: Request) -> Reply:
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        for _ in range(self._rng.randrange(4)):
            await asyncio.sleep(0)
        self.in_flight -= 1
        if self._rng.random() < 0.05:
            raise ProviderError("e: out of order")
        return replace(Reply("ok"), **self._used(request))


def honest(rng: random.Random) -> Callable[[Request], dict[str, Any]]:
    def used(request: Request) -> dict[str, Any]:
        prompt = rng.randint(0, 40)
        return {"prompt_tokens": prompt, "completion_tokens": rng.randint(0, request.max_tokens),
                "cached_tokens": rng.randint(0, prompt)}  # fmt: skip

    return used


def random_budget(rng: random.Random, roles: tuple[str, ...]) -> dict[str, Any]:
    def cap() -> dict[str, Any]:
        whole = {"usd": rng.choice([0, 10 ** rng.uniform(-6, -1)]), "calls": rng.randint(0, 300),
                 "tokens": rng.randint(0, 60_000)}  # fmt: skip
        return {name: whole[name] for name in rng.sample(sorted(whole), rng.randint(1, 3))}

    return cap() | {"roles": {role: cap() for role in rng.sample(roles, rng.randint(0, 2))}}


def open_gateway(rng: random.Random, budget: dict[str, Any], provider: Any, store: Any) -> Gateway:
    price = {"input": rng.uniform(0, 10), "output": rng.uniform(0, 30)}
    price |= {"cached_input": rng.uniform(0, 15)} if rng.random() < 0.5 else {}
    models = {role: {"max_tokens": rng.randint(1, 400), "price": price} for role in ROLES}
    settings = config(budget=budget, models=models)
    return Gateway(settings, store, {"e": provider})


def within(usage: Usage, cap: dict[str, Any], factor: float = 1.0) -> bool:
    rounding = 1e-9
    return (
        usage.calls <= cap.get("calls", math.inf)
        and usage.tokens <= cap.get("tokens", math.inf) * factor
        and usage.usd <= cap.get("usd", math.inf) * factor + rounding
    )


async def spend(gateway: Gateway, name: str = "") -> list[BaseException]:
    """As many calls as there may be in flight, all at once; what was raised."""
    asks = (gateway.ask(ROLES[n % 3], ASK, sample=f"{name}{n}") for n in range(IN_FLIGHT))
    done = await asyncio.gather(*asks, return_exceptions=True)
    return [e for e in done if isinstance(e, BaseException)]


@pytest.mark.parametrize("seed", range(30))
async def test_no_cap_is_passed_with_256_in_flight(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    budget = random_budget(rng, ROLES)
    rng_state = rng.getstate()
    for start in ("first", "resumed"):
        rng.setstate(rng_state)  # the same prices
        store = CallStore(tmp_path / "calls.db")
        provider = Provider(random.Random(f"{seed}/{start}"), honest(rng))
        gateway = open_gateway(rng, budget, provider, store)
        raised = await spend(gateway, start)
        assert {type(e) for e in raised} <= {BudgetExhausted, ProviderError}
        total, by_role = gateway.ledger.total, gateway.ledger.by_role
        assert within(total, budget)
        assert all(within(by_role[role], cap) for role, cap in budget["roles"].items())
        recorded = store.usage_by_role()
        assert {r: u.calls for r, u in recorded.items()} == {
            r: u.calls for r, u in by_role.items() if u.calls
        }
        await gateway.close()


IMPOSSIBLE = (None, -1, -(10**30), 10**12, math.nan, math.inf, 7.5, True, "12", [3])


@pytest.mark.parametrize("seed", range(8))
async def test_a_provider_that_gives_no_count_uses_up_the_budget(seed: int) -> None:
    rng = random.Random(seed)
    budget = random_budget(rng, ROLES)

    def used(request: Request) -> dict[str, Any]:
        names = ("prompt_tokens", "completion_tokens", "cached_tokens")
        return {name: rng.choice(IMPOSSIBLE) for name in names}

    store = CallStore(":memory:")
    gateway = open_gateway(rng, budget, Provider(rng, used), store)
    await spend(gateway)
    total = gateway.ledger.total
    assert within(total, budget)
    assert total.completion_tokens >= total.calls  # at least a token each: not for free
    assert total.usd >= 0
    await gateway.close()


def test_what_a_count_is_taken_for() -> None:
    for wrong in IMPOSSIBLE:
        reply = Reply("", prompt_tokens=wrong, completion_tokens=wrong, cached_tokens=wrong)  # type: ignore[arg-type]
        taken = believable(reply, 70, 9)
        counts = taken.prompt_tokens, taken.completion_tokens, taken.cached_tokens
        assert counts == (70, 9, 0)
    above = Reply("", prompt_tokens=500, completion_tokens=90, cached_tokens=501)
    assert believable(above, 70, 9) == replace(above, cached_tokens=500)
    assert Price(input=1.0, cached_input=0.1).usd(500, 90, 500) > 0


@pytest.mark.parametrize("seed", range(8))
async def test_a_provider_that_uses_more_than_it_may_is_believed_once(seed: int) -> None:
    """Each reply is three times its worst case: only the calls in flight then pass the cap."""
    rng = random.Random(seed)
    budget = {"tokens": rng.randint(2_000, 20_000)}
    excess = 3

    def used(request: Request) -> dict[str, Any]:
        return {"prompt_tokens": 0, "completion_tokens": excess * (worst + request.max_tokens)}

    settings = config(budget=budget, models={"weak": {"max_tokens": 100}})
    gateway = Gateway(settings, CallStore(":memory:"), {"e": Provider(rng, used)})
    worst = 1_000  # more bytes than the question has
    asks = (gateway.ask("weak", ASK, sample=f"{n}") for n in range(IN_FLIGHT))
    done = await asyncio.gather(*asks, return_exceptions=True)
    assert any(isinstance(e, BudgetExhausted) for e in done)
    first = gateway.ledger.total.tokens
    one = excess * (worst + 100)
    assert first <= budget["tokens"] + (budget["tokens"] // 100) * one  # those that fitted in
    more = [gateway.ask("weak", ASK, sample=f"more{n}") for n in range(IN_FLIGHT)]
    refused = await asyncio.gather(*more, return_exceptions=True)
    assert gateway.ledger.total.tokens <= max(first, budget["tokens"])
    assert sum(isinstance(e, BudgetExhausted) for e in refused) >= IN_FLIGHT - 7
    await gateway.close()


async def test_at_the_wall_time_what_is_in_flight_is_dropped(
    fake_openai: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(budget={"wall_s": 100.0}, limits={"grace_s": 1.0})
    client = OpenAIEndpoint("e", fake_openai.base_url, fake_openai.key)
    gateway = Gateway(settings, CallStore(tmp_path / "calls.db"), {"e": client})
    fake_openai.hold()
    held = asyncio.create_task(gateway.ask("weak", ASK, sample="held"))
    await fake_openai.arrived(1)
    now = time.monotonic  # the loop's clock as well: its timers are due at once
    monkeypatch.setattr(time, "monotonic", lambda: now() + 100)
    with pytest.raises(BudgetExhausted, match=r"budget\.wall_s = 100 is over"):
        await held
    with pytest.raises(BudgetExhausted, match=r"budget\.wall_s = 100 would be passed"):
        await gateway.ask("weak", ASK, sample="late")
    assert len(fake_openai.requests) == 1
    await gateway.close()


async def test_a_role_waits_for_its_seconds(fake_openai: FakeOpenAI, tmp_path: Path) -> None:
    """Each call holds its endpoint's timeout_s until it is settled by what it took."""
    endpoint = {"base_url": fake_openai.base_url, "timeout_s": 100.0}
    settings = config(endpoints={"e": endpoint}, budget={"roles": {"weak": {"wall_s": 250.0}}})
    for start in ("first", "resumed"):
        client = OpenAIEndpoint("e", fake_openai.base_url, fake_openai.key)
        gateway = Gateway(settings, CallStore(tmp_path / "calls.db"), {"e": client})
        asks = [gateway.ask("weak", ASK, sample=f"{start}{n}") for n in range(9)]
        if start == "first":
            fake_openai.hold()
        asking = asyncio.gather(*asks, return_exceptions=True)
        if start == "first":
            await fake_openai.arrived(2)
            fake_openai.release()
        done = await asking
        await gateway.close()
        if start == "first":
            assert all(isinstance(reply, Reply) for reply in done)
            assert fake_openai.peak == 2
            with closing(CallStore(tmp_path / "calls.db")) as calls:
                spent = calls.usage_by_role()["weak"].seconds
                assert 0 < spent < 250
                calls.put(b"key", "slow", "weak", Reply(""), 0.0, 0.0, 151.0 - spent)
    assert all(isinstance(e, BudgetExhausted) for e in done)
    assert "budget.roles.weak.wall_s = 250" in str(done[0])


async def test_a_call_takes_no_longer_than_its_role_holds(
    fake_openai: FakeOpenAI, tmp_path: Path
) -> None:
    endpoint = {"base_url": fake_openai.base_url, "timeout_s": 0.2}
    settings = config(endpoints={"e": endpoint}, budget={"roles": {"weak": {"wall_s": 250.0}}})
    client = OpenAIEndpoint("e", fake_openai.base_url, fake_openai.key)  # it would wait for long
    gateway = Gateway(settings, CallStore(tmp_path / "calls.db"), {"e": client})
    fake_openai.hold()
    with pytest.raises(ProviderError, match=r"no reply within timeout_s = 0\.2"):
        await gateway.ask("weak", ASK, sample="held")
    await gateway.close()
