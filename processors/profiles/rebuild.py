"""Rebuilds a person's profile from all events that belong to the person now.

`restore` makes the profile of one person anew and keeps the decisions that were taken. After an unmerge both people are
replayed by `rebuild`: counts, carts, runs and consents of two people cannot be told apart in the profile of one.
`tests/integration/profiles/test_rebuild.py` holds that merging and splitting leaves no trace.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple, Protocol

from processors.identity.claims import event_key
from processors.profiles import link_scans
from processors.profiles.catalogue_history import arrival
from processors.profiles.document import Document, Event, encode, join, new_profile, profile_of_event, read_profile
from processors.profiles.fold import Decider, combine_states, encode_emits, encode_state, read_state
from processors.profiles.joins import first_by_name
from processors.profiles.product_news import news_for
from schemas.decisions.decision import Emit
from schemas.profiles.document import TRAITS_KEPT, ProfileWrite, StoredProfile
from schemas.profiles.person import Person
from schemas.segments.conditions import SegmentHistory
from schemas.time import ms_of_text


def may_lack_events(document: Document, whole_since_ms: int) -> bool:
    """Return whether events that a profile has counted may have expired, so that it cannot be made of events alone.

    Args:
        document: The profile.
        whole_since_ms: Events since then are all there, milliseconds since 1970; 0: all events are.
    """
    return bool(whole_since_ms and document["event_count"]) and document.get("first_seen", 0) < whole_since_ms


class RebuiltProfile(NamedTuple):
    """A profile, folded from history.

    Attributes:
        document: The profile.
        state: What the decider keeps of the person; empty without one.
        due_ms: The next due time without an event; None: there is none.
        marks: (event key, received_ms) of each event.
        emits: Changes of segments to publish.
    """

    document: Document
    state: dict[str, Any]
    due_ms: int | None
    marks: tuple[tuple[bytes, int], ...]
    emits: tuple[Emit, ...] = ()

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
            is dropped: it was published when the events were first applied. Of changes of price and stock, which are
            events of no person, those are replayed that `CatalogueHistory` has added to the events.
        until_ms: With a decider: timers due by then have fired already, so they are replayed too.
    """
    in_order = sorted(events, key=arrival)
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
        if event.get("derived"):
            del marks[key]
            if decider is not None and (news := news_for(person.document, event)) is not None:
                decider.on_event(person, news, received_ms)
            continue
        admitted = link_scans.admit(person.document, person.state, event, profile_of_event(event), replayed=True)
        if admitted.added:
            join(person.document, admitted.added)
        for counted, addition in admitted.events:
            join(person.document, addition)
            if decider is not None and (news := news_for(person.document, counted)) is not None:
                decider.on_event(person, news, received_ms)
    if decider is not None and person.state:
        decider.on_time(person, until_ms)
    due_ms = decider.due(person) if decider is not None else None
    return RebuiltProfile(person.document, person.state if decider is not None else {}, due_ms, tuple(marks.items()))


class Restorer(Decider, Protocol):
    """A decider that can take history in without deciding anything."""

    @property
    def traits_set(self) -> frozenset[str]:
        """The names of the traits that journeys set."""

    def observe(self, person: Person, event: Event) -> None:
        """Take an event of history into what segments are evaluated on."""

    def restate(self, person: Person, now_ms: int, history: SegmentHistory | None = None) -> list[Emit]:
        """Evaluate all segments; return the changes of memberships, dated by history if it is given."""


def state_anew(
    stored: StoredProfile, rebuilt: RebuiltProfile, decider: Restorer, now_ms: int, history: SegmentHistory
) -> RebuiltProfile:
    """Add the memberships of a separated person to the changes to publish: those published before were of two people.

    Args:
        stored: The profile as it is stored, with those that it is to absorb.
        rebuilt: What `rebuild` made of the person's own events, with the decider; its state is changed.
        decider: The decision engine.
        now_ms: The time for which memberships are exact.
        history: Memberships by those events; all of it is published.
    """
    person = Person(stored.profile_id, rebuilt.document, rebuilt.state)
    if (segments := person.state.get("segments")) is not None:
        # Changes are numbered on, since those with a lower number are replaced.
        states = [one.state for one in (stored, *stored.absorbed)]
        segments["changes"] = max(segments.get("changes", 0), *map(_changes_of, states))
    emits = tuple(decider.restate(person, now_ms, history))
    return rebuilt._replace(state=person.state, due_ms=decider.due(person), emits=emits)


def _changes_of(state: bytes | None) -> int:
    """Return the number of the last change of segments in a stored state; 0 if it cannot be read."""
    try:
        changes = read_state(state).get("segments", {}).get("changes", 0)
    except (AttributeError, TypeError, ValueError):
        return 0
    return changes if type(changes) is int else 0


