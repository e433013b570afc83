"""Broadcasts: everybody gets them once, on their own clock, at a rate, and the rest gets the variant that has won."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from pydantic import ValidationError

from deploy.operations.definition_files import load
from processors.journeys.broadcast_lint import Surroundings, lint_broadcasts, most_people
from schemas.decisions.policy import MessagePolicy
from schemas.durations import HOUR_MS
from schemas.journeys.broadcasts import Broadcast
from schemas.journeys.control import JourneyControl
from schemas.journeys.definitions import Journey
from schemas.segments.definitions import SegmentDefinitions
from tests.support.stories import DEFINITIONS, NO_HOLDOUT, UNLIMITED, Story, moment, shipped_segments

SEGMENTS = SegmentDefinitions.model_validate(
    {
        "segments": [
            {"name": "known", "description": "Known.", "when": {"performed": "Identify"}},
            {"name": "buyers", "description": "Bought.", "when": {"performed": "Order Completed"}},
        ]
    }
)
PLAIN = """
name: news
description: News.
segment: known
send: {at: 2026-11-02 12:00}
message: hello
channel: email
"""
SPLIT = """
split:
  share: 0.5
  variants: [{name: short}, {name: story, template: hello-story}]
  winner: {metric: clicked, at: 2026-11-02 18:00, within: 4h}
