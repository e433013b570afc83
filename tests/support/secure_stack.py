"""The three servers with TLS, users and no right but those that `throughline permissions` prints."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import redis
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from deploy.local.clickhouse_server import ClickHouse
from deploy.local.kafka import Kafka
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.server import ServerFailedError
from deploy.local.valkey import Valkey
from deploy.operations.permissions import (
    GRANTEES,
    Grantee,
    KafkaPermission,
    clickhouse_grants,
    kafka_permissions,
    redis_rules,
)
from deploy.settings import Settings
from tests.support.certificates import Authority
from tests.support.stack import unavailable
from tests.support.tls_proxy import TlsProxy

CLIENT_SECRET = "client/secret"
_TO_USER = re.compile(r" (?:TO|FROM) `\w+`$")
_MECHANISMS = {
    "scram-sha-256": "scram.ScramLoginModule required;",
    "scram-sha-512": "scram.ScramLoginModule required;",
    "oauthbearer": 'oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";',
}
_OPERATIONS = {"DescribeConfigs": AclOperation.DESCRIBE_CONFIGS, "AlterConfigs": AclOperation.ALTER_CONFIGS}
_RESOURCES = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "cluster": ResourceType.BROKER}


def password(role: str) -> str:
    """The password of a role's user, with signs that URLs and properties have to carry."""
    return f"pass:{role}/#%"


class SecureStack:
    """Kafka with SASL_SSL and ACLs, Valkey and ClickHouse behind TLS with users; each user has the name of its role.

    Attributes:
        authority: What signs the servers' certificates. unknown: Another authority.
        kafka, valkey, clickhouse: The servers.
        ports: Ports with TLS, by store; with `expired_` before it, those whose certificate has expired.
        token_url: The token endpoint: it knows every role, with `CLIENT_SECRET`.
    """

    def __init__(self, folder: Path) -> None:
        self.authority, self.unknown = Authority(folder / "tls", "authority"), Authority(folder / "tls", "unknown")
        self._certificate = self.authority.issue("server")
        self._expired = self.authority.issue("expired", days=-1)
        self.ports: dict[str, int] = {}
        self.token_url = ""
        logs = folder / "logs"
        self.kafka = Kafka("kafka", folder / "kafka", logs / "kafka.log")
        self.valkey = Valkey("valkey", folder / "valkey", logs / "valkey.log")
        self.clickhouse = _ClickHouseWithUsers("clickhouse", folder / "clickhouse", logs / "clickhouse.log")
        self.clickhouse.users = self._clickhouse_users()
        self._add_listeners()

    @contextmanager
    def running(self) -> Iterator[SecureStack]:
        """Start everything and end it."""
        with ExitStack() as stack:
            for server in (self.kafka, self.valkey, self.clickhouse):
                stack.callback(server.stop)
                server.launch()
            for server in (self.valkey, self.clickhouse, self.kafka):
                server.wait_ready(180)  # the machine may be busy
            for name, port in (("redis", self.valkey.port), ("clickhouse", self.clickhouse.port)):
                self.ports[name] = stack.enter_context(TlsProxy(port, self._certificate)).port
                self.ports[f"expired_{name}"] = stack.enter_context(TlsProxy(port, self._expired)).port
            self.token_url = stack.enter_context(_token_endpoint())
            self._add_users()
            yield self

    def settings(self, role: Grantee, **changes: Any) -> Settings:
        """Settings of a role: its own user everywhere."""
        authority = str(self.authority.certificate)
        values: dict[str, Any] = {
            "topic_prefix": "secure-",
            "redis_namespace": "secure",
            "clickhouse_database": "secure",
            "partitions": 2,
            "kafka_bootstrap": f"{LOOPBACK}:{self.ports.get('kafka', 0)}",
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": "SCRAM-SHA-512",
            "kafka_sasl_username": role,
            "kafka_sasl_password": password(role),
            "kafka_ssl_ca_location": authority,
            "redis_url": f"rediss://{LOOPBACK}:{self.ports.get('redis', 0)}/0",
            "redis_username": role,
            "redis_password": password(role),
            "redis_ssl_ca_location": authority,
            "clickhouse_url": f"https://{LOOPBACK}:{self.ports.get('clickhouse', 0)}",
            "clickhouse_user": role,
            "clickhouse_password": password(role),
            "clickhouse_ssl_ca_location": authority,
            "session_timeout_s": 6,
            "identity_secret": "secret of the secure stack",
            "metrics_address": "",
        }
        return Settings(**values | changes)

    def acl(self, permission: KafkaPermission, role: str, *, allowed: bool) -> None:
        """Add an ACL of Kafka, or remove it."""
        admin, binding = self._kafka_admin(), _binding(permission, role)
        if allowed:
            admin.create_acls([binding])[binding].result(10)
        else:
            pattern = _binding(permission, role, kind="filter")
            admin.delete_acls([pattern])[pattern].result(10)

    @contextmanager
    def redis_with_client_certificates(self) -> Iterator[tuple[str, Path]]:
        """Serve Valkey to clients with a certificate alone; yields the URL, and key and certificate of a client."""
        with TlsProxy(self.valkey.port, self._certificate, self.authority.certificate) as proxy:
            yield f"rediss://{LOOPBACK}:{proxy.port}/0", self.authority.issue("client")

    def valkey_admin(self) -> Any:
        """A client of Valkey with all rights."""
        return redis.Redis.from_url(self.valkey.address)

    def _kafka_admin(self) -> Any:
        return AdminClient({"bootstrap.servers": self.kafka.address, "log_level": 0})

    def _add_listeners(self) -> None:
        taken = [self.kafka.port, self.kafka.controller_port]
        for name in ("kafka", "expired_kafka"):
            self.ports[name] = free_port(taken=taken)
            taken.append(self.ports[name])
        secure, expired = self.ports["kafka"], self.ports["expired_kafka"]
        inside, controller = self.kafka.address, f"{LOOPBACK}:{self.kafka.controller_port}"
        outside = f"SECURE://{LOOPBACK}:{secure},EXPIRED://{LOOPBACK}:{expired}"
        self.kafka.properties |= {
            "listeners": f"PLAINTEXT://{inside},{outside},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{inside},{outside}",
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,EXPIRED:SASL_SSL"
            ),
            "inter.broker.listener.name": "PLAINTEXT",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",  # the broker itself, and these tests
            "sasl.enabled.mechanisms": "PLAIN," + ",".join(_MECHANISMS).upper(),
        }
        users = " ".join(f'user_{role}="{password(role)}"' for role in GRANTEES)
        plain = f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
        for name, certificate in (("secure", self._certificate), ("expired", self._expired)):
            at = f"listener.name.{name}"
            self.kafka.properties |= {
                f"{at}.ssl.keystore.type": "PEM",
                f"{at}.ssl.keystore.location": str(certificate),
                f"{at}.plain.sasl.jaas.config": plain,
                **{
                    f"{at}.{mechanism}.sasl.jaas.config": f"org.apache.kafka.common.security.{module}"
                    for mechanism, module in _MECHANISMS.items()
                },
            }

    def _clickhouse_users(self) -> str:
        users = []
        for role in GRANTEES:
            grants = clickhouse_grants(role, self.settings(role), role)
            queries = "".join(f"<query>{_TO_USER.sub('', one)}</query>" for one in grants)
            users.append(
                f"<{role}><password>{password(role)}</password><networks><ip>{LOOPBACK}</ip></networks>"
                f"<profile>default</profile><quota>default</quota><grants>{queries}</grants></{role}>"
            )
        return "".join(users)

    def _add_users(self) -> None:
        admin = self._kafka_admin()
        mechanisms = ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512
        for mechanism in mechanisms:  # one call alters a user once
            info = ScramCredentialInfo(mechanism, 4096)
            changes = [UserScramCredentialUpsertion(role, info, password(role).encode()) for role in GRANTEES]
            for future in admin.alter_user_scram_credentials(changes).values():
                future.result(10)
        bindings = [_binding(one, role) for role in GRANTEES for one in kafka_permissions(role, self.settings(role))]
        for future in admin.create_acls(bindings).values():
            future.result(10)
        with self.valkey_admin() as client:
            for role in GRANTEES:
                if rules := redis_rules(role, self.settings(role)):
                    client.execute_command("ACL", "SETUSER", role, "reset", "on", f">{password(role)}", *rules)


