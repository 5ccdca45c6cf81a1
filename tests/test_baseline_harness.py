"""The baseline harness end to end: the real process against a broker that reads from a script."""

import copy
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from inner_agent.items import parse_item

ROOT = Path(__file__).resolve().parents[1]
BASELINE = ROOT / "baseline_harness"
CLASSICS = sorted((ROOT / "populations" / "classics").glob("*.diff"))
MINIMAL = ROOT / "docs" / "examples" / "minimal_harness"
PAPER = "# On Widgets\n\nWidgets are “round”."

Answer = dict[str, Any] | str
RESULT_KEYS = [
    "paper_title", "question_type", "reasoning_skills", "rounds", "final_accepted_round",
    "total_rounds",
]  # fmt: skip
ROUND_KEYS = [
    "refinement_round", "question", "context", "reference_answer", "rubric", "accepted",
    "quality_verifier_kimi_passed", "quality_verifier_kimi_feedback", "weak_solver_avg",
    "strong_solver_avg", "gap", "eval_report", "eval_output_dir",
]  # fmt: skip


def item(question: str) -> dict[str, Any]:
    """Return a sound item."""
    return {
        "question_type": "mechanism",
        "reasoning_skills": ["deduction"],
        "context": "Widgets exist.",
        "question": question,
        "reference_answer": "Because.",
        "rubric": [{"criterion": "says because", "weight": 5}, {"criterion": "errs", "weight": -2}],
    }


def use(name: str, **arguments: str) -> Answer:
    """Return a main agent's reply with one tool call."""
    return {"content": "", "tool_calls": [(name, json.dumps(arguments))]}


def outcome(status: str, weak: float | None = None, strong: float | None = None) -> Answer:
    """Return an evaluation's result; averages are fractions."""
    gap = None if weak is None or strong is None else strong - weak
    average = weak if strong is None else strong
    return {
        "status": status, "report": f"report: {status}", "average": average, "scores": [],
        "weak_avg": weak, "strong_avg": strong, "gap": gap, "output_dir": "eval/1",
    }  # fmt: skip


def refusal(code: str) -> Answer:
    """Return an answer that is an error."""
    return {"error": {"code": code, "message": "rubric[0].weight: must be a number"}}


@dataclass
class Broker:
    """Answers each kind of request from its own list; an empty list is a ``limit``.

    ``requests`` keeps what came in: (kind, params), the kind being an agent's name, a phase
    or "submit".
    """

    script: dict[str, list[Answer]]
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def serve(self, sock: socket.socket) -> None:
        """Answer line by line until the harness closes its end."""
        with sock, sock.makefile("rwb") as lines:
            for line in lines:
                request = json.loads(line)
                answer = {"id": request["id"], **self.answer(request["method"], request["params"])}
                lines.write(json.dumps(answer).encode() + b"\n")
                lines.flush()

    def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return {"result": …} or {"error": …}."""
        kind = {"chat": params.get("agent"), "evaluate": params.get("phase")}.get(method, method)
        self.requests.append((kind, params))
        if kind == "submit":
            return {"result": {"accepted": False}}
        if not self.script.get(kind):
            return {"error": {"code": "limit", "message": f"no {kind} left"}}
        answer = self.script[kind].pop(0)
        if isinstance(answer, dict) and "error" in answer:
            return answer
        return {"result": chat_result(answer) if method == "chat" else answer}

    def asked(self, kind: str) -> list[dict[str, Any]]:
        """Return the params of all requests of one kind."""
        return [params for k, params in self.requests if k == kind]

    def said(self, agent: str) -> list[str]:
        """Return the last message of each chat with an agent."""
        return [params["messages"][-1]["content"] for params in self.asked(agent)]


def chat_result(answer: Answer) -> dict[str, Any]:
    """Return a chat's result: text, or a dictionary with tool calls as (name, arguments)."""
    if isinstance(answer, str):
        return {"content": answer, "tool_calls": [], "finish_reason": "stop"}
    if "tool_calls" not in answer:
        return {"content": json.dumps(answer), "tool_calls": [], "finish_reason": "stop"}
    calls = [
        {"id": f"c{n}", "name": name, "arguments": arguments}
        for n, (name, arguments) in enumerate(answer["tool_calls"])
    ]
    return {"content": answer["content"], "tool_calls": calls, "finish_reason": "tool_calls"}


