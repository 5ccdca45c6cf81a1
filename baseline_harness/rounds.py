"""What has happened on this paper: its rounds, result.json, the feedback for the challenger."""

import json
import os

from client import Client

HEADINGS = {
    "too_easy": "Questions that were TOO EASY (the weak solver scored too high):",
    "failed_on_strong": "Questions that FAILED ON STRONG (hard for the weak solver, but the strong"
    " solver struggled too or was hardly better):",
    "failed_quality_check": "Questions that FAILED QUALITY CHECK (the quality verifier said no):",
    "invalid": "Replies that were INVALID (they could not be evaluated at all):",
}


class Round:
    """One item and what became of it.  It is closed when it is accepted or has failed."""

    def __init__(self, number: int, item: dict) -> None:
        self.number = number
        self.item = item
        self.closed = False
        self.accepted = False
        self.verified = False
        self.feedback = ""
        self.weak_passed = False
        self.weak_avg: float | None = None
        self.strong_avg: float | None = None
        self.gap: float | None = None
        self.reports: list[str] = []
        self.output_dir = ""

    def as_json(self) -> dict:
        """Return the round as result.json holds it."""
        return {
            "refinement_round": self.number,
            "question": self.item["question"],
            "context": self.item["context"],
            "reference_answer": self.item["reference_answer"],
            "rubric": self.item["rubric"],
            "accepted": self.accepted,
            "quality_verifier_kimi_passed": self.verified,
            "quality_verifier_kimi_feedback": self.feedback,
            "weak_solver_avg": self.weak_avg,
            "strong_solver_avg": self.strong_avg,
            "gap": self.gap,
            "eval_report": "\n".join(self.reports),
            "eval_output_dir": self.output_dir,
        }


class Rounds:
    """All rounds on one paper."""

    def __init__(self, client: Client, title: str) -> None:
        self.client = client
        self.title = title
        self.rounds: list[Round] = []
        self.failures: dict[str, list[str]] = {category: [] for category in HEADINGS}
        self.accepted: Round | None = None
        self.published = ""

    def start(self, item: dict) -> Round:
        """Open a round for a new item."""
        self.rounds.append(Round(len(self.rounds) + 1, item))
        return self.rounds[-1]

    def fail(self, category: str, round: Round, detail: str) -> None:
        """Close a round as failed and remember why for the challenger."""
        round.closed = True
        kind, question = round.item["question_type"], one_line(round.item["question"])
        self.failures[category].append(f'[{kind}] "{question}" — {detail}')
        self.publish()

    def accept(self, round: Round) -> None:
        """Close a round as accepted."""
        round.closed = round.accepted = True
        self.accepted = round
        self.publish()

    def refinement(self) -> str:
        """Return the list of failures by category for the challenger; empty before the first."""
        parts = []
        for category, heading in HEADINGS.items():
            lines = [f"{n}. {line}" for n, line in enumerate(self.failures[category], 1)]
            if lines:
                parts.append("\n".join([heading, *lines]))
        if not parts:
            return ""
        opening = "REFINEMENT: what was written for this paper before did not meet the criteria."
        closing = (
            "Write an ENTIRELY NEW question from a DIFFERENT angle that requires deeper reasoning."
        )
        return "\n\n".join([opening, *parts, closing])

    def result(self) -> dict:
        """Return result.json as an object."""
        best = self.accepted or (self.rounds[-1] if self.rounds else None)
        return {
            "paper_title": self.title,
            "question_type": best.item["question_type"] if best else "",
            "reasoning_skills": best.item["reasoning_skills"] if best else [],
            "rounds": [round.as_json() for round in self.rounds],
            "final_accepted_round": self.accepted.number if self.accepted else None,
            "total_rounds": len(self.rounds),
        }

    def publish(self) -> None:
        """Write result.json and submit it, unless nothing has changed since the last time."""
        result = self.result()
        text = json.dumps(result)  # one line: indenting it is slow, and nobody reads it in the jail
        if text == self.published:
            return
        os.makedirs("output", exist_ok=True)
        with open("output/result.json", "w") as file:
            file.write(text + "\n")
        self.client.submit(result)
        self.published = text


def one_line(text: object) -> str:
    """Return any value as text without line breaks."""
    return " ".join(str(text).split())


def percent(value: float | None) -> str:
    """Return a fraction as a whole percentage; "?" where there is none."""
    return "?" if value is None else f"{100 * value:.0f}%"
