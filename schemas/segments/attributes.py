"""The attributes of a person that conditions can be about: name, type, unit, meaning and an example of each.

A name with a part in angle brackets stands for a family: `channels.<channel>.last` is `channels.web.last` and so on.
How an attribute is computed is in `processors/segments/`.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

from schemas.channels import ADDRESS_TYPES, ADDRESSED_CHANNELS, TOUCHPOINT_CHANNELS

Type = Literal["number", "money", "time", "text", "yes/no", "list", "any"]


class Attribute(NamedTuple):
    """Description of one attribute.

    Attributes:
        name: As conditions write it.
        type: Decides which comparisons are allowed; `any`: all of them.
        unit: Of a number; empty if it has none.
        meaning: One line for users. A value that is not known is absent, and then only `ne` and `not_in` hold.
        example: A value that it may have.
    """

    name: str
    type: Type
    unit: str
    meaning: str
    example: Any


def _times(name: str, meaning: str) -> tuple[Attribute, Attribute]:
    """Return the attributes of a time and of the whole days since."""
    return (
        Attribute(name, "time", "", meaning, "2026-11-20T09:30:00.000Z"),
        Attribute(f"{name}.days_ago", "number", "days", f"Whole days since then: {meaning[0].lower()}{meaning[1:]}", 2),
    )


def _touch(which: str) -> tuple[Attribute, ...]:
    event = f"the {which} event that names a campaign"
    return (
        *_times(f"{which}_touch.at", f"Time of {event}."),
        Attribute(f"{which}_touch.channel", "text", "", f"Marketing channel of {event}.", "Paid Search"),
        Attribute(f"{which}_touch.source", "text", "", f"Source of {event}.", "google"),
        Attribute(f"{which}_touch.medium", "text", "", f"Medium of {event}.", "cpc"),
        Attribute(f"{which}_touch.campaign", "text", "", f"Campaign's name of {event}.", "autumn"),
        Attribute(f"{which}_touch.campaign_id", "text", "", f"Campaign's number of {event}.", "1234"),
        Attribute(f"{which}_touch.creative", "text", "", f"Advertisement or variant of {event}.", "hero-a"),
    )


_WINDOWS = (7, 30, 90, 365)

_LISTED: tuple[Attribute, ...] = (
    # The person and the past as a whole
    *_times("first_seen", "First event."),
    *_times("last_seen", "Last event."),
    Attribute("event_count", "number", "events", "All events.", 42),
    Attribute("is_known", "yes/no", "", "There is an address to write to or call.", True),
    Attribute("channels.used", "list", "", "Channels on which the person was met.", ["app", "web"]),
    Attribute("channels.count", "number", "channels", "On how many channels the person was met.", 2),
    Attribute("channels.most_used", "text", "", "The channel with most events.", "web"),
    Attribute("channels.latest", "text", "", "The channel of the last event.", "app"),
    Attribute("events.names", "list", "", "Names of the events that ever happened.", ["Page Viewed"]),
    # What is known
    Attribute("timezone", "text", "", "Time zone last seen, IANA name.", "Europe/Paris"),
    Attribute("locale", "text", "", "Locale last seen.", "fr-FR"),
    Attribute("language", "text", "", "Language of the locale.", "fr"),
    Attribute("country", "text", "", "Country last seen.", "FR"),
    Attribute("market", "text", "", "Market of the declared country, else of the one last seen.", "france"),
    Attribute("city", "text", "", "City last seen.", "Lyon"),
    Attribute("device", "text", "", "Type of the device last seen.", "mobile"),
    Attribute("os", "text", "", "Operating system last seen.", "iOS"),
    Attribute("traits.names", "list", "", "Names of the traits that are known.", ["birthday", "first_name"]),
    Attribute("birthday", "text", "", "Month and day of the trait `birthday`.", "03-31"),
    Attribute("birthday.days_until", "number", "days", "Local days until the next birthday; 0: today.", 0),
    Attribute("age", "number", "years", "Full years since the trait `birthday`, in local time.", 34),
    # Where time is for this person
    Attribute("local.hour", "number", "hours", "Hour of the person's day, 0 to 23.", 18),
    Attribute("local.weekday", "text", "", "Day of the person's week.", "monday"),
    Attribute("local.date", "text", "", "The person's date.", "2026-11-22"),
    Attribute("local.month", "number", "months", "Month of the person's year, 1 to 12.", 11),
    # Touches
    *_touch("first"),
    *_touch("last"),
    # Orders: each counts once, cancelled ones nowhere
    Attribute("orders.count", "number", "orders", "Orders.", 3),
    *_times("orders.first", "First order whose own time can be believed."),
    *_times("orders.last", "Last order whose own time can be believed."),
    Attribute("orders.currency", "text", "", "Currency of most orders; amounts below are in it.", "EUR"),
    Attribute("orders.currencies", "list", "", "Currencies of all orders.", ["EUR"]),
    Attribute("orders.revenue", "money", "currency", "Revenue of all orders.", "249.70"),
    Attribute("orders.refunded", "money", "currency", "What was paid back.", "20.00"),
    Attribute("orders.net", "money", "currency", "Revenue less refunds: the historic lifetime value.", "229.70"),
    Attribute("orders.average", "money", "currency", "Average order value.", "83.23"),
    Attribute("orders.largest", "money", "currency", "The largest order, of the 500 most recent.", "120.00"),
    Attribute("orders.smallest", "money", "currency", "The smallest order, of the 500 most recent.", "30.00"),
    Attribute("orders.last_revenue", "money", "currency", "Revenue of the last order.", "49.90"),
    Attribute("orders.last_channel", "text", "", "The channel that sold the last order.", "store"),
    Attribute("orders.first_channel", "text", "", "The channel that sold the first order known in detail.", "web"),
    Attribute("orders.channels", "list", "", "Channels that sold something.", ["store", "web"]),
    Attribute("orders.top_channel", "text", "", "The channel that sold most orders.", "web"),
    Attribute("orders.discounted", "number", "orders", "Orders with a coupon or a discount.", 1),
    Attribute("orders.refunds", "number", "orders", "Orders of which something was paid back.", 1),
    Attribute("orders.cancelled", "number", "orders", "Orders that were cancelled.", 0),
    Attribute("orders.days_between", "number", "days", "Average days from one order to the next.", 30.5),
    *(
        Attribute(f"orders.count_{days}d", "number", "orders", f"Orders of the last {days} days.", 1)
        for days in _WINDOWS
    ),
    *(
        Attribute(f"orders.revenue_{days}d", "money", "currency", f"Revenue of the last {days} days.", "49.90")
        for days in _WINDOWS
    ),
    # Carts and products
    Attribute("cart.lines", "number", "lines", "Different products in carts now.", 2),
    Attribute("cart.items", "number", "pieces", "Pieces in carts now.", 3),
    Attribute("cart.value", "money", "currency", "Worth of carts now, in the currency of the last line.", "89.80"),
    Attribute("cart.currency", "text", "", "Currency of the line that was changed last.", "EUR"),
    Attribute("cart.products", "list", "", "Product ids in carts now.", ["p1"]),
    *_times("cart.changed", "Last change of what is in carts now."),
    Attribute("products.viewed", "list", "", "The 20 products viewed last.", ["p1", "p2"]),
    *_times("products.last_viewed", "A product was last viewed."),
    Attribute("products.bought", "list", "", "The 20 products bought last.", ["p3"]),
    *_times("products.last_bought", "A product was last bought."),
    Attribute("products.abandoned", "list", "", "Products put into a cart and not bought since.", ["p1"]),
    Attribute("products.browsed", "list", "", "Products viewed and not bought since.", ["p2"]),
    Attribute("products.browsed_count", "number", "products", "How many were viewed and not bought since.", 1),
    Attribute("stores.visited", "list", "", "The 20 stores visited last.", ["s1"]),
    Attribute("stores.count", "number", "stores", "How many stores, of the 20 last.", 1),
    Attribute("stores.latest", "text", "", "The store visited last.", "s1"),
    *_times("stores.last_visited", "A store was last visited."),
    # Loyalty
    Attribute("loyalty.balance", "number", "points", "Points to spend; not below 0.", 120),
    Attribute("loyalty.overdrawn", "number", "points", "Points redeemed beyond those known as earned.", 0),
    Attribute("loyalty.earned", "number", "points", "Points earned.", 200),
    Attribute("loyalty.redeemed", "number", "points", "Points redeemed.", 80),
    Attribute("loyalty.is_member", "yes/no", "", "Points were ever earned or redeemed.", True),
    # Messages, over all channels
    Attribute("messages.sent", "number", "messages", "Messages sent.", 12),
    Attribute("messages.delivered", "number", "messages", "Messages delivered.", 11),
    Attribute("messages.opened", "number", "messages", "Messages opened, as far as it is reported.", 4),
    Attribute("messages.clicked", "number", "messages", "Clicks on messages.", 2),
    Attribute("messages.replied", "number", "messages", "Messages answered.", 0),
    Attribute("messages.bounced", "number", "messages", "Messages that did not arrive.", 1),
    Attribute("messages.unsubscribed", "number", "messages", "How often the person unsubscribed.", 0),
    Attribute("messages.complained", "number", "messages", "Messages marked as spam.", 0),
    *_times("messages.last_sent", "A message was last sent."),
    *_times("messages.last_engaged", "A message was last clicked or answered."),
    # Consent and reach
    Attribute("consent.marketing", "yes/no", "", "The last answer about marketing.", True),
    Attribute("consent.analytics", "yes/no", "", "The last answer about being measured.", True),
    Attribute("consent.granted_channels", "list", "", "Channels on which marketing is allowed.", ["email"]),
    Attribute("consent.refused_channels", "list", "", "Channels on which marketing is refused.", ["sms"]),
    Attribute("reach.channels", "list", "", "Channels with consent and an address that works.", ["email"]),
    Attribute("reach.count", "number", "channels", "On how many channels that is.", 1),
    # Computed
    Attribute(
        "lifecycle.stage", "text", "", "Place in the life cycle; none if the time of no order is known.", "active"
    ),
    Attribute("rfm.class", "text", "", "Class by recency, frequency and money; see traits.yaml.", "champions"),
    Attribute("rfm.score", "text", "", "The three scores, one digit each.", "545"),
    Attribute("rfm.recency", "number", "score", "1 to 5: how recent the last order is.", 5),
    Attribute("rfm.frequency", "number", "score", "1 to 5: how many orders.", 4),
    Attribute("rfm.monetary", "number", "score", "1 to 5: how much revenue.", 5),
    Attribute("preferred.channel", "text", "", "The message channel most likely to be engaged with.", "email"),
    Attribute("preferred.hour", "number", "hours", "Local hour of most visits and clicks.", 18),
    Attribute("preferred.category", "text", "", "The category most often viewed, put into carts and bought.", "Shoes"),
    Attribute("preferred.brand", "text", "", "The brand most often viewed, put into carts and bought.", "Acme"),
    Attribute("affinity.categories", "list", "", "Categories with more than a fifth of all interest.", ["Shoes"]),
    Attribute("affinity.discount", "number", "share", "Share of discounted orders, shrunk; see traits.yaml.", 0.4),
    Attribute("scores.purchase_likelihood", "number", "share", "Predicted: will buy soon; by `segments score`.", 0.31),
    Attribute("scores.predicted_cltv", "number", "currency", "Predicted: revenue to come; by `segments score`.", 120.5),
    Attribute("scores.alive", "number", "share", "Predicted: still a customer; by `segments score`.", 0.8),
    Attribute("scores.expected_orders", "number", "orders", "Predicted: orders to come; by `segments score`.", 1.4),
)

_FAMILIES: tuple[Attribute, ...] = (
    Attribute("channels.<channel>.events", "number", "events", "Events on the channel.", 7),
    *_times("channels.<channel>.first", "First event on the channel."),
    *_times("channels.<channel>.last", "Last event on the channel."),
    Attribute("channels.<channel>.last_event", "text", "", "Name of the last event on the channel.", "Page Viewed"),
    Attribute("orders.by_channel.<channel>", "number", "orders", "Orders that the channel sold.", 2),
    Attribute("messages.<message_channel>.sent", "number", "messages", "Messages sent on the channel.", 5),
    Attribute("messages.<message_channel>.delivered", "number", "messages", "Messages delivered on the channel.", 5),
    Attribute("messages.<message_channel>.opened", "number", "messages", "Messages opened on the channel.", 2),
    Attribute("messages.<message_channel>.clicked", "number", "messages", "Clicks on messages of the channel.", 1),
    Attribute("messages.<message_channel>.bounced", "number", "messages", "Messages that did not arrive.", 0),
    *_times("messages.<message_channel>.last_sent", "A message was last sent on the channel."),
    *_times("messages.<message_channel>.last_engaged", "A message of the channel was last clicked or answered."),
    Attribute("consent.channels.<message_channel>", "yes/no", "", "The answer about marketing there.", True),
    Attribute("reach.<message_channel>", "yes/no", "", "Consent, and an address that works.", True),
    Attribute("addresses.<address_type>", "number", "addresses", "Addresses of the type.", 1),
    Attribute("addresses.<address_type>.verified", "yes/no", "", "One of them is verified.", True),
    Attribute("addresses.<address_type>.bounced", "yes/no", "", "All of them bounce.", False),
    Attribute(
        "engagement.<message_channel>", "number", "share", "Likelihood of a click on a message sent there.", 0.08
    ),
)

_OPEN: tuple[Attribute, ...] = (
    Attribute("events.<event>.count", "number", "events", "How often the event happened.", 3),
    *_times("events.<event>.first", "The event first happened."),
    *_times("events.<event>.last", "The event last happened."),
    Attribute("traits.<name>", "any", "", "A trait as last stated; also `address.city` within one.", "gold"),
    Attribute("consent.purposes.<name>", "yes/no", "", "The last answer about a purpose.", True),
    Attribute("orders.revenue_in.<currency>", "money", "currency", "Revenue of the orders in one currency.", "9.90"),
    Attribute("computed.<name>", "any", "", "A computed trait of the definitions.", 12),
)

_MEMBERS = {"<channel>": TOUCHPOINT_CHANNELS, "<message_channel>": ADDRESSED_CHANNELS, "<address_type>": ADDRESS_TYPES}


def _expanded() -> dict[str, Attribute]:
    found = {one.name: one for one in _LISTED}
    for family in _FAMILIES:
        part = next(part for part in _MEMBERS if part in family.name)
        for member in _MEMBERS[part]:
            name = family.name.replace(part, member)
            found[name] = family._replace(name=name, meaning=f"{family.meaning[:-1]} ({member}).")
    return found


ATTRIBUTES: dict[str, Attribute] = _expanded()
"""All attributes by name, with the members of families whose members are known."""

OPEN_FAMILIES: tuple[Attribute, ...] = _OPEN
"""Families whose members depend on the data, such as events and traits."""


def _pattern(family: Attribute) -> re.Pattern[str]:
    """Compile the name of a family; a member may have dots, as names of events and traits do."""
    return re.compile(re.sub(r"<(\w+)>", r"(.+)", re.escape(family.name).replace(r"\<", "<").replace(r"\>", ">")))


_PATTERNS = [(_pattern(family), family) for family in (*_FAMILIES, *_OPEN)]


def find_attribute(name: str) -> tuple[Attribute, str] | None:
    """Find an attribute by name.

    Returns:
        The attribute and an empty text, or the most specific family that matches (with its placeholder in the name) and
        the member that `name` names; None if there is no such attribute.
    """
    best: tuple[Attribute, str] | None = None
    for pattern, family in _PATTERNS:
        found = pattern.fullmatch(name)
        if found and (best is None or len(family.name) > len(best[0].name)):
            best = family, found[1]
    if name in {one.name for one in _LISTED}:
        return ATTRIBUTES[name], ""
    return best
