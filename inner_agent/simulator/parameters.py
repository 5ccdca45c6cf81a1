"""What the simulator is made of, in numbers: every skill, habit and slip that is not in the text.

None of these is a pass rate.  They say how far a tier can follow a chain of statements and how
often a persona has a bad habit; what a harness achieves with them comes out of the text that
flows between the personas.  All probabilities are per decision.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Chance = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]


class Habit(BaseModel):
    """How often the challenger does something, by what its prompt says about it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plain: Chance
    """The prompt does not touch on it."""
    invited: Chance
    """The prompt opens the door to it, as the baseline's does in places."""
    curbed: Chance
    """The prompt forbids it (this wins over an invitation)."""
    demanded: Chance
    """The prompt asks for it (together with a ban: the mean of the two)."""


class SimulatorParameters(BaseModel):
    """Settings of one simulator; they are frozen and belong to a run's config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    latency_s: Amount = 0.0
    """Seconds that every reply takes."""

    # Solvers.  Hop k of a chain succeeds with probability 1 / (1 + exp((k - span) / slope)).
    weak_span: float = 1.9
    """Hop at which the weak solver loses the thread half the time."""
    strong_span: float = 4.8
    """The same for the strong solver."""
    span_slope: Annotated[float, Field(gt=0)] = 0.7
    """How gradually the thread is lost around the span."""
    weak_remarks: Annotated[int, Field(ge=0)] = 11
    """Fluent generic remarks in a weak answer (there are 14 to draw from)."""
    strong_remarks: Annotated[int, Field(ge=0)] = 10
    """The same in a strong answer."""
    asides: Chance = 0.5
    """Facts beside the way that either tier mentions."""
    impression: Chance = 0.9
    """Yes-or-no questions that fit any paper and that either tier answers as one would expect."""

    # Challenger.
    generic: Habit = Habit(plain=0.46, invited=0.46, curbed=0.08, demanded=0.9)
    """Asks what could be asked of any paper."""
    leak: Habit = Habit(plain=0.35, invited=0.55, curbed=0.05, demanded=0.95)
    """States the conclusion in the context."""
    string_weight: Habit = Habit(plain=0.15, invited=0.4, curbed=0.01, demanded=0.9)
    """Writes weights as strings such as "+8"."""
    negative: Habit = Habit(plain=0.2, invited=0.38, curbed=0.02, demanded=0.95)
    """Puts penalties into the rubric."""
    heavy: Habit = Habit(plain=0.12, invited=0.2, curbed=0.0, demanded=0.9)
    """Lets one criterion weigh about as much as all others together."""
    number: Habit = Habit(plain=0.03, invited=0.03, curbed=0.005, demanded=0.8)
    """Asks for a bare number that the context does not hold."""
    omit: Habit = Habit(plain=0.03, invited=0.35, curbed=0.005, demanded=0.6)
    """Leaves a premise that the answer needs out of the context."""
    style: Habit = Habit(plain=0.8, invited=0.8, curbed=0.05, demanded=1.0)
    """Rewards style and general virtues in the rubric of a specific question."""
    unmarked: Habit = Habit(plain=0.25, invited=0.25, curbed=0.01, demanded=0.9)
    """Without a rubric to write: leaves out the line with the final answer."""
    guessable: Habit = Habit(plain=0.2, invited=0.2, curbed=0.02, demanded=0.9)
    """Without a rubric to write: asks for a yes or a no."""
    open: Habit = Habit(plain=0.2, invited=0.2, curbed=0.02, demanded=0.9)
    """Without a rubric to write: leaves open which of several answers is meant."""
    depth: Amount = 3.0
    """Mean hops of a specific question."""
    depth_spread: Amount = 0.9
    """Standard deviation of the hops."""
    depth_steered: Amount = 4.2
    """Mean hops where the prompt names three to five steps; the spread is then halved."""
    depth_hardest: Amount = 8.0
    """Mean hops where the prompt wants the hardest possible question."""
    deeper: Amount = 0.35
    """Hops added per earlier question that was too easy (three at most count)."""
    shallower: Amount = 0.6
    """Hops removed per earlier question that failed on the strong solver (three at most)."""
    broken_reply: Chance = 0.01
    """Replies of the challenger that break off in the middle of the JSON."""

    # Quality verifier.
    notices_leak: Chance = 0.06
    """Untold, it minds a leak."""
    notices_generic: Chance = 0.03
    """The same for a generic question."""
    notices_shape: Chance = 0.02
    """The same for strings, penalties and a dominating weight."""
    notices_number: Chance = 0.1
    """The same for a bare number."""
    notices_guessable: Chance = 0.05
    """The same for a question that a guess would answer."""
    notices_open: Chance = 0.05
    """The same for a question with several right answers."""
    notices_told: Chance = 0.85
    """The same for a fault that its prompt tells it to fail items for."""
    false_alarm: Chance = 0.015
    """Sound items that it fails."""
    false_alarm_harsh: Chance = 0.45
    """The same when its prompt wants everything in doubt failed."""

    # Judge.
    judge_slip: Chance = 0.04
    """Criteria whose score is off by one half; of other verdicts, those that are off."""
    judge_unreadable: Chance = 0.005
    """Replies that can't be parsed."""
    patience_words: Annotated[int, Field(gt=0)] = 180
    """Longer answers look like digressions to a penalty criterion."""

    # Auditor.
    auditor_slip: Chance = 0.005
    """Each of its six answers that is the wrong way round."""

    # Comparer.
    comparer_first: Chance = 0.1
    """Comparisons in which it takes the item that is shown first, whatever they say."""

    # Main agent.
    gives_up: Chance = 0.3
    """It gives up after a failed round, from the third on."""
    gives_up_told_on: Chance = 0.2
    """The same where its prompt says to keep going."""
    gives_up_refused: Chance = 0.4
    """The same after any round whose item was refused: nothing was learned from it."""
    gives_up_never: Chance = 0.01
    """The same where its prompt forbids giving up."""
    gives_up_early: Chance = 0.7
    """The same, from the first failed round on, where its prompt says to stop soon."""
    slip: Chance = 0.03
    """Replies in words where a tool call was due, and steps out of order."""
    relays: Chance = 0.8
    """How often it passes on to the challenger what its own prompt says about questions."""

    # Analyzer and implementer.
    misdiagnosis: Chance = 0.15
    """Analyses that blame a mode at random."""
    good_edit: Amount = 0.35
    """Proportion of edits that address a named mode; the four need not add up to 1."""
    idle_edit: Amount = 0.35
    """The same for edits without effect."""
    harmful_edit: Amount = 0.2
    """The same for harmful edits."""
    broken_edit: Amount = 0.1
    """The same for broken edits."""
    repairs: Chance = 0.8
    """Broken edits that are mended once the gate has said what is wrong."""
    unchecked: Chance = 0.2
    """Edits that it hands in without checking them first."""
