"""The readable form of a profile: times as text, carts replayed, averages and balances computed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from processors.profiles.cart import abandoned, lines
from processors.profiles.contact import has_bounced
from processors.profiles.orders import other_refunds, refunded, text
from schemas.profiles.document import Counter, Order, Profile, Tally, Touch
from schemas.time import text_of_ms


def view(document: dict[str, Any]) -> dict[str, Any]:
    """Describe a profile as JSON values.

    Args:
        document: The profile.

    Returns:
        Every section under its name; times as RFC 3339 in UTC, money as decimal strings. A section in which nothing is
        known is empty or null. Sections of a newer version are left out.
    """
    profile = Profile.model_validate(document, extra="ignore")
    orders, loyalty, consent = profile.orders, profile.loyalty, profile.consent
    return {
        "profile_id": profile.profile_id,
        "first_seen": _time(profile.first_seen),
        "last_seen": _time(profile.last_seen),
        "event_count": profile.event_count,
        "channels": {
            name: {**_counter(Counter(one.times, one.first, one.last)), "last_event": one.last_event}
            for name, one in _most_first(profile.channels)
        },
        "events": {name: _counter(one) for name, one in _most_first(profile.events)},
        "first_touch": _touch(profile.first_touch),
        "last_touch": _touch(profile.last_touch),
        "traits": {name: one.value for name, one in profile.traits.items() if one.value is not None},
        "known": {name: one.value for name, one in profile.known.items()},
        "viewed": _latest_first(profile.viewed),
        "seen": {
            product: {**{name: text for name, text in one._asdict().items() if text}, "at": _time(one.at)}
            for product, one in sorted(profile.seen.items(), key=lambda item: (-item[1].at, item[0]))
        },
        "bought": _latest_first(profile.bought),
        "abandoned": _latest_first(abandoned(document)),
        "cart": [{**line, "added_at": _time(line["added_at"])} for line in lines(document)],
        "orders": None
        if orders is None
        else {
            "count": orders.count,
            "first_at": _time(orders.first_at),
            "last_at": _time(orders.last_at),
            "discounted": orders.discounted,
            "channels": orders.channels,
            "by_currency": {
                currency: {**sums.model_dump(), "net": str(sums.net), "average": str(sums.average)}
                for currency, sums in orders.sums.items()
            },
            "refunded_in_other_currencies": orders.other_refunds,
            "by_id": {
                order_id: _order(order, document["orders"]["by_id"][order_id])
                for order_id, order in orders.by_id.items()
            },
        },
        "messages": {
            channel: {step: _tally(tally) for step, tally in steps.items()}
            for channel, steps in profile.messages.items()
        },
        "bots": {reason: _tally(tally) for reason, tally in profile.bots.items()},
        "loyalty": None
        if loyalty is None
        else {
            "balance": loyalty.balance,
            "earned": loyalty.earned,
            "redeemed": loyalty.redeemed,
            "overdrawn": loyalty.overdrawn,
        },
        "consent": {
            "purposes": {name: _answer(*one) for name, one in (consent.purposes if consent else {}).items()},
            "channels": {name: _answer(*one[:2]) for name, one in (consent.channels if consent else {}).items()},
            "topics": {name: _answer(*one) for name, one in (consent.topics if consent else {}).items()},
        },
        "addresses": {
            kind: [
                {
                    "value": value,
                    "verified": one.verified,
                    "bounced": has_bounced(document, kind, value, list(one)),
                    "last_seen": _time(one.seen),
                }
                for value, one in sorted(found.items(), key=lambda item: (-item[1].seen, item[0]))
            ]
            for kind, found in profile.addresses.items()
        },
        "stores": _latest_first(profile.stores),
    }


def _time(at: int | None) -> str | None:
    return None if at is None else text_of_ms(at)


def _counter(counter: Counter) -> dict[str, Any]:
    return {"times": counter.times, "first": _time(counter.first), "last": _time(counter.last)}


def _tally(tally: Tally) -> dict[str, Any]:
    return {"times": tally.times, "last": _time(tally.last)}


def _touch(touch: Touch | None) -> dict[str, Any] | None:
    return None if touch is None else {"at": _time(touch.at), "channel": touch.channel, "campaign": touch.campaign}


def _answer(granted: bool, at: int) -> dict[str, Any]:
    return {"granted": granted, "at": _time(at)}


def _order(order: Order, stored: dict[str, Any]) -> dict[str, Any]:
    return {
        "placed_at": _time(order.placed.at) if order.placed else None,
        "arrived_at": _time(order.arrived.at) if order.arrived and not order.placed else None,
        "channel": place.channel if (place := order.placed or order.arrived) else None,
        "revenue": order.sale.revenue if order.sale else None,
        "currency": order.sale.currency if order.sale else None,
        "refunded": text(refunded(stored)) if order.sale else None,
        "refunded_in_other_currencies": _texts(other_refunds(stored)) if order.sale else {},
        "return": order.sale is not None and order.returned == order.sale,
        "cancelled": order.cancelled,
        "claimed": order.claimed,
    }


def _texts(amounts: dict[str, Decimal]) -> dict[str, str]:
    return {currency: text(amount) for currency, amount in sorted(amounts.items())}


def _latest_first(times: dict[str, int]) -> dict[str, str | None]:
    return {name: _time(at) for name, at in sorted(times.items(), key=lambda item: (-item[1], item[0]))}


def _most_first(counted: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(counted.items(), key=lambda item: (-item[1].times, item[0]))
