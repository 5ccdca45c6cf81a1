"""What the benchmarks share: CPU accounting, tables, harness trees, papers of a given length."""

import ctypes
import os
import platform
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from inner_agent.papers import Paper, PaperText
from inner_agent.settings import INNER_ROLES, Endpoint, InnerConfig, Limits, Model
from inner_agent.synthetic import generate_papers

ROOT = Path(__file__).resolve().parents[1]
PR_SET_CHILD_SUBREAPER = 36
# The median of a hundred computer-science papers as text files; an abstract is too kind a test.
PAPER_CHARS = 29_000


def adopt_orphans() -> None:
    """Become the reaper of all descendants (Linux), so that none of their CPU goes uncounted.

    The jail's first process may end after the one that started it.  It would then be reaped by
    init, and ``RUSAGE_CHILDREN`` would miss everything that ran inside the jail.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children_cpu() -> float:
    """CPU seconds of all descendants that have ended.  Waits for those that are still there."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            return used.ru_utime + used.ru_stime


def peak_rss_mb() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def own_cpu() -> float:
    """CPU seconds of this process, all threads."""
    return time.process_time()


def process_cpu(pid: int) -> float:
    """CPU seconds of a process that still runs."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine() -> str:
    """One line on where the figures were measured."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores, python = os.cpu_count(), platform.python_version()
    load = os.getloadavg()[0]  # above 1, other work shares the cores and their caches
    return f"{model}, {cores} cores, Python {python}, {time.strftime('%Y-%m-%d')}, load {load:.1f}"


def table(title: str, rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns, all but the first to the right; the first row is the heading."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    print(f"\n{title}")
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
        ]
        print("  " + "  ".join(cells).rstrip())


def against(value: float, limit: float, *, at_least: bool = False) -> str:
    """``met`` or ``MISSED``, for the last column of a table."""
    sign = ">=" if at_least else "<="
    met = value >= limit if at_least else value <= limit
    return f"{sign} {limit:g} {'met' if met else 'MISSED'}"


def harnesses(folder: Path) -> dict[str, Path]:
    """The baseline harness and its scripted variant as plain folders."""
    baseline, scripted = folder / "baseline", folder / "scripted"
    for target in (baseline, scripted):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "baseline_harness", target, ignore=ignored)
    patch = ROOT / "populations" / "classics" / "scripted.diff"
    subprocess.run(["git", "apply", str(patch)], cwd=scripted, check=True)
    return {"baseline": baseline, "scripted": scripted}


def papers(count: int, chars: int = PAPER_CHARS) -> list[PaperText]:
    """Distinct papers, each of about ``chars`` characters."""
    made = generate_papers(count)
    texts = [(p.text * (chars // len(p.text) + 1))[:chars].rstrip() + "\n" for p in made]
    return [
        PaperText(Paper(p.id, p.title, Path(), p.id, p.topic), text, 0)
        for p, text in zip(made, texts, strict=True)
    ]


def config(endpoint: Endpoint, limits: Limits, *, short_circuit: bool = True) -> InnerConfig:
    """All inner roles on one endpoint, each under its own model name."""
    return InnerConfig.model_validate(
        {
            "papers": {"path": ""},
            "endpoints": {"bench": endpoint},
            "models": {r: Model(endpoint="bench", model=r) for r in INNER_ROLES},
            "limits": limits,
            "short_circuit": short_circuit,
        }
    )