Play = Callable[..., tuple[Broker, dict[str, Any]]]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Run a harness on the paper with a script; return the broker and the last submission."""

    def play(
        tree: Path = BASELINE, paper: str = PAPER, **script: list[Answer]
    ) -> tuple[Broker, dict[str, Any]]:
        work = tmp_path / "work"
        work.mkdir()
        (work / "paper.txt").write_text(paper, encoding="utf-8")
        broker = Broker(copy.deepcopy(script))
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=broker.serve, args=[ours])
        thread.start()
        with theirs:
            fd = theirs.fileno()
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-B", tree / "harness.py"],
                cwd=work, env={"METAOPT_FD": str(fd)}, pass_fds=[fd], timeout=60,
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        thread.join()
        assert done.returncode == 0, done.stderr
        return broker, broker.asked("submit")[-1]["result"]

    return play


def patched(tmp_path: Path, diff: Path) -> Path:
    """Return a copy of the baseline with a diff applied."""
    tree = tmp_path / "tree"
    shutil.copytree(BASELINE, tree, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    subprocess.run(["git", "apply", diff], cwd=tree, check=True)
    return tree


def one_round(number: int) -> list[Answer]:
    """Return a main agent's calls for one full round."""
    name = f"item-{number}"
    return [
        use("challenger", instructions="go deeper"),
        use("quality_verifier", item=name),
        use("evaluate", item=name, phase="weak-only"),
        use("evaluate", item=name, phase="strong-only"),
    ]


TWO_ROUNDS: dict[str, list[Answer]] = {
    "challenger": [f"Here it is:\n```json\n{json.dumps(item('Why round?'))}\n```", item("Why?")],
    "quality_verifier": [{"passed": True, "feedback": "fine"}] * 2,
    "weak_only": [outcome("WEAK_FAILED", 0.9), outcome("WEAK_PASSED", 0.4)],
    "strong_only": [outcome("STRONG_PASSED", 0.4, 0.8)],
}


def check_accepted_in_round_two(broker: Broker, result: dict[str, Any]) -> None:
    """Check the last submission after ``TWO_ROUNDS``: the published format, key by key."""
    assert list(result) == RESULT_KEYS
    assert [list(r) for r in result["rounds"]] == [ROUND_KEYS, ROUND_KEYS]
    first, second = result["rounds"]
    assert (first["accepted"], first["weak_solver_avg"], first["gap"]) == (False, 0.9, None)
    assert (second["accepted"], second["strong_solver_avg"], second["gap"]) == (True, 0.8, 0.4)
    assert second["quality_verifier_kimi_passed"] is True
    assert second["rubric"] == item("Why?")["rubric"]
    assert (result["final_accepted_round"], result["total_rounds"]) == (2, 2)
    assert (result["paper_title"], result["question_type"]) == ("On Widgets", "mechanism")
    totals = [params["result"]["total_rounds"] for params in broker.asked("submit")]
    assert totals == [1, 2]  # submitted after every round, and no more often


def test_accepted_in_the_second_round(play: Play, tmp_path: Path) -> None:
    broker, result = play(main_agent=one_round(1)[:3] + one_round(2), **TWO_ROUNDS)
    check_accepted_in_round_two(broker, result)
    assert json.loads((tmp_path / "work/output/result.json").read_text()) == result
    prompt = (BASELINE / "prompts" / "challenger.md").read_text().strip()
    first, second = broker.said("challenger")
    start = f"<paper>\n{PAPER}\n</paper>\n\n{prompt}\n\n"
    assert first.startswith(start)
    assert second.startswith(start)  # only the end differs
    assert "REFINEMENT" not in first
    assert "TOO EASY" in second
    assert "FAILED" not in second
    assert '1. [mechanism] "Why round?" — weak avg: 90%' in second
    assert second.endswith("INSTRUCTIONS FROM THE MAIN AGENT\ngo deeper")
    assert broker.said("quality_verifier")[1].endswith("\n</item>")
    tools = broker.asked("main_agent")[0]["tools"]
    names = [tool["function"]["name"] for tool in tools]
    assert names == ["challenger", "quality_verifier", "evaluate", "finish"]
    assert PAPER not in json.dumps(broker.asked("main_agent"))


