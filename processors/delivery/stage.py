"""The stage `deliver`: an action becomes a message on its way, and a receipt that says what came of it.

**At most once.** The ledger is told before an adapter is: it holds a claim for each message, and only the worker whose
claim was accepted sends. An attempt that was certainly not accepted is tried again, with growing pauses, as the same
message. If nobody can tell (the worker died between claim and answer, the connection was lost after the message went
out) it is *not* sent again: it errs on the side of one message too few, and the receipt says `Failed` with that reason,
so that caps are released and people can look. A webhook whose receiver drops repeats may say so in its definition.

**Receipts** are touchpoints like any other, on `touchpoints.<channel>`: `Email Sent`, `SMS Failed`, … with
`properties.message_id`, the identifiers that the action names (so that they resolve to the same person), and an id
made from the message's key and the step, so that a receipt that is told twice counts once.

Nobody who was erased is sent anything, or told of: their message ends without a receipt. So does one to a device that
has passed to somebody else since it was decided: its receipt would be taken for the new owner's.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson

from processors.delivery.templates import TemplateError, Templates
from processors.identity.stage import utc_text
from processors.profiles.view import view
from processors.stream.ports import Publisher
from schemas.dead_letters import Reason, dead_letter
from schemas.delivery.outbound import WEBHOOK_CHANNEL, Claim, DeliveryDefinitions, Order, Outcome, Retries
from schemas.delivery.templates import Rendered
from schemas.events.envelope import to_time
from schemas.records import Outgoing, Record
from schemas.topics import deliver_topic, touchpoint_topic

STAGE = "deliver"
LEASE_MS = 180_000
"""How long a claim is believed to be at work: longer than any adapter waits."""
TOGETHER = 32
"""Messages on their way at once, in one worker."""
DUE = 200
RECOMMENDED = 24
"""Products read for a template that recommends some."""

KINDS = {
    "email": "Email", "sms": "SMS", "app_push": "Push", "web_push": "Push", "whatsapp": "WhatsApp",
    "messenger": "Messenger Message", "telegram": "Telegram Message",
}  # fmt: skip
"""How receipts of a channel begin; another channel's begin with its own name, such as `Direct Mail Sent`."""

Action = dict[str, Any]


class Settlement(NamedTuple):
    """What became of a message for good.

    Attributes:
        step: `Sent`, `Failed` or `Bounced`; empty: nothing is to be told.
        reason: Why, unless it was sent.
        at_ms: When.
        language: The language that it was written in.
    """

    step: str
    reason: str
    at_ms: int
    language: str = ""


class Retry(NamedTuple):
    """The message is to be tried again at `due_ms`."""

    due_ms: int


class News(NamedTuple):
    """What there is to tell of a record.

    Attributes:
        record: What is to be published, if anything.
        key: The message of the ledger that is done with then; empty: none.
    """

    record: Outgoing | None = None
    key: str = ""


class DeliveryLedger(Protocol):
    """Remembers what was sent, atomically."""

    async def claim(self, key: str, action: bytes, now_ms: int, lease_ms: int) -> Claim:
        """Ask for the right to send a message for the first time."""

    async def due(self, now_ms: int, lease_ms: int, count: int) -> list[tuple[str, Claim]]:
        """Claim messages whose next try has come, and find those whose worker was not heard of again."""

    async def postpone(self, key: str, due_ms: int) -> None:
        """Give a claim back until then."""

    async def settle(self, key: str, action: bytes, settlement: bytes, now_ms: int, lease_ms: int) -> None:
        """Note what became of a message for good; it stays due until it is told."""

    async def told(self, keys: Sequence[str]) -> None:
        """Note that everybody knows what became of these."""


class Adapter(Protocol):
    """Brings a message out of the house. It raises nothing: whatever happens is an outcome."""

    async def send(self, order: Order, now_ms: int) -> Outcome:
        """Make one attempt."""


class People(Protocol):
    """Knows people."""

    async def document(self, profile_id: str) -> dict[str, Any] | None:
        """A person's profile by any id that it ever had; None when they were erased."""

    async def reached_at(self, profile_id: str, address: Mapping[str, str]) -> bool:
        """Tell whether an address, a type and a value, has not passed to somebody else."""


