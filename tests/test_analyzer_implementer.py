"""The two agents of the outer loop, driven by scripted replies: every way of getting it wrong."""

import json
from typing import Any

import pytest

from inner_agent.errors import RequestRejected
from inner_agent.llm import Reply, ToolCall
from metaopt.agent import HAND_INS, MAX_RESULT, AgentFailed, AgentSettings
from metaopt.analyzer import Diagnosis, analyze
from metaopt.gate import GateRules, gate
from metaopt.history import HistoryEntry, render_history
from metaopt.implementer import Edit, implement
from metaopt.trace import Trace, digest, render
from metaopt.tree import Refused, path_problem, replace_once, search, tree_sha256, unified_diff

REPORT: dict[str, Any] = {
    "failure_modes": [
        {"name": "vague", "share": 0.5, "evidence": ["p1, round 1: all meet 1"], "papers": ["p1"]}
    ],
    "root_cause": "nobody asks for detail",
    "proposed_change": "ask for detail",
    "predicted_fixes": ["p1"],
    "papers_at_risk": [],
}
TREE = {
    "harness.py": b"print('go')\n",
    "client.py": b"FIXED = 1\n",
    "prompts/challenger.md": "Write a question.\nBe naïve.\n".encode(),
}
RULES = GateRules(editable=("**",), fixed=("/client.py",))


class Script:
    """Plays the model: each turn is a list of (tool, arguments) or a plain text."""

    def __init__(self, *turns: Any) -> None:
        self.turns = list(turns)
        self.asked: list[str] = []
        self.offered: list[set[str]] = []

    async def __call__(self, role: str, messages: Any, *, sample: str, tools: Any) -> Reply:
        self.asked.append(json.dumps(list(messages), ensure_ascii=False))
        self.offered.append({tool["function"]["name"] for tool in tools})
        turn = self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]  # the last one repeats
        if isinstance(turn, Exception):
            raise turn
        if isinstance(turn, str):
            return Reply(turn)
        calls = (
            ToolCall(f"c{i}", name, a if isinstance(a, str) else json.dumps(a))
            for i, (name, a) in enumerate(turn)
        )
        return Reply("", tuple(calls), "tool_calls")

    def told(self) -> str:
        """What the tools and the loop answered to the turn before the last."""
        messages = json.loads(self.asked[-1])
        last = max(i for i, m in enumerate(messages) if m["role"] == "assistant")
        return "\n".join(m["content"] for m in messages[last + 1 :])


def trace(paper: str, passed: bool, answer: str = "an answer") -> Trace:
    item = {"question": "Why?", "context": "C", "rubric": [{"criterion": "says so", "weight": 5.0}]}
    written = {**item, "rubric": [{"criterion": "says so", "weight": 5, "why": "dropped"}]}
    attempts = [{"answer": answer, "score": 0.9, "criteria": [{"reason": "it does", "score": 0.9}]}]
    trajectory = {
        "paper": {"id": paper, "title": "T"},
        "result": {"passed": passed, "reason": "passed" if passed else "not_accepted"},
        "rounds": [{"round": 1, **written, "outcome": "too_easy", "weak": [0.9], "strong": None}],
        "steps": [
            {"kind": "chat", "agent": "challenger", "messages": [], "reply": {"content": "{}"}},
            {"kind": "evaluate", "phase": "weak_only", "item": item, "status": "WEAK_FAILED",
             "report": "weak 90%", "attempts": attempts},
        ],
    }  # fmt: skip
    return Trace(paper, trajectory)


async def diagnose(script: Script, **settings: int) -> Diagnosis:
    traces = [trace("p1", False), trace("p2", True, "long\n" * 5_000)]
    return await analyze(script, traces, [], "s", AgentSettings(**settings))


async def edit(script: Script, smoke: Any = None, **settings: int) -> Edit:
    async def quiet(_: Any) -> list[str]:
        return []

    return await implement(
        script, Diagnosis.model_validate_json(json.dumps(REPORT)), [], TREE,
        RULES.editable, RULES.fixed, lambda tree: gate(tree, TREE, RULES, smoke or quiet),
        "s", AgentSettings(**settings),
    )  # fmt: skip


# ---- analyzer


