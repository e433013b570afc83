"""Visits of the site, the app and shops that no message caused, advertisements, and reactions to posts."""

from __future__ import annotations

from deploy.demo.simulator import service, sessions
from deploy.demo.simulator.advertising import AFFILIATES, EXPOSURES, RADIO, SEARCH, SHOPPING, Campaign
from deploy.demo.simulator.devices import Click
from deploy.demo.simulator.people import Person
from deploy.demo.simulator.world import World
from schemas.durations import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

_SEARCH_ENGINES = ("https://www.google.com/", "https://duckduckgo.com/")
_SOCIAL_SITES = ("https://www.instagram.com/", "https://www.facebook.com/", "https://www.pinterest.com/")
_LINKS = ("https://homeblog.example/best-chairs", "https://forum.example/t/4711", "https://news.example/autumn")
_SITES_OF_SOURCES = {
    "google": "https://www.google.com/",
    "bing": "https://www.bing.com/",
    "facebook": "https://l.facebook.com/",
    "instagram": "https://l.instagram.com/",
    "tiktok": "https://www.tiktok.com/",
    "youtube": "https://www.youtube.com/",
}
"""What a browser names as the page before; from other networks' pages it names the partner's."""
_CLICK_IDS = {
    "google": "gclid", "youtube": "gclid", "dv360": "dclid", "bing": "msclkid", "facebook": "fbclid",
    "instagram": "fbclid", "tiktok": "ttclid",
}  # fmt: skip
_ONLY_TAGGED_BY_GOOGLE = 0.15
"""Share of clicks on search advertisements whose address has the click id alone."""
_REACTIONS = ("Liked", "Liked", "Commented", "Shared")


def begin(world: World) -> None:
    """Plan the first visit and the first advertisement of each person."""
    for person in world.people:
        world.plan(world.random_waking_time(int(world.rng.expovariate(person.activity / 60))), visit, person)
        if person.browsers:
            world.plan(int(world.rng.random() * 16 * DAY_MS), show_advertisement, person)
    world.plan(0, radio, None)


