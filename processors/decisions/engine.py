"""The decision engine: segments, journeys and message decisions of one person, driven by events and by time.

Invariant: before an event is handled, everything due earlier has been done, each thing at its own due time. So the
result does not depend on how often, or how late, the engine is called.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from processors.decisions.resolver import MessageResolver
from processors.enrichment.enrichment import is_bot
from processors.journeys.engine import JourneyEngine
from processors.journeys.events import segment_event
from processors.segments.engine import SegmentEngine
from schemas.decisions.decision import Emit
from schemas.decisions.policy import MessagePolicy
from schemas.journeys.control import Controls, JourneyControl
from schemas.journeys.definitions import Journey
from schemas.profiles.person import Person
from schemas.segments.conditions import Condition, SegmentChange, SegmentHistory
from schemas.segments.definitions import SegmentDefinitions, unknown_names
from schemas.territory import ONE_TERRITORY, Territory
from schemas.time import text_of_ms
from schemas.topics import DECISIONS, JOURNEY_EVENTS

Event = dict[str, Any]

MAX_ROUNDS = 8
"""Rounds of one event: a journey may set a trait, which may change a segment, which may start a journey, and so on."""
MAX_DUE_TIMES = 10_000
"""Due times of one person that one call handles; the others stay due for the next call."""


class DecisionEngine:
    """Runs segments, journeys and message decisions of one person.

    Args:
        segments: The segments in force.
        journeys: The journeys in force.
        policy: The message policy.
        territory: Of the deployment.
        archive: Former journeys by version, for runs that entered with them.
        conditions: Further conditions, such as those of slots, so that what they need of people is kept.

    Raises:
        LookupError: A condition of a journey in force refers to an unknown segment or trait.

    Attributes:
        version: Hash of all definitions.
        segments: The segment engine.
        journeys: The journey engine.
        resolver: Decides each message.
        markets: The table of markets.
    """

    def __init__(
        self,
        segments: SegmentDefinitions,
        journeys: Iterable[Journey],
        policy: MessagePolicy,
        *,
        territory: Territory = ONE_TERRITORY,
        archive: Mapping[str, Journey] | None = None,
        conditions: Iterable[Condition] = (),
    ) -> None:
        current = list(journeys)
        names = [segment.name for segment in segments.segments], [trait.name for trait in segments.traits]
        # A former journey may use a segment that was deleted; its runs end, the others continue.
        former = {
            version: journey
            for version, journey in (archive or {}).items()
            if not any(unknown_names(condition, *names) for _, condition in journey.conditions())
        }
        asked = [condition for journey in (*current, *former.values()) for _, condition in journey.conditions()]
        asked += conditions
        self.markets = territory.markets
        self.segments = SegmentEngine(segments, territory=territory, extra=asked, address_types=policy.address_types)
        self.resolver = MessageResolver(policy, segments=self.segments, territory=territory)
        self.journeys = JourneyEngine(current, self.segments, self.resolver, territory=territory, archive=former)
        self.version = _version(
            segments.model_dump(by_alias=True, exclude_unset=True),
            policy.model_dump(),
            sorted(journey.version for journey in current),
            *territory.versioned,
        )

    def under(self, controls: Controls) -> DecisionEngine:
        """Return this engine with journeys that are paused or stopped; all that is compiled is shared."""
        controlled = copy.copy(self)
        controlled.journeys = self.journeys.under(controls)
        return controlled

    def on_event(self, person: Person, event: Event, now_ms: int) -> list[Emit]:
        """Handle an event of a person.

        Everything due earlier is done first. To evaluate that on the profile as it was before the event, a caller calls
        `on_time` before it joins the event into the document. An event of a bot changes nothing.

        Args:
            person: The document holds the event; the state is changed, and so are traits that a journey sets.
            event: A resolved touchpoint. A `derived` one is about a product that the person has looked at.
            now_ms: The event's `received_at`.

        Returns:
            What to publish, in order.
        """
        out = self.on_time(person, now_ms) if person.state else []
        if is_bot(event):
            return out
        self.segments.observe(person, event)
        changes = self.segments.evaluate(person, now_ms, event)
        out += [Emit(DECISIONS, row) for row in self.resolver.on_event(person, event, now_ms)]
        return self._follow(person, event, changes, now_ms, out)

    def on_time(self, person: Person, now_ms: int) -> list[Emit]:
        """Handle everything that is due by `now_ms`, each at its own due time, also if the call is late or repeated."""
        out: list[Emit] = self._redefine(person, now_ms) if self.segments.is_outdated(person) else []
        before: int | None = None
        for _ in range(MAX_DUE_TIMES):
            at = self.due(person)
            if at is None or at > now_ms or at == before:
                break
            before = at
            out = self._at(person, at, out)
        return out

    def due(self, person: Person) -> int | None:
        """Return the next due time, milliseconds since 1970; None: nothing is due without an event."""
        if not person.state:
            return None
        found: int | None = None
        for engine in (self.segments, self.journeys, self.resolver):  # no generator: this runs for every event
            at = engine.due(person)
            if at is not None and (found is None or at < found):
                found = at
        return found

    def combine(self, winner: dict[str, Any], loser: dict[str, Any]) -> None:
        """Join the states of two merged people into `winner`; `loser` must not be used afterwards."""
        self.segments.combine(winner, loser)
        self.journeys.combine(winner, loser)
        self.resolver.combine(winner, loser)

    @property
    def traits_set(self) -> frozenset[str]:
        """The names of the traits that journeys set."""
        return self.journeys.traits_set

    def observe(self, person: Person, event: Event) -> None:
        """Take an event of history into the series of the segments. Nothing is decided."""
        if not is_bot(event):
            self.segments.observe(person, event)

    def broadcasts(self, now_ms: int) -> list[tuple[str, JourneyControl]]:
        """Return the broadcasts that people may enter, with their states."""
        return self.journeys.broadcasts(now_ms)

    def enter_broadcast(self, person: Person, name: str, now_ms: int) -> list[Emit]:
        """Let a person enter a broadcast that was started, once in a life, after what is due by then is done.

        Args:
            person: The state is changed.
            name: Of the broadcast; nothing happens unless it is under way.
            now_ms: The time, milliseconds since 1970.
        """
        out = self.on_time(person, now_ms) if person.state else []
        return out + self.journeys.enter_broadcast(person, name, now_ms)

    def restate(self, person: Person, now_ms: int, history: SegmentHistory | None = None) -> list[Emit]:
        """Evaluate all segments after the profile, or its series, was made anew.

        Args:
            person: The state is changed.
            now_ms: The time for which memberships are exact.
            history: Dates some segments by history, and names journeys that their members enter.

        Returns:
            Changes of memberships. They start no journey but those that `history` names, each person once a backfill.
        """
        if history is None:
            changes = self.segments.restate(person, now_ms)
            return [segment_event(change, person.profile_id, "") for change in changes]
        changes = self.segments.restate(person, now_ms, history.names, history.changes, history.stated)
        out = [segment_event(change, person.profile_id, "") for change in changes]
        segments = person.state.get("segments")
        if segments is None or not history.journeys or segments.get("filled") == history.backfill:
            return out
        segments["filled"] = history.backfill
        now_ms = max(now_ms, segments["at"])
        done = self.journeys.enter_members(person, history.journeys, now_ms)
        out += done
        if _sets_traits(done):
            out = self._follow(
                person, None, self.segments.evaluate(person, now_ms, _traits_stated(now_ms)), now_ms, out
            )
        return out

    def _redefine(self, person: Person, now_ms: int) -> list[Emit]:
        """Evaluate a person with the definitions in force, after what was due before."""
        at, changes = self.segments.redefine(person, now_ms)
        if (due := self.resolver.due(person)) is not None and due <= at:
            self.resolver.expire(person, at)
        out = self.journeys.on_time(person, at - 1)
        return self._follow(person, None, changes, at, out)

    def _at(self, person: Person, at: int, out: list[Emit]) -> list[Emit]:
        """Handle one due time: first reservations of caps end, then segments change, then runs continue."""
        if (due := self.resolver.due(person)) is not None and due <= at:
            self.resolver.expire(person, at)
        if (due := self.segments.due(person)) is not None and due <= at:
            out = self._follow(person, None, self.segments.evaluate(person, at, None), at, out)
        if (due := self.journeys.due(person)) is not None and due <= at:
            done = self.journeys.on_time(person, at)
            out += done
            if _sets_traits(done):
                out = self._follow(person, None, self.segments.evaluate(person, at, _traits_stated(at)), at, out)
        return out

    def _follow(
        self, person: Person, event: Event | None, changes: Sequence[SegmentChange], now_ms: int, out: list[Emit]
    ) -> list[Emit]:
        """Pass an event and changes of segments to the journeys, and the changes that these cause, in rounds."""
        for _ in range(MAX_ROUNDS):
            event_id = event["event_id"] if event is not None else ""
            if changes:
                out += [segment_event(change, person.profile_id, event_id) for change in changes]
                if any(change.restated for change in changes):
                    changes = [change for change in changes if not change.restated]
            done = self.journeys.on_event(person, event, changes, now_ms)
            if not done:
                break
            out += done
            if not _sets_traits(done):
                break
            event, changes = None, self.segments.evaluate(person, now_ms, _traits_stated(now_ms))
        return out


def _traits_stated(at_ms: int) -> Event:
    """Return the event that makes segments evaluate conditions on traits after a journey's `set_trait`."""
    return {"event": "", "channel": "", "occurred_at": text_of_ms(at_ms), "identifiers": [], "traits": {}}


def _sets_traits(done: list[Emit]) -> bool:
    return any(emit.topic == JOURNEY_EVENTS and emit.value["kind"] == "trait_updated" for emit in done)


def _version(*parts: Any) -> str:
    # The order of sets differs between processes.
    text = orjson.dumps(parts, default=lambda value: sorted(value), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:12]
