"""What one rollout did, step by step, as the analyzer and the viewers read it.

The paper's text is left out (it is named by id and sha256), and so are messages that repeat the
agent's previous request, so that a trajectory grows with what was said and not with its square.
"""

import json
from collections.abc import Sequence
from typing import Any

from inner_agent.audit import Report
from inner_agent.evaluation import Phase
from inner_agent.items import Item
from inner_agent.llm import Message

FORMAT = 1
PAPER_MARK = "[paper]"


class Steps:
    """The growing list of steps; each method appends one."""

    def __init__(self, paper_text: str) -> None:
        """``paper_text`` is replaced by a mark wherever a message repeats it."""
        self._paper = paper_text.strip()
        self._previous: dict[str, list[Message]] = {}
        self.size = 0  # characters that the chats' steps take in the file, about
        self.list: list[dict[str, Any]] = []

    def chat(self, agent: str, messages: Sequence[Message], reply: dict[str, Any]) -> None:
        """A chat of the harness with one of its agents."""
        before = self._previous.get(agent, [])
        # Without the paper from here on: hundreds of rollouts may be in memory at once.
        shown = [self._without_paper(m) for m in messages]
        same = 0
        for old, new in zip(before, shown, strict=False):
            if old != new:
                break
            same += 1
        self._previous[agent] = shown
        self.size += len(json.dumps([*shown[same:], reply]))
        self.list.append(
            {"kind": "chat", "agent": agent, "continues": same, "messages": shown[same:],
             "reply": reply}
        )  # fmt: skip

    def evaluated(self, kind: str, phase_name: str, item: Item, phase: Phase) -> None:
        """An evaluation, asked for by the harness (``evaluate``) or by us (``fresh``)."""
        self.list.append(
            {"kind": kind, "phase": phase_name, "item": item.model_dump(), **phase.for_record()}
        )

    def audited(self, report: Report) -> None:
        """The fixed auditor examined the accepted item."""
        self.list.append({"kind": "audit", **report.for_record()})

    def submitted(self, accepted: bool) -> None:
        """A result.json came in."""
        self.list.append({"kind": "submit", "accepted": accepted})

    def refused(self, method: str, code: str, message: str) -> None:
        """A request was answered with an error."""
        self.list.append({"kind": "refused", "method": method, "code": code, "message": message})

    def _without_paper(self, message: Message) -> Message:
        content = message.get("content")
        if self._paper and isinstance(content, str) and self._paper in content:
            return {**message, "content": content.replace(self._paper, PAPER_MARK)}
        return message
