"""The record key of a touchpoint: one for all spellings of its strongest identifier."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from processors.intake.decode import decode
from processors.intake.routing import routing_key
from tests.support.builders import touchpoint

SECRET = b"secret"


def key(identifiers: Any) -> bytes | None:
    return routing_key({"event_id": "e1", "identifiers": identifiers}, SECRET)


@pytest.mark.parametrize(
    "identifiers",
    [
        {"user_id": 7}, {"user_id": [7]}, {"user_id": ["7", "8"]}, [{"type": "user_id", "value": 7}],
        [{"type": "email", "value": "a@b.example"}, {"type": "user_id", "value": 7}],
    ],
)  # fmt: skip
def test_an_integer_is_the_same_identifier_as_its_digits(identifiers: Any) -> None:
    assert key([{"type": "user_id", "value": "7"}]) == key(identifiers)


@pytest.mark.parametrize("value", [True, 7.5, None, {}, [], [[7]]])
def test_what_is_neither_text_nor_integer_is_no_identifier(value: Any) -> None:
    assert b"e1" == key({"user_id": value}) == key([{"type": "user_id", "value": value}])


@pytest.mark.parametrize(
    "identifiers", [{"user_id": 7, "email": "A@b.example"}, {"phone": ["1", "2"]}, {"till": 3}, {}]
)
def test_a_producers_form_and_the_canonical_form_have_one_key(identifiers: Any) -> None:
    event = touchpoint(channel="web", identifiers=identifiers)
    canonical = decode(orjson.dumps(event), channels=frozenset({"web"}), max_bytes=65_536)

    assert isinstance(canonical, dict)
    assert routing_key(event, SECRET) == routing_key(canonical, SECRET)


def test_a_secret_longer_than_blake2b_takes_is_cut() -> None:
    event = touchpoint()
    assert routing_key(event, b"x" * 64) == routing_key(event, b"x" * 100) != routing_key(event, b"x" * 63)
