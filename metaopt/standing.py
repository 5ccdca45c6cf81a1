"""Is a run running, paused, stopped or finished, and why?"""

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

from metaopt.record import RunRecord, paused, running_process, stop_reason
from metaopt.sealed import openings
from metaopt.text import duration, one_line

DOING = {  # what comes after the last thing that an iteration recorded
    "selected": "on training papers", "traced": "analyzing", "diagnosed": "editing",
    "implemented": "on validation papers", "validated": "deciding", "rerun": "deciding",
}  # fmt: skip
OWED = "its finalists aren't run again yet"

Word = Literal["running", "testing", "paused", "stopped", "finished"]


@dataclass(frozen=True, slots=True)
class Standing:
    """``why``: what a running run does, what holds it up, why it stopped, what it owes; may be
    empty.  ``process``: the id of the one that is on it, if any."""

    word: Word
    why: str
    process: str | None

    def told(self, ago_s: float) -> str:
        """In a phrase.  ``ago_s``: seconds since the last thing was recorded."""
        if self.word == "testing":
            return f"process {self.process} is on its test papers"
        if self.word == "paused":
            return f"running as process {self.process}, {self.why}"
        if self.word == "running":
            return f"running as process {self.process}" + (f" ({self.why})" if self.why else "")
        ago = duration(max(0.0, ago_s))  # a clock may have been set back
        return f"{self.word} {ago} ago" + (f" ({self.why})" if self.why else "")


def standing(record: RunRecord) -> Standing:
    """How the run stands now."""
    process = running_process(record.folder)
    if process is None:
        owed = OWED if record.owes_finalists else ""
        if len(record.decisions) >= record.config.search.iterations and not owed:
            return Standing("finished", "", None)
        reason = one_line(stop_reason(record.folder) or "it left no word why", 300)
        return Standing("stopped", "; ".join(filter(None, (owed, reason))), None)
    if any(not opening.finished for opening in openings(record.folder)):
        return Standing("testing", "", process)
    if pause := paused(record.folder):
        line, since = pause
        why = f"paused for {duration(max(0.0, time.time() - since))}: {one_line(line, 300)}"
        return Standing("paused", why, process)
    return Standing("running", _doing(record), process)


def _doing(record: RunRecord) -> str:
    """The iterations under way, by what they are at."""
    found = defaultdict[str, list[str]](list)
    for i, stages in sorted(record.stages.items()):
        if i > 0 and "decided" not in stages:
            found[DOING.get(list(stages)[-1], "starting")].append(str(i))
    if record.owes_finalists:
        found["finalists"] = []
    return "; ".join(f"{at}: {', '.join(ids)}" if ids else at for at, ids in found.items())
