"""All journeys at once over a history that was brought in later, with nothing sent: what they would have done.

History happened without these messages. So whoever a message would have reached and whoever is held out behaved alike,
and the lift between them is zero but for chance: a check of the comparison, and a picture of how wide its interval is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from processors.attribution.experiments import Group, Lift, lift
from processors.decisions.engine import DecisionEngine
from processors.decisions.explain import story
from processors.journeys.simulate import Event, Replayed, Simulation, Tally, as_it_happened
from schemas.durations import DAY_MS
from schemas.time import ms_of_text

CONVERSION_DAYS = 14
"""An order counts that follows the first message, or the ghost in its place, so soon."""
_LONGEST_STORY = 12
_CONVERSION = "Order Completed"
_NOBODY = Group(0, 0)

Row = dict[str, Any]


@dataclass
class Rehearsed:
    """What came out.

    Attributes:
        people: People replayed.
        events: Events replayed.
        tallies: By journey.
        segments: Members at the end, by segment.
        reached: People to whom a message would have gone out, and how many of them ordered after the first one.
        held_out: The same of people who are held out of all messages.
        story: One person's run, line by line; empty if no run tells one.
    """

    tallies: dict[str, Tally]
    people: int = 0
    events: int = 0
    segments: Counter[str] = field(default_factory=Counter)
    reached: Group = _NOBODY
    held_out: Group = _NOBODY
    story: list[str] = field(default_factory=list)

    @property
    def lift(self) -> Lift | None:
        """What the reached did more than those held out; None if there is nobody to compare."""
        return lift(self.reached, self.held_out)

    def channels(self, journey: str) -> Counter[str]:
        """Messages of a journey by channel."""
        found: Counter[str] = Counter()
        for (_, channel), messages in self.tallies[journey].sent.items():
            found[channel] += messages
        return found

    def held_back(self) -> Counter[str]:
        """Messages of all journeys by the gate that held them back."""
        return sum((tally.held_back for tally in self.tallies.values()), Counter())


def rehearse(
    decider: DecisionEngine,
    journeys: Iterable[str],
    history: Iterable[tuple[str, list[Event]]],
    start_ms: int,
    stop_ms: int,
    timezone: str,
) -> Rehearsed:
    """Run journeys over history.

    Args:
        decider: With the journeys in it.
        journeys: Their names.
        history: People and their events.
        start_ms: Begin of the time looked at.
        stop_ms: Its end, excluded.
        timezone: IANA name; of people whose own is not known.
    """
    simulation = Simulation(decider, journeys, start_ms, stop_ms, timezone)
    rehearsed = Rehearsed(simulation.tallies)
    for profile_id, theirs in history:
        events = as_it_happened(theirs)
        replayed = simulation.replay(profile_id, events)
        rehearsed.people += 1
        rehearsed.events += len(events)
        rehearsed.segments.update(decider.segments.members(replayed.person))
        _compare(rehearsed, replayed.decisions, events)
        told = _story(replayed, timezone)
        if told and (not rehearsed.story or (len(told), told) < (len(rehearsed.story), rehearsed.story)):
            rehearsed.story = told
    return rehearsed


def _compare(rehearsed: Rehearsed, decisions: Iterable[Row], events: Iterable[Event]) -> None:
    """Count a person where they belong, from the first message on that reached them or would have.

    A person whom only a journey holds out belongs to neither: they are reached by others.
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


def _story(replayed: Replayed, timezone: str) -> list[str]:
    """Tell the first run that a message went out of and that reached its goal after it."""
    sent = {row["run_id"]: row["decided_at"] for row in replayed.decisions if row["outcome"] == "sent"}
    for event in replayed.events:
        run_id = event["run_id"]
        if event["kind"] == "goal" and event["at"] > sent.get(run_id, event["at"]):
            decisions = [row for row in replayed.decisions if row["run_id"] == run_id]
            told = story(decisions, [one for one in replayed.events if one["run_id"] == run_id], timezone)
            return told if len(told) <= _LONGEST_STORY else []
    return []
