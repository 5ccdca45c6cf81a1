"""Diagnoses and edits as long and as varied as those of real agents, made up from a seed."""

import random
import re
from collections.abc import Sequence

from metaopt.analyzer import Diagnosis, FailureMode
from metaopt.tree import Tree

MODES = (
    "too easy: the weak solver reads the answer off the context",
    "generic questions that any paper would answer",
    "context leaks the reference answer",
    "rubric rewards fluent remarks",
    "criteria that depend on each other",
    "gives up with rounds to spare",
    "strong solver fails as well: the reference isn't supported by the paper",
    "feedback isn't taken up by the challenger",
    "malformed rubric weights",
    "quality verifier lets double questions through",
    "question can be answered by arithmetic on the context",
    "the same question with other words, round after round",
)
_WHY = (
    "In {n} of the {m} failed rounds the context states the mechanism and its consequence side by"
    " side, so that three sentences of it are the reference answer in other words.",
    "The challenger is told to raise the difficulty but not by what means, and what it changes from"
    " round to round is the length of the question rather than the number of steps to its answer.",
    "The weak solver's attempts earn {n} points on average from criteria which only ask that a term"
    " be named; without these criteria its average would have been below the threshold.",
    "On {paper} the verifier passed an item whose rubric has two criteria for one fact, and the"
    " judge gave both or none, which doubles the spread of the strong solver's scores.",
    "Rounds that fail on the strong solver are followed by easier questions on the same paragraph;"
    " none of them turns to another part of the paper, although {n} sections were never used.",
    "The main agent ends after {n} rounds with a note that the paper doesn't support a harder"
    " question, while the budget of items was not used up.",
    "What the feedback says of single criteria is lost, because only its first line is handed on.",
    "Negative weights punish the strong solver for caution: on {paper} it lost {n} points for a"
    " sentence that restates an assumption of the paper.",
)
_DO = (
    "Ask for the chain of reasoning first and write the context from it, leaving out every link"
    " but the first.",
    "Hand the judge's reasons, criterion by criterion, to the challenger, and have it say in one"
    " sentence which criterion the weak solver shouldn't have met.",
    "Refuse in the verifier what can be answered from general knowledge: it is to answer the"
    " question without the context and to compare.",
    "Limit the rubric to seven criteria with positive integer weights, each checkable by itself.",
    "Go on to another section of the paper after two rounds of the same outcome.",
    "Don't end before the items are used up, unless an item was accepted.",
)
_LINES = (
    "\nBefore you write the context, list the steps of the answer; leave out all but the first.\n",
    "\nName the paragraph that the question rests on, and don't use it twice.\n",
    "\nEach criterion has to be checkable without any of the others.\n",
    "\nA question that a textbook answers is to be refused, however well it is put.\n",
    "\nWeights are positive whole numbers; the largest is for the last step of the reasoning.\n",
    "\nWhen the strong solver failed, keep the question and mend the context.\n",
    "\nSay which of the weak solver's sentences earned points that they shouldn't have.\n",
)


def diagnosis(rng: random.Random, papers: Sequence[str]) -> Diagnosis:
    """A diagnosis of a minibatch: two to five failure modes, some 2,000 characters in all."""
    names = rng.sample(MODES, rng.randint(2, 5))
    shares = sorted((rng.random() for _ in names), reverse=True)
    modes = tuple(
        FailureMode(
            name=name,
            share=round(share / sum(shares), 3),
            evidence=tuple(
                f"{rng.choice(papers)}, round {rng.randint(1, 5)}: {_sentence(rng, _WHY, papers)}"
                for _ in range(rng.randint(1, 4))
            ),
            papers=tuple(rng.sample(papers, min(len(papers), rng.randint(1, 5)))),
        )
        for name, share in zip(names, shares, strict=True)
    )
    mixed = rng.sample(papers, len(papers))
    cut = rng.randint(1, 1 + len(papers) // 3)
    return Diagnosis(
        failure_modes=modes,
        root_cause=" ".join(_sentence(rng, _WHY, papers) for _ in range(rng.randint(3, 6))),
        proposed_change=" ".join(rng.sample(_DO, rng.randint(1, 3))),
        predicted_fixes=tuple(mixed[:cut]),
        papers_at_risk=tuple(mixed[cut : cut + rng.randint(0, 2)]),
    )


def _sentence(rng: random.Random, pool: Sequence[str], papers: Sequence[str]) -> str:
    m = rng.randint(8, 40)
    return rng.choice(pool).format(n=rng.randint(2, m), m=m, paper=rng.choice(papers))


def edited(rng: random.Random, tree: Tree, i: int) -> tuple[dict[str, bytes], str]:
    """The tree with an edit of one to four files, and what it says it did."""
    new = dict(tree)
    told = []
    prompts = sorted(path for path in tree if path.startswith("prompts/"))
    for path in rng.sample(prompts, rng.randint(1, min(3, len(prompts)))):
        paragraphs = new[path].decode().split("\n\n")
        if len(paragraphs) > 12:
            del paragraphs[rng.randrange(4, len(paragraphs))]
        paragraphs.insert(rng.randint(1, len(paragraphs)), rng.choice(_LINES).strip())
        new[path] = "\n\n".join(paragraphs).encode()
        told.append(path.removeprefix("prompts/").removesuffix(".md"))
    if rng.random() < 0.4:
        code = new["rounds.py"].decode()
        head = f"PATIENCE = {i}  # rounds of one outcome before another section is tried\n"
        code = re.sub(r"^PATIENCE = .*\n", "", code, flags=re.MULTILINE)
        new["rounds.py"] = code.replace("\n\n\nclass", f"\n\n{head}\n\nclass", 1).encode()
        told.append("the loop over rounds")
    if rng.random() < 0.2:
        new["sections.py"] = _sections(rng).encode()
        told.append("a new module for sections")
    return new, f"Changed {', '.join(told)}: {rng.choice(_DO)}"


def _sections(rng: random.Random) -> str:
    return (
        '"""Which sections of the paper were used already."""\n\n'
        f"LIMIT = {rng.randint(2, 9)}\n\n\n"
        "def unused(sections: list[str], used: dict[str, int]) -> list[str]:\n"
        '    """Sections that still may be asked about, the least used first."""\n'
        "    left = [s for s in sections if used.get(s, 0) < LIMIT]\n"
        f"    return sorted(left, key=lambda s: used.get(s, 0))[:{rng.randint(3, 12)}]\n"
    )
