"""A mail filter that opens links is no person: what a profile holds back, what it counts, and when."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

import orjson
import pytest

from deploy.operations.engines import load_decision_engine
from deploy.settings import Settings
from processors.profiles import link_scans
from processors.profiles.cache import OpenProfile
from processors.profiles.document import Document
from processors.profiles.fold import PendingEvent, fold_events
from processors.profiles.isolation import fold_events_isolated
from processors.profiles.rebuild import rebuild
from schemas.profiles.document import ProfileRequest, StoredProfile
from schemas.profiles.verdicts import JUDGED, VERDICT
from schemas.time import ms_of_text
from schemas.topics import JOURNEY_EVENTS
from tests.support.builders import DAY_ONE
from tests.support.warehouse import instant, person

DECIDER = load_decision_engine(Settings())
ADA = person(1)


def happened(name: str, seconds: float, number: int = 0, channel: str = "email", **properties: Any) -> dict[str, Any]:
    """A resolved event, that many seconds after the message was delivered."""
    at = instant(DAY_ONE + timedelta(seconds=seconds))
    return {
        "event_id": f"{name} {seconds} {number}", "event": name, "channel": channel, "source": "mail",
        "occurred_at": at, "received_at": at, "profile_id": ADA, "anchor": ADA, "identity_version": 0,
        "identifiers": [{"type": "email", "value": "ada@mail.example", "verified": False}],
        "properties": {"message_id": "m1", **properties} if channel == "email" else properties,
        "origin": {"topic": "touchpoints.email", "partition": 0, "offset": 1},
    }  # fmt: skip


def clicked(seconds: float, link: str = "a", **properties: Any) -> dict[str, Any]:
    return {
        **happened("Email Link Clicked", seconds, channel="email", link_id=link, **properties),
        "event_id": f"click {seconds} {link}",
        "campaign": {"name": "autumn", "medium": "email"},
    }


def delivered(**properties: Any) -> dict[str, Any]:
    return happened("Email Delivered", 0, **properties)


def viewed(seconds: float, channel: str = "web") -> dict[str, Any]:
    return happened("Page Viewed", seconds, channel=channel)


def fold(
    *events: dict[str, Any], isolated: bool = False, verdicts: dict[str, str] | None = None
) -> tuple[Document, dict[str, Any]]:
    """Return document and state of a person after these events, in the order in which they came; keep the verdicts."""
    pending = [PendingEvent(ProfileRequest(ADA, b"", ms_of_text(one["received_at"])), one) for one in events]
    stored = StoredProfile(ADA, 0, None)
    folded = (
        fold_events_isolated(stored, pending, DECIDER)
        if isolated
        else fold_events(OpenProfile(stored), pending, DECIDER)
    )
    assert folded.person is not None
    assert () == tuple(folded.rejected)
    if verdicts is not None:
        records = [orjson.loads(one.value) for one in folded.outgoing if one.topic == JOURNEY_EVENTS]
        verdicts |= {one["event_id"]: one["verdict"] for one in records if one["kind"] == JUDGED}
    return folded.person.document, folded.person.state


def clicks(document: Document) -> int:
    return int(document.get("messages", {}).get("email", {}).get("clicked", [0])[0])


def learned(state: dict[str, Any]) -> list[int]:
    found: list[int] = state.get("sends", {}).get("learned", {}).get("email", [0, 0])
    return found


SCAN = [clicked(1 + 0.4 * number, link) for number, link in enumerate(["a", "b", "c", "unsubscribe", "d"])]
"""Five links within 1 to 3 seconds of the delivery, one of them the one to unsubscribe."""


CLICKS = [
    pytest.param([delivered(), *SCAN], 0, id="a filter opens all links at once"),
    pytest.param([delivered(), *SCAN, clicked(3600)], 1, id="and a person one of them an hour later"),
    pytest.param([delivered(), clicked(3600)], 1, id="a person, an hour later"),
    pytest.param([delivered(), clicked(20)], 1, id="a person, 20 seconds later"),
    pytest.param([delivered(), clicked(20, "a"), clicked(25, "b")], 2, id="two links, five seconds apart"),
    pytest.param([delivered(), clicked(20, "a"), clicked(21, "a")], 2, id="one link, twice"),
    pytest.param([delivered(), clicked(3)], 0, id="one link, right after the delivery"),
    pytest.param([delivered(), clicked(3), viewed(5)], 1, id="which brought a visit"),
    pytest.param([delivered(), viewed(5), clicked(3)], 1, id="a visit that was reported before its click"),
    pytest.param([delivered(), clicked(3), viewed(1800)], 0, id="a visit half an hour later is another one"),
    pytest.param([delivered(), clicked(3), viewed(5, "store")], 0, id="a shop is no page"),
    pytest.param([delivered(), clicked(3), clicked(40)], 1, id="a later click counts by itself"),
    pytest.param([delivered(), *SCAN, viewed(5)], 0, id="a visit does not make a scan a person"),
    pytest.param([clicked(3)], 1, id="of a message of which nothing else is known"),
    pytest.param([happened("Email Sent", -60), delivered(), clicked(3)], 0, id="the delivery counts first"),
    pytest.param([happened("Email Sent", 0), clicked(3)], 0, id="the sending, where no delivery is reported"),
    pytest.param([delivered(), clicked(-2)], 0, id="a filter before the delivery"),
    pytest.param([delivered(), clicked(3, message_id="m2")], 1, id="another message"),
    pytest.param([delivered(), clicked(300, "a"), *(clicked(300.1, link) for link in "bcd")], 1,
                 id="a late scan: its first click has counted"),
    pytest.param([delivered(), clicked(20, ""), clicked(20.5, "")], 2, id="links without a name"),
]  # fmt: skip


@pytest.mark.parametrize(("events", "counted"), CLICKS)
@pytest.mark.parametrize("isolated", [False, True], ids=["as usual", "step by step"])
def test_the_clicks_of_a_person_count(events: list[dict[str, Any]], counted: int, isolated: bool) -> None:
    document, state = fold(*events, isolated=isolated)

    assert (counted, counted) == (clicks(document), learned(state)[1])
    assert len(events) == document["event_count"]


def test_a_scan_is_no_touch_no_active_hour_and_a_count_of_its_own() -> None:
    document, state = fold(delivered(), *SCAN)

    assert "first_touch" not in document
    assert "hours" not in state["sends"]
    assert {"link_scan": [5, ms_of_text(SCAN[-1]["occurred_at"])]} == document["bots"]


def test_a_person_behind_a_filter_has_one_touch_and_one_active_hour() -> None:
    document, state = fold(delivered(), *SCAN, clicked(3600))

    assert ms_of_text(clicked(3600)["occurred_at"]) == document["first_touch"]["at"] == document["last_touch"]["at"]
    assert {"13": 1} == state["sends"]["hours"]


def test_a_confirmed_click_is_a_touch_at_its_own_time() -> None:
    document, _ = fold(delivered(), clicked(3), viewed(5))

    assert ms_of_text(clicked(3)["occurred_at"]) == document["first_touch"]["at"]
    assert "bots" not in document


@pytest.mark.parametrize(
    ("events", "unsubscribed"),
    [
        pytest.param([delivered(), *SCAN, happened("Email Unsubscribed", 2.5)], False, id="with all the links"),
        pytest.param([delivered(), happened("Email Unsubscribed", 3, method="GET")], False, id="a GET at once"),
        pytest.param([delivered(), happened("Email Unsubscribed", 3, method="POST")], True, id="one click, RFC 8058"),
        pytest.param([delivered(), *SCAN, happened("Email Unsubscribed", 3, method="POST")], True, id="a button"),
        pytest.param([delivered(), happened("Email Unsubscribed", 3)], True, id="a person is in a hurry"),
        pytest.param([delivered(), happened("Email Unsubscribed", 90, method="GET")], True, id="a GET of a person"),
        pytest.param([happened("Email Unsubscribed", 3, method="GET")], True, id="of a message that is not known"),
        pytest.param([delivered(), clicked(30), happened("Email Unsubscribed", 30.5)], True, id="its own link"),
        pytest.param([delivered(), happened("Email Marked as Spam", 3)], True, id="marked as spam"),
    ],
)  # fmt: skip
def test_a_scan_unsubscribes_nobody(events: list[dict[str, Any]], unsubscribed: bool) -> None:
    document, _ = fold(*events)

    assert unsubscribed == ("email" in document.get("consent", {}).get("channels", {}))


def test_a_provider_that_names_the_machine_needs_no_times() -> None:
    machine = {**clicked(500), "enriched": {"bot": "provider"}}

    document, state = fold(delivered(), machine)

    assert (0, [1, 0]) == (clicks(document), learned(state))


def test_people_who_turn_out_to_be_one_are_held_together() -> None:
    mine: dict[str, Any] = {}
    other: dict[str, Any] = {}
    link_scans.admit({}, mine, delivered(), {})
    link_scans.admit({}, other, happened("Email Sent", -5), {})
    link_scans.admit({}, other, clicked(-4), {})
    link_scans.combine(mine["scans"], other["scans"])

    admitted = link_scans.admit({}, mine, viewed(-3), {"event_count": 1})

    assert ["Email Link Clicked", "Page Viewed"] == [event["event"] for event, _ in admitted.events]


def test_a_rebuilt_profile_knows_the_scan_too() -> None:
    events = [delivered(), *SCAN, clicked(3600)]

    assert fold(*events)[0] == rebuild(ADA, events, decider=DECIDER).document == rebuild(ADA, events).document


@pytest.mark.parametrize("events", [pytest.param(case.values[0], id=case.id) for case in CLICKS])
@pytest.mark.parametrize("isolated", [False, True], ids=["as usual", "step by step"])
def test_history_knows_what_counted_in_whatever_order_it_is_read(events: list[dict[str, Any]], isolated: bool) -> None:
    random = Random(1)
    for _ in range(10):
        verdicts: dict[str, str] = {}
        random.shuffle(events := list(events))
        document, state = fold(*events, isolated=isolated, verdicts=verdicts)
        history = [{**one, **({VERDICT: known} if (known := verdicts.get(one["event_id"])) else {})} for one in events]
        random.shuffle(history)

        rebuilt = rebuild(ADA, history, decider=DECIDER)

        assert document == rebuilt.document
        assert state.get("features") == rebuilt.state.get("features")


def test_a_click_that_is_held_counts_for_a_rebuilt_person_once_a_visit_comes() -> None:
    history = [viewed(5), delivered(), {**clicked(3), VERDICT: "held"}]  # the visit came before the click, in no order
    rebuilt = rebuild(ADA, history, decider=DECIDER)
    counted = link_scans.admit(rebuilt.document, rebuilt.state, viewed(6), {"event_count": 1})

    assert 0 == clicks(rebuilt.document)
    assert (["Email Link Clicked", "Page Viewed"], [(clicked(3), "counted")]) == (
        [event["event"] for event, _ in counted.events],
        counted.judged,
    )


def test_the_clicks_of_two_people_who_turn_out_to_be_one_stay_as_they_were_judged() -> None:
    first, second = [delivered(), clicked(300, "a")], [delivered(), clicked(300.5, "b")]  # as one: a scan
    verdicts: dict[str, str] = {}
    for one in (first, second):
        fold(*one, verdicts=verdicts)
    history = [{**one, VERDICT: verdicts.get(one["event_id"])} for one in (*first, *second)]

    assert 2 == clicks(rebuild(ADA, history).document)


def test_what_is_remembered_is_bounded_and_forgotten_after_a_day() -> None:
    state: dict[str, Any] = {}
    for number in range(100):
        link_scans.admit({}, state, happened("Email Delivered", number, message_id=f"m{number}"), {})
        for _ in range(40):
            link_scans.admit({}, state, clicked(number + 0.5, message_id=f"m{number}"), {})

    assert link_scans.MESSAGES_KEPT == len(state["scans"])
    assert {(link_scans.CLICKS_KEPT, link_scans.HELD_KEPT)} == {
        (len(note["clicks"]), len(note["held"])) for note in state["scans"].values()
    }
    link_scans.admit({}, state, happened("Email Delivered", 2 * 86400, message_id="next"), {})
    assert ["next"] == list(state["scans"])
