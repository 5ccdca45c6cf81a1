"""A reward for reinforcement learning: a judge scores each answer by its item's rubric.

This file and ``judge.json`` beside it are all that is needed; there is nothing to install.

    JUDGE_BASE_URL   an OpenAI-compatible endpoint, such as http://localhost:8000/v1
    JUDGE_MODEL      the judge's model, where it isn't the one that judged the data set
    JUDGE_API_KEY    if the endpoint wants one
    JUDGE_IN_FLIGHT  requests at a time (16)

TRL's GRPO: ``reward_funcs=rubric_reward``.  verl: ``custom_reward_function.path`` is this file,
``.name`` is ``compute_score``.  The judge sees context, question, rubric and answer, as it did
when the data set was made, never the reference answer.  A judge that can't be reached raises
``JudgeFailed``: an outage is no score.
"""

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

TRIES = 3  # of a verdict that can't be read
CALLS = 8  # of an endpoint that fails, with pauses of 1, 2, 4 ... seconds between them
TIMEOUT_S = 600
_TAGS = re.compile(
    r"<(/?\s*(?:paper|context|question|reference|rubric|answer|criterion|attempt|earlier|learnings"
    r"|digest)\s*>)",
    re.IGNORECASE,
)
_TURNS = re.compile(
    r"(<)(\|[^|<>\n]{1,40}\|>|｜[^｜<>\n]{1,40}｜>|/?s>|(?:start|end)_of_turn>|</?SYS>>)"
    r"|(\[)(/?INST\])",
    re.IGNORECASE,
)
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e"
    "\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)


class JudgeFailed(RuntimeError):
    """The judge's endpoint gave no reply."""


def rubric_reward(
    completions: Sequence[Any],
    qa_id: Sequence[str],
    context: Sequence[str],
    question: Sequence[str],
    rubric: Sequence[str],
    log_metric: Callable[[str, float], None] | None = None,
    **_: Any,
) -> list[float | None]:
    """TRL: a score in [0, 1] for each completion, or None where the judge can't be understood.

    The columns are the data set's, aligned with the completions.
    """
    answers = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    with ThreadPoolExecutor(int(os.environ.get("JUDGE_IN_FLIGHT", "16"))) as pool:
        scores = list(pool.map(grade, qa_id, context, question, rubric, answers))
    if log_metric is not None:
        log_metric("judge_unreadable", sum(s is None for s in scores) / max(1, len(scores)))
    return scores


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    **_: Any,
) -> dict[str, float]:
    """verl: ``score`` in [0, 1]; ``judged`` is 0 where the judge can't be understood.

    ``ground_truth`` is the rubric; ``extra_info`` has the item's id, context and question.
    """
    of = extra_info or {}
    score = grade(of["qa_id"], of["context"], of["question"], ground_truth, solution_str)
    return {"score": score or 0.0, "judged": float(score is not None)}


def grade(qa_id: str, context: str, question: str, rubric: str, answer: str) -> float | None:
    """One answer's score; None after ``TRIES`` verdicts that can't be read.

    Of a reply that thinks first, what follows the thoughts is the answer; an empty answer is 0.
    """
    criteria = json.loads(rubric)
    said = answer.rpartition("</think>")[2]
    if not said.strip():
        return 0.0
    for _ in range(TRIES):
        reply = _ask(messages(context, question, criteria, said), qa_id)
        try:
            return score(criteria, fractions(reply, len(criteria)))
        except ValueError:
            continue
    return None


def messages(
    context: str, question: str, criteria: Sequence[dict[str, Any]], answer: str
) -> list[dict[str, str]]:
    """What the judge sees."""
    numbered = enumerate(criteria, 1)
    lines = [f"{n}. (weight {c['weight']:g}) {' '.join(c['criterion'].split())}"
             for n, c in numbered]  # fmt: skip
    parts = [("context", context), ("question", question), ("rubric", "\n".join(lines)),
             ("answer", answer)]  # fmt: skip
    return [
        {"role": "system", "content": _judge()["system"]},
        {"role": "user", "content": "\n\n".join(_block(tag, text) for tag, text in parts)},
    ]


def _block(tag: str, text: str) -> str:
    """An answer may hold anything: it can neither close its tag nor end its message."""
    seen = _TAGS.sub(r"<\\\1", _UNSEEN.sub("", text))
    safe = _TURNS.sub(lambda m: f"{m[1] or m[3]}\\{m[2] or m[4]}", seen)
    return f"<{tag}>\n{safe.strip()}\n</{tag}>"


def fractions(reply: str, criteria: int) -> list[float]:
    """The share of each criterion that is met.  Raises ``ValueError`` unless each is there once."""
    sheet = _first_object(reply)
    try:
        lines = {line["id"]: line["score"] for line in sheet["criteria"]}
        said = [lines[n] for n in range(1, criteria + 1)]
    except (KeyError, TypeError) as e:
        raise ValueError(f"the verdict lacks {e}") from None
    if len(sheet["criteria"]) != criteria or not all(_is_share(s) for s in said):
        raise ValueError("the verdict isn't one share in [0, 1] for each criterion")
    return [float(s) for s in said]


def _first_object(reply: str) -> Any:
    """The reply may have prose around its JSON, with a few stray braces."""
    start = reply.find("{")
    for _ in range(8):
        if start < 0:
            break
        with suppress(ValueError, RecursionError):
            return json.JSONDecoder().raw_decode(reply, start)[0]
        start = reply.find("{", start + 1)
    raise ValueError("no JSON object in the verdict")


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def score(criteria: Sequence[dict[str, Any]], met: Sequence[float]) -> float:
    """(earned - penalty) / positive total, cut to [0, 1]; negative weights are penalties."""
    total = sum(c["weight"] for c in criteria if c["weight"] > 0)
    earned = sum(c["weight"] * m for c, m in zip(criteria, met, strict=True))
    return float(min(1.0, max(0.0, earned / total)))


@cache
def _judge() -> dict[str, Any]:
    judge: dict[str, Any] = json.loads(Path(__file__).with_name("judge.json").read_text("utf-8"))
    return judge


def _ask(asked: list[dict[str, str]], qa_id: str) -> str:
    """The judge's reply.  Raises ``JudgeFailed`` when there is none after ``CALLS`` requests."""
    request, problem = _request(asked), ""
    for n in range(CALLS):
        if n:
            time.sleep(2 ** (n - 1))
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                return json.load(response)["choices"][0]["message"]["content"] or ""
        except urllib.error.HTTPError as e:
            problem = f"HTTP {e.code}"
            e.close()
            if e.code != 429 and e.code < 500:
                break  # asking again won't help
        except (OSError, ValueError, KeyError, IndexError, TypeError) as e:
            problem = f"{type(e).__name__}: {e}"
    raise JudgeFailed(f"{request.full_url}: no verdict on {qa_id} ({problem})")


def _request(asked: list[dict[str, str]]) -> urllib.request.Request:
    judge, base = _judge(), os.environ.get("JUDGE_BASE_URL", "")
    if not base:
        raise JudgeFailed("set JUDGE_BASE_URL to the judge's OpenAI-compatible endpoint")
    body = {
        "model": os.environ.get("JUDGE_MODEL") or judge["model"],
        "messages": asked,
        "temperature": judge["temperature"],
        "max_tokens": judge["max_tokens"],
    }
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("JUDGE_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    url = f"{base.rstrip('/')}/chat/completions"
    return urllib.request.Request(url, json.dumps(body).encode(), headers)
