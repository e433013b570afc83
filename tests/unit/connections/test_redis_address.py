"""The address of one server of Redis, and of a cluster."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from deploy.operations.doctor import without_password
from deploy.settings import Settings, setting_errors
from sinks.redis.address import RedisAddress, redis_address
from sinks.redis.cluster import refused_while_moving


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param(
            "redis://127.0.0.1:6380/3", RedisAddress(False, False, (("127.0.0.1", 6380),), "", ""), id="one server"
        ),
        pytest.param(
            "rediss://ann:p%40ss@cache.example",
            RedisAddress(False, True, (("cache.example", 6379),), "ann", "p@ss"),
            id="one server with TLS and a user",
        ),
        pytest.param(
            "redis+cluster://one:7000,two,[::1]:7002",
            RedisAddress(True, False, (("one", 7000), ("two", 6379), ("::1", 7002)), "", ""),
            id="a cluster",
        ),
        pytest.param(
            "rediss+cluster://ann:p%40ss@one:7000,two:7001/0",
            RedisAddress(True, True, (("one", 7000), ("two", 7001)), "ann", "p@ss"),
            id="a cluster with TLS and a user",
        ),
    ],
)
def test_a_url_says(url: str, expected: RedisAddress) -> None:
    assert expected == redis_address(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param("redis+cluster://:secret@", "name at least one node", id="no node"),
        pytest.param("redis+cluster://:secret@one:7000/2", "database 0 alone", id="another database"),
        pytest.param("redis+cluster://:secret@one:port", "host:port", id="no number"),
        pytest.param("redis://user:secret/rest@one:7000", "%2F for /", id="a slash in the password"),
        pytest.param("redis://:secret/rest@one:7000", "%2F for /", id="a slash in the password, no user"),
        pytest.param("redis://one:7000,two:7001", "redis+cluster://", id="a cluster with the scheme of one server"),
        pytest.param("valkey://:secret@one:7000", "redis://host:port", id="another scheme"),
        pytest.param("one:7000", "redis://host:port", id="no scheme"),
    ],
)
def test_what_is_wrong_with_it_is_said_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings(redis_url=url)
    message = setting_errors(raised.value)

    assert (True, True) == ("THROUGHLINE_REDIS_URL" in message, said in message)
    assert "secret" not in message


def test_a_password_is_in_one_setting() -> None:
    with pytest.raises(ValidationError, match="leave THROUGHLINE_REDIS_PASSWORD empty"):
        Settings.model_validate({"redis_url": "redis+cluster://:one@host:7000,host:7001", "redis_password": "two"})


def test_a_password_is_not_shown() -> None:
    assert "redis+cluster://ann:***@one:7000,two:7001" == without_password("redis+cluster://ann:s@one:7000,two:7001")
    assert "redis://:***@one:7000/0" == without_password("redis://:s@one:7000/0")


def test_a_call_of_a_script_names_two_keys_of_its_slot_that_never_exist() -> None:
    call = refused_while_moving(("EVALSHA", "digest", 2, "{shop}:a", "{shop}:b", "argument"))

    assert call == (
        *("EVALSHA", "digest", 4, "{shop}:a", "{shop}:b", "{shop}:moving:1", "{shop}:moving:2", "argument"),
    )  # fmt: skip
