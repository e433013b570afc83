"""E-mail against a real SMTP server: the message that arrives, and the send result of each answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from schemas.delivery.outbound import OutboundMessage
from schemas.delivery.templates import Rendered
from sinks.channels.smtp import SmtpAdapter
from sinks.channels.tracking_headers import tracking_headers

pytestmark = pytest.mark.integration

NOW = 1_795_342_530_000
MESSAGE = Rendered("de", subject="Grüße", html="<p>Hallo <b>Ann</b></p>", text="Hallo Ann")


@dataclass
class Mailbox:
    """A mail server; `answers` are what it says to a step instead of yes."""

    port: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    mails: list[EmailMessage] = field(default_factory=list)
    bytes_received: list[bytes] = field(default_factory=list)
    receivers: list[str] = field(default_factory=list)
    connections: int = 0

    async def handle_EHLO(self, server: SMTP, session: Session, envelope: Envelope, name: str, lines: list[str]) -> Any:  # noqa: N802
        self.connections += 1
        session.host_name = name
        return lines

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, to: str, options: list[str]) -> str:  # noqa: N802
        if "rcpt" in self.answers:
            return self.answers["rcpt"]
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        said = self.answers.get("data", "250 OK")
        if said == "hang up":
            assert server.transport is not None
            server.transport.close()
            return "250 OK"
        if said.startswith("2"):
            assert isinstance(envelope.content, bytes)
            found = message_from_bytes(envelope.content, policy=policy.SMTP)
            assert isinstance(found, EmailMessage)
            self.mails.append(found)
            self.bytes_received.append(envelope.content)
            self.receivers += envelope.rcpt_tos
        return said


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    found = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(found, loop=loop), "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()
    await server.wait_closed()


@pytest.fixture
async def adapter(mailbox: Mailbox) -> AsyncIterator[SmtpAdapter]:
    found = SmtpAdapter(f"smtp://127.0.0.1:{mailbox.port}", "Shop <news@shop.example>", timeout_s=2)
    yield found
    await found.close()


def outbound(key: str = "k1", to: str = "ann@shop.example", message: Rendered = MESSAGE) -> OutboundMessage:
    return OutboundMessage(key, "email", {"type": "email", "value": to}, message, "https://shop.example/u?m=k1", {})


async def test_a_message_has_the_headers_that_mailbox_providers_require(mailbox: Mailbox, adapter: SmtpAdapter) -> None:
    outcome = await adapter.send(outbound(), NOW)

    (mail,) = mailbox.mails
    body, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert body is not None
    assert html is not None
    assert "sent" == outcome.status
    assert ["ann@shop.example"] == mailbox.receivers
    assert {
        "From": "Shop <news@shop.example>",
        "To": "ann@shop.example",
        "Subject": "Grüße",
        "List-Unsubscribe": "<https://shop.example/u?m=k1>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "X-Throughline-Message-Id": "k1",
        "Content-Language": "de",
    }.items() <= dict(mail.items()).items()
    assert ("Hallo Ann", "<p>Hallo <b>Ann</b></p>") == (body.get_content().strip(), html.get_content().strip())


KEY = "0f2c9d1e-8a37-5b64-9c21-7d5e4f3a2b1c"


@pytest.mark.parametrize(
    ("address", "written"),
    [
        pytest.param("https://shop.example/u?m=k1", "https://shop.example/u?m=k1", id="short"),
        pytest.param(
            f"https://shop.example/unsubscribe?message={KEY}&signature={'0a' * 40}",
            f"https://shop.example/unsubscribe?message={KEY}&signature={'0a' * 40}",
            id="longer than a line is usually",
        ),
        pytest.param("https://shop.example/u/a%20b?m=k-1_x", "https://shop.example/u/a%20b?m=k-1_x", id="escaped"),
        pytest.param(
            "https://shop.example/abmeldung/für?m=k1", "https://shop.example/abmeldung/f%C3%BCr?m=k1", id="umlaut"
        ),
        pytest.param("https://shop.example/u?m=k>1", "https://shop.example/u?m=k%3E1", id="a bracket ends no address"),
    ],
)
async def test_the_unsubscribe_address_is_plain_and_on_one_line(
    mailbox: Mailbox, adapter: SmtpAdapter, address: str, written: str
) -> None:
    await adapter.send(outbound()._replace(unsubscribe_url=address), NOW)
    (received,) = mailbox.bytes_received
    head = received.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")

    assert [f"List-Unsubscribe: <{written}>", "List-Unsubscribe-Post: List-Unsubscribe=One-Click"] == [
        line for line in head if line.startswith("List-")
    ]


async def test_without_an_unsubscribe_address_there_is_no_such_header(mailbox: Mailbox, adapter: SmtpAdapter) -> None:
    await adapter.send(outbound()._replace(unsubscribe_url=""), NOW)

    assert b"List-Unsubscribe" not in mailbox.bytes_received[0]


async def test_every_attempt_has_the_same_message_id_and_another_message_another(
    mailbox: Mailbox, adapter: SmtpAdapter
) -> None:
    for key in ("k1", "k1", "k2"):
        await adapter.send(outbound(key), NOW)

    first, again, other = (mail["Message-ID"] for mail in mailbox.mails)
    assert first == again != other
    assert first.endswith("@shop.example>")


async def test_the_provider_is_told_what_the_message_is(
    mailbox: Mailbox, adapter: SmtpAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sinks.channels.smtp.tracking_headers",
        lambda host, key, data: tracking_headers("smtp.sendgrid.net", key, data),
    )
    message = outbound()._replace(data={"journey": "cart", "campaign": {"name": "Herbst für dich, " * 9}})
    result = await adapter.send(message, NOW)

    (mail,) = mailbox.mails
    written = json.loads(mail["X-SMTPAPI"])["unique_args"]
    assert ("sent", "k1", "cart") == (result.status, written["message_id"], written["journey_id"])
    assert written["campaign_name"].startswith("Herbst für dich, Herbst")
    assert "Grüße" == mail["Subject"]


async def test_messages_share_a_connection(mailbox: Mailbox, adapter: SmtpAdapter) -> None:
    for key in ("k1", "k2", "k3"):
        await adapter.send(outbound(key), NOW)

    assert (3, 1) == (len(mailbox.mails), mailbox.connections)


@pytest.mark.parametrize(
    ("step", "answer", "status"),
    [
        pytest.param("rcpt", "550 5.1.1 no such user", "bounced", id="no such mailbox"),
        pytest.param("rcpt", "550 no such user", "bounced", id="no such mailbox, without a status code"),
        pytest.param("rcpt", "550 5.7.1 not from you", "refused", id="not wanted, by the code of a missing mailbox"),
        pytest.param("rcpt", "552 5.2.2 mailbox full", "refused", id="full"),
        pytest.param("rcpt", "450 4.2.1 try later", "retry", id="greylisted"),
        pytest.param("rcpt", "554 5.7.1 blocked", "refused", id="not wanted"),
        pytest.param("data", "451 4.3.0 later", "retry", id="refused for now, after the text"),
        pytest.param("data", "554 5.6.0 spam", "refused", id="refused for good, after the text"),
        pytest.param("data", "hang up", "unknown", id="gone after the text: it may have arrived"),
    ],
)
async def test_an_answer_gives_its_send_result(
    mailbox: Mailbox, adapter: SmtpAdapter, step: str, answer: str, status: str
) -> None:
    mailbox.answers[step] = answer

    assert status == (await adapter.send(outbound(), NOW)).status


async def test_after_a_refusal_the_next_message_goes_out(mailbox: Mailbox, adapter: SmtpAdapter) -> None:
    mailbox.answers["rcpt"] = "550 no such user"
    await adapter.send(outbound("k1"), NOW)
    mailbox.answers.clear()

    assert "sent" == (await adapter.send(outbound("k2"), NOW)).status


async def test_a_server_that_is_down_is_retried() -> None:
    assert (
        "retry"
        == (await SmtpAdapter("smtp://127.0.0.1:9", "news@shop.example", timeout_s=1).send(outbound(), NOW)).status
    )


@pytest.mark.parametrize(
    ("to", "subject"),
    [
        pytest.param("", "Hi", id="no address"),
        pytest.param("not an address", "Hi", id="no e-mail address"),
        pytest.param("a@b.example, c@d.example", "Hi", id="two addresses"),
        pytest.param("a@b.example\r\nBcc: c@d.example", "Hi", id="a header in the address"),
        pytest.param("a@b.example", "Hi\r\nBcc: c@d.example", id="a header in the subject"),
    ],
)
async def test_no_second_recipient_is_injected(mailbox: Mailbox, adapter: SmtpAdapter, to: str, subject: str) -> None:
    outcome = await adapter.send(outbound(to=to, message=MESSAGE._replace(subject=subject)), NOW)

    assert ("refused", []) == (outcome.status, mailbox.mails)


def test_a_malformed_server_url_is_an_error_that_shows_the_right_form() -> None:
    with pytest.raises(ValueError, match="expected smtp://"):
        SmtpAdapter("mail.shop.example:25", "news@shop.example")
