"""The market of a person where it decides: the clock of segments and of texts, and the attribute `market`."""

from __future__ import annotations

from typing import Any

import pytest

from processors.delivery.rendering import MessageRenderer
from processors.delivery.templates import Templates
from processors.profiles.time_zone import zone_of
from processors.segments.engine import SegmentEngine
from schemas.delivery.templates import TemplateDefinition
from schemas.markets import ONE_MARKET, MarketDefinitions
from schemas.profiles.person import Person
from schemas.segments.definitions import SegmentDefinitions
from schemas.territory import ONE_TERRITORY, Territory
from schemas.time import ms_of_text

MARKETS = MarketDefinitions.model_validate(
    {
        "default": "others",
        "markets": {
            "others": {"time_zone": "America/New_York"},
            "japan": {"countries": ["JP"], "time_zone": "Asia/Tokyo"},
            "france": {"countries": ["FR", "MC"]},
        },
    }
)
HERE = Territory.of("UTC", MARKETS)
JAPANESE: dict[str, Any] = {"known": {"country": ["JP", 1]}}
LATE = ms_of_text("2026-11-22T16:30:00Z")
"""01:30 of the next day in Tokyo, 11:30 in New York."""


def test_local_days_of_segments_are_those_of_the_market() -> None:
    wanted = {"segments": [{"name": "awake", "description": "d", "when": {"attribute": "local.hour", "gte": 8}}]}
    definitions = SegmentDefinitions.model_validate(wanted)
    found = {}
    for name, document in {"Tokyo": JAPANESE, "New York": {}, "UTC": {"known": {"country": ["FR", 1]}}}.items():
        engine = SegmentEngine(definitions, territory=HERE)
        found[name] = [engine.attribute(f"local.{part}", Person("p", document, {}), LATE) for part in ("hour", "date")]

    assert {"Tokyo": [1, "2026-11-23"], "New York": [11, "2026-11-22"], "UTC": [16, "2026-11-22"]} == found


@pytest.mark.parametrize(
    ("document", "market"),
    [
        (JAPANESE, "japan"),
        ({**JAPANESE, "traits": {"address": [{"countryCode": "mc"}, 1]}}, "france"),
        ({**JAPANESE, "traits": {"country": [" France ", 1]}}, "france"),
        ({**JAPANESE, "traits": {"country": ["Atlantis", 1]}}, "others"),
        ({}, "others"),
    ],
)
def test_segments_know_the_market(document: dict[str, Any], market: str) -> None:
    engine = SegmentEngine(SegmentDefinitions(), territory=HERE)

    assert market == engine.attribute("market", Person("p", document, {}), LATE)


def test_the_zones_of_markets_are_part_of_the_version_of_segments() -> None:
    versions = [SegmentEngine(SegmentDefinitions(), territory=one).version for one in (HERE, ONE_TERRITORY)]
    fingerprints = [
        SegmentDefinitions.model_validate(
            {"segments": [{"name": "s", "description": "d", "when": {"attribute": "local.hour", "gte": 8}}]}
        ).fingerprint("s", "UTC", one.fingerprint)
        for one in (MARKETS, ONE_MARKET)
    ]

    assert 2 == len({*versions}) == len({*fingerprints})


class Nothing:
    async def recommend(self, document: Any, count: int) -> list[dict[str, Any]]:
        return []

    async def card(self, *_: Any) -> dict[str, Any] | None:
        return None


@pytest.mark.parametrize("timezone", [None, "Mars/Olympus"], ids=["no zone of their own", "one that does not exist"])
async def test_times_in_texts_are_those_of_the_market(timezone: str | None) -> None:
    text = {"text": "{{ event.occurred_at | time_of_day }}"}
    templates = Templates(
        {"t": TemplateDefinition.model_validate({"description": "d", "channels": {"sms": {"en": text}}})}
    )
    document = {"profile_id": "p", **JAPANESE, "traits": {"timezone": [timezone, 1]} if timezone else {}}
    action = {
        "template": "t", "channel": "sms", "idempotency_key": "k",
        "context": {"event": {"occurred_at": "2026-11-22T16:30:00Z"}},
    }  # fmt: skip
    rendered = await MessageRenderer(Nothing(), Nothing()).render(templates, action, document, territory=HERE)

    assert "1:30 AM" == rendered.text
    assert "Asia/Tokyo" == zone_of(document, HERE).key
