"""What the retailer sends, by e-mail, SMS, push, messenger and post, and what people do with it."""

from __future__ import annotations

from typing import Any, NamedTuple

from deploy.demo.simulator import sessions
from deploy.demo.simulator.advertising import LETTER
from deploy.demo.simulator.people import Person
from deploy.demo.simulator.world import World
from schemas.durations import DAY_MS, HOUR_MS, MINUTE_MS


class Medium(NamedTuple):
    """One way of sending messages.

    Attributes:
        channel: Where its events happen.
        marketing: Its marketing channel in attribution and spend.
        noun: First part of its events' names.
        slots: What a message is addressed to.
        source: The service that sends and reports.
        medium: `utm_medium` of its links.
        opens: Share of delivered messages that are opened and reported; 0 where the channel cannot tell.
        clicks: Share of delivered messages whose link is clicked.
    """

    channel: str
    marketing: str
    noun: str
    slots: tuple[str, ...]
    source: str
    medium: str
    opens: float
    clicks: float


EMAIL = Medium("email", "Email", "Email", ("email",), "mailer", "email", 0.38, 0.07)
SMS = Medium("sms", "SMS", "SMS", ("phone",), "sms-gateway", "sms", 0.0, 0.05)
WHATSAPP = Medium(
    "whatsapp", "WhatsApp", "WhatsApp Message", ("whatsapp_id",), "whatsapp-gateway", "whatsapp", 0.7, 0.09
)
MESSENGER = Medium(
    "messenger", "Messenger", "Messenger Message", ("messenger_id",), "messenger-bot", "messenger", 0.5, 0.06
)
APP_PUSH = Medium("app_push", "App Push", "Push", ("push_token", "device_id"), "push-gateway", "app_push", 0.0, 0.05)
WEB_PUSH = Medium("web_push", "Web Push", "Push", ("anonymous_id/0",), "push-gateway", "web_push", 0.0, 0.03)

# First day, days between two broadcasts, hour, name.
_CALENDAR = (
    (EMAIL, 1, 7, 9, "weekly-news"),
    (APP_PUSH, 3, 7, 18, "app-thursday"),
    (WEB_PUSH, 5, 10, 12, "new-in"),
    (SMS, 10, 21, 11, "sms-weekend"),
    (WHATSAPP, 12, 20, 17, "wa-preview"),
    (MESSENGER, 8, 20, 17, "bot-ideas"),
)
_CREATIVES = ("hero-a", "hero-b")


def begin(world: World) -> None:
    """Plan the first broadcast of every medium and the letter of autumn, and watch for abandoned carts."""
    world.on_abandoned = remind
    for medium, first, every, hour, name in _CALENDAR:
        world.plan(first * DAY_MS + hour * HOUR_MS, _broadcast, (medium, every, name, 1))
    world.plan(14 * DAY_MS + 6 * HOUR_MS, _letters, None)


def _broadcast(world: World, ms: int, subject: tuple[Medium, int, str, int]) -> None:
    medium, every, name, number = subject
    world.plan(ms + every * DAY_MS, _broadcast, (medium, every, name, number + 1))
    reach = [person for person in world.people if reachable(person, medium)]
    for person in reach:
        # A mailing takes forty minutes to leave.
        world.plan(ms + int(world.rng.random() * 40 * MINUTE_MS), _message, (person, medium, f"{name}-{number}"))


def reachable(person: Person, medium: Medium) -> bool:
    """Tell whether the retailer knows an address on this medium and may use it."""
    if medium is EMAIL:
        return person.mailable
    if medium.slots[0] not in person.slots:
        return False
    if medium is APP_PUSH:
        return person.push_ok
    if medium is WEB_PUSH:
        return person.index % 6 == 0
    return person.account and (person.phone_ok or medium is MESSENGER)


