"""What to say of a data set without an item: how its papers ended, and what would give some.

Which papers were wanted isn't recorded, so a folder that was stopped and one that came to its end
look alike; what is said is true of both.
"""

from collections import Counter
from contextlib import closing
from pathlib import Path

from inner_agent import generate
from inner_agent.durable import as_written
from inner_agent.run_paper import PaperResult
from metaopt.text import several


def nothing_in(folder: Path) -> str:
    """Why the data set in ``folder`` has no item, and what to do, on one line.

    Raises ``UserError`` for a file of results that can't be read.
    """
    papers, ends = _ends(folder)
    if not papers:
        return f"{folder}: no paper is done yet; go on with metaopt generate"
    if passed := ends["passed"]:
        return (
            f"{folder}: no item in items.jsonl, though {several(passed, 'rollout')} passed: their"
            " questions repeat each other's, or the file was cut; the same metaopt generate writes"
            " it anew"
        )
    return (
        f"{folder}: no item, for {none_passed(folder)}; go on with more papers, or begin another"
        " --out with another --harness or rule of acceptance"
    )


def none_passed(folder: Path) -> str:
    """That none of a data set's papers passed, and how they ended; ``""`` where one did, or none
    is done."""
    papers, ends = _ends(folder)
    if not papers or ends["passed"]:
        return ""
    rollouts = f" in {ends.total():,} rollouts" if ends.total() > papers else ""
    how = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in ends.most_common() if n)
    return f"none of {several(papers, 'paper')} passed{rollouts} ({how})"


def _ends(folder: Path) -> tuple[int, Counter[str]]:
    """How many papers are done, and how their rollouts ended."""
    papers: set[str] = set()
    ends: Counter[str] = Counter()
    with closing(generate.read_results(folder)) as db:
        for paper, data in db.execute("SELECT paper, data FROM slots ORDER BY paper, number"):
            papers.add(paper)
            with as_written(folder / "results.db", "a result"):
                ends[PaperResult.model_validate_json(data).reason] += 1
    return len(papers), ends
