"""Folds events, or the passing of time, into one profile, with the decisions that follow. It uses no store.

No copies are made for the case of an error. After one, the half-changed person is discarded and all events are folded
again from the stored profile, step by step (`isolation.py`), so that the error costs the step it came from and no
other. The records of the failed attempt are discarded too, so no record is lost or published twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import orjson

from processors.profiles import link_scans
from processors.profiles.cache import UNKNOWN_TIMER, OpenProfile
from processors.profiles.document import Document, Event, encode, join, profile_of_event, read_profile
from processors.profiles.joins import canonical_json
from processors.profiles.product_news import news_for, watched_products
from schemas.decisions.decision import Emit
from schemas.journeys.control import JourneyControl
from schemas.markets import MarketDefinitions
from schemas.outcomes import Reject
from schemas.products import Fact
from schemas.profiles.document import ProfileRequest, StoredProfile
from schemas.profiles.person import STATE_SECTIONS, UNMERGED, Person
from schemas.records import Outgoing
from schemas.topics import DECISIONS, JOURNEY_EVENTS

TIMER_PAUSE_MS = 1
BUSY_TIMER_PAUSE_MS = 1000
"""Shortest time between two timers of a person, milliseconds: a timer that is due again at once would fire in a
loop."""


class Decider(Protocol):
    """Runs the segments, journeys and messages of a person; changes `person.state` in place.

    It is deterministic: the same calls with the same arguments give the same answers and the same state.

    Attributes:
        markets: The table of markets.
    """

    markets: MarketDefinitions

    def on_event(self, person: Person, event: Event, now_ms: int) -> list[Emit]:
        """Decide what follows from an event that the document holds, after what was due before it."""

    def on_time(self, person: Person, now_ms: int) -> list[Emit]:
        """Decide what follows from the time alone."""

    def due(self, person: Person) -> int | None:
        """Return the next due time without an event, milliseconds since 1970; None: there is none."""

    def combine(self, winner: dict[str, Any], loser: dict[str, Any]) -> None:
        """Join the state of a merged person into `winner`; `loser` must not be used afterwards."""


class Broadcaster(Protocol):
    """Lets people enter broadcasts; the same object as the decider."""

    def broadcasts(self, now_ms: int) -> Sequence[tuple[str, JourneyControl]]:
        """Return the broadcasts under way."""

    def enter_broadcast(self, person: Person, name: str, now_ms: int) -> list[Emit]:
        """Let a person enter a broadcast, after what was due before."""


@dataclass(slots=True)
class PendingEvent:
    """An event that is to be applied.

    Attributes:
        request: Its person, key and time of receipt.
        event: The event.
        addition: The profile of this one event, until a join has used it; None: not made yet.
        rejected: Why its decisions were lost in an attempt that the store has answered by a conflict.
        facts: What the catalogue says of the products that the person watches by this event, where segments ask for it.
    """

    request: ProfileRequest
    event: Event
    addition: Document | None = None
    rejected: Reject | None = None
    facts: Sequence[Fact] = ()

    def take_addition(self) -> Document:
        """Give away what the event adds to a profile; the next time it is made again."""
        addition = self.addition
        if addition is None:
            return addition_of_event(self.event)
        self.addition = None
        return addition


class FoldedProfile(NamedTuple):
    """A profile after its events, encoded.

    Attributes:
        stored: The profile that it was folded from.
        stored_timer_ms: The timer that was stored with it; see `OpenProfile.timer_ms`.
        person: The decoded profile; None if it differs from the stored one, so that it must not be cached.
        document: JSON.
        state: JSON, empty without content; None: the stored state stays, whatever it is.
        due_ms: The next due time without an event; None: there is none.
        timer_from_ms: The timer is put off until then; 0: it is not.
        outgoing: Records to publish, in order.
        watches: Products that the person viewed.
        applied: The events that the document now contains.
        rejected: Events that cost their decisions, or that the document could not take; with the reason.
        suspended: The reason why nothing could be decided for this person; None: decided.
        unreadable: The document cannot be read, so that nothing was applied and `document` is what is stored.
        held: Paused journeys that hold a run of the person since this fold.
        decided: Outcome and gate of each decision about a message.
    """

    stored: StoredProfile
    stored_timer_ms: int | None
    person: Person | None
    document: bytes
    state: bytes | None
    due_ms: int | None
    timer_from_ms: int = 0
    outgoing: Sequence[Outgoing] = ()
    watches: Sequence[str] = ()
    applied: Sequence[PendingEvent] = ()
    rejected: Sequence[tuple[Event, Reject]] = ()
    suspended: Reject | None = None
    unreadable: bool = False
    held: Sequence[str] = ()
    decided: Sequence[tuple[str, str]] = ()


def addition_of_event(event: Event) -> Document:
    """Make what an event adds to a profile. An event that we derived is nothing that the person did.

    Raises:
        Exception: The event is no resolved touchpoint.
    """
    return {} if event.get("derived") else profile_of_event(event)


def open_profile(profile: OpenProfile, decider: Decider | None) -> Person:
    """Decode a profile, if it is not decoded yet.

    Raises:
        Exception: What is stored cannot be read or combined. The stored profile is as it was.
    """
    if profile.person is not None:
        return profile.person
    stored = profile.stored
    person = Person(stored.profile_id, read_profile(stored), {})
    if decider is not None:
        person.state.update(read_state(stored.state))
        profile.due_ms = profile.timer_ms = due_time(decider, person) if person.state else None
        if stored.absorbed or UNMERGED in person.state:
            combine_states(decider, person.state, [read_state(loser.state) for loser in stored.absorbed])
            profile.due_ms, profile.timer_ms = due_time(decider, person), UNKNOWN_TIMER
    profile.person = person
    return person


def fold_events(profile: OpenProfile, pending: Sequence[PendingEvent], decider: Decider | None) -> FoldedProfile:
    """Join events into a document and decide what follows from each, after what was due before it.

    Args:
        profile: Whose; it is changed in place, and after an error it must not be used any more.
        pending: In order.
        decider: Decides; None: nothing does, and the state stays.

    Raises:
        Exception: A bug, or something stored that cannot be read. Nothing that was done counts.
    """
    person = open_profile(profile, decider)
    document = person.document
    if decider is None:
        for one in pending:
            join(document, one.take_addition())
        return FoldedProfile(profile.stored, None, person, encode(document), None, None, 0, (), (), pending)
    emits: list[Emit] = []
    watches: dict[str, None] = {}
    due_ms = profile.due_ms
    for one in pending:
        at_ms, event = one.request.received_ms, one.event
        if due_ms is not None and due_ms <= at_ms:  # what was due before must not see the event
            emits += decider.on_time(person, at_ms)
        if link_scans.concerns(person.state, event):
            admitted = link_scans.admit(document, person.state, event, one.take_addition())
            if admitted.added:
                join(document, admitted.added)
            emits += [link_scans.verdict_record(person.profile_id, *judged) for judged in admitted.judged]
            for counted, addition in admitted.events:
                join(document, addition)
                emits += decider.on_event(person, counted, at_ms)
        else:
            join(document, one.take_addition())
            if (news := news_for(document, event, decider.markets, one.facts)) is not None:
                emits += decider.on_event(person, news, at_ms)
        due_ms = due_time(decider, person)
        watches.update(dict.fromkeys(watched_products(event)))
    return FoldedProfile(
        profile.stored,
        profile.timer_ms,
        person,
        encode(document),
        encode_state(person.state),
        due_ms,
        0,
        encode_emits(person.profile_id, emits) if emits else (),
        tuple(watches),
        pending,
        held=held_journeys(emits) if emits else (),
        decided=decisions_in(emits) if emits else (),
    )


def fold_time(profile: OpenProfile, now_ms: int, decider: Decider) -> FoldedProfile:
    """Decide what follows for a person from the time alone.

    Raises:
        Exception: As `fold_events`.
    """
    person = open_profile(profile, decider)
    emits = decider.on_time(person, now_ms)
    due_ms = due_time(decider, person)
    return FoldedProfile(
        profile.stored,
        UNKNOWN_TIMER,  # it fired, whatever is due now: after a change of definitions this may be nothing, or later
        person,
        encode(person.document),
        encode_state(person.state),
        due_ms,
        timer_from_ms(due_ms, now_ms),
        encode_emits(person.profile_id, emits),
        held=held_journeys(emits),
        decided=decisions_in(emits),
    )


def fold_entry(
    profile: OpenProfile, broadcast: str, now_ms: int, decider: Decider, broadcaster: Broadcaster
) -> FoldedProfile:
    """Let a person enter a broadcast; without outgoing records there is nothing to store.

    Raises:
        Exception: As `fold_events`.
    """
    person = open_profile(profile, decider)
    emits = broadcaster.enter_broadcast(person, broadcast, now_ms)
    return FoldedProfile(
        profile.stored,
        profile.timer_ms,
        person,
        encode(person.document),
        encode_state(person.state),
        due_time(decider, person),
        0,
        encode_emits(person.profile_id, emits),
        held=held_journeys(emits),
        decided=decisions_in(emits),
    )


def due_time(decider: Decider, person: Person) -> int | None:
    """Return the next due time of a person without an event, milliseconds since 1970; None: there is none.

    Raises:
        Exception: The state cannot be read. A newer version may have stored times in another form, and a decider that
            only compares them gives that form back.
    """
    due_ms = decider.due(person)
    if due_ms is not None and type(due_ms) is not int and not isinstance(due_ms, float):  # runs for every event
        raise TypeError("the time of a timer is a number")
    return due_ms


def combine_states(decider: Decider, winner: dict[str, Any], losers: Iterable[dict[str, Any]]) -> None:
    """Join the states of people who turned out to be one, those that could not be joined before included.

    Args:
        decider: Joins the sections that it knows.
        winner: Changed in place. Of a section that this version does not know the winner's stays, else a loser's.
        losers: Given away.
    """
    waiting = [*winner.pop(UNMERGED, ()), *losers]
    for loser in waiting:  # which may bring further ones
        waiting += loser.pop(UNMERGED, ())
        if scans := loser.pop(link_scans.SECTION, None):
            link_scans.combine(winner.setdefault(link_scans.SECTION, {}), scans)
        unknown = {name: section for name, section in loser.items() if name not in STATE_SECTIONS}
        decider.combine(winner, loser)
        for name, section in unknown.items():
            winner.setdefault(name, section)


def read_state(stored: bytes | None) -> dict[str, Any]:
    """Decode a stored state.

    Raises:
        ValueError, TypeError: It is no JSON object.
    """
    state = orjson.loads(stored) if stored else {}
    if not isinstance(state, dict):
        raise TypeError("a state is an object")
    return state


def encode_state(state: dict[str, Any]) -> bytes:
    """Return a state as canonical JSON; empty for a state without content."""
    return canonical_json(state) if state else b""


def encode_emits(profile_id: str, emits: Sequence[Emit]) -> list[Outgoing]:
    """Return the emits of a decider about a person as records."""
    key = profile_id.encode()
    return [Outgoing(emit.topic, key, orjson.dumps(emit.value)) for emit in emits]


def decisions_in(emits: Iterable[Emit]) -> list[tuple[str, str]]:
    """Return outcome and gate of each decision about a message."""
    return [(emit.value["outcome"], emit.value["gate"]) for emit in emits if emit.topic == DECISIONS]


def held_journeys(emits: Iterable[Emit]) -> list[str]:
    """Return the journeys that now hold a run of the person, since they are paused."""
    return sorted(
        {emit.value["journey"] for emit in emits if emit.topic == JOURNEY_EVENTS and emit.value.get("kind") == "held"}
    )


def timer_from_ms(due_ms: int | None, now_ms: int) -> int:
    """Return the earliest time of a person's next timer after one fired at `now_ms`."""
    still_due = due_ms is not None and due_ms <= now_ms
    return now_ms + (BUSY_TIMER_PAUSE_MS if still_due else TIMER_PAUSE_MS)
