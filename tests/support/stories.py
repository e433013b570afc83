"""Stories of one person for tests of journeys: events at times, and the messages that follow.

story = Story(shipped("cart_abandonment"))
story.at("10:00").event("Product Added", cart_id="c1", product_id="lamp")
story.at("11:00")

assert [("web_push", "cart-reminder")] == story.sent()
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Self

import orjson
import yaml

from deploy.operations.definition_files import load
from processors.decisions.engine import DecisionEngine
from processors.profiles.document import join, new_profile, profile_of_event
from schemas.decisions.decision import Emit
from schemas.decisions.policy import HoldoutRules, MessagePolicy
from schemas.durations import parse_duration
from schemas.journeys.definitions import Journey
from schemas.profiles.person import Person
from schemas.segments.definitions import SegmentDefinitions
from schemas.topics import ACTIONS, DECISIONS, JOURNEY_EVENTS

DEFINITIONS = Path("deploy/definitions")
FIRST_DAY = datetime(2026, 11, 2, tzinfo=UTC)
"""A Monday."""
NO_HOLDOUT = HoldoutRules(share=0)


@cache
def shipped_journeys() -> dict[str, Journey]:
    """Return the shipped journeys by name."""
    found = [load(path, Journey) for path in sorted((DEFINITIONS / "journeys").glob("*.yaml"))]
    return {journey.name: journey for journey in found}


@cache
def shipped_segments() -> SegmentDefinitions:
    """Return the shipped segments."""
    files = [load(path, SegmentDefinitions) for path in sorted((DEFINITIONS / "segments").glob("*.yaml"))]
    given: dict[str, Any] = {name: getattr(file, name) for file in files for name in file.model_fields_set}
    for name in ("segments", "traits"):
        given[name] = tuple(one for file in files for one in getattr(file, name))
    return SegmentDefinitions(**given)


def shipped(name: str, **changes: Any) -> Journey:
    """Return a shipped journey without a holdout."""
    return shipped_journeys()[name].model_copy(update={"holdout": 0.0, **changes})


def journey(text: str, **fields: Any) -> Journey:
    """Return a journey from YAML, with defaults."""
    return Journey.model_validate({"name": "test", "description": "A test.", **yaml.safe_load(text), **fields})


UNLIMITED = MessagePolicy(holdout=NO_HOLDOUT, caps=(), quiet_hours={})


CART = """
entry: {event: Product Added, key: cart_id}
exit_when: [{event: Order Completed, key: cart_id}]
steps:
  - wait_for: {event: Order Completed, key: cart_id}
    timeout: 1h
    then: [{exit: ordered}]
  - message: cart-reminder
    channel: email
