"""What a whole run will use, before it is started: calls, tokens, USD.  Asks no model.

Sizes that can be known are taken from the config and its papers.  What only a run can tell is
assumed three times over, low, typical and high; the report says how each number was chosen.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from pathlib import Path
from statistics import fmean

from inner_agent.papers import CHARS_PER_TOKEN, Paper, read_paper
from inner_agent.settings import INNER_ROLES, Price, Role
from metaopt.config import RunConfig
from metaopt.lab import loop_papers
from metaopt.policy import policy_of, refuse_whole_screen
from metaopt.text import amount, dollars, grid, render, several

OUTER_ROLES: tuple[Role, ...] = ("analyzer", "implementer")
ROLES: tuple[Role, ...] = (*INNER_ROLES, *OUTER_ROLES)
PREFIXED = (
    "main_agent",
    "challenger",
    "quality_verifier",
    "auditor",
    *OUTER_ROLES,
)  # see Guess.cached
# Sizes in tokens, of the shipped prompts and of items and reports as the baseline makes them.
MAIN_AGENT, CHALLENGER, VERIFIER, SOLVER, JUDGE, YES_NO = 1_200, 700, 350, 200, 350, 90
AUDITOR, PROBES = 450, 3  # tokens of its prompt; answers that show no work
HONEYPOTS = 2  # papers
# Of a policy that stops mutants early and shares training trajectories: benchmarks/policies.py's
# latent model, 20 to 200 iterations; 58 to 64 % were stopped, 24 to 32 % trained anew.
STOPPED, ANEW = 0.6, 0.25
TOOL_RESULTS = 300  # of one round, reports aside
REPORT = 600  # of one attempt: the answer's beginning and a line for each criterion
FAILURE = 60  # one earlier round as the challenger reads of it
ITEM, ASKED, RUBRIC, CRITERIA = 800, 350, 250, 8
ANALYZER, ANALYZER_STEP, IMPLEMENTER, IMPLEMENTER_STEP = 3_000, 2_200, 4_000, 1_200


@dataclass(frozen=True, slots=True)
class Guess:
    """What a run does that nobody knows beforehand; ``WHY`` says where each number is from."""

    rounds: float
    evaluated: float
    weak_attempts: float
    to_strong: float
    strong_attempts: float
    accepted: float
    validated: float
    steps: float
    main_agent: int
    challenger: int
    quality_verifier: int
    weak: int
    strong: int
    judge: int
    auditor: int
    analyzer: int
    implementer: int
    cached: float


LOW = Guess(3, 0.85, 1.4, 0.15, 2, 0.15, 0.75, 8, 80, 700, 120, 250, 300, 350, 200, 250, 300, 0.6)
TYPICAL = Guess(
    5, 0.93, 2, 0.3, 2.5, 0.3, 0.9, 14, 150, 1200, 250, 500, 700, 700, 400, 500, 600, 0.3
)
HIGH = Guess(7, 1, 3, 0.5, 3, 0.6, 1, 24, 600, 3000, 1000, 1500, 2500, 2000, 1500, 1500, 2000, 0)
WHY = {
    "rounds": "questions tried on a paper, at most limits.items; published: 3 to 5, mean 6.6",
    "evaluated": "of them that reach the weak solver; published: 7% of failed ones don't",
    "weak_attempts": "of the configured ones; a question that is too easy shows early (all of them"
    " without short_circuit)",
    "to_strong": "of them that the weak solver doesn't find too easy; published: 80% do",
    "strong_attempts": "of the configured ones, as above",
    "accepted": "papers that end with an accepted question, and are then scored once more;"
    " published: 13% to 42% from first to last",
    "validated": "iterations whose edit gets through the gate, and is validated",
    "steps": "replies of the analyzer and of the implementer, at most max_steps",
    "cached": "of prompts that begin like an earlier one, where cached_input has a price",
}


@dataclass(frozen=True, slots=True)
class Use:
    """Calls, prompt tokens, completion tokens and USD."""

    calls: float = 0
    sent: float = 0
    written: float = 0
    usd: float = 0

    def __add__(self, other: "Use") -> "Use":
        return Use(
            self.calls + other.calls,
            self.sent + other.sent,
            self.written + other.written,
            self.usd + other.usd,
        )


@dataclass(frozen=True, slots=True)
class Work:
    """How much there is to do: mean tokens of a paper, and papers of the two parts."""

    paper_tokens: float
    cut: int
    train: int
    val: int


def report(config: RunConfig) -> str:
    """Estimates by role and in all, with what they rest on.  Raises ``UserError``."""
    work = measure(config)
    uses = [expect(config, work, guess) for guess in (LOW, TYPICAL, HIGH)]
    train, val = _rollouts(config, work, TYPICAL)
    head = (
        f"{config.search.iterations} iterations by policy {config.search.policy}, each:"
        f"{_plan(config, work)}\nabout {train + val:,.0f} rollouts. A paper has"
        f" {work.paper_tokens:,.0f} tokens on average\n({CHARS_PER_TOKEN} characters each;"
        f" {work.cut} cut to max_paper_tokens)."
    )
    parts = [head, use_table(config, uses), _guess_table(), *_notes(config, uses)]
    return "\n\n".join(parts)


def _plan(config: RunConfig, work: Work) -> str:
    """What is rolled out, a line each."""
    search, spending = config.search, policy_of(config.search).spending
    who = "parent and mutant" if spending.rerun_parent else "the mutant"
    batch = min(search.minibatch, work.train)
    lines = [f"the parent on {batch} training papers", f"{who} on {work.val} validation papers"]
    if spending.trace_uses > 1:
        lines[0] += f", about one time in {1 / ANEW:.0f}; else what is there serves again"
    if spending.block:
        lines[1] += f"; about {STOPPED:.0%} of mutants are stopped after the first {spending.block}"
    if config.audit.honeypots:
        lines.append("the mutant on two honeypots" + (", if it wasn't" if spending.block else ""))
    if _audited(config):
        lines.append(f"in {_audited(config)} of them the mutant on those training papers too")
    if _controls(config):
        lines.append(f"{_controls(config)} of them are live controls, with validation alone")
    if finalists := _finalists(config):
        lines.append(f"at the end {several(finalists, 'finalist')} on the validation papers once"
                     f" more, then the winner {several(search.report_runs, 'time')}")  # fmt: skip
    return "".join(f"\n  {line}" for line in lines)


def measure(config: RunConfig) -> Work:
    """Read the papers of the split.  Raises ``UserError`` when they aren't there."""
    with tempfile.TemporaryDirectory(prefix="metaopt-") as folder:
        split = loop_papers(config, Path(folder))
        train, val = split["train"], split["val"]
        refuse_whole_screen(config.search, len(val))
        sizes = [_size(config, paper) for paper in (*train, *val)]
    tokens = fmean(size for size, _ in sizes)
    return Work(tokens, sum(cut for _, cut in sizes), len(train), len(val))


