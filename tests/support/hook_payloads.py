"""Payloads of message providers, in the form that each documents, and what the shipped mappings make of them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import yaml

from processors.intake.mapping import CompiledMapping, Payload, RecordResult
from schemas.intake.mappings import Mapping

ROOT = Path(__file__).parents[2]
PAYLOADS = ROOT / "tests" / "support" / "hooks"
HOOKS = ROOT / "deploy" / "definitions" / "hooks"
RECEIVED = datetime(2026, 11, 28, 12, 30, tzinfo=UTC)


def payload(vendor: str, name: str) -> Any:
    """Read a payload of `tests/support/hooks`."""
    return orjson.loads((PAYLOADS / vendor / f"{name}.json").read_bytes())


@cache
def mapping(vendor: str) -> CompiledMapping:
    """Compile a shipped mapping."""
    return CompiledMapping(Mapping.model_validate(yaml.safe_load((HOOKS / f"{vendor}.yaml").read_text("utf-8"))))


def results(vendor: str, body: Any, query: dict[str, str] | None = None) -> list[RecordResult]:
    """Apply a shipped mapping to a body."""
    found = mapping(vendor).records(Payload(body, RECEIVED, {}, query or {}))
    assert isinstance(found, list), found
    return [mapping(vendor).apply(record) for record in found]


def mapped(vendor: str, body: Any, query: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the touchpoints of a body, of which no record is refused."""
    found = results(vendor, body, query)
    assert not [refusal for one in found for refusal in one.refusals]
    return [event.event for one in found for event in one.events]
