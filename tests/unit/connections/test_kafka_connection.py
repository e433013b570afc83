"""Settings of TLS and SASL reach both Kafka libraries, in librdkafka's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from pydantic import ValidationError

from deploy.connections.kafka import faust_credentials, kafka_connection
from deploy.settings import Settings, setting_errors

PASSWORD = "correct horse"
USER: dict[str, Any] = {"kafka_sasl_username": "record", "kafka_sasl_password": PASSWORD}
TOKENS: dict[str, Any] = {
    "kafka_sasl_mechanism": "OAUTHBEARER",
    "kafka_sasl_oauthbearer_token_endpoint_url": "https://idp.example/token",
    "kafka_sasl_oauthbearer_client_id": "record",
    "kafka_sasl_oauthbearer_client_secret": PASSWORD,
    "kafka_sasl_oauthbearer_extensions": "logicalCluster=lkc-1,identityPoolId=pool-1",
}


@pytest.mark.parametrize(
    ("values", "protocol", "mechanism"),
    [
        pytest.param({}, "PLAINTEXT", None, id="neither"),
        pytest.param({"kafka_security_protocol": "ssl"}, "SSL", None, id="TLS alone"),
        pytest.param(
            {**USER, "kafka_security_protocol": "sasl_ssl", "kafka_sasl_mechanism": "plain"},
            "SASL_SSL",
            "PLAIN",
            id="TLS and a password",
        ),
        pytest.param(
            {**USER, "kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_mechanism": "SCRAM-SHA-256"},
            "SASL_PLAINTEXT",
            "SCRAM-SHA-256",
            id="SCRAM alone",
        ),
        pytest.param(
            {**USER, "kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "SCRAM-SHA-512"},
            "SASL_SSL",
            "SCRAM-SHA-512",
            id="TLS and SCRAM",
        ),
        pytest.param({**TOKENS, "kafka_security_protocol": "sasl_ssl"}, "SASL_SSL", "OAUTHBEARER", id="tokens"),
    ],
)
def test_both_libraries_get_protocol_mechanism_and_user(
    values: dict[str, Any], protocol: str, mechanism: str | None
) -> None:
    settings = Settings(**values)
    ours, theirs = kafka_connection(settings), credentials_to_aiokafka_auth(faust_credentials(settings))

    assert (protocol, mechanism) == (ours["security.protocol"], ours.get("sasl.mechanism"))
    assert (protocol, mechanism) == (theirs["security_protocol"], theirs.get("sasl_mechanism"))
    assert ours.get("sasl.username") == theirs.get("sasl_plain_username")
    assert ours.get("sasl.password") == theirs.get("sasl_plain_password")
    assert protocol.endswith("SSL") == (theirs.get("ssl_context") is not None)
    Producer(ours)  # librdkafka knows every name and takes every value


def test_tokens_have_the_extensions_of_the_settings() -> None:
    settings = Settings(**TOKENS, kafka_security_protocol="SASL_SSL")
    provider = credentials_to_aiokafka_auth(faust_credentials(settings))["sasl_oauth_token_provider"]

    assert {"logicalCluster": "lkc-1", "identityPoolId": "pool-1"} == provider.extensions()


@pytest.mark.parametrize(("algorithm", "checked"), [("https", True), ("none", False)])
def test_a_certificate_has_to_name_its_host_unless_the_settings_say_no(algorithm: Any, checked: bool) -> None:
    settings = Settings(kafka_security_protocol="SSL", kafka_ssl_endpoint_identification_algorithm=algorithm)

    assert algorithm == kafka_connection(settings)["ssl.endpoint.identification.algorithm"]
    assert checked is credentials_to_aiokafka_auth(faust_credentials(settings))["ssl_context"].check_hostname


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param(
            {"kafka_security_protocol": "SASL_SSL"},
            "THROUGHLINE_KAFKA_SECURITY_PROTOCOL=SASL_SSL needs THROUGHLINE_KAFKA_SASL_MECHANISM",
            id="no mechanism",
        ),
        pytest.param(
            {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "PLAIN", "kafka_sasl_username": "a"},
            "THROUGHLINE_KAFKA_SECURITY_PROTOCOL=SASL_SSL needs THROUGHLINE_KAFKA_SASL_PASSWORD",
            id="no password",
        ),
        pytest.param({**USER, "kafka_sasl_mechanism": "PLAIN"}, "is PLAINTEXT, which has no users", id="no protocol"),
        pytest.param(
            {"redis_ssl_ca_location": "/nowhere/ca.pem"},
            "THROUGHLINE_REDIS_SSL_CA_LOCATION: /nowhere/ca.pem cannot be read",
            id="no file",
        ),
        pytest.param({"kafka_bootstrap": "ssl://b-1:9094"}, "KAFKA_SECURITY_PROTOCOL says whether", id="a URL"),
        pytest.param(
            {"redis_url": "redis://:other@cache:6379/0", "redis_password": PASSWORD},
            "THROUGHLINE_REDIS_URL has one too: leave THROUGHLINE_REDIS_PASSWORD empty",
            id="two passwords",
        ),
    ],
)
def test_what_is_missing_is_named_and_no_password_is_shown(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**values)

    assert said in setting_errors(refused.value)
    assert PASSWORD not in setting_errors(refused.value)


class TestSecretsInFiles:
    """`THROUGHLINE_…_FILE` names a file that holds a secret."""

    def test_its_last_line_break_does_not_count(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "secret").write_text(f"{PASSWORD}\n", "utf-8")
        for name in ("IDENTITY_SECRET", "REDIS_PASSWORD", "SMTP_URL"):
            monkeypatch.setenv(f"THROUGHLINE_{name}_FILE", str(tmp_path / "secret"))
            monkeypatch.setenv(f"THROUGHLINE_{name}", "")  # as Compose sets what is empty
        found = Settings()
        secrets = (found.identity_secret, found.redis_password, found.smtp_url)

        assert [PASSWORD] * 3 == [secret.get_secret_value() for secret in secrets]

    def test_a_url_with_a_password_may_be_in_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "url").write_text(f"rediss://worker:{PASSWORD}@cache:6380/0\n", "utf-8")
        monkeypatch.setenv("THROUGHLINE_REDIS_URL_FILE", str(tmp_path / "url"))

        assert f"rediss://worker:{PASSWORD}@cache:6380/0" == Settings().redis_url

    @pytest.mark.parametrize(
        ("variables", "said"),
        [
            pytest.param({"_FILE": "/nowhere/secret"}, "/nowhere/secret cannot be read: No such file", id="no file"),
            pytest.param(
                {"_FILE": "/dev/null", "": PASSWORD}, "set either it or THROUGHLINE_WRITE_KEYS_FILE", id="two"
            ),
        ],
    )
    def test_a_file_that_cannot_count_is_an_error(
        self, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
    ) -> None:
        for ending, value in variables.items():
            monkeypatch.setenv(f"THROUGHLINE_WRITE_KEYS{ending}", value)
        with pytest.raises(ValidationError) as refused:
            Settings()

        assert said in setting_errors(refused.value)
        assert PASSWORD not in setting_errors(refused.value)
