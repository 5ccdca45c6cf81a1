"""The broker and what it believes: real processes, in the jail and without it.

Nothing counts that was not evaluated here, and providers' faults are no scores.  How the socket
can be misused is in ``attacks/door.py``.
"""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import require
from scripted import HONEST, ITEM, PAPER, Bench, Models, OpenBench, config, said

from inner_agent.broker import _read_line
from inner_agent.errors import BudgetExhausted, EndpointRefused, ProviderError, RequestRejected
from inner_agent.llm import Reply
from inner_agent.patience import with_patience
from inner_agent.run_paper import run_paper
from inner_agent.sandbox import bubblewrap_problem


@pytest.fixture(params=["bubblewrap", "none"])
def open_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenBench]:
    """Opens benches in both modes."""
    if request.param == "bubblewrap":
        require(bubblewrap_problem() is None, str(bubblewrap_problem()))
    opened: list[Bench] = []

    def open_one(models: Models | None = None, **settings: Any) -> Bench:
        opened.append(Bench(tmp_path, request.param, models or Models(), config(**settings)))
        return opened[-1]

    yield open_one
    for bench in opened:
        asyncio.run(bench.rig.gateway.close())


async def test_an_honest_harness_passes_and_is_evaluated_afresh(open_bench: OpenBench) -> None:
    models = Models()
    rollout = await open_bench(models).run(HONEST, fresh=True)
    assert rollout.result.reason == "passed"
    assert (rollout.result.weak_avg, rollout.result.strong_avg) == pytest.approx((0.4, 0.8))
    assert rollout.result.gap == pytest.approx(0.4)
    assert models.asked == {"weak": 6, "strong": 6, "judge": 12}  # in the loop, and afresh
    assert [s["kind"] for s in rollout.trajectory["steps"]] == [
        "evaluate", "evaluate", "submit", "audit", "fresh", "fresh",
    ]  # fmt: skip


async def test_luck_in_the_loop_is_no_pass(open_bench: OpenBench) -> None:
    lucky = Models(weak=[0.4] * 3 + [0.7] * 3)  # passes once, then not any more
    rollout = await open_bench(lucky).run(HONEST, fresh=True)
    assert (rollout.result.accepted, rollout.result.passed) == (True, False)
    assert rollout.result.reason == "fresh_failed"


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("call('submit', result=result())", id="nothing evaluated"),
        pytest.param(
            "call('evaluate', item=ITEM, phase='weak_only'); call('submit', result=result())",
            id="only weak evaluated",
        ),
        pytest.param(
            "evaluate(); ITEM['question'] += ' '; call('submit', result=result())",
            id="one byte more",
        ),
        pytest.param(
            "evaluate(); ITEM['rubric'][1]['weight'] = 4; call('submit', result=result())",
            id="another weight",
        ),
        pytest.param(
            "evaluate(); ITEM['rubric'][0]['weight'] = '5'; call('submit', result=result())",
            id="an item that is none",
        ),
        pytest.param(
            "evaluate(); call('submit', result=result(quality_verifier_kimi_passed=False))",
            id="not passed by the verifier",
        ),
        pytest.param(
            "evaluate(); call('submit', result=result() | {'final_accepted_round': 2})",
            id="a final round that isn't there",
        ),
        pytest.param(
            "evaluate(); call('submit', result=result());"
            "call('submit', result=result() | {'final_accepted_round': None})",
            id="withdrawn",
        ),
    ],
)
async def test_acceptance_must_be_earned(open_bench: OpenBench, source: str) -> None:
    bench = open_bench()
    rollout = await bench.run(source)
    assert not rollout.result.accepted
    assert rollout.result.reason == "not_accepted"
    assert (await bench.run(HONEST)).result.passed


async def test_a_failed_item_stays_failed_whatever_is_claimed(open_bench: OpenBench) -> None:
    models = Models(weak=[0.9] * 1 + [0.3] * 9)
    rollout = await open_bench(models).run(
        """
        first, second = (call("evaluate", item=ITEM, phase="weak_only")["result"] for _ in range(2))
        relabelled = {**ITEM, "question_type": "other"}
        third = call("evaluate", item=relabelled, phase="weak_only")["result"]
        say(first["status"], first == second == third)
        say(call("evaluate", item=ITEM, phase="strong_only")["error"]["code"])
        say(call("submit", result=result())["result"]["accepted"])
        """
    )
    assert said(rollout) == [["WEAK_FAILED", True], ["order"], [False]]
    assert models.asked == {"weak": 1, "judge": 1}  # asking again is no second throw of the dice
    assert rollout.result.outcomes == {"too_easy": 1}


