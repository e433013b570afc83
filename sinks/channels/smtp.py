"""E-mail over SMTP: each message once, with the headers that mailbox providers require of bulk senders.

The headers are a `Message-ID` made from the idempotency key, so that a mailbox gets the same message in every attempt;
a plain text beside the HTML; `List-Unsubscribe` with `List-Unsubscribe-Post` for one click (RFC 2369, RFC 8058); and
what the provider behind the server gives back in its reports (`tracking_headers.py`).

A message counts as sent when the server has accepted it after DATA. Before DATA every failure is certain and a retry is
safe; a connection lost during DATA leaves the result unknown.
"""

from __future__ import annotations

import hashlib
import ssl
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, formataddr, parseaddr
from urllib.parse import quote, unquote, urlsplit

import aiosmtplib

from schemas.delivery.outbound import OutboundMessage, SendResult
from schemas.events.bounces import BounceClass, bounce_class
from schemas.time import time_of_ms
from sinks.channels.tracking_headers import header_lines, tracking_headers

LOOPBACK = ("127.0.0.1", "localhost", "::1")
IDLE_CONNECTIONS = 8
"""Connections kept open between messages."""
_ADDRESS_CHARACTERS = "!#$%&'()*+,-./:;=?@[]_~"
"""Characters of an address that stay as they are: those of RFC 3986; others, such as < and >, are escaped."""


class SmtpAdapter:
    """Sends e-mail through one server.

    Args:
        url: `smtp://user:password@host:587` (STARTTLS when the server offers it, and always before a password is sent)
            or `smtps://…:465`.
        sender: `Shop <news@shop.example>`.
        reply_to: Address for replies; the sender when empty.
        timeout_s: Longest wait for one answer of the server, in seconds.
    """

    def __init__(self, url: str, sender: str, *, reply_to: str = "", timeout_s: float = 20.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError("THROUGHLINE_SMTP_URL: expected smtp://user:password@host:587 or smtps://host:465")
        self._host = parts.hostname
        self._secure = parts.scheme == "smtps"
        self._port = parts.port or (465 if self._secure else 587)
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._sender, self._reply_to = sender, reply_to
        self._domain = parseaddr(sender)[1].rpartition("@")[2]
        self._timeout_s = timeout_s
        self._idle: list[aiosmtplib.SMTP] = []

    async def send(self, message: OutboundMessage, now_ms: int) -> SendResult:
        """Make one attempt."""
        try:
            mail = self._mail(message, now_ms)
            receiver = mail["To"].addresses[0].addr_spec
        except (ValueError, IndexError) as error:
            return SendResult("refused", f"the message cannot be written: {error}")
        try:
            client = await self._connected()
        except aiosmtplib.SMTPAuthenticationError as error:
            return SendResult("retry", f"{error.code} {error.message}")
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            return SendResult("retry", f"{type(error).__name__}: {error}")
        tracking = header_lines(tracking_headers(self._host, message.key, message.data))
        result = await self._transmit(client, receiver, tracking + mail_bytes(mail, message))
        if client.is_connected and len(self._idle) < IDLE_CONNECTIONS:
            self._idle.append(client)
        else:
            client.close()
        return result

    async def close(self) -> None:
        """Close the idle connections with QUIT."""
        while self._idle:
            with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                await self._idle.pop().quit()

    async def _transmit(self, client: aiosmtplib.SMTP, receiver: str, text: bytes) -> SendResult:
        step = "mail"
        try:
            await client.mail(parseaddr(self._sender)[1])
            step = "rcpt"
            await client.rcpt(receiver)
            step = "data"
            accepted = await client.data(text)
            return SendResult("sent", f"{accepted.code} {accepted.message}"[:200])
        except aiosmtplib.SMTPResponseException as error:
            with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                await client.rset()
            answer = f"{error.code} {error.message}"[:200]
            if error.code < 500:
                return SendResult("retry", answer)
            gone = bounce_class({"code": error.code, "reason": error.message}) is BounceClass.PERMANENT
            return SendResult("bounced" if step == "rcpt" and gone else "refused", answer)
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            client.close()
            return SendResult("unknown" if step == "data" else "retry", f"{type(error).__name__}: {error}")

    async def _connected(self) -> aiosmtplib.SMTP:
        while self._idle:
            client = self._idle.pop()
            try:
                await client.noop()
                return client
            except (aiosmtplib.SMTPException, OSError, TimeoutError):
                client.close()
        secret_needs_tls = bool(self._password) and self._host not in LOOPBACK and not self._secure
        client = aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            use_tls=self._secure,
            start_tls=True if secret_needs_tls else False if self._secure else None,
            username=self._user or None,
            password=self._password or None,
            timeout=self._timeout_s,
            tls_context=ssl.create_default_context(),
        )
        await client.connect()
        return client

    def _mail(self, outbound: OutboundMessage, now_ms: int) -> EmailMessage:
        mail = mail_of(outbound, self._sender, self._reply_to)
        mail["Date"] = format_datetime(time_of_ms(now_ms))
        digest = hashlib.blake2b(outbound.key.encode(), digest_size=16).hexdigest()
        mail["Message-ID"] = f"<{digest}@{self._domain}>"
        return mail


def mail_of(outbound: OutboundMessage, sender: str, reply_to: str) -> EmailMessage:
    """Return a message as an e-mail, without its date and id.

    Args:
        outbound: The message.
        sender: `Shop <news@shop.example>`.
        reply_to: Address for replies; the sender when empty.

    Raises:
        ValueError, IndexError: It cannot be written.
    """
    if outbound.rendered is None:
        raise ValueError("it has no text")
    mail = EmailMessage(policy=SMTP_POLICY)
    mail["From"] = formataddr(parseaddr(sender))
    mail["To"] = outbound.address.get("value", "")
    if len(mail["To"].addresses) != 1 or mail["To"].defects:
        raise ValueError("its address is none")
    if reply_to:
        mail["Reply-To"] = reply_to
    mail["Subject"] = outbound.rendered.subject
    mail["X-Throughline-Message-Id"] = outbound.key
    mail.set_content(outbound.rendered.text)
    if outbound.rendered.html:
        mail.add_alternative(outbound.rendered.html, subtype="html")
    if outbound.rendered.language:
        mail["Content-Language"] = outbound.rendered.language  # last: content would move it into a part
    return mail


def mail_bytes(mail: EmailMessage, outbound: OutboundMessage) -> bytes:
    """Return an e-mail as it is sent: with its headers of unsubscription, whose long address must not be folded."""
    return header_lines(unsubscribe_headers(outbound)) + mail.as_bytes(policy=SMTP_POLICY)


def unsubscribe_headers(message: OutboundMessage) -> dict[str, str]:
    """Return the headers of one-click unsubscription; an address is plain ASCII on one line (RFC 3986, RFC 8058)."""
    if not message.unsubscribe_url:
        return {}
    address = quote(message.unsubscribe_url, safe=_ADDRESS_CHARACTERS)
    return {"List-Unsubscribe": f"<{address}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