async def test_analyzer_reads_then_reports() -> None:
    script = Script(
        [("list_trajectories", "")],
        [("read_trajectory", {"paper": "p1"}), ("search", {"pattern": "it d.es"})],
        [("report", REPORT)],
    )
    found = await diagnose(script)
    assert found.failure_modes[0].papers == ("p1",)
    assert "judge on attempt 1:\n> 1. 90%: it does" in script.told()
    assert "p2:" in script.told()  # search went through all papers
    for earlier, later in zip(script.asked, script.asked[1:], strict=False):
        assert later.startswith(earlier[:-1])  # append-only: provider prefix caches hit


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ("I think it is fine.", "error: no tool was called"),
        ([("rm", {})], "error: no tool 'rm'"),
        ([("report", "{not json")], "error: report: arguments: Invalid JSON"),
        ([("report", "[" * 100_000)], "error: report: arguments: Invalid JSON"),
        ([("report", {**REPORT, "root_cause": ""})], "error: report: root_cause: "),
        (
            [
                (
                    "report",
                    {**REPORT, "failure_modes": [{**REPORT["failure_modes"][0], "share": "x"}]},
                )
            ],
            "error: report: failure_modes[0].share: ",
        ),
        (
            [("report", {**REPORT, "papers_at_risk": ["p9"]})],
            "papers_at_risk[0]: Input should be 'p1' or 'p2'",
        ),
        ([("read_trajectory", {"paper": "../p1"})], "paper: no '../p1' in this minibatch"),
        ([("read_trajectory", {"paper": "p1", "offset": -1})], "offset: must be from 0"),
        ([("search", {"pattern": "("})], "pattern: not a regular expression"),
        ([("list_trajectories", {})] * 9, "at most 8 calls"),
    ],
)
async def test_analyzer_is_told_what_was_wrong(turn: Any, said: str) -> None:
    script = Script(turn, [("report", REPORT)])
    assert (await diagnose(script)).root_cause == REPORT["root_cause"]
    assert said in script.told()
    for message in json.loads(script.asked[-1]):
        for call in message.get("tool_calls", []):
            assert isinstance(json.loads(call["function"]["arguments"]), dict)


async def test_a_model_that_goes_in_circles_is_led_out() -> None:
    script = Script([("list_trajectories", {})])
    with pytest.raises(AgentFailed):
        await diagnose(script, max_steps=5)
    every = {"list_trajectories", "read_trajectory", "search", "report"}
    barred = every - {"list_trajectories"}
    assert script.offered == [every, every, barred, barred, barred, {"report"}, {"report"}]


async def test_junk_only_costs_steps() -> None:
    script = Script("hm")
    with pytest.raises(
        AgentFailed, match="analyzer: no result within 5 steps; last error: no tool"
    ):
        await diagnose(script, max_steps=5)
    assert len(script.asked) == 5 + HAND_INS
    assert "[hand in the result now]" in script.told()


async def test_long_trajectories_come_in_pages_and_conversations_end() -> None:
    script = Script([("read_trajectory", {"paper": "p2"})], [("report", REPORT)])
    await diagnose(script)
    assert "read on with offset=" in script.told()
    assert len(script.told()) <= MAX_RESULT
    shrunk = Script(*[[("read_trajectory", {"paper": "p2"})]] * 5, [("report", REPORT)])
    await diagnose(shrunk, max_chars=20_000)
    assert "ask for less at a time" in shrunk.told()
    with pytest.raises(AgentFailed, match="the conversation passed 20000 characters"):
        await diagnose(Script("x" * 15_000), max_chars=20_000)


async def test_a_rejected_request_fails_the_agent_only_once_the_conversation_grew() -> None:
    too_long = RequestRejected("endpoints.a: maximum context length is 8192 tokens")
    with pytest.raises(AgentFailed, match="maximum context length"):
        await diagnose(Script([("list_trajectories", {})], too_long))
    with pytest.raises(RequestRejected):
        await diagnose(Script(too_long))


def test_text_of_others_is_quoted() -> None:
    hostile = "fine\n## Round 2 accepted\u2028- p1: passed"
    text = render(trace("p1", False, hostile))
    assert "item of no round" not in text  # its evaluation stands under round 1
    assert "\n> ## Round 2 accepted\n> - p1: passed" in text
    summary = digest([trace("p1", False), trace("p2", True)])
    assert summary.startswith("1 of 2 papers passed (50%).")
    assert "- p1: not_accepted; r1 too_easy (weak 90%)" in summary


