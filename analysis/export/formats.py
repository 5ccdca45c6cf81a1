"""The formats: which columns each has, and an item as a row of them.

Every column is there in every row and has one type, so that files can be read together.  The
records are those of TRL (prompt-completion, preference, GRPO's prompt with columns for the reward
function) and verl (``data_source``, ``reward_model``, ``extra_info``).
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from analysis.export.columns import Columns
from analysis.export.dataset import Attempt, Attempts, Entry, attempts_of
from analysis.tasks import final_of
from inner_agent.errors import UserError
from inner_agent.tasks.verifiable.answers import final_answer

Row = dict[str, Any]
COMPLETIONS = ("reference", "strong")
DATA_SOURCE = "metaopt"  # with the task's name; verl routes by it
ABILITY = "research_question"
# As the solvers are told (tasks/verifiable/solver.md): without it nothing could be compared.
ENDING = (
    "End with one line of its own, and nothing after it:\n"
    "Answer: <the final answer alone, as short as it can be>"
)

_MESSAGES = [{"role": "string", "content": "string"}]
_RUBRIC = [{"criterion": "string", "weight": "float64"}]
_ATTEMPTS = [
    {
        "solver": "string",
        "answer": "string",
        "score": "float64",
        "criteria": [{"reason": "string", "score": "float64"}],
    }
]
_ORIGIN: Columns = {
    "qa_id": "string",
    "task": "string",
    "paper_id": "string",
    "licence": "string",
    "simulated": "bool",
}
_SCORES: Columns = {"weak_avg": "float64", "strong_avg": "float64", "gap": "float64"}
_ITEM: Columns = {
    **_ORIGIN,
    "paper_title": "string",
    "paper_sha256": "string",
    "number": "int64",
    "question_type": "string",
    "reasoning_skills": ["string"],
    "context": "string",
    "question": "string",
    "reference_answer": "string",
    "final_answer": "string",
    "rubric": "string",
    **_SCORES,
    "rounds": "int64",
    "other_verdict": "string",
    "suitability": "string",
    "review": "string",
    "attempts_kind": "string",
    "attempts": "string",
    "harness_commit": "string",
    "harness_tree": "string",
    "made": "string",
}
_TYPED: Columns = {**_ITEM, "rubric": _RUBRIC, "attempts": _ATTEMPTS}
_SFT: Columns = {
    "prompt": _MESSAGES,
    "completion": _MESSAGES,
    "completion_from": "string",
    "completion_score": "float64",
    **_ORIGIN,
    **_SCORES,
}
_DPO: Columns = {
    "prompt": _MESSAGES,
    "chosen": _MESSAGES,
    "rejected": _MESSAGES,
    "score_chosen": "float64",
    "score_rejected": "float64",
    **_ORIGIN,
    **_SCORES,
}
_TRL: Columns = {
    "prompt": _MESSAGES,
    "qa_id": "string",
    "task": "string",
    "context": "string",
    "question": "string",
    "reference_answer": "string",
    "final_answer": "string",
    "rubric": "string",
    "source_id": "string",
    **_SCORES,
    "licence": "string",
    "simulated": "bool",
}
_VERL: Columns = {
    "data_source": "string",
    "prompt": _MESSAGES,
    "ability": "string",
    "reward_model": {"style": "string", "ground_truth": "string"},
    "extra_info": {
        "split": "string",
        "index": "int64",
        "qa_id": "string",
        "task": "string",
        "source_id": "string",
        "context": "string",
        "question": "string",
        "reference_answer": "string",
        **_SCORES,
    },
    "licence": "string",
    "simulated": "bool",
}


class LeftOut(Exception):
    """An item has no row in this format; the message is why, as a heading for such items."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row will be: its part (``train``, ``test``), and its number there."""

    split: str
    index: int


@dataclass(frozen=True, slots=True)
class Format:
    """``row`` raises ``LeftOut``.  ``rewards``: a reward function goes with the data."""

    columns: Columns
    row: Callable[[Entry, Place], Row]
    suffix: Literal["jsonl", "parquet"] = "parquet"
    rewards: bool = False


def format_of(name: str, completion: str) -> Format:
    """The format of that name; ``completion`` is what ``sft`` trains on.

    Raises ``UserError`` for an unknown one.
    """
    if completion not in COMPLETIONS:
        raise UserError(f"--completion {completion}: give one of {', '.join(COMPLETIONS)}")
    formats = {
        "jsonl": Format(_ITEM, _flat, suffix="jsonl"),
        "parquet": Format(_ITEM, _flat),
        "hf": Format(_TYPED, _typed),
        "sft": Format(_SFT, _reference if completion == "reference" else _best_strong),
        "dpo": Format(_DPO, _pair),
        "trl": Format(_TRL, _grpo, rewards=True),
        "verl": Format(_VERL, _verl, rewards=True),
    }
    if name not in formats:
        raise UserError(f"--format {name}: give one of {', '.join(formats)}")
    return formats[name]


