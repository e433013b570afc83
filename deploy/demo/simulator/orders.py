"""Orders on all channels as each producer reports them, and the points, refunds, reviews and surveys after them.

An order of the site is reported twice: by the page, which says what the customer pays, with tax and shipping, added up
in floats; and by the shop system's webhook, whose amounts count. The page says it again when it is loaded again.
"""

from __future__ import annotations

from typing import Any

from deploy.demo.simulator.people import ARABIC, ARABIC_DIGITS, Person
from deploy.demo.simulator.retailer import COUPONS, CURRENCY, TAX_PERCENT, money
from deploy.demo.simulator.world import Sale, World
from schemas.durations import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.orders import order_key

_REVIEWS = ("Sturdy and pretty.", "Arrived late, looks good.", "Not the colour of the picture.", "As described.")
_CARDS = "loyalty-programme"
_SHOP_SYSTEM = "shopify"
_REWARD_POINTS = 300
_REWARD_CENTS = 300
_PADDING = "\0" * 4

# Shares of the orders of the site.
_PAGE_CLOSED = 0.06  # before the page of thanks could report: the webhook is the only report
_LOADED_AGAIN = 0.07
_CHANGED = 0.05  # by the customer service, some hours later


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
    campaign: dict[str, str] | None = None,
    arrives: int = 0,
) -> Sale:
    """Order what is in the person's cart, on any channel."""
    rng = world.rng
    world.orders += 1
    store = person.store if channel == "store" else None
    order_id = world.tills.receipt(store) if store and store.closes_days else f"o-{world.run}-{world.orders}"
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
        redeemed = {"points": _REWARD_POINTS, "cart_id": person.cart_id}
        card = person.identifiers(rng, "loyalty_id")
        world.outbox.send(ms - 500, "Loyalty Points Redeemed", "loyalty", _CARDS, card, properties=redeemed)
    revenue = subtotal - discount
    shipping = 0 if revenue > 5_000 or channel == "store" else 490
    tax = _tax(revenue + shipping)
    properties: dict[str, Any] = {
        "order_id": order_id,
        "cart_id": person.cart_id,
        "affiliation": store.city if store else source,
        "shipping": money(shipping),
        "tax": money(tax),
        "discount": money(discount),
        "total": money(revenue + shipping + tax),
        "currency": CURRENCY,
        "products": products,
    }
    if coupon:
        properties["coupon"] = coupon
    if channel != "store":
        properties["shipping_address"] = {"country": person.store.country}  # where the person goes shopping, too
    sale = Sale(person, order_id, revenue, 0, channel, source, slots, store, ms)
    world.sales[order_key(store.store_id if store and store.closes_days else "", order_id)] = sale
    if channel == "web" and "email" in person.slots:
        _report_twice(world, ms, sale, properties, context or {}, campaign)
    else:
        own = _as_the_device_writes(world, ms, sale, properties)
        world.outbox.send(
            ms, "Order Completed", channel, source, person.identifiers(rng, *slots), arrives=arrives,
            properties=own, context=context, campaign=campaign,
        )  # fmt: skip
    if channel in ("web", "app"):
        sale.source = _SHOP_SYSTEM  # neither a page nor an app tells what becomes of an order
    person.cart.clear()
    person.orders += 1
    person.cart_id = f"cart-{world.run}-{person.index}-{person.orders}"
    world.reduce_desire(person, ms)
    if "email" in slots and "email" in person.slots:
        person.mailable = person.mailable or rng.random() < 0.4
    _follow_up(world, ms, sale)
    return sale


def _tax(cents: int) -> int:
    return cents * TAX_PERCENT // 100


def _as_the_device_writes(world: World, ms: int, sale: Sale, properties: dict[str, Any]) -> dict[str, Any]:
    """Write the one report of an order as the till or the phone does."""
    store = sale.store
    if store is not None and store.pads_texts:
        padded = [{**line, "name": line["name"] + _PADDING} for line in properties["products"]]
        return {**properties, "products": padded}
    if sale.is_numbered_by_store:
        return {**properties, **_counted(world, ms, sale, sale.revenue_cents + _tax(sale.revenue_cents))}
    if sale.channel == "app" and sale.person.context["locale"] == ARABIC:
        return {**properties, "total": properties["total"].translate(ARABIC_DIGITS)}
    return properties


