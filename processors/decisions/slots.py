"""Decides what a slot shows one person: the candidates in order, by the gates of messages; one ledger row a request.

It is a pure function of the person, the request and the time. The person is read where they are asked for, and only the
profile worker writes them: so what slots have shown, for caps, is kept beside the profile (`seen`), and the state of
the person is changed in the caller's copy alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from processors.decisions import calendar, ledger
from processors.decisions.gates.permission import journey_draw
from processors.decisions.resolver import MessageResolver
from processors.decisions.slot_offers import Offer, Offers
from processors.profiles.time_zone import zone_of
from processors.segments.engine import SegmentEngine
from schemas.decisions.decision import Choice, Coupon, Decision, MessageRequest
from schemas.decisions.policy import (
    WILDCARD,
    CapRule,
    ChannelRule,
    ConsentRules,
    MessagePolicy,
    OptOutRegime,
    PriorityRules,
)
from schemas.decisions.slots import Candidate, Score, Slot
from schemas.identity.resolution import uuid_of
from schemas.journeys.broadcasts import Broadcast
from schemas.journeys.control import Controls
from schemas.journeys.definitions import Journey
from schemas.profiles.person import Person
from schemas.territory import Territory
from schemas.time import text_of_ms

Row = dict[str, Any]
Seen = Mapping[str, list[Any]]
"""What slots have shown a person: idempotency key → entry of the section `caps`."""

SHOWN = "Shown: nothing speaks against it."


class SlotRequest(NamedTuple):
    """A request of a slot.

    Attributes:
        slot: Its name.
        request_id: By the client; the same one gets the same decision.
        properties: What the page or till says of the moment, as `product_id`; templates have it as `event.properties`.
        language: The language of the page; empty: the person's.
    """

    slot: str
    request_id: str
    properties: Mapping[str, Any] = {}
    language: str = ""


class SlotMessage(NamedTuple):
    """A candidate as the resolver reads it: see `schemas.decisions.decision.Message`."""

    template: str
    channels: tuple[str, ...]
    purpose: str
    tags: tuple[str, ...]
    campaign: Mapping[str, str]
    coupon: Coupon | None
    choose: Choice = "declared"
    priority: int = 50
    best_within_ms: int | None = None
    expires_after_ms: int | None = None
    margin: float | None = None

    @property
    def transactional(self) -> bool:
        """It is part of a service, not an advertisement."""
        return self.purpose == "transactional"


class SlotDecision(NamedTuple):
    """The decision of one request.

    Attributes:
        row: The row of the ledger.
        shown: The candidate that is shown; None: the fallback.
        reason: Why the fallback is shown: the gate that has decided; empty: a candidate is shown.
        action: As much of an action as its texts use; None: the fallback is shown.
        coupon_key: The key under which its coupon is taken, the same one at each request of the person.
        counted: What caps have to remember of it; None: nothing.
        until_ms: When it ends; None: not known.
    """

    row: Row
    shown: Candidate | None = None
    reason: str = ""
    action: dict[str, Any] | None = None
    coupon_key: str = ""
    counted: list[Any] | None = None
    until_ms: int | None = None


class SlotDecider:
    """Decides requests of slots.

    Args:
        slots: The slots in force.
        journeys: The journeys in force.
        broadcasts: The broadcasts in force.
        policy: The message policy.
        segments: Of the decision engine; it keeps the series that the conditions of slots need.
        territory: Of the deployment.
    """

    def __init__(
        self, slots: Iterable[Slot], journeys: Iterable[Journey], broadcasts: Iterable[Broadcast],
        policy: MessagePolicy, *, segments: SegmentEngine, territory: Territory,
    ) -> None:  # fmt: skip
        self._segments, self._territory = segments, territory
        self._offers = Offers(journeys, broadcasts, segments, territory)
        self.slots = {slot.name: slot for slot in slots}
        self._resolvers = {
            (slot.name, one.name): MessageResolver(_policy(policy, slot, one), segments=segments, territory=territory)
            for slot in self.slots.values()
            for one in slot.candidates
        }

    def bring_up_to(self, person: Person, now_ms: int) -> None:
        """Bring the segments of a person up to a time, once, before `decide`; the state is changed."""
        if self._segments.is_outdated(person):
            self._segments.redefine(person, now_ms)
        self._segments.evaluate(person, now_ms, None)

    def decide(
        self, person: Person, asked: SlotRequest, seen: Seen, now_ms: int, *,
        controls: Controls, without: Mapping[str, str] = {},
    ) -> SlotDecision:  # fmt: skip
        """Decide what is shown.

        Args:
            person: As known now; the state is not changed.
            asked: The request.
            seen: What slots have shown the person.
            now_ms: The time.
            controls: States of journeys and broadcasts.
            without: Candidates that cannot be shown, as their texts lack a value, each with the reason.

        Raises:
            KeyError: There is no such slot.
        """
        slot = self.slots[asked.slot]
        skipped: dict[str, str] = {}
        stopped: Row | None = None
        for one in self._in_order(slot, person, now_ms):
            found = without.get(one.name) or self._fits(one, person, controls, now_ms)
            if isinstance(found, str):
                skipped[one.name] = found
                continue
            offer, until_ms = found
            copy = _copy(person, seen)
            request = _request(slot, one, offer, asked, person, now_ms)
            decision = self._resolvers[slot.name, one.name].decide(copy, request, now_ms)
            if decision.outcome in ("sent", "ghost"):
                row = self._row(decision, slot, one, skipped)
                if decision.outcome == "ghost":
                    return SlotDecision(row, reason="holdout")
                counted = copy.state.get("caps", {}).get(row["idempotency_key"])
                return SlotDecision(
                    row, one, "", _action(decision, row, asked, one, offer, now_ms),
                    _coupon_key(slot, one, offer, person), counted and [*counted[:3], 0], until_ms,
                )  # fmt: skip
            skipped[one.name] = decision.row["reason"].removeprefix("Not sent: ").rstrip(".")
            stopped = stopped or self._row(decision, slot, one, {})
        row = stopped if stopped is not None else _none_fits(slot, person, asked, now_ms)
        row["gates"] = [_audience(skipped, passed=stopped is not None), *row["gates"]]
        return SlotDecision(row, reason=row["gate"])

    def _in_order(self, slot: Slot, person: Person, now_ms: int) -> Iterable[Candidate]:
        if slot.choose == "first":
            return slot.candidates
        return sorted(slot.candidates, key=lambda one: -self._value(one.score, person, now_ms))

    def _value(self, score: Score, person: Person, now_ms: int) -> float:
        if score.attribute is None:
            return score.plus
        found = self._segments.attribute(score.attribute, person, now_ms)
        if isinstance(found, bool) or not isinstance(found, int | float):
            return score.otherwise
        return score.plus + score.times * found

    def _fits(
        self, one: Candidate, person: Person, controls: Controls, now_ms: int
    ) -> tuple[Offer | None, int | None] | str:
        """Return the offer of a candidate and when it ends; a text: why it is not for the person now."""
        zone = zone_of(person.document, self._territory)
        starts_ms, ends_ms = _moment(one.starts, zone), _moment(one.ends, zone)
        if starts_ms is not None and now_ms < starts_ms:
            return f"not before {text_of_ms(starts_ms)}"
        if ends_ms is not None and now_ms >= ends_ms:
            return f"over since {text_of_ms(ends_ms)}"
        if one.condition is not None and not self._segments.holds(one.condition, person, now_ms):
            return "the person is not in its audience"
        if one.offer is None:
            return None, ends_ms
        offer = self._offers.find(one.offer, person, controls, now_ms)
        if isinstance(offer, str):
            return offer
        return offer, min((at for at in (ends_ms, offer.until_ms) if at is not None), default=None)

    @staticmethod
    def _row(decision: Decision, slot: Slot, one: Candidate, skipped: dict[str, str]) -> Row:
        """Return a row of the resolver as one of the slot: one run a person, so that reports compare people."""
        row = dict(decision.row)
        row |= {
            "journey": slot.name,
            "run_id": _run(slot, row["profile_id"]),
            "tags": [tag for tag in row["tags"] if tag != _tag(slot, one)],
        }
        if row["outcome"] == "sent":
            row["reason"] = SHOWN
        elif row["outcome"] == "ghost":
            row["reason"] = f"{_not_shown(row).partition('; it would')[0].rstrip('.')}."
        else:
            row["reason"] = _not_shown(row)
        if skipped:
            row["gates"] = [_audience(skipped, passed=True), *row["gates"]]
        return row


def _policy(policy: MessagePolicy, slot: Slot, one: Candidate) -> MessagePolicy:
    """Return the policy of one candidate: that of messages, on the slot's channel, where nothing waits."""
    unless_refused = OptOutRegime(channels=frozenset({slot.channel}))
    caps: list[CapRule] = [rule for rule in policy.caps if rule.channel is None and rule.tag is not None]
    return MessagePolicy(
        channels={slot.channel: ChannelRule(address=None)},
        consent=policy.consent
        if policy.slots.consent == "asked"
        else ConsentRules(opt_out=(*policy.consent.opt_out, unless_refused)),
        suppression=policy.suppression,
        transactional=policy.transactional,
        holdout=policy.holdout,
        quiet_hours={WILDCARD: None},
        caps=(*caps, *(cap.rule(_tag(slot, one)) for cap in one.caps)),
        when_capped="suppress",
        priority=PriorityRules(window=0),
        expires_after=policy.expires_after,
        receipts=policy.receipts,
    )


