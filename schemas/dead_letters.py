"""Dead letters: the bytes of a record that could not be processed, and the reason.

Invariant: a dead letter fits into a record, however large the original is. An original that does not fit is truncated,
and the letter's `message` ends with a `Truncation`.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from enum import StrEnum
from typing import Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict

from schemas.records import Outgoing, Record
from schemas.time import time_of_ms
from schemas.topics import DEAD_LETTERS

RECORD_LIMIT_BYTES = 1_000_000
"""The largest record that our producers send, key and value: `message.max.bytes` of librdkafka. Brokers and topics take
1,048,588 bytes by default."""

MAX_MESSAGE_CHARS = 1_000
MAX_FIELD_CHARS = 1_000
_FRAME_BYTES = 20_000
"""The most bytes of a letter beside the original: `message` and `field`, up to 6 bytes a character where JSON escapes
it, then field names, numbers, the topic, and Kafka's own overhead of a record."""

TRUNCATED_KEY_BYTES = 4_096
TRUNCATED_VALUE_BYTES = 65_536
"""The bytes that are kept of an original that does not fit: enough to recognise its producer. It cannot be replayed."""

Kept = Literal["whole", "part", "nothing"]
"""How much a letter keeps of its original: all bytes if they fit, the first part, or no byte."""


class Reason(StrEnum):
    """Why a record became a dead letter. A code never changes its meaning; dashboards and scripts match on it."""

    NOT_JSON = "not_json"
    UNKNOWN_SCHEMA = "unknown_schema"
    NOT_AN_OBJECT = "not_an_object"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TOO_MANY_KEYS = "too_many_keys"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    UNKNOWN_CHANNEL = "unknown_channel"
    AGAINST_PLAN = "against_plan"
    UNPLANNED_EVENT = "unplanned_event"
    REFUSED_BY_STORE = "refused_by_store"
    BUG = "bug"


class DeadLetter(BaseModel):
    """The value of a record of the topic `dead-letters`.

    Attributes:
        reason: The code.
        field: The offending field, as `properties.products.0.price`; empty when the whole record is at fault.
        message: The value and the rule that it breaks, for people.
        stage: The stage that refused the record.
        topic: The full name of the record's topic.
        partition: The record's partition.
        offset: The record's offset.
        received_at: The broker's time of the record.
        key_base64: The original key, base64.
        value_base64: The original value, base64. Only the first bytes of key and value where `message` ends with a
            `Truncation`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Reason
    field: str = ""
    message: str
    stage: str
    topic: str
    partition: int
    offset: int
    received_at: AwareDatetime
    key_base64: str = ""
    value_base64: str

    @property
    def value(self) -> bytes:
        """The original bytes."""
        return b64decode(self.value_base64)


class Truncation(NamedTuple):
    """The bytes kept of a key and a value that were too large for a dead letter, and their original sizes."""

    key_kept: int
    key_size: int
    value_kept: int
    value_size: int

    def __str__(self) -> str:
        """Return the text with which `message` ends."""
        return (
            f"[truncated: kept are the first {self.key_kept} of {self.key_size} bytes of the key and the first "
            f"{self.value_kept} of {self.value_size} bytes of the value]"
        )


_TRUNCATION = re.compile(
    r"\[truncated: kept are the first ([0-9]+) of ([0-9]+) bytes of the key and the first "
    r"([0-9]+) of ([0-9]+) bytes of the value\]"
)


def truncation(message: str, key: bytes, value: bytes) -> Truncation | None:
    """Return how the original of a letter was truncated; None: it is complete.

    Args:
        message: The letter's message.
        key: The kept bytes of the key.
        value: The kept bytes of the value.
    """
    found = _TRUNCATION.search(message, max(message.rfind("[truncated: "), 0))
    if found is None or found.end() != len(message):
        return None
    claimed = Truncation(*map(int, found.groups()))
    # A message that quotes a producer may have the same end; then the sizes differ from those of the kept bytes.
    return claimed if (claimed.key_kept, claimed.value_kept) == (len(key), len(value)) else None


def dead_letter(
    record: Record,
    stage: str,
    reason: Reason,
    message: str,
    field: str = "",
    *,
    keep: Kept = "whole",
    value: bytes = b"",
) -> Outgoing:
    """Make the dead letter of a record.

    Args:
        record: The record that cannot be processed.
        stage: The stage that refuses it.
        reason: The code.
        message: The value and the rule that it breaks, for people.
        field: The path of the offending field; empty when the whole record is at fault.
        keep: How much of the original to keep.
        value: What is kept in place of the record's value; empty: the value.

    Returns:
        A record of `dead-letters` under the original's key, at most `RECORD_LIMIT_BYTES` large.
    """
    key, value = record.key or b"", value or record.value or b""
    message = message[:MAX_MESSAGE_CHARS]
    if keep != "whole" or _FRAME_BYTES + len(key) + _encoded_size(key) + _encoded_size(value) > RECORD_LIMIT_BYTES:
        sizes = len(key), len(value)
        nothing = keep == "nothing"
        key, value = (b"", b"") if nothing else (key[:TRUNCATED_KEY_BYTES], value[:TRUNCATED_VALUE_BYTES])
        if sizes != (len(key), len(value)):
            message = f"{message} {Truncation(len(key), sizes[0], len(value), sizes[1])}"
    letter = DeadLetter(
        reason=reason,
        field=field[:MAX_FIELD_CHARS],
        message=message,
        stage=stage,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        received_at=time_of_ms(record.timestamp),
        key_base64=encode(key),
        value_base64=encode(value),
    )
    return Outgoing(DEAD_LETTERS, key, letter.model_dump_json().encode())


def encode(raw: bytes | None) -> str:
    """Return bytes in Base64, as `DeadLetter` holds them."""
    return b64encode(raw or b"").decode("ascii")


def _encoded_size(raw: bytes) -> int:
    return (len(raw) + 2) // 3 * 4
