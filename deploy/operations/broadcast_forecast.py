"""Says before a broadcast is started whom it would reach, through which gate it would not, and what it would cost.

The people are taken as they are now, also where the message is sent in some weeks: their segments stay, and the very
engine that decides about messages takes each of them through the broadcast at its time. Nothing of it is stored. Of a
large audience a sample is taken, by a hash.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.operations.definitions_report import DefinitionsReport
from deploy.operations.deployment import Deployment
from deploy.operations.engines import former_journeys
from deploy.operations.segment_backfill import batches
from processors.decisions.engine import DecisionEngine
from processors.journeys.broadcast_lint import most_people
from processors.profiles.cache import OpenProfile
from processors.profiles.fold import open_profile
from schemas.decisions.decision import Emit
from schemas.durations import HOUR_MS
from schemas.journeys.broadcasts import Broadcast
from schemas.journeys.control import JourneyControl
from schemas.profiles.person import Person
from schemas.time import ms_of_text, text_of_ms, time_of_ms
from schemas.topics import DECISIONS, JOURNEY_EVENTS
from sinks.clickhouse.broadcasts import sample_members

SAMPLE = 20_000
_PEOPLE_A_CALL = 200
_MOST_TURNS = 300


@dataclass
class Forecast:
    """What a broadcast would do now. All numbers but `audience` and `looked_at` are of the people looked at.

    Attributes:
        name: The broadcast.
        audience: Members of its segment, without those that it excludes and those beyond its budget.
        beyond_budget: Members whom the budget leaves out.
        looked_at: People who were looked at.
        reached: People with a message.
        sent: Messages by channel.
        gates: Messages that would not be sent, by the gate that stops them.
        held_out: People of holdouts, who would have had it.
        left_out: People who do not get as far as a message, by the reason.
        hours: Messages by the hour of sending, RFC 3339 in UTC.
        cost: Of the messages, in the policy's currency.
        failed: People whose profile cannot be read.
    """

    name: str
    audience: int = 0
    beyond_budget: int = 0
    looked_at: int = 0
    reached: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    gates: Counter[str] = field(default_factory=Counter)
    held_out: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    hours: Counter[str] = field(default_factory=Counter)
    cost: float = 0.0
    failed: int = 0

    def whole(self, people: float) -> int:
        """Return what a number of those looked at comes to in the whole audience."""
        return round(people * self.audience / self.looked_at) if self.looked_at else 0

    def margin(self, people: int) -> int:
        """Return by how much `whole` may differ, with 95 % probability; 0: everybody was looked at."""
        if not self.looked_at or self.looked_at >= self.audience:
            return 0
        share = min(1.0, people / self.looked_at)
        return math.ceil(1.96 * math.sqrt(share * (1 - share) / self.looked_at) * self.audience)

    def as_json(self) -> dict[str, Any]:
        """Return the forecast for the whole audience."""
        return {
            "broadcast": self.name,
            "audience": self.audience,
            "beyond_budget": self.beyond_budget,
            "looked_at": self.looked_at,
            "reached": self.whole(self.reached),
            "reached_margin": self.margin(self.reached),
            "sent_by_channel": {name: self.whole(count) for name, count in self.sent.most_common()},
            "not_sent_by_gate": {name: self.whole(count) for name, count in self.gates.most_common()},
            "held_out": self.whole(self.held_out),
            "left_out": {name: self.whole(count) for name, count in self.left_out.most_common()},
            "sent_by_hour": {name: self.whole(count) for name, count in sorted(self.hours.items())},
            "cost": round(self.cost * self.audience / self.looked_at, 2) if self.looked_at else 0.0,
            "failed": self.failed,
        }


async def forecast(
    deployment: Deployment, report: DefinitionsReport, broadcast: Broadcast, now_ms: int, *, most: int = SAMPLE
) -> Forecast:
    """Take people through a broadcast as if it were started now.

    Args:
        deployment: Open.
        report: What is in force.
        broadcast: It need not be in force.
        now_ms: The time, milliseconds since 1970.
        most: The most people who are looked at.
    """
    exclude = broadcast.exclude if broadcast.members == "frozen" else ()
    members, ids = await asyncio.to_thread(
        sample_members, deployment.tables, broadcast.segment, exclude, time_of_ms(now_ms), most
    )
    limit = most_people(broadcast, report.definitions.policy)
    found = Forecast(broadcast.name, members if limit is None else min(members, limit))
    found.beyond_budget = members - found.audience
    archive = former_journeys(await deployment.definitions.archived())
    decider = rehearsing(report, broadcast, found.audience, now_ms, archive)
    costs = {name: rule.cost for name, rule in report.definitions.policy.channels.items()}
    for some in batches(ids[: found.audience], _PEOPLE_A_CALL):
        reading = await deployment.profiles.people(some)
        for stored in reading.profiles.values():
            found.looked_at += 1
            try:
                person = open_profile(OpenProfile(stored), decider)
                tally(found, rehearse(decider, person, broadcast.name, now_ms), costs)
            except Exception:  # noqa: BLE001 - one person who cannot be read must not cost the forecast
                found.failed += 1
        await asyncio.sleep(0)
    return found


def rehearsing(
    report: DefinitionsReport, broadcast: Broadcast, audience: int, now_ms: int, archive: Mapping[str, Any]
) -> DecisionEngine:
    """Return an engine by which a broadcast is started; of its variants the first one has won."""
    definitions = report.definitions
    others = [one for one in definitions.broadcasts if one.name != broadcast.name]
    journeys = [*definitions.journeys, *(one.as_journey() for one in others)]
    journey = broadcast.as_journey()
    control = JourneyControl("running", now_ms, version=journey.version, started_ms=now_ms, audience=audience)
    if broadcast.split is not None:
        control = control._replace(winner=broadcast.split.variants[0].name)
    engine = DecisionEngine(
        definitions.segments, [*journeys, journey], definitions.policy, territory=definitions.territory, archive=archive
    )
    return engine.under({**report.state.journeys, broadcast.name: control})


def rehearse(decider: DecisionEngine, person: Person, name: str, now_ms: int) -> list[Emit]:
    """Take a person through a broadcast; returns what would be published of it. The person is changed, not stored."""
    person.state.get("journeys", {}).get("entered", {}).pop(name, None)  # a look back at one that was started
    out = decider.enter_broadcast(person, name, now_ms)
    for _ in range(_MOST_TURNS):
        runs = person.state.get("journeys", {}).get("runs", {}).values()
        due = decider.journeys.due(person)
        if due is None or not any(run["journey"] == name for run in runs):
            break
        out += decider.journeys.on_time(person, due)
    return [emit for emit in out if emit.value.get("journey") == name]


def tally(found: Forecast, emits: Iterable[Emit], costs: Mapping[str, float]) -> None:
    """Add to a forecast what would be published for a person."""
    last: dict[str, dict[str, Any]] = {}
    reason = ""
    for topic, value in emits:
        if topic == DECISIONS:
            last[value["idempotency_key"]] = value
        elif topic == JOURNEY_EVENTS and value["kind"] in ("exited", "too_many_runs"):
            reason = value["detail"].get("reason", value["kind"])
    outcomes = [row["outcome"] for row in last.values()]
    found.reached += "sent" in outcomes
    found.held_out += "ghost" in outcomes
    for row in last.values():
        if row["outcome"] == "sent":
            found.sent[row["channel"]] += 1
            found.cost += costs.get(row["channel"], 0.0)
            found.hours[text_of_ms(_hour(row["decided_at"]))] += 1
        elif row["outcome"] != "ghost":
            found.gates[row["gate"]] += 1
    if not last:
        found.left_out[reason or "not due within the time"] += 1


def _hour(decided_at: str) -> int:
    return ms_of_text(decided_at) // HOUR_MS * HOUR_MS
