"""Prepares the servers of a deployment: creates the Kafka topics and brings the ClickHouse database up to date."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.kafka import kafka_connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.settings import Settings
    from schemas.markets import MarketDefinitions

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 10.0
"""How long Kafka may take to answer."""
_PAUSE_S = 5.0


def apply_topics(settings: Settings) -> dict[str, str]:
    """Create the topics that are missing.

    Returns:
        `created` or `exists` for each topic's full name.

    Raises:
        KafkaUnreachableError: The broker does not answer, or refuses; the message says why.
    """
    from confluent_kafka import KafkaException

    from deploy.operations.lag import kafka_unreachable
    from schemas.topics import topics
    from sinks.kafka.producer import create_topics

    try:
        return create_topics(
            kafka_connection(settings),
            topics(settings.channels),
            prefix=settings.topic_prefix,
            partitions=settings.partitions,
            replicas=settings.replication_factor,
            timeout_s=LONGEST_WAIT_S,
        )
    except KafkaException as error:
        raise kafka_unreachable(settings, error) from error


def migrate(settings: Settings, advise: Callable[[str], object] = lambda _: None) -> list[str]:
    """Apply the missing migrations, and write what views read and how long data is kept.

    Views read settings, markets, channels and the tracking plan.

    Rules of segments and channels of the message policy are those in force, if Redis knows of published ones: the views
    are to agree with the workers.

    Args:
        settings: The deployment's.
        advise: Called with a text if the views cannot be opened to analysts, or what is kept for how long is not set
            since it would remove something; all else is done then.

    Returns:
        The migrations applied now, by file name; empty when there was nothing to do.
    """
    import asyncio

    from deploy.operations.definition_files import load_markets, touch_rules
    from deploy.operations.definitions_report import settings_or_folder
    from deploy.operations.engines import load_segments
    from deploy.operations.kept_history import set_harmless_retention
    from deploy.operations.plans import load_plan, plan_files, plan_rows
    from processors.identity.countries import country_names
    from schemas.events.touchpoint import EVENT_NAMES
    from sinks.clickhouse.access import define_views
    from sinks.clickhouse.catalogue import publish_plan
    from sinks.clickhouse.channels import publish_channels
    from sinks.clickhouse.markets import publish_markets
    from sinks.clickhouse.migrate import migrate as run
    from sinks.clickhouse.reports import publish_settings
    from sinks.clickhouse.rfm import publish_rfm
    from sinks.clickhouse.spend import publish_currency

    client = clickhouse_client(settings, None)
    try:
        applied = [migration.name for migration in run(client, settings.clickhouse_database)]
        if advice := define_views(client, settings.clickhouse_database):
            advise(advice)
        client.database = settings.clickhouse_database
        rules = touch_rules(settings).definitions
        publish_settings(
            client,
            goal=rules.goals[0].name,
            direct_channels=rules.direct_channels,
            margin=rules.margin,
            timezone=settings.timezone,
            milestone=rules.milestone,
            visit_pause_minutes=rules.visit_pause_minutes,
        )
        publish_currency(client, settings.currency)
        in_force = asyncio.run(settings_or_folder(settings))
        publish_rfm(client, load_segments(in_force).rfm)
        publish_markets(client, market_rows(load_markets(in_force), settings.timezone), country_names())
        publish_channels(client, _own_channels(in_force))
        publish_plan(client, plan_rows(load_plan(plan_files(settings))), sorted(EVENT_NAMES))
        if advice := set_harmless_retention(settings, client):
            advise(advice)
        return applied
    finally:
        client.close()


def wait_for_schema(settings: Settings) -> None:
    """Return when workers of this release can write to ClickHouse; one that does not answer is waited for.

    Raises:
        SchemaMismatchError: Its tables are older than this release, or too new for it.
    """
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from sinks.clickhouse.client import StoreDown
    from sinks.clickhouse.migrate import check_schema

    while True:
        try:
            client = clickhouse_client(settings, None)
            try:
                return check_schema(client, settings.clickhouse_database)
            finally:
                client.close()
        except (StoreDown, ClickHouseError) as error:
            log.warning("waiting for ClickHouse, to know whether its tables are those of this release: %s", error)
            time.sleep(_PAUSE_S)


def market_rows(markets: MarketDefinitions, timezone: str) -> list[dict[str, Any]]:
    """Return the rows of the table of markets in ClickHouse; `timezone` is that of markets that name none."""
    return [
        {
            "market": name,
            "is_default": int(name == markets.default),
            "countries": list(market.countries),
            "currency": market.currency or "",
            "timezone": market.time_zone or timezone,
            "languages": list(market.languages),
            "default_region": market.default_region or "",
            "stores": market.stores,
        }
        for name, market in markets.markets.items()
    ]


def _own_channels(settings: Settings) -> list[tuple[str, list[str], int]]:
    """Return the channels that the message policy alone knows: name, address types, days until an address is stale."""
    from deploy.operations.definition_files import load
    from schemas.channels import ADDRESS_TYPES_OF
    from schemas.decisions.policy import MessagePolicy
    from schemas.durations import DAY_MS

    policy = load(settings.policy_file, MessagePolicy)
    fresh_ms = {name: rule.fresh_for or 365 * DAY_MS for name, rule in policy.channels.items()}
    return [
        (name, list(types), min(max(1, fresh_ms[name] // DAY_MS), 65_535))
        for name, types in policy.address_types.items()
        if name not in ADDRESS_TYPES_OF
    ]
