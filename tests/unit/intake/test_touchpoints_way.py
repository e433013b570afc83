"""One touchpoint from an HTTP body to a row: its JSON is parsed three times and validated once, as documented."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from deploy.collector.body import parse
from deploy.operations.definition_files import load
from deploy.settings import DEFINITIONS
from processors.identity.stage import Identify
from processors.intake import decode
from processors.intake.collect import Collect
from processors.intake.segment_calls import Arrival
from processors.intake.validation_mark import ValidationMark
from processors.recording.recorders import recorders
from processors.recording.stage import store
from processors.recording.touch_rules import TouchRules
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.events.touchpoint import read
from schemas.identity.erasure import Trace
from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import Resolution, ResolveRequest
from schemas.intake.sources import Source
from schemas.outcomes import Ok
from schemas.recording.touches import TouchDefinitions
from schemas.records import Headers

README = (Path(__file__).parents[3] / "processors/README.md").read_text("utf-8")
BODY = orjson.dumps(
    {
        "batch": [
            {
                "type": "track", "userId": "u-7", "event": "Order Completed", "messageId": "m-1",
                "timestamp": "2026-11-22T10:00:00Z",
                "properties": {"order_id": "o-1", "revenue": 49.9, "currency": "EUR"},
            }
        ]
    }
)  # fmt: skip
MAX_PARSES = 3
MAX_MODULES = 16


class LoggedRecord(NamedTuple):
    topic: str
    key: bytes
    value: bytes
    headers: Headers
    partition: int = 0
    offset: int = 0
    timestamp: int = int(datetime(2026, 11, 22, 10, 0, 1, tzinfo=UTC).timestamp() * 1000)


class Identities:
    async def resolve(self, requests: Sequence[ResolveRequest]) -> list[Resolution]:
        person = "11111111-1111-4111-8111-111111111111"
        return [Resolution(request.event_id, person, request.claims[0].anchor) for request in requests]


class Tables:
    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()

    async def insert_all(self, table: str, rows: Sequence[bytes], token: str) -> list[tuple[int, str]]:
        self.rows[table] += len(rows)
        return []

    async def note_source_starts(self, starts: Mapping[str, str]) -> None:
        pass

    async def sources_heard_by(self, sources: Collection[str], received_ms: int) -> Collection[str]:
        return ()

    async def first_deliveries(self, events: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        return {}


class Erasures:
    async def are_erased(self, traces: Sequence[Trace]) -> list[bool]:
        return [False] * len(traces)


class OneBatch(NamedTuple):
    records: list[LoggedRecord]
    token: str = "t"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what is parsed and validated."""
    counted: Counter[str] = Counter()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            counted[name] += 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(orjson, "loads", counting("parsed", orjson.loads))
    monkeypatch.setattr(decode, "read", counting("validated", read))
    return counted


async def test_an_event_over_http_is_parsed_three_times_and_validated_once(calls: Counter[str]) -> None:
    channels, secret, tables = frozenset(TOUCHPOINT_CHANNELS), b"secret", Tables()
    rules = TouchRules(load(DEFINITIONS / "touches.yaml", TouchDefinitions))
    collect = Collect(
        channels=channels, max_event_bytes=65_536, key=lambda _: b"k", topic_prefix="", mark=ValidationMark(secret)
    )
    identify = Identify(
        Identities(), policy=IdentityPolicy(), secret=secret, channels=channels, max_event_bytes=65_536
    )  # fmt: skip
    calls.clear()

    [call] = parse(BODY, 0)["batch"]
    [sent] = collect.calls(
        "shop", Source(channel="web"), [(call, call["type"])], [Arrival(datetime.now(UTC), None, "r")]
    ).outgoing
    [resolved] = await identify([LoggedRecord(*sent)])
    assert isinstance(resolved, Ok)
    batch: Any = OneBatch([LoggedRecord(*resolved.value)])
    await store(tables, Erasures(), batch, recorders(rules)[0])

    assert {"touchpoints": 1, "order_events": 1} == tables.rows
    assert {"parsed": MAX_PARSES, "validated": 1} == calls


def test_the_documented_way_has_at_most_sixteen_modules() -> None:
    way = README[README.index("## A touchpoint's way") : README.index("## Topics")]
    modules = re.findall(r"^\| [a-z]* ?\| `([\w/]+\.py)` \|", way, re.MULTILINE)

    assert MAX_MODULES >= len(modules) == len(set(modules)) > 10
