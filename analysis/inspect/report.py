"""An inspection told to a colleague, and as JSON for programs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain

from analysis.inspect.corpus import Corpus
from analysis.inspect.diversity import EXACT, Diversity
from analysis.inspect.embeddings import Embedded
from analysis.inspect.inspection import FORMAT, Answers, Inspection, Reviews, Rubrics
from analysis.inspect.near import NEAR, Repeats
from analysis.inspect.overlap import LONG, Overlap
from analysis.inspect.rules import Checked, metrics
from analysis.inspect.spread import POINTS, Labels, Spread
from inner_agent.tasks.verifiable import COMMON
from metaopt.text import amount, dollars, fold, grid, one_line, ordinal, render, several

SIMULATED = "SIMULATED: these items say nothing about real models"
SHOWN = 6  # labels or topics in the report; the JSON has all
TWINS = 3
LOST = 400  # characters of a line on a file that is lost
INDENT = 22  # columns left of a block's texts


def as_json(found: Inspection, checked: Sequence[Checked]) -> str:
    """Every number: ``figures`` are those that rules may name."""
    whole = {
        "format": FORMAT, "simulated": found.simulated, "figures": metrics(found),
        "rules": [asdict(c) for c in checked], "near": NEAR, "quantiles_at": POINTS,
        "inspection": asdict(found),
    }  # fmt: skip
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def as_text(found: Inspection) -> str:
    """The report."""
    parts = [
        *([SIMULATED] if found.simulated else []),
        _head(found),
        *([_corpus(found.corpus)] if found.corpus else []),
        _scores(found),
        _repeats(found),
        *([_embedded(found, found.embedded)] if found.embedded else []),
        _labels(found),
        *([_reviews(found.reviews, found.items)] if found.reviews else []),
        *([_answers(found.answers, found.items)] if found.answers else []),
        _rubrics(found),
        *([_against(found.against)] if found.against else []),
    ]
    return "\n\n".join(parts)


def failures(checked: Sequence[Checked]) -> str:
    """The rules that failed, one a line, each with the figure's value."""
    return "\n".join(f"failed: {c.rule} (it is {c.value:.4g})" for c in checked if c.failed)


def _block(title: str, pairs: Iterator[tuple[str, str]]) -> str:
    """A title, then names with their texts, which are folded beside them."""
    lines, indent = [title], " " * INDENT
    for name, text in pairs:
        first, *more = fold(text, INDENT)
        lines += [f"  {name}".ljust(INDENT) + first, *(indent + line for line in more)]
    return "\n".join(lines)


def _head(i: Inspection) -> str:
    items, papers = several(i.items, "item"), several(i.papers, "paper")
    return f"{one_line(i.data)}: {items} of {papers}, task {one_line(i.task)}"


def _corpus(c: Corpus) -> str:
    return _block("Corpus", _corpus_lines(c))


def _corpus_lines(c: Corpus) -> Iterator[tuple[str, str]]:
    low, high = c.interval
    several_each = f", in {c.rollouts:,} rollouts" if c.rollouts > c.papers else ""
    yield "papers done", f"{c.papers:,}{several_each}"
    yield "with an item", f"{c.kept:,} ({c.coverage:.1%} [{low:.0%} to {high:.0%}])"
    yield "rollouts by end", _counts(ends(c))
    if c.left_out:
        why = "the question repeats, or there were enough items before"
        yield "left out", f"{several(c.left_out, 'rollout')} that passed: {why}"
    if len(c.by_number) > 1:
        shares = (f"{ordinal(n)} {k} of {of}" for n, (k, of) in c.by_number.items())
        yield "item of paper", f"{', '.join(shares)} passed"
    if len(c.by_batch) > 1:
        (untold, first), later = c.by_batch.get(0, (0, 0)), [v for n, v in c.by_batch.items() if n]
        told, rest = (sum(column) for column in zip(*later, strict=True))
        yield "by learnings", f"without {untold} of {first}, with some {told} of {rest} passed"
    yield "rounds by end", _counts({_OUTCOMES.get(name, name): n for name, n in c.outcomes.items()})
    if c.rounds_passed:
        yield "rounds, passed", _spread(c.rounds_passed)
    if c.rounds_failed:
        yield "rounds, others", _spread(c.rounds_failed)
    each = (
        f"; {amount(c.calls / c.items)} calls, {dollars(c.usd / c.items)} an item"
        if c.items
        else ""
    )
    aside = ", without the analyses of batches" if len(c.by_batch) > 1 else ""
    whole = f"{amount(c.calls)} calls, {amount(c.tokens)} tokens, {dollars(c.usd)}"
    yield "spent", f"{whole}{each}{aside}"
    for line in c.lost:
        yield "lost", one_line(line, LOST)
    if not c.topics:
        yield "topics", "not known: no manifest of the papers that names any"
        return
    with_item = sum(kept > 0 for _, kept in c.topics.values())
    yield "topics", f"{with_item} of {len(c.topics)} have an item"
    least = sorted(c.topics.items(), key=lambda x: (x[1][1] / x[1][0], -x[1][0], x[0]))[:SHOWN]
    yield "least covered", ", ".join(f"{one_line(t, 30)} {k}/{n}" for t, (n, k) in least)