def restore(
    stored: StoredProfile,
    events: Iterable[Event],
    decider: Restorer,
    now_ms: int,
    *,
    foreign: Collection[tuple[str, str]] = frozenset(),
    history: SegmentHistory | None = None,
) -> RebuiltProfile:
    """Fold the events of one whole person anew, and keep the decisions that were taken.

    Entries, runs, caps and what was learned from sent messages are facts: a journey that did not exist when an event
    came has sent nothing, whatever it would do now. So the state of journeys and messages stays as it is stored. The
    series of the segments are made anew, and changes of memberships that follow are published; they start no journey.

    Args:
        stored: The profile, with those that it is to absorb.
        events: As of `rebuild`.
        decider: The decision engine.
        now_ms: The time for which memberships are exact.
        foreign: As of `rebuild`.
        history: Dates memberships by history; None: changes are of `now_ms`.
    """
    state = _without_series(_joined_state(stored, decider))
    person = Person(stored.profile_id, new_profile(stored.profile_id), state)
    marks = _take_in(person, events, decider, foreign)
    _keep_traits(person.document, read_profile(stored), decider.traits_set)
    emits = tuple(decider.restate(person, now_ms, history))
    return RebuiltProfile(person.document, state, decider.due(person), tuple(marks.items()), emits)


def advance(stored: StoredProfile, events: Iterable[Event], decider: Restorer, now_ms: int) -> RebuiltProfile:
    """Add to a stored profile, of which earlier events may have expired, those that surely came after it.

    They are the events after the last one that it knows; one that came late in the same seconds is not recognised.
    """
    document, state = read_profile(stored), read_state(stored.state)
    person = Person(stored.profile_id, document, state)
    marks = _take_in(person, newer_events(document, events), decider, frozenset())
    emits = tuple(decider.restate(person, now_ms, None))
    return RebuiltProfile(document, state, decider.due(person), tuple(marks.items()), emits)


def newer_events(document: Document, events: Iterable[Event]) -> list[Event]:
    """Return the events of a person that happened after the last one that the profile has counted."""
    last_ms = document.get("last_seen", 0)
    return [event for event in events if not event.get("derived") and ms_of_text(event["occurred_at"]) > last_ms]


def refill(
    stored: StoredProfile,
    events: Iterable[Event],
    decider: Restorer,
    now_ms: int,
    history: SegmentHistory | None,
    *,
    partial: bool = False,
) -> RebuiltProfile | None:
    """Make the series of the segments anew from the events of a profile, which stays as it is.

    Args:
        stored: The profile, with those that it is to absorb.
        events: All events of the profile, and perhaps further ones that it does not hold yet.
        decider: The decision engine.
        now_ms: The time for which memberships are exact.
        history: Memberships by those events; None: changes are of `now_ms`.
        partial: Events of the profile may have expired: series that it has stay, and the others are made of the rest.

    Returns:
        The profile, without marks; None: the events are not those of the profile, which `restore` can mend.
    """
    document = read_profile(stored)
    former = _joined_state(stored, decider)
    state = _without_series(former)
    scratch = Person(stored.profile_id, new_profile(stored.profile_id), state)
    _take_in(scratch, events, decider, frozenset())
    if scratch.document["event_count"] != document["event_count"]:
        if not partial:
            return None
        state["features"] = {**state.get("features", {}), **former.get("features", {})}
        state |= {name: former[name] for name in (link_scans.SECTION,) if name in former}
    person = Person(stored.profile_id, document, state)
    emits = tuple(decider.restate(person, now_ms, history))
    return RebuiltProfile(document, state, decider.due(person), (), emits)


def _joined_state(stored: StoredProfile, decider: Restorer) -> dict[str, Any]:
    """Return the state of a person, joined with the profiles to absorb."""
    state = read_state(stored.state)
    combine_states(decider, state, [read_state(loser.state) for loser in stored.absorbed])
    return state


def _without_series(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state without what is made anew from the events."""
    return {name: part for name, part in state.items() if name not in ("features", link_scans.SECTION)}


def _take_in(
    person: Person, events: Iterable[Event], decider: Restorer, foreign: Collection[tuple[str, str]]
) -> dict[bytes, int]:
    """Fold events into a new document and its series, in order of receipt; return key and time of each."""
    marks: dict[bytes, int] = {}
    for event in sorted(events, key=arrival):
        key = event_key(event["source"], event["event_id"])
        if key in marks:
            continue
        if event.get("derived"):
            if (news := news_for(person.document, event)) is not None:
                decider.observe(person, news)
            continue
        marks[key] = ms_of_text(event["received_at"])
        event = without(event, foreign)
        admitted = link_scans.admit(person.document, person.state, event, profile_of_event(event), replayed=True)
        if admitted.added:
            join(person.document, admitted.added)
        for counted, addition in admitted.events:
            join(person.document, addition)
            if (news := news_for(person.document, counted)) is not None:
                decider.observe(person, news)
    return marks


def _keep_traits(document: Document, known: Document, names: Collection[str]) -> None:
    """Keep what journeys have set, which is in no event, unless an event says otherwise later."""
    traits = document.get("traits", {})
    kept = {
        name: trait
        for name, trait in known.get("traits", {}).items()
        if name in names and (name not in traits or traits[name][1] < trait[1])
    }
    if kept:
        document["traits"] = first_by_name({**traits, **kept}, TRAITS_KEPT)


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
        outgoing=tuple(encode_emits(stored.profile_id, rebuilt.emits)),
        former=stored.former,
    )
