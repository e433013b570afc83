"""How often people are written to and what comes of it; who could be written to on each day, and why not."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from schemas.channels import CHANNELS
from schemas.events.messages import STEPS, named_step
from sinks.clickhouse.channels import publish_channels
from tests.integration.reporting.test_behaviour import in_segment
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, merged, ordered, resolved

pytestmark = pytest.mark.integration

MONDAY = DAY_ONE + timedelta(days=1)
WEEK = timedelta(days=7)


def message(
    number: int, who: int, at: Any, *steps: str, noun: str = "Email", channel: str = "email"
) -> list[dict[str, Any]]:
    """A message that was sent, and what became of it."""
    return [
        resolved(
            f"{number} {step}", who, at + timedelta(minutes=place), event=f"{noun} {step}", channel=channel,
            properties={"message_id": f"m{number}", "bounce_type": "hard"},
        )
        for place, step in enumerate(("Sent", *steps))
    ]  # fmt: skip


def knows(
    who: int, at: Any, *types: str, event: str = "Identify", channel: str = "web", **fields: Any
) -> dict[str, Any]:
    """An event that names addresses."""
    identifiers = [{"type": kind, "value": f"{kind} of {who}", "verified": True} for kind in types]
    return resolved(
        f"{event} {who} {at} {types} {fields}", who, at, event=event, channel=channel, identifiers=identifiers, **fields
    )


def test_the_steps_of_messages_are_those_of_the_schema(tables: Warehouse) -> None:
    on_any = set(tables.rows("SELECT event, kind, step FROM message_steps WHERE channel = ''"))
    on_one = tables.rows("SELECT event, kind, step, channel FROM message_steps WHERE channel != ''")

    assert {(event, *meaning) for event, meaning in STEPS.items()} == on_any
    assert {(event, CHANNELS[channel].kind, named_step(event)) for event, _, _, channel in on_one} == {
        (event, kind, (channel, step)) for event, kind, step, channel in on_one
    }


class TestFrequency:
    def story(self, tables: Warehouse) -> None:
        """Anna gets two e-mails in the first week, none in the second, one push in the third; Ben one, and leaves."""
        tables.store(
            *message(1, 1, MONDAY, "Delivered", "Link Clicked"),
            *message(2, 1, MONDAY + timedelta(days=2)),
            ordered("o1", 1, MONDAY + timedelta(days=3), "80.00"),
            ordered("o2", 1, MONDAY + WEEK, "20.00"),
            *message(3, 1, MONDAY + 2 * WEEK, noun="Push", channel="app_push"),
            *message(4, 2, MONDAY, "Unsubscribed"),
        )

    def frequency(self, tables: Warehouse, segment: str = "(all)") -> list[tuple[Any, ...]]:
        return tables.rows(
            "SELECT channel, messages, people, person_weeks, responses, conversions, revenue, unsubscribes"
            " FROM v_message_frequency WHERE segment = {segment:String} ORDER BY channel, messages",
            segment=segment,
        )

    def test_weeks_without_a_message_count_until_the_person_unsubscribes(self, tables: Warehouse) -> None:
        self.story(tables)

        assert [
            ("(all)", 0, 2, 3, 0, 1, 20.0, 0),  # Anna's second week, Ben's second and third
            ("(all)", 1, 2, 2, 0, 0, 0.0, 1),
            ("(all)", 2, 1, 1, 1, 1, 80.0, 0),
            ("app_push", 1, 1, 1, 0, 0, 0.0, 0),
            ("email", 0, 1, 2, 0, 1, 20.0, 0),
            ("email", 1, 1, 1, 0, 0, 0.0, 1),
            ("email", 2, 1, 1, 1, 1, 80.0, 0),
        ] == self.frequency(tables)

    def test_two_profiles_that_are_one_person_have_their_messages_together(self, tables: Warehouse) -> None:
        self.story(tables)
        tables.change(merged(1, 1, [2]))

        first_week = [row for row in self.frequency(tables) if row[0] == "(all)" and row[1] == 3]

        assert [("(all)", 3, 1, 1, 1, 1, 80.0, 1)] == first_week

    def test_a_person_is_in_the_segments_of_the_beginning_of_the_week(self, tables: Warehouse) -> None:
        self.story(tables)
        tables.insert(
            "segment_changes", in_segment(1, "vip", MONDAY + WEEK + timedelta(days=1)), in_segment(2, "vip", DAY_ONE),
            in_segment(2, "vip", DAY_ONE + timedelta(days=3), entered=0),
        )  # fmt: skip

        assert [("(all)", 1, 2, 2), ("app_push", 1, 1, 1), ("email", 0, 1, 1), ("email", 1, 1, 1)] == [
            row[:4] for row in self.frequency(tables, "vip")
        ]

    def test_the_command_names_the_best(self, tables: Warehouse) -> None:
        self.story(tables)

        printed = CliRunner().invoke(app, ["frequency", "--channel", "email", "--least-weeks", "1", "--json"])

        (answer,) = json.loads(printed.stdout)
        assert ("(all)", "email", 2) == (answer["segment"], answer["channel"], answer["best"])
        assert [(0, 10.0), (1, 0.0), (2, 80.0)] == [(rate["messages"], rate["value"]) for rate in answer["curve"]]


class TestReachability:
    def states(self, tables: Warehouse, channel: str = "email", segment: str = "(all)") -> dict[date, dict[str, int]]:
        """Who is in which state at the end of which day; states with nobody are left out."""
        names = ("reachable", "opted_out", "no_address", "bounced", "not_asked", "stale")
        rows = tables.rows(
            f"SELECT day, people, {', '.join(names)} FROM v_channel_reachability"
            " WHERE channel = {channel:String} AND segment = {segment:String} ORDER BY day",
            channel=channel,
            segment=segment,
        )
        assert all(people == sum(counts) for _, people, *counts in rows)
        return {
            day: {name: count for name, count in zip(names, counts, strict=True) if count} for day, _, *counts in rows
        }

    def test_a_day_has_the_state_of_its_end(self, tables: Warehouse) -> None:
        day = timedelta(days=1)
        yes, no = {"channels": {"email": True}}, {"channels": {"email": False}}
        tables.store(
            resolved("first", 1, DAY_ONE),
            knows(1, DAY_ONE + 1 * day, "email"),
            knows(1, DAY_ONE + 2 * day, "email", consent=yes),
            *message(1, 1, DAY_ONE + 4 * day, "Bounced"),
            *message(2, 1, DAY_ONE + 5 * day, "Delivered"),
            knows(1, DAY_ONE + 6 * day, "email", consent=no, event="Consent Updated"),
            knows(1, DAY_ONE + 7 * day, "email", consent=yes, event="Page Viewed"),
            knows(1, DAY_ONE + 8 * day, "email", consent=yes, event="Consent Updated"),
            *message(3, 1, DAY_ONE + 9 * day, "Unsubscribed"),
        )
        one = [
            "no_address", "not_asked", "reachable", "reachable", "bounced", "reachable", "opted_out",
            "opted_out",  # a yes that rides along on a page view does not overturn a no
            "reachable", "opted_out",
        ]  # fmt: skip

        assert [{state: 1} for state in one] == list(self.states(tables).values())
        assert [{"no_address": 1}] * 10 == list(self.states(tables, "sms").values())

    def test_an_address_without_a_sign_of_life_goes_stale(self, tables: Warehouse) -> None:
        tables.store(
            knows(1, DAY_ONE, "push_token", channel="app"),
            resolved("much later", 2, DAY_ONE + timedelta(days=70)),
            knows(1, DAY_ONE + timedelta(days=69), "push_token", channel="app"),
        )

        found = self.states(tables, "app_push")

        today = DAY_ONE.date()
        assert {"reachable": 1} == found[today + timedelta(days=60)]
        assert {"stale": 1} == found[today + timedelta(days=61)] == found[today + timedelta(days=68)]
        assert {"reachable": 1} == found[today + timedelta(days=69)]
        assert {"reachable": 1, "no_address": 1} == found[today + timedelta(days=70)]
        assert {"no_address": 1} == self.states(tables, "web_push")[today]

    def test_a_whatsapp_user_id_is_an_address_of_whatsapp_that_can_bounce(self, tables: Warehouse) -> None:
        day, yes = timedelta(days=1), {"channels": {"whatsapp": True}}
        bounce: dict[str, Any] = {
            "event": "WhatsApp Bounced",
            "channel": "whatsapp",
            "properties": {"message_id": "w1"},
        }
        tables.store(
            knows(1, DAY_ONE, "whatsapp_user_id", consent=yes),
            knows(2, DAY_ONE, "whatsapp_id", consent=yes),
            knows(3, DAY_ONE, "viber_id", consent=yes),
            resolved("b", 1, DAY_ONE + day, **bounce),
        )

        found = self.states(tables, "whatsapp")

        today = DAY_ONE.date()
        assert {"reachable": 2, "no_address": 1} == found[today]
        assert {"reachable": 1, "bounced": 1, "no_address": 1} == found[today + day]
        assert {"no_address": 3} == self.states(tables, "telegram")[today]

    def test_a_channel_of_the_policy_reaches_people_by_its_own_address_type(self, tables: Warehouse) -> None:
        day, yes = timedelta(days=1), {"marketing": True}
        no = {"channels": {"viber": False}}
        tables.store(
            knows(1, DAY_ONE, "viber_id", consent=yes),
            knows(2, DAY_ONE, "viber_id", consent=yes),
            knows(3, DAY_ONE, "email", "user_id", consent=yes),
            knows(2, DAY_ONE + day, event="Consent Updated", consent=no),
        )
        before = self.states(tables, "viber")

        written = [publish_channels(tables.client, [("viber", ["viber_id"], 365)]) for _ in range(2)]

        today = DAY_ONE.date()
        assert ({}, [True, False]) == (before, written)
        assert {"reachable": 2, "no_address": 1} == self.states(tables, "viber")[today]
        assert {"reachable": 1, "opted_out": 1, "no_address": 1} == self.states(tables, "viber")[today + day]
        assert {"reachable": 1, "no_address": 2} == self.states(tables)[today]

    def test_bots_are_no_people_who_could_be_reached(self, tables: Warehouse) -> None:
        tables.store(
            knows(1, DAY_ONE, "email", consent={"marketing": True}),
            knows(2, DAY_ONE, "email", consent={"marketing": True}, enriched={"bot": "crawler"}),
        )

        assert [{"reachable": 1}] == list(self.states(tables).values())

    def test_no_to_marketing_closes_every_channel(self, tables: Warehouse) -> None:
        tables.store(
            knows(1, DAY_ONE, "email", "phone", consent={"marketing": True}),
            knows(1, DAY_ONE + timedelta(days=1), consent={"marketing": False}),
        )

        assert [{"reachable": 1}, {"opted_out": 1}] == list(self.states(tables).values())
        assert [{"reachable": 1}, {"opted_out": 1}] == list(self.states(tables, "sms").values())

    def test_segments_count_their_members_of_that_day_and_merged_people_once(self, tables: Warehouse) -> None:
        day = timedelta(days=1)
        tables.store(
            knows(1, DAY_ONE, "email", consent={"marketing": True}),
            knows(2, DAY_ONE, "phone", consent={"marketing": True}),
            resolved("end", 1, DAY_ONE + 3 * day),
        )
        tables.insert(
            "segment_changes", in_segment(1, "vip", DAY_ONE + day), in_segment(1, "vip", DAY_ONE + 3 * day, entered=0)
        )
        today = DAY_ONE.date()

        apart = self.states(tables)
        members = self.states(tables, segment="vip")
        tables.change(merged(1, 1, [2]))

        assert {"reachable": 1, "no_address": 1} == apart[today]
        assert {today + 1 * day: {"reachable": 1}, today + 2 * day: {"reachable": 1}, today + 3 * day: {}} == members
        assert {"reachable": 1} == self.states(tables)[today] == self.states(tables, "sms")[today]

    def test_the_command_shows_the_newest_day(self, tables: Warehouse) -> None:
        tables.store(knows(1, DAY_ONE, "email"), resolved("end", 2, DAY_ONE + timedelta(days=3)))

        printed = CliRunner().invoke(app, ["reachability", "--json"])

        rows = {row["channel"]: row for row in json.loads(printed.stdout)}
        assert ("2026-11-04", 2, 1, 1) == tuple(
            rows["email"][name] for name in ("day", "people", "not_asked", "no_address")
        )
