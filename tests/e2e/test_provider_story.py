"""What a message provider reports decides who gets the next message: from the webhook to the mail that is not sent."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from deploy.settings import Settings
from tests.e2e.test_journey_story import costs, fills, joins, mails, said, settings  # noqa: F401 - fixtures
from tests.support.collector import RunningCollector, collector
from tests.support.hook_signatures import SECRETS, sendgrid
from tests.support.mail_server import MailServer
from tests.support.pipeline import Pipeline

pytestmark = pytest.mark.e2e

PEOPLE = ("ann", "ben", "eve")


def report(event: str, who: str, key: str, **more: Any) -> dict[str, Any]:
    """One event of SendGrid about one of our own messages."""
    return {
        "event": event, "email": f"{who}@shop.example", "timestamp": int(time.time()), "sg_event_id": f"{event} {key}",
        "sg_message_id": f"sg-{key}.filter0001.1.0", "smtp-id": "<1@ismtpd>", "message_id": key, **more,
    }  # fmt: skip


def send(service: RunningCollector, *events: dict[str, Any]) -> int:
    request = sendgrid(list(events))
    return service.request("POST", "/v1/hooks/sendgrid", request.body, request.headers).status


def test_who_bounced_or_complained_gets_no_further_mail(
    settings: Settings,  # noqa: F811
    tmp_path: Path,
    mails: MailServer,  # noqa: F811
) -> None:
    with Pipeline(settings, tmp_path) as pipeline, collector(settings, tmp_path, hook_secrets=SECRETS) as service:
        pipeline.publish(
            *(joins(who) for who in PEOPLE),
            costs("sofa", "499.00"),
            *(said("Product Viewed", who, properties={"product_id": "sofa"}) for who in PEOPLE),
        )
        pipeline.drain()
        pipeline.publish(*(fills(who, "lamp") for who in PEOPLE))
        pipeline.wait(lambda: len(mails.mails) >= 3)
        pipeline.drain()
        key_of = {mail["To"].partition("@")[0]: key for mail, key in zip(mails.mails, mails.keys, strict=True)}
        assert set(PEOPLE) == set(key_of)

        batch = [
            report("bounce", "ann", key_of["ann"], type="bounce", status="5.1.1", reason="550 5.1.1 no such user"),
            report("delivered", "ben", key_of["ben"], response="250 OK"),
            report("delivered", "eve", key_of["eve"], response="250 OK"),
            report("spamreport", "eve", key_of["eve"]),
        ]
        assert [200, 200] == [send(service, *batch) for _ in range(2)]
        pipeline.drain()
        pipeline.publish(costs("sofa", "399.00"))
        about_price = "SELECT count() FROM v_decisions WHERE journey = 'price_drop'"
        pipeline.wait(lambda: pipeline.value(about_price) >= 3)
        pipeline.drain()

        assert {"ben@shop.example"} == {mail["To"] for mail in mails.mails[3:]}
        assert [("sent", ""), ("suppressed", "consent"), ("suppressed", "suppression")] == pipeline.rows(
            "SELECT outcome, gate FROM v_decisions WHERE journey = 'price_drop' ORDER BY ALL"
        )
        # The reports belong to our own messages, each counted once.
        assert [(key_of["ann"], 0, 1, 0), (key_of["ben"], 1, 0, 0), (key_of["eve"], 1, 0, 1)] == [
            row
            for who in PEOPLE
            for row in pipeline.rows(
                "SELECT message_id, delivered, bounced, unsubscribed FROM v_messages"
                f" WHERE message_id = '{key_of[who]}'"
            )
        ]
        assert 4 == pipeline.value("SELECT count() FROM v_touchpoints WHERE source = 'sendgrid'")
        assert 0 == pipeline.value("SELECT sum(difference) FROM v_accounting")
