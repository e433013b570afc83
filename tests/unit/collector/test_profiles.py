"""Reads of profiles over HTTP: who may read what, and what is answered."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from deploy.collector.authentication import Authenticator, WriteKeys
from deploy.collector.profiles import FIELDS, ProfileReads, read_fields
from deploy.collector.refusal import RefusedError, refusal_answer
from deploy.collector.tally import Tally
from processors.identity.claims import claim
from processors.profiles.document import new_profile
from processors.profiles.view import view
from schemas.identity.policy import IdentityPolicy
from schemas.intake.sources import Source
from schemas.profiles.document import StoredProfile
from tests.support.builders import at
from tests.support.profiles import added, ordered, resolved, told

ANN = "4ad3f1c0-0000-4000-8000-000000000001"
SOURCES = {
    "shop": Source(channel="api", reads=frozenset({"traits", "segments", "cart"})),
    "till": Source(channel="store"),
    "page": Source(channel="web", kind="browser", origins=("*",)),
}


def hashes(kind: str, value: str, source: str) -> list[bytes]:
    made = claim(kind, value, IdentityPolicy(), b"secret", source)
    return [made.identifier_hash] if made else []


class People:
    """Ann, by her address; or nobody, while the store is down."""

    def __init__(self) -> None:
        document = {**new_profile(ANN), "traits": {"first_name": ["Ann", 1]}}
        state = {"segments": {"in": {"vip": 1, "cart_abandoners": 2}}}
        self.ann = StoredProfile(ANN, 1, orjson.dumps(document), state=orjson.dumps(state))
        self.down = False

    async def find(self, identifier_hashes: list[bytes]) -> StoredProfile | None:
        if self.down:
            raise RefusedError(503, "profiles_unreachable", "", 2)
        return self.ann if hashes("email", "ann@shop.example", "") == identifier_hashes else None


@pytest.fixture
def people() -> People:
    return People()


@web.middleware
async def _refusals(request: web.Request, handler: Any) -> Any:
    try:
        return await handler(request)
    except RefusedError as refused:
        return refusal_answer(refused.status, refused.code, refused.message, refused.retry_after_s)


@pytest.fixture
async def client(people: People) -> AsyncIterator[TestClient[Any, Any]]:
    keys = WriteKeys("shop=shop-key,till=till-key,page=page-key", SOURCES)
    reads = ProfileReads(Authenticator(keys, SOURCES), people, hashes, Tally())
    app = web.Application(middlewares=[_refusals])
    app.router.add_get("/v1/profiles/{identifier:.+}", reads.read)
    async with TestClient(TestServer(app)) as found:
        yield found


async def get(client: TestClient[Any, Any], path: str, key: str = "shop-key") -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": "Basic " + b64encode(f"{key}:".encode()).decode()} if key else {}
    answer = await client.get(f"/v1/profiles/{path}", headers=headers)
    return answer.status, await answer.json()


async def test_a_server_reads_what_its_source_may(client: TestClient[Any, Any]) -> None:
    whole = {
        "profile_id": ANN, "traits": {"first_name": "Ann"}, "cart": [], "segments": ["cart_abandoners", "vip"],
    }  # fmt: skip

    assert (200, whole) == await get(client, "email:Ann@Shop.Example")
    assert (200, {"profile_id": ANN, "segments": ["cart_abandoners", "vip"]}) == await get(
        client, "email:ann%40shop.example?fields=segments"
    )


@pytest.mark.parametrize(
    ("path", "key", "status", "code"),
    [
        pytest.param("email:ann@shop.example", "", 401, "write_key", id="without a key"),
        pytest.param("email:ann@shop.example", "another", 401, "write_key", id="with an unknown key"),
        pytest.param("email:ann@shop.example", "page-key", 403, "reads", id="with a page's key"),
        pytest.param("email:ann@shop.example", "till-key", 403, "reads", id="of a source that may not read"),
        pytest.param("email:ann@shop.example?fields=addresses", "shop-key", 403, "reads", id="a part that it may not"),
        pytest.param("email:ann@shop.example?fields=state", "shop-key", 400, "fields", id="a part that there is not"),
        pytest.param("ann@shop.example", "shop-key", 400, "identifier", id="without a type"),
        pytest.param("email:ann", "shop-key", 400, "identifier", id="no address"),
        pytest.param("email:ben@shop.example", "shop-key", 404, "person", id="of nobody"),
    ],
)
async def test_any_other_read_is_refused(
    client: TestClient[Any, Any], path: str, key: str, status: int, code: str
) -> None:
    answered, body = await get(client, path, key)

    assert (status, code) == (answered, body["code"])
    assert "first_name" not in str(body)


async def test_a_store_that_is_down_is_said_to_be(client: TestClient[Any, Any], people: People) -> None:
    people.down = True

    assert 503 == (await get(client, "email:ann@shop.example"))[0]


def test_every_field_is_a_part_of_a_profile() -> None:
    assert FIELDS - {"segments"} <= view(new_profile(ANN)).keys()


HISTORY = [
    added("lamp", 1),
    added("sofa", 2, cart="c2"),
    ordered("o1", 3, "lamp", revenue="10.00"),
    resolved("Email Bounced", "email", occurred_at=at(hours=4), identifiers={"email": "ann@shop.example"},
             properties={"bounce_type": "soft", "message_id": "m1"}),
    resolved("Consent Updated", occurred_at=at(hours=5), consent={"marketing": True, "channels": {"email": True}},
             traits={"plan": "gold"}),
    resolved("Page Viewed", occurred_at=at(hours=6), campaign={"name": "autumn"}, context={"locale": "de"}),
    resolved("Loyalty Points Earned", "store", occurred_at=at(hours=7), properties={"points": 50, "store_id": "s1"}),
]  # fmt: skip


@pytest.mark.parametrize("name", sorted(FIELDS - {"segments"}))
def test_a_part_is_the_same_alone_as_in_the_whole_profile(name: str) -> None:
    document = told(*HISTORY)
    stored = StoredProfile("p1", 1, orjson.dumps(document))

    assert {"profile_id": "p1", name: view(document)[name]} == read_fields(stored, frozenset({name}))


def test_a_key_that_anybody_can_read_never_reads() -> None:
    with pytest.raises(ValueError, match="only a server's may read profiles"):
        Source(channel="web", kind="browser", reads=frozenset({"traits"}))
