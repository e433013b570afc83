"""Lint of journeys: unknown names, unreachable steps and likely mistakes.

The model of a definition validates its shape; this module validates references and the journey as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from schemas.channels import ADDRESSED_CHANNELS
from schemas.durations import DAY_MS, duration_text
from schemas.events.touchpoint import EVENT_NAMES
from schemas.journeys.definitions import (
    AnyStep,
    BroadcastEntry,
    Delay,
    EventMatch,
    Exit,
    If,
    Journey,
    MessageNode,
    RandomSplit,
    SegmentEntry,
    SegmentMatch,
    Sending,
    Until,
    WaitFor,
)
from schemas.segments.definitions import SegmentDefinitions, unknown_channels, unknown_names
from schemas.spelling import known_names, nearest_names

Path = tuple[str | int, ...]

DERIVED_EVENTS = frozenset({"Product Price Dropped", "Product Back In Stock"})
"""Events that the pipeline derives for people who viewed a product."""
MAX_USUAL_WAIT_MS = 400 * DAY_MS


class Problem(NamedTuple):
    """An error or a warning about a definition.

    Attributes:
        journey: The journey's name.
        path: Keys and indexes in its file: `("steps", 2, "then", 0)`.
        message: The error and how to correct it.
        serious: True: an error; False: a warning.
    """

    journey: str
    path: Path
    message: str
    serious: bool = True


def lint(
    journeys: Iterable[Journey],
    segments: SegmentDefinitions,
    templates: Collection[str],
    *,
    channels: Collection[str] | None = None,
    addressed: Collection[str] | None = None,
) -> list[Problem]:
    """Check journeys against the definitions that they refer to.

    Args:
        journeys: All journeys.
        segments: The current segments and computed traits.
        templates: Names of the templates.
        channels: Names of the channels in the message policy; None: they are not checked.
        addressed: Names of the channels on which messages go to an address of the person; None: the known ones.

    Returns:
        Problems in the order of the journeys and of their steps.
    """
    found: list[Problem] = []
    seen: set[str] = set()
    known = {*EVENT_NAMES, *DERIVED_EVENTS}
    for journey in journeys:
        if journey.name in seen:
            found.append(Problem(journey.name, ("name",), "another journey has this name"))
        seen.add(journey.name)
        for path, message, serious in (
            *_names(journey, segments, known, ADDRESSED_CHANNELS if addressed is None else addressed),
            *_messages(journey, templates, channels),
            *_waits(journey),
            *_branches(journey.steps, ("steps",)),
            *_experiment(journey),
            *_whole(journey),
            *_of_broadcasts(journey),
        ):
            found.append(Problem(journey.name, path, message, serious))
    return found


def misspelt_events(journeys: Iterable[Journey], segments: SegmentDefinitions) -> Iterator[tuple[str, str]]:
    """Find event names in segments and traits that look misspelt, or that no person performs; hints.

    Yields:
        The segment or trait, and the warning.
    """
    known = {*EVENT_NAMES, *DERIVED_EVENTS, *(name for journey in journeys for name in journey.own_events)}
    named = [(one.name, name) for one in segments.segments for part in one.when.walk() for name in part.events()]
    named += [(trait.name, name) for trait in segments.traits for name in trait.event]
    for definition, name in dict.fromkeys(named):
        if name in DERIVED_EVENTS:
            yield definition, _not_performed(name)
        if name not in known and nearest_names(name, known, 0.75):
            yield definition, f"no event that comes with the pipeline is called {name!r}{_nearest(name, sorted(known))}"


PathProblems = Iterator[tuple[Path, str, bool]]


def _names(
    journey: Journey, segments: SegmentDefinitions, known: Collection[str], addressed: Collection[str]
) -> PathProblems:
    """Yield events, segments, attributes and channels that do not exist, or do not go together."""
    if isinstance(journey.entry, SegmentEntry) and journey.entry.existing and journey.entry.when == "left":
        message = "takes in the members of the segment, so it goes with `when: entered` alone"
        yield ("entry", "existing"), message, True
    names = [segment.name for segment in segments.segments]
    traits = [trait.name for trait in segments.traits]
    for path, match in journey.matches():
        if isinstance(match, SegmentMatch) and match.segment not in names:
            yield (*path, "segment"), f"there is no segment {match.segment!r}{_nearest(match.segment, names)}", True
        if isinstance(match, EventMatch):
            yield from (((*path, "event"), *one) for one in _unknown(match.names, {*known, *journey.own_events}))
    for path, condition in journey.conditions():
        for problem in (
            *unknown_names(condition, names, traits),
            *segments.unknown_classes(condition),
            *unknown_channels(condition, addressed),
        ):
            yield path, problem, True
        for one in condition.walk():
            yield from ((path, *problem) for problem in _unknown(one.events(), {*known, *journey.own_events}))
            yield from ((path, _not_performed(name), False) for name in one.events() if name in DERIVED_EVENTS)


def _unknown(names: Iterable[str], known: Collection[str]) -> Iterator[tuple[str, bool]]:
    for name in names:
        if name not in known:
            yield (
                f"no event is called {name!r}{_nearest(name, sorted(known))}; list it under own_events if it is yours",
                True,
            )


def _not_performed(name: str) -> str:
    return f"nobody performs {name!r}, so this never counts one: it is for `entry` and `wait_for` of a journey"


def _messages(journey: Journey, templates: Collection[str], channels: Collection[str] | None) -> PathProblems:
    for path, step in journey.walk():
        if not isinstance(step, MessageNode):
            continue
        wanted: list[tuple[Path, str]] = [(("message",), step.template)]
        for index, variant in enumerate(step.variants):
            if variant.template is not None:
                wanted.append((("variants", index, "template"), variant.template))
        for where, name in wanted:
            if name not in templates:
                yield (*path, *where), f"there is no template {name!r}{_nearest(name, templates)}", True
        for index, channel in enumerate(step.channels):
            if channels is not None and channel not in channels:
                near = _nearest(channel, channels)
                yield (*path, "channels", index), f"the policy knows no channel {channel!r}{near}", True
        if step.expires_after_ms is None:
            yield path, "set the life time of the message: `expires_after: 2 days`", False
        if step.choose != "declared" and len(step.channels) == 1:
            yield (*path, "choose"), "there is one channel to choose from", False
        if len(step.variants) == 1:
            yield (*path, "variants"), "one variant is no comparison", False


def _experiment(journey: Journey) -> PathProblems:
    """Yield a control that no split has, and a goal to be raised that the journey does not have."""
    declared = journey.experiment
    variants = [
        one.name
        for _, step in journey.walk()
        if isinstance(step, RandomSplit | MessageNode)
        for one in (step.random if isinstance(step, RandomSplit) else step.variants)
    ]
    if declared.control is not None and declared.control not in variants:
        near = _nearest(declared.control, variants)
        yield ("experiment", "control"), f"there is no arm and no variant {declared.control!r}{near}", True
    if declared.metric == "goal" and not journey.goals:
        yield ("experiment", "metric"), "the journey has no goal: give it `goals`, or another metric", True


def _waits(journey: Journey) -> PathProblems:
    keyed = isinstance(journey.entry, EventMatch) and journey.entry.key is not None
    for path, match in journey.matches():
        if isinstance(match, EventMatch) and match.key is not None and not keyed and path != ("entry",):
            yield (*path, "key"), "the entry has no key, so any value fits: give it one", False
    for path, step in journey.walk():
        if isinstance(step, WaitFor):
            if step.timeout is None:
                yield path, "without a `timeout` a run may wait for ever", False
            if step.timeout is None and step.otherwise:
                yield (*path, "else"), "unreachable without a `timeout`", True
            if keyed and isinstance(step.wait_for, EventMatch) and step.wait_for.key is None:
                yield (*path, "wait_for"), "without a `key` the event of another run counts too", False
            if step.timeout is not None and step.timeout > MAX_USUAL_WAIT_MS:
                yield (*path, "timeout"), f"{duration_text(step.timeout)} is a long time", False
        if isinstance(step, Until) and step.until.date and step.until.date.startswith("last."):
            before = [one for where, one in journey.walk() if isinstance(one, WaitFor) and where < path]
            if not before:
                yield (*path, "until", "date"), "there is no wait_for before, so there is no last event", True


def _branches(steps: Sequence[AnyStep], path: Path) -> PathProblems:
    """Yield steps behind an exit, and splits with equal branches."""
    for index, step in enumerate(steps):
        here = (*path, index)
        yield from _split(step, here)
        if _always_ends(step) and index + 1 < len(steps):
            yield (*path, index + 1), "unreachable: every path before it ends the run", True


def _split(step: AnyStep, here: Path) -> PathProblems:
    if isinstance(step, WaitFor | If):
        if isinstance(step, If) and not step.then and not step.otherwise:
            yield here, "it splits nothing: both ways are empty", True
        yield from _branches(step.then, (*here, "then"))
        yield from _branches(step.otherwise, (*here, "else"))
    elif isinstance(step, RandomSplit):
        names = [arm.name for arm in step.random]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            yield (*here, "random"), f"two arms are called {twice[0]!r}", True
        for number, arm in enumerate(step.random):
            yield from _branches(arm.steps, (*here, "random", number, "steps"))


def _always_ends(step: AnyStep) -> bool:
    """Return whether every branch of a step ends the run."""
    if isinstance(step, Exit):
        return True
    if isinstance(step, WaitFor | If):
        return _any_ends(step.then) and (_any_ends(step.otherwise) or (isinstance(step, WaitFor) and not step.timeout))
    return isinstance(step, RandomSplit) and all(_any_ends(arm.steps) for arm in step.random)


def _any_ends(steps: Sequence[AnyStep]) -> bool:
    return any(_always_ends(step) for step in steps)


def _of_broadcasts(journey: Journey) -> PathProblems:
    """Yield parts that are of broadcasts alone: nobody would start a journey that has them."""
    said = "belongs to a broadcast, which is a file of `broadcasts/`: `throughline broadcasts list`"
    if isinstance(journey.entry, BroadcastEntry):
        yield ("entry", "members"), said, True
    for path, step in journey.walk():
        if isinstance(step, Sending):
            yield (*path, "send"), said, True
        if isinstance(step, RandomSplit) and step.winner is not None:
            yield (*path, "winner"), said, True


def _whole(journey: Journey) -> PathProblems:
    steps = [step for _, step in journey.walk()]
    if all(isinstance(step, If | RandomSplit | WaitFor | Until | Delay | Exit) for step in steps):
        yield ("steps",), "it does nothing: there is no message, trait or webhook", False
    if journey.holdout and not any(isinstance(step, MessageNode) for step in steps):
        yield ("holdout",), "there is no message to hold out from", False
    if journey.holdout and not journey.goals:
        yield ("holdout",), "without `goals` there is nothing to compare the held-out people by", False
    entry = set(journey.entry.names) if isinstance(journey.entry, EventMatch) else set()
    for index, match in enumerate(journey.exit_when):
        if isinstance(match, EventMatch) and entry & set(match.names) and not match.where:
            yield ("exit_when", index), "the event that lets people in also ends their earlier run", False


def _nearest(name: str, names: Iterable[str]) -> str:
    """Return what was probably meant, and what is known."""
    known = list(names)
    near = nearest_names(name, known, 0.75)
    return f"{f' (did you mean {near[0]!r}?)' if near else ''}{known_names(name, known)}"
