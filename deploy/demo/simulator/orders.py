"""Orders on all channels, and the points, refunds, reviews and surveys after them."""

from __future__ import annotations

from typing import Any, NamedTuple

from deploy.demo.simulator.people import Person
from deploy.demo.simulator.retailer import COUPONS, CURRENCY, money
from deploy.demo.simulator.world import World
from schemas.durations import DAY_MS, HOUR_MS

_REVIEWS = ("Sturdy and pretty.", "Arrived late, looks good.", "Not the colour of the picture.", "As described.")
_CARDS = "loyalty-programme"
_REWARD_POINTS = 300
_REWARD_CENTS = 300


class Sale(NamedTuple):
    """One order, for the events that follow it."""

    person: Person
    order_id: str
    revenue_cents: int
    channel: str
    source: str
    slots: tuple[str, ...]


def upload_time(world: World, ms: int) -> int:
    """Return when an event of a till arrives: with the upload of the night, between two and four o'clock."""
    return (ms // DAY_MS + 1) * DAY_MS + int((2 + 2 * world.rng.random()) * HOUR_MS)


def order(
    world: World,
    ms: int,
    person: Person,
    channel: str,
    source: str,
    slots: tuple[str, ...],
    *,
    coupon: str = "",
    context: dict[str, Any] | None = None,
    arrives: int = 0,
) -> str:
    """Order what is in the person's cart, on any channel; return the order id."""
    rng = world.rng
    world.orders += 1
    order_id = f"o-{world.run}-{world.orders}"
    products = []
    subtotal = 0
    for article in person.cart:
        quantity = 1 if rng.random() < 0.85 else 2
        subtotal += quantity * world.products[article].price_cents
        products.append({**world.products[article].card, "quantity": quantity})
    discount = subtotal * COUPONS[coupon] // 100 if coupon else 0
    if person.points >= _REWARD_POINTS and rng.random() < 0.4:
        discount = min(subtotal, discount + _REWARD_CENTS)
        person.points -= _REWARD_POINTS
        redeemed = {"points": _REWARD_POINTS, "order_id": order_id}
        card = person.identifiers(rng, "loyalty_id")
        world.outbox.send(ms - 500, "Loyalty Points Redeemed", "loyalty", _CARDS, card, properties=redeemed)
    revenue = subtotal - discount
    shipping = 0 if revenue > 5_000 or channel == "store" else 490
    properties: dict[str, Any] = {
        "order_id": order_id,
        "cart_id": person.cart_id,
        "affiliation": person.store.city if channel == "store" else source,
        "revenue": money(revenue),
        "shipping": money(shipping),
        "discount": money(discount),
        "total": money(revenue + shipping),
        "currency": CURRENCY,
        "products": products,
    }
    if coupon:
        properties["coupon"] = coupon
    identifiers = person.identifiers(rng, *slots)
    world.outbox.send(
        ms, "Order Completed", channel, source, identifiers, arrives=arrives, properties=properties, context=context
    )
    person.cart.clear()
    person.orders += 1
    person.cart_id = f"cart-{world.run}-{person.index}-{person.orders}"
    world.reduce_desire(person, ms)
    if "email" in slots and "email" in person.slots:
        person.mailable = person.mailable or rng.random() < 0.4
    _follow_up(world, ms, Sale(person, order_id, revenue, channel, source, slots))
    return order_id


def _follow_up(world: World, ms: int, sale: Sale) -> None:
    rng, person = world.rng, sale.person
    if person.carded and (sale.channel == "store" or person.linked_card):
        points = sale.revenue_cents // 100
        person.points += points
        known = ("loyalty_id", "user_id") if person.linked_card else ("loyalty_id",)
        arrives = upload_time(world, ms) if sale.channel == "store" else 0
        identifiers = person.identifiers(rng, *known)
        earned = {"points": points, "order_id": sale.order_id}
        world.outbox.send(
            ms + 2_000, "Loyalty Points Earned", "loyalty", _CARDS, identifiers, arrives=arrives, properties=earned
        )
    draw = rng.random()
    later = world.random_waking_time(ms // DAY_MS + 2 + int(rng.random() * 12))
    if draw < 0.05:
        world.plan(later, _refund, sale)
    elif draw < 0.13:
        world.plan(later, _review, sale)
    elif draw < 0.25 and "email" in person.slots:
        world.plan(later, _survey, sale)


def _refund(world: World, ms: int, sale: Sale) -> None:
    part = sale.revenue_cents if world.rng.random() < 0.6 else sale.revenue_cents // 2
    identifiers = sale.person.identifiers(world.rng, *sale.slots)
    arrives = upload_time(world, ms) if sale.channel == "store" else 0
    properties = {"order_id": sale.order_id, "revenue": money(part), "currency": CURRENCY}
    world.outbox.send(
        ms, "Order Refunded", sale.channel, sale.source, identifiers, arrives=arrives, properties=properties
    )


def _review(world: World, ms: int, sale: Sale) -> None:
    stars = 5 - int(world.rng.random() ** 2 * 5)
    identifiers = sale.person.identifiers(world.rng, *sale.slots)
    product_id = world.products[world.random_article()].product_id
    properties = {"product_id": product_id, "rating": stars, "review_body": _REVIEWS[stars % len(_REVIEWS)]}
    world.outbox.send(ms, "Product Reviewed", "web", "shop-eu", identifiers, properties=properties)


def _survey(world: World, ms: int, sale: Sale) -> None:
    score = 10 - int(world.rng.random() ** 2 * 11)
    identifiers = sale.person.identifiers(world.rng, "email")
    properties = {"survey_id": "after-sale", "score": score, "order_id": sale.order_id}
    world.outbox.send(ms, "Survey Submitted", "survey", "survey-tool", identifiers, properties=properties)
