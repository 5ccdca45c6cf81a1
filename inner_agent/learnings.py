"""Between two batches: an analysis agent reads how one went and writes what the next should know.

The "iterative batched analysis" of Autodata (Kulikov et al. 2026): learnings from one batch are
derived in order to make the next.  What the agent is sent is a function of the batch's recorded
rollouts, never of timing; what it wrote is in the data set's folder before it is used, so that a
data set that was broken off goes on with the same words.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from inner_agent import prompts
from inner_agent.calls import Usage
from inner_agent.checks import Key
from inner_agent.durable import read_json, write_files
from inner_agent.errors import ReplyRefused, RequestRejected, UserError
from inner_agent.llm import Message
from inner_agent.prompts import block
from inner_agent.roles import TRIES, Ask, read_sheet, readable
from inner_agent.settings import InnerConfig, Role
from inner_agent.told import PROMPTS, one_line

FORMAT = 1
ROLE: Role = "analyzer"
MOST_CHARS = 48_000  # of a digest: some 12,000 tokens
FIELD_CHARS = (800, 400, 200, 100)  # of a field of a round: the first that makes the digest fit
SAID = 3  # a judge's review has several fields: of each such a part of that

Entry = Annotated[str, Field(min_length=1, max_length=600)]
Entries = Annotated[list[Entry], Field(max_length=8)]


class Learnings(BaseModel):
    """What the agent writes; the prompt asks for somewhat less than what is let through."""

    model_config = ConfigDict(frozen=True, strict=True)
    too_easy: Entries
    repeats: Entries
    missing: Entries

    def text(self) -> str:
        """For the challenger: three headings; one under which there is nothing is left out."""
        parts = []
        for name in type(self).model_fields:
            if lines := [f"- {' '.join(entry.split())}" for entry in getattr(self, name)]:
                parts.append("\n".join([name.replace("_", " ").upper(), *lines]))
        return "\n\n".join(parts)


NOTHING = Learnings(too_easy=[], repeats=[], missing=[])


class Place(BaseModel):
    """A slot by name."""

    model_config = ConfigDict(frozen=True, strict=True)
    paper: str
    number: int


class Note(BaseModel):
    """What was learned from one batch, as it is kept; ``why`` says why nothing new was where the
    former learnings are carried over."""

    model_config = ConfigDict(frozen=True, strict=True)
    format: int
    simulated: bool
    batch: int
    items: list[Place]
    learnings: Learnings
    carried_over: bool
    why: str
    model: str
    prompt: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    usd: float


@dataclass(frozen=True, slots=True)
class Ended:
    """How one slot ended; ``repeats``: it passed, and its question is another item's as well."""

    key: Key
    title: str
    result: Mapping[str, Any]
    rounds: Sequence[Mapping[str, Any]]
    repeats: bool


def path_of(folder: Path, batch: int) -> Path:
    """Where a data set's folder has what was learned from a batch (1, 2, …)."""
    return folder / "learnings" / f"batch-{batch:04d}.json"


def recorded(folder: Path, batch: int, items: Sequence[Key]) -> Note | None:
    """What was learned from a batch, if that is recorded.

    Raises ``UserError`` for a file that can't be read, and where the batch was of other ``items``.
    """
    path = path_of(folder, batch)
    note = _read(path)
    if note and [(place.paper, place.number) for place in note.items] != list(items):
        raise UserError(
            f"{path}: this batch was of other papers; give the same papers in the same order (new"
            " ones at the end), or another --out"
        )
    return note


def lost(folder: Path, batches: Sequence[int]) -> list[str]:
    """Of these batches, which later items were told of: a line for each whose learnings aren't on
    record any more."""
    found = []
    for path in (path_of(folder, batch) for batch in batches):
        try:
            if _read(path) is None:
                found.append(f"{path}: missing; items were made with it")
        except UserError as e:
            found.append(f"{e}; items were made with it")
    return found


def _read(path: Path) -> Note | None:
    if not path.exists():
        return None
    note = read_json(path, Note)
    if note.format != FORMAT:
        raise UserError(f"{path}: format {note.format}, this version of metaopt has {FORMAT}")
    return note


async def learn(
    ask: Ask, config: InnerConfig, batch: int, ended: Sequence[Ended], former: Learnings,
    sample: str,
) -> Note:  # fmt: skip
    """What a batch teaches; the ``former`` learnings where no reply in ``TRIES`` can be used.

    Raises ``ProviderError`` or ``BudgetExhausted``.
    """
    usage, messages, why = Usage(), messages_of(ended, former), ""
    found: Learnings | None = None
    for n in range(TRIES):
        try:
            reply = await ask(
                ROLE, messages, sample=f"{sample}/t{n}", usage=usage,
                usable=readable(lambda reply: read_sheet(reply, Learnings)),
            )  # fmt: skip
            found = read_sheet(reply, Learnings)
            break
        except (ValueError, ReplyRefused, RequestRejected) as e:
            why = one_line(e, 300)
    return Note(
        format=FORMAT, simulated=config.simulated, batch=batch,
        items=[Place(paper=paper, number=number) for paper, number in (e.key for e in ended)],
        learnings=found or former, carried_over=found is None, why="" if found else why,
        model=config.models[ROLE].model, prompt=prompts.load("learnings", PROMPTS).sha256,
        calls=usage.calls, prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens, usd=round(usage.usd, 9),
    )  # fmt: skip


