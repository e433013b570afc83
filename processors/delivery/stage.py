"""The stage `deliver`: renders the message of an action, sends it, and publishes a receipt of the result.

**At most once.** The ledger holds a claim for each message before an adapter is called, and only the worker whose claim
was accepted sends. An attempt that the other side certainly refused for now is retried, with growing pauses, as the
same message. An attempt with an unknown result (the worker died between claim and answer, the connection was lost after
the message was transmitted) is *not* retried: one message too few is better than two. Its receipt says `Failed` with
that reason, so that caps are released. A webhook whose receiver drops repeats can declare it (`deduplicates`).

**Receipts** are touchpoints like any other, on `touchpoints.<channel>`: `Email Sent`, `SMS Failed`, … with
`properties.message_id`, the identifiers that the action names (so that they resolve to the same person), and an id
made from the message's key and the step, so that a receipt that is published twice counts once.

An erased person gets no message, and the message no receipt. The same holds for a message to a device that has passed
to another person since the decision: its receipt would count for the new owner.

A journey may have been paused or stopped since the decision. So each message is asked about right before it is sent, or
published for a sender of the operator's own: of a paused journey it is held until the journey goes on, or the message
expires; of a stopped one it fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import orjson

from processors.delivery.actions import Action, expiry_ms, is_expired, journey_of, parse_action
from processors.delivery.coupons import CouponPoolEmptyError, CouponPools, coupon_event, coupon_values, take_coupon
from processors.delivery.links import LinkWriter
from processors.delivery.rendering import MessageRenderer
from processors.delivery.settlement import Retry, Settlement, receipt, settle_or_retry
from processors.delivery.templates import TemplateError, Templates
from processors.stream.ports import Publisher
from processors.stream.routing import Router
from schemas.channels import DELIVERABLE_CHANNELS, WEBHOOK_CHANNEL
from schemas.dead_letters import Reason
from schemas.delivery.outbound import DeliveryClaim, DeliveryDefinitions, OutboundMessage, SendResult
from schemas.journeys.control import Controls, JourneyState
from schemas.metrics import MESSAGES, NO_METER, Meter
from schemas.outcomes import Ok, Outcome, Reject
from schemas.records import Outgoing, Record
from schemas.territory import ONE_TERRITORY, Territory
from schemas.topics import deliver_topic

STAGE = "deliver"
LEASE_MS = 180_000
"""Lease of a claim, milliseconds: longer than any adapter waits for an answer."""
CONCURRENT_SENDS = 32
"""Messages that one worker sends at the same time."""
CLAIMED_MESSAGES = 2 * CONCURRENT_SENDS
"""Messages that are claimed or sent at the same time: a claim may wait for the disk, but not long to be sent."""
DUE_PER_TURN = 200
"""Messages whose retry is due that one call of `Deliver.send_due` takes."""
HELD_MS = 5_000
"""A message of a paused journey is looked at again after so long."""


class Effect(NamedTuple):
    """The effect of one handled action: a record to publish, and a ledger entry to acknowledge after it.

    Attributes:
        outcome: The record to publish, None for none; or the rejection of a record that is no action.
        ledger_key: The ledger entry to acknowledge once the records are confirmed; empty: none.
        journey: If the record is the message itself, the journey that sends it; empty: it is none, or of no journey.
        coupon: A record to publish beside it: the coupon that the message has taken; None: none.
        counted: Channel and outcome of a message without a ledger entry, counted once it is published; None: none.
    """

    outcome: Outcome[Outgoing | None] = Ok(None)
    ledger_key: str = ""
    journey: str = ""
    coupon: Outgoing | None = None
    counted: tuple[str, str] | None = None


class DeliveryLedger(Protocol):
    """Keeps the state of every message, each step atomic."""

    async def claim(self, key: str, action: bytes, now_ms: int, lease_ms: int) -> DeliveryClaim:
        """Claim a message for its first attempt."""

    async def due(self, now_ms: int, lease_ms: int, count: int) -> list[tuple[str, DeliveryClaim]]:
        """Claim messages whose retry is due, and return those whose claim has expired without a result."""

    async def postpone(self, key: str, due_ms: int) -> None:
        """Release a claim; the message is due again at `due_ms`."""

    async def hold(self, key: str, due_ms: int) -> None:
        """Release a claim without an attempt; the message is due again at `due_ms`."""

    async def settle(self, key: str, action: bytes, settlement: bytes, now_ms: int, lease_ms: int) -> bool:
        """Store the final result of a message; it stays due until it is acknowledged. False: its person was erased."""

    async def acknowledge(self, keys: Sequence[str]) -> None:
        """Close the entries of messages whose receipts, or which themselves, Kafka has confirmed."""


class SendingRules(NamedTuple):
    """What decides about the texts of messages, and whether they may leave.

    Attributes:
        templates: The compiled templates.
        journeys: States of journeys.
        territory: The markets and the time zone that texts are written by.
    """

    templates: Templates
    journeys: Controls = MappingProxyType({})
    territory: Territory = ONE_TERRITORY


class SendingRulesInForce(Protocol):
    """Returns the rules in force."""

    async def current(self) -> SendingRules:
        """Return the rules in force, less than a second old."""


class ConstantSendingRules:
    """The same rules for ever."""

    def __init__(self, templates: Templates) -> None:
        self._rules = SendingRules(templates)

    async def current(self) -> SendingRules:
        """Return the rules."""
        return self._rules


class Adapter(Protocol):
    """Sends one message. It raises nothing: every failure is a `SendResult`."""

    async def send(self, message: OutboundMessage, now_ms: int) -> SendResult:
        """Make one attempt."""


class People(Protocol):
    """Looks up profiles, and the owners of addresses."""

    async def document(self, profile_id: str) -> dict[str, Any] | None:
        """Return a person's profile by any id that it ever had; None when they were erased."""

    async def reached_at(self, profile_id: str, address: Mapping[str, str]) -> bool:
        """Return whether the address (type and value) still belongs to the person."""


