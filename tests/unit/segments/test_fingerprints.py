"""What makes a segment take in history again: whatever changes who is in it, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.channels import ADDRESS_TYPES_OF
from schemas.segments.definitions import SegmentDefinitions

VIBER = {**ADDRESS_TYPES_OF, "viber": ("viber_id",)}

DEFINITIONS = SegmentDefinitions.model_validate(
    {
        "segments": [
            {"name": name, "description": "-", "when": when}
            for name, when in (
                ("reached", {"any": [{"can_reach": "email"}, {"attribute": "orders.count", "gte": 3}]}),
                ("counted", {"attribute": "reach.count", "gte": 1}),
                ("named", {"attribute": "is_known", "eq": True}),
                ("prospects", {"stage": "prospect"}),
                ("by_another", {"not": {"segment": "counted"}}),
                ("buyers", {"attribute": "orders.count", "gte": 1}),
            )
        ]
    }
)


def changes(name: str, **other: Any) -> bool:
    before, after = (DEFINITIONS.fingerprint(name, "UTC", **given) for given in ({}, other))
    return before != after


@pytest.mark.parametrize("name", ["reached", "counted", "named", "prospects", "by_another"])
def test_a_policy_with_another_channel_changes_who_can_be_reached(name: str) -> None:
    assert changes(name, address_types=VIBER)


def test_a_segment_that_is_not_about_addresses_stays_as_it_is() -> None:
    assert not changes("buyers", address_types=VIBER)


def test_a_policy_without_channels_of_its_own_changes_nothing() -> None:
    assert not changes("counted", address_types=dict(ADDRESS_TYPES_OF))


def test_another_address_of_a_channel_changes_it() -> None:
    by_two = {**VIBER, "viber": ("viber_id", "phone")}

    assert DEFINITIONS.fingerprint("counted", "UTC", "", VIBER) != DEFINITIONS.fingerprint("counted", "UTC", "", by_two)
