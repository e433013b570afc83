"""Rehearsal: all journeys over imported history, without sending.

History happened without these messages. So people whom a message would have reached and people held out behaved alike,
and the true lift is zero: a check of the comparison that shows the width of its interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from processors.attribution.experiments import Group, Lift, lift
from processors.decisions.engine import DecisionEngine
from processors.decisions.explain import story
from processors.journeys.simulate import Event, Replay, Simulation, Tally, received_when_happened
from schemas.durations import DAY_MS
from schemas.time import ms_of_text

CONVERSION_DAYS = 14
"""An order within so many days of the first message, or of the ghost in its place, is a conversion."""
_MAX_STORY_LINES = 12
_CONVERSION = "Order Completed"
_EMPTY_GROUP = Group(0, 0)

Row = dict[str, Any]


@dataclass
class Rehearsal:
    """Result of a rehearsal.

    Attributes:
        people: People replayed.
        events: Events replayed.
        tallies: By journey.
        segments: Members at the end, by segment.
        reached: People with a message, and how many of them ordered after the first one.
        held_out: The same for people who are held out of all messages.
        story: The explanation of one run, line by line; empty if there is no suitable run.
    """

    tallies: dict[str, Tally]
    people: int = 0
    events: int = 0
    segments: Counter[str] = field(default_factory=Counter)
    reached: Group = _EMPTY_GROUP
    held_out: Group = _EMPTY_GROUP
    story: list[str] = field(default_factory=list)

    @property
    def lift(self) -> Lift | None:
        """The lift of people reached over people held out; None if a group is empty."""
        return lift(self.reached, self.held_out)

    def channels(self, journey: str) -> Counter[str]:
        """Return the number of messages of a journey by channel."""
        found: Counter[str] = Counter()
        for (_, channel), messages in self.tallies[journey].sent.items():
            found[channel] += messages
        return found

    def held_back(self) -> Counter[str]:
        """Return the number of messages of all journeys that were not sent, by gate."""
        return sum((tally.held_back for tally in self.tallies.values()), Counter())


def rehearse(
    decider: DecisionEngine,
    journeys: Iterable[str],
    history: Iterable[tuple[str, list[Event]]],
    start_ms: int,
    stop_ms: int,
    timezone: str,
) -> Rehearsal:
    """Rehearse journeys over history.

    Args:
        decider: With the journeys in it.
        journeys: Their names.
        history: Profile ids with events.
        start_ms: Begin of the period.
        stop_ms: Its end, excluded.
        timezone: IANA name, for people whose own time zone is not known.
    """
    simulation = Simulation(decider, journeys, start_ms, stop_ms, timezone)
    rehearsed = Rehearsal(simulation.tallies)
    for profile_id, theirs in history:
        events = received_when_happened(theirs)
        replayed = simulation.replay(profile_id, events)
        rehearsed.people += 1
        rehearsed.events += len(events)
        rehearsed.segments.update(decider.segments.members(replayed.person))
        _compare(rehearsed, replayed.decisions, events)
        lines = _story(replayed, timezone)
        if lines and (not rehearsed.story or (len(lines), lines) < (len(rehearsed.story), rehearsed.story)):
            rehearsed.story = lines
    return rehearsed


def _compare(rehearsed: Rehearsal, decisions: Iterable[Row], events: Iterable[Event]) -> None:
    """Count a person in their group, from the first message or ghost on.

    A person who is held out of one journey only is in neither group: other journeys reach them.
    """
    reaching = (row for row in decisions if (row["outcome"], row["holdout"]) in (("sent", ""), ("ghost", "global")))
    if (first := next(reaching, None)) is None:
        return
    since = ms_of_text(first["decided_at"])
    until = since + CONVERSION_DAYS * DAY_MS
    ordered = any(
        event["event"] == _CONVERSION and since < ms_of_text(event["occurred_at"]) <= until for event in events
    )
    group = rehearsed.held_out if first["holdout"] else rehearsed.reached
    group = Group(group.people + 1, group.converted + ordered)
    if first["holdout"]:
        rehearsed.held_out = group
    else:
        rehearsed.reached = group


def _story(replay: Replay, timezone: str) -> list[str]:
    """Return the explanation of the first run that reached its goal after a message."""
    sent = {row["run_id"]: row["decided_at"] for row in replay.decisions if row["outcome"] == "sent"}
    for event in replay.events:
        run_id = event["run_id"]
        if event["kind"] == "goal" and event["at"] > sent.get(run_id, event["at"]):
            decisions = [row for row in replay.decisions if row["run_id"] == run_id]
            lines = story(decisions, [one for one in replay.events if one["run_id"] == run_id], timezone)
            return lines if len(lines) <= _MAX_STORY_LINES else []
    return []
