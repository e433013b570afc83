"""What the clients' libraries say of TLS, users and rights becomes one sentence that names a setting."""

from __future__ import annotations

import pytest

from deploy.connections.faults import explain


@pytest.mark.parametrize(
    ("store", "text", "expected"),
    [
        pytest.param(
            "kafka",
            "sasl_ssl://b-1:9096/bootstrap: SASL authentication error: Authentication failed during authentication due"
            " to invalid credentials with SASL mechanism SCRAM-SHA-512 (after 349ms in state AUTH_REQ)",
            "Kafka refuses the user or the password: set THROUGHLINE_KAFKA_SASL_USERNAME and"
            " THROUGHLINE_KAFKA_SASL_PASSWORD (or …_FILE)",
            id="librdkafka: password",
        ),
        pytest.param(
            "kafka",
            "ssl://b-1:9094/bootstrap: error:0A000086:SSL routines::certificate verify failed (after 5ms in state SSL)",
            "Kafka's certificate cannot be verified: it has expired, is for another host, or is signed by an authority"
            " that is not in the file of THROUGHLINE_KAFKA_SSL_CA_LOCATION",
            id="librdkafka: certificate",
        ),
        pytest.param(
            "kafka",
            '2 of 2 records not confirmed: KafkaError{code=TOPIC_AUTHORIZATION_FAILED,val=29,str="…"}',
            "Kafka denies this user a right on a topic: `throughline permissions --role ROLE` prints the rights that a"
            " role needs",
            id="librdkafka: right",
        ),
        pytest.param(
            "redis",
            "Error 1 connecting to cache:6380. [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname"
            " mismatch, certificate is not valid for 'cache'. (_ssl.c:1006).",
            "Redis's certificate is for another host: write a host that it names into THROUGHLINE_REDIS_URL",
            id="redis-py: host",
        ),
        pytest.param(
            "redis",
            "invalid username-password pair or user is disabled.",
            "Redis refuses the user or the password: set THROUGHLINE_REDIS_USERNAME and THROUGHLINE_REDIS_PASSWORD"
            " (or …_FILE)",
            id="redis-py: password",
        ),
        pytest.param(
            "redis",
            "ACL failure in script: User identify has no permissions to run the 'time' command script: on @user:12.",
            "Redis denies this user a right (run the 'time' command): `throughline permissions --role ROLE` prints the"
            " rights that a role needs",
            id="a script",
        ),
        pytest.param(
            "clickhouse",
            "Code: 497. DB::Exception: record: Not enough privileges. To execute this query, it's necessary to have the"
            " grant INSERT(event_id) ON shop.touchpoints. (ACCESS_DENIED) (version 26.9.2.1)",
            "ClickHouse denies this user a right, INSERT(event_id) ON shop.touchpoints: `throughline permissions --role"
            " ROLE` prints the rights that a role needs",
            id="grant",
        ),
        pytest.param(
            "clickhouse",
            "Cannot connect to host ch:8443 ssl:default [[SSL: WRONG_VERSION_NUMBER] wrong version number]",
            "ClickHouse answers without TLS at this address: set THROUGHLINE_CLICKHOUSE_URL=http://…, or the address"
            " that has TLS in THROUGHLINE_CLICKHOUSE_URL",
            id="no TLS there",
        ),
        pytest.param("kafka", "Local: Broker transport failure", "", id="down"),
        pytest.param("redis", "Error 111 connecting to 127.0.0.1:1. Connection refused.", "", id="refused"),
        pytest.param("clickhouse", "Code: 60. DB::Exception: Unknown table. (UNKNOWN_TABLE)", "", id="another fault"),
        pytest.param("channels", "certificate has expired", "", id="no store of ours"),
    ],
)
def test_a_fault_is_explained(store: str, text: str, expected: str) -> None:
    assert expected == explain(store, text)