def write(folder: Path, note: Note) -> None:
    """Put a note on disk."""
    text = json.dumps(note.model_dump(), indent=1, ensure_ascii=False) + "\n"
    write_files({path_of(folder, note.batch): text})


def messages_of(ended: Sequence[Ended], former: Learnings) -> list[Message]:
    """What the agent is sent."""
    parts = [block("learnings", former.text())] if former.text() else []
    parts.append(block("digest", digest(ended)))
    return [
        {"role": "system", "content": prompts.load("learnings", PROMPTS).render()},
        {"role": "user", "content": "\n\n".join(parts)},
    ]


# The digest: all that models wrote is quoted, so that none of it can pass for a heading.


def digest(ended: Sequence[Ended]) -> str:
    """A batch as text of ``MOST_CHARS`` at most; long fields keep their beginning and end."""
    head = _overview(ended)
    for limit in FIELD_CHARS:
        parts = ["\n".join(_slot(one, limit)) for one in ended]
        if len(head) + sum(len(part) + 2 for part in parts) <= MOST_CHARS:
            return "\n\n".join([head, *parts])
    shown, room = [], MOST_CHARS - len(head) - 80
    for part in parts:
        room -= len(part) + 2
        if room < 0:
            break
        shown.append(part)
    left_out = f"({len(parts) - len(shown)} more rollouts are counted above and left out here.)"
    return "\n\n".join([head, *shown, left_out])


def _overview(ended: Sequence[Ended]) -> str:
    passed = [one for one in ended if one.result["passed"]]
    rounds = [round_ for one in ended for round_ in one.rounds]
    reviews = [round_["review"] for round_ in rounds if round_.get("review")]
    suited = _counts(one_line(review.get("suitability"), 20) for review in reviews)
    kinds = (one_line(one.rounds[-1].get("question_type", ""), 60) for one in passed if one.rounds)
    return "\n".join(
        [
            f"{len(passed)} of {len(ended)} rollouts passed; of these"
            f" {sum(one.repeats for one in ended)} repeat a question of another item.",
            f"How rollouts ended: {_counts(one.result['reason'] for one in ended)}.",
            f"How {len(rounds)} rounds ended: {_counts(r['outcome'] for r in rounds)}.",
            f"Found by the audit: {_counts(f for one in ended for f in one.result['findings'])}.",
            f"Question types of those that passed: {_counts(kinds)}.",
            *([f"Suitability by the judge who read all attempts: {suited}."] if reviews else []),
        ]
    )


def _counts(names: Collection[str] | Iterator[str]) -> str:
    ranked = sorted(Counter(map(str, names)).items(), key=lambda x: (-x[1], x[0]))
    return ", ".join(f"{name or 'none given'} {n}" for name, n in ranked[:20]) or "none"


def _slot(one: Ended, limit: int) -> Iterator[str]:
    paper, number = one.key
    repeats = ", but its question is also another item's" if one.repeats else ""
    found = ", ".join(one.result["findings"])
    yield f"# {one_line(paper, 80)}, item {number}: {one.result['reason']}{repeats}" + (
        f" (audit: {found})" if found else ""
    )
    yield f"title:\n{_quote(one_line(one.title, 160))}"
    for round_ in one.rounds:
        means = [f"{who} {fmean(round_[who]):.0%}" for who in ("weak", "strong") if round_.get(who)]
        scores = f" ({', '.join(means)})" if means else ""
        yield f"\n## Round {round_['round']} {round_['outcome']}{scores}"
        yield f"question_type:\n{_quote(one_line(round_.get('question_type', ''), 60))}"
        for name in ("question", "context", "rubric", "feedback"):
            text = _rubric(round_[name]) if name == "rubric" else str(round_.get(name) or "")
            if text or round_.get(name) == []:
                yield f"{name}:\n{_quote(_ends(text, limit))}"
        if review := round_.get("review"):
            yield f"review:\n{_quote(_review(review, limit // SAID))}"


def _rubric(rubric: Any) -> str:
    criteria = [c for c in rubric if isinstance(c, dict)] if isinstance(rubric, list) else []
    return "\n".join(
        f"(weight {one_line(c.get('weight'), 20)}) {one_line(c.get('criterion', ''), 400)}"
        for c in criteria
    )


def _review(review: Mapping[str, Any], limit: int) -> str:
    """What a judge said of all attempts, worded as in the report that the harness gets."""
    return "\n".join(
        f"  {one_line(name.replace('_', ' '), 40)}: {_ends(' '.join(str(said).split()), limit)}"
        for name, said in review.items()
    )


def _ends(text: str, limit: int) -> str:
    """Beginning and end of what is too long, a mark between."""
    return text if len(text) <= limit else f"{text[: limit // 2]} […] {text[-limit // 2 :]}"


def _quote(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines()) or "> (empty)"
