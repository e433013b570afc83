"""A dead letter is itself a record that a broker takes, and says what it does not keep."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from schemas.dead_letters import (
    RECORD_LIMIT_BYTES,
    TRUNCATED_KEY_BYTES,
    TRUNCATED_VALUE_BYTES,
    DeadLetter,
    Kept,
    Reason,
    Truncation,
    dead_letter,
    truncation,
)
from schemas.records import Headers, Outgoing
from schemas.topics import DEAD_LETTERS

KAFKA_OVERHEAD_BYTES = 512
"""What librdkafka counts for the frame of a batch of one record, rounded up."""


class Raw(NamedTuple):
    value: bytes | None
    key: bytes | None = b"k"
    topic: str = "t" * 249
    partition: int = 2**31 - 1
    offset: int = 2**63 - 1
    timestamp: int = 1_700_000_000_123
    headers: Headers = ()


def letter_of(
    record: Raw, message: str = "no", field: str = "", *, keep: Kept = "whole"
) -> tuple[Outgoing, DeadLetter]:
    outgoing = dead_letter(record, "identify", Reason.NOT_JSON, message, field, keep=keep)
    return outgoing, DeadLetter.model_validate_json(outgoing.value)


@pytest.mark.parametrize("size", [0, 1, 65_537, 524_288, 700_000, 730_000])
def test_what_fits_is_kept_in_whole(size: int) -> None:
    record = Raw(b"\xff" * size, b"key")
    outgoing, letter = letter_of(record)

    assert (record.value, b"key", "no") == (letter.value, outgoing.key, letter.message)
    assert truncation(letter.message, b"key", letter.value) is None


@pytest.mark.parametrize(
    ("key_bytes", "value_bytes"),
    [(0, 735_100), (1, 760_000), (3, 890_000), (5_000, 1_048_576), (900_000, 10), (2_000_000, 20_000_000)],
)
def test_what_does_not_fit_becomes_a_small_letter_that_says_what_it_keeps(key_bytes: int, value_bytes: int) -> None:
    outgoing, letter = letter_of(Raw(b"v" * value_bytes, b"k" * key_bytes))
    kept = truncation(letter.message, outgoing.key, letter.value)

    assert len(outgoing.key) + len(outgoing.value) < 120_000
    assert kept == Truncation(
        min(key_bytes, TRUNCATED_KEY_BYTES), key_bytes, min(value_bytes, TRUNCATED_VALUE_BYTES), value_bytes
    )
    assert letter.message.startswith("no [truncated: ")


@pytest.mark.parametrize("value_bytes", range(720_000, 750_000, 997))
@pytest.mark.parametrize("key_bytes", [0, 100, 10_000])
def test_no_letter_is_larger_than_a_record_may_be(value_bytes: int, key_bytes: int) -> None:
    worst = "\x1f" * 5_000  # six bytes a character in JSON
    outgoing, _ = letter_of(Raw(b"v" * value_bytes, b"k" * key_bytes), worst, worst)

    assert len(outgoing.key) + len(outgoing.value) + KAFKA_OVERHEAD_BYTES < RECORD_LIMIT_BYTES


def test_a_letter_can_be_made_small_for_a_broker_that_takes_less() -> None:
    record = Raw(b"v" * 300_000)
    kept: list[Kept] = ["whole", "part", "nothing"]

    assert [300_000, TRUNCATED_VALUE_BYTES, 0] == [len(letter_of(record, keep=keep)[1].value) for keep in kept]
    assert letter_of(Raw(b"short"), keep="part")[1].message == "no"


def test_a_text_that_only_looks_truncated_is_whole() -> None:
    forged = str(Truncation(1, 1, 9, 10))

    assert truncation(f"the name is {forged}", b"k", b"short") is None
    assert truncation(f"{forged}.", b"k", b"x" * 9) is None
    assert truncation(f"{forged} {forged}", b"k", b"x" * 9) == Truncation(1, 1, 9, 10)


def test_a_tombstone_without_a_key_has_an_empty_letter() -> None:
    outgoing, letter = letter_of(Raw(None, None))

    assert (DEAD_LETTERS, b"", b"", "") == (outgoing.topic, outgoing.key, letter.value, letter.key_base64)