class Deliver:
    """Sends the messages of actions, and publishes their receipts.

    Args:
        ledger: Keeps the state of every message.
        publisher: Publishes receipts, rendered messages and dead letters.
        people: Looks up profiles and owners of addresses.
        renderer: Renders messages.
        coupons: Keeps pools of single-use codes.
        rules: Returns the texts, and which journeys are paused or stopped.
        definitions: Routes and retries.
        adapters: By name: `smtp`, a provider's, and `webhook:<name>` for each webhook.
        clock: The time, milliseconds since 1970.
        failpoint: Called with the name of a point, where a fault test can end the process.
        topic_prefix: The deployment's prefix of topic names.
        meter: Counts messages.
        links: Writes addresses of the collector into messages; None: their links stay as they are.
    """

    def __init__(
        self, ledger: DeliveryLedger, publisher: Publisher, *, people: People, renderer: MessageRenderer,
        coupons: CouponPools, rules: SendingRulesInForce, definitions: DeliveryDefinitions,
        adapters: Mapping[str, Adapter], clock: Callable[[], int],
        failpoint: Callable[[str], None] = lambda _: None, topic_prefix: str = "", meter: Meter = NO_METER,
        links: LinkWriter | None = None,
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._router = Router(publisher, STAGE, clock, topic_prefix=topic_prefix, meter=meter)
        self._meter = meter
        self._people = people
        self._renderer = renderer
        self._coupons = coupons
        self._rules = rules
        self._definitions = definitions
        self._adapters = adapters
        self._clock = clock
        self._failpoint = failpoint
        self._links = links
        self._sends = asyncio.Semaphore(CONCURRENT_SENDS)
        self._claims = asyncio.Semaphore(CLAIMED_MESSAGES)

    async def __call__(self, records: Sequence[Record]) -> None:
        """Handle a batch of actions; when it returns, the batch may be acknowledged.

        It publishes receipts, rendered messages for workers of the operator's own, and dead letters for records that
        are no actions.
        """
        effects = await asyncio.gather(*(self._handle(record) for record in records))
        for index, effect in enumerate(effects):  # other messages of the batch may have taken long
            if effect.journey and await self._state(effect.journey) != "running":
                effects[index] = await self._handle(records[index])
        await self._router.publish(records, [effect.outcome for effect in effects])
        await self._router.send([effect.coupon for effect in effects if effect.coupon is not None])
        await self._acknowledge(effects)

    async def send_due(self) -> int:
        """Retry messages that are due, settle those whose claim expired, publish receipts not yet acknowledged.

        Returns:
            The number of messages; `DUE_PER_TURN` if there may be more.
        """
        claims = await self._ledger.due(self._clock(), LEASE_MS, DUE_PER_TURN)
        effects = await asyncio.gather(*(self._handle_claim(key, claim) for key, claim in claims))
        for index, effect in enumerate(effects):
            if effect.journey and await self._state(effect.journey) != "running":
                effects[index] = await self._handle_claim(*claims[index])
        receipts = [effect.outcome.value for effect in effects if isinstance(effect.outcome, Ok)]
        published = [*receipts, *(effect.coupon for effect in effects)]
        await self._router.send([record for record in published if record is not None])
        await self._acknowledge(effects)
        return len(claims)

    async def _acknowledge(self, effects: Sequence[Effect]) -> None:
        self._failpoint("deliver:published")
        for effect in effects:
            if effect.counted is not None:
                self._meter.add(MESSAGES, 1, *effect.counted)
        await self._ledger.acknowledge([effect.ledger_key for effect in effects if effect.ledger_key])

    async def _handle(self, record: Record) -> Effect:
        try:
            action = parse_action(record.value or b"")
        except (ValueError, TypeError, KeyError) as error:
            return Effect(Reject(Reason.NOT_JSON, "", f"{type(error).__name__}: {error}"))
        async with self._claims:
            return await self._claim_and_send(action, record.value or b"")

    async def _claim_and_send(self, action: Action, written: bytes) -> Effect:
        if self._adapter(action) is None and await self._state(journey_of(action)) != "paused":
            async with self._sends:
                return await self._rendered_effect(action)
        claim = await self._ledger.claim(action["idempotency_key"], written, self._clock(), LEASE_MS)
        async with self._sends:
            held = claim.state == "claimed" and await self._state(journey_of(action)) == "paused"
            if held and await self._is_erased(action):  # its address would stay in the ledger while the pause lasts
                return await self._settle(action, Settlement("", "erased", self._clock()))
            return await self._continue(action, claim)

    async def _handle_claim(self, key: str, claim: DeliveryClaim) -> Effect:
        async with self._sends:
            return await self._continue(orjson.loads(claim.action), claim)

    async def _continue(self, action: Action, claim: DeliveryClaim) -> Effect:
        """Take the next step that the state of the claim allows."""
        match claim.state:
            case "busy" | "acknowledged":
                return Effect()
            case "settled":
                return await self._receipt_effect(action, Settlement(*orjson.loads(claim.settlement)))
            case "in_doubt" if self._adapter(action) is not None:
                lost = SendResult("unknown", "the worker that was sending it was not heard of again")
                return await self._apply(action, lost, claim.attempt)
        self._failpoint("deliver:claimed")
        if await self._state(journey_of(action)) == "paused" and not is_expired(action, self._clock()):
            await self._ledger.hold(action["idempotency_key"], self._clock() + HELD_MS)
            return Effect()
        if self._adapter(action) is None:  # it was held; for a topic, twice is better than not at all
            return await self._rendered_effect(action, action["idempotency_key"])
        return await self._attempt(action, claim.attempt)

    async def _is_erased(self, action: Action) -> bool:
        try:
            return await self._people.document(action["profile_id"]) is None
        except (ValueError, TypeError, LookupError):  # a profile that cannot be read: whoever sends the message says so
            return False

    async def _state(self, journey: str) -> JourneyState:
        """Return the state of a journey; a message of none is sent as if it were running."""
        control = (await self._rules.current()).journeys.get(journey)
        return control.state if control else "running"

    async def _attempt(self, action: Action, attempt: int) -> Effect:
        now_ms = self._clock()
        if is_expired(action, now_ms):
            return await self._apply(action, SendResult("refused", "it expired before it could be sent"), attempt)
        if await self._state(journey_of(action)) == "stopped":
            return await self._apply(action, SendResult("refused", _STOPPED), attempt)
        try:
            document = await self._people.document(action["profile_id"])
            owned = document is not None and await self._owns_address(action)
            message = await self._outbound_message(action, document) if document is not None and owned else None
        except TemplateError as error:
            return await self._apply(action, SendResult("refused", f"template {error}"), attempt)
        except CouponPoolEmptyError as error:
            return await self._apply(action, SendResult("refused", str(error)), attempt)
        except Exception as error:  # noqa: BLE001 - a bug, or a profile that cannot be read, costs this message alone
            return await self._apply(action, SendResult("refused", f"{type(error).__name__}: {error}"), attempt)
        if message is None:
            reason = "erased" if document is None else "the address has passed to somebody else"
            return await self._settle(action, Settlement("", reason, now_ms))
        adapter = self._adapter(action)
        try:
            if adapter is None:
                result = SendResult("refused", "no adapter has this name")
            else:
                result = await adapter.send(message, now_ms)
        except Exception as error:  # noqa: BLE001 - a bug in an adapter: it may have sent, so no retry
            result = SendResult("unknown", f"{type(error).__name__}: {error}")
        self._failpoint("deliver:sent")
        return await self._apply(action, result, attempt, message.rendered.language if message.rendered else "")

    async def _apply(self, action: Action, result: SendResult, attempt: int, language: str = "") -> Effect:
        following = settle_or_retry(
            result,
            key=action["idempotency_key"],
            attempt=attempt,
            now_ms=self._clock(),
            expires_ms=expiry_ms(action),
            retries=self._definitions.retries,
            language=language,
        )
        if isinstance(following, Retry):
            await self._ledger.postpone(action["idempotency_key"], following.due_ms)
            return Effect()
        return await self._settle(action, following)

    async def _settle(self, action: Action, settled: Settlement) -> Effect:
        written, settlement = orjson.dumps(action), orjson.dumps(list(settled))
        if not await self._ledger.settle(action["idempotency_key"], written, settlement, self._clock(), LEASE_MS):
            return Effect()  # its receipt would name the person again
        self._failpoint("deliver:settled")
        self._meter.add(MESSAGES, 1, action["channel"], _outcome(settled))
        return await self._receipt_effect(action, settled)

    async def _receipt_effect(self, action: Action, settled: Settlement) -> Effect:
        coupon = await self._coupon_record(action) if settled.step else None
        return Effect(Ok(receipt(action, settled)), action["idempotency_key"], coupon=coupon)

    async def _rendered_effect(self, action: Action, ledger_key: str = "") -> Effect:
        rendered = await self._rendered_record(action)
        if rendered is None:
            return Effect(Ok(None), ledger_key, journey_of(action))
        if isinstance(rendered, Settlement):
            record, outcome = receipt(action, rendered), _outcome(rendered)
        else:
            record, outcome = rendered, "handed_over"
        coupon = await self._coupon_record(action)
        return Effect(Ok(record), ledger_key, journey_of(action), coupon, (action["channel"], outcome))

    async def _coupon_record(self, action: Action) -> Outgoing | None:
        """Return the report of the coupon that a message has taken; None: it has taken none."""
        taken = await self._coupons.taken(action["idempotency_key"]) if action.get("coupon") else None
        return None if taken is None else coupon_event(action, taken)

    async def _rendered_record(self, action: Action) -> Outgoing | Settlement | None:
        """Render a message for the topic `deliver.<channel>`, or say why it failed; None: it is dropped.

        A repeat has the same `message_id`.
        """
        now_ms = self._clock()
        expires_ms = expiry_ms(action)
        if expires_ms is not None and now_ms >= expires_ms:
            return Settlement("Failed", "it expired before it could be sent", expires_ms)
        if await self._state(journey_of(action)) == "stopped":
            return Settlement("Failed", _STOPPED, now_ms)
        try:
            document = await self._people.document(action["profile_id"])
            if document is None or not await self._owns_address(action):
                return None
            message = await self._outbound_message(action, document)
        except TemplateError as error:
            return Settlement("Failed", f"template {error}", now_ms)
        except CouponPoolEmptyError as error:
            return Settlement("Failed", str(error), now_ms)
        except Exception as error:  # noqa: BLE001 - as above
            return Settlement("Failed", f"{type(error).__name__}: {error}", now_ms)
        return Outgoing(deliver_topic(message.channel), action["profile_id"].encode(), orjson.dumps(message.data))

    async def _owns_address(self, action: Action) -> bool:
        address = action.get("address")
        if not address or action["channel"] == WEBHOOK_CHANNEL:
            return True
        return await self._people.reached_at(action["profile_id"], address)

    async def _outbound_message(self, action: Action, document: dict[str, Any]) -> OutboundMessage:
        key, channel = action["idempotency_key"], action["channel"]
        pattern = self._definitions.unsubscribe_url
        transactional = action.get("purpose") == "transactional"  # nobody can unsubscribe from transactional messages
        unsubscribe_url = pattern.replace("{message_id}", key) if pattern and not transactional else ""
        rendered, links = None, None
        if self._links is not None and channel != WEBHOOK_CHANNEL:
            links = self._links.of(action, document, self._clock())
            unsubscribe_url = unsubscribe_url or (links.unsubscribe_url if links and not transactional else "")
        if channel != WEBHOOK_CHANNEL:
            rules = await self._rules.current()
            taken = await take_coupon(self._coupons, action, self._clock())
            coupon = None if taken is None else coupon_values(action, taken)
            rendered = await self._renderer.render(
                rules.templates, action, document, unsubscribe_url, coupon, rules.territory,
                links.preferences_url if links and not transactional else "",
            )  # fmt: skip
            rendered = links.replaced(rendered) if links else rendered
        data = {
            "message_id": key,
            **{name: action.get(name) for name in _DATA_FIELDS},
            **({"context": action.get("context") or {}} if rendered is None else rendered._asdict()),
        }
        filled = {name: value for name, value in data.items() if value not in (None, "")}
        return OutboundMessage(key, channel, action.get("address") or {}, rendered, unsubscribe_url, filled)

    def _adapter(self, action: Action) -> Adapter | None:
        """Return the adapter of an action; None if its channel's messages go to the topic `deliver.<channel>`."""
        if action["channel"] == WEBHOOK_CHANNEL:
            name = (action.get("address") or {}).get("value")
            return self._adapters.get(f"webhook:{name}", _MISSING) if name in self._definitions.webhooks else None
        channel = action["channel"]
        if not self._definitions.has_adapter(channel):
            # Publishing to a topic that does not exist would be retried for ever, and hold up all other messages.
            return None if channel in DELIVERABLE_CHANNELS else _MISSING
        route = self._definitions.channels[channel]
        return self._adapters.get(route.adapter, _MISSING)


class _MissingAdapter:
    """Takes the place of an adapter that the deployment has not configured."""

    async def send(self, message: OutboundMessage, now_ms: int) -> SendResult:
        """Refuse."""
        return SendResult("refused", f"nothing is set up to send {message.channel}: see delivery.yaml and the settings")


_MISSING = _MissingAdapter()
_STOPPED = "its journey was stopped before it could be sent"
_DATA_FIELDS = (
    "profile_id", "journey", "run_id", "step", "channel", "address", "template", "campaign", "tags",
    "expires_at", "identifiers", "decision_id", "purpose",
)  # fmt: skip


def _outcome(settled: Settlement) -> str:
    """Return what a settled message is counted as; what an operator has stopped did not fail."""
    return "stopped" if settled.reason == _STOPPED else settled.step.lower() or "dropped"
