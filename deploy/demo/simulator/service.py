"""Shops, telephone calls and chats, and events of the retailer's own systems about prices, stock and customers."""

from __future__ import annotations

from typing import Any

from deploy.demo.simulator.orders import order, upload_time
from deploy.demo.simulator.people import Person
from deploy.demo.simulator.retailer import CURRENCY, money
from deploy.demo.simulator.world import World
from schemas.durations import DAY_MS, HOUR_MS, MINUTE_MS

_CALLS, _CHAT, _STOCK, _CRM = "call-center", "chat-desk", "erp", "crm"


def begin(world: World) -> None:
    """Plan the nightly changes of the catalogue and the one export of the customer records."""
    world.plan(4 * HOUR_MS, change_catalogue, 1 + len(world.people) // 500)
    world.plan(2 * DAY_MS + 3 * HOUR_MS, export_customers, None)
    world.plan(DAY_MS - 1, close_tills, None)


def change_catalogue(world: World, ms: int, count: int) -> None:
    """Change price or stock of some articles: events without a person."""
    rng = world.rng
    world.plan(ms + DAY_MS, change_catalogue, count)
    for number in range(count):
        product = world.products[int(rng.random() * len(world.products))]
        at = ms + number * 250
        properties: dict[str, Any] = {"product_id": product.product_id}
        if rng.random() < 0.6:
            price = product.price_cents * (90 + int(rng.random() * 15)) // 100
            properties |= {"price": money(price), "previous_price": money(product.price_cents), "currency": CURRENCY}
            world.outbox.send(at, "Price Changed", "api", _STOCK, [], properties=properties)
        else:
            properties |= {"quantity": int(rng.random() * 40), "previous_quantity": int(rng.random() * 40)}
            world.outbox.send(at, "Stock Changed", "api", _STOCK, [], properties=properties)


def close_tills(world: World, ms: int, _: None) -> None:
    """Let the tills that count their days declare the day that ends."""
    world.plan(ms + DAY_MS, close_tills, None)
    world.tills.close(world.outbox, ms // DAY_MS, upload_time(world, ms))


def export_customers(world: World, ms: int, _: None) -> None:
    """Export records of customers with an account from the CRM: one event links all their addresses."""
    rng = world.rng
    for number, person in enumerate(world.people):
        if person.account and rng.random() < 0.5:
            identifiers = person.identifiers(rng, "crm_id", "user_id", "email", "phone")
            traits = {"first_name": person.given, "last_name": person.family, "city": person.store.city}
            consent = {"marketing": person.mailable, "channels": person.channels()}
            world.outbox.send(ms + number * 20, "Identify", "api", _CRM, identifiers, traits=traits, consent=consent)


def shop(world: World, ms: int, person: Person) -> None:
    """A visit to the shop. Only a loyalty card or an address for the receipt identifies the person."""
    rng = world.rng
    arrives = upload_time(world, ms)
    store = person.store
    source = store.source
    context = {"store_id": store.store_id, "geo": {"city": store.city, "country": store.country}}
    carded = person.carded and rng.random() < 0.85
    # Without a card, the app may report its location.
    seen_by = "loyalty_id" if carded else "device_id"
    if seen_by in person.slots and (carded or rng.random() < 0.3):
        identifiers = person.identifiers(rng, seen_by)
        world.outbox.send(ms, "Store Visited", "store", source, identifiers, arrives=arrives, context=context)
    world.apply_touch(person, ms, "In-Store")
    ms += 5 * MINUTE_MS + int(rng.random() * 30 * MINUTE_MS)
    if not world.buys(person, ms, 1.3):
        return
    if not person.carded and "loyalty_id" in person.slots and rng.random() < 0.5:
        person.carded = carded = True
    person.cart.append(world.random_article())
    receipt = "email" in person.slots and rng.random() < 0.25
    known = (("loyalty_id",) if carded else ()) + (("email",) if receipt else ())
    sale = order(world, ms, person, "store", source, known, context=context, arrives=arrives)
    if receipt:
        identifiers = person.identifiers(rng, *known)
        properties = {"order_id": sale.order_id, "store_id": store.store_id}
        world.outbox.send(
            ms + MINUTE_MS,
            "Receipt Issued",
            "store",
            source,
            identifiers,
            arrives=arrives,
            properties=properties,
            context=context,
        )


def call(world: World, ms: int, person: Person) -> None:
    """A telephone call; the agent often finds the customer record, and sometimes sells."""
    rng = world.rng
    if "phone" not in person.slots:
        shop(world, ms, person)
        return
    arrives = ms + 20 * MINUTE_MS + int(rng.random() * 40 * MINUTE_MS)
    found = rng.random() < 0.5
    slots = ("phone", "crm_id") if found else ("phone",)
    properties: dict[str, Any] = {"call_id": f"call-{world.run}-{world.outbox.events}", "direction": "inbound"}
    # Agents write a number as it is dialled at home.
    identifiers, context = person.identifiers(rng, *slots, national=True), {"geo": {"country": "FR"}}
    send = world.outbox.send
    world.apply_touch(person, ms, "Call Centre")
    send(
        ms, "Call Started", "call_center", _CALLS, identifiers, arrives=arrives, properties=properties, context=context
    )
    seconds = 60 + int(rng.random() * 600)
    ms += seconds * 1000
    if found and rng.random() < 0.6:
        record = person.identifiers(rng, "crm_id", "phone", "email")
        names = {"first_name": person.given, "last_name": person.family}
        send(ms - 20_000, "Identify", "call_center", _CALLS, record, arrives=arrives, traits=names)
    if world.buys(person, ms, 0.7):
        person.cart.append(world.random_article())
        order(world, ms - 5_000, person, "call_center", _CALLS, (*slots, "email"), arrives=arrives)
    ended = {**properties, "duration_s": seconds, "disposition": "resolved"}
    send(ms, "Call Ended", "call_center", _CALLS, identifiers, arrives=arrives, properties=ended, context=context)


def chat(world: World, ms: int, person: Person) -> None:
    """A chat on the site or with the bot of a messenger."""
    rng = world.rng
    if "telegram_id" in person.slots and rng.random() < 0.7:
        channel, marketing, slots = "telegram", "Telegram", ("telegram_id", "phone")
    elif "messenger_id" in person.slots and rng.random() < 0.7:
        channel, marketing, slots = "messenger", "Messenger", ("messenger_id", "email")
    else:
        channel, marketing, slots = "chat", "Live Chat", (person.browsers[0], "email")
    world.apply_touch(person, ms, marketing)
    identifiers = person.identifiers(rng, *slots)
    properties = {"conversation_id": f"chat-{world.run}-{world.outbox.events}"}
    send = world.outbox.send
    send(ms, "Live Chat Conversation Started", channel, _CHAT, identifiers, properties=properties)
    for _ in range(1 + int(rng.random() * 2)):
        for verb in ("Sent", "Received"):
            ms += 20_000 + int(rng.random() * 60_000)
            send(ms, f"Live Chat Message {verb}", channel, _CHAT, identifiers, properties=properties)
    send(ms + MINUTE_MS, "Live Chat Conversation Ended", channel, _CHAT, identifiers, properties=properties)