def _message(world: World, ms: int, subject: tuple[Person, Medium, str]) -> None:
    """Send one message: sent, delivered or bounced, perhaps opened, clicked, or the last one ever wanted."""
    person, medium, name = subject
    rng = world.rng
    chance = rng.random
    if not reachable(person, medium):
        return
    creative = _CREATIVES[int(chance() * 2)]
    campaign = {"source": medium.channel, "medium": medium.medium, "name": name, "creative": creative}
    about: dict[str, Any] = {"message_id": f"{world.run}-m{world.outbox.events}"}
    who = person.identifiers(rng, *medium.slots)

    def report(at: int, verb: str) -> None:
        # A gateway's web hooks come in within seconds, and not always in order.
        arrives = at + 300 + int(chance() * 8_000)
        world.outbox.send(
            at,
            f"{medium.noun} {verb}",
            medium.channel,
            medium.source,
            who,
            arrives=arrives,
            campaign=campaign,
            properties=about,
        )

    report(ms, "Sent")
    world.message_cost(ms, medium.marketing, medium.channel, name, creative, sent=True)
    if medium is EMAIL and person.bounces:
        report(ms + 2_000, "Bounced")
        person.mailable = False
        return
    if chance() < 0.015:
        report(ms + 1_500, "Failed" if medium is not EMAIL else "Bounced")
        return
    report(ms + 1_000 + int(chance() * 4_000), "Delivered")
    seen = ms + 5 * MINUTE_MS + int(chance() ** 3 * 20 * HOUR_MS)
    draw = chance()
    if draw < medium.clicks:
        world.plan(seen, _click, (person, medium, campaign, about))
    elif draw < medium.opens:
        report(seen, "Opened")
    elif draw > 0.996:
        report(seen, "Unsubscribed")
        _stop(world, seen, person, medium)


def _click(world: World, ms: int, subject: tuple[Person, Medium, dict[str, str], dict[str, Any]]) -> None:
    person, medium, campaign, about = subject
    rng = world.rng
    send = world.outbox.send
    who = person.identifiers(rng, *medium.slots)
    if medium.opens:
        send(ms, f"{medium.noun} Opened", medium.channel, medium.source, who, campaign=campaign, properties=about)
    linked = {**about, "link_url": f"https://shop.example/{campaign['name']}"}
    send(
        ms + 9_000,
        f"{medium.noun} Link Clicked",
        medium.channel,
        medium.source,
        who,
        campaign=campaign,
        properties=linked,
    )
    world.message_cost(ms, medium.marketing, medium.channel, campaign["name"], campaign["creative"], sent=False)
    world.touched(person, ms, medium.marketing)
    if medium is APP_PUSH:
        sessions.app(world, ms + 11_000, person, campaign)
    else:
        # A link in an e-mail tells the site whom it was sent to, unless the mail program cut that off.
        recognised = ("email",) if medium is EMAIL and rng.random() < 0.6 else ()
        sessions.web(world, ms + 11_000, person, campaign, recognised=recognised)


def _stop(world: World, ms: int, person: Person, medium: Medium) -> None:
    """The person takes the consent back."""
    if medium is EMAIL:
        person.mailable = False
    elif medium is APP_PUSH:
        person.push_ok = False
    else:
        person.phone_ok = False
    world.outbox.send(
        ms + 500, "Consent Updated", medium.channel, medium.source, person.identifiers(world.rng, *medium.slots),
        consent={"channels": {medium.channel: False}},
    )  # fmt: skip


def remind(world: World, ms: int, person: Person) -> None:
    """An abandoned cart: remind the person some hours later, where that is allowed."""
    medium = APP_PUSH if reachable(person, APP_PUSH) else EMAIL
    if reachable(person, medium):
        later = ms + int((1 + 3 * world.rng.random()) * HOUR_MS)
        world.plan(later, _reminder, (person, medium, person.cart_id))


def _reminder(world: World, ms: int, subject: tuple[Person, Medium, str]) -> None:
    person, medium, cart_id = subject
    if person.cart and person.cart_id == cart_id:
        _message(world, ms, (person, medium, "cart-reminder"))


def _letters(world: World, ms: int, _: None) -> None:
    """A letter to half of the customers with an address; the service that prints reports them all at once."""
    rng = world.rng
    for person in world.people:
        if person.account and "crm_id" in person.slots and rng.random() < 0.5:
            creative = LETTER.creatives[int(rng.random() * 2)]
            world.ledger.add(ms // DAY_MS, LETTER, creative, impressions=1)
            world.touched(person, ms, LETTER.channel)
            campaign = {"channel": LETTER.channel, **LETTER.touch(creative)}
            who = person.identifiers(rng, "crm_id")
            world.outbox.send(ms, "Direct Mail Sent", "direct_mail", "printer", who, campaign=campaign)
