"""Every setting: its name, its default, its unit and its meaning. The only file that reads the environment.

A value comes from, in this order of precedence: the environment (`THROUGHLINE_…`), the file `stack.json` of a running
local stack in `THROUGHLINE_HOME`, the default.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.durations import MINUTE_MS, parse_duration
from schemas.shards import SHARDS

DEFINITIONS = Path(__file__).parent / "definitions"


def home() -> Path:
    """Return the home directory: heartbeats and logs, and the data of a local stack."""
    return Path(os.environ.get("THROUGHLINE_HOME") or ".throughline").absolute()


def passed_descriptors() -> range:
    """Return the descriptors of the sockets that this process was started with, as `sd_listen_fds(3)` does."""
    count = os.environ.get("LISTEN_FDS", "")
    passed = os.environ.get("LISTEN_PID") == str(os.getpid()) and count.isdecimal()
    return range(3, 3 + int(count)) if passed else range(0)


def prediction_period_ms(written: str) -> int:
    """Return how old predictions may become, such as `24h`, in milliseconds.

    Raises:
        ValueError: It is no length of time, or less than 10 minutes: a fit takes minutes.
    """
    period_ms = parse_duration(written)
    if not isinstance(period_ms, int) or period_ms < 10 * MINUTE_MS:
        raise ValueError(f"{written!r} is less than 10 minutes")
    return period_ms


class _StackFile(PydanticBaseSettingsSource):
    """Source of settings: the addresses of the local stack that runs in `THROUGHLINE_HOME`, if one does."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Required by the base class and not used: `__call__` returns all fields."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        try:
            found = json.loads((home() / "stack.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        settings = found.get("settings", {})
        return settings if isinstance(settings, dict) else {}


class Settings(BaseSettings):
    """All settings. Set one as an environment variable: `THROUGHLINE_` and the name in capitals."""

    model_config = SettingsConfigDict(env_prefix="THROUGHLINE_", frozen=True, extra="ignore")

    # Addresses of the three servers
    kafka_bootstrap: str = Field("127.0.0.1:9092", description="Kafka brokers, host:port, comma-separated.")
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="URL of Redis or Valkey.")
    clickhouse_url: str = Field(
        "http://127.0.0.1:8123", description="URL of ClickHouse over HTTP, with user and password."
    )

    # Names, so that several deployments can share servers
    topic_prefix: str = Field("", description="Prefix of every topic and consumer group.")
    redis_namespace: str = Field("throughline", description="Hash tag of every Redis key: {namespace}:…")
    clickhouse_database: str = Field("throughline", description="The ClickHouse database.")

    # The deployment and its definitions
    channels: Annotated[tuple[str, ...], NoDecode] = Field(
        TOUCHPOINT_CHANNELS, description="Known channels, comma-separated."
    )
    partitions: int = Field(
        12, ge=1, description="Partitions of a topic when it is created: a divisor of 192, such as 12, 24, 48 or 96."
    )
    replication_factor: int = Field(1, ge=1, description="Replicas of a topic when it is created.")
    identity_secret: SecretStr = Field(
        SecretStr("throughline-local-secret"),
        description="Key of the identifier hashes. Set your own before the first event: changing it orphans profiles. "
        "The collector marks the events that it has validated with a key derived from it; a worker with another secret "
        "validates them again.",
    )
    default_region: str = Field(
        "US",
        description=(
            "Region of phone numbers without a country code, ISO 3166, where neither `regions` of `identity.yaml` nor "
            "the event names one; they must be valid there."
        ),
    )
    timezone: str = Field("UTC", description="Time zone of days in reports, IANA name.")
    currency: str = Field(
        "",
        pattern=r"^([A-Z]{3})?$",
        description="Currency of reports, ISO 4217; empty: the currency of most conversions.",
    )
    identity_file: Path = Field(
        DEFINITIONS / "identity.yaml", description="Identity policy: types, limits, blocked values."
    )
    touches_file: Path = Field(
        DEFINITIONS / "touches.yaml", description="Rules: which events are touches, which conversions."
    )

    markets_file: Path = Field(
        DEFINITIONS / "markets.yaml", description="Markets: countries, stores, currency, time zone, languages."
    )

    # Enrichment of events
    bots_file: Path = Field(
        DEFINITIONS / "bots.yaml", description="User agents that are bots', and those that are not, beyond the list."
    )
    location_database: str = Field(
        "", description="File in MaxMind's format (.mmdb) that gives network addresses country and city; empty: none."
    )
    network_addresses: Literal["full", "truncated", "none"] = Field(
        "full",
        description="How much of context.ip is kept once its place is known: full, truncated or none; views truncate.",
    )

    definitions_dir: Path = Field(
        DEFINITIONS, description="Folder of segments/, journeys/, templates/, plan/ and transforms/."
    )
    policy_file: Path = Field(
        DEFINITIONS / "policy.yaml", description="Message policy: who may be written to, when, how often."
    )
    delivery_file: Path = Field(
        DEFINITIONS / "delivery.yaml", description="Delivery routes: how messages of each channel are sent."
    )

    # Delivery of messages
    smtp_url: SecretStr = Field(SecretStr(""), description="Mail server, smtp://user:password@host:587 or smtps://…")
    webhook_secret: SecretStr = Field(
        SecretStr(""),
        description="Keys that sign webhooks, comma-separated: whsec_ and Base64, or any text; each one signs.",
    )
    webhook_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Hosts that webhooks may be sent to, comma-separated; no others."
    )
    webhook_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Networks that are not public and that webhooks may reach, comma-separated."
    )

    # The collector
    collector_url: str = Field("http://127.0.0.1:8088", description="Where the collector listens.")
    sources_file: Path = Field(DEFINITIONS / "sources.yaml", description="Who may publish over HTTP.")
    write_keys: SecretStr = Field(
        SecretStr(""),
        description="Write keys of those sources, source=key, comma-separated; a source may have several.",
    )
    hook_secrets: SecretStr = Field(
        SecretStr(""),
        description=(
            "Secrets that webhooks of those sources are signed with, source=secret, comma-separated; several count. "
            "Further ones of a vendor are source:part=secret, such as whatsapp:verify_token=…"
        ),
    )
    collector_public_url: str = Field(
        "",
        description=(
            "Address of the collector as pages and vendors call it, such as https://events.shop.example: in the "
            "settings of SDKs, and in signatures that cover it; empty: that of the request."
        ),
    )
    collector_max_request_bytes: int = Field(
        5_242_880, ge=65_536, description="Largest request that the collector accepts, in bytes after decompression."
    )
    collector_confirm_s: float = Field(
        2.0, gt=0, le=60, description="Longest wait for Kafka before a client is asked to send again, seconds."
    )
    collector_trusts_proxy: bool = Field(
        False, description="Trust X-Forwarded-For, -Proto and -Host: only behind a proxy that sets them."
    )

    # The schema registry
    schema_registry_url: str = Field(
        "", description="Schema registry of Avro and Protobuf records on touchpoints.*; empty: they are dead letters."
    )
    schema_registry_auth: SecretStr = Field(SecretStr(""), description="Its user:password, if it asks for one.")

    # Limits of an event
    max_event_bytes: int = Field(
        262_144, ge=1024, le=900_000, description="Largest event in bytes: 500 products of 20 keys need it."
    )

    # The workers
    batch_records: int = Field(4000, ge=1, description="Maximum number of records in a batch.")
    session_timeout_s: int = Field(30, ge=6, description="Kafka group session timeout, seconds.")
    record_flush_rows: int = Field(20_000, ge=1, description="ClickHouse insert size, rows.")
    record_flush_s: float = Field(
        1.0, gt=0, description="Wait to fill an insert, seconds; up to three times that while inserts take long."
    )
    dead_letter_limit_ratio: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of dead letters, of the last 10,000 records, that stops the identify worker.",
    )
    store_retry_max_s: float = Field(
        10.0, gt=0, description="Longest pause between two retries of a store that is down, seconds."
    )
    redis_durability: Literal["off", "disk", "replica"] = Field(
        "off",
        description="Where writes to Redis have to be before the events that made them are committed: disk (appendonly"
        " yes), replica, or off: wherever the server has them. Also before a claimed message is sent.",
    )
    redis_durability_timeout_s: float = Field(
        10.0, gt=0, lt=30, description="How long they may take until the log says that nothing is committed, seconds."
    )
    scores_every: str = Field(
        "24h",
        description="How old predictions of people become before the local stack makes new ones; empty: it makes none.",
    )
    metrics_address: str = Field(
        "127.0.0.1:9464",
        pattern=r"^(.+:[0-9]{1,5})?$",
        description="Where metrics are served, host:port: `/metrics` of `identify`, then `profile`, `record`, `deliver`"
        " and the collector on the next ports, or the next free ones; empty: nowhere.",
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    crash_at: str = Field(
        "", description="For fault tests: stage:point:n ends the process at the n-th pass of that failpoint."
    )

    @field_validator("channels", "webhook_hosts", "webhook_networks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("partitions")
    @classmethod
    def _divides_shards(cls, value: int) -> int:
        if SHARDS % value:
            raise ValueError(f"{value} does not divide the {SHARDS} shards of people evenly: take 12, 24, 48 or 96")
        return value

    @field_validator("scores_every")
    @classmethod
    def _is_period(cls, value: str) -> str:
        if value:
            prediction_period_ms(value)
        return value

    @field_validator("collector_url")
    @classmethod
    def _has_host_and_port(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            whole = parts.scheme == "http" and parts.hostname and parts.port and parts.path in ("", "/")
        except ValueError:
            whole = False
        if not whole:
            raise ValueError("write it as http://127.0.0.1:8088; for TLS, put a proxy before it")
        return value

    @field_validator("collector_public_url")
    @classmethod
    def _is_public_address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            whole = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
        except ValueError:
            whole = False
        if value and not whole:
            raise ValueError("write it as https://events.shop.example, with a path if a proxy adds one")
        return value.rstrip("/")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, the environment, the running local stack, defaults."""
        return init_settings, env_settings, _StackFile(settings_cls)


def setting_errors(error: ValidationError) -> str:
    """Say which settings are wrong and what they mean, a line for each; without their values, which may be secrets."""
    lines = []
    for one in error.errors(include_input=False, include_url=False):
        name = str(one["loc"][0])
        meaning = Settings.model_fields[name].description if name in Settings.model_fields else ""
        lines.append(f"THROUGHLINE_{name.upper()}: {one['msg'].removeprefix('Value error, ')} ({meaning})")
    return "\n".join(lines)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process, read once."""
    return Settings()
