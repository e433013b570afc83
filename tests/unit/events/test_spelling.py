"""Which known name a misspelt one is taken for."""

from __future__ import annotations

import pytest

from schemas.events.touchpoint import EVENT_NAMES
from schemas.spelling import nearest_names


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("product viewed", ["Product Viewed"]),
        ("PRODUCT VIEWED", ["Product Viewed"]),
        ("product_viewed", ["Product Viewed"]),
        (" order  completed ", ["Order Completed"]),
        ("Order Complete", ["Order Completed"]),
        ("Product Reviewedd", ["Product Reviewed"]),
        ("Table Booked By Phone", []),
        ("", []),
    ],
)
def test_case_and_separators_count_least(name: str, nearest: list[str]) -> None:
    assert nearest == nearest_names(name, EVENT_NAMES, 0.8)


def test_the_name_is_returned_as_it_is_known() -> None:
    assert ["win-back"] == nearest_names("Win_Back", ["welcome", "win-back"])
