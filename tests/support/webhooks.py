"""Webhooks in tests: what a shipped mapping makes of a payload, and the signatures of vendors."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from deploy.operations.hooks import load_mapping
from deploy.operations.sources import collect_for
from deploy.settings import DEFINITIONS, Settings
from processors.intake.collect import Collect, CollectResult
from processors.intake.mapping import CompiledMapping, Payload
from processors.intake.segment_calls import Arrival
from processors.intake.webhook_signatures import SCHEMES, SignedRequest
from schemas.dead_letters import DeadLetter
from schemas.intake.sources import Source
from schemas.outcomes import Reject
from schemas.topics import DEAD_LETTERS

PAYLOADS = Path(__file__).parent / "hooks"
RECEIVED = datetime(2026, 11, 28, 12, tzinfo=UTC)


def payload(vendor: str, name: str, **changes: Any) -> Any:
    """A documented payload, with some of its fields changed."""
    found = orjson.loads((PAYLOADS / vendor / f"{name}.json").read_bytes())
    return {**found, **changes} if isinstance(found, dict) else found


@cache
def shipped(vendor: str) -> CompiledMapping:
    return load_mapping(DEFINITIONS / "hooks" / f"{vendor}.yaml")


@cache
def _judge() -> Collect:
    return collect_for(Settings())


def collected(
    vendor: str, body: Any, headers: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None,
    *, source: Source | None = None, received: datetime = RECEIVED,
) -> CollectResult:  # fmt: skip
    """What the collector makes of a payload whose signature is right."""
    mapping = shipped(vendor)
    lower = {name.lower(): value for name, value in (headers or {}).items()}
    one, sent, judge = source or Source(channel="api"), Payload(body, received, lower, query or {}), _judge()
    records = mapping.records(sent)
    if isinstance(records, Reject):
        return judge.unmapped(vendor, one, mapping, sent, records, Arrival(received, None, "r"))
    arrivals = [Arrival(received, None, f"r-{number}") for number in range(len(records))]
    return judge.records(vendor, one, mapping, records, arrivals)


def events(vendor: str, body: Any, headers: Mapping[str, str] | None = None, **more: Any) -> list[dict[str, Any]]:
    """The valid touchpoints of a payload; nothing of it is refused."""
    found = collected(vendor, body, headers, **more)
    assert [] == found.refusals
    return [orjson.loads(one.value) for one in found.outgoing]


def letters(found: CollectResult) -> list[DeadLetter]:
    return [DeadLetter.model_validate_json(one.value) for one in found.outgoing if one.topic == DEAD_LETTERS]


def base64_hmac(secret: str, signed: bytes) -> str:
    return base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()


def signature_problem(
    vendor: str, body: bytes, headers: Mapping[str, str], secrets: tuple[str, ...], *,
    url: str = "https://events.shop.example/v1/hooks/x", received: datetime = RECEIVED,
) -> str | None:  # fmt: skip
    """Why a request is not the vendor's by the scheme of its shipped mapping; None: it is."""
    check = shipped(vendor).definition.signature
    assert check is not None
    scheme = SCHEMES[check.scheme]
    request = SignedRequest(url, {name.lower(): value for name, value in headers.items()}, {}, body, None, received)
    return scheme.problem(request, scheme.options.model_validate(check.options), {"": secrets})
