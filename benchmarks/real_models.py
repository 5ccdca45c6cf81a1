"""The comparison of benchmarks/classics.py with two small open models in place of the simulator.

    metaopt serve-local QWEN.gguf --port 8181 --parallel 4 --context 6144
    metaopt serve-local SMOLLM2.gguf --port 8182 --parallel 1 --context 4096
    METAOPT_PAPERS=FOLDER python benchmarks/real_models.py OUT [--papers 12] [--arms ARM ...]
    python benchmarks/real_models.py OUT [OUT ...] --table

QWEN plays challenger, verifier, judge and strong solver (with the paper before it), SMOLLM2 the
weak one; the settings are those of configs/local-llama.toml.  A model of this size can't direct
the others, so the loop of the baseline and of the published fixes is ``scripted.diff``; and it
seldom writes JSON once it has reasoned in words, so there is a second CoT-Self-Instruct
(``cot_in_json.diff``) that has what it wrote written out in a call that a JSON schema binds.

Paper by paper, each harness works on it once, at most ``ROUNDS`` items.  The last item that it
wrote and that can be evaluated, accepted or not, is then tried afresh: all attempts of both
solvers, and the judge on two answers known to be good and bad: the item's own reference answer,
and one that says nothing.
With ``--draws`` a harness that wrote no such item on a paper is drawn again when all papers are
done; shares of items and of accepted ones are those of the first draw.
OUT has a line for each harness and paper that is done, and every reply: the same command goes on
where it was stopped, and ``--table`` prints the Markdown tables for docs/results.md.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from common import ROOT, machine
from simulator_table import corpus

from inner_agent import roles, sandbox
from inner_agent.calls import CallStore, Usage
from inner_agent.gateway import Gateway
from inner_agent.items import Item, ItemRefused, score
from inner_agent.papers import PaperText
from inner_agent.run_paper import Rig, Rollout, run_paper
from inner_agent.settings import OUTER_TABLES, InnerConfig, read_toml
from inner_agent.tasks import rubric
from metaopt.classics import PREFIX, classic_diff
from metaopt.config import Harness
from metaopt.harnesses import export_harness
from metaopt.statistics import student, wilson

QWEN, SMOLLM2 = "http://127.0.0.1:8181", "http://127.0.0.1:8182"
ROUNDS = 2
ATTEMPTS = 3  # of each solver, afresh; while a harness works, as many as the config says
ANSWER_TOKENS = 200  # of either solver; a longer answer is cut off and judged as it is
FIRST = "cot_self_instruct"
IN_JSON = f"{FIRST}, item by schema"
SCRIPTED = Harness(patch=str(classic_diff(f"{PREFIX}scripted")))
ARMS: Mapping[str, tuple[Harness, str | None]] = {
    FIRST: (Harness(), f"{PREFIX}{FIRST}"),
    "baseline": (SCRIPTED, None),
    "published_fixes": (SCRIPTED, f"{PREFIX}published_fixes"),
    IN_JSON: (
        Harness(patch=str(classic_diff(f"{PREFIX}{FIRST}"))),
        str(ROOT / "benchmarks" / "cot_in_json.diff"),
    ),
}
PAIRS = (
    ("baseline", FIRST), ("published_fixes", FIRST), ("baseline", IN_JSON),
    ("published_fixes", IN_JSON), ("published_fixes", "baseline"),
)  # fmt: skip
JUDGED = {"decided": "yes or no", "probable": "probability of yes"}

Line = dict[str, Any]


def served(url: str) -> str:
    """The file name of the model that a llama.cpp server has."""
    try:
        with urllib.request.urlopen(f"{url}/v1/models", timeout=60) as reply:
            return Path(json.load(reply)["data"][0]["id"]).name
    except OSError as e:
        raise SystemExit(f"{url}: no server answers ({e}); see --help") from None


def config(names: Mapping[str, str]) -> InnerConfig:
    """The settings of configs/local-llama.toml, with a model of its own for the weak solver.

    ``names``: the models by their servers' addresses.  Nothing is audited.
    """
    data = read_toml(ROOT / "configs" / "local-llama.toml")
    llama = data["endpoints"]["llama"] | {"max_in_flight": 1}
    data["endpoints"] = {
        "llama": llama | {"base_url": f"{QWEN}/v1"},
        "small": llama | {"base_url": f"{SMOLLM2}/v1"},
    }
    for model in data["models"].values():
        model["model"] = names[QWEN]
    data["models"]["challenger"]["max_tokens"] = 1_600  # reasoning first takes more room
    weak, strong = data["models"]["weak"], data["models"]["strong"]
    weak |= {"endpoint": "small", "model": names[SMOLLM2], "max_tokens": ANSWER_TOKENS}
    strong["max_tokens"] = ANSWER_TOKENS
    data["audit"] = {"llm": False, "probes": False}
    data["limits"] |= {"items": ROUNDS, "chats": 2 * ROUNDS, "rollouts_in_flight": 1}
    return InnerConfig.model_validate({k: v for k, v in data.items() if k not in OUTER_TABLES})


def last_item(rollout: Rollout) -> Item | None:
    """The last item that can be evaluated, accepted or not."""
    result = rollout.submitted
    if result is None:
        return None
    for one in reversed(result.rounds):
        with suppress(ItemRefused):
            item = result.item_of(one)
            if not rubric.refusal(item):
                return item
    return None


def shares(verdicts: Sequence[roles.Verdict]) -> list[float]:
    """The judge's probabilities of yes, which it gives as the reason, as in ``yes 46%``."""
    return [float(v.reason.removeprefix("yes ").removesuffix("%")) / 100 for v in verdicts]


