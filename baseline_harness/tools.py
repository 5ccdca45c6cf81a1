"""The main agent's tools.  Items go by id, so that no model ever has to copy a rubric."""

import json

from client import Client, Refused
from rounds import Round, Rounds, one_line, percent
from rubric import Junk, read_item, read_verdict

EVALUATION_TRIES = 3
PHASES = {"weak-only": "weak_only", "strong-only": "strong_only"}
FIRST_REQUEST = "Write the first item for this paper."
ITEM = {"type": "string", "description": 'the id of an item, such as "item-1"'}


def tool(name: str, description: str, **properties: dict) -> dict:
    """Return a tool's description in the chat format; every argument named here is required."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


TOOLS = [
    tool(
        "challenger",
        "Write a new item; the failures of earlier rounds are passed on by themselves.",
        instructions={"type": "string", "description": "advice for this round, may be empty"},
    ),
    tool("quality_verifier", "Check an item against the paper.", item=ITEM),
    tool(
        "evaluate",
        "Let the weak or the strong solver answer the item and have a judge score it.",
        item=ITEM,
        phase={"type": "string", "enum": list(PHASES)},
    ),
    tool("finish", "Give up on this paper.", reason={"type": "string"}),
]


class Toolbox:
    """Runs tool calls; ``done`` turns true when there is nothing left to do for this paper."""

    def __init__(self, client: Client, rounds: Rounds, paper: str, prompts: dict) -> None:
        self.client = client
        self.rounds = rounds
        self.paper = paper
        self.prompts = prompts
        self.done = False

    def call(self, name: str, arguments: str) -> dict:
        """Run one tool call and return its result; whatever is wrong with it is {"error": …}.

        Only a refusal with code "limit" gets out: then nothing more can be done.
        """
        try:
            return self.run(name, read_arguments(arguments))
        except Junk as error:
            return {"error": str(error)}
        except Refused as refusal:
            if refusal.code == "limit":
                raise
            return {"error": str(refusal)}

    def run(self, name: str, arguments: dict) -> dict:
        """Run one tool; raises ``Junk`` and ``Refused``."""
        if name == "challenger":
            return self.challenger(str(arguments.get("instructions", "")))
        if name == "quality_verifier":
            return self.quality_verifier(self.open_round(arguments))
        if name == "evaluate":
            return self.evaluate(self.open_round(arguments), str(arguments.get("phase")))
        if name == "finish":
            self.done = True
            return {"finished": True}
        raise Junk(f"there is no tool {name!r}")

    def open_round(self, arguments: dict) -> Round:
        """Return the round whose item the arguments name, if there is still something to do."""
        item = arguments.get("item")
        for round in self.rounds.rounds:
            if item == item_id(round):
                if round.closed:
                    raise Junk(f"{item} is done with; call the challenger for a new item")
                return round
        raise Junk(f"there is no item {item!r}")

    def ask(self, agent: str, varying: str) -> str:
        """Ask an agent about the paper.  Paper first: providers reuse an equal beginning."""
        text = f"<paper>\n{self.paper}\n</paper>\n\n{self.prompts[agent]}\n\n{varying}"
        return self.client.chat(agent, [{"role": "user", "content": text}])["content"]

    def challenger(self, instructions: str) -> dict:
        """Open a new round with a new item."""
        varying = self.rounds.refinement() or FIRST_REQUEST
        if instructions.strip():
            varying += f"\n\nINSTRUCTIONS FROM THE MAIN AGENT\n{instructions.strip()}"
        try:
            item = read_item(self.ask("challenger", varying))
        except Junk as error:
            self.rounds.failures["invalid"].append(f'[unknown] "" — reason: {error}')
            raise
        round = self.rounds.start(item)
        return {
            "item": item_id(round),
            "round": round.number,
            "question_type": item["question_type"],
            "question": item["question"],
        }

    def quality_verifier(self, round: Round) -> dict:
        """Have the item checked; a round that is not passed is closed."""
        item = json.dumps(round.item, indent=2)
        reply = self.ask("quality_verifier", f"<item>\n{item}\n</item>")
        round.verified, round.feedback = read_verdict(reply)
        if not round.verified:
            detail = f"reason: {one_line(round.feedback)}"
            self.rounds.fail("failed_quality_check", round, detail)
        return {"item": item_id(round), "passed": round.verified, "feedback": round.feedback}

    def evaluate(self, round: Round, phase: str) -> dict:
        """Have the item evaluated, weak first; a round that fails is closed."""
        if phase not in PHASES:
            raise Junk(f"phase must be one of {', '.join(PHASES)}")
        if not round.verified:
            raise Junk(f"{item_id(round)} has not passed the quality verifier yet")
        try:
            outcome = self.evaluate_patiently(round.item, PHASES[phase])
        except Refused as refusal:
            if refusal.code == "invalid_item":
                self.rounds.fail("invalid", round, f"reason: {refusal.message}")
            raise
        self.record(round, outcome)
        shown = {key: outcome[key] for key in ("status", "report", "weak_avg", "strong_avg", "gap")}
        return {"item": item_id(round), **shown}

    def evaluate_patiently(self, item: dict, phase: str) -> dict:
        """Evaluate; SOLVER_ERROR says nothing about the item, so it is tried again."""
        for _ in range(EVALUATION_TRIES):
            outcome = self.client.evaluate(item, phase)
            if outcome["status"] != "SOLVER_ERROR":
                break
        return outcome

    def record(self, round: Round, outcome: dict) -> None:
        """Note an evaluation's outcome in its round."""
        status = outcome["status"]
        if status == "SOLVER_ERROR":
            return
        round.reports.append(outcome["report"])
        round.output_dir = outcome["output_dir"]
        round.weak_avg = outcome["weak_avg"]
        round.strong_avg = outcome["strong_avg"]
        round.gap = outcome["gap"]
        weak = f"weak avg: {percent(round.weak_avg)}"
        if status == "WEAK_PASSED":
            round.weak_passed = True
        elif status == "WEAK_FAILED":
            self.rounds.fail("too_easy", round, weak)
        elif status == "STRONG_PASSED" and round.weak_passed:
            self.rounds.accept(round)
            self.done = True
        else:
            strong = f"strong avg: {percent(round.strong_avg)}, gap: {percent(round.gap)}"
            self.rounds.fail("failed_on_strong", round, f"{weak}, {strong}")


def item_id(round: Round) -> str:
    """Return the name by which the main agent knows a round's item."""
    return f"item-{round.number}"


def read_arguments(text: str) -> dict:
    """Return a tool call's arguments as an object."""
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise Junk(f"the arguments are not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise Junk("the arguments must be one JSON object")
    return arguments
