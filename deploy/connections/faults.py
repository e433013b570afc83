"""Says in one sentence why a store cannot be used, and which setting mends it: TLS, user, password, rights."""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from deploy.settings import Settings

_PROBE_S = 3.0


class _Words(NamedTuple):
    """What a store and its settings are called.

    Attributes:
        name: The store's name.
        address: Setting of its address.
        user: Settings of user and password.
        ca: Setting of the file of CA certificates.
        with_tls, without_tls: What to set where the server speaks TLS, and where it does not.
    """

    name: str
    address: str
    user: str
    ca: str
    with_tls: str
    without_tls: str


_PREFIX = "THROUGHLINE_"
_WORDS: dict[str, _Words] = {
    "kafka": _Words(
        "Kafka",
        f"{_PREFIX}KAFKA_BOOTSTRAP",
        f"{_PREFIX}KAFKA_SASL_USERNAME and {_PREFIX}KAFKA_SASL_PASSWORD",
        f"{_PREFIX}KAFKA_SSL_CA_LOCATION",
        f"{_PREFIX}KAFKA_SECURITY_PROTOCOL=SASL_SSL (or SSL)",
        f"{_PREFIX}KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT (or PLAINTEXT)",
    ),
    "redis": _Words(
        "Redis",
        f"{_PREFIX}REDIS_URL",
        f"{_PREFIX}REDIS_USERNAME and {_PREFIX}REDIS_PASSWORD",
        f"{_PREFIX}REDIS_SSL_CA_LOCATION",
        f"{_PREFIX}REDIS_URL=rediss://…",
        f"{_PREFIX}REDIS_URL=redis://…",
    ),
    "clickhouse": _Words(
        "ClickHouse",
        f"{_PREFIX}CLICKHOUSE_URL",
        f"{_PREFIX}CLICKHOUSE_USER and {_PREFIX}CLICKHOUSE_PASSWORD",
        f"{_PREFIX}CLICKHOUSE_SSL_CA_LOCATION",
        f"{_PREFIX}CLICKHOUSE_URL=https://…",
        f"{_PREFIX}CLICKHOUSE_URL=http://…",
    ),
}
_RIGHTS = "`throughline permissions --role ROLE` prints the rights that a role needs"
_REDIS_DENIES = re.compile(r"no permissions to|NOPERM|ACL failure", re.IGNORECASE)
# In the words of OpenSSL, librdkafka, aiokafka, redis-py, Valkey and ClickHouse; the first that fits counts.
_FAULTS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), sentence)
    for pattern, sentence in (
        (
            r"certificate has expired",
            "{name}'s certificate has expired: renew it on the server",
        ),
        (
            r"hostname mismatch|address mismatch|doesn't match",
            "{name}'s certificate is for another host: write a host that it names into {address}",
        ),
        (
            r"self.signed certificate|local issuer certificate",
            "{name}'s certificate is signed by an authority that is not known here: name the file of its certificate"
            " (PEM) in {ca}",
        ),
        (
            r"certificate.verify.failed",
            "{name}'s certificate cannot be verified: it has expired, is for another host, or is signed by an authority"
            " that is not in the file of {ca}",
        ),
        (
            r"certificate required|bad certificate|handshake failure",
            "{name} refuses this client's certificate, or asks for one: see {ca} and the settings beside it",
        ),
        (
            r"ssl\.(?:ca|certificate|key)\.location failed|No such file or directory|No certificate or crl found",
            "a file of certificates cannot be read: see {ca} and the settings beside it",
        ),
        (
            r"wrong.version.number|connecting to a PLAINTEXT|record layer failure",
            "{name} answers without TLS at this address: set {without_tls}, or the address that has TLS in {address}",
        ),
        (
            r"connecting to a SSL|needs TLS",
            "{name} does not answer without TLS at this address: set {with_tls}",
        ),
        (
            r"token endpoint|OIDC|token retrieval",
            f"no token for {{name}}: see {_PREFIX}KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL, …_CLIENT_ID and"
            " …_CLIENT_SECRET",
        ),
        (
            r"unsupported.*mechanism|mechanism.*(?:not enabled|not supported|unsupported)",
            f"{{name}} does not take this mechanism: see {_PREFIX}KAFKA_SASL_MECHANISM",
        ),
        (
            r"invalid credentials|SASL authentication|Authentication ?failed|invalid username-password"
            r"|AUTHENTICATION_FAILED|NOAUTH|Authentication required",
            "{name} refuses the user or the password: set {user} (or …_FILE)",
        ),
        (
            r"necessary to have the grant (?P<what>.+?)(?:\. \(|$)",
            "{name} denies this user a right, {what}: " + _RIGHTS,
        ),
        (
            r"(?P<what>Topic|Group|Cluster) ?authorization ?failed|(?P<what2>topic|group|cluster)_authorization_failed",
            "{name} denies this user a right on a {what}: " + _RIGHTS,
        ),
        (
            r"no permissions to (?P<what>run the '[^']+' command|access [^.]*)|NOPERM|ACCESS_DENIED",
            "{name} denies this user a right ({what}): " + _RIGHTS,
        ),
    )
)  # fmt: skip