def graded(item: Item, answer: str, verdicts: Sequence[roles.Verdict]) -> Line:
    """An answer and its scores, by the judge's decisions and by its probabilities."""
    yes = shares(verdicts)
    return {
        "answer": answer,
        "decided": score(item.rubric, [v.score for v in verdicts]),
        "probable": score(item.rubric, yes),
        "yes": yes,
    }


async def trial(rig: Rig, paper: PaperText, item: Item, sample: str) -> Line:
    """Fresh attempts on an item, and the judge on its reference answer and on ``NOTHING``.

    One call after the other, so that the server reads each prompt's beginning once.  Empty where
    a model gave nothing readable.
    """
    ask, models = rig.gateway.ask, rig.config.models
    answers = {"reference": [item.reference_answer], "nothing": [rubric.NOTHING]}
    found: Line = {}
    try:
        for tier in get_args(roles.Tier):
            model = models[tier]
            seen = roles.solver_messages(item, paper.text if model.paper else None)
            answers[tier] = [
                await roles.solve(ask, tier, model, seen, f"{sample}/{tier}{n}", Usage())
                for n in range(ATTEMPTS)
            ]
        for of, texts in answers.items():
            found[of] = []
            for n, text in enumerate(texts):
                name = f"{sample}/{of}{n}/judge"
                verdicts = await roles.judge(ask, models["judge"], item, text, name, Usage())
                found[of].append(graded(item, text, verdicts))
    except roles.NoAnswer as e:
        say(f"{sample}: {e}")
        return {}
    return found


def seconds(calls: Path, sample: str) -> float:
    """Seconds of waiting for the replies whose sample begins so, over all starts."""
    with closing(sqlite3.connect(calls)) as db:
        query = "SELECT total(seconds) FROM calls WHERE substr(sample, 1, ?) = ?"
        return float(db.execute(query, (len(sample), sample)).fetchone()[0])


