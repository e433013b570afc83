"""What a journey would have done: history through the very functions that decide live, with nothing sent.

People are replayed one by one, each from their first event, so that profiles, segments and caps are what they would
have been; only what falls into the time looked at is counted. Messages that really went out in that time are in the
history too, and so is what people did because of them: a simulation tells whom a journey reaches and what holds it
back, not what it would have brought.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from processors.journeys.decider import Decider
from processors.messaging import clock
from processors.profile import join, new_profile, of
from processors.profile_joins import milliseconds
from schemas.decisions import Emit
from schemas.people import Person
from schemas.topics import DECISIONS

Event = dict[str, Any]


@dataclass
class Tally:
    """What a journey did.

    Attributes:
        runs: Runs that began.
        people: People who entered.
        sent: Messages by (day, channel); days in the deployment's time zone.
        outcomes: Messages by what was decided at last: a message that was postponed and then sent counts as sent.
        held_back: Messages by the gate that held them back.
        capped: Times that a message ran into a frequency cap, postponed ones included.
        holdout: People held out, by `journey` or `global`.
        goals: Runs that reached a goal.
        exits: Runs by why they ended.
    """

    runs: int = 0
    people: set[str] = field(default_factory=set)
    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    held_back: Counter[str] = field(default_factory=Counter)
    capped: int = 0
    holdout: dict[str, set[str]] = field(default_factory=dict)
    goals: int = 0
    exits: Counter[str] = field(default_factory=Counter)

    def summary(self) -> dict[str, Any]:
        """The same as JSON values."""
        channels: Counter[str] = Counter()
        for (_, channel), messages in self.sent.items():
            channels[channel] += messages
        return {
            "people": len(self.people),
            "runs": self.runs,
            "messages": sum(self.sent.values()),
            "messages_by_channel": dict(sorted(channels.items())),
            "messages_by_day": [
                {"day": day, "channel": channel, "messages": messages}
                for (day, channel), messages in sorted(self.sent.items())
            ],
            "outcomes": dict(sorted(self.outcomes.items())),
            "held_back_by_gate": dict(sorted(self.held_back.items())),
            "caps_hit": self.capped,
            "holdout_people": {name: len(people) for name, people in sorted(self.holdout.items())},
            "goals": self.goals,
            "exits": dict(sorted(self.exits.items())),
        }


class Simulation:
    """Replays people through a decider.

    Args:
        decider: With the journey in it, among those that compete with it for caps.
        journey: The journey to count.
        start_ms: Begin of the time looked at.
        stop_ms: Its end, excluded.
        timezone: Of the days, IANA name.
    """

    def __init__(self, decider: Decider, journey: str, start_ms: int, stop_ms: int, timezone: str) -> None:
        self._decider = decider
        self._journey = journey
        self._start_ms, self._stop_ms = start_ms, stop_ms
        self._zone = ZoneInfo(timezone)
        self.tally = Tally()

    def replay(self, profile_id: str, events: Iterable[Event]) -> None:
        """Replay one person's events, in the order in which they were received."""
        person = Person(profile_id, new_profile(profile_id), {})
        last: dict[tuple[str, str], dict[str, Any]] = {}
        seen: set[str] = set()
        for event in events:
            if event["event_id"] in seen:
                continue
            seen.add(event["event_id"])
            now_ms = milliseconds(event["received_at"])
            if now_ms >= self._stop_ms:
                break
            # As the profile worker does: what was due before an event sees the profile without it.
            self._count(person, self._decider.on_time(person, now_ms), last)
            join(person.document, of(event))
            self._count(person, self._decider.on_event(person, event, now_ms), last)
        self._count(person, self._decider.on_time(person, self._stop_ms - 1), last)
        self._settle(profile_id, last)

    def _count(self, person: Person, emits: Iterable[Emit], last: dict[tuple[str, str], dict[str, Any]]) -> None:
        for topic, value in emits:
            if value.get("journey") != self._journey:
                continue
            if topic == DECISIONS:
                if milliseconds(value["decided_at"]) >= self._start_ms:
                    last[value["run_id"], value["step"]] = value
                    self.tally.capped += value["gate"] == "caps"
            elif "kind" in value and milliseconds(value["at"]) >= self._start_ms:
                self._happened(person.profile_id, value)

    def _happened(self, profile_id: str, value: dict[str, Any]) -> None:
        match value["kind"]:
            case "journey_entered":
                self.tally.runs += 1
                self.tally.people.add(profile_id)
            case "goal":
                self.tally.goals += 1
            case "exited":
                self.tally.exits[str((value.get("detail") or {}).get("reason") or "")] += 1

    def _settle(self, profile_id: str, last: dict[tuple[str, str], dict[str, Any]]) -> None:
        for decided in last.values():
            outcome = decided["outcome"]
            self.tally.outcomes[outcome] += 1
            if outcome == "sent":
                day = clock.local(milliseconds(decided["decided_at"]), self._zone).date().isoformat()
                self.tally.sent[day, decided["channel"]] += 1
            elif decided["gate"]:
                self.tally.held_back[decided["gate"]] += 1
            if decided["holdout"]:
                self.tally.holdout.setdefault(decided["holdout"], set()).add(profile_id)


def difference(draft: dict[str, Any], live: dict[str, Any]) -> dict[str, int]:
    """How much more, or less, one does than the other: two summaries, number by number."""
    names = ("people", "runs", "messages", "caps_hit", "goals")
    return {name: draft[name] - live[name] for name in names}
