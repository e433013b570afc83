"""Shops, the telephone and chats, and what the retailer's own systems say about prices, stock and customers."""

from __future__ import annotations

from typing import Any

from deploy.demo.simulator.orders import order, upload
from deploy.demo.simulator.people import Person
from deploy.demo.simulator.retailer import CURRENCY, money
from deploy.demo.simulator.world import World
from schemas.durations import DAY_MS, HOUR_MS, MINUTE_MS

_CALLS, _CHAT, _STOCK, _CRM = "call-center", "chat-desk", "erp", "crm"


def begin(world: World) -> None:
    """Plan the nightly changes of the catalogue and the one export of the customer records."""
    world.plan(4 * HOUR_MS, change_catalogue, 1 + len(world.people) // 500)
    world.plan(2 * DAY_MS + 3 * HOUR_MS, export_customers, None)


def change_catalogue(world: World, ms: int, count: int) -> None:
    """Some articles change their price or their stock: events about no person."""
    rng = world.rng
    world.plan(ms + DAY_MS, change_catalogue, count)
    for number in range(count):
        product = world.products[int(rng.random() * len(world.products))]
        at = ms + number * 250
        about: dict[str, Any] = {"product_id": product.product_id}
        if rng.random() < 0.6:
            price = product.price_cents * (90 + int(rng.random() * 15)) // 100
            about |= {"price": money(price), "previous_price": money(product.price_cents), "currency": CURRENCY}
            world.outbox.send(at, "Price Changed", "api", _STOCK, [], properties=about)
        else:
            about |= {"quantity": int(rng.random() * 40), "previous_quantity": int(rng.random() * 40)}
            world.outbox.send(at, "Stock Changed", "api", _STOCK, [], properties=about)


def export_customers(world: World, ms: int, _: None) -> None:
    """The CRM exports records of customers with an account: one event ties all their addresses together."""
    rng = world.rng
    for number, person in enumerate(world.people):
        if person.account and rng.random() < 0.5:
            who = person.identifiers(rng, "crm_id", "user_id", "email", "phone")
            traits = {"first_name": person.given, "last_name": person.family, "city": person.store.city}
            consent = {"marketing": person.mailable, "channels": person.channels()}
            world.outbox.send(ms + number * 20, "Identify", "api", _CRM, who, traits=traits, consent=consent)


def shop(world: World, ms: int, person: Person) -> None:
    """A visit to the shop. Only a loyalty card, or an address for the receipt, says who it was."""
    rng = world.rng
    arrives = upload(world, ms)
    store = person.store
    source = f"till-{store.store_id.removeprefix('store-')}"
    context = {"store_id": store.store_id, "geo": {"city": store.city, "country": "FR"}}
    carded = person.carded and rng.random() < 0.85
    # Without a card, the app may notice where it is.
    seen_by = "loyalty_id" if carded else "device_id"
    if seen_by in person.slots and (carded or rng.random() < 0.3):
        who = person.identifiers(rng, seen_by)
        world.outbox.send(ms, "Store Visited", "store", source, who, arrives=arrives, context=context)
    world.touched(person, ms, "In-Store")
    ms += 5 * MINUTE_MS + int(rng.random() * 30 * MINUTE_MS)
    if not world.buys(person, ms, 1.3):
        return
    if not person.carded and "loyalty_id" in person.slots and rng.random() < 0.5:
        person.carded = carded = True
    person.cart.append(world.pick())
    receipt = "email" in person.slots and rng.random() < 0.25
    known = (("loyalty_id",) if carded else ()) + (("email",) if receipt else ())
    order_id = order(world, ms, person, "store", source, known, context=context, arrives=arrives)
    if receipt:
        who = person.identifiers(rng, *known)
        about = {"order_id": order_id, "store_id": store.store_id}
        world.outbox.send(
            ms + MINUTE_MS, "Receipt Issued", "store", source, who, arrives=arrives, properties=about, context=context
        )


def call(world: World, ms: int, person: Person) -> None:
    """A telephone call; the agent often finds the customer's record, and sometimes sells."""
    rng = world.rng
    if "phone" not in person.slots:
        shop(world, ms, person)
        return
    arrives = ms + 20 * MINUTE_MS + int(rng.random() * 40 * MINUTE_MS)
    found = rng.random() < 0.5
    slots = ("phone", "crm_id") if found else ("phone",)
    about: dict[str, Any] = {"call_id": f"call-{world.run}-{world.outbox.events}", "direction": "inbound"}
    who = person.identifiers(rng, *slots)
    send = world.outbox.send
    world.touched(person, ms, "Call Centre")
    send(ms, "Call Started", "call_center", _CALLS, who, arrives=arrives, properties=about)
    seconds = 60 + int(rng.random() * 600)
    ms += seconds * 1000
    if found and rng.random() < 0.6:
        record = person.identifiers(rng, "crm_id", "phone", "email")
        names = {"first_name": person.given, "last_name": person.family}
        send(ms - 20_000, "Identify", "call_center", _CALLS, record, arrives=arrives, traits=names)
    if world.buys(person, ms, 0.7):
        person.cart.append(world.pick())
        order(world, ms - 5_000, person, "call_center", _CALLS, (*slots, "email"), arrives=arrives)
    ended = {**about, "duration_s": seconds, "disposition": "resolved"}
    send(ms, "Call Ended", "call_center", _CALLS, who, arrives=arrives, properties=ended)


def chat(world: World, ms: int, person: Person) -> None:
    """A chat on the site, or with the bot in a messenger."""
    rng = world.rng
    if "telegram_id" in person.slots and rng.random() < 0.7:
        channel, marketing, slots = "telegram", "Telegram", ("telegram_id", "phone")
    elif "messenger_id" in person.slots and rng.random() < 0.7:
        channel, marketing, slots = "messenger", "Messenger", ("messenger_id", "email")
    else:
        channel, marketing, slots = "chat", "Live Chat", (person.browsers[0], "email")
    world.touched(person, ms, marketing)
    who = person.identifiers(rng, *slots)
    about = {"conversation_id": f"chat-{world.run}-{world.outbox.events}"}
    send = world.outbox.send
    send(ms, "Live Chat Conversation Started", channel, _CHAT, who, properties=about)
    for _ in range(1 + int(rng.random() * 2)):
        for verb in ("Sent", "Received"):
            ms += 20_000 + int(rng.random() * 60_000)
            send(ms, f"Live Chat Message {verb}", channel, _CHAT, who, properties=about)
    send(ms + MINUTE_MS, "Live Chat Conversation Ended", channel, _CHAT, who, properties=about)
