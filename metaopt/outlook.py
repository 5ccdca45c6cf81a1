"""How a data set that wants so many items stands: foretold, and stopped where it is no use."""

from collections.abc import Callable
from dataclasses import dataclass

from inner_agent.intake import Intake
from inner_agent.settings import Budget
from metaopt.forecast import FIRST, HOPELESS, Forecast, Range, Seen, forecast
from metaopt.text import amount, dollars, duration

CAPS = ("usd", "tokens", "calls")
NO_STOP = "--no-forecast-stop"


@dataclass(slots=True)
class Outlook:
    """Foretells each time that the front of ``intake`` has moved, from ``FIRST`` papers on that are
    like those to come.

    ``at_once`` rollouts run side by side, and are made ``batch`` at a time.  ``tell`` is told the
    first forecast of this start.  With ``stops``, a forecast may say that going on is no use.
    """

    budget: Budget
    at_once: int
    stops: bool
    tell: Callable[[str], None]
    batch: int | None = None
    latest: Forecast | None = None

    def __call__(self, intake: Intake) -> str:
        """Why nothing more is to be begun, or ``""``."""
        now = seen(intake, self.budget, self.batch)
        if now.papers - now.unlike < FIRST or not now.left:
            return ""
        first = self.latest is None
        self.latest = forecast(now)
        what = _unit(intake)
        if first:
            self.tell(f"forecast after {len(intake.front)} {what}s, 80% intervals:"
                      f" {self._told(intake, self.latest)}")  # fmt: skip
        return hopeless(self.latest, self.budget, what) if self.stops else ""

    def phrase(self, intake: Intake) -> str:
        """For the progress line: items kept, and what is to come as far as it is known."""
        if intake.accept is None:
            return ""
        text = f"{intake.kept} of {intake.accept} kept"
        if intake.full or self.latest is None:
            return text
        return f"{text}; foretold {self._told(intake, self.latest)}"

    def _told(self, intake: Intake, what: Forecast) -> str:
        spent = sum(end.seconds for end in intake.ends.values())
        low, high = (max(0.0, s - spent) / self.at_once for s in what.used["seconds"])
        every, tries = what.seen.papers + what.seen.left, f"{_unit(intake)}s"
        return (
            f"{_between(what.items, str)} of all {every:,} {tries}; {what.seen.wanted}"
            f" {_after(what.papers, tries)}, {_between(what.used['usd'], dollars)} in all,"
            f" {_between((low, high), duration)} left"
        )


def seen(intake: Intake, budget: Budget, batch: int | None = None) -> Seen:
    """What a forecast goes by: the front alone."""
    assert intake.accept is not None
    front = intake.front
    used = {
        "usd": [end.usd for end in front],
        "tokens": [float(end.tokens) for end in front],
        "calls": [float(end.calls) for end in front],
        "seconds": [end.seconds for end in front],
    }
    caps = {name: cap for name in CAPS if (cap := getattr(budget, name)) is not None}
    left = len(intake.slots) - len(front)
    unlike = _unlike(intake, batch or 0)
    return Seen(intake.kept_of_front, left, intake.accept, used, caps, unlike)


def _unlike(intake: Intake, batch: int) -> int:
    """How many slots at the beginning aren't like those to come: a first batch, whose challenger
    was told nothing, and where later items of papers are left alone, the first ones, once there
    are enough of the others."""
    untold = batch if batch < len(intake.slots) else 0
    firsts = sum(slot.number == 1 for slot in intake.slots)
    return max(untold, firsts) if len(intake.front) >= firsts + FIRST else untold


def hopeless(what: Forecast, budget: Budget, tries: str = "paper") -> str:
    """Why the wanted items are out of reach, or ``""`` while they aren't; ``tries`` is what papers
    are called, as ``unit`` does."""
    known = (
        f"after {what.seen.papers} {tries}s {what.seen.count} of {what.seen.wanted} items are kept"
    )
    if what.chance < HOPELESS:
        every = what.seen.papers + what.seen.left
        return (f"{known}, and all {every:,} {tries}s give {_between(what.items, str)} (80%):"
                f" the {tries}s will not suffice (chance under {HOPELESS:.0%}); {_more(tries)}, or"
                " accept fewer")  # fmt: skip
    for name, chance in what.within.items():
        if chance < HOPELESS:
            shown = dollars if name == "usd" else amount
            return (f"{known}, and the rest brings it to {_between(what.used[name], shown)} (80%):"
                    f" budget.{name} = {getattr(budget, name):g} won't last (chance under"
                    f" {HOPELESS:.0%}); raise it, or accept fewer")  # fmt: skip
    return ""


def ran_out(intake: Intake) -> str:
    """What to say where all papers were tried."""
    every = f"{len(intake.slots):,} {_unit(intake)}s"
    return (f"{intake.kept} of {intake.accept} items are kept, and all {every} were tried;"
            f" {_more(_unit(intake))}, or accept fewer")  # fmt: skip


def unit(items_per_paper: int) -> str:
    """What is counted: papers, or rollouts where a paper has several."""
    return "paper" if items_per_paper == 1 else "rollout"


def _unit(intake: Intake) -> str:
    return unit(intake.slots[-1].number)


def _more(tries: str) -> str:
    return "give more papers" if tries == "paper" else "give more papers or items per paper"


def _after(papers: tuple[int | None, int | None], tries: str) -> str:
    low, high = papers
    if low is None:
        return f"not with these {tries}"
    if high is None:
        return f"after {low:,} {tries} or more, if at all"
    return f"after {low:,} to {high:,} {tries}" if low < high else f"after {low:,} {tries}"


def _between(ends: Range, shown: Callable[[float], str]) -> str:
    low, high = (shown(end) for end in ends)
    return f"{low} to {high}" if low != high else low
