"""What an import would do to people: known ones, several who become one, and those of earlier rows."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.operations.importers.known_people import KnownPeople
from processors.identity.claims import claims
from schemas.events.touchpoint import read
from schemas.identity.policy import IdentityPolicy
from tests.support.builders import touchpoint

POLICY, SECRET = IdentityPolicy(), b"secret"


def event(**identifiers: str) -> dict[str, object]:
    return read(touchpoint("Identify", identifiers=identifiers))


def hash_of(**identifiers: str) -> bytes:
    return claims(event(**identifiers), POLICY, SECRET)[0][0].identifier_hash


async def compared(*events: dict[str, object]) -> list[str]:
    known = {hash_of(email="ada@shop.example"): "p1", hash_of(user_id="7"): "p2"}

    async def owners(hashes: Sequence[bytes]) -> list[str | None]:
        return [known.get(one) for one in hashes]

    return [*await KnownPeople(owners, POLICY, SECRET).compare(events)]


async def test_each_event_is_of_a_new_a_known_or_of_several_people() -> None:
    events = [
        event(email="ADA@shop.example"), event(email="ada@shop.example", user_id="7"), event(email="new@shop.example"),
        event(),
    ]  # fmt: skip

    assert ["changed", "merged", "new", "impersonal"] == await compared(*events)


async def test_a_person_of_an_earlier_row_is_new_once() -> None:
    assert ["new", "changed", "new"] == await compared(
        event(email="b@shop.example", user_id="8"), event(user_id="8"), event(user_id="9")
    )