class Recommendations(Protocol):
    """Knows what may please a person."""

    async def recommend(self, document: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
        """Products that the person has not bought, best first."""


def pause_ms(retries: Retries, key: str, attempt: int) -> int:
    """How long to wait after an attempt: doubled each time, less up to half of it by a hash of the message."""
    whole = min(retries.longest_pause, retries.first_pause << min(attempt - 1, 40))
    drawn = int.from_bytes(hashlib.blake2b(f"{key}\x1f{attempt}".encode(), digest_size=8).digest())
    return whole - int(whole * (drawn / 2**64) / 2)


def decide(
    outcome: Outcome,
    *,
    key: str,
    attempt: int,
    now_ms: int,
    expires_ms: int | None,
    retries: Retries,
    language: str = "",
) -> Settlement | Retry:
    """Say what follows from an attempt.

    Args:
        outcome: What the adapter said.
        key: The message.
        attempt: Which attempt it was, from 1.
        now_ms: When it ended.
        expires_ms: The message is pointless from then on; None: never.
        retries: How often, and how soon.
        language: The language that it was written in.
    """
    match outcome.fate:
        case "sent":
            return Settlement("Sent", "", now_ms, language)
        case "bounced":
            return Settlement("Bounced", outcome.detail, now_ms)
        case "refused":
            return Settlement("Failed", outcome.detail, now_ms)
        case "unknown":
            reason = f"not known whether it arrived, and not sent again for that: {outcome.detail}"
            return Settlement("Failed", reason, now_ms)
    if attempt >= retries.tries:
        return Settlement("Failed", f"given up after {attempt} attempts: {outcome.detail}", now_ms)
    due = now_ms + max(pause_ms(retries, key, attempt), min(outcome.retry_after_ms, retries.longest_pause))
    if expires_ms is not None and due >= expires_ms:
        return Settlement("Failed", f"it expires before the next attempt: {outcome.detail}", now_ms)
    return Retry(due)


def receipt(action: Action, settled: Settlement) -> Outgoing | None:
    """Tell what became of a message; None when there is nothing to tell, or nobody to tell it of."""
    channel, key = action["channel"], action["idempotency_key"]
    if not settled.step or channel == WEBHOOK_CHANNEL:
        return None
    kind = KINDS.get(channel) or channel.replace("_", " ").title()
    campaign = {name: value for name, value in (action.get("campaign") or {}).items() if value}
    address = action.get("address")
    properties = {
        "message_id": key,
        "journey_id": action.get("journey"),
        "template_id": action.get("template"),
        "campaign_id": campaign.get("id"),
        "campaign_name": campaign.get("name"),
        "variant_id": action.get("variant"),
        "reason": settled.reason[:200],
        "bounce_type": "hard" if settled.step == "Bounced" else None,
    }
    event = {
        "event_id": _identity("receipt", key, settled.step),
        "event": f"{kind} {settled.step}",
        "channel": channel,
        "source": "throughline",
        "occurred_at": utc_text(settled.at_ms),
        "identifiers": [
            {"type": one["type"], "value": one["value"]} for one in action.get("identifiers") or [address] if one
        ],
        "properties": {name: value for name, value in properties.items() if value},
    }
    return Outgoing(touchpoint_topic(channel), action["profile_id"].encode(), orjson.dumps(event))


class Deliver:
    """Takes actions, sends messages, tells what became of them.

    Args:
        ledger: Remembers what was sent.
        publisher: Tells what became of it.
        people: Knows people.
        recommendations: Knows what may please them.
        templates: What messages say.
        definitions: How messages leave.
        adapters: By name: `smtp`, and `webhook:<name>` for each webhook.
        clock: The time, milliseconds since 1970.
        timezone: Of people whose own is not known; IANA name.
        at: Passes a named point, where a fault test may kill the process.
    """

    def __init__(
        self, ledger: DeliveryLedger, publisher: Publisher, *, people: People, recommendations: Recommendations,
        templates: Templates, definitions: DeliveryDefinitions, adapters: Mapping[str, Adapter],
        clock: Callable[[], int], timezone: str = "UTC", at: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._publisher = publisher
        self._people = people
        self._recommendations = recommendations
        self._templates = templates
        self._definitions = definitions
        self._adapters = adapters
        self._clock = clock
        self._timezone = timezone
        self._at = at
        self._room = asyncio.Semaphore(TOGETHER)

    async def __call__(self, records: Sequence[Record]) -> None:
        """Do what a batch of actions asks for, and tell what came of it; then it may be acknowledged.

        What is told are receipts, messages for other workers, and dead letters for what is no action.
        """
        await self._tell(await asyncio.gather(*(self._record(record) for record in records)))

    async def again(self) -> int:
        """Send what is to be tried again by now, settle what was left in doubt, tell what was not told.

        Returns:
            How many messages that were; `DUE` if there may be more.
        """
        claims = await self._ledger.due(self._clock(), LEASE_MS, DUE)
        await self._tell(await asyncio.gather(*(self._claimed(key, claim) for key, claim in claims)))
        return len(claims)

    async def _tell(self, news: Sequence[News]) -> None:
        await self._publisher.send([one.record for one in news if one.record is not None])
        self._at("deliver:told")
        await self._ledger.told([one.key for one in news if one.key])

    async def _record(self, record: Record) -> News:
        try:
            action = orjson.loads(record.value or b"")
            key, channel = action["idempotency_key"], action["channel"]
            if not (isinstance(key, str) and isinstance(channel, str) and isinstance(action["profile_id"], str)):
                raise TypeError("not an action")
            _expiry(action)
        except (ValueError, TypeError, KeyError) as error:
            return News(dead_letter(record, STAGE, Reason.NOT_JSON, f"{type(error).__name__}: {error}"))
        async with self._room:
            if self._adapter(action) is None:
                return News(await self._hand_over(action))
            claim = await self._ledger.claim(key, record.value or b"", self._clock(), LEASE_MS)
            return await self._pursue(action, claim)

    async def _claimed(self, key: str, claim: Claim) -> News:
        async with self._room:
            return await self._pursue(orjson.loads(claim.action), claim)

    async def _pursue(self, action: Action, claim: Claim) -> News:
        """Go on with a message as far as the ledger lets us."""
        match claim.state:
            case "busy" | "told":
                return News()
            case "settled":
                return _news(action, Settlement(*orjson.loads(claim.settlement)))
            case "in_doubt":
                lost = Outcome("unknown", "the worker that was sending it was not heard of again")
                return await self._conclude(action, lost, claim.attempt)
        self._at("deliver:claimed")
        return await self._attempt(action, claim.attempt)

    async def _attempt(self, action: Action, attempt: int) -> News:
        now_ms = self._clock()
        if (expires_ms := _expiry(action)) is not None and now_ms >= expires_ms:
            return await self._conclude(action, Outcome("refused", "it expired before it could be sent"), attempt)
        document = await self._people.document(action["profile_id"])
        if document is None:
            return await self._settle(action, Settlement("", "erased", now_ms))
        if not await self._reached(action):
            return await self._settle(action, Settlement("", "the address has passed to somebody else", now_ms))
        try:
            order = await self._order(action, document)
        except TemplateError as error:
            return await self._conclude(action, Outcome("refused", f"template {error}"), attempt)
        except Exception as error:  # noqa: BLE001 - a bug costs this message its way, not its neighbours theirs
            return await self._conclude(action, Outcome("refused", f"{type(error).__name__}: {error}"), attempt)
        adapter = self._adapter(action)
        try:
            outcome = (
                Outcome("refused", "no adapter has this name") if adapter is None else await adapter.send(order, now_ms)
            )
        except Exception as error:  # noqa: BLE001 - a bug in an adapter: it may have sent, so never again
            outcome = Outcome("unknown", f"{type(error).__name__}: {error}")
        self._at("deliver:sent")
        return await self._conclude(action, outcome, attempt, order.message.language if order.message else "")

    async def _conclude(self, action: Action, outcome: Outcome, attempt: int, language: str = "") -> News:
        decided = decide(
            outcome,
            key=action["idempotency_key"],
            attempt=attempt,
            now_ms=self._clock(),
            expires_ms=_expiry(action),
            retries=self._definitions.retries,
            language=language,
        )
        if isinstance(decided, Retry):
            await self._ledger.postpone(action["idempotency_key"], decided.due_ms)
            return News()
        return await self._settle(action, decided)

    async def _settle(self, action: Action, settled: Settlement) -> News:
        written, settlement = orjson.dumps(action), orjson.dumps(list(settled))
        await self._ledger.settle(action["idempotency_key"], written, settlement, self._clock(), LEASE_MS)
        self._at("deliver:settled")
        return _news(action, settled)

    async def _hand_over(self, action: Action) -> Outgoing | None:
        """Write a message for another channel's worker; a repeat has the same `message_id`, for it to drop."""
        now_ms = self._clock()
        expires_ms = _expiry(action)
        if expires_ms is not None and now_ms >= expires_ms:
            return receipt(action, Settlement("Failed", "it expired before it could be sent", expires_ms))
        document = await self._people.document(action["profile_id"])
        if document is None or not await self._reached(action):
            return None
        try:
            order = await self._order(action, document)
        except TemplateError as error:
            return receipt(action, Settlement("Failed", f"template {error}", now_ms))
        except Exception as error:  # noqa: BLE001 - as above
            return receipt(action, Settlement("Failed", f"{type(error).__name__}: {error}", now_ms))
        return Outgoing(deliver_topic(order.channel), action["profile_id"].encode(), orjson.dumps(order.data))

    async def _reached(self, action: Action) -> bool:
        address = action.get("address")
        if not address or action["channel"] == WEBHOOK_CHANNEL:
            return True
        return await self._people.reached_at(action["profile_id"], address)

    async def _order(self, action: Action, document: dict[str, Any]) -> Order:
        key, channel = action["idempotency_key"], action["channel"]
        pattern = self._definitions.unsubscribe_url
        service = action.get("purpose") == "transactional"  # nobody can unsubscribe from what a contract asks for
        unsubscribe_url = pattern.replace("{message_id}", key) if pattern and not service else ""
        message = None
        if channel != WEBHOOK_CHANNEL:
            message = await self._render(action, document, unsubscribe_url)
        data = {
            "message_id": key,
            **{name: action.get(name) for name in _TOLD},
            **({"context": action.get("context") or {}} if message is None else message._asdict()),
        }
        shown = {name: value for name, value in data.items() if value not in (None, "")}
        return Order(key, channel, action.get("address") or {}, message, unsubscribe_url, shown)

    async def _render(self, action: Action, document: dict[str, Any], unsubscribe_url: str) -> Rendered:
        template, channel = action["template"], action["channel"]
        recommended: list[dict[str, Any]] = []
        if self._templates.recommends(template, channel):
            recommended = await self._recommendations.recommend(document, RECOMMENDED)
        about = {
            "id": action["idempotency_key"],
            "channel": channel,
            "unsubscribe_url": unsubscribe_url or None,
            **{name: action.get(name) for name in ("journey", "step", "campaign", "tags")},
        }
        profile = view(document)
        return self._templates.render(
            template,
            channel,
            {**(action.get("context") or {}), "profile": profile, "message": about},
            locale=str(action.get("language") or _stated(profile, "locale") or _stated(profile, "language")),
            timezone=_stated(profile, "timezone") or self._timezone,
            recommended=recommended,
        )

    def _adapter(self, action: Action) -> Adapter | None:
        """The adapter of an action; None: its channel's topic."""
        if action["channel"] == WEBHOOK_CHANNEL:
            name = (action.get("address") or {}).get("value")
            return self._adapters.get(f"webhook:{name}", _NOWHERE) if name in self._definitions.webhooks else None
        route = self._definitions.channels.get(action["channel"])
        if route is None or route.through == "topic":
            return None
        return self._adapters.get("smtp" if route.through == "smtp" else f"webhook:{route.webhook}", _NOWHERE)


class _Nowhere:
    """Stands for an adapter that the deployment has not set up."""

    async def send(self, order: Order, now_ms: int) -> Outcome:
        """Refuse."""
        return Outcome("refused", f"nothing is set up to send {order.channel}: see delivery.yaml and the settings")


_NOWHERE = _Nowhere()
_TOLD = (
    "profile_id", "journey", "run_id", "step", "channel", "address", "template", "campaign", "tags",
    "expires_at", "identifiers", "decision_id", "purpose",
)  # fmt: skip


def _expiry(action: Action) -> int | None:
    stated = action.get("expires_at")
    return int(to_time(stated).timestamp() * 1000) if stated else None


def _stated(profile: dict[str, Any], name: str) -> str:
    found = profile["traits"].get(name) or profile["known"].get(name)
    return found if isinstance(found, str) else ""


def _identity(*parts: str) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()


def _news(action: Action, settled: Settlement) -> News:
    return News(receipt(action, settled), action["idempotency_key"])