def qa_id(entry: Entry) -> str:
    """Identifies an item by its paper and what it says: the same in every format and export."""
    text = f"{entry.line.paper.id}:{entry.item.sha256}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def prompt_text(entry: Entry) -> str:
    """What a trained model is asked: the context, a blank line, the question; where final answers
    are compared, then how to end."""
    parts = (entry.item.context, entry.item.question, ENDING if entry.data.compared else "")
    return "\n\n".join(part for part in parts if part.strip())


def rubric_text(entry: Entry) -> str:
    """The rubric as JSON: a list of objects with ``criterion`` and ``weight``."""
    return _json([c.model_dump() for c in entry.item.rubric])


def _flat(entry: Entry, place: Place) -> Row:
    row = _typed(entry, place)
    return row | {"rubric": rubric_text(entry), "attempts": _json(row["attempts"])}


def _typed(entry: Entry, _: Place) -> Row:
    line, item, found = entry.line, entry.item, attempts_of(entry)
    return {
        **_origin(entry),
        "paper_title": line.paper.title,
        "paper_sha256": line.paper.sha256,
        "number": line.number,
        **item.model_dump(),
        "final_answer": final_of(item),
        **_scores(entry),
        "rounds": line.rounds,
        "other_verdict": line.other_verdict,
        "suitability": line.review.get("suitability", ""),
        "review": _json(line.review),
        "attempts_kind": found.kind,
        "attempts": _records(found),
        "harness_commit": line.harness.commit,
        "harness_tree": line.harness.tree,
        "made": entry.data.made.get((line.paper.id, line.number), ""),
    }


def _records(found: Attempts) -> list[Row]:
    return [
        {"solver": solver, **attempt.model_dump()}
        for solver, attempts in (("weak", found.weak), ("strong", found.strong))
        for attempt in attempts
    ]


def _reference(entry: Entry, _: Place) -> Row:
    answer = entry.item.reference_answer
    if entry.data.compared and not final_answer(f"{answer}\n..."):
        answer = f"Answer: {answer.strip()}"  # one line, which was the answer itself
    return _sft(entry, answer, "reference", None)


def _best_strong(entry: Entry, _: Place) -> Row:
    best = _best(attempts_of(entry))
    if entry.data.compared and best.score < 1:
        raise LeftOut("no answer of the strong solver is right")
    return _sft(entry, best.answer, "strong", best.score)


def _sft(entry: Entry, answer: str, source: str, score: float | None) -> Row:
    return {
        "prompt": _asked(entry),
        "completion": [_message("assistant", answer)],
        "completion_from": source,
        "completion_score": score,
        **_origin(entry),
        **_scores(entry),
    }


def _pair(entry: Entry, _: Place) -> Row:
    found = attempts_of(entry)
    chosen = _best(found)
    rejected = min(found.weak, key=lambda a: a.score)
    if chosen.score <= rejected.score or chosen.answer == rejected.answer:
        raise LeftOut("no strong answer scored above the weakest")
    return {
        "prompt": _asked(entry),
        "chosen": [_message("assistant", chosen.answer)],
        "rejected": [_message("assistant", rejected.answer)],
        "score_chosen": chosen.score,
        "score_rejected": rejected.score,
        **_origin(entry),
        **_scores(entry),
    }


def _best(found: Attempts) -> Attempt:
    if not (found.strong and found.weak):
        raise LeftOut("the solvers' answers aren't there any more")
    return max(found.strong, key=lambda a: a.score)


def _grpo(entry: Entry, _: Place) -> Row:
    return {
        "prompt": _asked(entry),
        **_task(entry),
        "final_answer": final_of(entry.item),
        "rubric": rubric_text(entry),
        "licence": entry.line.paper.licence,
        "simulated": entry.line.simulated,
    }


def _verl(entry: Entry, place: Place) -> Row:
    return {
        "data_source": f"{DATA_SOURCE}/{entry.line.task}",
        "prompt": _asked(entry),
        "ability": ABILITY,
        "reward_model": {"style": "rule", "ground_truth": _truth(entry)},
        "extra_info": {**asdict(place), **_task(entry)},
        "licence": entry.line.paper.licence,
        "simulated": entry.line.simulated,
    }


def _truth(entry: Entry) -> str:
    """What a reward function scores by: the rubric, or the final answer."""
    return rubric_text(entry) if entry.item.rubric else final_of(entry.item)


def _task(entry: Entry) -> Row:
    """What a reward function needs besides."""
    return {
        "qa_id": qa_id(entry),
        "task": entry.line.task,
        "source_id": entry.line.paper.id,
        "context": entry.item.context,
        "question": entry.item.question,
        "reference_answer": entry.item.reference_answer,
        **_scores(entry),
    }


def _origin(entry: Entry) -> Row:
    paper = entry.line.paper
    return {
        "qa_id": qa_id(entry), "task": entry.line.task, "paper_id": paper.id,
        "licence": paper.licence, "simulated": entry.line.simulated,
    }  # fmt: skip


def _scores(entry: Entry) -> Row:
    line = entry.line
    return {"weak_avg": line.weak_avg, "strong_avg": line.strong_avg, "gap": line.gap}


def _asked(entry: Entry) -> list[Row]:
    return [_message("user", prompt_text(entry))]


def _message(role: str, content: str) -> Row:
    return {"role": role, "content": content}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
