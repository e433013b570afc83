"""A call is dated by the difference of its two times, which no wrong clock and no calendar changes, up to a limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.intake.decode import decode
from processors.intake.event_time import CallTime, time_of_call
from processors.intake.segment_calls import Arrival, translate
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.intake.sources import Source
from schemas.outcomes import Reject

RECEIVED = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
ARRIVED = "2026-11-22T10:00:00.000Z"
SERVER = Source(channel="api")
APP = Source(channel="app", kind="browser")
HISTORY = Source(channel="api", max_delay_days=None)

ARABIC = ("٢٠٢٦-١١-٢٢T٠٩:٥٨:٠٠.٠٠٠Z", "٢٠٢٦-١١-٢٢T٠٩:٥٩:٥٥.٠٠٠Z")
BUDDHIST = ("2569-11-22T09:58:00.000Z", "2569-11-22T09:59:55.000Z")
JAPANESE = ("0008-11-22T09:58:00.000Z", "0008-11-22T09:59:55.000Z")


def dated(stated: object, sent_at: object = None, source: Source = APP, received: datetime = RECEIVED) -> CallTime:
    return time_of_call(stated, sent_at, received, source)


@pytest.mark.parametrize(
    ("stated", "sent_at"),
    [
        ARABIC,
        BUDDHIST,
        JAPANESE,
        ("२०२६-११-२२T०९:५८:००Z", "२०२६-११-२२T०९:५९:५५Z"),  # Devanagari
        ("۲۰۲۶-۱۱-۲۲T۰۹:۵۸:۰۰.۰۰۰Z", "۲۰۲۶-۱۱-۲۲T۰۹:۵۹:۵۵.۰۰۰Z"),  # Persian digits
        ("๒๕๖๙-๑๑-๒๒T๐๙:๕๘:๐๐.๐๐๐Z", "๒๕๖๙-๑๑-๒๒T๐๙:๕๙:๕๕.๐๐๐Z"),  # Thai digits and years
        ("0115-11-22T09:58:00.000Z", "0115-11-22T09:59:55.000Z"),  # Taiwan
        ("115-11-22T09:58:00.000+08:00", "115-11-22T09:59:55.000+08:00"),
        ("1448-06-12T09:58:00.000Z", "1448-06-12T09:59:55.000Z"),  # Islamic
        ("1970-01-01T00:03:00Z", "1970-01-01T00:04:55Z"),  # a clock that was never set, neither now nor then
        ("2026-11-22T9:58:00 PM Z", "2026-11-22T9:59:55 PM Z"),  # a 12-hour clock, 12 hours off
        ("2026-11-22T16:58:00.000", "2026-11-22T16:59:55.000"),  # local time without an offset
        ("\u200f2026-11-22T09:58:00Z", "\u200f2026-11-22T09:59:55Z"),
        (1795341480, 1795341595),
        (1795341480000, 1795341595000),
        ("1795341480000", "1795341595000"),
    ],
)
def test_the_difference_of_two_times_is_right_in_any_calendar_and_script(stated: object, sent_at: object) -> None:
    found = dated(stated, sent_at)

    assert ("2026-11-22T09:58:05.000Z", str(stated), False) == found


@pytest.mark.parametrize(
    ("stated", "sent_at", "received", "occurred_at"),
    [
        ("2567-02-28T12:00:00Z", "2567-03-01T12:00:00Z", "2024-03-01T12:00:00Z", "2024-02-28T12:00:00.000Z"),
        ("2567-02-29T11:00:00Z", "2567-02-29T12:00:00Z", "2024-02-29T12:00:00Z", "2024-02-29T11:00:00.000Z"),
        ("2568-12-31T23:00:00Z", "2569-01-01T01:00:00Z", "2026-01-01T01:00:00Z", "2025-12-31T23:00:00.000Z"),
        ("0007-12-31T22:00:00Z", "0007-12-31T23:59:59Z", "2026-01-01T00:00:01Z", "2025-12-31T22:00:02.000Z"),
        ("2570-01-01T00:00:01Z", "2570-01-01T00:00:03Z", "2026-12-31T23:59:58Z", "2026-12-31T23:59:56.000Z"),
    ],
)
def test_leap_days_and_new_year_of_other_calendars_are_those_of_ours(
    stated: str, sent_at: str, received: str, occurred_at: str
) -> None:
    found = dated(stated, sent_at, received=datetime.fromisoformat(received))

    assert (occurred_at, stated, False) == found


@pytest.mark.parametrize("stated", [ARABIC[0], "2026-11-22T09:58:00Z", "2026-11-22T09:58:00", "2026-11-22 09:58:00"])
def test_a_readable_time_without_a_sending_time_counts_by_itself(stated: str) -> None:
    found = dated(stated)

    assert ("2026-11-22T09:58:00.000Z", False) == (found.occurred_at, found.doubtful)


@pytest.mark.parametrize("source", [APP, SERVER])
@pytest.mark.parametrize(
    ("stated", "sent_at"),
    [
        ("1970-01-01T00:05:00Z", "2026-11-22T09:59:59Z"),  # the clock was set before sending
        ("1999-12-31T23:59:59Z", "2026-11-22T09:59:59Z"),
        ("1970-01-01T00:05:00Z", None),
        ("2000-01-01T00:00:10Z", "2026-11-22T09:59:59Z"),
        ("2026-10-23T09:59:58Z", "2026-11-22T09:59:59Z"),  # a second beyond 30 days
        (BUDDHIST[0], None),
        (JAPANESE[0], None),
        (BUDDHIST[0], "2026-11-22T09:59:55Z"),
        ("2026-11-22T09:58:00Z", BUDDHIST[1]),
        ("2031-11-22T09:00:00Z", None),
        ("2026-11-29T09:59:59Z", "2026-11-22T09:59:59Z"),
        ("0005-11-22T09:58:00Z", "0008-11-22T09:59:55Z"),  # three years, in whichever calendar
        ("soon", "2026-11-22T09:59:55Z"),
        ("2026-02-30T00:00:00Z", "2026-11-22T09:59:55Z"),
        ("22.11.2026", None),
        (7, None),
    ],
)
def test_a_time_that_cannot_be_relied_on_is_that_of_the_arrival_and_marked(
    stated: object, sent_at: object, source: Source
) -> None:
    assert (ARRIVED, str(stated), True) == dated(stated, sent_at, source)


@pytest.mark.parametrize(
    ("stated", "sent_at", "occurred_at"),
    [
        ("2026-10-23T10:00:00Z", "2026-11-22T10:00:00Z", "2026-10-23T10:00:00.000Z"),  # 30 days to the second
        ("2026-11-22T10:00:02Z", "2026-11-22T10:00:00Z", ARRIVED),
        ("2026-11-22T19:00:00Z", None, ARRIVED),  # a local time that calls itself UTC
        (None, "2026-11-22T09:59:55Z", ARRIVED),
        ("", "2026-11-22T09:59:55Z", ARRIVED),
    ],
)
def test_a_time_within_the_limit_or_no_time_at_all_is_not_doubtful(
    stated: object, sent_at: object, occurred_at: str
) -> None:
    found = dated(stated, sent_at)

    assert (occurred_at, False) == (found.occurred_at, found.doubtful)


@pytest.mark.parametrize(
    ("source", "sent_at"),
    [(HISTORY, "2026-11-22T09:59:59Z"), (HISTORY, "2031-01-01T00:00:00Z"), (HISTORY, None), (SERVER, None)],
)
def test_history_keeps_its_times_and_is_not_corrected(source: Source, sent_at: object) -> None:
    assert ("2019-05-01T08:00:00.000Z", None, False) == dated("2019-05-01T10:00:00+02:00", sent_at, source)


@pytest.mark.parametrize("stated", ["1-1-1", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z"])
def test_a_year_that_stands_for_no_time_is_the_arrivals_in_history_too(stated: str) -> None:
    assert (ARRIVED, stated, True) == dated(stated, None, HISTORY)
    assert ("1970-06-01T00:00:00.000Z", None, False) == dated("1970-06-01T00:00:00Z", None, HISTORY)


@pytest.mark.parametrize("source", [HISTORY, SERVER, APP])
def test_no_source_dates_an_event_after_its_arrival(source: Source) -> None:
    assert ARRIVED == dated("2027-01-01T00:00:00Z", None, source).occurred_at


def test_a_source_may_believe_in_longer_delays() -> None:
    till = Source(channel="store", max_delay_days=90)

    assert "2026-09-01T10:00:00.000Z" == dated("2026-09-01T10:00:00Z", "2026-11-22T10:00:00Z", till).occurred_at


@pytest.mark.parametrize("stated", [{}, [], {"$date": 1}, "2026\0", "\ud83d"])
def test_a_time_that_no_record_can_hold_is_that_of_the_arrival_and_is_not_kept(stated: object) -> None:
    assert (ARRIVED, None, True) == dated(stated)


@pytest.mark.parametrize(
    ("timestamp", "sent_at", "occurred_at", "doubtful"),
    [
        (*ARABIC, "2026-11-22T09:58:05.000Z", None),
        (*BUDDHIST, "2026-11-22T09:58:05.000Z", None),
        (*JAPANESE, "2026-11-22T09:58:05.000Z", None),
        ("1970-01-01T00:05:00Z", "2026-11-22T09:59:59Z", ARRIVED, True),
    ],
)
def test_the_context_of_a_call_keeps_what_its_client_stated_and_whether_the_time_is_doubtful(
    timestamp: str, sent_at: str, occurred_at: str, doubtful: object
) -> None:
    call: dict[str, Any] = {
        "event": "Order Completed", "userId": "c-4", "timestamp": timestamp, "messageId": "m",
        "properties": {"order_id": "Z-1", "revenue": 30, "currency": "EUR"},
    }  # fmt: skip
    found = translate(call, "track", "shop", SERVER, Arrival(RECEIVED, sent_at, "request-0"))
    assert not isinstance(found, Reject)
    event = decode(orjson.dumps(found.event), channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=65_536)
    assert not isinstance(event, Reject)

    kept = event["context"]
    assert (occurred_at, timestamp, doubtful) == (
        event["occurred_at"], kept["original_timestamp"], kept.get("time_doubtful")
    )  # fmt: skip


texts = st.from_regex(
    r"[0-9]{1,5}-[0-9]{1,2}-[0-9]{1,2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,7})?)?(Z|[+-][0-9]{4})?)?"
)
anything = st.none() | st.text(max_size=30) | texts | st.floats() | st.integers() | st.booleans() | st.lists(st.none())


@given(anything, anything, st.sampled_from([APP, SERVER, HISTORY]))
def test_whatever_a_client_states_dates_its_call_by_the_arrival_at_the_latest(
    stated: object, sent_at: object, source: Source
) -> None:
    assert "1970" <= dated(stated, sent_at, source).occurred_at <= ARRIVED


@given(st.integers(0, 30 * 86_400), st.integers(-50, 70))
def test_a_clock_that_is_off_by_years_changes_nothing(delay_s: int, years: int) -> None:
    sent = RECEIVED + timedelta(days=365 * years)
    stated = sent - timedelta(seconds=delay_s)
    expected = RECEIVED - timedelta(seconds=delay_s)

    assert expected == datetime.fromisoformat(dated(stated.isoformat(), sent.isoformat()).occurred_at)
