"""A small harness: write an item, check it, have it evaluated, hand in every round."""

import json
import os

SOCKET = int(os.environ["METAOPT_FD"])
REPLIES, REQUESTS = os.fdopen(SOCKET, "rb"), os.fdopen(SOCKET, "wb", closefd=False)
KEYS = ("question", "context", "reference_answer", "rubric")
WRITE = """Write a hard question about this paper. Reply with one JSON object: {"question_type": "",
"reasoning_skills": [""], "context": "", "question": "", "reference_answer": "",
"rubric": [{"criterion": "", "weight": 1}]}"""
CHECK = 'Is this item sound? Reply with {"passed": true or false, "feedback": ""}.\n'
with open("paper.txt", encoding="utf-8") as file:
    PAPER = file.read()


def call(method, **params):
    """Send one request; a refusal comes back as a result that has only a status."""
    REQUESTS.write(json.dumps({"id": 1, "method": method, "params": params}).encode() + b"\n")
    REQUESTS.flush()
    reply = json.loads(REPLIES.readline())
    return reply["result"] if "result" in reply else {"status": reply["error"]["code"]}


def ask(agent, prompt):
    """Return the JSON object in an agent's reply; an empty one where there is none."""
    message = {"role": "user", "content": f"<paper>\n{PAPER}\n</paper>\n\n{prompt}"}
    text = call("chat", agent=agent, messages=[message]).get("content", "")
    try:
        return json.loads(text[text.find("{") : text.rfind("}") + 1])
    except ValueError:
        return {}


rounds = []
for _ in range(5):
    item = ask("challenger", WRITE)
    if not all(key in item for key in KEYS):
        continue
    verdict = ask("quality_verifier", CHECK + json.dumps(item))
    passed, last = verdict.get("passed") is True, {}
    if passed:
        last = call("evaluate", item=item, phase="weak_only")
    if last.get("status") == "WEAK_PASSED":
        last = call("evaluate", item=item, phase="strong_only")
    accepted = last.get("status") == "STRONG_PASSED"
    played = {
        "refinement_round": len(rounds) + 1,
        **{key: item[key] for key in KEYS},
        "accepted": accepted,
        "quality_verifier_kimi_passed": passed,
        "quality_verifier_kimi_feedback": str(verdict.get("feedback", "")),
        "weak_solver_avg": last.get("weak_avg"),
        "strong_solver_avg": last.get("strong_avg"),
        "gap": last.get("gap"),
        "eval_report": last.get("report", ""),
        "eval_output_dir": last.get("output_dir", ""),
    }
    rounds.append(played)
    result = {
        "paper_title": PAPER.partition("\n")[0].lstrip("# "),
        "question_type": item.get("question_type", ""),
        "reasoning_skills": item.get("reasoning_skills", []),
        "rounds": rounds,
        "final_accepted_round": len(rounds) if accepted else None,
        "total_rounds": len(rounds),
    }
    call("submit", result=result)
    if accepted:
        break
