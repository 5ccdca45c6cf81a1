"""The analyzer: an agent that reads full trajectories and names the root cause of failures.

Step 3 of an iteration (Autodata, Kulikov et al. 2026).  Its predictions are kept, so that they
can be scored against what an edit really fixed and broke.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from inner_agent import prompts
from metaopt.agent import AgentSettings, Ask, Done, NoArguments, Tool, page, run_agent
from metaopt.history import HistoryEntry, render_history
from metaopt.trace import Trace, digest, paper_line, render
from metaopt.tree import Refused, search

PROMPTS = Path(__file__).parent / "prompts"

Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(min_length=1, max_length=6_000)]


class FailureMode(BaseModel):
    """One way in which papers fail; ``share`` is the fraction of failed rounds or papers in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: Name
    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    evidence: Annotated[tuple[Text, ...], Field(min_length=1, max_length=20)]
    papers: Annotated[tuple[str, ...], Field(min_length=1)]


class Diagnosis(BaseModel):
    """What the analyzer reports; the two last fields are ids of papers of the minibatch."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    failure_modes: Annotated[tuple[FailureMode, ...], Field(min_length=1, max_length=10)]
    root_cause: Text
    proposed_change: Text
    predicted_fixes: tuple[str, ...]
    papers_at_risk: tuple[str, ...]


class _Read(BaseModel):
    paper: str
    offset: Annotated[int, Field(description="character to start at")] = 0


class _Search(BaseModel):
    pattern: Annotated[str, Field(description="regular expression, matched line by line")]


@dataclass(frozen=True, slots=True)
class _Desk:
    """The minibatch as the tools see it."""

    traces: Sequence[Trace]
    texts: dict[str, str]

    async def list(self, _: NoArguments) -> str:
        lines = (f"{paper_line(t)}; {len(self.texts[t.paper])} characters" for t in self.traces)
        return "\n".join(lines)

    async def read(self, args: _Read) -> str:
        if args.paper not in self.texts:
            known = ", ".join(self.texts)
            raise Refused(f"paper: no {args.paper[:80]!r} in this minibatch ({known})")
        return page(self.texts[args.paper], args.offset)

    async def search(self, args: _Search) -> str:
        return await asyncio.to_thread(search, self.texts, args.pattern)

    async def report(self, diagnosis: Diagnosis) -> Done[Diagnosis]:
        return Done(diagnosis)


async def analyze(
    ask: Ask,
    traces: Sequence[Trace],
    history: Sequence[HistoryEntry],
    sample: str,
    settings: AgentSettings,
) -> Diagnosis:
    """Diagnose why the parent's papers of this minibatch failed.

    Raises ``AgentFailed`` when no valid report came within the bounds of ``settings``.
    """
    desk = _Desk(traces, {trace.paper: render(trace) for trace in traces})
    messages = [
        {"role": "system", "content": prompts.load("analyzer", PROMPTS).render()},
        {"role": "user", "content": _task(traces, history, settings.history)},
    ]
    outcome = await run_agent(ask, "analyzer", sample, messages, _tools(desk), settings)
    return outcome.value


def _task(traces: Sequence[Trace], history: Sequence[HistoryEntry], limit: int) -> str:
    return (
        f"# This minibatch\n\n{digest(traces)}\n\n"
        f"# Earlier iterations\n\n{render_history(history, limit)}"
    )


def _report_model(papers: Iterable[str]) -> type[Diagnosis]:
    """``Diagnosis`` whose ids can only be this minibatch's: the schema itself names them."""
    ids: Any = tuple[Literal[tuple(papers)], ...]  # type: ignore[misc]
    named: dict[str, Any] = {"papers": (Annotated[ids, Field(min_length=1)], ...)}
    mode: Any = create_model("FailureMode", __base__=FailureMode, **named)
    modes = Annotated[tuple[mode, ...], Field(min_length=1, max_length=10)]
    fields: dict[str, Any] = {
        "failure_modes": (modes, ...),
        "predicted_fixes": (ids, ...),
        "papers_at_risk": (ids, ...),
    }
    return create_model("Diagnosis", __base__=Diagnosis, **fields)


def _tools(desk: _Desk) -> list[Tool[Diagnosis]]:
    report = _report_model(desk.texts)
    return [
        Tool("list_trajectories", "List papers, outcomes, lengths.", NoArguments, desk.list),
        Tool("read_trajectory", "Read one paper's trajectory, page by page.", _Read, desk.read),
        Tool("search", "Find lines in all trajectories.", _Search, desk.search),
        Tool("report", "Hand in the analysis; this ends the work.", report, desk.report, ends=True),
    ]
