"""The profile: what is known of one person, as one JSON document; and the requests and answers of its store.

A document is a plain dict in the hot path and a `Profile` where a reader wants names and checks. Sections without
content are absent. All times are integers, milliseconds since 1970 in UTC, and times of events (`occurred_at`), so a
late event changes a profile as if it had come in time. Money is a decimal string in major units.

Every section is bounded, so that a document stays small whatever its person does; see the constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from schemas.records import Outgoing

EVENT_NAMES_KEPT = 200
"""Counters by event name; known names go before custom ones, then the alphabet decides."""
TRAITS_KEPT = 100
"""Traits, first in the alphabet."""
TRAIT_BYTES = 1000
"""Longest value of a trait as JSON; a longer one is not kept."""
PURPOSES_KEPT = 50
"""Consent decisions by purpose and by channel, each; first in the alphabet."""
ITEMS_KEPT = 20
"""Products viewed, seen with a price, bought and put into the cart, each; and stores: the most recent ones."""
CART_OPERATIONS_KEPT = 100
"""Changes of carts not yet ordered: the most recent ones."""
CART_ENDS_KEPT = 10
"""Carts ordered, or replaced by a snapshot, of which late changes are still recognised."""
ORDERS_KEPT = 500
"""Orders in detail; older ones stay in the sums, but a second report of one would count again."""
PARTS_KEPT = 50
"""Parts of one order, such as payments: those that come first by id."""
ADDRESS_TYPES_KEPT = 20
"""Types of addresses: those that the product knows, and further ones by name, which anybody's page can make up."""
ADDRESSES_KEPT = 20
"""Addresses of one kind: the most recently seen."""
TEXT_KEPT = 200
"""Characters kept of a name in a profile."""

NO_CURRENCY = "XXX"
"""ISO 4217's code for amounts without a currency."""


class ChannelActivity(NamedTuple):
    """Events on one channel: how many, the times of the first and the last, the name of the last."""

    times: int
    first: int
    last: int
    last_event: str


class Counter(NamedTuple):
    """A count of events, with the times of the first and the last."""

    times: int
    first: int
    last: int


class Tally(NamedTuple):
    """A count of events, with the time of the last."""

    times: int
    last: int


class Trait(NamedTuple):
    """A value and the time of its statement; a value of None: it was removed."""

    value: Any
    at: int


class CartMark(NamedTuple):
    """When a product was last put into a cart, or taken out of it (`removed`)."""

    at: int
    removed: bool


class SeenPrice(NamedTuple):
    """The price of a product that the person saw last: when, a decimal string, and what the event said beside it."""

    at: int
    price: str
    currency: str
    market: str
    name: str


class Purpose(NamedTuple):
    """The last answer about one purpose."""

    granted: bool
    at: int


class ChannelConsent(NamedTuple):
    """The answer about one channel that counts; `explicit` unless it only rode along on some other event."""

    granted: bool
    at: int
    explicit: bool


class Address(NamedTuple):
    """One address: last seen, ever verified, and what the last delivery to it (`checked`, 0 if none) has shown."""

    seen: int
    verified: bool
    checked: int
    bounced: bool


class Placement(NamedTuple):
    """The first report of an order: when and where it was placed."""

    at: int
    channel: str


class Sale(NamedTuple):
    """The report of an order from which its amount is taken.

    Attributes:
        authority: 3 an order with its amount from a server, 2 one from a page or an app, 1 a receipt with its amount, 0
            none: higher counts before later.
        at: Time of the report.
        revenue: Decimal string.
        currency: ISO 4217.
        discounted: It had a coupon or a discount.
    """

    authority: int
    at: int
    revenue: str
    currency: str
    discounted: bool


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Touch(_Section):
    """An event that names a campaign: when, through which marketing channel, which campaign."""

    at: int
    channel: str
    campaign: dict[str, str] = Field(default_factory=dict)


class Order(_Section):
    """One order, put together from all its reports in any order.

    Attributes:
        placed: Its first report that has a time of its own; None: there is none so far.
        arrived: Its first report of those whose time cannot be believed, with the time of arrival.
        sale: The report from which its amount is taken.
        returned: Of its reports that are returns, the one that counts; the same as `sale`: it is a return.
        parts: Reports of its parts, such as payments, by part; `sale` is their sum, or `whole` if that counts more.
        whole: Where it has parts: the report of all of it from which its amount would be taken.
        refunds: Sums of its refunds by currency, decimal strings.
        refund_totals: The greatest running total of its refunds by currency.
        part_refund_totals: The same of its parts: currencies by part.
        refunded: Sum of its refunds, as earlier versions have kept it.
        refunded_fully: A refund came without an amount: all of it.
        cancelled: It was cancelled, which is final; it counts nowhere.
        claimed: It is a receipt that belongs to an order.
    """

    placed: Placement | None = None
    arrived: Placement | None = None
    sale: Sale | None = None
    returned: Sale | None = None
    parts: dict[str, Sale] = Field(default_factory=dict)
    whole: Sale | None = None
    refunds: dict[str, str] = Field(default_factory=dict)
    refund_totals: dict[str, str] = Field(default_factory=dict)
    part_refund_totals: dict[str, dict[str, str]] = Field(default_factory=dict)
    refunded: str = "0.00"
    refunded_fully: bool = False
    cancelled: bool = False
    claimed: bool = False