def _tag(slot: Slot, one: Candidate) -> str:
    """Return the tag by which the caps of one candidate count; no tag of a definition has such a form."""
    return f"slot:{slot.name}/{one.name}"


def _run(slot: Slot, profile_id: str) -> str:
    return uuid_of("slot", slot.name, profile_id)


def _copy(person: Person, seen: Seen) -> Person:
    sends = person.state.get("sends", {})
    sends = {**sends, "log": dict(sends.get("log", {})), "learned": {}}
    caps = {**person.state.get("caps", {}), **seen}
    return person._replace(state={**person.state, "sends": sends, "caps": caps})


def _request(
    slot: Slot, one: Candidate, offer: Offer | None, asked: SlotRequest, person: Person, now_ms: int
) -> MessageRequest:
    message = SlotMessage(
        template=one.template or (offer.template if offer else ""),
        channels=(slot.channel,),
        purpose=one.purpose or (offer.purpose if offer else slot.purpose),
        tags=(*dict.fromkeys((*one.tags, *(offer.tags if offer else ()))), _tag(slot, one)),
        campaign=one.campaign or (offer.campaign if offer else {}),
        coupon=offer.coupon if offer else one.coupon,
    )
    journey, holdout_share = _holdout(slot, offer, person)
    return MessageRequest(
        journey=journey,
        journey_version=slot.version,
        run_id=uuid_of("slot request", slot.name, person.profile_id, asked.request_id),
        step=one.name,
        message=message,
        requested_ms=now_ms,
        holdout_share=holdout_share,
        variant=offer.variant if offer else "",
    )


