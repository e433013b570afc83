"""Offers in slots: a broadcast, or a journey, whose offer the site and the till show while its messages go out.

A broadcast's offer is shown from the person's hour of sending until its messages expire, to the people whom it is for,
reached or not: who has agreed to no mail sees it on the site all the same. A journey's offer is shown while the person
has a run of it. Where a message has gone out already, its template, its variant and its coupon are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from processors.decisions.sends import LogEntry
from processors.journeys.broadcasts import place_ms, send_time
from processors.profiles.time_zone import zone_of
from processors.segments.port import Segments
from schemas.journeys.broadcasts import Broadcast
from schemas.journeys.control import Controls
from schemas.journeys.coupon_choice import CouponChoice
from schemas.journeys.definitions import Journey, MessageNode
from schemas.profiles.person import Person
from schemas.territory import Territory


class Offer(NamedTuple):
    """An offer as one person is to see it.

    Attributes:
        name: The broadcast or journey.
        holdout: Share of people whom it holds out.
        template: Of the message that the person has got, else its first.
        purpose: The purpose of its messages.
        tags: Their tags.
        campaign: Their campaign.
        coupon: Their coupon.
        data: Fixed values for the template.
        variant: The variant that the person has got; empty: none yet.
        message_key: The message that the person has got; empty: none yet.
        until_ms: When it ends; None: not known before.
    """

    name: str
    holdout: float
    template: str
    purpose: str
    tags: tuple[str, ...]
    campaign: Mapping[str, str]
    coupon: CouponChoice | None
    data: Mapping[str, Any]
    variant: str = ""
    message_key: str = ""
    until_ms: int | None = None


class Offers:
    """Finds what of an offer a person is to see.

    Args:
        journeys: The journeys in force.
        broadcasts: The broadcasts in force.
        segments: Memberships and conditions of people.
        territory: Of the deployment.
    """

    def __init__(
        self, journeys: Iterable[Journey], broadcasts: Iterable[Broadcast], segments: Segments, territory: Territory
    ) -> None:
        self._journeys = {one.name: one for one in journeys}
        self._broadcasts = {one.name: (one, one.as_journey()) for one in broadcasts}
        self._segments = segments
        self._territory = territory

    def find(self, name: str, person: Person, controls: Controls, now_ms: int) -> Offer | str:
        """Return the offer for a person; a text: why they are not to see it now."""
        if name in self._broadcasts:
            return self._of_broadcast(name, person, controls, now_ms)
        return self._of_journey(self._journeys[name], person, controls)

    def _of_broadcast(self, name: str, person: Person, controls: Controls, now_ms: int) -> Offer | str:
        broadcast, journey = self._broadcasts[name]
        control = controls.get(name)
        if control is None or not control.version:
            return f"the broadcast {name} was not started"
        if control.state != "running":
            return f"the broadcast {name} is {'cancelled' if control.is_cancelled else control.state}"
        at_ms = send_time(broadcast.send, zone_of(person.document, self._territory))
        begins_ms = max(control.started_ms, at_ms or 0)
        ends_ms = begins_ms + place_ms(journey, control, person.profile_id) + broadcast.expires_after
        if now_ms < begins_ms:
            return f"the broadcast {name} is sent later"
        if now_ms >= ends_ms:
            return f"the broadcast {name} is over"
        key, sent = _message_of(person, name)
        if sent is None:
            members = self._segments.members(person)
            if broadcast.segment not in members or not members.isdisjoint(broadcast.exclude):
                return f"the broadcast {name} is not for the person"
            if broadcast.condition is not None and not self._segments.holds(broadcast.condition, person, now_ms):
                return f"the broadcast {name} is not for the person"
        return Offer(
            name, broadcast.holdout, sent.template if sent else broadcast.template, broadcast.purpose, broadcast.tags,
            broadcast.campaign, broadcast.coupon, broadcast.data, sent.variant if sent else "", key, ends_ms,
        )  # fmt: skip

    def _of_journey(self, journey: Journey, person: Person, controls: Controls) -> Offer | str:
        control = controls.get(journey.name)
        if control is not None and control.state != "running":
            return f"the journey {journey.name} is {control.state}"
        runs = person.state.get("journeys", {}).get("runs", {})
        theirs = {run_id for run_id, run in runs.items() if run["journey"] == journey.name}
        if not theirs:
            return f"the person is in no run of {journey.name}"
        key, sent = _message_of(person, journey.name, theirs)
        messages = [step for _, step in journey.walk() if isinstance(step, MessageNode)]
        shown = next((one for one in messages if sent is not None and one.template == sent.template), messages[0])
        return Offer(
            journey.name, journey.holdout, sent.template if sent else shown.template, shown.purpose, shown.tags,
            shown.campaign, shown.coupon, shown.data, sent.variant if sent else "", key,
        )  # fmt: skip


def _message_of(person: Person, name: str, runs: set[str] | None = None) -> tuple[str, LogEntry | None]:
    """Return the last message of a broadcast or journey that the person has got, with its key."""
    log = person.state.get("sends", {}).get("log", {})
    found = [
        (sent, key)
        for key, sent in ((key, LogEntry(*one)) for key, one in log.items())
        if sent.journey == name and (runs is None or sent.run_id in runs)
    ]
    if not found:
        return "", None
    sent, key = max(found, key=lambda one: (one[0].at, one[1]))
    return key, sent
