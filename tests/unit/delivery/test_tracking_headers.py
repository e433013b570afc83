"""What each mail provider is told of a message, so that its reports name it."""

from __future__ import annotations

import json
from email.parser import BytesParser
from email.policy import default
from typing import Any

import pytest

from sinks.channels.tracking_headers import header_lines, tracking_headers

KEY = "6c1f0c58-62f1-4d2a-9c3b-0a4c9a3bb1f0"
DATA: dict[str, Any] = {
    "journey": "cart-abandonment",
    "template": "cart-1",
    "campaign": {"id": "77", "name": "Herbst für dich"},
    "tags": ["cart"],
}
FACTS = {
    "message_id": KEY,
    "sender": "throughline",
    "journey_id": "cart-abandonment",
    "template_id": "cart-1",
    "campaign_id": "77",
    "campaign_name": "Herbst für dich",
}


@pytest.mark.parametrize("host", ["smtp.sendgrid.net", "smtp.eu.sendgrid.net", "SMTP.SendGrid.net."])
def test_sendgrid_gets_unique_arguments(host: str) -> None:
    assert {"unique_args": FACTS} == json.loads(tracking_headers(host, KEY, DATA)["X-SMTPAPI"])


@pytest.mark.parametrize("host", ["smtp.mailgun.org", "smtp.eu.mailgun.org"])
def test_mailgun_gets_variables(host: str) -> None:
    assert FACTS == json.loads(tracking_headers(host, KEY, DATA)["X-Mailgun-Variables"])


def test_postmark_gets_metadata() -> None:
    found = tracking_headers("smtp.postmarkapp.com", KEY, DATA)

    assert KEY == found["X-PM-Metadata-message_id"]
    assert "Herbst f\\u00fcr dich" == found["X-PM-Metadata-campaign_name"]


def test_amazon_ses_gets_tags_of_its_alphabet() -> None:
    found = tracking_headers("email-smtp.eu-central-1.amazonaws.com", KEY, DATA)["X-SES-MESSAGE-TAGS"]

    assert f"message_id={KEY}, sender=throughline, journey_id=cart-abandonment" == ", ".join(found.split(", ")[:3])
    assert found.endswith("campaign_name=Herbst_f_r_dich")


@pytest.mark.parametrize(
    "host", ["mail.shop.example", "localhost", "sendgrid.net.evil.example", "amazonaws.com", "notmailgun.org", ""]
)
def test_another_server_is_told_nothing(host: str) -> None:
    assert {} == tracking_headers(host, KEY, DATA)


def test_what_is_not_known_is_not_sent() -> None:
    assert {"message_id": KEY, "sender": "throughline"} == json.loads(
        tracking_headers("smtp.mailgun.org", KEY, {})["X-Mailgun-Variables"]
    )


@pytest.mark.parametrize("host", ["smtp.sendgrid.net", "smtp.mailgun.org", "smtp.postmarkapp.com"])
@pytest.mark.parametrize(
    "name",
    ["x" * 300, "a long name of several words " * 9, "Ж" * 80, 'a "quoted"\r\nBcc: x'],
    ids=["a long word", "many words", "not ASCII", "a line end"],
)
def test_a_header_arrives_as_it_was_written(host: str, name: str) -> None:
    written = tracking_headers(host, KEY, {**DATA, "campaign": {"name": name}})
    lines = header_lines(written)
    read = BytesParser(policy=default).parsebytes(lines + b"Subject: Hello\r\n\r\nHello")

    assert {**written, "Subject": "Hello"} == dict(read.items())
    assert all(len(line) < 998 for line in lines.splitlines())