def _scores(i: Inspection) -> str:
    table = grid("scores", ">mean", ">least", *(f">{p:.0%}" for p in POINTS), ">most")
    for name, found in (("weak", i.weak), ("strong", i.strong), ("gap", i.gap)):
        values = (found.mean, found.least, *found.quantiles, found.most)
        table.add_row(name, *(f"{100 * v:.1f}" for v in values))
    sizes = {"rounds": i.rounds, "words: question": i.question_words,
             "words: context": i.context_words, "words: answer": i.answer_words}  # fmt: skip
    if i.rubrics:
        sizes["criteria"] = i.rubrics.criteria
    for name, found in sizes.items():
        values = (found.mean, found.least, *found.quantiles, found.most)
        table.add_row(name, *(f"{v:,.1f}".removesuffix(".0") for v in values))
    what = "shares of right attempts" if i.answers else "scores"
    return (
        f"{render(table)}\n  {what} in percent, gap in points; columns between: quantiles of items"
    )


def _repeats(i: Inspection) -> str:
    return _block("Repeats and variety", _repeat_lines(i))


def _repeat_lines(i: Inspection) -> Iterator[tuple[str, str]]:
    for name, same in (("questions", i.questions), ("contexts", i.contexts)):
        yield name, _same(same)
    for cluster in i.examples:
        yield "  such as", " | ".join(one_line(text, 60) for text in cluster[:2])
    for name, varied in (("questions", i.question_diversity), ("contexts", i.context_diversity)):
        yield f"{name} vary", _varied(varied)


def _same(same: Repeats) -> str:
    if not same.texts:
        return "none has a word"
    if not same.clusters:
        return f"no two alike (similarity {NEAR} or more)"
    return (
        f"{same.exact:.1%} copies word for word, {same.near:.1%} with near-copies (similarity"
        f" {NEAR} or more); {several(len(same.clusters), 'cluster')}, the largest of"
        f" {several(same.largest, 'text')}"
    )


def _varied(d: Diversity) -> str:
    drawn = f" (a sample: {EXACT:,} of {d.texts:,})" if d.used < d.texts else ""
    distinct = ", ".join("-" if x is None else f"{x:.2f}" for x in d.distinct)
    return (
        f"Vendi score {d.vendi:.1f} of {d.used:,}{drawn}, {d.share:.0%}; distinct-1, -2, -3"
        f" {distinct}"
    )


def _embedded(i: Inspection, e: Embedded) -> str:
    title = f"Questions by embeddings ({one_line(e.model, 60)}; kernel: cosine)"
    return _block(title, _embedded_lines(i, e))


def _embedded_lines(i: Inspection, e: Embedded) -> Iterator[tuple[str, str]]:
    found = several(len(e.clusters), "cluster")
    largest = f"{found}, the largest of {several(e.largest, 'text')}" if e.clusters else "no two"
    yield "near-copies", f"{e.near:.1%} (cosine {e.near_at:g} or more); {largest}"
    for cluster in i.embedded_examples:
        yield "  such as", " | ".join(one_line(text, 60) for text in cluster[:2])
    yield "vary", f"Vendi score {e.vendi:.1f} of {e.texts:,}, {e.share:.0%}"
    if e.nearest:
        yield (
            "nearest other",
            (
                f"cosine {e.nearest.median:.2f} in the middle, {e.nearest.quantiles[-1]:.2f} at the"
                f" {POINTS[-1]:.0%} quantile, {e.nearest.most:.2f} at most"
            ),
        )


def _labels(i: Inspection) -> str:
    pairs = (("question types", i.types), ("reasoning skills", i.skills))
    return _block("Labels", ((name, _labelled(found)) for name, found in pairs))


