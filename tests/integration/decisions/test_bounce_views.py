"""ClickHouse reads bounces as the profiles do: the same classes, the same addresses given up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from schemas.events.bounces import BOUNCE_TYPES, FIELDS, TRANSIENT_BOUNCES_IN_A_ROW, BounceClass, bounce_class
from schemas.events.messages import message_step
from sinks.clickhouse.channels import publish_channels
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, resolved
from tests.unit.events.test_bounces import REPORTS

pytestmark = pytest.mark.integration

SHAPES: list[dict[str, Any]] = [
    *REPORTS,
    *({"bounce_type": name} for name in BOUNCE_TYPES),
    *({name: "MailboxFull"} for name in FIELDS),
    {"bounce_type": None}, {"bounce_type": ""}, {"bounce_type": 0}, {"bounce_type": "never heard of"},
    {"bounce_type": "  Hard-Bounce "}, {"bounce_type": "härd"}, {"code": 550}, {"code": 30003, "bounce_type": "hard"},
    {"reason": 'it said "550 5.1.1"\nno such user'}, {"reason": "from 5.7.1.1 or 15.7.1"}, {"reason": "see 5.2.2."},
]  # fmt: skip


def bounced(number: int, properties: dict[str, Any], who: int = 1, hours: int = 0) -> dict[str, Any]:
    at = DAY_ONE + timedelta(hours=hours, seconds=number)
    return resolved(str(number), who, at, event="Email Bounced", channel="email", properties=properties)


def test_the_table_is_that_of_the_schema(tables: Warehouse) -> None:
    assert {name: int(known) for name, known in BOUNCE_TYPES.items()} == dict(
        tables.rows("SELECT name, class FROM bounce_types")
    )


def test_each_report_is_read_as_profiles_read_it(tables: Warehouse) -> None:
    shapes = list(enumerate(SHAPES))
    failed = [(len(shapes) + number, properties) for number, properties in shapes]
    tables.store(
        *(bounced(number, properties) for number, properties in shapes),
        *({**bounced(number, properties), "event": "Email Failed"} for number, properties in failed),
    )
    expected = {
        (str(number), step, 0 if step == "failed" else int(bounce_class(properties)))
        for name, reports in (("Email Bounced", shapes), ("Email Failed", failed))
        for number, properties in reports
        if (step := message_step(name, properties)[1])
    }

    assert expected == set(tables.rows("SELECT event_id, step, bounce_class FROM message_events"))
    soft = {number for number, _, known in expected if known in (BounceClass.TRANSIENT, BounceClass.UNKNOWN)}
    assert soft == {number for (number,) in tables.rows("SELECT event_id FROM message_events WHERE is_soft")}


@pytest.mark.parametrize(
    ("bounces", "state"),
    [
        ([{"bounce_type": "hard"}], "bounced"),
        ([{"bounce_type": "soft"}] * TRANSIENT_BOUNCES_IN_A_ROW, "bounced"),
        ([{"bounce_type": "soft"}] * (TRANSIENT_BOUNCES_IN_A_ROW - 1), "reachable"),
        ([*[{"bounce_type": "soft"}] * (TRANSIENT_BOUNCES_IN_A_ROW - 1), None, {"bounce_type": "soft"}], "reachable"),
        ([{"bounce_type": "Undetermined"}] * 2 * TRANSIENT_BOUNCES_IN_A_ROW, "reachable"),
        ([{"bounce_type": "AutoResponder"}], "reachable"),
        ([{"bounce_type": "SpamComplaint"}], "opted_out"),
    ],
    ids=["permanent", "in a row", "one fewer", "one arrives between", "unknown", "automatic reply", "complaint"],
)
def test_who_can_be_reached_after_bounces(tables: Warehouse, bounces: list[Any], state: str) -> None:
    consent = {"marketing": True, "channels": {"email": True}}
    email = [{"type": "email", "value": "a@b.example", "verified": True}]
    tables.store(
        resolved("signed up", 1, DAY_ONE, event="Signed Up", channel="web", identifiers=email, consent=consent),
        *(
            bounced(number, properties, hours=1)
            if properties is not None
            else {**bounced(number, {}, hours=1), "event": "Email Delivered"}
            for number, properties in enumerate(bounces)
        ),
    )

    [(found,)] = tables.rows("SELECT state FROM contact_states WHERE channel = 'email' AND until > '2099-01-01'")
    assert state == (found if found != "stale" else "reachable")


def test_a_bounce_on_a_channel_of_the_policy_is_of_its_address(tables: Warehouse) -> None:
    publish_channels(tables.client, [("viber", ["viber_id"], 365)])
    agreed = {"marketing": True, "channels": {"viber": True}}
    for who in (1, 2, 3):
        viber = [{"type": "viber_id", "value": str(who), "verified": True}]
        tables.store(
            resolved(f"{who}", who, DAY_ONE, event="Signed Up", channel="web", identifiers=viber, consent=agreed)
        )
    for who, name, channel in (
        (1, "Viber Bounced", "viber"),
        (2, "VIBER Message Bounced", "api"),
        (3, "Cheque Bounced", "viber"),
    ):
        tables.store(resolved(f"b{who}", who, DAY_ONE + timedelta(hours=1), event=name, channel=channel))

    assert [(1, "bounced"), (2, "bounced"), (3, "reachable")] == tables.rows(
        "SELECT toUInt32(right(toString(profile_id), 3)) AS who, state FROM contact_states"
        " WHERE channel = 'viber' AND since <= {day:Date} AND until > {day:Date} ORDER BY who", day=DAY_ONE.date(),
    )  # fmt: skip


@pytest.mark.parametrize(("channel", "step"), [("telegram", "bounced"), ("web", None)])
def test_a_known_channel_by_its_name_counts_where_it_happened(
    tables: Warehouse, channel: str, step: str | None
) -> None:
    tables.store(resolved("1", 1, DAY_ONE, event="Telegram Bounced", channel=channel))

    assert [step] * bool(step) == [found for (found,) in tables.rows("SELECT step FROM message_events")]


def test_one_message_id_with_three_receivers_is_three_messages_and_one_has_bounced(tables: Warehouse) -> None:
    def reported(who: int, step: str, minutes: int) -> dict[str, Any]:
        at = DAY_ONE + timedelta(minutes=minutes)
        properties = {"message_id": "ses-1", "bounce_type": "Permanent"}
        email = [{"type": "email", "value": f"{who}@mail.example", "verified": True}]
        return resolved(
            f"{who} {step}", who, at, event=f"Email {step}", channel="email", properties=properties, identifiers=email
        )

    tables.store(*(reported(who, "Delivered", who) for who in (1, 2, 3)), reported(2, "Bounced", 9))

    assert [0, 0, 1] == sorted(bounced for (bounced,) in tables.rows("SELECT bounced FROM v_messages"))
    assert [(3, 3, 1)] == tables.rows("SELECT sent, delivered, bounced FROM v_message_engagement")
    assert [(1, 3)] == tables.rows(
        "SELECT messages, people FROM v_message_frequency"
        " WHERE segment = '(all)' AND channel = 'email' AND messages > 0"
    )
    assert [("bounced", 1), ("not_asked", 2)] == tables.rows(
        "SELECT state, count() FROM contact_states"
        " WHERE channel = 'email' AND since <= {day:Date} AND until > {day:Date} GROUP BY state ORDER BY state",
        day=DAY_ONE.date(),
    )


def test_the_reports_of_one_receiver_stay_one_message(tables: Warehouse) -> None:
    tables.store(
        *(
            {**bounced(number, {"message_id": "m1"}, hours=number), "event": f"Email {step}"}
            for number, step in enumerate(("Sent", "Delivered", "Opened", "Link Clicked"))
        ),
        {**bounced(9, {"message_id": "m1"}), "event": "Email Sent", "source": "crm"},
        {**bounced(10, {"message_id": "m2"}), "event": "Email Sent"},
    )

    assert [("m1", 1, 1, 1), ("m2", 0, 0, 0)] == tables.rows(
        "SELECT message_id, delivered, opened, responded FROM v_messages ORDER BY message_id"
    )
