"""What the trusted side tells the challenger beyond its harness's own words.

Where a paper is to give several items, or a data set is made in batches, the broker adds a block
to each of the challenger's chats: which questions about this paper are taken, and what was learned
from earlier batches.  So any harness is asked for distinct items, and none can leave it out.  It
stands at the very end: what comes before, the paper above all, is the same for all items of a
paper.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inner_agent import prompts
from inner_agent.llm import Message
from inner_agent.prompts import block

HEADING = "BEYOND THIS PAPER'S ROUNDS"
PROMPTS = prompts.HERE / "generate"
QUESTION_CHARS = 500  # of a question that is taken


@dataclass(frozen=True, slots=True)
class Told:
    """``taken``: items that this paper has given already, as ``items.jsonl`` has them;
    ``learnings`` as ``inner_agent.learnings`` renders them, and the number of the batch that they
    were written after (0: none)."""

    taken: Sequence[Mapping[str, Any]] = ()
    learnings: str = ""
    batch: int = 0

    def text(self) -> str:
        """The block; empty where there is nothing to tell."""
        parts = []
        if self.taken:
            listed = "\n".join(f"{n}. {_question(item)}" for n, item in enumerate(self.taken, 1))
            questions = block("earlier", listed)
            parts.append(prompts.load("earlier", PROMPTS).render(questions=questions))
        if self.learnings:
            learnings = block("learnings", self.learnings)
            parts.append(prompts.load("learned", PROMPTS).render(learnings=learnings))
        return "\n\n".join([HEADING, *parts]) if parts else ""


def _question(item: Mapping[str, Any]) -> str:
    kind, question = one_line(item["question_type"], 60), one_line(item["question"], QUESTION_CHARS)
    return f"[{kind or 'unknown'}] {question}"


def with_told(messages: Sequence[Message], text: str) -> Sequence[Message]:
    """``messages`` with ``text`` at the end of the last one of the user, or in one of its own."""
    if not text:
        return messages
    last = next((k for k in reversed(range(len(messages))) if messages[k]["role"] == "user"), None)
    if last is None:
        return [*messages, {"role": "user", "content": text}]
    said = str(messages[last].get("content") or "").rstrip()
    added = {**messages[last], "content": f"{said}\n\n{text}".lstrip()}
    return [*messages[:last], added, *messages[last + 1 :]]


def one_line(text: Any, limit: int) -> str:
    """Any text on one line of at most ``limit`` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
