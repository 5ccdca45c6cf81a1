"""Lines of ``items.jsonl``, whatever their task: what one has to be, told from the line alone.

A data set may outlive the module that its task was, and may come from elsewhere: nothing of it is
imported here.  An item of a user's own task is taken by what it holds: a rubric, or none.
"""

from collections.abc import Mapping

from inner_agent.items import Item
from inner_agent.tasks import rubric, verifiable
from inner_agent.tasks.verifiable.answers import final_answer

DEFAULT = "rubric"  # the task of lines that name none, as older ones
BY_RUBRIC = ("rubric", "learnable")


def refusal(task: str, item: Item, review: Mapping[str, str]) -> str:
    """Why a line isn't one of ``task``, naming the field, or ``""``; ``review`` is the judge's, of
    all attempts together."""
    if task == "verifiable":
        return verifiable.refusal(item)
    if task == "learnable" and not review.get("suitability"):
        return "review: needs a suitability"
    return rubric.refusal(item) if item.rubric or task in BY_RUBRIC else ""


def mixed(first: tuple[str, bool], this: tuple[str, bool]) -> str:
    """Why items of these tasks, with a rubric or without, aren't of one kind, or ``""``; what a
    built-in task says of rubrics is its ``refusal``."""
    if this[0] != first[0]:
        return f"task {this[0]!r} among items of task {first[0]!r}"
    if this[1] != first[1] and this[0] not in (*BY_RUBRIC, "verifiable"):
        what = ("without a rubric", "with a rubric")
        return f"an item {what[this[1]]} among items {what[first[1]]}"
    return ""


def final_of(item: Item) -> str:
    """The final answer of an item without a rubric; ``""`` where there is none."""
    return "" if item.rubric else final_answer(item.reference_answer)
