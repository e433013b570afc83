"""`POST /v1/decide`: who may ask for whom, what is answered, and what is answered while stores are away."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from redis.exceptions import ConnectionError as RedisDown

from deploy.collector import slots
from deploy.collector.authentication import Authenticator, WriteKeys
from deploy.collector.body import Reader
from deploy.collector.refusal import RefusedError, refusal_answer
from deploy.collector.slot_rules import SlotRules
from deploy.collector.slots import SlotAnswers, SlotContent
from deploy.collector.tally import Tally
from deploy.collector.visitor_tokens import VisitorTokens
from deploy.operations.engines import Definitions
from deploy.operations.template_files import load_templates
from processors.delivery.rendering import MessageRenderer
from processors.identity.claims import claim
from schemas.coupons import TakenCoupon
from schemas.decisions.policy import MessagePolicy
from schemas.delivery.outbound import DeliveryDefinitions
from schemas.identity.policy import IdentityPolicy
from schemas.intake.sources import Source
from schemas.profiles.document import StoredProfile
from schemas.records import Outgoing
from schemas.topics import DECISIONS
from sinks.redis.slots import ANSWERS_KEPT, SlotMemory, Stored
from tests.support.slots import shipped_slot, slot
from tests.support.stories import DEFINITIONS, NO_HOLDOUT, Story, moment, shipped_segments

SOURCES = {
    "shop": Source(channel="api"),
    "page": Source(channel="web", kind="browser", origins=("https://shop.example",)),
}
KEYS = WriteKeys("shop=shop-key,page=page-key", SOURCES)
SLOTS = (
    shipped_slot("site_banner"),
    shipped_slot("home_recommendations"),
    slot("candidates: [{name: code, message: coupon-line, coupon: welcome}]", name="coupon_corner"),
    slot("candidates: [{name: page, message: product-line}]", name="product_page"),
)
NOW_S = moment("12:00") // 1000
LAMP = {"product_id": "lamp", "name": "Lamp", "why": "together"}


def hashes(kind: str, value: str, source: str) -> list[bytes]:
    made = claim(kind, value, IdentityPolicy(), b"secret", source)
    return [made.identifier_hash] if made else []


class World:
    """Ann with a lamp in her cart, and the stores."""

    def __init__(self, ann: Story) -> None:
        person = ann.person
        self.now_ms = ann.now
        self.stored = StoredProfile("p1", 1, orjson.dumps(person.document), state=orjson.dumps(person.state))
        self.memory = SlotMemory("", {}, {})
        self.records: list[Outgoing] = []
        self.events: list[dict[str, Any]] = []
        self.down, self.full, self.silent = False, False, False
        self.codes, self.given = ["A-1", "A-2"], dict[str, TakenCoupon]()
        self.products: list[dict[str, Any]] = [LAMP]

    async def find(self, identifier_hashes: list[bytes]) -> tuple[StoredProfile, SlotMemory] | None:
        if self.silent:
            await asyncio.sleep(60)
        if self.down:
            raise RedisDown("away")
        if hashes("user_id", "ann", "") != identifier_hashes:
            return None
        found = self.stored, self.memory
        await asyncio.sleep(0.002)
        return found

    async def remember(
        self, profile_id: str, known: SlotMemory, request: str, answer: Mapping[str, Any],
        counted: tuple[str, list[Any]] | None, records: list[Outgoing], now_ms: int,
    ) -> Stored:  # fmt: skip
        if self.full:
            return Stored.FULL
        if known.digest != self.memory.digest:
            return Stored.CHANGED
        seen = {**known.seen, **({counted[0]: counted[1]} if counted else {})}
        answers = {**known.answers, **({request: [now_ms, answer]} if request else {})}
        self.records += records
        self.memory = SlotMemory(str(len(self.records)), seen, dict([*answers.items()][-ANSWERS_KEPT:]))
        return Stored.DONE

    async def recommend(self, document: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
        return self.products[:count]

    async def card(self, *_: Any) -> dict[str, Any] | None:
        return None

    async def take(self, key: str, pool: str, now_ms: int, valid_ms: int) -> TakenCoupon | None:
        if key not in self.given and self.codes:
            self.given[key] = TakenCoupon(self.codes.pop(0), now_ms, None)
        return self.given.get(key)

    async def taken(self, key: str) -> TakenCoupon | None:
        return self.given.get(key)

    async def publish(self, record: Outgoing, event_id: str) -> None:
        self.events.append(orjson.loads(record.value or b""))

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [orjson.loads(one.value or b"") for one in self.records if one.topic == DECISIONS]


@pytest.fixture(scope="module")
def ann() -> Story:
    story = Story(segments=shipped_segments(), traits={"language": "de"}).at("10:00")
    return story.event("Product Added", product_id="lamp", name="Lamp").after("2h")


@pytest.fixture(scope="module")
def rules(ann: Story, tmp_path_factory: pytest.TempPathFactory) -> SlotRules:
    folder = tmp_path_factory.mktemp("templates")
    (folder / "cart-reminder.yaml").write_text((DEFINITIONS / "templates/cart-reminder.yaml").read_text("utf-8"))
    line = "description: A code.\nchannels: {web: {en: {text: 'Your code: {{ coupon.code }}'}}}\n"
    (folder / "coupon-line.yaml").write_text(line, "utf-8")
    line = "description: A product.\nchannels: {web: {en: {text: 'On {{ event.properties.name }}'}}}\n"
    (folder / "product-line.yaml").write_text(line, "utf-8")
    definitions = Definitions(
        shipped_segments(), (), MessagePolicy(holdout=NO_HOLDOUT), load_templates(folder),
        DeliveryDefinitions(sender="a@b.example"),
        slots=tuple(one.model_copy(update={"candidates": one.candidates[-1:]}) for one in SLOTS),
    )  # fmt: skip
    return SlotRules(definitions, ann.decider, definitions.slot_decider(ann.decider), {})


@pytest.fixture
def world(ann: Story) -> World:
    return World(ann)


@web.middleware
async def _refusals(request: web.Request, handler: Any) -> Any:
    try:
        return await handler(request)
    except RefusedError as refused:
        return refusal_answer(refused.status, refused.code, refused.message, refused.retry_after_s)


@pytest.fixture
async def client(world: World, rules: SlotRules) -> AsyncIterator[TestClient[Any, Any]]:
    authenticator = Authenticator(KEYS, SOURCES)
    door = SlotAnswers(
        authenticator, Reader(authenticator, 100_000, trusts_proxy=False), VisitorTokens(KEYS, SOURCES),
        rules=lambda: rules, people=world, content=SlotContent(MessageRenderer(world, world), world, world),
        hash_identifier=hashes, publish=world.publish, tally=Tally(), clock=lambda: world.now_ms,
    )  # fmt: skip
    app = web.Application(middlewares=[_refusals])
    app.router.add_post("/v1/decide", door.decide)
    async with TestClient(TestServer(app)) as found:
        yield found


async def ask(
    client: TestClient[Any, Any], slot: str = "site_banner", key: str = "shop-key", **body: Any
) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": "Basic " + b64encode(f"{key}:".encode()).decode()}
    asked = {"slot": slot, **({"person": "user_id:ann"} if key == "shop-key" else {}), **body}
    answer = await client.post("/v1/decide", json=asked, headers=headers)
    return answer.status, await answer.json()


def minted(**changes: Any) -> str:
    """Mint a token by the very lines of the documentation."""
    text = Path("deploy/definitions/README.md").read_text("utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", text.partition("## Slots")[2], re.DOTALL)[:1]
    scope: dict[str, Any] = {"WRITE_KEY": "shop-key"}
    for name, value in {"exp": NOW_S + 900, **changes}.items():
        lines, count = re.subn(rf'("{name}": )("[^"]*"|\[[^]]*\]|int\(.*?\) \+ \d+)', rf"\g<1>{value!r}", lines)
        assert count == 1, name
    exec(lines, scope)  # the five lines that the documentation shows
    return str(scope["token"].decode())


async def test_the_cart_is_remembered_in_the_persons_language_with_the_events_to_send_back(
    client: TestClient[Any, Any], world: World
) -> None:
    status, found = await ask(client)

    assert (200, "cart_reminder", "", "Noch in Ihrem Warenkorb: Lamp.") == (
        status, found["candidate"], found["reason"], found["content"]["text"],
    )  # fmt: skip
    (row,) = world.rows
    assert ("sent", "site_banner", found["decision_id"]) == (row["outcome"], row["journey"], row["decision_id"])
    clicked = found["track"]["clicked"]
    assert ("Promotion Clicked", row["decision_id"], row["idempotency_key"], "cart-on-site") == (
        clicked["event"], clicked["properties"]["decision_id"], clicked["properties"]["message_id"],
        clicked["context"]["campaign"]["name"],
    )  # fmt: skip
    assert "Still in your cart: Lamp." == (await ask(client, language="en"))[1]["content"]["text"]


async def test_the_same_request_has_the_same_answer_and_counts_once(client: TestClient[Any, Any], world: World) -> None:
    first, again = await ask(client, request_id="r1"), await ask(client, request_id="r1")

    assert first == again
    assert (1, 1) == (len(world.rows), len(world.memory.seen))
    others = [(await ask(client, request_id=f"other {number}"))[1] for number in range(4)]
    assert ["cart_reminder", "cart_reminder", None, None] == [one["candidate"] for one in others]
    assert "caps" == others[-1]["reason"]
    assert first == await ask(client, request_id="r1")


async def test_a_page_may_ask_for_all_its_slots_at_once(
    client: TestClient[Any, Any], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "ANSWER_WITHIN_S", 20)
    answers = await asyncio.gather(*(ask(client, "home_recommendations") for _ in range(6)))

    assert ({"for_you"}, 6) == ({found["candidate"] for _, found in answers}, len(world.rows))


async def test_requests_without_an_id_do_not_push_out_the_answer_of_one_that_is_repeated(
    client: TestClient[Any, Any], world: World
) -> None:
    first = await ask(client, request_id="r1")
    for _ in range(ANSWERS_KEPT):
        await ask(client)

    assert first == await ask(client, request_id="r1")
    assert 1 + ANSWERS_KEPT == len(world.rows)


async def test_recommendations_are_data_and_without_any_the_fallback_says_what_to_do(
    client: TestClient[Any, Any], world: World
) -> None:
    assert [LAMP] == (await ask(client, "home_recommendations"))[1]["recommendations"]
    world.products = []
    _, found = await ask(client, "home_recommendations")

    assert (None, "audience", {}) == (found["candidate"], found["reason"], found["content"])
    assert "recommendations refresh" in world.rows[-1]["gates"][0]["input"]["for_you"]


async def test_a_person_has_one_coupon_however_often_they_look_and_an_empty_pool_shows_the_fallback(
    client: TestClient[Any, Any], world: World
) -> None:
    answers = [(await ask(client, "coupon_corner"))[1] for _ in range(3)]
    await asyncio.sleep(0)

    assert {"Your code: A-1"} == {one["content"]["text"] for one in answers}
    assert 1 == len({one["event_id"] for one in world.events}) == len(world.given)
    world.given, world.codes = {}, []
    _, found = await ask(client, "coupon_corner")
    assert ("audience", None) == (found["reason"], found["candidate"])


@pytest.mark.parametrize("state", ["down", "silent", "full"])
async def test_while_a_store_is_away_the_fallback_comes_at_once_and_nothing_is_counted(
    client: TestClient[Any, Any], world: World, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(slots, "ANSWER_WITHIN_S", 0.05)
    setattr(world, state, True)
    status, found = await ask(client, request_id="r1", language="de-AT")

    assert (200, "unreachable", "Kostenlose Rückgabe.") == (status, found["reason"], found["content"]["text"])
    assert ([], {}) == (world.rows, world.memory.seen)
    setattr(world, state, False)
    assert "cart_reminder" == (await ask(client, request_id="r1"))[1]["candidate"]


async def test_of_somebody_unknown_the_fallback_is_shown_and_no_row_is_written(
    client: TestClient[Any, Any], world: World
) -> None:
    _, found = await ask(client, person=["user_id:nobody"])

    assert ("unknown_person", "Returns are free.", []) == (found["reason"], found["content"]["text"], world.rows)


async def test_a_name_that_the_page_has_cut_within_an_emoji_is_shown_with_a_mark_in_its_place(
    client: TestClient[Any, Any],
) -> None:
    status, found = await ask(client, "product_page", properties={"name": "Lamp \ud83d"})

    assert (200, "On Lamp \ufffd") == (status, found.get("content", {}).get("text"))


async def test_a_page_sees_what_the_token_of_its_visitor_is_for_and_no_reason_in_words(
    client: TestClient[Any, Any],
) -> None:
    token = minted(sub="user_id:ann")
    status, found = await ask(client, key="page-key", token=token, person="user_id:nobody")

    assert (200, "cart_reminder", False) == (status, found["candidate"], "explanation" in found)
    status, found = await ask(client, "coupon_corner", key="page-key", token=token)
    assert (403, "visitor_token") == (status, found["code"])


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(lambda: None, id="without one"),
        pytest.param(lambda: "a.b.c", id="no token"),
        pytest.param(lambda: minted(sub="user_id:ann", exp=NOW_S - 1), id="that is over"),
        pytest.param(lambda: minted(sub="user_id:ann", exp=NOW_S + 90_000), id="that is for ever"),
        pytest.param(lambda: minted(sub="ann"), id="of nobody"),
        pytest.param(lambda: minted(sub="user_id:ann", alg="none"), id="without a signature's algorithm"),
        pytest.param(lambda: minted(sub="user_id:ann")[:-4] + "AAAA", id="signed by somebody else"),
    ],
)
async def test_a_page_without_a_good_token_learns_nothing(client: TestClient[Any, Any], token: Any) -> None:
    status, found = await ask(client, key="page-key", token=token())

    assert (403, "visitor_token") == (status, found["code"])


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param({"slot": "site_baner"}, 404, "slot", id="an unknown slot"),
        pytest.param({"slot": ""}, 400, "slot", id="no slot"),
        pytest.param({"person": "ann"}, 400, "person", id="an identifier without a type"),
        pytest.param({"person": []}, 400, "person", id="nobody"),
        pytest.param({"person": {"a": 1}}, 400, "person", id="a person of another form"),
        pytest.param({"request_id": "x" * 501}, 400, "request_id", id="a long id"),
        pytest.param({"request_id": "r\ud83d"}, 400, "request_id", id="an id that is cut within an emoji"),
        pytest.param({"person": ["user_id:\ud83d"]}, 400, "person", id="a person cut within an emoji"),
        pytest.param({"properties": {"a": {"b": 1}}}, 400, "properties", id="properties with parts"),
    ],
)
async def test_a_malformed_request_is_refused_with_the_place(
    client: TestClient[Any, Any], body: dict[str, Any], status: int, code: str
) -> None:
    answered, found = await ask(client, **{"slot": "site_banner", **body})

    assert (status, code) == (answered, found["code"])