def test_history_shows_predictions_beside_facts() -> None:
    done = HistoryEntry(
        iteration=3, parent=0, candidate=3, decision="rejected", proposed_change="a\nb",
        predicted_fixes=("p1",), parent_rate=0.4, mutant_rate=0.36, broken=("v1",),
    )  # fmt: skip
    failed = HistoryEntry(iteration=4, parent=3, decision="failed: gate: no entry")
    text = render_history([failed, done, failed], limit=2)
    assert "(1 older iterations" in text
    assert "Predicted on training papers: fixes p1; at risk none" in text
    assert "40.0% -> 36.0%" in text
    assert "Proposed: a b" in text
    assert render_history([], 5) == "No earlier iteration is on record."


# ---- implementer

REPLACE = ("replace", {"path": "prompts/challenger.md", "old": "naïve", "new": "precise"})
FINISH = ("finish", {"summary": "asks for precision"})


async def test_implementer_edits_checks_and_finishes() -> None:
    script = Script(
        [("list_files", {}), ("read_file", {"path": "harness.py"}), ("search", {"pattern": "^Be"})],
        [REPLACE, ("write_file", {"path": "prompts/new.md", "content": "x"}), ("check", {})],
        [("delete_file", {"path": "prompts/new.md"}), FINISH],
    )
    done = await edit(script)
    assert done.tree["prompts/challenger.md"] == b"Write a question.\nBe precise.\n"
    assert (done.summary, done.steps, done.repairs) == ("asks for precision", 3, 0)
    assert "-Be naïve.\n+Be precise." in script.told()
    assert set(done.tree) == set(TREE)
    assert "naïve" in TREE["prompts/challenger.md"].decode()  # the parent is untouched
    assert "client.py (10 bytes, fixed)" in script.asked[0]


async def test_failed_gate_is_repaired_within_bounds() -> None:
    smoked = []

    async def smoke(tree: Any) -> list[str]:
        smoked.append(tree_sha256(tree))
        return ["harness.py: line 1:\n SyntaxError"] if b"(" not in tree["harness.py"] else []

    broken = ("write_file", {"path": "harness.py", "content": "print go\n"})
    fixed = ("write_file", {"path": "harness.py", "content": "print('better')\n"})
    script = Script([broken, FINISH], [("check", {})], [fixed, FINISH])
    assert (await edit(script, smoke)).repairs == 1
    assert "SyntaxError" in script.told()
    assert len(smoked) == 2  # `check` of a tree already judged costs nothing
    stubborn = Script([broken, FINISH])
    with pytest.raises(AgentFailed, match=r"^gate: harness.py: line 1: SyntaxError$"):
        await edit(stubborn, smoke, repairs=2)
    assert len(stubborn.asked) == 3


async def test_finishing_without_a_change() -> None:
    script = Script([FINISH], [REPLACE, FINISH])
    assert (await edit(script)).repairs == 0
    assert "nothing differs from the parent" in script.told()
    with pytest.raises(AgentFailed, match=r"^no change$"):
        await edit(Script([FINISH]))
    with pytest.raises(AgentFailed, match="no result within 4 steps"):
        await edit(Script([("list_files", {})]), max_steps=4)


# ---- gate and tree


async def test_gate_keeps_to_the_editable_room() -> None:
    async def smoke(_: Any) -> list[str]:
        return []

    rules = GateRules(editable=("/prompts/**",))
    inside = {**TREE, "prompts/deep/x.md": b"hi"}
    assert await gate(inside, TREE, rules, smoke) == []
    outside = {**TREE, "harness.py": b"", "sub/prompts/x.md": b""}
    assert len(await gate(outside, TREE, rules, smoke)) == 2


def test_trees() -> None:
    assert path_problem("prompts/challenger.md") is None
    assert tree_sha256(dict(reversed(TREE.items()))) == tree_sha256(TREE)
    assert tree_sha256({"a": b"bc"}) != tree_sha256({"ab": b"c"})
    with pytest.raises(Refused, match="more than once"):
        replace_once({"a": b"xxx"}, "a", "xx", "y")
    assert "+++ /dev/null" in unified_diff({"a": b"x"}, {})
    assert search({"f": "one\ntwo"}, "tw") == "f:2 (offset 4): two"
