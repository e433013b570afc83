"""The plan as types: names and optional properties as each language has them, and no two things of one name."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.operations.plan_types import LANGUAGES, PlanExportError, kotlin, swift, typescript
from schemas.intake.plan import PlanDefinitions

CARD: dict[str, Any] = {
    "owner": "stores",
    "meaning": "A card */ was shown.",
    "properties": {
        "card_number": {"required": True, "meaning": "Of the $ card."},
        "tier": {"values": ["silver", "2 gold"]},
        "class": {"type": "boolean"},
        "points": {"type": "integer"},
        "list": {"type": "object", "properties": {"odd-name": {"type": "money"}}},
        "seen": {"type": "list", "of": {"type": "object", "properties": {"id": {"required": True}}}},
    },
    "sources": {"app": {"properties": {"version": {"type": "number", "required": True}}}},
}


def plan(**events: Any) -> PlanDefinitions:
    return PlanDefinitions.model_validate({"events": {"Card Shown": CARD, **events}})


def test_typescript_has_an_interface_for_each_event_and_a_map_of_their_names() -> None:
    text = typescript(plan())

    for line in (
        "/** A card * / was shown. Owner: stores. */",
        "  card_number: string;",
        '  tier?: "silver" | "2 gold";',
        "  class?: boolean;",
        '    "odd-name"?: string;',
        '  "Card Shown": CardShown;',
    ):
        assert line in text.splitlines()


def test_kotlin_has_data_classes_that_write_the_names_of_the_plan() -> None:
    text = kotlin(plan())

    for line in (
        "data class CardShown(",
        "    val cardNumber: String,",
        "    val `class`: Boolean? = null,",
        "    val list: ListValue? = null,",
        "    val seen: List<Seen>? = null,",
        '    enum class Tier(val value: String) { SILVER("silver"), OF_2_GOLD("2 gold") }',
        '        put("card_number", cardNumber)',
        '        seen?.let { value -> put("seen", value.map { it.properties() }) }',
        '        const val EVENT = "Card Shown"',
    ):
        assert line in text.splitlines()


def test_swift_has_structures_whose_coding_keys_are_the_names_of_the_plan() -> None:
    text = swift(plan())

    for line in (
        "public struct CardShown: Codable, Sendable {",
        '    public static let event = "Card Shown"',
        "    public var cardNumber: String",
        "    public var `class`: Bool?",
        "    public var points: Int?",
        '        case of_2_gold = "2 gold"',
        '            case oddName = "odd-name"',
        '        case cardNumber = "card_number"',
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_source_has_its_own_properties_and_only_events_that_it_may_send(language: str) -> None:
    till_only = {"owner": "o", "meaning": "m", "only_sources": True, "sources": {"till": {}}}
    write = LANGUAGES[language]

    assert ("version" in write(plan(), "app"), "version" in write(plan(), "")) == (True, False)
    definitions = plan(**{"Drawer Opened": till_only})
    assert ("DrawerOpened" in write(definitions, "till"), "DrawerOpened" in write(definitions, "app")) == (True, False)


def test_two_names_that_would_become_one_are_refused() -> None:
    with pytest.raises(PlanExportError, match="'Card Shown' and 'Card-Shown' would both be the type CardShown"):
        typescript(plan(**{"Card-Shown": CARD}))
    with pytest.raises(PlanExportError, match="'a_b' and 'a-b' would both be aB"):
        kotlin(plan(Other={**CARD, "properties": {"a_b": {}, "a-b": {}}}))