class OrderSums(_Section):
    """Sums over the orders of one currency, cancelled ones left out; what came back in returns is in `refunded`."""

    count: int
    revenue: str
    refunded: str

    @property
    def net(self) -> Decimal:
        """Revenue less refunds: the historic customer lifetime value in this currency."""
        return Decimal(self.revenue) - Decimal(self.refunded)

    @property
    def average(self) -> Decimal:
        """Average order value, to the cent, half to even; 0 where there are returns only."""
        if not self.count:
            return Decimal("0.00")
        return (Decimal(self.revenue) / self.count).quantize(Decimal("0.01"))


class SummedOrders(_Section):
    """Orders that are only in the sums: how many, and when the first was placed; None: not known."""

    count: int
    first_at: int | None = None


class Orders(_Section):
    """Orders and their sums. An order counts once however often, wherever and in whatever order it is reported.

    `first_at` and `last_at` are of orders with a time of their own; None: there is none.
    """

    count: int = 0
    first_at: int | None = None
    last_at: int | None = None
    sums: dict[str, OrderSums] = Field(default_factory=dict, description="By currency.")
    channels: dict[str, int] = Field(default_factory=dict, description="Orders by the channel that sold.")
    discounted: int = 0
    other_refunds: dict[str, str] = Field(default_factory=dict, description="In other currencies than their orders'.")
    by_id: dict[str, Order] = Field(default_factory=dict)
    forgotten: SummedOrders | None = None


class Loyalty(_Section):
    """Whole loyalty points: earned, redeemed, and the balance that the programme last reported.

    Nobody has fewer than no points. Where more is redeemed than is known as earned, points of before were never sent:
    the balance is 0, and `overdrawn` says how many are missing.
    """

    earned: int = 0
    redeemed: int = 0
    reported: Trait | None = None

    @property
    def balance(self) -> int:
        """Points to spend: as last reported, else what was earned less what was redeemed; not below 0."""
        return max(0, self._difference)

    @property
    def overdrawn(self) -> int:
        """Points redeemed beyond those that are known; 0: the balance is exact."""
        return max(0, -self._difference)

    @property
    def _difference(self) -> int:
        return int(self.reported.value) if self.reported else self.earned - self.redeemed


class Consent(_Section):
    """What the person has agreed to; absent is not a yes."""

    purposes: dict[str, Purpose] = Field(default_factory=dict)
    channels: dict[str, ChannelConsent] = Field(default_factory=dict)
    topics: dict[str, Purpose] = Field(default_factory=dict)


CartOperation = tuple[int, str, str] | tuple[int, str, str, str, int, str, str, str]
"""Time, `added` | `cleared` | `listed` | `removed` | `sold`, cart id (empty: any cart); but for `cleared` and `sold`
also product, quantity (0: all), price, currency, name."""


class Profile(_Section):
    """One person's profile.

    Attributes:
        profile_id: The person.
        first_seen: Time of the first event.
        last_seen: Time of the last event.
        event_count: Events, all of them.
        channels: By channel: where the person was met.
        events: By event name.
        first_touch: The first event that names a campaign.
        last_touch: The last event that names a campaign.
        traits: By name: the latest statement by time of the event.
        known: `timezone`, `locale`, `country`, `city`, `device`, `os`: the latest known.
        viewed: Product → when it was last viewed.
        seen: Product → the price that was last seen of it.
        bought: Product → when it was last bought.
        carted: Product → when it was last put into or taken out of a cart.
        settled: Time of the last order that did not list its products, which therefore counts for all of them.
        cart: Changes of carts, in order, from which `processors.profiles.cart.lines` reads what is in them.
        orders: Orders and their sums.
        messages: Channel → step (`sent`, `delivered`, `opened`, `clicked`, `bounced`, `unsubscribed`, …) → tally.
        bots: Reason of the verdict → tally of the events of bots, which are in no other section but `event_count`.
        loyalty: Points.
        consent: Answers by purpose and channel.
        addresses: Identifier type (`email`, `phone`, `whatsapp_id`, `push_token`, …) → address.
        soft_bounces: Identifier type → address → times of its last transient bounces, ascending.
        stores: Store → when the person was last there.
        gone: The person was merged into another or erased; only `profile_id` is left.
    """

    profile_id: str
    first_seen: int | None = None
    last_seen: int | None = None
    event_count: int = 0
    channels: dict[str, ChannelActivity] = Field(default_factory=dict)
    events: dict[str, Counter] = Field(default_factory=dict)
    first_touch: Touch | None = None
    last_touch: Touch | None = None
    traits: dict[str, Trait] = Field(default_factory=dict)
    known: dict[str, Trait] = Field(default_factory=dict)
    viewed: dict[str, int] = Field(default_factory=dict)
    seen: dict[str, SeenPrice] = Field(default_factory=dict)
    bought: dict[str, int] = Field(default_factory=dict)
    carted: dict[str, CartMark] = Field(default_factory=dict)
    settled: int | None = None
    cart: tuple[CartOperation, ...] = ()
    orders: Orders | None = None
    messages: dict[str, dict[str, Tally]] = Field(default_factory=dict)
    bots: dict[str, Tally] = Field(default_factory=dict)
    loyalty: Loyalty | None = None
    consent: Consent | None = None
    addresses: dict[str, dict[str, Address]] = Field(default_factory=dict)
    soft_bounces: dict[str, dict[str, list[int]]] = Field(default_factory=dict)
    stores: dict[str, int] = Field(default_factory=dict)
    gone: bool = False


