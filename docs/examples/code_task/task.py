"""A task about code: what does this program print?  The program itself decides who is right.

An item is one of task ``verifiable``, with a whole program in its context.  Nobody's word is taken
for what the program prints, neither the challenger's nor a model's: it is run, in the jail.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from inner_agent import prompts, roles
from inner_agent.errors import UserError
from inner_agent.items import Item
from inner_agent.programs import run_program
from inner_agent.settings import InnerConfig, Limits
from inner_agent.tasks import verifiable
from inner_agent.tasks.task import Task
from inner_agent.tasks.verifiable.answers import final_answer

HERE = Path(__file__).parent


def make(config: InnerConfig) -> Task:
    """The task under a config; ``task.options.cpu_s`` is what a program may take (2 s)."""
    if config.task.answer != "exact":
        raise UserError("task.answer: this task compares the lines as printed; leave it out")
    limits = _limits(config)
    return replace(
        verifiable.make(config),
        name="code",
        refusal=refusal,
        examine=lambda item: examine(item, limits),
        solver=partial(roles.solver_messages, folder=HERE),
        grade=partial(verifiable.check, same_line),
        auditor=prompts.load("auditor", HERE),
        sources={f"code/{p.stem}": prompts.load(p.stem, HERE).sha256 for p in HERE.glob("*.md")},
    )


def _limits(config: InnerConfig) -> Limits:
    if unknown := sorted(config.task.options.keys() - {"cpu_s"}):
        raise UserError(f"task.options.{unknown[0]}: this task has no such option; known: cpu_s")
    cpu_s = config.task.options.get("cpu_s", 2)
    if type(cpu_s) is not int or not 1 <= cpu_s <= 60:
        raise UserError(f"task.options.cpu_s = {cpu_s!r}: give whole seconds, 1 to 60")
    return Limits(cpu_s=cpu_s, idle_s=30.0 * cpu_s, memory_mb=256, file_mb=1)


def refusal(item: Item) -> str:
    """What can be seen without running anything."""
    program = program_of(item)
    if not program:
        return "context: must hold one program, between a line ```python and a line ```"
    if program not in prompts.block("context", item.context):
        return "context: the program holds a tag or a character that solvers aren't shown as it is"
    return verifiable.refusal(item)


def program_of(item: Item) -> str:
    """The program in the one block of an item's context, or ``""``."""
    before, _, rest = item.context.partition("```python\n")
    program, end, after = rest.partition("\n```")
    return f"{program}\n" if end and "```" not in before + after else ""


async def examine(item: Item, limits: Limits) -> str:
    """Run the item's program, twice, and compare what it prints with the reference answer."""
    program = program_of(item)
    ran = await run_program(program, limits)
    if ran.fault:
        return f"context: the program can't be used, for {ran.fault}"
    if await run_program(program, limits) != ran:
        return "context: the program prints something else each time that it is run"
    printed, said = ran.printed.strip(), final_answer(item.reference_answer)
    if not 0 < len(printed) <= verifiable.ANSWER_CHARS or "\n" in printed:
        most = verifiable.ANSWER_CHARS
        return f"context: the program must print one line, of at most {most} characters"
    if not same_line(said, final_answer(printed)):
        return f"reference_answer: says {said!r}, but the program prints {printed!r}"
    return ""


def same_line(given: str, wanted: str) -> bool:
    """Equal but for the number of spaces: Python prints a value in one way."""
    return bool(given) and given.split() == wanted.split()