def test_every_failure_reaches_the_challenger_by_category(play: Play) -> None:
    main_agent = [
        *one_round(1), *one_round(2)[:2], *one_round(3)[:3], use("challenger"), use("finish"),
    ]  # fmt: skip
    broker, result = play(
        main_agent=main_agent,
        challenger=[item("A?"), item("B?"), item("C?"), item("D?")],
        quality_verifier=[
            {"passed": True}, {"passed": False, "feedback": "It leaks\nthe answer."},
            {"passed": True},
        ],
        weak_only=[outcome("WEAK_PASSED", 0.4), refusal("invalid_item")],
        strong_only=[outcome("STRONG_FAILED", 0.4, 0.52)],
    )  # fmt: skip
    text = broker.said("challenger")[-1]
    assert '1. [mechanism] "A?" — weak avg: 40%, strong avg: 52%, gap: 12%' in text
    assert '1. [mechanism] "B?" — reason: It leaks the answer.' in text
    assert '1. [mechanism] "C?" — reason: rubric[0].weight: must be a number' in text
    assert text.index("FAILED ON STRONG") < text.index("FAILED QUALITY CHECK")
    assert text.index("FAILED QUALITY CHECK") < text.index("INVALID")
    assert "TOO EASY" not in text
    assert result["total_rounds"] == 4
    assert result["final_accepted_round"] is None
    assert not any(r["accepted"] for r in result["rounds"])


def test_junk_from_every_model_is_answered_not_fatal(play: Play) -> None:
    main_agent: list[Answer] = [
        "Let me think about it.",
        {"content": "", "tool_calls": [("challenger", "{not json"), ("challenger", "[1]")]},
        use("shell", command="ls"),
        *[use("challenger")] * 6,
        use("quality_verifier", item="item-7"),
        use("evaluate", item="item-1", phase="weak-only"),
        *[use("quality_verifier", item="item-1")] * 3,
        use("evaluate", item="item-1", phase="both"),
        use("finish", reason="enough"),
    ]
    broker, result = play(
        main_agent=main_agent,
        challenger=[
            "I'd rather not.", '{"rubric": [{"weight": +8}]}', '{"a":' * 20_000,
            {**item("?"), "rubric": None}, '{"question": NaN}', item("A \ud800?"),
        ],
        quality_verifier=["Looks good!", '{"passed": "yes"}', {"passed": True}],
    )  # fmt: skip
    chats = broker.asked("main_agent")
    conversation = chats[-1]["messages"]
    errors = [
        json.loads(m["content"])["error"]
        for m in conversation
        if m["role"] == "tool" and "error" in json.loads(m["content"])
    ]
    for n, start in enumerate([
        "the arguments are not JSON", "the arguments must be", "there is no tool 'shell'",
        "the reply holds no JSON", "the reply's JSON is broken", "the reply's JSON is broken",
        "the item's rubric is missing", "the reply's JSON is broken", "there is no item 'item-7'",
        "item-1 has not passed", "the reply holds no JSON", "the verdict lacks", "phase must be",
    ]):  # fmt: skip
        assert errors[n].startswith(start), errors[n]
    assert len(errors) == 13
    assert conversation[3]["role"] == "user"  # the nudge
    sent_back = [c["function"]["arguments"] for c in conversation[4]["tool_calls"]]
    assert sent_back == ["{}", "{}"]  # broken arguments would be refused by servers
    assert broker.said("challenger")[-1].count("[unknown]") == 5
    assert (result["total_rounds"], result["final_accepted_round"]) == (1, None)


def test_a_main_agent_that_only_talks_is_nudged_a_few_times(play: Play) -> None:
    broker, result = play(main_agent=["Hm."] * 100)
    assert 1 < len(broker.asked("main_agent")) < 10
    assert (result["rounds"], result["total_rounds"]) == ([], 0)


def test_a_solver_error_is_retried_and_is_no_verdict(play: Play) -> None:
    error = outcome("SOLVER_ERROR")
    calls = one_round(1)
    broker, result = play(
        main_agent=[*calls[:3], *calls[2:]],
        challenger=[item("A?")],
        quality_verifier=[{"passed": True, "feedback": ""}],
        weak_only=[error] * 4 + [outcome("WEAK_PASSED", 0.4)],
        strong_only=[error, outcome("STRONG_PASSED", 0.4, 0.8)],
    )
    assert result["final_accepted_round"] == 1
    assert result["rounds"][0]["eval_report"] == "report: WEAK_PASSED\nreport: STRONG_PASSED"
    assert len(broker.asked("weak_only")) == 5


@pytest.mark.parametrize("kept", range(4))
def test_a_limit_ends_it_cleanly_wherever_it_strikes(play: Play, kept: int) -> None:
    kinds = ["challenger", "quality_verifier", "weak_only", "strong_only"]
    script = {kind: TWO_ROUNDS[kind] for kind in kinds[:kept]}
    script["weak_only"] = [outcome("WEAK_PASSED", 0.4)] if kept > 2 else []
    broker, result = play(main_agent=one_round(1), **script)
    assert result["total_rounds"] == min(kept, 1)
    assert result["final_accepted_round"] is None
    assert broker.requests[-1][0] == "submit"
    assert len(broker.asked("main_agent")) == kept + 1  # asked nothing more after the limit
    if kept == 3:
        assert result["rounds"][0]["weak_solver_avg"] == 0.4