"""


def cart(**fields: Any) -> Journey:
    """Return a journey that reminds of a cart after an hour."""
    return journey(CART, **fields)


def story(*journeys: Journey, policy: MessagePolicy = UNLIMITED, **fields: Any) -> Story:
    """Return a story that begins at ten, without caps and quiet hours."""
    return Story(*journeys, policy=policy, **fields).at("10:00")


def simple(steps: str, entry: str = "{event: Signed Up}", **fields: Any) -> Journey:
    """Return a journey of these steps that people enter by signing up."""
    return journey(f"entry: {entry}\nsteps:\n{steps}", **fields)


def moment(when: str) -> int:
    """Read `10:00` (of the first day), `day 3 10:00` or a full time as milliseconds since 1970, in UTC."""
    if found := re.fullmatch(r"(?:day (\d+) )?(\d\d):(\d\d)(?::(\d\d(?:\.\d+)?))?", when):
        day, hours, minutes, seconds = (float(part or 0) for part in found.groups())
        at = FIRST_DAY + timedelta(days=max(day - 1, 0), hours=hours, minutes=minutes, seconds=seconds)
    else:
        at = datetime.fromisoformat(when)
    return round(at.timestamp() * 1000)


class Story:
    """One person and a clock.

    Args:
        journeys: The current journeys.
        segments: The current segments.
        policy: The message policy; the shipped one, without a control group, unless given.
        archive: Former journeys.
        timezone: Time zone of the person.
        agrees: Consent to marketing on all channels.
        reachable: Identifier types at which the person can be reached.
        poll: Interval at which due steps are processed, as a duration; None: only at the times of the story.
    """

    def __init__(
        self,
        *journeys: Journey,
        segments: SegmentDefinitions | None = None,
        policy: MessagePolicy | None = None,
        archive: Iterable[Journey] = (),
        timezone: str = "Europe/Berlin",
        agrees: bool = True,
        reachable: Iterable[str] = ("email", "phone", "push_token", "whatsapp_id"),
        profile_id: str = "p1",
        traits: dict[str, Any] | None = None,
        poll: str | None = None,
    ) -> None:
        self.decider = DecisionEngine(
            segments or SegmentDefinitions(),
            journeys,
            policy or MessagePolicy(holdout=NO_HOLDOUT),
            archive={one.version: one for one in archive},
        )
        self.person = Person(profile_id, new_profile(profile_id), {})
        self.out: list[Emit] = []
        self.now = moment("00:00")
        self._poll = _length(poll) if poll else 0
        self._number = 0
        channels = ("email", "sms", "web_push", "app_push", "whatsapp")
        self.event(
            "Identify",
            identifiers=[{"type": kind, "value": f"{profile_id}-{kind}", "verified": True} for kind in reachable],
            consent={"marketing": agrees, "channels": dict.fromkeys(channels, agrees)},
            context={"timezone": timezone},
            traits=traits or {},
        )

    def at(self, when: str) -> Self:
        """Let time pass until a time of day."""
        return self.until(moment(when))

    def after(self, length: str) -> Self:
        """Let time pass for a duration."""
        return self.until(self.now + _length(length))

    def event(
        self,
        event: str,
        channel: str = "web",
        /,
        *,
        happened: str | None = None,
        event_id: str | None = None,
        identifiers: Any = (),
        consent: Any = None,
        context: Any = None,
        traits: Any = None,
        derived: bool = False,
        **properties: Any,
    ) -> Self:
        """Receive an event now; `happened` is its event time if that is earlier."""
        self._number += 1
        resolved: dict[str, Any] = {
            "event_id": event_id or f"{self.person.profile_id}-{self._number}",
            "event": event,
            "channel": channel,
            "source": "test",
            "occurred_at": _text(moment(happened) if happened else self.now),
            "received_at": _text(self.now),
            "profile_id": self.person.profile_id,
            "anchor": None,
            "identifiers": list(identifiers),
            "origin": {},
        }
        parts = {"consent": consent, "context": context, "traits": traits, "properties": properties}
        resolved |= {part: value for part, value in parts.items() if value}
        if derived:
            resolved["derived"] = True
        return self.process(resolved)

    def process(self, event: dict[str, Any]) -> Self:
        """Process a resolved event."""
        if not event.get("derived"):
            join(self.person.document, profile_of_event(event))
        self.out += self.decider.on_event(self.person, event, moment(event["received_at"]))
        self._check_stored()
        return self

    def merge(self, other: Story) -> Self:
        """Merge the profile of another person into this one."""
        document = copy.deepcopy(other.person.document)
        del document["profile_id"]
        join(self.person.document, document)
        self.decider.combine(self.person.state, copy.deepcopy(other.person.state))
        self.now = max(self.now, other.now)
        return self.until(self.now)

    def sent(self) -> list[tuple[str, str]]:
        """Return channel and template of the messages sent."""
        return [(row["channel"], row["template"]) for row in self.rows(ACTIONS) if row["channel"] != "webhook"]

    def templates(self) -> list[str]:
        """Return templates of the messages sent."""
        return [template for _, template in self.sent()]

    def decisions(self) -> list[tuple[str, str, str]]:
        """Return message, outcome and gate of each ledger row."""
        return [(row["message"], row["outcome"], row["gate"]) for row in self.rows(DECISIONS)]

    def journey_events(self, *kinds: str) -> list[dict[str, Any]]:
        """Return journey events of some kinds, or of all."""
        rows = [row for row in self.rows(JOURNEY_EVENTS) if "journey" in row]
        return [row for row in rows if not kinds or row["kind"] in kinds]

    def exits(self) -> list[tuple[str, str]]:
        """Return key and reason of the runs that have ended."""
        return [(row["key"], row["detail"]["reason"]) for row in self.journey_events("exited")]

    def rows(self, topic: str) -> list[dict[str, Any]]:
        """Return everything emitted to a topic."""
        return [emit.value for emit in self.out if emit.topic == topic]

    def runs(self) -> list[dict[str, Any]]:
        """Return the active runs."""
        return list(self.person.state.get("journeys", {}).get("runs", {}).values())

    def until(self, when: int) -> Self:
        """Let time pass until then, in milliseconds since 1970."""
        assert when >= self.now, "time does not go back"
        while self._poll and self.now + self._poll < when:
            self.now += self._poll
            self.out += self.decider.on_time(self.person, self.now)
        self.now = when
        self.out += self.decider.on_time(self.person, self.now)
        self._check_stored()
        return self

    def _check_stored(self) -> None:
        """Store and load the state, as between two events it is JSON in a store."""
        stored = orjson.loads(orjson.dumps(self.person.state))
        assert stored == self.person.state
        self.person = self.person._replace(state=stored)


def _length(written: str) -> int:
    length = parse_duration(written)
    assert isinstance(length, int)
    return length


def _text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