"""


def broadcast(text: str = PLAIN, **fields: Any) -> Broadcast:
    given = {**yaml.safe_load(text), **fields}
    return Broadcast.model_validate({key: value for key, value in given.items() if value is not None})


def person(number: int = 1, timezone: str = "Europe/Berlin", **fields: Any) -> Story:
    return Story(
        segments=SEGMENTS, policy=fields.pop("policy", UNLIMITED), profile_id=f"p{number}", timezone=timezone, **fields
    ).at("08:00")


def under(told: Story, one: Broadcast, **control: Any) -> Story:
    """Let a broadcast have been started at eight, or its state be another."""
    journey = one.as_journey()
    other = {"version": journey.version, "started_ms": moment("08:00"), "audience": 1, **control}
    policy = told.decider.resolver._policy
    told.decider = type(told.decider)(SEGMENTS, [journey], policy).under(
        {one.name: JourneyControl(other.pop("state", "running"), other.pop("since_ms", moment("08:00")), **other)}
    )
    return told


def enter(told: Story, name: str = "news") -> Story:
    told.out += told.decider.enter_broadcast(told.person, name, told.now)
    return told


@pytest.mark.parametrize(
    ("timezone", "before", "then"),
    [("Europe/Berlin", "10:59", "11:00"), ("America/New_York", "16:59", "17:00"), ("Asia/Tokyo", "07:00", "08:00")],
)
def test_everybody_gets_it_at_that_hour_of_their_own_clock_or_at_once_where_it_has_passed(
    timezone: str, before: str, then: str
) -> None:
    told = enter(under(person(timezone=timezone), broadcast()))
    if moment(before) > told.now:
        told.at(before)
        assert [] == told.sent()

    told.at(then)

    assert [("email", "hello")] == told.sent()


def test_whose_hour_has_passed_is_left_out_if_the_broadcast_says_so() -> None:
    told = enter(under(person(timezone="Asia/Tokyo"), broadcast(send={"at": "2026-11-02 12:00", "if_missed": "skip"})))

    assert [] == told.sent()
    assert [("", "its hour had passed")] == told.exits()


def test_a_person_enters_once_however_often_the_list_is_worked_off() -> None:
    told = enter(enter(under(person(), broadcast()))).at("12:00")
    enter(told).at("20:00")

    assert [("email", "hello")] == told.sent()
    assert 1 == len(told.journey_events("journey_entered"))


def test_two_people_of_whom_one_has_it_already_get_nothing_more_as_one() -> None:
    told = enter(under(person(1), broadcast())).at("12:00")
    other = under(person(2), broadcast()).at("12:00")

    both = under(other, broadcast()).merge(told)

    assert [] == enter(both).at("20:00").sent()


def test_two_people_who_wait_for_it_get_it_once_when_they_turn_out_to_be_one() -> None:
    told, other = (enter(under(person(number), broadcast())).at("09:00") for number in (1, 2))

    told.merge(other).at("20:00")

    assert [("email", "hello")] == told.sent()


@pytest.mark.parametrize("state", ["paused", "stopped"])
def test_nothing_is_sent_while_it_is_paused_or_after_it_was_cancelled(state: str) -> None:
    told = enter(under(person(), broadcast()))
    under(told, broadcast(), state=state, since_ms=moment("09:00"), stopped_ms=moment("09:00") * (state == "stopped"))

    told.at("20:00")

    assert [] == told.sent()
    assert [{"paused": "postponed", "stopped": "suppressed"}[state]] == [one for _, one, _ in told.decisions()]


def test_who_withdrew_consent_after_the_start_gets_nothing() -> None:
    told = enter(under(person(), broadcast()))
    told.event("Consent Updated", consent={"marketing": False}).at("12:00")

    assert [("hello", "suppressed", "consent")] == told.decisions()


def test_who_bought_meanwhile_is_excluded_when_it_is_sent() -> None:
    one = broadcast(exclude=["buyers"])
    told = enter(under(person(), one)).event("Order Completed", order_id="o1", revenue=5, currency="EUR").at("20:00")

    assert [] == told.sent()
    assert [("", "not in the audience")] == told.exits()


def test_a_live_broadcast_takes_who_enters_the_segment_while_it_runs_and_not_who_has_left() -> None:
    one = broadcast(segment="buyers", members="live")
    told = under(person(), one).event("Order Completed", order_id="o1", revenue=5, currency="EUR").at("20:00")

    assert [("email", "hello")] == told.sent()


def test_the_sample_is_drawn_and_the_rest_gets_the_winner_when_it_is_chosen() -> None:
    one, sent = broadcast(PLAIN + SPLIT), dict[int, list[list[str]]]()
    for number in range(40):
        told = enter(under(person(number), one)).at("16:59")
        sample = told.templates()
        late = under(told, one).at("18:30").templates()
        told = under(told, one, winner="story").at("20:00")
        sent[number] = [sample, late, told.templates()]

    rest = [one for one in sent.values() if not one[0]]
    assert 10 < len(rest) < 30
    assert {"hello", "hello-story"} == {template for one in sent.values() for template in one[0]}
    assert all(one == [[], [], ["hello-story"]] for one in rest)
    assert all(one[0] == one[2] for one in sent.values() if one[0])


def test_nobody_of_the_rest_is_drawn_into_the_experiment() -> None:
    told = [under(enter(under(person(number), broadcast(PLAIN + SPLIT))), broadcast(PLAIN + SPLIT), winner="short")
            for number in range(20)]  # fmt: skip
    steps = [row for one in told for row in one.at("20:00").journey_events("step")]

    assert {"split"} == {row["step"] for row in steps if "arm" in row["detail"]}
    assert {"winner"} == {row["step"] for row in steps if "winner" in row["detail"]}


def test_a_rate_spreads_people_evenly_and_outside_quiet_hours() -> None:
    policy = MessagePolicy(holdout=NO_HOLDOUT, caps=())
    one = broadcast(send={"at": "2026-11-02 12:00", "rate_per_hour": 4}, channel=None, channels=["sms"])
    hours = []
    for number in range(200):
        told = enter(
            under(person(number, "UTC", policy=policy), one, audience=80)
        )  # 20 hours: 9 today, 11 the next day
        (row,) = told.at("day 3 23:00").rows("decisions")
        hours.append((moment(row["decided_at"].replace("Z", "+00:00")) - moment("00:00")) // HOUR_MS)

    assert {*range(12, 21), *range(33, 44)} == set(hours)
    assert max(map(hours.count, set(hours))) < 25


def test_after_a_pause_the_rate_holds_since_all_who_wait_are_put_off_by_it() -> None:
    one = broadcast(send={"at": "2026-11-02 12:00", "rate_per_hour": 10})
    found = {}
    for number in range(60):
        told = enter(under(person(number, "UTC"), one, audience=100)).at("13:00")
        under(told, one, audience=100, state="paused", since_ms=moment("13:00")).at("15:00")
        under(told, one, audience=100, since_ms=moment("15:00"), paused_ms=2 * HOUR_MS).at("15:00").at("day 2 12:00")
        (row,) = [row for row in told.rows("decisions") if row["outcome"] == "sent"]
        found[number] = (moment(row["decided_at"].replace("Z", "+00:00")) - moment("00:00")) // HOUR_MS

    hours = list(found.values())
    assert not {13, 14} & set(hours)
    assert {12, *range(15, 24)} == set(hours)
    assert max(map(hours.count, set(hours))) < 13


def test_who_enters_long_after_their_time_gets_nothing() -> None:
    told = enter(under(person(), broadcast(expires_after="2h")).at("15:00"))

    assert [] == told.sent()
    assert [("", "too late")] == told.exits()


def test_an_equal_file_is_an_equal_version_and_an_archived_one_reads_back() -> None:
    journey = broadcast(
        PLAIN + SPLIT, exclude=["buyers"], choose="all", channel=None, channels=["email", "sms"]
    ).as_journey()

    assert journey == Journey.model_validate_json(journey.archived())
    assert journey.version == Journey.model_validate_json(journey.archived()).version


def test_the_same_message_goes_out_on_each_channel_in_one_variant() -> None:
    one = broadcast(PLAIN + SPLIT, choose="all", channel=None, channels=["email", "sms"])
    told = under(enter(under(person(), one)), one, winner="story").at("20:00")

    assert ["email", "sms"] == [channel for channel, _ in told.sent()]
    assert 1 == len(set(told.templates()))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"segment": "knwn"}, "there is no segment 'knwn' (did you mean 'known'?)"),
        ({"exclude": ["known"]}, "nobody would be left"),
        ({"message": "helo"}, "there is no template 'helo' (did you mean 'hello'?)"),
        ({"channel": None, "channels": ["fax"]}, "the policy knows no channel 'fax'"),
        ({"name": "welcome"}, "a journey has this name"),
        ({"purpose": "transactional"}, "no service message"),
        ({"split": {"variants": [{"name": "a"}, {"name": "b"}]}}, "two variants are the same"),
        ({"budget": {"cost": 5}, "channel": "app_push"}, "no channel of it costs anything"),
        ({"budget": {"cost": 0.01}, "channel": "sms"}, "does not cover the messages of one person"),
    ],
)
def test_what_is_wrong_is_said(fields: dict[str, Any], said: str) -> None:
    around = Surroundings(SEGMENTS, MessagePolicy(), ["hello", "hello-story"], ["welcome"], ZoneInfo("Europe/Berlin"))
    (problem,) = [one for one in lint_broadcasts([broadcast(**fields)], around) if one.serious]

    assert said in problem.message


@pytest.mark.parametrize(
    "fields",
    [
        {"members": "live", "budget": {"messages": 5}},
        {"members": "live", "send": {"rate_per_hour": 5}},
        {"choose": "all"},
        {"send": {"zone": "Europe/Berlin"}},
        {"send": {"at": "2026-11-02 12:00", "zone": "Europe/Berln"}},
        {"budget": {}},
        {"split": {"share": 0.2, "variants": [{"name": "a"}, {"name": "b"}]}},
        {"split": {**yaml.safe_load(SPLIT)["split"], "share": 1e-12}},
        {"budget": {"cost": float("inf")}},
    ],
    ids=[
        "budget of live",
        "rate of live",
        "all of one",
        "zone of no time",
        "zone",
        "empty budget",
        "no winner",
        "share of nobody",
        "endless budget",
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        broadcast(**fields)


@pytest.mark.parametrize(
    ("names", "fields", "said"),
    [
        (["split", "b"], {}, "two steps are called 'split'"),
        (["audience", "b"], {"exclude": ["buyers"]}, "two steps are called 'audience'"),
        (["a", "winner-a"], {}, "two steps are called 'winner-a'"),
        (["a", "b" * 60], {}, f"'winner-{'b' * 60}': String should match"),
        (["a", "b"], {"choose": "all", "channel": None, "channels": ["sms", "sms"]}, "two steps are called 'a-sms'"),
    ],
    ids=["a step", "a step if people are left out", "the rest's variant", "too long", "a channel twice"],
)
def test_names_of_variants_that_make_no_journey_are_refused_in_the_file(
    names: list[str], fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        broadcast(PLAIN + SPLIT.replace("short", names[0]).replace("name: story", f"name: {names[1]}"), **fields)


def test_a_budget_is_what_the_dearest_channel_would_cost() -> None:
    one = broadcast(budget={"cost": 5, "messages": 1000}, channel=None, channels=["email", "sms"])

    assert 100 == most_people(one, MessagePolicy())


def test_the_shipped_broadcast_is_sent_in_the_morning_of_each_person() -> None:
    one = load(DEFINITIONS / "broadcasts" / "season-news.yaml", Broadcast)

    assert {"customers", "inactive"} <= {segment.name for segment in shipped_segments().segments}
    assert "season_news" == one.name
    assert "10:00" == f"{one.send.at:%H:%M}"
