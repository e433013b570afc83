"""What is kept of a record that could not be processed: the original bytes and the reason, named precisely."""

from __future__ import annotations

from base64 import b64decode, b64encode
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict


class Reason(StrEnum):
    """Why a record became a dead letter. A code never changes its meaning; dashboards and scripts match on it."""

    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TOO_MANY_KEYS = "too_many_keys"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    UNKNOWN_CHANNEL = "unknown_channel"
    REFUSED_BY_STORE = "refused_by_store"
    BUG = "bug"


class DeadLetter(BaseModel):
    """The value of a record of the topic `dead-letters`.

    Attributes:
        reason: The code.
        field: The offending field, as `properties.products.0.price`; empty when the whole record is at fault.
        message: What was found and which rule it breaks, for a human.
        stage: The agent that refused the record.
        topic: Where the record came from.
        partition: Its partition there.
        offset: Its offset there.
        received_at: The broker's time of the record.
        key_base64: The original key, base64.
        value_base64: The original value, base64: no byte is lost, whatever it was.
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


def encode(raw: bytes | None) -> str:
    """Write raw bytes the way `DeadLetter` keeps them."""
    return b64encode(raw or b"").decode("ascii")
