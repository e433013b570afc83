"""Marketing: campaigns, their cost and their true effect, with which attribution can be compared.

`EFFECT` is the ground truth: how much one touch of a marketing channel adds to the log-odds that the person buys at the
next opportunity. It halves every `EFFECT_HALF_LIFE_DAYS`. Direct has no effect, yet people who already want to buy come
directly more often: a last-touch report credits Direct for the effect of other channels, and a good model does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import NamedTuple

from deploy.demo.simulator.retailer import CURRENCY

EFFECT: dict[str, float] = {
    "Paid Search": 0.80,
    "Paid Shopping": 0.75,
    "Affiliates": 0.60,
    "Email": 0.55,
    "WhatsApp": 0.55,
    "SMS": 0.45,
    "App Push": 0.40,
    "In-Store": 0.50,
    "Paid Social": 0.40,
    "Organic Search": 0.30,
    "Call Centre": 0.30,
    "Web Push": 0.25,
    "Offline Media": 0.25,
    "Direct Mail": 0.25,
    "Messenger": 0.25,
    "Live Chat": 0.25,
    "Telegram": 0.25,
    "Referral": 0.20,
    "Organic Social": 0.20,
    "Paid Video": 0.20,
    "Display": 0.05,
    "Direct": 0.0,
}
EFFECT_HALF_LIFE_DAYS = 7

SPEND_COLUMNS = ("date", "channel", "source", "campaign", "creative", "spend", "currency", "impressions", "clicks")


class Campaign(NamedTuple):
    """One paid campaign.

    Attributes:
        channel: Its marketing channel, as the touch rules name it.
        source: `utm_source`.
        medium: `utm_medium`.
        name: `utm_campaign`.
        creatives: Its advertisements; a touch has one.
        impression_micros: Cost of one impression (or one message) in millionths of the currency.
        click_micros: Cost of one click.
    """

    channel: str
    source: str
    medium: str
    name: str
    creatives: tuple[str, ...]
    impression_micros: int = 0
    click_micros: int = 0

    def touch(self, creative: str) -> dict[str, str]:
        """Return the `campaign` object of an event."""
        return {"source": self.source, "medium": self.medium, "name": self.name, "creative": creative}


def _campaign(line: str, impression: float = 0.0, click: float = 0.0) -> Campaign:
    channel, source, medium, name, creatives = (part.strip() for part in line.split("|"))
    return Campaign(
        channel, source, medium, name, tuple(creatives.split()), round(impression * 1e6), round(click * 1e6)
    )


SEARCH = (
    _campaign("Paid Search | google | cpc | brand-search | text-name text-offer", click=1.10),
    _campaign("Paid Search | google | cpc | furniture-generic | text-oak text-delivery", click=2.60),
    _campaign("Paid Search | bing | cpc | furniture-generic-bing | text-oak", click=1.90),
)
SHOPPING = (_campaign("Paid Shopping | google | cpc | shopping-home | feed-chairs feed-lighting", click=1.80),)
AFFILIATES = (
    _campaign("Affiliates | dealfinder | affiliate | partner-deals | banner-15 link", click=1.20),
    _campaign("Affiliates | homeblog | affiliate | partner-homeblog | article", click=0.90),
)
EXPOSURES = (
    _campaign("Paid Social | facebook | paid_social | autumn-living | carousel-a video-b", 0.20, 1.40),
    _campaign("Paid Social | instagram | paid_social | autumn-living-ig | story-a reel-b", 0.22, 1.50),
    _campaign("Paid Social | tiktok | paid_social | room-tour | clip-1 clip-2 clip-3", 0.12, 0.80),
    _campaign("Display | dv360 | display | retargeting | banner-300 banner-728", 0.25, 1.10),
    _campaign("Display | dv360 | display | prospecting | banner-300 banner-970", 0.30, 1.60),
    _campaign("Paid Video | youtube | cpv | autumn-film | film-20s film-6s", 0.28, 1.20),
)
RADIO = _campaign("Offline Media | radio | offline | radio-autumn | spot-20s")
LETTER = _campaign("Direct Mail | post | direct_mail | autumn-letter | letter-a letter-b", 0.85)

MESSAGE_MICROS = {
    "Email": 30_000,
    "SMS": 70_000,
    "WhatsApp": 75_000,
    "Messenger": 50_000,
    "Web Push": 10_000,
    "App Push": 10_000,
}
"""Cost of one message, with its share of the sending tool, in millionths of the currency."""


class Ledger:
    """Spend: one row for each day, campaign and creative."""

    def __init__(self, start: date) -> None:
        self._start = start
        self._rows: dict[tuple[int, str, str, str, str], list[int]] = {}

    def add(self, day: int, campaign: Campaign, creative: str, *, impressions: int = 0, clicks: int = 0) -> None:
        """Book impressions and clicks of one day, with their cost."""
        row = self._row(day, campaign, creative)
        row[0] += impressions * campaign.impression_micros + clicks * campaign.click_micros
        row[1] += impressions
        row[2] += clicks

    def fee(self, day: int, campaign: Campaign, creative: str, micros: int) -> None:
        """Book a cost that does not depend on impressions or clicks."""
        self._row(day, campaign, creative)[0] += micros

    def _row(self, day: int, campaign: Campaign, creative: str) -> list[int]:
        key = (day, campaign.channel, campaign.source, campaign.name, creative)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = [0, 0, 0]
        return row

    def lines(self) -> Iterator[tuple[str, ...]]:
        """Yield rows in the order of `SPEND_COLUMNS`, by date; spend is rounded to cents."""
        for (day, channel, source, name, creative), (micros, impressions, clicks) in sorted(self._rows.items()):
            cents = (micros + 5_000) // 10_000
            yield (
                (self._start + timedelta(days=day)).isoformat(),
                channel,
                source,
                name,
                creative,
                f"{cents // 100}.{cents % 100:02d}",
                CURRENCY,
                str(impressions),
                str(clicks),
            )
