"""The job that every peer does, as plain functions; how events come to them and go on is the peer's own code.

Nothing of Throughline is imported: this is what a team writes that has a stream framework and two stores. It validates
with pydantic, resolves and folds with one script in Valkey, and writes rows that ClickHouse may get twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import clickhouse_connect
import orjson
import phonenumbers
import redis
from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError, field_validator

BOOTSTRAP = os.environ.get("PEER_BOOTSTRAP", "localhost:9092")
TOPIC = os.environ.get("PEER_TOPIC", "events")
GROUP = os.environ.get("PEER_GROUP", "people")
SESSION_TIMEOUT_S = int(os.environ.get("PEER_SESSION_TIMEOUT_S", "45"))
REDIS_URL = os.environ.get("PEER_REDIS_URL", "redis://localhost:6379/0")
PREFIX = os.environ.get("PEER_PREFIX", "people:")
CLICKHOUSE_URL = os.environ.get("PEER_CLICKHOUSE_URL", "http://localhost:8123")
DATABASE = os.environ.get("PEER_DATABASE", "default")

BATCH = int(os.environ.get("PEER_BATCH", "1000"))
"""Events of one pipeline to Valkey and one insert, where a framework lets its user choose."""
TABLE = "events"
COLUMNS = ("event_id", "source", "person", "event", "channel", "occurred_at", "properties", "context")
CREATE_TABLE = f"""
    CREATE TABLE IF NOT EXISTS {TABLE} (event_id String, source LowCardinality(String), person String,
        event LowCardinality(String), channel LowCardinality(String), occurred_at DateTime64(3, 'UTC'),
        properties String, context String)
    ENGINE = ReplacingMergeTree ORDER BY (source, event_id)
"""
RESOLVE = (Path(__file__).parent / "resolve.lua").read_text("utf-8")

Text = Annotated[str, Field(min_length=1, max_length=100)]
_revenue = TypeAdapter(Decimal)


class Identifier(BaseModel):
    """One name of a person."""

    type: Text
    value: str


class Event(BaseModel):
    """What is checked of an event."""

    event_id: Text
    event: Text
    channel: Text
    source: str = ""
    occurred_at: AwareDatetime
    identifiers: list[Identifier]
    properties: dict[str, Any] = {}
    context: dict[str, Any] = {}

    @field_validator("properties")
    @classmethod
    def _revenue_is_a_number(cls, properties: dict[str, Any]) -> dict[str, Any]:
        if "revenue" in properties:
            _revenue.validate_python(properties["revenue"])
        return properties


def parse(value: bytes | None) -> Event | None:
    """Validate a record's value; None: it is no event, and is left out."""
    try:
        return Event.model_validate_json(value or b"")
    except ValidationError:
        return None


_PLACEHOLDERS = frozenset(("", "null", "undefined", "unknown", "anonymous", "none", "n/a", "guest", "test"))


@lru_cache(50_000)
def normalised(kind: str, value: str, region: str) -> str:
    """Return an identifier as it is compared, empty if it names no person."""
    value = value.strip()
    if value.lower() in _PLACEHOLDERS or not value.strip("0- "):
        return ""
    if kind == "email":
        return f"email:{value.lower()}"
    if kind == "whatsapp_id" and not value.startswith("+"):
        value = f"+{value}"
    if kind in ("phone", "whatsapp_id"):
        try:
            number = phonenumbers.parse(value, region)
        except phonenumbers.NumberParseException:
            return ""
        valid = phonenumbers.is_valid_number(number) or (
            value.startswith("+") and phonenumbers.is_possible_number(number)
        )
        return f"phone:+{number.country_code}{number.national_number}" if valid else ""
    return f"{kind}:{value}"


def identifiers(event: Event) -> list[str]:
    """List the identifiers that an event is resolved by."""
    geo = event.context.get("geo") or {}
    region = geo.get("country") or str(event.context.get("locale") or "")[3:] or "US"
    found = (normalised(one.type, one.value, region) for one in event.identifiers)
    return [one for one in dict.fromkeys(found) if one]


def arguments(event: Event) -> list[Any]:
    """Make the arguments of the script `resolve.lua`."""
    name = f"{event.source}:{event.event_id}"
    occurred_ms = int(event.occurred_at.timestamp() * 1000)
    return [PREFIX, name, event.event, event.channel, occurred_ms, *identifiers(event)]


def row(event: Event, person: bytes) -> list[Any]:
    """Make the row of an event."""
    return [
        event.event_id, event.source, person.decode(), event.event, event.channel, event.occurred_at,
        orjson.dumps(event.properties).decode(), orjson.dumps(event.context).decode(),
    ]  # fmt: skip


class Stores:
    """Valkey and ClickHouse, for peers whose code is not asynchronous."""

    def __init__(self) -> None:
        self._redis = redis.Redis.from_url(REDIS_URL)
        self._resolve = self._redis.register_script(RESOLVE)
        self._clickhouse = clickhouse_connect.get_client(dsn=CLICKHOUSE_URL, database=DATABASE)

    def resolve(self, events: Sequence[Event]) -> list[list[Any]]:
        """Resolve events and fold them into their profiles, in one round trip; returns their rows."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for event in events:
                self._resolve(args=arguments(event), client=pipeline)
            return [row(event, person) for event, person in zip(events, pipeline.execute(), strict=True)]

    def insert(self, rows: Iterable[list[Any]]) -> None:
        """Insert rows; returns once the server has them."""
        if rows := list(rows):
            self._clickhouse.insert(TABLE, rows, column_names=COLUMNS)
