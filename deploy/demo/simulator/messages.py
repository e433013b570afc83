"""Messages by e-mail, SMS, push, messenger and post, and how people react to them."""

from __future__ import annotations

from typing import Any, NamedTuple

from deploy.demo.simulator import bots, sessions
from deploy.demo.simulator.advertising import LETTER
from deploy.demo.simulator.devices import Click
from deploy.demo.simulator.people import Person
from deploy.demo.simulator.world import World
from schemas.durations import DAY_MS, HOUR_MS, MINUTE_MS


class Medium(NamedTuple):
    """A medium of messages.

    Attributes:
        channel: Channel of its events.
        marketing: Its marketing channel in attribution and spend.
        noun: First part of the names of its events.
        slots: Slots of the identifiers that a message is addressed to.
        source: Source of its events: the service that sends and reports.
        medium: `utm_medium` of its links.
        opens: Share of delivered messages that are reported as opened; 0: the channel does not report it.
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
_WEB_MAIL = "https://mail.google.com/"
_CREATIVES = ("hero-a", "hero-b")


def begin(world: World) -> None:
    """Plan the first broadcast of every medium and the letter, and set the reminder of abandoned carts."""
    world.on_abandoned = remind
    for medium, first, every, hour, name in _CALENDAR:
        world.plan(first * DAY_MS + hour * HOUR_MS, _broadcast, (medium, every, name, 1))
    world.plan(14 * DAY_MS + 6 * HOUR_MS, _letters, None)


def _broadcast(world: World, ms: int, subject: tuple[Medium, int, str, int]) -> None:
    medium, every, name, number = subject
    world.plan(ms + every * DAY_MS, _broadcast, (medium, every, name, number + 1))
    recipients = [person for person in world.people if reachable(person, medium)]
    for person in recipients:
        # A mailing takes forty minutes to leave.
        world.plan(ms + int(world.rng.random() * 40 * MINUTE_MS), _message, (person, medium, f"{name}-{number}"))


def reachable(person: Person, medium: Medium) -> bool:
    """Return whether the retailer knows an address on this medium and may use it."""
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
    """Send one message: sent, delivered or bounced, perhaps opened, clicked or unsubscribed from."""
    person, medium, name = subject
    rng = world.rng
    uniform = rng.random
    if not reachable(person, medium):
        return
    creative = _CREATIVES[int(uniform() * 2)]
    campaign = {"source": medium.channel, "medium": medium.medium, "name": name, "creative": creative}
    properties: dict[str, Any] = {"message_id": f"{world.run}-m{world.outbox.events}"}
    identifiers = person.identifiers(rng, *medium.slots)

    def report(at: int, verb: str) -> None:
        # Webhooks of a gateway arrive within seconds, and not always in order.
        arrives = at + 300 + int(uniform() * 8_000)
        world.outbox.send(
            at,
            f"{medium.noun} {verb}",
            medium.channel,
            medium.source,
            identifiers,
            arrives=arrives,
            campaign=campaign,
            properties=properties,
        )

    report(ms, "Sent")
    world.message_cost(ms, medium.marketing, medium.channel, name, creative, sent=True)
    if medium is EMAIL and person.bounces:
        report(ms + 2_000, "Bounced")
        person.mailable = False
        return
    if uniform() < 0.015:
        report(ms + 1_500, "Failed" if medium is not EMAIL else "Bounced")
        return
    delivered = ms + 1_000 + int(uniform() * 4_000)
    report(delivered, "Delivered")
    if medium is EMAIL and bots.has_mail_filter(person):
        bots.scan(world, delivered, person, campaign, properties)
    seen = ms + 5 * MINUTE_MS + int(uniform() ** 3 * 20 * HOUR_MS)
    draw = uniform()
    if draw < medium.clicks:
        world.plan(seen, _click, (person, medium, campaign, properties))
    elif draw < medium.opens:
        report(seen, "Opened")
    elif draw > 0.996:
        report(seen, "Unsubscribed")
        _withdraw_consent(world, seen, person, medium)


def _click(world: World, ms: int, subject: tuple[Person, Medium, dict[str, str], dict[str, Any]]) -> None:
    person, medium, campaign, properties = subject
    rng = world.rng
    send = world.outbox.send
    identifiers = person.identifiers(rng, *medium.slots)
    if medium.opens:
        send(
            ms,
            f"{medium.noun} Opened",
            medium.channel,
            medium.source,
            identifiers,
            campaign=campaign,
            properties=properties,
        )
    linked = {**properties, "link_url": f"https://shop.example/{campaign['name']}"}
    send(
        ms + 9_000,
        f"{medium.noun} Link Clicked",
        medium.channel,
        medium.source,
        identifiers,
        campaign=campaign,
        properties=linked,
    )
    world.message_cost(ms, medium.marketing, medium.channel, campaign["name"], campaign["creative"], sent=False)
    world.apply_touch(person, ms, medium.marketing)
    if medium is APP_PUSH:
        sessions.app(world, ms + 11_000, person, campaign)
    else:
        # A link in an e-mail identifies the recipient, unless the mail program removes that part.
        recognised = ("email",) if medium is EMAIL and rng.random() < 0.6 else ()
        # A mail program names no page before; a web mailer may.
        referrer = _WEB_MAIL if medium is EMAIL and rng.random() < 0.3 else ""
        sessions.web(world, ms + 11_000, person, Click(campaign, referrer, path=f"/{campaign['name']}"), recognised)


def _withdraw_consent(world: World, ms: int, person: Person, medium: Medium) -> None:
    """Withdraw the person's consent."""
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
    """Remind a person of an abandoned cart some hours later, if there is consent."""
    medium = APP_PUSH if reachable(person, APP_PUSH) else EMAIL
    if reachable(person, medium):
        later = ms + int((1 + 3 * world.rng.random()) * HOUR_MS)
        world.plan(later, _reminder, (person, medium, person.cart_id))


def _reminder(world: World, ms: int, subject: tuple[Person, Medium, str]) -> None:
    person, medium, cart_id = subject
    if person.cart and person.cart_id == cart_id:
        _message(world, ms, (person, medium, "cart-reminder"))


def _letters(world: World, ms: int, _: None) -> None:
    """Send a letter to half of the customers with an account; the printing service reports all at once."""
    rng = world.rng
    for person in world.people:
        if person.account and "crm_id" in person.slots and rng.random() < 0.5:
            creative = LETTER.creatives[int(rng.random() * 2)]
            world.ledger.add(ms // DAY_MS, LETTER, creative, impressions=1)
            world.apply_touch(person, ms, LETTER.channel)
            campaign = {"channel": LETTER.channel, **LETTER.touch(creative)}
            identifiers = person.identifiers(rng, "crm_id")
            world.outbox.send(ms, "Direct Mail Sent", "direct_mail", "printer", identifiers, campaign=campaign)