def test_the_scripted_harness_needs_no_main_agent(play: Play, tmp_path: Path) -> None:
    tree = patched(tmp_path, ROOT / "populations" / "classics" / "scripted.diff")
    broker, result = play(tree, **TWO_ROUNDS)
    check_accepted_in_round_two(broker, result)
    assert broker.asked("main_agent") == []


ONE_SHOT = ("self_instruct", "grounded_self_instruct", "cot_self_instruct")
PROPOSAL = {**item("Why round?"), "evidence": ["Widgets roll further than gadgets do.", "Gadgets "
            "stay where they are put, being flat."]}  # fmt: skip
LONG_PAPER = """# On Widgets

Made up for a test.

## Rolling

Widgets roll further than
gadgets do. They are round.

## Standing

Gadgets stay where they are put, being flat.
"""


def classic(tmp_path: Path, name: str) -> Path:
    """Return the baseline with a classical method's diff applied."""
    return patched(tmp_path, ROOT / "populations" / "classics" / f"{name}.diff")


@pytest.mark.parametrize("name", ONE_SHOT)
def test_a_one_shot_method_asks_for_one_item_and_hands_it_in_as_it_is(
    play: Play, tmp_path: Path, name: str
) -> None:
    broker, result = play(classic(tmp_path, name), **TWO_ROUNDS)
    asked = [kind for kind, _ in broker.requests]
    assert asked == ["challenger", "quality_verifier", "weak_only", "submit"]  # and no second try
    assert list(result) == RESULT_KEYS
    assert (result["final_accepted_round"], result["total_rounds"]) == (1, 1)
    assert (result["rounds"][0]["accepted"], result["rounds"][0]["weak_solver_avg"]) == (False, 0.9)
    grounded = json.dumps(broker.requests).count(json.dumps(PAPER)[1:-1])
    assert grounded == (0 if name == "self_instruct" else 2)  # challenger and verifier
    shown = broker.said("challenger")[0].count("<example>")
    assert shown == (0 if name == "cot_self_instruct" else 3)


@pytest.mark.parametrize("name", [*ONE_SHOT, "self_challenging"])
def test_a_one_shot_item_that_holds_is_accepted(play: Play, tmp_path: Path, name: str) -> None:
    script = {**TWO_ROUNDS, "weak_only": [outcome("WEAK_PASSED", 0.4)]}
    script["challenger"] = [PROPOSAL]
    broker, result = play(classic(tmp_path, name), paper=LONG_PAPER, **script)
    asked = [kind for kind, _ in broker.requests]
    assert asked == ["challenger", "quality_verifier", "weak_only", "strong_only", "submit"]
    assert result["rounds"][0]["accepted"] is True
    assert result["rounds"][0]["quality_verifier_kimi_passed"] is True
    assert "evidence" not in broker.asked("weak_only")[0]["item"]


@pytest.mark.parametrize("name", ONE_SHOT)
def test_a_one_shot_method_has_no_item_where_the_reply_is_junk(
    play: Play, tmp_path: Path, name: str
) -> None:
    broker, result = play(classic(tmp_path, name), challenger=["I'd rather not."] * 5)
    assert len(broker.asked("challenger")) == 1
    assert (result["final_accepted_round"], result["rounds"]) == (None, [])


