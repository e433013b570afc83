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
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from processors.decisions.engine import DecisionEngine
from processors.profiles.document import join, new_profile, profile_of_event
from schemas.decisions.decision import Emit
from schemas.profiles.person import Person
from schemas.time import ms_of_text, time_of_ms
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


class Replayed(NamedTuple):
    """One person after their replay.

    Attributes:
        person: As they are at the end of the time looked at.
        decisions: Rows of the ledger, of that time and of the journeys counted.
        events: What these journeys say about themselves in that time.
    """

    person: Person
    decisions: list[dict[str, Any]]
    events: list[dict[str, Any]]


class Simulation:
    """Replays people through a decider.

    Args:
        decider: With the journeys in it, among those that compete with them for caps.
        journeys: The journeys to count.
        start_ms: Begin of the time looked at.
        stop_ms: Its end, excluded.
        timezone: Of the days, IANA name.

    Attributes:
        tallies: What each of the journeys did.
    """

    def __init__(
        self, decider: DecisionEngine, journeys: Iterable[str], start_ms: int, stop_ms: int, timezone: str
    ) -> None:
        self._decider = decider
        self._start_ms, self._stop_ms = start_ms, stop_ms
        self._zone = ZoneInfo(timezone)
        self.tallies = {journey: Tally() for journey in journeys}

    def replay(self, profile_id: str, events: Iterable[Event]) -> Replayed:
        """Replay one person's events, in the order in which they were received."""
        replayed = Replayed(Person(profile_id, new_profile(profile_id), {}), [], [])
        person = replayed.person
        seen: set[str] = set()
        for event in events:
            if event["event_id"] in seen:
                continue
            seen.add(event["event_id"])
            now_ms = ms_of_text(event["received_at"])
            if now_ms >= self._stop_ms:
                break
            # As the profile worker does: what was due before an event sees the profile without it.
            self._count(replayed, self._decider.on_time(person, now_ms))
            join(person.document, profile_of_event(event))
            self._count(replayed, self._decider.on_event(person, event, now_ms))
        self._count(replayed, self._decider.on_time(person, self._stop_ms - 1))
        self._settle(replayed)
        return replayed

    def _count(self, replayed: Replayed, emits: Iterable[Emit]) -> None:
        for topic, value in emits:
            tally = self.tallies.get(value.get("journey", ""))
            if tally is None:
                continue
            if topic == DECISIONS:
                if ms_of_text(value["decided_at"]) >= self._start_ms:
                    replayed.decisions.append(value)
                    tally.capped += value["gate"] == "caps"
            elif "kind" in value and ms_of_text(value["at"]) >= self._start_ms:
                replayed.events.append(value)
                self._happened(tally, value)

    def _happened(self, tally: Tally, value: dict[str, Any]) -> None:
        match value["kind"]:
            case "journey_entered":
                tally.runs += 1
                tally.people.add(value["profile_id"])
            case "goal":
                tally.goals += 1
            case "exited":
                tally.exits[str((value.get("detail") or {}).get("reason") or "")] += 1

    def _settle(self, replayed: Replayed) -> None:
        last = {(row["run_id"], row["step"]): row for row in replayed.decisions}
        for decided in last.values():
            tally, outcome = self.tallies[decided["journey"]], decided["outcome"]
            tally.outcomes[outcome] += 1
            if outcome == "sent":
                day = time_of_ms(ms_of_text(decided["decided_at"]), self._zone).date().isoformat()
                tally.sent[day, decided["channel"]] += 1
            elif decided["gate"]:
                tally.held_back[decided["gate"]] += 1
            if decided["holdout"]:
                tally.holdout.setdefault(decided["holdout"], set()).add(replayed.person.profile_id)


def as_it_happened(events: Iterable[Event]) -> list[Event]:
    """Tell events as if each had been heard of when it happened: history that was brought in later.

    Live, journeys leave out what they hear of too late, and so would a simulation of such a history.
    """
    timely = ({**event, "received_at": event["occurred_at"]} for event in events)
    return sorted(timely, key=lambda event: (event["occurred_at"], event["event_id"]))


def difference(draft: dict[str, Any], live: dict[str, Any]) -> dict[str, int]:
    """How much more, or less, one does than the other: two summaries, number by number."""
    names = ("people", "runs", "messages", "caps_hit", "goals")
    return {name: draft[name] - live[name] for name in names}
