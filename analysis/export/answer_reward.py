"""A reward for reinforcement learning: 1 where the final answer is right, 0 where it isn't.

This file, the folder ``answers`` and ``comparison.json`` beside it are all that is needed; where
answers are compared as expressions, mpmath too.  No model is asked.

TRL's GRPO: ``reward_funcs=answer_reward``.  verl: ``custom_reward_function.path`` is this file,
``.name`` is ``compute_score``.  Final answers are found and compared by the code that did it when
the data set was made.
"""

import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any


class MpmathMissing(ImportError):
    """Answers are compared as expressions, and what works them out isn't installed."""


def answer_reward(
    completions: Sequence[Any],
    final_answer: Sequence[str],
    log_metric: Callable[[str, float], None] | None = None,
    **_: Any,
) -> list[float]:
    """TRL: 1 or 0 for each completion; the metric ``answered`` is the share that has an answer.

    The columns are the data set's, aligned with the completions.
    """
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    if log_metric is not None:
        answered = sum(bool(given(text)) for text in texts)
        log_metric("answered", answered / max(1, len(texts)))
    return [grade(wanted, text) for wanted, text in zip(final_answer, texts, strict=True)]


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    **_: Any,
) -> dict[str, float]:
    """verl: ``score`` is 1 or 0; ``answered`` is 0 where there is no final answer.

    ``ground_truth`` is the right one.
    """
    answered = float(bool(given(solution_str)))
    return {"score": grade(ground_truth, solution_str), "answered": answered}


def grade(wanted: str, text: str) -> float:
    """1 where the final answer of ``text`` agrees with ``wanted``, else 0."""
    answer = given(text)
    short = len(answer) <= int(_comparison()["most_chars"])
    return float(short and _agree()(answer, wanted))


def given(text: str) -> str:
    """The final answer of a text, or ``""``; of a reply that thinks first, of what follows."""
    return str(_answers().final_answer(text.rpartition("</think>")[2]))


@cache
def _agree() -> Callable[[str, str], bool]:
    how = _comparison()["answer"]
    if how == "symbolic" and importlib.util.find_spec("mpmath") is None:
        raise MpmathMissing("final answers are compared as expressions here: pip install mpmath")
    agree: Callable[[str, str], bool] = _answers().agreements(_comparison()["tolerance"])[how]
    return agree


@cache
def _comparison() -> dict[str, Any]:
    text = Path(__file__).with_name("comparison.json").read_text("utf-8")
    comparison: dict[str, Any] = json.loads(text)
    return comparison


@cache
def _answers() -> ModuleType:
    """By its place: trainers load this file without its folder being on the path."""
    path = Path(__file__).with_name("answers") / "__init__.py"
    name = f"answers of {path.parent}".replace(".", "_")  # of two data sets, each has its own
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
