"""What measuring data sets will ask for, before it does: calls, tokens, USD by role.

Items and papers are there, so prompts are measured and not guessed.  How long replies are isn't
known: that is assumed three times over, as for a run (``metaopt.estimate``).  Replies that can't be
read are asked for again, and an audit ends with its first finding: neither is foreseen.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from inner_agent.audit import auditor_messages
from inner_agent.llm import Message
from inner_agent.papers import CHARS_PER_TOKEN, read_paper
from inner_agent.roles import Tier
from inner_agent.settings import Price, Role
from inner_agent.tasks.choice import task_of
from inner_agent.tasks.task import Task
from metaopt.comparer import Shown, comparer_messages
from metaopt.config import RunConfig
from metaopt.dataquality import Pair, Piece
from metaopt.estimate import HIGH, LOW, TYPICAL, Guess, Use, samples_of, use_table
from metaopt.text import amount, dollars, fold, several

TIERS: tuple[Tier, ...] = ("weak", "strong")


@dataclass(slots=True)
class Need:
    """What a role is asked for: calls, characters of their prompts, and how many answers of either
    solver these hold beside, whose length nobody knows."""

    calls: int = 0
    chars: int = 0
    weak: int = 0
    strong: int = 0

    def add(self, messages: Sequence[Message], times: int = 1, more: int = 0) -> None:
        """So many calls with these messages and ``more`` characters."""
        self.calls += times
        self.chars += times * (sum(len(str(m["content"])) for m in messages) + more)

    def holds(self, tier: Tier, answers: int) -> None:
        """Its prompts hold so many answers more."""
        setattr(self, tier, getattr(self, tier) + answers)


def foretold(config: RunConfig, pieces: Sequence[Piece], pairs: Sequence[Pair]) -> str:
    """One line on what there is to do and what it will use."""
    low, _, high = uses = expect(config, pieces, pairs)
    least, most = (sum(use.values(), Use()) for use in (low, high))
    tokens = _between(*(amount(use.sent + use.written) for use in (least, most)))
    cost = _between(dollars(least.usd), dollars(most.usd))
    if _unpriced(config, low) and not most.usd:
        cost = "cost unknown"
    used = f"about {amount(least.calls)} calls, {tokens} tokens, {cost}"
    return "; ".join([f"to do: {_what(config, pieces, pairs)}: {used}", *_notes(config, uses)])


def estimate(config: RunConfig, pieces: Sequence[Piece], pairs: Sequence[Pair]) -> str:
    """The same by role, with what it rests on."""
    uses = expect(config, pieces, pairs)
    rests = (
        "Prompts are measured, with papers and items as they are; low, typical and high go by the"
        " length of replies, as metaopt estimate does. Not foreseen: replies that can't be read and"
        " are asked for again, audits that end early, and what calls.db has already."
    )
    head = f"To do: {_what(config, pieces, pairs)}."
    notes = ("\n".join(fold(text)) for text in (rests, *_notes(config, uses)))
    return "\n\n".join([head, use_table(config, uses), *notes])


def expect(
    config: RunConfig, pieces: Sequence[Piece], pairs: Sequence[Pair]
) -> list[dict[Role, Use]]:
    """What each role uses if replies are short, typical, and long."""
    needs = _needs(config, pieces, pairs)
    return [
        {role: _use(config, role, need, guess) for role, need in needs.items() if need.calls}
        for guess in (LOW, TYPICAL, HIGH)
    ]


def _needs(config: RunConfig, pieces: Sequence[Piece], pairs: Sequence[Pair]) -> dict[Role, Need]:
    roles: tuple[Role, ...] = ("weak", "strong", "judge", "auditor", "comparer")
    task, needs, papers = task_of(config), {role: Need() for role in roles}, _papers(config, pieces)
    for piece in pieces:
        paper = papers[piece.paper.sha256]
        for tier in TIERS:
            _solve(needs[tier], config, task, tier, piece, paper)
        _grade(needs["judge"], config, task, piece)
        if config.audit.llm:
            needs["auditor"].add(auditor_messages(piece.item, "", task.auditor), more=paper)
    papers |= _papers(config, [piece for pair in pairs for piece in (pair.one, pair.other)])
    for pair in pairs:
        shown = [Shown("", piece.item) for piece in (pair.one, pair.other)]
        both = {piece.paper.sha256 for piece in (pair.one, pair.other)}
        more = sum(papers[paper] for paper in both)  # one paper stands before both items
        needs["comparer"].add(comparer_messages(*shown), times=2, more=more)
    return needs


def _papers(config: RunConfig, pieces: Sequence[Piece]) -> dict[str, int]:
    """Characters of the items' papers as models are shown them, by sha256."""
    most = config.papers.max_paper_tokens
    every = {piece.paper.sha256: piece.paper for piece in pieces}
    return {sha256: len(read_paper(paper, most).text) for sha256, paper in every.items()}


