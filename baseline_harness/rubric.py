"""From a challenger's reply to an item, and from a verifier's reply to a verdict."""

import json

FIELDS = {
    "question_type": str,
    "reasoning_skills": list,
    "context": str,
    "question": str,
    "reference_answer": str,
    "rubric": list,
}


class Junk(Exception):
    """Something a model wrote can't be used; the text says what is wrong with it."""


def find_object(reply: str) -> dict:
    """Return the JSON object in a reply, fenced or not; whatever stands around it is ignored."""
    before, fence, fenced = reply.partition("```json")
    text = fenced if fence else before
    start = text.find("{")
    if start < 0:
        raise Junk("the reply holds no JSON object")
    try:
        value, _ = json.JSONDecoder().raw_decode(text, start)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise Junk(f"the reply's JSON is broken: {error}") from error
    return value


def read_item(reply: str) -> dict:
    """Return the item that a challenger's reply holds."""
    value = find_object(reply)
    for field, kind in FIELDS.items():
        if not isinstance(value.get(field), kind):
            raise Junk(f"the item's {field} is missing or not a {kind.__name__}")
    return {field: value[field] for field in FIELDS}


def read_verdict(reply: str) -> tuple[bool, str]:
    """Return (passed, feedback) from a quality verifier's reply."""
    value = find_object(reply)
    if not isinstance(value.get("passed"), bool):
        raise Junk('the verdict lacks "passed": true or false')
    return value["passed"], str(value.get("feedback", ""))