async def test_chats_reach_the_three_agents_only(open_bench: OpenBench) -> None:
    models = Models()
    rollout = await open_bench(models).run(
        """
        def chat(agent="challenger", content="hi", **more):
            messages = [{"role": "user", "content": content}]
            reply = call("chat", agent=agent, messages=messages, **more)
            say(reply.get("result", {}).get("content") or reply["error"]["message"][:40])
        for agent in ("main_agent", "challenger", "quality_verifier", "weak", "strong", "analyzer"):
            chat(agent)
        chat(model="gpt")
        chat(content=[{"type": "image_url", "image_url": {"url": "http://127.0.0.1"}}])
        chat(tools=[{"type": "web_search"}])
        chat(tools=[{"type": "builtin_function", "function": {"name": "$web_search"}}])
        chat(tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])
        """
    )
    told = [line[0] for line in said(rollout)]
    assert [text == "hello" for text in told] == [True] * 3 + [False] * 7 + [True]
    assert all(text.startswith("agent:") for text in told[3:6])
    assert [text.split(":")[0] for text in told[6:8]] == ["model", "messages[0].content"]
    assert told[8].startswith("tools[0].type")
    assert models.asked == {"main_agent": 1, "challenger": 2, "quality_verifier": 1}


async def test_order_and_allowances(open_bench: OpenBench) -> None:
    models = Models()
    rollout = await open_bench(models, limits={"items": 2, "chats": 2}).run(
        """
        def code(reply):
            return reply.get("error", {}).get("code")
        say([code(r) for r in reversed([call("evaluate", item=ITEM, phase="strong_only")])])
        items = [{**ITEM, "question": f"Why {n}?"} for n in range(3)]
        say([code(call("evaluate", item=i, phase="weak_only")) for i in items])
        say([code(call("chat", agent="main_agent", messages=[{"role": "user"}])) for _ in range(3)])
        items[0]["rubric"] = [{"criterion": "c", "weight": "+8"}]
        say(call("evaluate", item=items[0], phase="weak_only")["error"])
        """
    )
    order, items, chats, [invalid] = said(rollout)
    assert order == [["order"]]
    assert items == [[None, "limit", "limit"]]  # the refused strong_only took one of the two
    assert chats == [[None, None, "limit"]]
    assert invalid["code"] == "invalid_item"
    assert invalid["message"].startswith("rubric[0].weight: ")
    assert rollout.result.reason == "no_result"


async def test_provider_faults_are_no_scores(open_bench: OpenBench) -> None:
    fault = ProviderError("down")
    models = Models(first={"strong": [fault, fault]})
    bench = open_bench(models)
    with pytest.raises(ProviderError, match="down"):
        await bench.run(HONEST)
    rollout = await with_patience(lambda: bench.run(HONEST))
    assert rollout.result.passed

    bench = open_bench(Models(first={"weak": [EndpointRefused("no such model")]}))
    with pytest.raises(EndpointRefused):
        await with_patience(lambda: bench.run(HONEST))
    bench = open_bench(budget={"calls": 8})
    with pytest.raises(BudgetExhausted, match=r"budget\.calls = 8"):
        await bench.run(HONEST)


async def test_what_an_endpoint_rejects_is_the_harnesss_fault_unless_it_always_does(
    open_bench: OpenBench,
) -> None:
    too_long = RequestRejected("too long")
    bench = open_bench(Models(first={"judge": [too_long]}))
    with pytest.raises(EndpointRefused, match=r"models\.judge: its first request was rejected"):
        await bench.run(HONEST)  # a wrong setting must not be measured as a bad harness

    first: list[str | Reply | Exception] = ["hello", too_long]
    bench = open_bench(Models(first={"main_agent": first, "judge": []}))
    rollout = await bench.run(
        """
        for n in range(2):
            reply = call("chat", agent="main_agent", messages=[{"role": "user", "content": str(n)}])
            say(reply.get("error", {}).get("code"))
        """
    )
    assert said(rollout) == [[None], ["bad_request"]]
    models = Models()
    bench = open_bench(models)
    assert (await bench.run(HONEST)).result.passed
    models.first["weak"] = [too_long]
    rollout = await bench.run("say(call('evaluate', item=ITEM, phase='weak_only')['error'])")
    assert said(rollout) == [[{"code": "invalid_item", "message": "item: too long"}]]


async def test_rollouts_at_the_same_time_are_draws_of_their_own(open_bench: OpenBench) -> None:
    """Papers with equal texts, and chats that don't depend on the paper, collide nowhere."""
    models = Models()
    bench = open_bench(models)
    source = "call('chat', agent='main_agent', messages=[{'role': 'user', 'content': 'hi'}])\n"
    await bench.run(source)
    harness = next(bench.rig.folder.parent.glob("harness-*"))
    twins = [replace(PAPER, paper=replace(PAPER.paper, id=f"twin{n}")) for n in range(6)]
    async with asyncio.TaskGroup() as group:
        for paper in twins:
            group.create_task(run_paper(bench.rig, harness, paper, "same", fresh=False))
    assert models.asked == {"main_agent": 7}
    assert len({r.seed for r in models.requests}) == 7
    assert ITEM["question"] not in json.dumps([r.messages for r in models.requests])


async def test_a_paused_machine_is_no_silent_harness() -> None:
    """Ctrl-Z and fg: when the loop wakes up, the time is over and the line is there."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    asking = asyncio.create_task(_read_line(reader, 0.05))
    await asyncio.sleep(0)  # now it waits
    theirs.sendall(b"{}\n")
    paused = time.monotonic() + 0.2
    while time.monotonic() < paused:
        pass  # nobody runs the loop
    assert await asking == b"{}\n"
    theirs.close()
    with pytest.raises(asyncio.IncompleteReadError):
        await _read_line(reader, 5)
    writer.close()