class _ClickHouseWithUsers(ClickHouse):
    users = ""

    def prepare(self) -> None:
        super().prepare()
        path = self.data / "users.xml"
        # Instead of the local stack's analyst, who has the rights of another database.
        text = re.sub(r"<analyst>\s*<no_password/>.*?</analyst>", "", path.read_text("utf-8"), flags=re.DOTALL)
        path.write_text(text.replace("</users>", f"{self.users}</users>"), "utf-8")


def _binding(permission: KafkaPermission, role: str, kind: str = "binding") -> Any:
    from confluent_kafka.admin import AclBindingFilter

    operation = _OPERATIONS.get(permission.operation) or AclOperation[permission.operation.upper()]
    pattern = ResourcePatternType.PREFIXED if permission.prefixed else ResourcePatternType.LITERAL
    of = AclBindingFilter if kind == "filter" else AclBinding
    resource = _RESOURCES[permission.resource]
    return of(resource, permission.name, pattern, f"User:{role}", "*", operation, AclPermissionType.ALLOW)


@contextmanager
def _token_endpoint() -> Iterator[str]:
    """Serve tokens, without a signature, as the broker takes them by default, to whoever knows `CLIENT_SECRET`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            kind, _, pair = self.headers.get("Authorization", "").partition(" ")
            client, _, secret = base64.b64decode(pair).decode().partition(":")
            known = kind == "Basic" and secret == CLIENT_SECRET
            token = _token(client) if known else ""
            body = json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 300}).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}/token"
    finally:
        server.shutdown()
        server.server_close()


def _token(subject: str) -> str:
    now = int(time.time())
    claims = {"sub": subject, "iat": now, "exp": now + 300}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "none"}, claims)]
    return b".".join([*parts, b""]).decode()


@contextmanager
def secure_stack(folder: Path) -> Iterator[SecureStack]:
    """Run the secure servers in a folder; without them there is no test."""
    try:
        with SecureStack(folder).running() as stack:
            yield stack
    except ServerFailedError as error:
        unavailable(str(error))