def explain(store: str, error: BaseException | str | None) -> str:
    """Say why a store cannot be used, and which setting mends it.

    Args:
        store: kafka, redis or clickhouse; of any other there is nothing to say.
        error: What a client of it raised, or its text.

    Returns:
        One sentence without a full stop and without a secret; empty: the error is not about TLS, users or rights.
    """
    text, words = str(error), _WORDS.get(store)
    if words is None:
        return ""
    for pattern, sentence in _FAULTS:
        if found := pattern.search(text):
            groups = [group for group in found.groupdict().values() if group]
            what = groups[0] if groups else "see the server's log"
            return sentence.format(**words._asdict(), what=what if " " in what else what.lower())
    return ""


def kafka_reason(settings: Settings, error: Any) -> str:
    """Say why Kafka cannot be used: from the error, else by asking again, since its first error seldom says.

    Args:
        settings: Of the deployment.
        error: A `KafkaException`, or its text.

    Returns:
        A sentence that names a setting, else the text of the error.
    """
    text = error if isinstance(error, str) else error.args[0].str()
    found = explain("kafka", text)
    if not found and _listens(settings):
        found = explain("kafka", probe_kafka(settings))
    return found or text


def is_denied(error: BaseException) -> bool:
    """Return whether an error of Redis is a right that the user lacks; an operator may grant it while one waits."""
    return bool(_REDIS_DENIES.search(str(error)))


def probe_kafka(settings: Settings) -> str:
    """Ask Kafka for its topics and return what goes wrong, in the words of a library; empty: nothing."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from deploy.connections.kafka import kafka_connection, tls_context

    said: list[str] = []
    try:
        admin = AdminClient({**kafka_connection(settings), "error_cb": lambda one: said.append(one.str())})
        admin.list_topics(timeout=_PROBE_S)
    except KafkaException as error:
        said.append(error.args[0].str())
        with suppress(NameError):
            admin.poll(0.1)
    else:
        return ""
    try:
        context = tls_context(settings)
    except OSError as error:
        return f"ssl.ca.location failed: {error}"
    for address in settings.kafka_bootstrap.split(","):  # librdkafka does not say why it rejects a certificate
        if reason := _handshake(address.strip(), settings, context):
            said.insert(0, reason)
    return "; ".join(said)


def _listens(settings: Settings) -> bool:
    """Return whether anybody listens at one of the addresses."""
    for address in settings.kafka_bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        with suppress(OSError, ValueError), socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_S):
            return True
    return False


def _handshake(address: str, settings: Settings, context: ssl.SSLContext) -> str:
    """Return what is wrong with TLS at an address; empty: nothing, or nobody answers there."""
    host, _, port = address.rpartition(":")
    has_tls = settings.kafka_security_protocol.endswith("SSL")
    if not has_tls:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_S) as connection,
            context.wrap_socket(connection, server_hostname=host.strip("[]")),
        ):
            return "" if has_tls else "needs TLS"
    except ssl.SSLError as error:
        return str(error) if has_tls else ""
    except (OSError, ValueError):
        return ""
