"""Compiled journeys: steps by id with their successors, and compiled matchers of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from processors.decisions import sampling
from processors.journeys.matching import Matcher
from processors.journeys.runs import Run
from schemas.durations import DAY_MS
from schemas.journeys.definitions import (
    AnyStep,
    Arm,
    EventEntry,
    EventMatch,
    Goal,
    If,
    Journey,
    MessageNode,
    RandomSplit,
    SegmentMatch,
    Variant,
    WaitFor,
)

GOAL_LATENESS_MS = 7 * DAY_MS
"""A goal reached within its window counts if its event is at most so late: tills and call centres report late."""
REGRET_WINDOW_MS = 30 * DAY_MS
"""Messages of an ended run are kept so long: a late event may show that they should not have been sent."""
END = ""
"""The id after the last step."""

Trigger = Matcher | SegmentMatch


class CompiledStep(NamedTuple):
    """One compiled step.

    Attributes:
        id: Its `id`, else its position: `2.else.1`.
        node: The definition of the step.
        next: Id of the following step; `END` if there is none.
        branches: Ids of the first steps of its branches: then and else, or the arms of a random split.
        trigger: The event or segment of a `wait_for`.
        variants: The variants of a message, each with its node.
    """

    id: str
    node: AnyStep
    next: str
    branches: tuple[str, ...] = ()
    trigger: Trigger | None = None
    variants: tuple[tuple[Variant, MessageNode], ...] = ()


class CompiledJourney:
    """One version of a journey, compiled.

    Args:
        journey: The definition.
        zone: Time zone in which dates in filters begin.

    Attributes:
        definition: The definition.
        version: Its version.
        steps: Steps by id.
        first: Id of the first step.
        entry: The compiled entry.
        exits: Events and segments that end a run.
        goals: Goals with their matchers.
        awaited: Events that end a run or a wait.
        waits: Signatures of the matchers of waits.
        event_names: Names of the events that can change a run, active or past.
        segments: Names of the segments that can.
    """

    def __init__(self, definition: Journey, zone: ZoneInfo) -> None:
        self._zone = zone
        self.definition = definition
        self.version = definition.version
        self.steps: dict[str, CompiledStep] = {}
        self.first = self._sequence(definition.steps, "", END)
        self.entry: Trigger = (
            Matcher(definition.entry, zone) if isinstance(definition.entry, EventEntry) else definition.entry
        )
        self.exits: tuple[Trigger, ...] = tuple(map(self._trigger, definition.exit_when))
        self.goals: tuple[tuple[Goal, Matcher], ...] = tuple((goal, Matcher(goal, zone)) for goal in definition.goals)
        triggers = [*self.exits, *(step.trigger for step in self.steps.values() if step.trigger is not None)]
        self.awaited = tuple(each for each in triggers if isinstance(each, Matcher))
        self.waits = frozenset(
            step.trigger.signature for step in self.steps.values() if isinstance(step.trigger, Matcher)
        )
        self.event_names = frozenset(
            name for matcher in (*self.awaited, *(matcher for _, matcher in self.goals)) for name in matcher.names
        )
        self.segments = frozenset(each.segment for each in triggers if isinstance(each, SegmentMatch))

    def exit_happened(self, heard: Mapping[str, Mapping[str, int]], key: str, since: int) -> bool:
        """Return whether an event that ends a run of this key is known to have happened since a time."""
        return any(one.happened_since(heard, key, since) for one in self.exits if isinstance(one, Matcher))

    def message_of(self, step: CompiledStep, profile_id: str, arm: str) -> tuple[MessageNode, str]:
        """Return the variant of a message for a person and its name; without variants the message and `arm`."""
        node = step.node
        assert isinstance(node, MessageNode)
        if not step.variants:
            return node, arm
        drawn = draw([one.weight for one, _ in step.variants], profile_id, self.definition.name, step.id)
        return step.variants[drawn][1], step.variants[drawn][0].name

    def next_message(self, step_id: str) -> CompiledStep | None:
        """Return the message step that a run at a step comes to first: itself, or the next one in the file's order."""
        waiting, seen = [step_id], {END}
        while waiting:
            here = waiting.pop()
            if here in seen or (step := self.steps.get(here)) is None:
                continue
            if isinstance(step.node, MessageNode):
                return step
            seen.add(here)
            waiting += reversed(step.branches or (step.next,))
        return None

    def retained_until(self, run: Run, now_ms: int) -> int:
        """Return until when a run that ends now is kept, for its goals and for late events."""
        until = max((run["since"] + goal.within + GOAL_LATENESS_MS for goal, _ in self.goals), default=0)
        if run.get("sent") and any(isinstance(one, Matcher) for one in self.exits):
            until = max(until, now_ms + REGRET_WINDOW_MS)
        return until

    def _sequence(self, steps: Sequence[AnyStep], prefix: str, after: str) -> str:
        """Compile a list of steps; return the id of the first, or `after` if there is none."""
        following = after
        for number, step in reversed(list(enumerate(steps, 1))):
            here = step.id or f"{prefix}{number}"
            self.steps[here] = self._compile_step(here, step, following)
            following = here
        return following

    def _compile_step(self, here: str, step: AnyStep, following: str) -> CompiledStep:
        if isinstance(step, WaitFor | If):
            branches = (
                self._sequence(step.then, f"{here}.then.", following),
                self._sequence(step.otherwise, f"{here}.else.", following),
            )
            return CompiledStep(
                here, step, following, branches, self._trigger(step.wait_for) if isinstance(step, WaitFor) else None
            )
        if isinstance(step, RandomSplit):
            arms = (self._sequence(arm.steps, f"{here}.{arm.name}.", following) for arm in step.random)
            return CompiledStep(here, step, following, tuple(arms))
        if isinstance(step, MessageNode):
            variants = tuple(
                (each, step.model_copy(update={"template": each.template}) if each.template else step)
                for each in step.variants
            )
            return CompiledStep(here, step, following, variants=variants)
        return CompiledStep(here, step, following)

    def _trigger(self, match: EventMatch | SegmentMatch) -> Trigger:
        return Matcher(match, self._zone) if isinstance(match, EventMatch) else match


def draw_detail(journey: Journey, choices: Sequence[Arm] | Sequence[Variant], drawn: str) -> dict[str, Any]:
    """Return what the journey event of a draw says: the arm, its share, and how the journey compares its variants.

    With it the record of an experiment does not depend on definitions, which may change.
    """
    names = [one.name for one in choices]
    control = journey.experiment.control
    weight = next(one.weight for one in choices if one.name == drawn)
    return {
        "arm": drawn,
        "experiment": {
            "share": weight / sum(one.weight for one in choices),
            "control": control if control in names else names[0],
            **comparison(journey),
        },
    }


def comparison(journey: Journey) -> dict[str, Any]:
    """Return how the journey compares its variants, as journey events have it: metric, window and horizon in ms."""
    declared = journey.experiment
    horizon = {} if declared.horizon is None else {"horizon_ms": declared.horizon}
    return {"metric": declared.metric, "window_ms": declared.window, **horizon}


def draw(weights: Sequence[int], *salt: str) -> int:
    """Return an index, drawn in proportion to weights by a hash of the salt."""
    point = sampling.index(sum(weights), *salt)
    return next(index for index, end in enumerate(accumulate(weights)) if point < end)
