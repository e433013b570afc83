"""Quiet hours and best hours, on the person's clock, through changes of the clocks."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from processors.decisions import calendar
from processors.decisions.resolver import MessageResolver
from processors.profiles.time_zone import zone_of
from schemas.decisions.policy import WILDCARD, Calendar, MessagePolicy, QuietHours, SendTimeRules
from schemas.durations import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.markets import MarketDefinitions
from schemas.territory import ONE_TERRITORY, Territory
from schemas.time import text_of_ms, time_of_ms
from tests.support.messages import NO_HOLDOUT, NOON, Note, StatedSegments, ms, person, request, resolver

NIGHT = QuietHours(start="21:00", end="09:00")


def _until(zone: str, at: str, start: str = "21:00", end: str = "09:00") -> str | None:
    until = calendar.QuietCalendar({WILDCARD: QuietHours(start=start, end=end)}).until("sms", ms(at), ZoneInfo(zone))
    return None if until is None else text_of_ms(until)


@pytest.mark.parametrize(
    ("zone", "at", "until"),
    [
        ("Europe/Berlin", "2026-11-03T12:00+01:00", None),
        ("Europe/Berlin", "2026-11-03T20:59:59+01:00", None),
        ("Europe/Berlin", "2026-11-03T21:00+01:00", "2026-11-04T08:00:00.000Z"),
        ("Europe/Berlin", "2026-11-04T00:00+01:00", "2026-11-04T08:00:00.000Z"),
        ("Europe/Berlin", "2026-11-04T08:59:59+01:00", "2026-11-04T08:00:00.000Z"),
        ("Europe/Berlin", "2026-11-04T09:00+01:00", None),
        # The night of the change: 9 o'clock of the summer is 7 UTC, of the winter 8 UTC.
        ("Europe/Berlin", "2026-03-28T22:00+01:00", "2026-03-29T07:00:00.000Z"),
        ("Europe/Berlin", "2026-10-24T22:00+02:00", "2026-10-25T08:00:00.000Z"),
        # Zones off by half and by three quarters of an hour.
        ("Asia/Kolkata", "2026-11-03T21:10+05:30", "2026-11-04T03:30:00.000Z"),
        ("Asia/Kathmandu", "2026-11-03T21:10+05:45", "2026-11-04T03:15:00.000Z"),
        # Clocks that change by half an hour.
        ("Australia/Lord_Howe", "2026-10-03T22:00+10:30", "2026-10-03T22:00:00.000Z"),
        ("Pacific/Apia", "2026-11-03T22:00+13:00", "2026-11-03T20:00:00.000Z"),
    ],
)
def test_quiet_hours_end_when_the_persons_clock_says_so(zone: str, at: str, until: str | None) -> None:
    assert until == _until(zone, at)


@pytest.mark.parametrize(
    ("at", "end", "until"),
    [
        # In spring 2:30 does not exist: at that moment the clock shows 3:30.
        pytest.param("2026-03-29T01:00+01:00", "02:30", "2026-03-29T01:30:00.000Z", id="an end that is skipped"),
        # In autumn 2:30 comes twice, first at 0:30 UTC; then the clock goes back to 2:00, and it is quiet once more.
        pytest.param("2026-10-25T01:00+02:00", "02:30", "2026-10-25T00:30:00.000Z", id="the first of two ends"),
        pytest.param("2026-10-25T02:10+01:00", "02:30", "2026-10-25T01:30:00.000Z", id="the second of two ends"),
        pytest.param("2026-10-25T02:40+02:00", "02:30", None, id="between them, before the clock goes back"),
        # 3:00 is when the clock goes back to 2:00; the 3:00 that ends the quiet is an hour later.
        pytest.param("2026-10-25T01:00+02:00", "03:00", "2026-10-25T02:00:00.000Z", id="an end as it goes back"),
    ],
)
def test_an_end_within_the_change_of_the_clocks_is_a_moment_that_is_not_quiet(
    at: str, end: str, until: str | None
) -> None:
    assert until == _until("Europe/Berlin", at, end=end)


def test_quiet_hours_may_lie_within_a_day() -> None:
    assert "2026-11-03T14:00:00.000Z" == _until("UTC", "2026-11-03T13:15", "13:00", "14:00")


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu"]
)
def test_every_quiet_moment_of_a_year_is_followed_by_one_that_is_not(zone: str) -> None:
    quiet, where = calendar.QuietCalendar({WILDCARD: NIGHT}), ZoneInfo(zone)
    for at in range(ms("2026-01-01T00:00"), ms("2027-01-01T00:00"), 97 * MINUTE_MS):
        until = quiet.until("sms", at, where)

        hour = time_of_ms(at, where).hour
        assert (hour >= 21 or hour < 9) == (until is not None)
        if until is not None:
            assert at < until <= at + 13 * HOUR_MS
            assert (9, 0) == (time_of_ms(until, where).hour, time_of_ms(until, where).minute)


def test_a_message_in_quiet_hours_waits_and_says_so() -> None:
    decision = resolver().decide(person(), request(note=Note(channels=("sms",))), ms("2026-11-03T22:00+01:00"))

    assert ("postponed", ms("2026-11-04T09:00+01:00")) == (decision.outcome, decision.until_ms)
    assert (
        "Postponed: it is quiet time for SMS (21:00-09:00) where the person is; next at Wed 09:00."
        == decision.row["reason"]
    )
    assert "2026-11-04T08:00:00.000Z" == decision.row["until"]


def test_a_channel_without_quiet_hours_does_not_wait() -> None:
    assert "sent" == resolver().decide(person(), request(), ms("2026-11-03T22:00+01:00")).outcome


def test_a_transactional_message_does_not_wait_for_the_morning() -> None:
    note = Note(channels=("sms",), purpose="transactional", transactional=True)

    assert "sent" == resolver().decide(person(), request(note=note), ms("2026-11-03T22:00+01:00")).outcome


@pytest.mark.parametrize(
    ("stated", "known", "zone"),
    [
        ("Asia/Kolkata", "Europe/Berlin", "Asia/Kolkata"),
        (None, "Europe/Berlin", "Europe/Berlin"),
        ("Mars/Olympus", "Europe/Berlin", "Europe/Berlin"),
        ("../etc/passwd", None, "UTC"),
        (7, None, "UTC"),
        ("Europe", None, "UTC"),
    ],
)
def test_the_time_zone_is_the_stated_one_then_the_devices_then_the_deployments(
    stated: object, known: str | None, zone: str
) -> None:
    document = {
        "traits": {"timezone": [stated, 1]} if stated else {},
        "known": {"timezone": [known, 1]} if known else {},
    }

    assert zone == str(zone_of(document, ONE_TERRITORY))


def test_a_person_without_a_time_zone_sleeps_when_their_market_does() -> None:
    markets = MarketDefinitions.model_validate(
        {
            "default": "others",
            "markets": {
                "others": {},
                "japan": {"countries": ["JP"], "time_zone": "Asia/Tokyo"},
                "france": {"countries": ["FR"], "time_zone": "Europe/Paris"},
            },
        }
    )
    policy = MessagePolicy(holdout=NO_HOLDOUT, quiet_hours={WILDCARD: NIGHT})
    asked = MessageResolver(policy, segments=StatedSegments(), territory=Territory.of("UTC", markets))
    found = {}
    for name, traits, known in (
        ("seen in Japan", {}, {"country": ["JP", 1]}),
        ("declared France, seen in Japan", {"address": [{"country": "France"}, 1]}, {"country": ["JP", 1]}),
        ("own zone", {}, {"country": ["JP", 1], "timezone": ["America/New_York", 1]}),
        ("another country", {}, {"country": ["US", 1]}),
        ("unknown", {}, {}),
    ):
        decision = asked.decide(person(traits=traits, known=known), request(requested_ms=NOON), NOON)
        found[name] = next(row for row in decision.row["gates"] if row["gate"] == "quiet_hours")["input"]

    assert {
        "seen in Japan": ("Asia/Tokyo", "21:00"),
        "declared France, seen in Japan": ("Europe/Paris", "13:00"),
        "own zone": ("America/New_York", "07:00"),
        "another country": ("UTC", "12:00"),
        "unknown": ("UTC", "12:00"),
    } == {name: (gate["time_zone"], gate["local"]) for name, gate in found.items()}


def _best(now: str, within: int, *, channel: str = "email", hours: dict[str, int] | None = None) -> str:
    note = Note(channels=(channel,), best_within_ms=within)
    state = {"sends": {"hours": dict(hours or {})}}
    decision = resolver().decide(person(state=state), request(note=note, requested_ms=ms(now)), ms(now))
    return decision.row["until"] or decision.outcome


@pytest.mark.parametrize(
    ("now", "hours", "until"),
    [
        pytest.param("2026-11-03T12:20+01:00", {"20": 30}, "2026-11-03T19:00:00.000Z", id="later today"),
        pytest.param("2026-11-03T12:20+01:00", {"7": 30}, "2026-11-04T06:00:00.000Z", id="tomorrow"),
        pytest.param("2026-11-03T12:20+01:00", {"12": 30}, "sent", id="right now"),
        pytest.param("2026-11-03T12:20+01:00", {}, "2026-11-03T18:00:00.000Z", id="the usual hour, 19"),
        # Next morning is another day of the clocks: 20 o'clock in winter time.
        pytest.param("2026-10-24T23:20+02:00", {"20": 30}, "2026-10-25T19:00:00.000Z", id="after the change"),
    ],
)
def test_a_message_waits_for_the_hour_at_which_its_person_clicks(now: str, hours: dict[str, int], until: str) -> None:
    assert until == _best(now, DAY_MS, hours=hours)


def test_a_message_waits_no_longer_than_it_may() -> None:
    assert "2026-11-03T13:00:00.000Z" == _best("2026-11-03T12:20+01:00", 2 * HOUR_MS, hours={"20": 30, "14": 5})


def test_when_the_best_hour_has_come_the_message_goes_out() -> None:
    engine, note = resolver(), Note(best_within_ms=DAY_MS)
    somebody = person(state={"sends": {"hours": {"20": 30}}})
    first = engine.decide(somebody, request(note=note), NOON)
    assert first.until_ms is not None
    second = engine.decide(somebody, request(note=note, attempt=1), first.until_ms)

    assert ("postponed", "sent") == (first.outcome, second.outcome)


def test_the_best_hour_is_not_in_quiet_hours() -> None:
    until = _best("2026-11-03T22:20+01:00", DAY_MS, channel="sms", hours={"23": 100, "8": 90, "11": 50})

    assert "2026-11-04T10:00:00.000Z" == until


@pytest.mark.parametrize(
    ("event", "counted"),
    [
        ("Email Link Clicked", True),
        ("WhatsApp Replied", True),
        ("Signed In", True),
        ("Email Opened", False),
        ("Email Delivered", False),
        ("Page Viewed", False),
    ],
)
def test_clicks_replies_and_visits_teach_the_hour_and_opens_do_not(event: str, counted: bool) -> None:
    somebody = person()
    happened = {"event_id": "e", "event": event, "channel": "web", "occurred_at": "2026-11-03T18:30:00.000Z"}
    resolver().on_event(somebody, happened, NOON)

    assert ({"19": 1} if counted else {}) == somebody.state.get("sends", {}).get("hours", {})


def test_the_rhythm_of_the_policy_is_used_where_nothing_is_known() -> None:
    early = SendTimeRules(rhythm=(1.0,) * 6 + (9.0,) + (1.0,) * 17)
    note = Note(best_within_ms=DAY_MS)
    decision = resolver(send_time=early).decide(person(), request(note=note), NOON)

    assert ms("2026-11-04T06:00+01:00") == decision.until_ms


@pytest.mark.parametrize(
    ("period", "zone", "start", "following"),
    [
        ("day", "Europe/Berlin", "2026-10-24T22:00:00.000Z", "2026-10-25T23:00:00.000Z"),
        ("week", "Europe/Berlin", "2026-10-18T22:00:00.000Z", "2026-10-25T23:00:00.000Z"),
        ("month", "Europe/Berlin", "2026-09-30T22:00:00.000Z", "2026-10-31T23:00:00.000Z"),
        ("day", "Asia/Kolkata", "2026-10-24T18:30:00.000Z", "2026-10-25T18:30:00.000Z"),
    ],
)
def test_days_weeks_and_months_are_those_of_the_persons_clock(
    period: Calendar, zone: str, start: str, following: str
) -> None:
    at, where = ms("2026-10-25T12:00"), ZoneInfo(zone)

    assert start == text_of_ms(calendar.period_start(at, period, where))
    assert following == text_of_ms(calendar.next_period_start(at, period, where))


def test_a_moment_is_said_on_the_persons_clock_never_too_early() -> None:
    berlin = ZoneInfo("Europe/Berlin")

    assert "Tue 13:00" == calendar.readable_time(NOON, NOON, berlin)
    assert "Tue 13:01" == calendar.readable_time(NOON + 1, NOON, berlin)
    assert "Tue 10 Nov 13:00" == calendar.readable_time(NOON + 7 * DAY_MS, NOON, berlin)