def _counted(world: World, ms: int, sale: Sale, cents: int) -> dict[str, Any]:
    """Return what a till adds to an event that counts for its day."""
    assert sale.store is not None
    business_day = world.outbox.stamp(ms, paris=True)[:10]
    counted = world.tills.counted(sale.store, ms // DAY_MS, business_day, cents)
    return {"store_id": sale.store.store_id, "till": counted}


def _report_twice(
    world: World, ms: int, sale: Sale, properties: dict[str, Any], context: dict[str, Any],
    campaign: dict[str, str] | None,
) -> None:  # fmt: skip
    """Report an order of the site by the shop system's webhook and, mostly, by the page of thanks."""
    rng, person, slots = world.rng, sale.person, sale.slots
    sale.slots = tuple(slot for slot in slots if slot in ("user_id", "email", "phone"))
    world.outbox.send(
        ms - 1_000, "Order Completed", "web", _SHOP_SYSTEM, person.identifiers(rng, *sale.slots),
        arrives=ms + 1_000 + int(rng.random() * 20_000), properties=properties,
    )  # fmt: skip
    if rng.random() < _CHANGED:
        world.plan(ms + int((1 + 20 * rng.random()) * HOUR_MS), _update, (sale, properties))
    if rng.random() < _PAGE_CLOSED:
        return
    paid = 1 + TAX_PERCENT / 100
    lines = [{**line, "price": float(line["price"]) * paid} for line in properties["products"]]
    total = sum(line["price"] * line["quantity"] for line in lines) - float(properties["discount"]) * paid
    seen = {name: properties[name] for name in ("order_id", "cart_id", "affiliation", "currency")}
    seen |= {"revenue": total + float(properties["shipping"]) * paid, "products": lines}
    identifiers = person.identifiers(rng, *slots)
    times = 2 if rng.random() < _LOADED_AGAIN else 1
    for number in range(times):
        world.outbox.send(
            ms + number * (MINUTE_MS + int(rng.random() * 20 * MINUTE_MS)), "Order Completed", "web", sale.source,
            identifiers, properties=seen, context=context, campaign=campaign,
        )  # fmt: skip


def _update(world: World, ms: int, subject: tuple[Sale, dict[str, Any]]) -> None:
    """Take something off the price: the shop system tells the new amounts of the whole order."""
    sale, before = subject
    off = sale.revenue_cents // 10
    sale.revenue_cents -= off
    shipping = round(float(before["shipping"]) * 100)
    discount = round(float(before["discount"]) * 100) + off
    tax = _tax(sale.revenue_cents + shipping)
    properties = {
        **before,
        "discount": money(discount),
        "tax": money(tax),
        "total": money(sale.revenue_cents + shipping + tax),
    }
    identifiers = sale.person.identifiers(world.rng, *sale.slots)
    world.outbox.send(ms, "Order Updated", "web", sale.source, identifiers, properties=properties)


def _follow_up(world: World, ms: int, sale: Sale) -> None:
    rng, person = world.rng, sale.person
    if person.carded and (sale.channel == "store" or person.linked_card):
        points = sale.revenue_cents // 100
        person.points += points
        known = ("loyalty_id", "user_id") if person.linked_card else ("loyalty_id",)
        arrives = upload_time(world, ms) if sale.channel == "store" else 0
        identifiers = person.identifiers(rng, *known)
        earned = {"points": points, **_reference(sale)}
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


def _reference(sale: Sale) -> dict[str, Any]:
    """Return the order's number for events of other systems; that of a shop's receipts means nothing to them."""
    return {} if sale.is_numbered_by_store else {"order_id": sale.order_id}


def _refund(world: World, ms: int, sale: Sale) -> None:
    """Give back all or half of an order; of the shop system, some say the running total, and a second half follows."""
    rng = world.rng
    left = sale.revenue_cents - sale.refunded_cents
    part = left if rng.random() < 0.6 else left // 2
    sale.refunded_cents += part
    identifiers = sale.person.identifiers(rng, *sale.slots)
    arrives = upload_time(world, ms) if sale.channel == "store" else 0
    properties: dict[str, Any] = {"order_id": sale.order_id, "currency": CURRENCY}
    if sale.source == _SHOP_SYSTEM and rng.random() < 0.5:
        properties["refunded_total"] = money(sale.refunded_cents)
        if part < left:
            world.plan(world.random_waking_time(ms // DAY_MS + 3), _refund_rest, sale)
    else:
        properties |= {"total": money(part + _tax(part)), "tax": money(_tax(part))}
    if sale.is_numbered_by_store:
        properties |= _counted(world, ms, sale, -(part + _tax(part)))
    world.outbox.send(
        ms, "Order Refunded", sale.channel, sale.source, identifiers, arrives=arrives, properties=properties
    )


def _refund_rest(world: World, ms: int, sale: Sale) -> None:
    sale.refunded_cents = sale.revenue_cents
    properties = {"order_id": sale.order_id, "refunded_total": money(sale.refunded_cents), "currency": CURRENCY}
    identifiers = sale.person.identifiers(world.rng, *sale.slots)
    world.outbox.send(ms, "Order Refunded", sale.channel, sale.source, identifiers, properties=properties)


def _review(world: World, ms: int, sale: Sale) -> None:
    stars = 5 - int(world.rng.random() ** 2 * 5)
    identifiers = sale.person.identifiers(world.rng, *sale.slots)
    product_id = world.products[world.random_article()].product_id
    properties = {"product_id": product_id, "rating": stars, "review_body": _REVIEWS[stars % len(_REVIEWS)]}
    world.outbox.send(ms, "Product Reviewed", "api", "reviews", identifiers, properties=properties)


def _survey(world: World, ms: int, sale: Sale) -> None:
    score = 10 - int(world.rng.random() ** 2 * 11)
    identifiers = sale.person.identifiers(world.rng, "email")
    properties = {"survey_id": "after-sale", "score": score, **_reference(sale)}
    world.outbox.send(ms, "Survey Submitted", "survey", "survey-tool", identifiers, properties=properties)
