"""What the shipped mappings make of the payloads of message providers, before it is validated."""

from __future__ import annotations

from typing import Any

from processors.intake.mapping import Payload, RecordResult
from tests.support.webhooks import RECEIVED, shipped


def results(vendor: str, body: Any, query: dict[str, str] | None = None) -> list[RecordResult]:
    """Apply a shipped mapping to a body."""
    found = shipped(vendor).records(Payload(body, RECEIVED, {}, query or {}))
    assert isinstance(found, list), found
    return [shipped(vendor).apply(record) for record in found]


def mapped(vendor: str, body: Any, query: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the touchpoints of a body, of which no record is refused."""
    found = results(vendor, body, query)
    assert not [refusal for one in found for refusal in one.refusals]
    return [event.event for one in found for event in one.events]
