"""The coupon of a message step, in the action that delivers it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.stories import simple, story


@pytest.mark.parametrize(
    ("coupon", "wanted"),
    [
        ("welcome", {"pool": "welcome", "valid_ms": None, "if_empty": "skip"}),
        (
            "{pool: welcome, valid: 2d, if_empty: send}",
            {"pool": "welcome", "valid_ms": 172_800_000, "if_empty": "send"},
        ),
    ],
)
def test_a_message_names_the_pool_of_its_coupon(coupon: str, wanted: dict[str, Any]) -> None:
    timeline = story(simple(f"  - message: hello\n    channel: email\n    coupon: {coupon}"))
    (action,) = timeline.event("Signed Up").rows("actions")

    assert wanted == action["coupon"]
