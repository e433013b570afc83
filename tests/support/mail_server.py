"""A real mail server beside the test, which keeps what it gets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from deploy.local.ports import LOOPBACK, free_port


class MailServer:
    """What has arrived.

    Attributes:
        url: Where it listens, as the setting `smtp_url` wants it.
        mails: Messages, in the order in which they came.
        answer: What it says to each receiver; empty: it takes them.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.mails: list[EmailMessage] = []
        self.answer = ""

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a receiver, or refuse it."""
        if self.answer:
            return self.answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a message."""
        assert isinstance(envelope.content, bytes)
        found = message_from_bytes(envelope.content, policy=policy.SMTP)
        assert isinstance(found, EmailMessage)
        self.mails.append(found)
        return "250 OK"

    @property
    def keys(self) -> list[str]:
        """Idempotency key of each message."""
        return [str(mail["X-Throughline-Message-Id"]) for mail in self.mails]


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Run one in a thread, on a free port."""
    port = free_port()
    found = MailServer(f"smtp://{LOOPBACK}:{port}")
    controller = Controller(found, hostname=LOOPBACK, port=port)
    controller.start()
    try:
        yield found
    finally:
        controller.stop()
