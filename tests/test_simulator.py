"""The simulator: a pure function of what it is sent, whose results follow from the text."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import pytest

from inner_agent import items, roles
from inner_agent.errors import EndpointRefused
from inner_agent.llm import Message, Reply, Request
from inner_agent.simulator import Simulator, SimulatorParameters, challenger, modes, verifier
from inner_agent.simulator.lexicon import directives, says
from inner_agent.simulator.reading import read_paper
from inner_agent.simulator.rounds import rounds_in
from inner_agent.synthetic import generate_papers, write_papers

ROOT = Path(__file__).resolve().parents[1]
READABLE = Simulator(0, SimulatorParameters(judge_unreadable=0))
PAPER = generate_papers(3, seed=7)[2]
PROMPTS = {
    name: (ROOT / "baseline_harness" / "prompts" / f"{name}.md").read_text()
    for name in ("main_agent", "challenger", "quality_verifier")
}


def ask(model: str, *messages: Message | str, seed: int = 0, **more: Any) -> Reply:
    wire = [{"role": "user", "content": m} if isinstance(m, str) else m for m in messages]
    return asyncio.run(READABLE.complete(Request(model, wire, seed=seed, **more)))


def about_paper(prompt: str, varying: str) -> str:
    return f"<paper>\n{PAPER.text}\n</paper>\n\n{prompt}\n\n{varying}"


def called(reply: Reply) -> tuple[str, dict[str, Any]]:
    (call,) = reply.tool_calls
    return call.name, json.loads(call.arguments)


def chain_item(number: int, depth: int, *, leak: bool = False) -> items.Item:
    plan = challenger.Plan("chain", depth, leak, False, True, False, False, False)
    paper = read_paper(generate_papers(number + 1, seed=3)[number].text)
    return items.parse_item(challenger._item(paper, plan, frozenset(), Random(number)))


def mean_score(tier: str, item: items.Item, attempts: int = 6) -> float:
    scores = []
    for seed in range(attempts):
        answer = ask(f"sim-{tier}", *roles.solver_messages(item, None), seed=seed)
        sheet = ask("sim-judge", *roles.judge_messages(item, answer.content), seed=seed)
        verdicts = roles._parse_sheet(sheet, len(item.rubric))
        scores.append(items.score(item.rubric, [v.score for v in verdicts]))
    return fmean(scores)


def test_reply_is_a_function_of_seed_model_and_messages() -> None:
    program = (
        "import asyncio, sys\n"
        "from inner_agent.simulator import Simulator\n"
        "from inner_agent.llm import Request\n"
        "text = sys.stdin.read()\n"
        "for s in (0, 1):\n"
        "    r = Request('sim-challenger', [{'role': 'user', 'content': text}], seed=s)\n"
        "    print(asyncio.run(Simulator(0).complete(r)).content)\n"
    )
    text = about_paper(PROMPTS["challenger"], "Write the first item for this paper.")
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program], input=text, text=True, capture_output=True, check=True,
            cwd=ROOT, env={"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)},
        ).stdout
        for hash_seed in (1, 2)
    ]  # fmt: skip
    assert outputs[0] == outputs[1]
    here = [ask("sim-challenger", text, seed=s).content for s in (0, 1)]
    assert "\n".join([*here, ""]) == outputs[0]
    assert here[0] != here[1]


def test_unknown_model_is_refused_by_name() -> None:
    with pytest.raises(EndpointRefused, match="sim-judge"):
        ask("gpt-unknown", "hello")


def test_challenger_writes_what_the_harness_can_read() -> None:
    prompt = about_paper(PROMPTS["challenger"], "Write the first item for this paper.")
    strict = about_paper(
        PROMPTS["challenger"] + "\nEvery weight is an integer, never a string.\n", "Go on."
    )
    good = strings = 0
    for seed in range(60):
        for text in (prompt, strict):
            body = ask("sim-challenger", text, seed=seed).content
            try:
                item, _ = json.JSONDecoder().raw_decode(body, body.index("{"))
                items.parse_item(item)
                good += text is strict
            except items.ItemRefused as refused:
                strings += text is prompt and "weight" in str(refused)
            except json.JSONDecodeError:
                pass  # a reply that broke off, as real ones do
    assert good >= 55
    assert strings >= 10


def test_solvers_differ_on_deep_questions_only() -> None:
    deep = [chain_item(n, 4) for n in range(12)]
    leaked = [chain_item(n, 4, leak=True) for n in range(12)]
    weak, strong = (fmean(mean_score(t, i) for i in deep) for t in ("weak", "strong"))
    weak_leaked, strong_leaked = (
        fmean(mean_score(t, i) for i in leaked) for t in ("weak", "strong")
    )
    assert weak < 0.6 < strong
    assert strong - weak > 0.2
    assert weak_leaked > 0.75
    assert strong_leaked - weak_leaked < 0.1


def test_judge_reads_the_answer() -> None:
    item = chain_item(1, 3)
    none = ask("sim-judge", *roles.judge_messages(item, "I do not know."))
    full = ask("sim-judge", *roles.judge_messages(item, item.reference_answer))
    scores = [
        [v.score for v, c in zip(roles._parse_sheet(r, len(item.rubric)), item.rubric, strict=True)
         if "connects" in c.criterion]
        for r in (none, full)
    ]  # fmt: skip
    assert fmean(scores[0]) < 0.3
    assert fmean(scores[1]) > 0.7
    text = "<answer>\nThe gate drives the wheel.\n</answer>\n\n<criterion>\n{}\n</criterion>"
    yes = ask("sim-judge", text.format("It connects `gate` to `wheel`."), top_logprobs=8)
    no = ask("sim-judge", text.format("It connects `gate` to `paddle`."), top_logprobs=8)
    assert yes.first_logprobs["yes"] > yes.first_logprobs["no"]
    assert no.first_logprobs["yes"] < no.first_logprobs["no"]


def test_verifier_finds_a_leak_where_its_prompt_says_how() -> None:
    told = PROMPTS["quality_verifier"] + "\nFail the item if the context states the conclusion.\n"

    def failed(prompt: str, item: items.Item) -> int:
        varying = f"<item>\n{item.model_dump_json(indent=1)}\n</item>"
        replies = [
            ask("sim-quality-verifier", about_paper(prompt, varying), seed=s) for s in range(40)
        ]
        return sum(not json.loads(r.content)["passed"] for r in replies)

    made = [chain_item(n, 3, leak=True) for n in range(12)]
    leaky = next(item for item in made if "leak" in verifier.faults(item.model_dump()))
    sound = chain_item(1, 3)
    assert verifier.faults(sound.model_dump()) == []
    assert failed(told, leaky) > 25
    assert failed(PROMPTS["quality_verifier"], leaky) < 12
    assert failed(told, sound) < 6


def test_main_agent_goes_through_the_steps() -> None:
    calm = Simulator(0, SimulatorParameters(slip=0))
    talk: list[Message] = [
        {"role": "system", "content": PROMPTS["main_agent"]},
        {"role": "user", "content": f"Make an accepted question from this paper: {PAPER.title}"},
    ]
    results = [
        {"item": "item-1", "round": 1, "question_type": "x", "question": "y"},
        {"item": "item-1", "passed": True, "feedback": ""},
        {"item": "item-1", "status": "WEAK_PASSED", "report": ""},
        {"item": "item-1", "status": "STRONG_FAILED", "report": ""},
        {"error": "limit: 5 items a paper are used up"},
    ]
    made = []
    for result in [*results, {}]:
        reply = asyncio.run(calm.complete(Request("sim-main-agent", talk)))
        name, arguments = called(reply)
        made.append((name, arguments.get("phase")))
        function = {"name": name, "arguments": reply.tool_calls[0].arguments}
        talk += [
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": reply.tool_calls[0].id, "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": reply.tool_calls[0].id, "content": json.dumps(result)},
        ]  # fmt: skip
    assert made == [
        ("challenger", None), ("quality_verifier", None), ("evaluate", "weak-only"),
        ("evaluate", "strong-only"), ("challenger", None), ("finish", None),
    ]  # fmt: skip


def test_lexicon_knows_every_phrase_and_the_baseline_has_no_fix() -> None:
    for fixes in (*modes.FIXES.values(), modes.HARM):
        for agent, directive, wordings in fixes:
            for text in wordings:
                assert directive in says(text, agent), text
    for text in modes.IDLE:
        assert not any(says(text, agent) for agent in PROMPTS), text
    assert says("Do not make the question as hard as possible.", "challenger") == []
    for agent, prompt in PROMPTS.items():
        assert not [d for d in directives(prompt, agent) if not d.startswith("invite:")]


def test_published_fixes_are_understood(tmp_path: Path) -> None:
    wanted = {
        "fix_paper_specific": {"curb:generic"},
        "fix_context_leak": {"curb:leak"},
        "fix_positive_rubric": {"curb:negative", "curb:heavy"},
        "fix_strict_json": {"curb:string_weight"},
    }
    for name, curbs in wanted.items():
        (tmp_path / name / "prompts").mkdir(parents=True)
        for file in (ROOT / "baseline_harness").rglob("*.*"):
            if file.suffix in (".py", ".md") and "__pycache__" not in file.parts:
                target = tmp_path / name / file.relative_to(ROOT / "baseline_harness")
                target.write_bytes(file.read_bytes())
        patch = ROOT / "populations" / "classics" / f"{name}.diff"
        subprocess.run(["git", "apply", str(patch)], cwd=tmp_path / name, check=True)
        prompt = (tmp_path / name / "prompts" / "challenger.md").read_text()
        assert curbs <= directives(prompt, "challenger"), name
        assert not [d for d in directives(prompt, "challenger") if d.startswith("demand:")]


LOOKING = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("list_sections", "read_section", "search_paper", "check_quote")
]


def looked_up(shown: dict[int, str], prompt: str, seed: int) -> tuple[list[str], dict[str, Any]]:
    """Play the tools for a challenger that sees ``shown``; its calls by name, and its item."""
    messages: list[Message] = [{"role": "user", "content": prompt}]
    names = []
    for _ in range(12):
        reply = ask("sim-challenger", *messages, seed=seed, tools=LOOKING)
        if not reply.tool_calls:
            return names, json.loads(reply.content[reply.content.index("{") :].rstrip("`\n"))
        calls = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in reply.tool_calls
        ]
        messages.append({"role": "assistant", "content": "", "tool_calls": calls})
        for call in reply.tool_calls:
            names.append(call.name)
            given = json.loads(call.arguments)
            result: dict[str, Any] = {
                "list_sections": {"title": "On parts", "sections": [{"section": n} for n in shown]},
                "read_section": {"text": shown.get(given.get("section", 0), "")},
                "search_paper": {"passages": []},
                "check_quote": {"found": given.get("quote", "") in "\n".join(shown.values())},
            }[call.name]
            message = {"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)}
            messages.append(message)
    raise AssertionError("it never proposes")


def test_a_challenger_with_tools_writes_from_what_they_showed() -> None:
    whole = read_paper(PAPER.text).prose
    shown = {1: " ".join(s.text for s in whole[:14]), 2: " ".join(s.text for s in whole[14:28])}
    asked = PROMPTS["challenger"] + '\nGive "evidence" as well.'
    specific = 0
    for seed in range(12):
        names, item = looked_up(shown, asked, seed)
        assert names[:3] == ["list_sections", "read_section", "read_section"]
        assert {"search_paper", "check_quote"} <= set(names)
        assert not [s for s in whole[28:] if s.text in item["context"]]
        assert item["evidence"]
        assert all(quote in "".join(shown.values()) for quote in item["evidence"])
        specific += "`" in item["question"]
    assert specific >= 4
    for seed in range(4):  # with the text taken away nothing is left
        names, item = looked_up({1: "", 2: ""}, asked, seed)
        assert "check_quote" not in names
        assert "`" not in item["question"]
        assert item["evidence"] == []
    assert "evidence" not in looked_up(shown, PROMPTS["challenger"], 0)[1]


def test_a_challenger_without_those_tools_is_as_it_was() -> None:
    text = about_paper(PROMPTS["challenger"], "Write the first item for this paper.")
    other = [{"type": "function", "function": {"name": "shell"}}, {"type": "function"}]
    assert ask("sim-challenger", text, tools=other) == ask("sim-challenger", text)


HOSTILE = [
    "", "\n", "x", "word " * 60_000, "`" * 4_000, "</paper></context>\n</paper>", "(" * 5_000,
    "\x00\ud800" * 50, "日本語。" * 300, '{"a":' * 3_000, "never state the " * 3_000,
    "- x: y; r1 too_easy\n" * 300, "## Round 1 too_easy\nquestion:\n> q\n" * 200,
]  # fmt: skip


@pytest.mark.parametrize("model", Simulator.models())
def test_hostile_text_never_crashes(model: str) -> None:
    for text in HOSTILE:
        for wrapped in (
            f"<paper>\n{text}\n</paper>\n\nREFINEMENT\n\nTOO EASY\n1. {text[:99]}",
            f"<paper>\nx\n</paper>\n\n{text}\n\n<item>\n{text}\n</item>",
            f"<context>\n{text}\n</context>\n\n<question>\n`a` {text} `b`\n</question>",
            f"<rubric>\n1. (weight 5) {text}\n</rubric>\n\n<answer>\n{text}\n</answer>",
        ):
            reply = ask(model, {"role": "system", "content": text}, wrapped, top_logprobs=8)
            for call in reply.tool_calls:
                assert isinstance(json.loads(call.arguments), dict)
            assert reply.content or reply.tool_calls
    for broken in ({}, {"role": "tool"}, {"role": "assistant", "tool_calls": [1, {"id": 3}]}):
        ask(model, broken)
    for text in (*HOSTILE, '{"sections": [1, {"section": []}]}', '{"text": 1, "passages": {}}'):
        looks = [
            {"id": f"c{n}", "function": {"name": one["function"]["name"], "arguments": text}}
            for n, one in enumerate(LOOKING)
        ]
        told = [{"role": "tool", "tool_call_id": look["id"], "content": text} for look in looks]
        asked = {"role": "assistant", "tool_calls": looks}
        ask(model, {"role": "user", "content": text}, asked, *told, tools=LOOKING)


def test_synthetic_papers_are_distinct_and_say_what_they_are(tmp_path: Path) -> None:
    papers = write_papers(tmp_path, 20, seed=5)
    assert papers == generate_papers(20, seed=5)
    assert len({p.id for p in papers}) == len({p.text for p in papers}) == 20
    for paper in papers:
        assert "Synthetic" in "".join(paper.text.splitlines()[:3])
        assert 1_200 <= len(paper.text.split()) <= 2_500
    rows = [json.loads(line) for line in (tmp_path / "papers.jsonl").read_text().splitlines()]
    assert all(row["synthetic"] is True and (tmp_path / row["file"]).exists() for row in rows)


def test_a_paper_without_rounds_shows_none() -> None:
    assert rounds_in("# p1 'On parts'\n- p1: not_accepted; no rounds\n") == []
    (first, last) = rounds_in("## Round 1 too_easy\nquestion:\n> a?\n## Round 2 accepted\n")
    assert (first[:2], first[2]["question"], last[:2]) == ((1, "too_easy"), "a?", (2, "accepted"))
