"""A measurement of data sets as text: for a terminal, as Markdown, as JSON."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version

from rich.table import Table as Grid

from analysis.compare import LEVEL, Change
from analysis.compare_text import p_text
from analysis.dataquality.numbers import Difference, Preference, Quality, Scored
from analysis.markdown import markdown
from analysis.report import Block, Bullets, Section, Table
from analysis.scores import Mean
from metaopt.status import SIMULATED
from metaopt.text import fold, grid, one_line, render, several

FORMAT = 1  # of the JSON
SENTENCES = 6  # more pairs of data sets than that are told in the tables alone
NAME = 40  # characters of a data set's name
NO_COMPARER = "quality isn't judged by pairs: the config has no models.comparer, or --pairs is 0"


def as_text(found: Quality) -> str:
    """The verdicts, then the tables, then what they mean."""
    lines = [SIMULATED] if found.simulated else []
    lines += fold(_what(found))
    if verdicts := [*_empty(found), *_verdicts(found)]:
        lines += ["", *("\n  ".join(fold(said, 2)) for said in verdicts)]
    for table in _tables(found):
        lines += ["", render(_grid(table))]
    return "\n".join([*lines, "", *(line for note in _notes(found) for line in fold(note))])


def as_markdown(found: Quality) -> str:
    """The same as a page."""
    head: list[Block] = [SIMULATED] if found.simulated else []
    verdicts: list[Block] = [Bullets(said)] if (said := [*_empty(found), *_verdicts(found)]) else []
    blocks = [*head, _what(found), *verdicts, *_tables(found), Bullets(list(_notes(found)))]
    return markdown([Section("Data sets judged alike", blocks)])


def as_json(found: Quality) -> str:
    """Every number."""
    data = {"format": FORMAT, "metaopt": version("metaopt"), "confidence": 1 - LEVEL}
    return json.dumps({**data, **asdict(found)}, indent=1, ensure_ascii=False) + "\n"


def label(name: str) -> str:
    """A data set's name on one line."""
    return one_line(name, NAME)


def _grid(table: Table) -> Grid:
    made = grid(*table.head)
    for row in table.rows:
        made.add_row(*row)
    return made


def _what(found: Quality) -> str:
    said = {
        "accepted": "accepted items",
        "final": "the items that were handed in as final, accepted or not",
    }
    names = several(len(found.sets), "data set")
    played = ", ".join(f"{role} {one_line(model, 30)}" for role, model in found.models.items())
    return (
        f"{names}, {said[found.kind]}: {several(found.attempts, 'fresh attempt')} of each solver;"
        f" {played}"
    )


def _empty(found: Quality) -> list[str]:
    return [f"{label(one.name)} gave nothing to measure: {one.why}" for one in found.empty]


def _verdicts(found: Quality) -> list[str]:
    """Sentences; of many pairs of data sets, for those of which something can be said."""
    every = [*map(_gap_sentence, found.differences), *map(_quality_sentence, found.preferences)]
    if len(found.differences) <= SENTENCES:
        return every
    return [said for said in every if not said.startswith("can't tell")] or ["can't tell any apart"]


def _gap_sentence(one: Difference) -> str:
    first, second, size = label(one.first), label(one.second), points(one.gap)
    if one.verdict == "same items":
        return f"{second} has the very items of {first}: there is nothing to compare"
    on = f"on {one.papers} papers of both" if one.papers else "on different papers"
    told = f"{size} points {on}, p {p_text(one.gap_holm)}"
    if one.verdict == "can't tell":
        return f"can't tell the gap of {second} from that of {first}: {told}"
    return f"the gap of {second} is {one.verdict} than that of {first}: {told}"


def _quality_sentence(one: Preference) -> str:
    first, second = label(one.first), label(one.second)
    if one.same == one.pairs:
        return f"{second} and {first} have the same items: nobody was asked which are better"
    told = f"win rate {percent(one.rate)} in {several(one.pairs, 'pair')}, p {p_text(one.holm)}"
    if one.verdict == "can't tell":
        return f"can't tell which items are better, of {second} or of {first}: {told}"
    return f"items of {second} are judged {one.verdict} than those of {first}: {told}"


def percent(mean: Mean) -> str:
    """A share in percent with its interval."""
    return f"{100 * mean.value:.1f}{_interval(mean.low, mean.high)}"


def points(change: Change) -> str:
    """A difference in points with its interval."""
    low, high = (f"{100 * x:+.0f}" for x in (change.low, change.high))
    value = f"{100 * change.difference:+.1f}"
    return f"{_unsigned_zero(value)} [{_unsigned_zero(low)} to {_unsigned_zero(high)}]"


def _unsigned_zero(text: str) -> str:
    return text if float(text) else text[1:]


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{100 * low:.0f} to {100 * high:.0f}]"


