"""Which reward function goes with rows for reinforcement learning, and what it has beside it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.export import answer_reward, rubric_reward
from analysis.export.dataset import DataSet
from inner_agent import prompts
from inner_agent.errors import UserError
from inner_agent.tasks.verifiable import ANSWER_CHARS, answers


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward function: ``name`` is its own in TRL and its file's; ``says`` is for the card;
    ``files`` are texts by their path in the data set's folder."""

    name: str
    says: str
    files: Mapping[str, str]


def reward_of(data: Sequence[DataSet], kind: tuple[str, bool]) -> Reward:
    """That of data sets whose items are of this kind: their task, and whether they have a rubric.

    Raises ``UserError`` where no function could score as the task does.
    """
    task, has_rubric = kind
    if has_rubric:
        return _by_rubric(data[0])
    one, *others = data
    if not one.compared:
        raise UserError(
            f"{one.folder}: task {task!r} grades answers by a module of its own, which isn't"
            " exported; take --format parquet and write the reward function"
        )
    if one.compared == "verifier":
        raise UserError(
            f"{one.folder}: final answers were compared by a model (task.answer = 'verifier'), and"
            " a reward function compares by rule; take --format parquet and write your own"
        )
    settings = _comparison(one)
    if unlike := next((o for o in others if _comparison(o) != settings), None):
        raise UserError(
            f"{one.folder} and {unlike.folder} compare final answers in different ways; export"
            " them apart"
        )
    return _by_answer(settings)


def compared_by(data: DataSet) -> str:
    """How final answers are compared, for the card; ``""`` where they aren't."""
    task = data.config.task
    return {
        "": "",
        "exact": "as text: case, articles, spaces and punctuation aside",
        "numeric": f"as numbers, within {task.tolerance:g} of the right one (relative); text, where"
        " there is no number, as text",
        "symbolic": "as expressions, at fixed values of their symbols; text as text",
        "verifier": "by the judge, who sees both",
    }[data.compared]


def _comparison(data: DataSet) -> dict[str, Any]:
    task = data.config.task
    return {"answer": task.answer, "tolerance": task.tolerance, "most_chars": ANSWER_CHARS}


def _by_answer(settings: Mapping[str, Any]) -> Reward:
    needs = ", and needs mpmath" if settings["answer"] == "symbolic" else ""
    return Reward(
        "answer_reward",
        "The reward is 1 for a right final answer and 0 for any other: `answer_reward.py` compares"
        f" it by rule with the one in the row, as `comparison.json` says{needs}. The prompt asks"
        " for the line that it looks for.",
        {
            "answer_reward.py": Path(answer_reward.__file__).read_text(encoding="utf-8"),
            "comparison.json": _json(settings),
            **{f"answers/{p.name}": p.read_text("utf-8") for p in _modules()},
        },
    )


def _modules() -> list[Path]:
    """Of the package that compares final answers."""
    return sorted(Path(answers.__file__).parent.glob("*.py"))


def _by_rubric(data: DataSet) -> Reward:
    """Rubrics are scored by the judge, as the first data set had it."""
    model = data.config.models["judge"]
    judge: dict[str, Any] = {
        "model": model.model,
        "temperature": model.temperature,
        "max_tokens": model.max_tokens,
        "system": prompts.load("judge").render(),
    }
    return Reward(
        "rubric_reward",
        "The reward is a judge's: `rubric_reward.py` asks an OpenAI-compatible endpoint"
        " (`JUDGE_BASE_URL`, `JUDGE_MODEL`, `JUDGE_API_KEY`) to score each answer by the"
        " rubric, with the prompt and the settings in `judge.json`.",
        {
            "rubric_reward.py": Path(rubric_reward.__file__).read_text(encoding="utf-8"),
            "judge.json": _json(judge),
        },
    )


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
