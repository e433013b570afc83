"""What tells segments that an address works no longer, or again."""

from __future__ import annotations

from typing import Any

from processors.segments.index import address_checksum
from schemas.events.bounces import TRANSIENT_BOUNCES_IN_A_ROW


def checksum(bounced: bool = False, transient: int = 0, arrived_at: int = 0) -> int:
    document: dict[str, Any] = {"addresses": {"email": {"a@b.example": [1, True, arrived_at, bounced]}}}
    if transient:
        document["soft_bounces"] = {"email": {"a@b.example": list(range(1, transient + 1))}}
    return address_checksum(document)


def test_an_address_that_is_given_up_after_transient_bounces_changes_it_as_a_permanent_one_does() -> None:
    given_up = TRANSIENT_BOUNCES_IN_A_ROW

    assert checksum() == checksum(transient=given_up - 1) == checksum(transient=given_up, arrived_at=given_up)
    assert checksum() != checksum(transient=given_up) == checksum(bounced=True)
    assert checksum(bounced=True, transient=given_up) == checksum(bounced=True)
