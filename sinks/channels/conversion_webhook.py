"""Conversions as signed webhooks, one request each, by the Standard Webhooks convention (`webhook.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from schemas.delivery.outbound import OutboundMessage, SendResult, WebhookTarget
from schemas.export.destinations import Webhook
from schemas.export.exports import ExportAnswer, ExportItem
from sinks.channels.webhook import Destinations, WebhookAdapter

EVENT_TYPE = "conversion.exported"


class ConversionWebhook:
    """Posts exports to one system; the arguments as of `WebhookAdapter`."""

    most = 16

    def __init__(self, rules: Webhook, secrets: Sequence[str], allowed: Destinations) -> None:
        target = WebhookTarget(url=rules.url, timeout=rules.timeout, deduplicates=True)
        self._webhook = WebhookAdapter(target, secrets, allowed, event_type=EVENT_TYPE)

    async def send(self, items: list[ExportItem], now_ms: int) -> list[ExportAnswer]:
        """Send exports at the same time; answers in their order."""
        results = await asyncio.gather(*(self._post(one, now_ms) for one in items))
        return [_answer(one) for one in results]

    async def close(self) -> None:
        """Close the connections."""
        await self._webhook.close()

    async def _post(self, item: ExportItem, now_ms: int) -> SendResult:
        message = OutboundMessage(
            f"{item.body['destination']}:{item.body['goal']}:{item.event_id}", "", {}, None, "", item.body
        )
        return await self._webhook.send(message, now_ms)


def _answer(result: SendResult) -> ExportAnswer:
    if result.status == "sent":
        return ExportAnswer("sent", result.detail)
    if result.status == "refused":
        # A body that it does not want, or else the address or the key: then no export is to blame.
        by_content = result.detail.startswith(("HTTP 400", "HTTP 409", "HTTP 410", "HTTP 413", "HTTP 422"))
        return ExportAnswer("refused" if by_content else "unauthorised", result.detail)
    return ExportAnswer("later", result.detail, result.retry_after_ms)
