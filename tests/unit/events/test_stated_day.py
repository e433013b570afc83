"""The day that a producer means by a date of birth: one answer for every way of writing it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schemas.time import stated_day

PLACES = {"ny": "America/New_York", "de": "Europe/Berlin", "jp": "Asia/Tokyo", "br": "America/Sao_Paulo", "utc": "UTC"}
SECONDS = 642_729_600
"""1990-05-15T00:00:00Z."""


def day_of(value: Any, place: str) -> tuple[int, int, int] | None:
    found = stated_day(value, ZoneInfo(PLACES[place]))
    return found and found[:3]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("ny", "1990-05-15T00:00:00.000Z"),
        ("de", "1990-05-14T22:00:00.000Z"),
        ("jp", "1990-05-15"),
        ("ny", "1990-05-15"),
        ("jp", "1990-05-14T15:00:00.000Z"),
        ("jp", "1990-05-15T00:00:00Z"),
        ("ny", "1990-05-15T04:00:00Z"),
        ("ny", "1990-05-15T00:00:00+00:00"),
        ("ny", "1990-05-15 00:00:00"),
        ("ny", "1990-05-15T00:00:00"),
        ("ny", "1990-05-15T00:00:00+02:00"),
        ("ny", "1990-05-15t00:00z"),
        ("ny", "1990-05-15T00:00:00.000000+0000"),
        ("ny", "1990-05-15T12:00:00Z"),
        ("de", "1990-05-15T23:59:59+02:00"),
        ("de", "1990-05-15T00:00:01+02:00"),
        ("ny", "1990/05/15"),
        ("ny", "1990.5.15"),
        ("ny", "1990-5-15"),
        ("ny", "1990/05/15 00:00:00"),
        ("ny", "19900515"),
        ("ny", " 1990-05-15 "),
        ("ny", SECONDS),
        ("ny", SECONDS * 1_000),
        ("ny", float(SECONDS)),
        ("ny", SECONDS + 4 * 3_600),
        ("de", (SECONDS - 2 * 3_600) * 1_000),
    ],
)
def test_all_of_these_mean_the_fifteenth_of_may(place: str, value: Any) -> None:
    assert (1990, 5, 15) == day_of(value, place)


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("de", "1990-05-04T22:00:00.000Z", (1990, 5, 5)),
        ("de", "1990-01-04T23:00:00.000Z", (1990, 1, 5)),
        ("utc", "1990-05-04T22:00:00.000Z", (1990, 5, 4)),
        ("br", "1990-10-21T03:00:00Z", (1990, 10, 21)),
        ("ny", "1992-02-29", (1992, 2, 29)),
        ("de", "1992-02-28T23:00:00Z", (1992, 2, 29)),
        ("ny", "1960-01-01T00:00:00Z", (1960, 1, 1)),
        ("ny", -315_619_200, (1960, 1, 1)),
        ("ny", "05-15", (0, 5, 15)),
        ("ny", "--05-15", (0, 5, 15)),
        ("ny", "--0515", (0, 5, 15)),
        ("ny", "--02-29", (0, 2, 29)),
        ("ny", "1604-05-15", (0, 5, 15)),
        ("ny", "0000-02-29", (0, 2, 29)),
    ],
)
def test_the_day_is_that_of_the_person(place: str, value: Any, expected: tuple[int, int, int]) -> None:
    assert expected == day_of(value, place)


@pytest.mark.parametrize(
    "value",
    [
        "1990-02-29", "1990-13-01", "0000-00-00", "--02-30", "0001-01-01", "0001-01-01T00:00:00Z", "1990-05", "1990",
        "04/05/1990", "15.05.1990", "05-04-1990", "1990-05/15", "15 May 1990", "Tue May 15 1990 00:00:00 GMT+0200",
        "1990-05-15T25:00:00Z", "1990-05-15 or so", "1990-05-1５", "", "T00:00:00Z", "9" * 40, str(SECONDS),
        SECONDS + 1, SECONDS * 1_000 + 1, 19900515, 86_400_000, 0, True, 1e300, float("nan"), 10**30, None, [], {},
    ],
)  # fmt: skip
def test_what_means_no_day_or_two_is_refused(value: Any) -> None:
    assert day_of(value, "ny") is None


def test_a_time_of_day_is_kept_where_one_is_meant() -> None:
    whole, timed = (stated_day(text, UTC) for text in ("2026-11-20T00:00:00Z", "2026-11-20T18:00:00Z"))

    assert whole is not None
    assert timed is not None
    assert (True, False) == (whole.is_whole, timed.is_whole)
    assert (datetime(2026, 11, 20, 18, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC)) == (timed.at, timed.start(UTC))
