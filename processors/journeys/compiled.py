"""A journey made ready to run: its steps by id, each knowing what follows, with everything compiled that can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple
from zoneinfo import ZoneInfo

from processors.decisions import sampling as chance
from processors.journeys.matching import Matcher
from processors.journeys.runs import Run
from schemas.durations import DAY_MS
from schemas.journeys.definitions import (
    AnyStep,
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

LATE_MS = 7 * DAY_MS
"""For how long after its window a goal that was reached in it still counts: tills and call centres report late."""
REGRET_MS = 30 * DAY_MS
"""For how long the messages of a run that is over are remembered for the sake of events that come late."""
END = ""
"""What follows the last step."""

Trigger = Matcher | SegmentMatch


class Op(NamedTuple):
    """One step.

    Attributes:
        id: Its `id`, else its place: `2.else.1`.
        node: The step as it is defined.
        next: Id of the step that follows it, `END` if none.
        ways: Ids of the first steps of its branches: then and else, or the arms of a random split.
        trigger: What a `wait_for` waits for.
        versions: The variants of a message, each with the node that it makes.
    """

    id: str
    node: AnyStep
    next: str
    ways: tuple[str, ...] = ()
    trigger: Trigger | None = None
    versions: tuple[tuple[Variant, MessageNode], ...] = ()


class Program:
    """One version of a journey, compiled.

    Args:
        journey: The definition.
        zone: Where dates in filters begin.

    Attributes:
        journey: The definition.
        version: Its version.
        ops: Steps by id.
        first: Id of the first step.
        entry: The compiled entry.
        exits: What ends a run.
        goals: What counts as success.
        settling: Events that end a run or a wait.
        heard: Names of the events that concern a person who is, or has been, in this journey.
        segments: Names of the segments that do.
    """

    def __init__(self, journey: Journey, zone: ZoneInfo) -> None:
        self._zone = zone
        self.journey = journey
        self.version = journey.version
        self.ops: dict[str, Op] = {}
        self.first = self._sequence(journey.steps, "", END)
        self.entry: Trigger = Matcher(journey.entry, zone) if isinstance(journey.entry, EventEntry) else journey.entry
        self.exits: tuple[Trigger, ...] = tuple(map(self._trigger, journey.exit_when))
        self.goals: tuple[tuple[Goal, Matcher], ...] = tuple((goal, Matcher(goal, zone)) for goal in journey.goals)
        triggers = [*self.exits, *(op.trigger for op in self.ops.values() if op.trigger is not None)]
        self.settling = tuple(each for each in triggers if isinstance(each, Matcher))
        self.heard = frozenset(
            name for matcher in (*self.settling, *(matcher for _, matcher in self.goals)) for name in matcher.names
        )
        self.segments = frozenset(each.segment for each in triggers if isinstance(each, SegmentMatch))

    def over(self, heard: Mapping[str, Mapping[str, int]], key: str, since: int) -> bool:
        """Tell whether something that ends a run of this key is known to have happened since then."""
        return any(one.heard(heard, key, since) for one in self.exits if isinstance(one, Matcher))

    def message(self, op: Op, profile_id: str, arm: str) -> tuple[MessageNode, str]:
        """Tell which version of a message a person gets, and what it is called: a variant's name, else the `arm`."""
        node = op.node
        assert isinstance(node, MessageNode)
        if not op.versions:
            return node, arm
        drawn = draw([one.weight for one, _ in op.versions], profile_id, self.journey.name, op.id)
        return op.versions[drawn][1], op.versions[drawn][0].name

    def remembered_until(self, run: Run, now_ms: int) -> int:
        """Tell until when a run that ends now is to be remembered, for its goals and for events that come late."""
        until = max((run["since"] + goal.within + LATE_MS for goal, _ in self.goals), default=0)
        if run.get("sent") and any(isinstance(one, Matcher) for one in self.exits):
            until = max(until, now_ms + REGRET_MS)
        return until

    def _sequence(self, steps: Sequence[AnyStep], prefix: str, after: str) -> str:
        """Add steps that stand in a row; tells the id of the first, or `after` if there are none."""
        following = after
        for number, step in reversed(list(enumerate(steps, 1))):
            here = step.id or f"{prefix}{number}"
            self.ops[here] = self._op(here, step, following)
            following = here
        return following

    def _op(self, here: str, step: AnyStep, following: str) -> Op:
        if isinstance(step, WaitFor | If):
            ways = (
                self._sequence(step.then, f"{here}.then.", following),
                self._sequence(step.otherwise, f"{here}.else.", following),
            )
            return Op(here, step, following, ways, self._trigger(step.wait_for) if isinstance(step, WaitFor) else None)
        if isinstance(step, RandomSplit):
            arms = (self._sequence(arm.steps, f"{here}.{arm.name}.", following) for arm in step.random)
            return Op(here, step, following, tuple(arms))
        if isinstance(step, MessageNode):
            versions = tuple(
                (each, step.model_copy(update={"template": each.template}) if each.template else step)
                for each in step.variants
            )
            return Op(here, step, following, versions=versions)
        return Op(here, step, following)

    def _trigger(self, match: EventMatch | SegmentMatch) -> Trigger:
        return Matcher(match, self._zone) if isinstance(match, EventMatch) else match


def draw(weights: Sequence[int], *salt: str) -> int:
    """Choose an index in proportion to weights: the same salt always gives the same answer."""
    point = chance.index(sum(weights), *salt)
    return next(index for index, end in enumerate(accumulate(weights)) if point < end)