def _labelled(found: Labels) -> str:
    shown = list(found.counts.items())[:SHOWN]
    parts = [f"{one_line(name, 30)} {n / found.items:.0%}" for name, n in shown]
    more = len(found.counts) - len(parts)
    parts += [f"{more} more"] if more > 0 else []
    parts += [f"{found.unlabelled / found.items:.0%} have none"] if found.unlabelled else []
    varied = f"; as varied as {found.effective:.1f} equal ones" if len(found.counts) > 1 else ""
    return f"{len(found.counts)}: {', '.join(parts)}{varied}" if found.counts else "none given"


def _reviews(r: Reviews, items: int) -> str:
    return _block("Reviews", _review_lines(r, items))


def _review_lines(r: Reviews, items: int) -> Iterator[tuple[str, str]]:
    yield "suitability", _labelled(r.suitabilities)
    yield "concerns", f"{r.concerns / items:.1%} of items' rubrics"
    yield "suggestions", _same(r.suggestions)
    yield "suggestions vary", _varied(r.diversity)


def _answers(a: Answers, items: int) -> str:
    return _block("Final answers", _answer_lines(a, items))


def _answer_lines(a: Answers, items: int) -> Iterator[tuple[str, str]]:
    yield "kinds", _labelled(a.kinds)
    yield "answers", _labelled(a.answers)
    yield "guessable", f"{a.guessable / items:.1%} are one of {', '.join(COMMON)}"
    yield "shown", f"{a.shown / items:.1%} stand in context or question word for word"
    yield (
        "right attempts",
        (
            f"none of the weak solver's in {a.weak_never / items:.1%} of items, all of the strong"
            f" one's in {a.strong_always / items:.1%}"
        ),
    )


def _rubrics(i: Inspection) -> str:
    title = "Rubrics and leakage" if i.rubrics else "Leakage"
    shape = _rubric_lines(i.rubrics, i.items) if i.rubrics else iter(())
    return _block(title, chain(shape, _leak_lines(i)))


def _rubric_lines(r: Rubrics, items: int) -> Iterator[tuple[str, str]]:
    yield "weights", f"{r.weights.least:g} to {r.weights.most:g}, median {r.weights.median:g}"
    yield "largest weight", f"{r.top.mean:.0%} of what there is to earn, {r.top.most:.0%} at most"
    yield (
        "penalties",
        (
            f"{r.negative / r.count:.1%} of criteria, in {r.with_negative / items:.1%} of items;"
            f" {r.penalties.mean:.0%} of what there is to earn on average"
        ),
    )
    yield (
        "bare numbers",
        (f"{r.bare / r.positive:.1%} of criteria to earn, in {r.with_bare / items:.1%} of items"),
    )
    yield "told criteria", f"{r.told / r.positive:.1%} of criteria to earn stand in the context"


def _leak_lines(i: Inspection) -> Iterator[tuple[str, str]]:
    leakage = i.leakage
    yield "leaks", f"{several(leakage.items, 'item')} ({leakage.items / i.items:.1%}) by the audit"
    if leakage.words and leakage.runs:
        yield (
            "answers given",
            (
                f"{leakage.words.mean:.0%} of their words, {leakage.runs.mean:.0%} of their runs of"
                f" three words are in context or question ({leakage.runs.most:.0%} at most)"
            ),
        )


def _against(o: Overlap) -> str:
    return _block(f"Against {one_line(o.other)}, {several(o.size, 'item')}", _against_lines(o))


def _against_lines(o: Overlap) -> Iterator[tuple[str, str]]:
    yield "contaminated", f"{several(o.contaminated, 'item')} ({o.contaminated / o.items:.1%})"
    yield "by question", f"{o.near:,} near, of those {o.exact:,} word for word"
    yield "by context", f"{o.contexts:,} near"
    yield "by long runs", f"{o.long_runs:,} with {LONG} words in a row of question or answer"
    yield "of its papers", f"{several(o.papers, 'item')} ({o.papers / o.items:.1%})"
    for twin in sorted(o.twins, key=lambda t: -t.similarity)[:TWINS]:
        yield (
            f"  {twin.similarity:.2f}",
            (f"{one_line(twin.question, 60)} | {one_line(twin.other_question, 60)}"),
        )


_OUTCOMES = {"accepted": "accepted in the loop"}


def ends(c: Corpus) -> dict[str, int]:
    """How rollouts ended, as it is told; passed ones whose item is left out on their own."""
    counts = {name.replace("_", " "): n for name, n in c.reasons.items()}
    if c.left_out:
        counts |= {"passed": c.items, "passed and left out": c.left_out}
    return counts


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items()) or "none"


def _spread(s: Spread) -> str:
    return f"{s.mean:.1f} on average, {s.median:g} in the middle, {s.most:g} at most"
