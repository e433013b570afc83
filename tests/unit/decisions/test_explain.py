"""The story of one person: in order of time, each run under its heading, each decision with its reason."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from processors.decisions.explain import story
from schemas.decisions.policy import CapRule, HoldoutRules
from schemas.durations import DAY_MS, HOUR_MS
from tests.support.messages import NOON, Note, ms, person, receipt, request, resolver


def _event(kind: str, at: str, **fields: Any) -> dict[str, Any]:
    named = {"journey": "cart", "run_id": "r1", "version": "v1", "key": "c1", "step": "", "detail": {}}
    return {
        "id": f"{kind} {at} {fields}",
        "kind": kind,
        "at": at,
        "profile_id": "p1",
        "event_id": "",
        **named,
        **fields,
    }


def test_runs_that_never_began_are_told_under_one_heading() -> None:
    late = {"happened": "2026-11-01T08:00:00.000Z"}
    events = [
        _event("too_late", "2026-11-03T12:00:00.000Z", run_id="n1", detail=late),
        _event("already_over", "2026-11-03T13:00:00.000Z", run_id="n2"),
    ]

    assert [
        "Journey cart, not entered",
        "  2026-11-03 12:00:00  Did not enter (c1): the event came too late; it had happened 2026-11-01 08:00:00.",
        "  2026-11-03 13:00:00  Did not enter: it was already over.",
    ] == story([], events)


def test_a_run_is_told_in_order_of_time_whatever_order_the_rows_come_in() -> None:
    sent = resolver().decide(person(), request(step="1"), NOON + HOUR_MS).row
    events = [
        _event("exited", "2026-11-03T13:00:00.000Z", detail={"reason": "end_of_steps"}),
        _event("goal", "2026-11-03T15:00:00.000Z", detail={"goal": "order", "event": "Order Completed"}),
        _event("waiting", "2026-11-03T12:00:00.000Z", step="0", detail={"until": "2026-11-03T13:00:00.000Z"}),
        _event("journey_entered", "2026-11-03T12:00:00.000Z"),
    ]
    told = [
        "Journey cart about c1 (run r1, version v1)",
        "  2026-11-03 13:00:00  Entered the journey.",
        "  2026-11-03 13:00:00  Step 0, waits until 2026-11-03 14:00:00.",
        "  2026-11-03 14:00:00  Step 1, message cart-reminder: Sent by e-mail: nothing speaks against it.",
        "  2026-11-03 14:00:00  Left the journey: end of steps.",
        "  2026-11-03 16:00:00  Reached the goal (goal: order; event: Order Completed).",
    ]

    assert told == story([sent], events, "Europe/Berlin")
    assert told == story([sent], events[::-1], "Europe/Berlin")


def test_what_a_run_does_within_one_millisecond_is_told_in_the_order_of_its_steps() -> None:
    at = "2026-11-03T12:00:00.000Z"
    rows = [resolver().decide(person(), request(step=step), NOON).row for step in ("10", "9")]
    events = [
        _event("waiting", at, step="11", detail={"until": None}),
        _event("step", at, step="8.else.1", detail={"holds": True}),
        _event("step", at, step="8", detail={"happened": False}),
    ]
    steps = [line.split("Step ")[1].split(",")[0] for line in story(rows, events)[1:]]

    assert ["8", "8.else.1", "9", "10", "11"] == steps


def test_a_message_that_was_not_sent_says_what_it_passed_and_what_stopped_it() -> None:
    engine, somebody = resolver(caps=(CapRule(limit=1, within=DAY_MS),)), person()
    engine.decide(somebody, request("r0"), NOON)
    row = engine.decide(somebody, request("r1"), NOON + HOUR_MS).row

    assert [
        "Journey cart (run r1, version v1)",
        "  2026-11-03 13:00:00  Step 0, message cart-reminder: Not sent: 1 of 1 messages allowed in 1 day was already"
        " sent; the next is possible after Wed 13:00.",
        "      passed: service or marketing, consent, suppression list, control group, reachable channel, quiet hours,"
        " best hour",
        "      stopped by frequency caps: all channels, 1 day: 1 of 1; possible at: 2026-11-04T12:00:00.000Z",
    ] == story([row], [])


def test_a_postponed_message_says_on_which_channel_it_is_to_go() -> None:
    late = ms("2026-11-03T22:00+01:00")
    row = resolver().decide(person(), request(note=Note(channels=("sms",)), requested_ms=late), late).row
    told = story([row], [], "Europe/Berlin")

    assert "      stopped by quiet hours: hours: 21:00-09:00; time zone: Europe/Berlin; local: 22:00" == told[-2]
    assert "      to be sent by SMS; decided again when the time has come" == told[-1]


def test_a_ghost_says_that_the_person_is_held_out() -> None:
    row = resolver(holdout=HoldoutRules(share=1)).decide(person(), request(), NOON).row
    told = story([row], [])

    assert "in the control group of all messages; it would have gone out now by e-mail." in told[1]
    assert told[3].startswith("      stopped by control group: global (drawn: ")


def test_what_became_of_a_message_is_told_too() -> None:
    engine, somebody = resolver(), person()
    first = engine.decide(somebody, request(), NOON)
    failed = engine.on_event(somebody, receipt("Email Failed", first, reason="mailbox full"), NOON + HOUR_MS)
    told = story([*failed, first.row], [])

    assert "Not delivered: the e-mail could not be delivered: mailbox full." in told[2]
    assert 3 == len(told)


def test_rows_of_a_table_are_read_like_those_of_a_topic_and_repeats_are_told_once() -> None:
    row = resolver().decide(person(consent={}), request(), NOON).row
    stored = {**row, "gates": orjson.dumps(row["gates"]).decode()}
    event = _event("journey_entered", "2026-11-03T11:00:00.000Z")
    kept = {**event, "detail": "{}"}

    assert story([row], [event]) == story([stored, row, stored], [kept, event])


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("segment_entered", {"segment": "vip", "journey": "", "run_id": ""}, "Entered segment vip."),
        ("segment_left", {"segment": "vip", "journey": "", "run_id": ""}, "Left segment vip."),
        ("step", {"step": "2", "detail": {"holds": False}}, "Step 2, the condition does not hold."),
        ("step", {"step": "2", "detail": {"arm": "b"}}, "Step 2, drew b."),
        ("step", {"step": "2", "detail": {"happened": True}}, "Step 2, what it waited for happened."),
        ("step", {"step": "2", "detail": {"webhook": "crm"}}, "Step 2, posted to crm."),
        ("step", {"step": "2", "detail": {}}, "Step 2, done."),
        ("waiting", {"step": "2", "detail": {"until": None}}, "Step 2, waits until it happens."),
        ("trait_updated", {"detail": {"traits": {"welcomed": True}}}, "Noted in the profile (welcomed: yes)."),
        ("collapsed", {}, "Joined into another run when two people turned out to be one."),
        ("too_many_runs", {}, "Did not enter: too many runs are under way."),
        ("something_new", {"detail": {"count": 2}}, "Something new (count: 2)."),
    ],
)
def test_each_thing_that_happens_is_a_sentence(kind: str, fields: dict[str, Any], said: str) -> None:
    told = story([], [_event(kind, "2026-11-03T12:00:00.000Z", **fields)])

    assert f"  2026-11-03 12:00:00  {said}" == told[1]


def test_of_a_person_of_whom_nothing_is_known_there_is_nothing_to_tell() -> None:
    assert [] == story([], [])


def test_a_time_zone_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="Mars"):
        story([], [], "Mars/Olympus")