def _tables(found: Quality) -> Iterator[Table]:
    """Where there are several data sets, each has a letter, by which pairs of them are named."""
    several_sets = len(found.sets) > 1
    letters = {one.name: _letter(k) for k, one in enumerate(found.sets)}
    names = {
        name: f"{letter}: {label(name)}" if several_sets else label(name)
        for name, letter in letters.items()
    }
    yield Table(
        ("data set", ">weak [95%]", ">strong [95%]", ">gap [95%]"),
        [(names[s.name], percent(s.weak), percent(s.strong), percent(s.gap)) for s in found.sets],
    )
    yield Table(
        ("data set", ">items", ">papers", ">with an item", ">would pass [95%]", ">sound [95%]"),
        [(names[one.name] if not several_sets else letters[one.name], *_counts(one))
         for one in found.sets]
        + [(label(one.name), "0", "0", f"0 of {one.tried}", "-", "-") for one in found.empty],
    )  # fmt: skip
    if found.differences:
        yield _differences(found.differences, letters)
    if found.preferences:
        yield _preferences(found.preferences, letters)


def _letter(number: int) -> str:
    """A, B, …, Z, A2, …"""
    turn, place = divmod(number, 26)
    return chr(ord("A") + place) + (str(turn + 1) if turn else "")


def _counts(one: Scored) -> Sequence[str]:
    given = f"{one.gave} of {one.tried}" if one.tried is not None else "not known"
    left = f" ({one.unreadable} unreadable)" if one.unreadable else ""
    return (
        f"{one.items}{left}", str(one.papers), given, percent(one.passed), percent(one.sound),
    )  # fmt: skip


def _differences(found: Sequence[Difference], letters: Mapping[str, str]) -> Table:
    head = ("delta", ">papers", ">weak [95%]", ">strong [95%]", ">gap [95%]", _p_head(found))
    return Table(head, [
        (
            f"{letters[one.second]} - {letters[one.first]}",
            str(one.papers) if one.papers else "apart",
            points(one.weak), points(one.strong), points(one.gap), p_text(one.gap_holm),
        )
        for one in found
    ])  # fmt: skip


def _p_head(found: Sequence[object]) -> str:
    return ">p (Holm)" if len(found) > 1 else ">p"


def _preferences(found: Sequence[Preference], letters: Mapping[str, str]) -> Table:
    return Table(
        (
            "judged", ">pairs", ">won", ">tied", ">lost", ">win rate [95%]", _p_head(found),
            ">flipped", ">first shown",
        ),
        [(f"{letters[one.second]} : {letters[one.first]}", *_preference(one)) for one in found],
    )  # fmt: skip


def _preference(one: Preference) -> Sequence[str]:
    left = f" ({one.unreadable} unreadable)" if one.unreadable else ""
    asked = one.pairs - one.same - one.unreadable
    return (
        f"{one.pairs}{left}", str(one.wins), str(one.ties), str(one.losses),
        percent(one.rate), p_text(one.holm),
        f"{one.flipped / asked:.0%}" if asked else "-",
        f"{one.named_first / one.decided:.0%}" if one.decided else "-",
    )  # fmt: skip


def _notes(found: Quality) -> Iterator[str]:
    yield (
        "weak, strong, gap: means over papers, each the mean of its items, in percent and points;"
        " 95% intervals for other papers like these"
    )
    yield (
        "would pass: share of items that these attempts and the audit would accept; sound: share"
        " that stand the audit"
    )
    if found.differences:
        yield (
            "differences: paper by paper where both have an item (apart: of independent samples);"
            f" a verdict on the gap takes p{_adjusted(found.differences)} <= {LEVEL} and an"
            " interval without 0"
        )
    if found.preferences:
        yield from _pair_notes(found)
    elif found.differences:
        yield NO_COMPARER
    if found.kind == "accepted":
        yield "papers on which a method had nothing accepted count in no mean of that method"
    if len(found.steps) > 1:
        yield (
            f"measured in {len(found.steps)} steps: who goes on because a look told nothing has a"
            " chance of a wrong verdict at each"
        )


def _pair_notes(found: Quality) -> Iterator[str]:
    yield (
        "pairs: each shown in both orders; won, lost: both orders agree; everything else is tied,"
        f" and ties count half in the win rate; a verdict takes p <= {LEVEL} and an interval"
        " without 50"
    )
    yield (
        "flipped: share of pairs whose verdict went with the order; first shown: share of verdicts"
        " for what was shown first (50% without a bias)"
    )
    if not all(one.matched for one in found.preferences):
        yield "where data sets share no papers, pairs are drawn together at random"


def _adjusted(found: Sequence[Difference]) -> str:
    return " by Holm's adjustment" if len(found) > 1 else ""
