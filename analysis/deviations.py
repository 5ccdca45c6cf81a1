"""In what a run differs from the published procedure (Autodata, Kulikov et al. 2026).

One function from a config to sentences, so that nothing is left to whoever writes a report.
"""

from collections.abc import Iterator

from inner_agent.criteria import Criteria
from metaopt.config import BUILTIN, RunConfig
from metaopt.policy import policy_of
from metaopt.text import several

PAPERS, MINIBATCH, ATTEMPTS = 25, 10, 3  # as published


def deviations(config: RunConfig, validation_papers: int) -> list[str]:
    """Every difference, as sentences; those that come with metaopt itself are among them."""
    return [
        *_models(config),
        *_search(config, validation_papers),
        *_task(config),
        *_score(config),
        *_always(config),
    ]


def _models(config: RunConfig) -> Iterator[str]:
    roles = [r for r, m in config.models.items() if config.endpoints[m.endpoint].kind != "openai"]
    if roles:
        yield (
            f"Simulated, and no models at all: {', '.join(roles)}. Nothing here says anything"
            " about real models."
        )
    for role in ("weak", "strong"):
        model = config.models[role]
        if model.attempts != ATTEMPTS:
            yield f"The {role} solver has {model.attempts} attempts at a question ({ATTEMPTS})."
        if model.samples > 1:
            yield f"The {role} solver's answer is merged from {model.samples} drafts."
        if model.paper:
            yield f"The {role} solver is shown the paper."
        if model.accept_truncated:
            yield f"The {role} solver's answers count even where they were cut off."
    if config.models["judge"].judge_mode == "yes_no":
        yield (
            "The judge answers yes or no to one criterion at a time, by the probability of its"
            " first token (published: a sheet with reasons)."
        )


def _search(config: RunConfig, validation_papers: int) -> Iterator[str]:
    search, harness = config.search, config.harness
    if harness.repo != BUILTIN:
        yield "The baseline is a harness of one's own, not the one described in the publication."
    if harness.patch:
        yield f"The baseline begins with a patch, {harness.patch.rpartition('/')[2]}."
    yield from policy_of(search).deviations()
    if search.minibatch != MINIBATCH:
        yield f"The analyzer reads {search.minibatch} training papers an iteration ({MINIBATCH})."
    if validation_papers != PAPERS:
        yield f"There are {validation_papers} validation papers (published: {PAPERS})."
    yield (
        f"{search.parallel} iterations run at a time, and iteration i sees the decisions up to"
        f" i - {search.parallel}, whatever has finished (published: several at once)."
        if search.parallel > 1
        else "Iterations run one after the other (published: several at once)."
    )


def _task(config: RunConfig) -> Iterator[str]:
    """Rubrics with thresholds are the published baseline's task; the others are named."""
    task = config.task
    if task.name == "rubric":
        yield from _thresholds(config)
    elif task.name == "verifiable":
        compared = "by the judge" if task.answer == "verifier" else f"by code ({task.answer})"
        yield (
            "Questions have one right answer instead of a rubric; final answers are compared"
            f" {compared}, and the rule is “{task.rule}”."
        )
    elif task.name == "learnable":
        yield (
            "No thresholds: a judge that reads all attempts decides whether a question is worth"
            f" training on (accepted: {', '.join(task.accept)})."
        )
    else:
        yield f"The task is one of one's own, {task.name.rpartition('/')[2]}."


def _thresholds(config: RunConfig) -> Iterator[str]:
    preset = config.criteria.preset
    if preset != "deployed":
        yield f"Items are accepted by the preset “{preset}”, the rule of the published text."
    standard = Criteria.model_validate({"preset": preset})
    changed = [
        f"{name} = {value} ({getattr(standard, name)})"
        for name, value in config.criteria
        if value != getattr(standard, name)
    ]
    if changed:
        yield f"Thresholds of acceptance differ from that rule: {', '.join(changed)}."


def _score(config: RunConfig) -> Iterator[str]:
    if config.score == "fresh":
        yield (
            "On validation papers an item passes only if it is accepted a second time, with new"
            " attempts (published: one acceptance)."
        )
    checks = ["checks of its text"]
    probes = {"rubric": "three ", "learnable": "three ", "verifiable": "two "}
    number = probes.get(config.task.name, "")
    checks += [f"{number}answers that show no work"] if config.audit.probes else []
    checks += ["an auditor that reads paper and item"] if config.audit.llm else []
    yield (
        f"An accepted item passes only if it stands an audit that no harness can change:"
        f" {', '.join(checks)} (published: none)."
    )


def _always(config: RunConfig) -> Iterator[str]:
    yield (
        "The best candidate is the one with the highest pass rate after pooling all runs over the"
        " family tree, which shrinks it towards its relatives' (published: an average over a"
        " candidate's own evaluations)."
    )
    if finalists := config.search.finalists:
        best = f"best {finalists} candidates are" if finalists > 1 else "best candidate is"
        yield (
            f"The {best} run once more on the validation papers before one is chosen, and that one"
            f" another {several(config.search.report_runs, 'time')} for the report."
        )
    if every := config.search.null_every:
        yield (
            f"{f'One mutant in {every}' if every > 1 else 'Every mutant'} is its parent, unchanged:"
            " a live control of the gate, which never joins."
        )
    yield "A mutant that equals an earlier candidate byte for byte isn't validated again."
    if config.sandbox.mode == "none":
        yield "Harnesses ran unconfined (sandbox.mode = none): isolation was given up by hand."
    if config.audit.honeypots:
        yield "Mutants also ran on two papers of which nothing can be asked; it decides nothing."
    if every := config.search.audit_analyzer:
        when = f"one iteration of {every}" if every > 1 else "every iteration"
        yield (
            f"In {when} the mutant also ran on its parent's training papers, to score the"
            " analyzer's predictions; it decides nothing."
        )
    if config.short_circuit:
        yield (
            "A solver's attempts stop once the verdict can't change any more; verdicts are the"
            " same as with all attempts."
        )
