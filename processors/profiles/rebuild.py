"""Rebuilds a person's profile from all events that belong to the person now.

After an unmerge both people are rebuilt: counts, carts, orders and consents of two people cannot be told apart in
the profile of one. `tests/integration/profiles/test_rebuild.py` holds that merging and splitting leaves no trace.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from processors.identity.claims import event_key
from processors.profiles import link_scans
from processors.profiles.document import Document, Event, encode, join, new_profile, profile_of_event
from processors.profiles.fold import Decider, encode_state
from schemas.profiles.document import ProfileWrite, StoredProfile
from schemas.profiles.person import Person
from schemas.time import ms_of_text


class RebuiltProfile(NamedTuple):
    """A profile, folded from history.

    Attributes:
        document: The profile.
        state: What the decider keeps of the person; empty without one.
        due_ms: The next due time without an event; None: there is none.
        marks: (event key, received_ms) of each event.
    """

    document: Document
    state: dict[str, Any]
    due_ms: int | None
    marks: tuple[tuple[bytes, int], ...]

    @property
    def event_count(self) -> int:
        """How many events it was made of."""
        return len(self.marks)


def rebuild(
    profile_id: str,
    events: Iterable[Event],
    *,
    foreign: Collection[tuple[str, str]] = frozenset(),
    decider: Decider | None = None,
    until_ms: int = 0,
) -> RebuiltProfile:
    """Fold a person's events.

    Args:
        profile_id: The person.
        events: Resolved touchpoints, in any order; of two with one source and id the one received first counts.
        foreign: Identifiers (type, value) of people from whom this one was separated. The event that had joined them
            still names them; they are no addresses of this person.
        decider: Replays segments and journeys beside the profile, in the order of receipt. What it wants to publish
            is dropped: it was published when the events were first applied. Price and stock changes, which are events
            of no person, are not replayed.
        until_ms: With a decider: timers due by then have fired already, so they are replayed too.
    """
    in_order = sorted(events, key=lambda event: (event["received_at"], event["event_id"]))
    person = Person(profile_id, new_profile(profile_id), {})
    marks: dict[bytes, int] = {}
    for event in in_order:
        key, received_ms = event_key(event["source"], event["event_id"]), ms_of_text(event["received_at"])
        if key in marks:
            continue
        marks[key] = received_ms
        event = without(event, foreign)
        if decider is not None and person.state:
            decider.on_time(person, received_ms)  # what was due before must not see the event
        admitted = link_scans.admit(person.document, person.state, event, profile_of_event(event))
        if admitted.added:
            join(person.document, admitted.added)
        for counted, addition in admitted.events:
            join(person.document, addition)
            if decider is not None:
                decider.on_event(person, counted, received_ms)
    if decider is not None and person.state:
        decider.on_time(person, until_ms)
    due_ms = decider.due(person) if decider is not None else None
    return RebuiltProfile(person.document, person.state if decider is not None else {}, due_ms, tuple(marks.items()))


def without(event: Event, foreign: Collection[tuple[str, str]]) -> Event:
    """Leave identifiers out of an event; the same event where it names none of them."""
    kept = [one for one in event["identifiers"] if (one["type"], one["value"]) not in foreign]
    return event if len(kept) == len(event["identifiers"]) else {**event, "identifiers": kept}


def replacement(stored: StoredProfile, rebuilt: RebuiltProfile, *, decided: bool, marked_since_ms: int) -> ProfileWrite:
    """Build the write that replaces a stored profile by the rebuilt one.

    Args:
        stored: The profile as it was read before history was; a change since then makes the write fail.
        rebuilt: The profile from history, the events of the profiles that `stored` is to absorb included.
        decided: Whether `rebuilt` has the decider's state; else the stored state stays.
        marked_since_ms: Marks of events received before then have expired, so none is written for them.
    """
    return ProfileWrite(
        profile_id=stored.profile_id,
        expected_version=stored.version,
        document=encode(rebuilt.document),
        absorbed=tuple((loser.profile_id, loser.version) for loser in stored.absorbed),
        events=tuple(mark for mark in rebuilt.marks if mark[1] >= marked_since_ms),
        state=encode_state(rebuilt.state) if decided else None,
        due_ms=(rebuilt.due_ms or 0) if decided else None,
    )