class ProfileRequest(NamedTuple):
    """One event for which its person's profile is wanted.

    Attributes:
        profile_id: The person as the event knows it; may have been merged since.
        event_key: 16 bytes, hash of the event's id.
        received_ms: Broker time of the event, milliseconds since 1970.
    """

    profile_id: str
    event_key: bytes
    received_ms: int


class StoredProfile(NamedTuple):
    """A profile as it is stored.

    Attributes:
        profile_id: The person.
        version: 0 when nothing is stored, then counted up by each write.
        document: JSON; None when nothing is stored.
        absorbed: Profiles that were merged into this one and whose documents are still to be combined with it.
        state: What segments, journeys and caps keep of the person, JSON; None: nothing.
        former: Shards of profiles that were merged into this one, each with the time, ms, until when marks of their
            events may be there.
    """

    profile_id: str
    version: int
    document: bytes | None
    absorbed: tuple[StoredProfile, ...] = ()
    state: bytes | None = None
    former: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ProfileReading:
    """The answer for a batch of requests.

    Attributes:
        live: For each request the person's profile id now; None when the person was erased.
        applied: For each request, whether a profile already holds the event.
        profiles: The live profiles, by id.
    """

    live: list[str | None]
    applied: list[bool]
    profiles: dict[str, StoredProfile]


class ProfileWrite(NamedTuple):
    """A new document for one profile, to be stored only if nothing has changed since it was read.

    Attributes:
        profile_id: The person.
        expected_version: The version that was read.
        document: JSON.
        absorbed: (profile id, version) of each absorbed profile that the document now holds.
        events: (event key, received_ms) of each event that the document now holds.
        state: JSON; None leaves what is stored, empty removes it.
        due_ms: When time alone will change something, milliseconds since 1970; 0 never; None leaves what is stored.
        outgoing: Records to publish because of the change, in order: they go to the outbox in the same step.
        watches: Products that the person looked at: changes of price and stock become events of this person.
        held: Paused journeys that hold a run of the person.
        former: As `StoredProfile.former` was read.
    """

    profile_id: str
    expected_version: int
    document: bytes
    absorbed: tuple[tuple[str, int], ...]
    events: tuple[tuple[bytes, int], ...]
    state: bytes | None = None
    due_ms: int | None = None
    outgoing: tuple[Outgoing, ...] = ()
    watches: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    former: tuple[tuple[int, int], ...] = ()


class IdleProfile(NamedTuple):
    """A profile of which the document may say that its person was not seen for long.

    Attributes:
        profile_id: The person.
        version: Of what is stored.
        document: JSON.
        state: JSON; None: nothing.
        note: What was noted when it was found before; None: nothing.
        waits: Whether a timer, a snapshot or a merge is still to be done.
    """

    profile_id: str
    version: int
    document: bytes
    state: bytes | None
    note: bytes | None
    waits: bool


class IdleStep(NamedTuple):
    """A step in the expiry of a profile, to be taken only if its version is still the same.

    Attributes:
        profile_id: The person.
        version: The version that was read.
        note: What to note.
        delete: Whether to delete the profile instead, with its last snapshot listed.
        noted_ms: Not before all records have left the shard's outbox that were in it at this time, ms since 1970.
        outgoing: Records to publish with the deletion.
    """

    profile_id: str
    version: int
    note: bytes
    delete: bool = False
    noted_ms: int = 0
    outgoing: tuple[Outgoing, ...] = ()