def expect(config: RunConfig, work: Work, guess: Guess) -> dict[Role, Use]:
    """What the run uses if ``guess`` is right."""
    train, val = _rollouts(config, work, guess)
    calls = _calls(config, guess, train + val, val if config.score == "fresh" else 0)
    return {
        role: _use(config, role, calls[role], _prompt(config, role, work, guess), guess)
        for role in ROLES
        if role in config.models
    }


def _rollouts(config: RunConfig, work: Work, guess: Guess) -> tuple[float, float]:
    """Rollouts on training and on validation papers, honeypots with these."""
    search, spending = config.search, policy_of(config.search).spending
    anew = 1.0 if spending.trace_uses == 1 else max(ANEW, 1 / spending.trace_uses)
    searching = search.iterations - _controls(config)
    batch = min(search.minibatch, work.train)
    train = (searching * anew + guess.validated * _audited(config)) * batch
    whole = work.val + HONEYPOTS * config.audit.honeypots
    mutant = STOPPED * spending.block + (1 - STOPPED) * whole if spending.block else whole
    parent = work.val if spending.rerun_parent else 0
    validations = searching * guess.validated + _controls(config)
    last = _finalists(config) and _finalists(config) + search.report_runs
    first = 0 if spending.rerun_parent else work.val
    return train, validations * (mutant + parent) + last * work.val + first


