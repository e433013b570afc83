"""Simulation of journeys: history through the functions that decide live, without sending.

People are replayed one by one from their first event, so that profiles, segments and caps are as they would have been;
only a period is counted. Messages that were sent in that period, and reactions to them, are in the history too: a
simulation shows whom a journey reaches and which gates block it, not its effect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from processors.decisions.engine import DecisionEngine
from processors.profiles import link_scans
from processors.profiles.document import join, new_profile, profile_of_event
from processors.profiles.product_news import news_for
from schemas.decisions.decision import Emit
from schemas.events.envelope import HISTORICAL, is_historical
from schemas.profiles.person import Person
from schemas.time import ms_of_text, time_of_ms
from schemas.topics import DECISIONS

Event = dict[str, Any]


@dataclass
class Tally:
    """Counts of one journey.

    Attributes:
        runs: Number of runs.
        people: Profile ids of people who entered.
        sent: Messages by (day, channel); days in the deployment's time zone.
        outcomes: Messages by final outcome: one that was postponed and then sent counts as sent.
        held_back: Messages not sent, by gate.
        capped: Number of decisions at a frequency cap, postponed ones included.
        holdout: People held out, by `journey` or `global`.
        goals: Runs that reached a goal.
        exits: Runs by reason of their end.
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
        """Return the counts as JSON values."""
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


class Replay(NamedTuple):
    """Result of the replay of one person.

    Attributes:
        person: The person at the end of the period.
        decisions: Ledger rows of the counted journeys in the period.
        events: Journey events of these journeys in the period.
    """

    person: Person
    decisions: list[dict[str, Any]]
    events: list[dict[str, Any]]


class Simulation:
    """Replays people through a decider.

    Args:
        decider: With the journeys in it, among those that compete with them for caps.
        journeys: Names of the journeys to count.
        start_ms: Begin of the period.
        stop_ms: Its end, excluded.
        timezone: IANA name of the zone of days.

    Attributes:
        tallies: Counts by journey.
    """

    def __init__(
        self, decider: DecisionEngine, journeys: Iterable[str], start_ms: int, stop_ms: int, timezone: str
    ) -> None:
        self._decider = decider
        self._start_ms, self._stop_ms = start_ms, stop_ms
        self._zone = ZoneInfo(timezone)
        self.tallies = {journey: Tally() for journey in journeys}

    def replay(self, profile_id: str, events: Iterable[Event]) -> Replay:
        """Replay the events of one person, in the order in which they were received."""
        replayed = Replay(Person(profile_id, new_profile(profile_id), {}), [], [])
        person = replayed.person
        seen: set[tuple[str, str]] = set()
        for event in events:
            if (event["source"], event["event_id"]) in seen:
                continue
            seen.add((event["source"], event["event_id"]))
            now_ms = ms_of_text(event["received_at"])
            if now_ms >= self._stop_ms:
                break
            # As in the profile stage: steps that were due before an event see the profile without it.
            self._count(replayed, self._decider.on_time(person, now_ms))
            if event.get("derived"):
                self._decide(replayed, event, now_ms)
                continue
            admitted = link_scans.admit(person.document, person.state, event, profile_of_event(event), replayed=True)
            if admitted.added:
                join(person.document, admitted.added)
            for counted, addition in admitted.events:
                join(person.document, addition)
                self._decide(replayed, counted, now_ms)
        self._count(replayed, self._decider.on_time(person, self._stop_ms - 1))
        self._settle(replayed)
        return replayed

    def _decide(self, replayed: Replay, event: Event, now_ms: int) -> None:
        if (news := news_for(replayed.person.document, event, self._decider.markets)) is not None:
            self._count(replayed, self._decider.on_event(replayed.person, news, now_ms))

    def _count(self, replayed: Replay, emits: Iterable[Emit]) -> None:
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

    def _settle(self, replayed: Replay) -> None:
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


def received_when_happened(events: Iterable[Event]) -> list[Event]:
    """Return events as if each had been received when it happened, for imported history.

    Journeys ignore entry events that arrive too late, and so would a simulation of imported history.
    """
    timely = (_without_mark({**event, "received_at": event["occurred_at"]}) for event in events)
    return sorted(timely, key=lambda event: (event["occurred_at"], event["event_id"]))


def difference(draft: dict[str, Any], live: dict[str, Any]) -> dict[str, int]:
    """Return the differences between the numbers of two summaries."""
    names = ("people", "runs", "messages", "caps_hit", "goals")
    return {name: draft[name] - live[name] for name in names}


def _without_mark(event: Event) -> Event:
    """Leave out the mark of an imported event, which is to start journeys here as it did when it happened."""
    if not is_historical(event):
        return event
    return {**event, "context": {name: value for name, value in event["context"].items() if name != HISTORICAL}}