async def once(
    out: Path, rig: Rig, harness: Path, arm: str, paper: PaperText, draw: int
) -> Line:  # fmt: skip
    """One harness on one paper, then the trial of its item: the line that is kept."""
    sample = arm if draw == 1 else f"{arm}.{draw}"
    done = await run_paper(rig, harness, paper, sample, fresh=False)
    result, item = done.result, last_item(done)
    name = paper.paper.id
    return {
        "paper": name,
        "arm": arm,
        "draw": draw,
        "accepted": result.accepted,
        "reason": result.reason,
        "detail": result.detail,
        "calls": result.calls,
        "seconds": seconds(out / "calls.db", f"{sample}/{name}/"),
        "rounds": done.trajectory["rounds"],
        "steps": done.trajectory["steps"],
        "item": item.model_dump() if item else None,
        **(await trial(rig, paper, item, f"afresh/{sample}/{name}") if item else {}),
    }


def read_lines(out: Path) -> list[Line]:
    """What is done so far; a line that a crash cut short is left out."""
    path = out / "done.jsonl"
    texts = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(text) for text in texts if text.endswith("\n")]


def say(text: str) -> None:
    """A line of progress, with the time (UTC)."""
    print(f"{time.strftime('%H:%M:%S', time.gmtime())} {text}", file=sys.stderr, flush=True)


async def play(
    out: Path, folder: Path, count: int, draws: int, minutes: float, arms: Sequence[str]
) -> None:
    """All harnesses on all papers, then again where one gave no item, ``draws`` times in all."""
    settings = config({url: served(url) for url in (QWEN, SMOLLM2)})
    papers = corpus(folder, count, settings.papers.max_paper_tokens)
    gateway = Gateway(settings, CallStore(out / "calls.db"))
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as scratch:
        rig = Rig(settings, gateway, sandbox.choose_mode(settings), Path(scratch))
        made = {
            arm: export_harness(configured, wanted, Path(scratch, arm)).folder
            for arm, (configured, wanted) in ARMS.items()
            if arm in arms
        }
        turns = [
            (draw, number, paper, arm)
            for draw in range(1, draws + 1)
            for number, paper in enumerate(papers, 1)
            for arm in made
        ]
        for draw, number, paper, arm in turns:
            if settled(read_lines(out), paper.paper.id, arm, draw):
                continue
            turn = f"draw {draw}, paper {number} of {len(papers)}, {arm}"
            if time.monotonic() > end:
                say(f"stopped before {turn}; the same command goes on")
                break
            line = await once(out, rig, made[arm], arm, paper, draw)
            with (out / "done.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            say(f"{turn}: {summed_up(line)}")
    await gateway.close()


def settled(lines: Sequence[Line], paper: str, arm: str, draw: int) -> bool:
    """Nothing left to do: this draw is there, or an earlier one gave an item."""
    mine = [line for line in lines if (line["paper"], line["arm"]) == (paper, arm)]
    return any(line["draw"] >= draw or "weak" in line for line in mine)


def summed_up(line: Line) -> str:
    """A line in a few words."""
    outcomes = ", ".join(r["outcome"] for r in line["rounds"]) or line["reason"]
    text = f"{outcomes}; {line['calls']} calls, {line['seconds']:.0f} s"
    if "weak" in line:
        text += f"; weak {mean(line, 'weak'):.0%}, strong {mean(line, 'strong'):.0%}"
    return text


def mean(line: Line, of: str, by: str = "decided") -> float:
    """The average score of a solver's fresh attempts, or of one of the two known answers."""
    return fmean(a[by] for a in line[of])


def gap(line: Line, by: str) -> float:
    """Strong less weak."""
    return mean(line, "strong", by) - mean(line, "weak", by)


def points(values: Sequence[float]) -> list[str]:
    """Mean and 95 % interval over papers, in points; empty where there is none."""
    interval = student(values)
    return [
        f"{100 * fmean(values):.1f}" if values else "",
        f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}" if interval else "",
    ]


def tried(lines: Sequence[Line], arm: str) -> dict[str, Line]:
    """By paper, the only draw that gave an item."""
    return {line["paper"]: line for line in lines if line["arm"] == arm and "weak" in line}