def _controls(config: RunConfig) -> int:
    """Iterations whose mutant is its parent, unchanged."""
    every = config.search.null_every
    return config.search.iterations // every if every else 0


def _audited(config: RunConfig) -> int:
    """Iterations in which the mutant runs on its parent's minibatch, if it is validated; controls
    don't."""
    every, null = config.search.audit_analyzer, config.search.null_every
    if not every:
        return 0
    both = config.search.iterations // lcm(every, null) if null else 0
    return config.search.iterations // every - both


def _finalists(config: RunConfig) -> int:
    """There are no more of them than candidates."""
    return min(config.search.finalists, config.search.iterations - _controls(config) + 1)


def _size(config: RunConfig, paper: Paper) -> tuple[float, bool]:
    text = read_paper(paper, config.papers.max_paper_tokens)
    return len(text.text) / CHARS_PER_TOKEN, text.cut_tokens > 0


def _calls(config: RunConfig, g: Guess, rollouts: float, fresh: float) -> dict[Role, float]:
    """Calls by role, for so many rollouts of which ``fresh`` score an accepted item again."""
    rounds, (weak, strong) = _rounds(config, g), _attempts(config, g)
    evaluated = rollouts * rounds * g.evaluated
    again = fresh * g.accepted
    whole = config.models["weak"].attempts  # an accepted item takes all attempts
    weak_runs = evaluated * weak + again * whole
    strong_runs = evaluated * g.to_strong * strong + again * whole
    judge = CRITERIA if config.models["judge"].judge_mode == "yes_no" else 1
    audits = rollouts * g.accepted
    probes = audits * PROBES * config.audit.probes
    searching = config.search.iterations - _controls(config)
    return {
        "challenger": rollouts * rounds,
        "quality_verifier": rollouts * rounds,
        # A call for each tool, and one that ends it.
        "main_agent": rollouts * (1 + rounds * (2 + g.evaluated * (1 + g.to_strong))),
        "weak": weak_runs * samples_of(config, "weak"),
        "strong": strong_runs * samples_of(config, "strong"),
        "judge": (weak_runs + strong_runs + probes) * judge,
        "auditor": audits * config.audit.llm,
        "analyzer": searching * min(g.steps, config.search.analyzer.max_steps),
        "implementer": searching * min(g.steps, config.search.implementer.max_steps),
    }


def _prompt(config: RunConfig, role: Role, work: Work, g: Guess) -> float:
    """Mean tokens of one prompt of a role; conversations grow, so half their end is added."""
    paper, rounds, (weak, strong) = work.paper_tokens, _rounds(config, g), _attempts(config, g)
    solver = SOLVER + ASKED
    judge = JUDGE + ASKED + RUBRIC
    if config.models["judge"].judge_mode == "yes_no":
        judge = YES_NO + ASKED // 3
    round_ = TOOL_RESULTS + REPORT * g.evaluated * (weak + g.to_strong * strong)
    agents = config.search
    sizes: dict[Role, float] = {
        "challenger": paper + CHALLENGER + FAILURE * rounds / 2,
        "quality_verifier": paper + VERIFIER + ITEM,
        "main_agent": MAIN_AGENT + round_ * rounds / 2,
        "weak": solver + paper * config.models["weak"].paper,
        "strong": solver + paper * config.models["strong"].paper,
        "judge": judge + (g.weak + g.strong) / 2,
        "auditor": paper + AUDITOR + ITEM,
        "analyzer": ANALYZER + ANALYZER_STEP * g.steps / 2,
        "implementer": IMPLEMENTER + IMPLEMENTER_STEP * g.steps / 2,
    }
    most = {"analyzer": agents.analyzer.max_chars, "implementer": agents.implementer.max_chars}
    return min(sizes[role], most.get(role, 10**9) / CHARS_PER_TOKEN)


