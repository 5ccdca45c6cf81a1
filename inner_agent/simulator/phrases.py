"""Stock phrases: what any fluent writer says about any paper, and how questions are put."""

import re
from collections.abc import Sequence


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def way(terms: Sequence[str]) -> str:
    """The claim that the first of ``terms`` reaches the last one by way of the others."""
    first, *between, last = (f"`{term}`" for term in terms)
    through = f", through {listed(between)}," if between else ""
    return f"{first}{through} settles {last}"


GENERIC_QUESTIONS = (
    ("trade-off", "Which trade-offs does the approach make, and when would they not pay off?"),
    ("contribution", "What are the main contributions of this work, and why do they matter?"),
    ("evaluation", "How convincing is the evaluation, and what would strengthen it?"),
    ("limitation", "What are the limitations of the method, and how might they be overcome?"),
    ("design", "Why is the design sensible, and which alternatives could have been chosen?"),
)

GENERIC_CRITERIA = (
    "The answer weighs advantages against drawbacks.",
    "The answer names limitations and open challenges.",
    "The answer discusses scalability and computational cost.",
    "The answer considers how well the findings generalize to unseen settings.",
    "The answer relates the design to alternatives.",
    "The answer comments on the evaluation and its baselines.",
    "The answer is clearly structured and ends with a conclusion.",
    "The answer mentions practical deployment.",
    "The answer addresses robustness to noise.",
    "The answer states the assumptions that it makes.",
    "The answer suggests future directions.",
    "The answer explains the motivation behind the design.",
)

REMARKS = (
    "The motivation behind the design is sound: it removes a burden that practitioners face.",
    "Its advantages have to be weighed against drawbacks, chiefly added complexity.",
    "There are limitations and open challenges that deserve attention.",
    "Scalability and computational cost decide whether it can be afforded.",
    "It is unclear how far the findings generalize to unseen settings.",
    "Several alternatives to the design exist, each with its own balance.",
    "The evaluation looks careful, although stronger baselines are conceivable.",
    "In conclusion, the clearly structured argument supports the claim.",
    "For practical deployment, monitoring and maintenance are a concern.",
    "Robustness to noise is a further concern.",
    "This rests on the assumptions that inputs stay alike and resources suffice.",
    "Future directions include richer data and tighter integration.",
    "A careful ablation would separate the effects of the parts.",
    "Efficiency and quality pull in opposite directions, as is typical of a trade-off.",
)

CHAIN_QUESTIONS = (
    ("mechanism", "How does {start} come to bear on {end} here? Trace each stage in between."),
    ("counterfactual", "Suppose {start} were taken away. Through which stages would {end} change?"),
    ("derivation", "Derive from the facts above what {start} means for {end}, stage by stage."),
    ("interaction", "By which sequence of effects is {start} tied to {end}, and why that one?"),
)

LAST_QUESTIONS = (
    ("mechanism", "Along the facts from {start} to {end}, which term comes last before {end}?"),
    (
        "derivation",
        "Follow {start} as far as {end}. Which last term links the two facts at the end?",
    ),
    ("interaction", "{start} comes to bear on {end}. By which last term in between?"),
)
COUNT_QUESTIONS = (
    ("derivation", "Through how many of the facts does {start} come to bear on {end}?"),
    ("mechanism", "How many facts does it take to get from {start} to {end}, both ends included?"),
)
YES_NO_QUESTIONS = (
    ("mechanism", "Does {start} come to bear on {end} here? Answer yes or no."),
    ("counterfactual", "Would a change of {start} reach {end}? Answer yes or no."),
)
OPEN_QUESTIONS = (
    ("mechanism", "Which term lies between {start} and {end}?"),
    ("interaction", "By way of what does {start} come to bear on {end}?"),
)
FIGURE_QUESTION = "Which figure does the paper report for {term}?"
GENERIC_CHECKS = (
    ("evaluation", "Does the approach improve on what came before it? Answer yes or no.", "yes"),
    ("design", "Are there alternatives to the design? Answer yes or no.", "yes"),
    ("limitation", "Is the method free of limitations? Answer yes or no.", "no"),
)

_KINDS = {
    "yes_no": r"\byes or no\b", "count": r"\bhow many\b", "figure": r"\bwhich figure\b",
    "last": r"\blast\b",
}  # fmt: skip


def asks(question: str) -> str:
    """What form of answer a question fixes; ``open`` where it fixes none."""
    found = (kind for kind, words in _KINDS.items() if re.search(words, question, re.IGNORECASE))
    return next(found, "open")


LEAKS = (
    "In short, {way}.",
    "The upshot is known: {way}.",
    "As the authors conclude, {way}.",
)

FAULTS = (
    "The answer digresses or goes beyond what was asked.",
    "The answer repeats the context at length.",
    "The answer is vague or hedges where a commitment is called for.",
    "The answer is long and lists points that are irrelevant.",
)

FEEDBACK = {
    "leak": "The context gives away the answer: it states the conclusion outright.",
    "generic": "The question is generic: it could be asked of any paper.",
    "shape": "The weights are badly shaped: a penalty or one criterion decides the score.",
    "number": "The rubric hinges on a bare number that the context does not hold.",
    "guessable": "A guess would hit the answer: it is one of two.",
    "open": "The question is open: several answers could be defended.",
    "alarm": "The question is not clearly worded.",
    "fine": "The item is sound: context, rubric and question fit together.",
    "checked": "The item is sound: context, question and final answer fit together.",
}