def table(*rows: Sequence[str]) -> str:
    """A Markdown table; the first row is the heading."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def worked(arm: str, lines: Sequence[Line]) -> list[str]:
    """How a harness fared: a row."""
    draws = [line for line in lines if line["arm"] == arm]
    first = [line for line in draws if line["draw"] == 1]
    cells = [arm, f"{len(first)}"]
    for count in (sum("weak" in x for x in first), sum(x["accepted"] for x in first)):
        low, high = wilson(count, len(first))
        cells += [f"{count}", f"{low:.0%} to {high:.0%}"]
    calls, seconds_ = (fmean(line[what] for line in draws) for what in ("calls", "seconds"))
    return [*cells, f"{calls:.1f}", f"{seconds_ / 60:.1f}"]


def scored(arm: str, lines: Sequence[Line], by: str) -> list[str]:
    """What its items came to, over papers: a row."""
    items = tried(lines, arm).values()
    averages = [[mean(line, of, by) for line in items] for of in ("weak", "strong")]
    gaps = [gap(line, by) for line in items]
    cells = [cell for values in (*averages, gaps) for cell in points(values)]
    known = [points([mean(line, of, by) for line in items])[0] for of in ("reference", "nothing")]
    return [arm, JUDGED[by], f"{len(items)}", *cells, *known]


def differing(one: str, other: str, lines: Sequence[Line], by: str) -> list[str]:
    """The difference of two harnesses' gaps on the papers where both have an item: a row."""
    ones, others = tried(lines, one), tried(lines, other)
    both = [paper for paper in ones if paper in others]
    differences = [gap(ones[paper], by) - gap(others[paper], by) for paper in both]
    return [f"{one} - {other}", JUDGED[by], f"{len(both)}", *points(differences)]


def tables(lines: Sequence[Line]) -> str:
    """Three Markdown tables over the papers that all harnesses have done."""
    arms = {p: {x["arm"] for x in lines if x["paper"] == p} for p in {x["paper"] for x in lines}}
    kept = [line for line in lines if arms[line["paper"]] == set(ARMS)]
    if not kept:
        return "no paper has been worked on by all harnesses yet"
    work = ("harness", "papers", "an item", "95 %", "accepted", "95 %", "calls", "minutes")
    scores = ("harness", "judge", "items", "weak", "95 %", "strong", "95 %", "gap", "95 %",
              "reference", "nothing")  # fmt: skip
    differences = ("gap", "judge", "papers", "difference", "95 %")
    return "\n\n".join(
        [
            table(work, *(worked(arm, kept) for arm in ARMS)),
            table(scores, *(scored(arm, kept, by) for by in JUDGED for arm in ARMS)),
            table(differences, *(differing(*pair, kept, by) for by in JUDGED for pair in PAIRS)),
        ]
    )


def main() -> None:
    """Play what isn't done yet, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path, nargs="+", help="a folder for replies and what is done")
    parser.add_argument("--papers", type=int, default=12, help="the first so many of the corpus")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS, metavar="ARM")
    parser.add_argument("--draws", type=int, default=1, help="of a harness that gave no item")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin nothing new after these")
    parser.add_argument("--table", action="store_true", help="of all folders; ask no model")
    args = parser.parse_args()
    if not args.table:
        if "METAOPT_PAPERS" not in os.environ or len(args.out) > 1:
            parser.error("set METAOPT_PAPERS to a folder of papers, and name one folder to work in")
        [out] = args.out
        out.mkdir(parents=True, exist_ok=True)
        folder = Path(os.environ["METAOPT_PAPERS"])
        asyncio.run(play(out, folder, args.papers, args.draws, args.minutes, args.arms))
    lines = [line for out in args.out for line in read_lines(out)]
    print(f"{machine()}\n\n{tables(lines)}")


if __name__ == "__main__":
    main()