def _use(config: RunConfig, role: Role, calls: float, prompt: float, g: Guess) -> Use:
    model = config.models[role]
    yes_no = role == "judge" and model.judge_mode == "yes_no"
    reply = 1 if yes_no else min(getattr(g, role), model.max_tokens)
    sent, written = calls * prompt, calls * reply
    cached = sent * g.cached if role in PREFIXED else 0
    usd = (config.price_of(role) or Price()).usd(round(sent), round(written), round(cached))
    return Use(calls, sent, written, usd)


def _rounds(config: RunConfig, g: Guess) -> float:
    return min(g.rounds, config.limits.items)


def _attempts(config: RunConfig, g: Guess) -> tuple[float, float]:
    """Attempts that an evaluated question takes, of the weak and of the strong solver."""
    whole = config.models["weak"].attempts
    if not config.short_circuit:
        return whole, whole
    return g.weak_attempts * whole / 3, g.strong_attempts * whole / 3


def samples_of(config: RunConfig, role: Role) -> int:
    """Calls that a solver's attempt takes."""
    samples = config.models[role].samples
    return 1 if samples == 1 else samples + 1  # drafts, and the call that merges them


def use_table(config: RunConfig, uses: Sequence[dict[Role, Use]]) -> str:
    """What each role uses, and all of them: low, typical and high."""
    table = grid(
        "role",
        ">$/M\nin, out",
        ">calls",
        ">tokens\nin",
        ">tokens\nout",
        ">low",
        ">typical",
        ">high",
    )
    low, typical, high = uses
    for role, use in typical.items():
        price = config.price_of(role) or Price()
        table.add_row(
            role, f"{price.input:g}, {price.output:g}", amount(use.calls), amount(use.sent),
            amount(use.written), *(dollars(u[role].usd) for u in (low, typical, high)),
        )  # fmt: skip
    totals = [sum(u.values(), Use()) for u in uses]
    for name, total in zip(("all, low", "all, typical", "all, high"), totals, strict=True):
        cost = [dollars(t.usd) for t in totals] if name == "all, typical" else []
        sums = (total.calls, total.sent, total.written)
        table.add_row(name, "", *map(amount, sums), *cost)
    table.columns[0].no_wrap = True
    return render(table)


def _guess_table() -> str:
    table = grid("assumed", ">low", ">typical", ">high", "how it was chosen")
    for name, why in WHY.items():
        values = (getattr(g, name) for g in (LOW, TYPICAL, HIGH))
        shown = (f"{v:.0%}" if v <= 1 else f"{v:g}" for v in values)
        table.add_row(name.replace("_", " "), *shown, why)
    why = "tokens of a reply, at most max_tokens; high leaves room for a reasoning model's thoughts"
    for role in ROLES:
        table.add_row(
            f"reply, {role}", *(f"{getattr(g, role):,}" for g in (LOW, TYPICAL, HIGH)), why
        )
        why = "as above"
    table.columns[0].no_wrap = True
    return render(table)


def _counts_as_free(config: RunConfig, role: Role) -> bool:
    """Does a real endpoint cost nothing?  Rarely true of one that isn't on this machine."""
    price = config.price_of(role) or Price()
    real = config.endpoints[config.models[role].endpoint].kind == "openai"
    return real and not (price.input or price.output)


def _notes(config: RunConfig, uses: Sequence[dict[Role, Use]]) -> list[str]:
    notes = [
        "Published: Autodata (Kulikov et al. 2026). After some papers, metaopt status RUN --full"
        " knows more."
    ]
    if config.simulated:
        notes.append("Simulated roles cost nothing.")
    if free := [role for role in uses[0] if _counts_as_free(config, role)]:
        notes.append(
            f"Counted as free, for the price is 0 or isn't set: {', '.join(free)}; set"
            " endpoints.NAME.price = { input = USD, output = USD } per million tokens."
        )
    typical = sum(uses[1].values(), Use())
    caps = {"usd": typical.usd, "calls": typical.calls, "tokens": typical.sent + typical.written}
    for name, expected in caps.items():
        cap = getattr(config.budget, name)
        if cap is not None and expected > cap:
            notes.append(f"budget.{name} = {cap:g} is likely to stop the run before its end.")
    return notes
