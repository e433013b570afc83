"""Which deliveries of events are looked up, and which of them are left out as second ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from processors.recording.late_duplicates import Delivery, delivery, late_keys, later_deliveries
from schemas.time import ms_of_time
from tests.support.builders import DAY_ONE
from tests.support.warehouse import instant, resolved

KEY = ("till", "17")


def arrived(days: float, key: tuple[str, str] = KEY, *, is_late: bool = True) -> Delivery:
    return Delivery(key, instant(DAY_ONE + timedelta(days=days)), is_late)


def aged(**age: float) -> dict[str, Any]:
    return resolved("e1", 1, DAY_ONE, received_at=instant(DAY_ONE + timedelta(**age)))


@pytest.mark.parametrize(
    ("late", "event"),
    [
        pytest.param(False, aged(seconds=1), id="at once"),
        pytest.param(False, aged(days=5, hours=23), id="within the life of a mark"),
        pytest.param(False, aged(days=6, milliseconds=-1), id="a millisecond before a mark may be gone"),
        pytest.param(True, aged(days=6), id="a mark may be gone"),
        pytest.param(True, aged(days=400), id="old history"),
        pytest.param(False, aged(seconds=1) | {"context": {"original_timestamp": "x"}}, id="a clock that is wrong"),
        pytest.param(
            True, aged() | {"context": {"original_timestamp": "2099-01-01T00:00:00Z"}}, id="dated to the future"
        ),
        pytest.param(True, aged(seconds=1) | {"context": {"time_doubtful": True}}, id="dated by its arrival"),
        pytest.param(False, aged(seconds=1) | {"context": None}, id="no context"),
    ],
)
def test_a_delivery_is_late_when_an_earlier_one_may_be_forgotten(late: bool, event: dict[str, Any]) -> None:
    found = delivery(event)

    assert (("shop", "e1"), event["received_at"], late) == found


def test_an_event_is_looked_up_once_and_one_that_is_not_late_not_at_all() -> None:
    deliveries = [arrived(20), None, arrived(20.1), arrived(1, ("till", "18"), is_late=False)]

    assert [KEY] == late_keys(deliveries)


@pytest.mark.parametrize(
    ("left_out", "deliveries", "recorded_day"),
    [
        pytest.param([], [arrived(20)], None, id="a first delivery that is late"),
        pytest.param([0], [arrived(20)], 0, id="after a recorded one"),
        pytest.param([], [arrived(20)], 20, id="the recorded one itself, read again"),
        pytest.param([], [arrived(0), arrived(1, ("pbx", "17"))], None, id="the same id of another source"),
        pytest.param([1], [arrived(0, is_late=False), arrived(20)], None, id="both in one batch, after a replay"),
        pytest.param([0], [arrived(20), arrived(0, is_late=False)], None, id="both in one batch, the later one first"),
        pytest.param([1, 2], [arrived(0), arrived(20), arrived(40)], 0, id="three of them, the first read again"),
    ],
)
def test_only_the_first_delivery_stays(
    left_out: list[int], deliveries: list[Delivery], recorded_day: int | None
) -> None:
    day = None if recorded_day is None else DAY_ONE + timedelta(days=recorded_day)
    recorded = {} if day is None else {KEY: ms_of_time(day)}

    assert left_out == later_deliveries(deliveries, late_keys(deliveries), recorded)
