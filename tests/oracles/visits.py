"""Visits and touches of a list of events, one event at a time: slow and obvious, the definition that SQL has to meet.

An event of a visit belongs to one device of one person, or to a session id where no device is known. Devices are looked
at one by one, events in order of time. An event begins a visit when its device has been silent for more than a day, or
when nothing says that it goes on:

- it has a session id that was not used since: the visit before has another one already, or the pause was long;
- it has none, and the pause was long.

Back from paying or signing in, or from an unknown site near a checkout, goes on in any case. A step of the checkout
that a server tells is one of the person: of all browsers whose last event is no older than a pause and half an hour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

SILENCE = timedelta(days=1)
CHECKOUT = timedelta(minutes=30)
"""From an unknown site so soon after a checkout step: from the bank."""
ORDER = timedelta(minutes=1)
"""From an unknown site so shortly before an order: from the bank."""


@dataclass(frozen=True)
class VisitEvent:
    """One event.

    Attributes:
        event_id: Its id.
        at: When it happened.
        tie: Orders events of one instant.
        visitor: Person and device, or person and session id.
        session: Its session id; empty: none.
        role: `campaign`, `session`, `referral`, `return` or `visit`.
        campaign: What names its campaign; empty: none.
        click_id: The same.
        checkout: Whether it is a step of a checkout.
        order: Whether it is an order.
        step_of: The person whose checkout a server tells, without a browser: no event of a visit; mostly empty.
        person: Who the device belongs to.
    """

    event_id: str
    at: datetime
    tie: int
    visitor: str
    session: str = ""
    role: str = "session"
    campaign: str = ""
    click_id: str = ""
    checkout: bool = False
    order: bool = False
    step_of: str = ""
    person: str = ""


@dataclass
class Visit:
    """One visit: its events in order, the ids of those that are touches."""

    events: list[VisitEvent] = field(default_factory=list)
    touches: list[str] = field(default_factory=list)


def visits(events: Iterable[VisitEvent], pause: timedelta = timedelta(minutes=30)) -> list[Visit]:
    """Return the visits of some events, in no particular order."""
    of_visitor = defaultdict(list)
    steps = defaultdict(list)
    for event in events:
        if event.step_of:
            steps[event.step_of].append(event)
        else:
            of_visitor[event.visitor].append(event)
    return [visit for own in of_visitor.values() for visit in _visits_of_one(own, steps[own[0].person], pause)]


def _visits_of_one(events: list[VisitEvent], steps: list[VisitEvent], pause: timedelta) -> list[Visit]:
    events = sorted(events, key=lambda one: (one.at, one.tie))
    found: list[Visit] = []
    sessions: dict[str, set[str]] = {}  # what each session id has brought, since the last silence
    for place, event in enumerate(events):
        before = events[place - 1] if place else None
        since = event.at - before.at if before else None
        if since is None or since > SILENCE:
            found.append(Visit())
            sessions = {}
        elif not (_goes_on(event, events) or _near(event, steps, since, pause)) and _begins(
            event, found[-1], since >= pause, sessions
        ):
            found.append(Visit())
        visit = found[-1]
        brought = {name for name in (f"campaign {event.campaign}" * bool(event.campaign), event.click_id) if name}
        if event.role == "campaign":
            seen = set().union(*({f"campaign {one.campaign}", one.click_id} for one in visit.events))
            seen |= sessions.get(event.session, set()) if event.session else set()
            if brought - seen:
                visit.touches.append(event.event_id)
        elif event.role in ("session", "referral") and all(one.role == "visit" for one in visit.events):
            visit.touches.append(event.event_id)
        visit.events.append(event)
        if event.session:
            sessions[event.session] = sessions.get(event.session, set()) | brought
    return found


def _begins(event: VisitEvent, visit: Visit, paused: bool, sessions: dict[str, set[str]]) -> bool:
    if not event.session:
        return paused
    return event.session not in sessions and (paused or any(one.session for one in visit.events))


def _goes_on(event: VisitEvent, events: list[VisitEvent]) -> bool:
    if event.role == "return":
        return True
    return event.role == "referral" and any(
        (one.checkout and timedelta(0) <= event.at - one.at <= CHECKOUT and _not_after(one, event))
        or (one.order and timedelta(0) <= one.at - event.at <= ORDER and _not_after(event, one))
        for one in events
    )


def _near(event: VisitEvent, steps: list[VisitEvent], since: timedelta, pause: timedelta) -> bool:
    return (
        event.role == "referral"
        and since <= pause + CHECKOUT
        and any(
            timedelta(0) <= event.at - one.at <= CHECKOUT or (one.order and timedelta(0) <= one.at - event.at <= ORDER)
            for one in steps
        )
    )


def _not_after(one: VisitEvent, other: VisitEvent) -> bool:
    return (one.at, one.tie) <= (other.at, other.tie)