def radio(world: World, ms: int, _: None) -> None:
    """Book the daily cost of a radio campaign, whose listeners are not known."""
    world.ledger.fee(ms // DAY_MS, RADIO, RADIO.creatives[0], 20_000 * len(world.people))
    world.plan(ms + DAY_MS, radio, None)


def visit(world: World, ms: int, person: Person) -> None:
    """The person visits the retailer on one of the channels."""
    rng = world.rng
    gap_days = rng.expovariate(person.activity / 60) + 0.3
    world.plan(world.random_waking_time((ms + int(gap_days * DAY_MS)) // DAY_MS), visit, person)
    draw = rng.random()
    if person.kind == "regular":
        _regular_visit(world, ms, person, draw)
    elif draw < (0.22 if person.kind == "omnichannel" else 0.03 if person.kind == "browser" else 0.0):
        service.shop(world, ms, person)
    elif draw < 0.25 and person.kind == "omnichannel":
        service.call(world, ms, person)
    elif draw > 0.96:
        react(world, ms, person)
    elif draw > 0.93 and person.kind != "browser":
        service.chat(world, ms, person)
    elif "device_id" in person.slots and rng.random() < 0.45:
        sessions.app(world, ms, person)
    else:
        unprompted_visit(world, ms, person)


def _regular_visit(world: World, ms: int, person: Person, draw: float) -> None:
    if draw < 0.08:
        service.call(world, ms, person)
    elif draw > 0.82:
        unprompted_visit(world, ms, person)
    else:
        service.shop(world, ms, person)


def unprompted_visit(world: World, ms: int, person: Person) -> None:
    """A web session that no message caused: direct, by a search, a link, an affiliate or a paid result."""
    rng = world.rng
    # People who already want to buy come directly: Direct is a sign of desire, not its cause.
    direct = 0.20 + 0.12 * max(0.0, world.desire(person, ms))
    draw = rng.random() * (0.80 + direct)
    if draw < 0.28:
        world.apply_touch(person, ms, "Organic Search")
        sessions.web(world, ms, person, Click(referrer=_SEARCH_ENGINES[int(rng.random() * 2)]))
    elif draw < 0.46:
        click(world, ms, person, SEARCH[int(rng.random() * 3)])
    elif draw < 0.55:
        click(world, ms, person, SHOPPING[0])
    elif draw < 0.63:
        click(world, ms, person, AFFILIATES[int(rng.random() * 2)])
    elif draw < 0.71:
        world.apply_touch(person, ms, "Organic Social")
        sessions.web(world, ms, person, Click(referrer=_SOCIAL_SITES[int(rng.random() * 3)]))
    elif draw < 0.78:
        world.apply_touch(person, ms, "Referral")
        sessions.web(world, ms, person, Click(referrer=_LINKS[int(rng.random() * 3)]))
    elif draw < 0.80:
        world.apply_touch(person, ms, RADIO.channel)
        # The spot names an address, which redirects to one with a campaign.
        sessions.web(world, ms, person, Click(RADIO.touch(RADIO.creatives[0])))
    else:
        sessions.web(world, ms, person)


def click(world: World, ms: int, person: Person, campaign: Campaign) -> None:
    """A web session that a paid click caused."""
    creative = campaign.creatives[int(world.rng.random() * len(campaign.creatives))]
    world.ledger.add(ms // DAY_MS, campaign, creative, clicks=1)
    world.apply_touch(person, ms, campaign.channel)
    found = _paid_click(world, campaign, creative)
    if campaign in SEARCH and world.rng.random() < _ONLY_TAGGED_BY_GOOGLE:
        found = found._replace(campaign=None)
    sessions.web(world, ms, person, found)


def _paid_click(world: World, campaign: Campaign, creative: str) -> Click:
    """Return how a click on an advertisement reaches the site: by a tagged address, with the network's click id."""
    name = _CLICK_IDS.get(campaign.source)
    referrer = _SITES_OF_SOURCES.get(campaign.source, f"https://{campaign.source}.example/")
    click_id = f"{name}={world.run}{world.outbox.events:08x}" if name else ""
    return Click(campaign.touch(creative), referrer, click_id)


def show_advertisement(world: World, ms: int, person: Person) -> None:
    """The person sees an advertisement; one in ten clicks on it."""
    rng = world.rng
    world.plan(ms + int(rng.expovariate(1 / 18) * DAY_MS), show_advertisement, person)
    campaign = EXPOSURES[int(rng.random() * len(EXPOSURES))]
    creative = campaign.creatives[int(rng.random() * len(campaign.creatives))]
    clicked = rng.random() < 0.10
    identifiers = person.identifiers(rng, person.browsers[0])
    touch = campaign.touch(creative)
    # An advertising network reports with an hour's delay.
    arrives = ms + 5 * MINUTE_MS + int(rng.random() * HOUR_MS)
    source = f"ads-{campaign.source}"
    world.outbox.send(ms, "Ad Impression", "ads", source, identifiers, arrives=arrives, campaign=touch)
    world.ledger.add(ms // DAY_MS, campaign, creative, impressions=1, clicks=int(clicked))
    world.apply_touch(person, ms, campaign.channel)
    if clicked:
        world.outbox.send(ms + 4 * SECOND_MS, "Ad Clicked", "ads", source, identifiers, arrives=arrives, campaign=touch)
        sessions.web(world, ms + 6 * SECOND_MS, person, _paid_click(world, campaign, creative))


def react(world: World, ms: int, person: Person) -> None:
    """The person reacts to a post on a social network, where only the messenger id may be known."""
    rng = world.rng
    slot = "messenger_id" if "messenger_id" in person.slots else person.browsers[0]
    properties = {
        "network": "instagram",
        "post_id": f"post-{int(rng.random() * 40)}",
        "product_id": world.products[world.random_article()].product_id,
    }
    name = f"Social Post {_REACTIONS[int(rng.random() * 4)]}"
    source = "social-listener"
    world.apply_touch(person, ms, "Organic Social")
    world.outbox.send(ms, name, "social", source, person.identifiers(rng, slot), properties=properties)
    if rng.random() < 0.10 and "email" in person.slots:
        identifiers = person.identifiers(rng, slot, "email")
        contest = {"contest_id": "autumn-room", "prize": "A reading corner"}
        world.outbox.send(ms + MINUTE_MS, "Contest Entered", "social", source, identifiers, properties=contest)
