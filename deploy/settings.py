"""Every setting: its name, its default, its unit and its meaning. The only file that reads the environment.

`deploy/home.py` alone reads a variable beside it, `THROUGHLINE_HOME`.

A value comes from, in this order of precedence: for secrets, the file that `THROUGHLINE_…_FILE` names; the environment
(`THROUGHLINE_…`); the file `stack.json` of a running local stack in `THROUGHLINE_HOME`; the default.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from deploy.home import home
from deploy.urls import listening_url, public_url
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.durations import RetentionDays, prediction_period_ms
from schemas.shards import SHARDS
from sinks.redis.address import MEANING_OF_URL, RedisUrl, redis_address

DEFINITIONS = Path(__file__).parent / "definitions"
_LOCATIONS = (
    *("kafka_https_ca_location", "kafka_ssl_ca_location", "kafka_ssl_certificate_location", "kafka_ssl_key_location"),
    *(
        "redis_ssl_ca_location",
        "redis_ssl_certificate_location",
        "redis_ssl_key_location",
        "clickhouse_ssl_ca_location",
    ),
)
_URLS_WITH_PASSWORDS = frozenset({"redis_url", "clickhouse_url", "schema_registry_url"})


def passed_descriptors() -> range:
    """Return the descriptors of the sockets that this process was started with, as `sd_listen_fds(3)` does."""
    count = os.environ.get("LISTEN_FDS", "")
    passed = os.environ.get("LISTEN_PID") == str(os.getpid()) and count.isdecimal()
    return range(3, 3 + int(count)) if passed else range(0)


class _Unreadable(str):
    """Why a secret cannot be read from its file; a validator turns it into the error of that setting."""


class _SecretFiles(PydanticBaseSettingsSource):
    """Source of settings: for each secret, the file that `THROUGHLINE_…_FILE` names, without its last line break."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Required by the base class and not used: `__call__` returns all fields."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in secret_settings():
            variable = f"THROUGHLINE_{name.upper()}"
            if not (path := os.environ.get(f"{variable}_FILE")):
                continue
            if os.environ.get(variable):
                found[name] = _Unreadable(f"set either it or {variable}_FILE, not both")
                continue
            try:
                found[name] = Path(path).read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                found[name] = _Unreadable(f"{variable}_FILE={path} cannot be read: {reason}")
        return found


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
    redis_url: RedisUrl = Field("redis://127.0.0.1:6379/0", description=MEANING_OF_URL)
    clickhouse_url: str = Field("http://127.0.0.1:8123", description="URL of ClickHouse over HTTP; https://… with TLS.")

    # Their security; those of Kafka are librdkafka's properties, and every Kafka client gets them
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL (TLS), SASL_PLAINTEXT or SASL_SSL (TLS and a user)."
    )
    kafka_sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "", description="With SASL: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER (OpenID Connect)."
    )
    kafka_sasl_username: str = Field("", description="User for PLAIN and SCRAM; the API key of Confluent Cloud.")
    kafka_sasl_password: SecretStr = Field(SecretStr(""), description="Its password; the secret of that key.")
    kafka_sasl_oauthbearer_token_endpoint_url: str = Field(
        "", description="OAUTHBEARER: where tokens are asked for, with client credentials."
    )
    kafka_sasl_oauthbearer_client_id: str = Field("", description="OAUTHBEARER: the client's id.")
    kafka_sasl_oauthbearer_client_secret: SecretStr = Field(SecretStr(""), description="OAUTHBEARER: its secret.")
    kafka_sasl_oauthbearer_scope: str = Field("", description="OAUTHBEARER: scope of the token, if one is needed.")
    kafka_sasl_oauthbearer_extensions: str = Field(
        "", description="OAUTHBEARER: key=value, comma-separated, such as logicalCluster=lkc-…,identityPoolId=pool-…"
    )
    kafka_https_ca_location: str = Field(
        "", description="OAUTHBEARER: CA certificates (PEM) of the token endpoint; empty: those of the system."
    )
    kafka_ssl_ca_location: str = Field(
        "", description="File of CA certificates (PEM) that sign the brokers'; empty: those of the system."
    )
    kafka_ssl_certificate_location: str = Field("", description="File of the client's certificate (PEM), if asked for.")
    kafka_ssl_key_location: str = Field("", description="File of its private key (PEM).")
    kafka_ssl_key_password: SecretStr = Field(SecretStr(""), description="Password of that key, if it has one.")
    kafka_ssl_endpoint_identification_algorithm: Literal["https", "none"] = Field(
        "https", description="https: a broker's certificate has to name its host; none: it need not."
    )
    redis_username: str = Field("", description="ACL user of Redis, if REDIS_URL names none; empty: default.")
    redis_password: SecretStr = Field(SecretStr(""), description="Its password, if REDIS_URL has none.")
    redis_ssl_ca_location: str = Field(
        "", description="With rediss://: file of CA certificates (PEM); empty: those of the system."
    )
    redis_ssl_certificate_location: str = Field("", description="File of the client's certificate (PEM), if asked for.")
    redis_ssl_key_location: str = Field("", description="File of its private key (PEM).")
    clickhouse_user: str = Field("", description="User of ClickHouse, if CLICKHOUSE_URL names none; empty: default.")
    clickhouse_password: SecretStr = Field(SecretStr(""), description="Its password, if CLICKHOUSE_URL has none.")
    clickhouse_analyst_user: str = Field("analyst", description="User that `throughline mcp` asks as.")
    clickhouse_analyst_password: SecretStr = Field(SecretStr(""), description="Its password.")
    clickhouse_ssl_ca_location: str = Field(
        "", description="With https://: file of CA certificates (PEM); empty: those of the system."
    )

    # Names, so that several deployments can share servers
    topic_prefix: str = Field("", description="Prefix of every topic and consumer group.")
    redis_namespace: str = Field("throughline", description="Hash tag of every Redis key: {namespace}:…")
    clickhouse_database: str = Field("throughline", description="The ClickHouse database.")

    # How long ClickHouse keeps what
    keep_payloads_days: int = Field(
        0, ge=0, le=36_500, description="Days that identifiers, traits and payloads of events are kept; 0: for ever."
    )
    keep_events_days: int = Field(0, ge=0, le=36_500, description="Days that events are kept; 0: for ever.")
    keep_reports_days: int = Field(
        0, ge=0, le=36_500, description="Days that orders, messages, decisions and credits are kept; 0: for ever."
    )

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
    sender_secrets: SecretStr = Field(
        SecretStr(""),
        description="Secrets of the providers of `delivery.yaml`, provider=secret, comma-separated; forms: there.",
    )
    link_secret: SecretStr = Field(
        SecretStr(""),
        description="Keys that sign the links of messages, comma-separated: the first signs, all count; empty, or the"
        " word `derived`: one derived from the identity secret.",
    )
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
    destination_secrets: SecretStr = Field(SecretStr(""), description="Secrets of destinations: name=secret, …")

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

    # The console
    console_url: str = Field("http://127.0.0.1:8090", description="Where the console listens.")
    console_public_url: str = Field(
        "",
        description="Address of the console as browsers call it, behind a proxy with TLS; empty: that it listens at.",
    )
    sync_databases: SecretStr = Field(
        SecretStr(""), description="Databases of `throughline sync`, name=URL of SQLAlchemy, separated by spaces."
    )
    console_file: Path = Field(DEFINITIONS / "console.yaml", description="Who may do what in the console.")
    console_tokens: SecretStr = Field(
        SecretStr(""), description="Tokens by which people sign in to the console, name=token, comma-separated."
    )
    console_oidc_issuer: str = Field(
        "", description="Identity provider of the console (OpenID Connect), as its tokens name it; empty: none."
    )
    console_oidc_client_id: str = Field("", description="The console's name at the identity provider.")
    console_oidc_client_secret: SecretStr = Field(
        SecretStr(""), description="The console's secret at the identity provider; empty: a public client."
    )
    console_proxy_header: str = Field(
        "", description="Header in which a proxy names the user whom it has signed in, such as X-Forwarded-User."
    )
    console_proxy_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Networks of that proxy, comma-separated: from no other address the header counts."
    )
    console_secret: SecretStr = Field(
        SecretStr(""),
        description="Key of the console's sessions, the same for all consoles of a deployment; empty: a random one, so"
        " that sessions end with the process.",
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
    anonymous_retention_days: RetentionDays = Field(395, description="Days until anonymous people expire; 0: never.")
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
    log_format: Literal["text", "json"] = Field(
        "text", description="text: lines for a terminal; json: an object a line, for a log store."
    )
    crash_at: str = Field(
        "", description="For fault tests: stage:point:n ends the process at the n-th pass of that failpoint."
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_readable(cls, value: object) -> object:
        if isinstance(value, _Unreadable):
            raise ValueError(value)
        return value

    @field_validator("kafka_security_protocol", "kafka_sasl_mechanism", mode="before")
    @classmethod
    def _in_capitals(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator(*_LOCATIONS)
    @classmethod
    def _is_file(cls, value: str) -> str:
        if value and not os.access(value, os.R_OK):
            raise ValueError(f"{value} cannot be read")
        return value

    @field_validator("kafka_bootstrap")
    @classmethod
    def _are_brokers(cls, value: str) -> str:
        if "://" in value:
            raise ValueError("write host:port; THROUGHLINE_KAFKA_SECURITY_PROTOCOL says whether with TLS")
        return value

    @model_validator(mode="after")
    def _has_what_kafka_needs(self) -> Self:
        protocol, mechanism = self.kafka_security_protocol, self.kafka_sasl_mechanism
        needed: tuple[str, ...] = ()
        if protocol.startswith("SASL"):
            needed = ("kafka_sasl_mechanism",)
            if mechanism == "OAUTHBEARER":
                needed = tuple(
                    f"kafka_sasl_oauthbearer_{name}" for name in ("token_endpoint_url", "client_id", "client_secret")
                )
            elif mechanism:
                needed = ("kafka_sasl_username", "kafka_sasl_password")
        elif mechanism or self.kafka_sasl_username:
            raise ValueError(
                f"THROUGHLINE_KAFKA_SECURITY_PROTOCOL is {protocol}, which has no users: set SASL_SSL (or"
                " SASL_PLAINTEXT), or leave THROUGHLINE_KAFKA_SASL_MECHANISM and _USERNAME empty"
            )
        if missing := [name for name in needed if not _text(getattr(self, name))]:
            named = " and ".join(f"THROUGHLINE_{name.upper()}" for name in missing)
            raise ValueError(f"THROUGHLINE_KAFKA_SECURITY_PROTOCOL={protocol} needs {named}")
        return self

    @model_validator(mode="after")
    def _has_one_password_each(self) -> Self:
        for url, user, password in (
            ("redis_url", "redis_username", "redis_password"),
            ("clickhouse_url", "clickhouse_user", "clickhouse_password"),
        ):
            parts = redis_address(self.redis_url) if url == "redis_url" else urlsplit(self.clickhouse_url)
            for name, in_url in ((user, parts.username), (password, parts.password)):
                if in_url and _text(getattr(self, name)):
                    raise ValueError(f"THROUGHLINE_{url.upper()} has one too: leave THROUGHLINE_{name.upper()} empty")
        return self

    @field_validator("channels", "webhook_hosts", "webhook_networks", "console_proxy_networks", mode="before")
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

    _listens = field_validator("collector_url", "console_url")(listening_url)
    _is_public = field_validator("collector_public_url", "console_public_url")(public_url)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, files of secrets, the environment, the running local stack, defaults."""
        return init_settings, _SecretFiles(settings_cls), env_settings, _StackFile(settings_cls)


def secret_settings() -> list[str]:
    """List the settings that are secret or may hold a password: each is also read from a file, by `…_FILE`."""
    fields = Settings.model_fields.items()
    return [name for name, field in fields if field.annotation is SecretStr or name in _URLS_WITH_PASSWORDS]


def _text(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def setting_errors(error: ValidationError) -> str:
    """Say which settings are wrong and what they mean, a line for each; without their values, which may be secrets."""
    lines = []
    for one in error.errors(include_input=False, include_url=False):
        if not one["loc"]:  # of several settings, which the message names
            lines.append(one["msg"].removeprefix("Value error, "))
            continue
        name = str(one["loc"][0])
        meaning = Settings.model_fields[name].description if name in Settings.model_fields else ""
        lines.append(f"THROUGHLINE_{name.upper()}: {one['msg'].removeprefix('Value error, ')} ({meaning})")
    return "\n".join(lines)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process, read once."""
    return Settings()