def _solve(need: Need, config: RunConfig, task: Task, tier: Tier, piece: Piece, paper: int) -> None:
    """Every attempt; of one in several samples also the call that merges them."""
    model = config.models[tier]
    messages, more = task.solver(piece.item, "" if model.paper else None), paper * model.paper
    need.add(messages, model.attempts * samples_of(config, tier), more)
    if model.samples > 1:
        need.holds(tier, model.attempts * model.samples)


def _grade(need: Need, config: RunConfig, task: Task, piece: Piece) -> None:
    """The judge's part in every attempt, in the review of all, and in the audit's probes."""
    sent = task.judged(piece.item, "")
    for tier in TIERS:
        attempts = config.models[tier].attempts
        for messages in sent:
            need.add(messages, attempts)
        need.holds(tier, attempts * (len(sent) + bool(task.review)))
    if task.review:
        need.add(sent[0] if sent else [])
    for probe in task.probes(piece.item) if config.audit.probes else ():
        for messages in task.judged(piece.item, probe.answer) if probe.answer.strip() else ():
            need.add(messages)


def _use(config: RunConfig, role: Role, need: Need, guess: Guess) -> Use:
    """``need`` if replies are as long as ``guess`` has them; a comparer's as an auditor's."""
    weak, strong = (_reply(config, tier, guess) for tier in TIERS)
    answers = need.weak * weak + need.strong * strong
    sent, written = need.chars / CHARS_PER_TOKEN + answers, need.calls * _reply(config, role, guess)
    price = config.price_of(role) or Price()
    return Use(need.calls, sent, written, price.usd(round(sent), round(written)))


def _reply(config: RunConfig, role: Role, guess: Guess) -> int:
    """Tokens of a reply."""
    model = config.models[role]
    if role == "judge" and model.judge_mode == "yes_no":
        return 1
    long: int = getattr(guess, "auditor" if role == "comparer" else role)
    return min(long, model.max_tokens)


def _what(config: RunConfig, pieces: Sequence[Piece], pairs: Sequence[Pair]) -> str:
    papers, attempts = len({p.paper.sha256 for p in pieces}), config.models["weak"].attempts
    parts = [f"{several(len(pieces), 'item')} of {several(papers, 'paper')}"
             f" ({several(attempts, 'attempt')} of each solver)"] if pieces else []  # fmt: skip
    parts += [f"{several(len(pairs), 'pair')} in both orders"] if pairs else []
    return " and ".join(parts)


def _between(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _notes(config: RunConfig, uses: Sequence[Mapping[Role, Use]]) -> list[str]:
    unpriced = _unpriced(config, uses[0])
    said = f"no price is set for {', '.join(unpriced)}, so what they cost isn't counted"
    return [*([said] if unpriced else []), *_short(config, uses)]


def _unpriced(config: RunConfig, use: Mapping[Role, Use]) -> list[Role]:
    """Those on real endpoints; one that is free has a price of 0."""
    real = (r for r in use if config.endpoints[config.models[r].endpoint].kind == "openai")
    return [role for role in real if config.price_of(role) is None]


def _short(config: RunConfig, uses: Sequence[Mapping[Role, Use]]) -> Iterator[str]:
    """Caps that will be passed: surely, as far as can be told, or perhaps."""
    low, _, high = (sum(use.values(), Use()) for use in uses)
    for name, least, most in (
        ("usd", low.usd, high.usd),
        ("calls", low.calls, high.calls),
        ("tokens", low.sent + low.written, high.sent + high.written),
    ):
        cap = getattr(config.budget, name)
        if cap is not None and most > cap:
            yield f"budget.{name} = {cap:g} {'will not' if least > cap else 'may not'} last"
