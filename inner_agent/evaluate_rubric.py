"""``python -m inner_agent.evaluate_rubric``: one item against the solvers, from a shell.

The command that the main agent of Autodata (Kulikov et al. 2026) runs, with its flags: weak-only
first, strong-only once the weak phase has passed.  The output folder has a folder for each item
(named by its hash) with the record of each phase, and ``calls.db``: evaluating the same item in
the same phase again repeats the record and gives no second throw of the dice.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inner_agent import strict_json
from inner_agent.calls import CallStore
from inner_agent.errors import BudgetExhausted, ProviderError, UserError
from inner_agent.evaluation import Evaluator, Phase
from inner_agent.gateway import Gateway
from inner_agent.generate import write_json
from inner_agent.items import Item, ItemRefused, parse_item
from inner_agent.roles import Verdict
from inner_agent.settings import InnerConfig, load_inner
from inner_agent.tasks.choice import task_of
from inner_agent.tasks.task import Attempt, Task

STATUS = """\
The first line printed is the status, the report follows.  Exit status:
  0  WEAK_PASSED, STRONG_PASSED
  1  WEAK_FAILED, STRONG_FAILED
  2  bad input: one line on stderr says what is wrong
  3  SOLVER_ERROR: a provider failed, or the time is up; no verdict on the item, run it again"""


@dataclass(frozen=True, slots=True)
class Record:
    """The file of one phase of one item; ``tries`` counts the draws that gave no verdict."""

    path: Path
    known: dict[str, Any]

    @property
    def tries(self) -> int:
        """Each try after a SOLVER_ERROR draws anew."""
        return int(self.known.get("tries", 0))

    @property
    def status(self) -> str:
        """The recorded status, or ``""``."""
        return str(self.known.get("status", ""))

    @property
    def decided(self) -> bool:
        """Is there a verdict?"""
        return self.status not in ("", "SOLVER_ERROR")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = _parser().parse_args(arguments)
    try:
        status, report = asyncio.run(_evaluate(given))
    except UserError as e:
        print(f"evaluate_rubric: {e}", file=sys.stderr)
        return 2
    except TimeoutError:
        status, report = "SOLVER_ERROR", f"SOLVER_ERROR: no verdict within {given.timeout:g} s"
    except (ProviderError, BudgetExhausted) as e:
        status, report = "SOLVER_ERROR", f"SOLVER_ERROR: {e}"
    print(report)
    if status == "SOLVER_ERROR":
        return 3
    return 0 if status.endswith("_PASSED") else 1


async def _evaluate(given: argparse.Namespace) -> tuple[str, str]:
    """Status and report.  Raises ``UserError``, ``ProviderError``, ``TimeoutError``."""
    config = load_inner(given.config)
    task = task_of(config)
    item = _read_item(given.input, task)
    paper = _read_paper(given.paper, config)
    folder = given.output_dir / item.sha256[:12]
    weak, strong = (_read_record(folder / f"{name}.json") for name in ("weak_only", "strong_only"))
    if given.strong_only and weak.status != "WEAK_PASSED":
        raise UserError(
            f"{weak.path}: {weak.status or 'no such record'}; strong-only comes after WEAK_PASSED"
            " on the same item: run --weak-only first"
        )
    record = strong if given.strong_only else weak
    if record.decided:
        return record.status, str(record.known["report"])
    if task.examine and (reason := await task.examine(item)):
        raise UserError(f"{given.input}: {reason}")
    folder.mkdir(parents=True, exist_ok=True)
    gateway = Gateway(config, CallStore(given.output_dir / "calls.db"))
    gateway.tell(lambda line: print(line, file=sys.stderr, flush=True))
    evaluator = Evaluator(gateway.ask, config, paper, proven={"weak", "strong", "judge"})
    sample = f"evaluate_rubric/{item.sha256[:16]}.{record.tries}"
    try:
        async with asyncio.timeout(given.timeout):
            phase = (
                await evaluator.strong(item, sample, _as_phase(weak))
                if given.strong_only
                else await evaluator.weak(item, sample)
            )
    finally:
        await gateway.close()
    _write_record(record, item, phase, config)
    return phase.status, phase.report


def _write_record(record: Record, item: Item, phase: Phase, config: InnerConfig) -> None:
    failed = phase.status == "SOLVER_ERROR"
    write_json(
        record.path,
        {
            "simulated": config.simulated,
            "item": item.model_dump(),
            "tries": record.tries + failed,
            "weak_avg": phase.weak_avg,
            "strong_avg": phase.strong_avg,
            "gap": phase.gap,
            **phase.for_record(),
        },
    )


def _as_phase(weak: Record) -> Phase:
    """The weak phase as far as the strong one asks for it."""
    attempts = tuple(
        Attempt(a["answer"], a["score"], tuple(Verdict(**v) for v in a["criteria"]))
        for a in weak.known["attempts"]
    )
    return Phase("weak", "WEAK_PASSED", attempts, "", weak_avg=float(weak.known["weak_avg"]))


def _read_record(path: Path) -> Record:
    if not path.exists():
        return Record(path, {})
    try:
        return Record(path, dict(json.loads(path.read_text(encoding="utf-8"))))
    except ValueError:
        raise UserError(f"{path}: not a record of this command; remove it") from None


def _read_item(path: Path, task: Task) -> Item:
    try:
        item = parse_item(strict_json.loads(path.read_bytes()))
        if reason := task.refusal(item):
            raise ItemRefused(reason)
        return item
    except OSError as e:
        raise UserError(f"{path}: can't be read ({e.strerror})") from None
    except (strict_json.JSONRefused, ItemRefused) as e:
        raise UserError(f"{path}: {e}") from None


def _read_paper(path: Path | None, config: InnerConfig) -> str:
    """The paper's text, if a solver is given it as privileged information."""
    privileged = [role for role in ("weak", "strong") if config.models[role].paper]
    if not privileged:
        return ""
    if path is None:
        raise UserError(f"models.{privileged[0]}.paper = true: name the paper with --paper FILE")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"{path}: can't be read as UTF-8 text ({e})") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluate_rubric",
        description="Let the weak or the strong solver answer an item and a judge score it.",
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    phase = parser.add_mutually_exclusive_group(required=True)
    phase.add_argument("--weak-only", action="store_true", help="the weak solver and its rule")
    phase.add_argument("--strong-only", action="store_true", help="after WEAK_PASSED: the strong")
    parser.add_argument("--input", type=Path, required=True, metavar="F", help="the item (JSON)")
    parser.add_argument("--output-dir", type=Path, required=True, metavar="D", help="for records")
    parser.add_argument("--config", type=Path, required=True, metavar="C", help="a TOML config")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="S", help="seconds (600)")
    parser.add_argument("--paper", type=Path, metavar="F", help="text, for solvers that get it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
