"""Programs among the visitors: crawlers that show pages, and mail filters that open every link of a message.

They persuade nobody and buy nothing; reports are right only without them.
"""

from __future__ import annotations

from typing import Any

from deploy.demo.simulator.devices import page
from deploy.demo.simulator.people import Person
from deploy.demo.simulator.retailer import CURRENCY
from deploy.demo.simulator.world import World
from schemas.durations import DAY_MS

CRAWLERS = (
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Googlebot/2.1; +http://www.google.com/bot.html) "
    "Chrome/140.0.0.0 Safari/537.36",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) "
    "Chrome/136.0.0.0 Safari/537.36",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/138.0.0.0 Safari/537.36",
)
_PEOPLE_PER_CRAWLER = 250
_FILTERED = 25
"""One person in so many has the address of a company, whose mail filter follows links."""
_LINKS = ("", "/chairs", "/sale")


def begin(world: World) -> None:
    """Plan the crawlers."""
    world.plan(0, crawl, 1 + len(world.people) // _PEOPLE_PER_CRAWLER)


def crawl(world: World, ms: int, count: int) -> None:
    """Let crawlers read pages over the day; each comes as a new visitor."""
    rng = world.rng
    world.plan(ms + DAY_MS, crawl, count)
    for number in range(count):
        at = ms + int(rng.random() * DAY_MS)
        name = f"{world.run}-crawler-{ms // DAY_MS}-{number}"
        identifiers = [{"type": "anonymous_id", "value": name}]
        context = {"user_agent": CRAWLERS[int(rng.random() * len(CRAWLERS))], "ip": "203.0.113.254", "locale": "en-US"}
        for _ in range(1 + int(rng.random() * 2)):
            product = world.products[world.random_article()]
            seen = page(f"/products/{product.product_id}", product.name, "", "")
            world.outbox.send(
                at, "Product Viewed", "web", "shop-eu", identifiers,
                context={**context, "page": seen}, properties={**product.card, "currency": CURRENCY},
            )  # fmt: skip
            at += 1_500


def has_mail_filter(person: Person) -> bool:
    """Return whether a filter opens the links of the person's mail before the person does."""
    return person.index % _FILTERED == 7


def scan(world: World, ms: int, person: Person, campaign: dict[str, str], properties: dict[str, Any]) -> None:
    """Open all links of a mail within a second of its delivery, as the mail service reports it."""
    for number, link in enumerate(_LINKS):
        world.outbox.send(
            ms + 400 + number * 250, "Email Link Clicked", "email", "mailer", person.identifiers(world.rng, "email"),
            campaign=campaign,
            properties={**properties, "link_url": f"https://shop.example/{campaign['name']}{link}"},
        )  # fmt: skip