def test_examples_are_drawn_by_the_paper(tmp_path: Path) -> None:
    tree = classic(tmp_path, "self_instruct")
    pool = json.loads((tree / "seeds.json").read_text(encoding="utf-8"))
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from few_shot import examples\n"
        "import json; print(json.dumps([examples(f'# Paper {n}') for n in range(40)]))"
    )
    drawn = [
        subprocess.run(
            [sys.executable, "-I", "-c", program, tree], text=True, capture_output=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
    texts = json.loads(drawn[0])
    assert len(set(texts)) > 20
    assert all(any(json.dumps(task, indent=1) in text for text in texts) for task in pool)
    for task in pool:
        assert parse_item(task).rubric
        assert all(1 <= c["weight"] <= 7 for c in task["rubric"])


def test_what_stands_before_the_item_is_reasoning(play: Play, tmp_path: Path) -> None:
    thought = 'The ITEM: {"question": "not this one"} or $x_{1}$?\n'
    reply = f"{thought}\n**ITEM**\n\n{json.dumps(item('Why?'))}"
    broker, result = play(classic(tmp_path, "cot_self_instruct"), challenger=[reply])
    assert result["rounds"][0]["question"] == "Why?"
    assert "think it through in words" in broker.said("challenger")[0]


def test_the_self_challenger_looks_before_it_proposes(play: Play, tmp_path: Path) -> None:
    looks: list[tuple[str, str]] = [
        ("list_sections", ""),
        ("read_section", '{"section": 2, "page": 1}'),
        ("read_section", '{"section": 9, "page": 1}'),
        ("search_paper", '{"words": "GADGETS flat"}'),
        ("check_quote", '{"quote": "widgets roll further than gadgets do."}'),
        ("check_quote", '{"quote": "Gadgets roll further than widgets do."}'),
        ("check_quote", "{not json"),
        ("shell", "{}"),
    ]
    invented = {**PROPOSAL, "evidence": [PROPOSAL["evidence"][0], "Widgets sink in water, always."]}
    sheet = [{"criterion": "c", "weight": "+8"}]
    broker, result = play(
        classic(tmp_path, "self_challenging"),
        paper=LONG_PAPER,
        challenger=[
            {"content": "", "tool_calls": looks}, invented, {**PROPOSAL, "rubric": sheet},
            PROPOSAL, PROPOSAL,
        ],
        quality_verifier=[{"passed": False, "feedback": "No."}],
    )  # fmt: skip
    chats = broker.asked("challenger")
    assert "Widgets roll" not in json.dumps(chats[0])  # it sees only what it looks up
    said = [m["content"] for m in chats[-1]["messages"] if m["role"] == "tool"]
    told = [json.loads(text) for text in said]
    assert [s["heading"] for s in told[0]["sections"]] == ["Beginning", "Rolling", "Standing"]
    assert told[1]["text"] == "Widgets roll further than\ngadgets do. They are round."
    assert told[2]["error"].startswith("section must be a number from 1 to 3")
    assert told[3]["passages"] == ["Gadgets stay where they are put, being flat."]
    assert [told[4], told[5]] == [{"found": True}, {"found": False}]
    assert [t["error"][:16] for t in told[6:]] == ["the arguments ar", "there is no tool"]
    complaints = [m["content"] for m in chats[-1]["messages"] if m["role"] == "user"][1:]
    assert "'Widgets sink in water, always.'" in complaints[0]
    assert "rubric[0].weight: must be a number, not '+8'" in complaints[1]
    assert len(chats) == 4  # the third proposal stands, and there is no second item
    assert (result["final_accepted_round"], result["total_rounds"]) == (1, 1)


@pytest.mark.parametrize(
    ("reply", "most"),
    [(PROPOSAL, 3), ({"content": "", "tool_calls": [("list_sections", "")]}, 16)],
    ids=["proposes what doesn't hold", "never proposes"],
)
def test_the_self_challenger_is_bounded(
    play: Play, tmp_path: Path, reply: Answer, most: int
) -> None:
    broker, result = play(classic(tmp_path, "self_challenging"), challenger=[reply] * 100)
    assert len(broker.asked("challenger")) == most
    assert result["rounds"] == []


def test_the_example_in_the_docs_works(play: Play) -> None:
    broker, result = play(MINIMAL, **TWO_ROUNDS)
    check_accepted_in_round_two(broker, result)
    page = (ROOT / "docs" / "harness-protocol.md").read_text(encoding="utf-8")
    assert (MINIMAL / "harness.py").read_text(encoding="utf-8") in page


@pytest.mark.parametrize("diff", CLASSICS, ids=lambda path: path.stem)
def test_classics_apply_and_compile(tmp_path: Path, diff: Path) -> None:
    tree = patched(tmp_path, diff)
    for path in tree.glob("*.py"):
        compile(path.read_text(encoding="utf-8"), str(path), "exec")
    for name in ("client.py", "harness.py"):
        assert (tree / name).read_bytes() == (BASELINE / name).read_bytes()


def test_a_weight_as_text_is_read_by_the_strict_fix_only(play: Play, tmp_path: Path) -> None:
    tree = patched(tmp_path, ROOT / "populations" / "classics" / "published_fixes.diff")
    broken = {**item("A?"), "rubric": [{"criterion": "c", "weight": "+8"}]}
    hopeless = {**item("A?"), "rubric": [{"criterion": "c", "weight": "a lot"}]}
    calls = [use("challenger"), use("challenger"), use("finish")]
    broker, result = play(tree, main_agent=calls, challenger=[broken, hopeless])
    assert [r["rubric"][0]["weight"] for r in result["rounds"]] == [8]
    assert "'a lot' is not an integer" in broker.asked("main_agent")[-1]["messages"][-1]["content"]
