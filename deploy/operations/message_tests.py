"""Sends a message as a test to somebody's own address, by SMTP; nothing is counted, and no cap is used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from deploy.operations.definition_files import load
from deploy.operations.message_preview import Preview
from deploy.settings import Settings
from schemas.delivery.outbound import DeliveryDefinitions, OutboundMessage
from schemas.time import clock_ms
from sinks.channels.smtp import SmtpAdapter


class NotSentError(Exception):
    """A test was not sent; the message is for the audit log, without what the mail server said, which has the address.

    Attributes:
        said: What the mail server said, for the reader.
    """

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = f"{message}: {said}" if said else message


def testable_channels(settings: Settings) -> set[str]:
    """Return the channels on which a test can be sent: those whose messages go by SMTP."""
    definitions = load(settings.delivery_file, DeliveryDefinitions)
    if not settings.smtp_url.get_secret_value():
        return set()
    return {name for name, route in definitions.channels.items() if route.through == "smtp"}


async def send_test(settings: Settings, found: Sequence[Preview], address: str) -> None:
    """Send the first message that can go by SMTP to an address.

    Raises:
        NotSentError: It was not sent.
    """
    testable = testable_channels(settings)
    by_smtp = [one for one in found if one.channel in testable]
    if not by_smtp:
        raise NotSentError(
            "no channel of this message goes by SMTP here: THROUGHLINE_SMTP_URL and `email: {through: smtp}` in"
            " delivery.yaml make it possible"
        )
    one = next((one for one in by_smtp if one.rendered is not None), by_smtp[0])
    if one.rendered is None:
        raise NotSentError("the message cannot be rendered", one.error)
    definitions = await asyncio.to_thread(load, settings.delivery_file, DeliveryDefinitions)
    url = settings.smtp_url.get_secret_value()
    adapter = SmtpAdapter(url, definitions.sender, reply_to=definitions.reply_to or "")
    now_ms = clock_ms()
    rendered = one.rendered._replace(subject=f"[test] {one.rendered.subject}")
    receiver = {"type": "email", "value": address}
    try:
        result = await adapter.send(OutboundMessage(f"test-{now_ms}", one.channel, receiver, rendered, "", {}), now_ms)
    finally:
        await adapter.close()
    if result.status != "sent":
        raise NotSentError(result.status, result.detail)