def _holdout(slot: Slot, offer: Offer | None, person: Person) -> tuple[str, float]:
    """Return whose control group counts, and its share: that of the slot goes before that of an offer.

    So whom the slot holds out sees the fallback whatever its candidates are, and whom an offer holds out sees it on no
    channel.
    """
    if offer is None or journey_draw(slot.name, person.profile_id) < slot.holdout:
        return slot.name, slot.holdout
    return offer.name, offer.holdout


def _action(
    decision: Decision, row: Row, asked: SlotRequest, one: Candidate, offer: Offer | None, now_ms: int
) -> dict[str, Any]:
    action = dict(decision.action or {})
    event = {
        "event_id": "",
        "event": "",
        "channel": row["channel"],
        "occurred_at": text_of_ms(now_ms),
        "properties": dict(asked.properties),
    }
    run = {"key": "", "entered_at": row["decided_at"], "data": {**(offer.data if offer else {}), **one.data}}
    action |= {name: row[name] for name in ("journey", "run_id", "tags")}
    return action | {
        "context": {"event": event, "run": run},
        "language": asked.language or action.get("language", ""),
    }


def _coupon_key(slot: Slot, one: Candidate, offer: Offer | None, person: Person) -> str:
    if offer is not None and offer.message_key:
        return offer.message_key
    return uuid_of("slot coupon", offer.name if offer else f"{slot.name}/{one.name}", person.profile_id)


def _none_fits(slot: Slot, person: Person, asked: SlotRequest, now_ms: int) -> Row:
    """Return the row of a request for which no candidate is."""
    key = ledger.idempotency_key(slot.name, slot.version, f"{person.profile_id} {asked.request_id}", "")
    return {
        "decision_id": ledger.decision_id(key, "0"),
        "decided_at": text_of_ms(now_ms),
        "profile_id": person.profile_id,
        "journey": slot.name,
        "journey_version": slot.version,
        "run_id": _run(slot, person.profile_id),
        "step": "",
        "message": "",
        "channel": slot.channel,
        "purpose": slot.purpose,
        "tags": [],
        "campaign": "",
        "outcome": "suppressed",
        "gate": "audience",
        "reason": "Not shown: no candidate is for the person now.",
        "until": None,
        "idempotency_key": key,
        "variant": "",
        "holdout": "",
        "propensity": None,
        "gates": [],
        "event_id": "",
    }


def _not_shown(row: Row) -> str:
    return str(row["reason"]).replace("Not sent: ", "Not shown: ")


def _audience(skipped: Mapping[str, str], *, passed: bool) -> Row:
    return {"gate": "audience", "passed": passed, "input": dict(skipped)}


def _moment(at: Any, zone: ZoneInfo) -> int | None:
    return None if at is None else calendar.ms_of_local_time(at.date(), at.time(), zone)
