"""The stage `deliver` with its real ledger: at most once, with redeliveries, crashes and slow servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from deploy.connections.redis import async_redis_client
from deploy.operations.definition_files import identity_policy
from deploy.settings import Settings
from deploy.workers.deliver_stage import StoredPeople
from processors.delivery.stage import LEASE_MS
from processors.identity.claims import claims
from processors.identity.stage import request_for
from processors.intake.decode import decode
from processors.profiles.document import new_profile
from schemas import metrics
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.delivery.outbound import OutboundMessage, SendResult, SendStatus
from schemas.events.touchpoint import read
from schemas.identity.policy import IdentityPolicy
from schemas.outcomes import Reject
from sinks.redis.delivery import RedisDeliveryLedger
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.profiles import RedisProfileStore
from tests.support.builders import at, touchpoint
from tests.support.delivery import (
    ANN,
    MINUTE,
    NOON,
    Arrived,
    Killed,
    World,
    action,
    counted,
    told,
)

pytestmark = [pytest.mark.integration, pytest.mark.on_cluster]


@pytest.fixture
async def world(stack: Settings) -> AsyncIterator[World]:
    async with async_redis_client(stack, timeout_s=10) as redis:
        ann = {**new_profile(ANN), "traits": {"name": ["Ann", NOON]}}
        yield World(redis, stack.redis_namespace, people={ANN: ann})


async def test_a_message_goes_out_and_its_receipt_names_it(world: World) -> None:
    (receipt,) = await world.worker()([action()])

    value = orjson.loads(receipt.value)
    assert ["Hello Ann"] == [message.rendered.text for message in world.sent if message.rendered]
    assert ("touchpoints.email", "Email Sent", "m1", "welcome", "autumn") == (
        receipt.topic,
        value["event"],
        value["properties"]["message_id"],
        value["properties"]["journey_id"],
        value["properties"]["campaign_name"],
    )


async def test_a_receipt_is_a_valid_event_of_the_same_person(world: World) -> None:
    (receipt,) = await world.worker()([action()])

    event = decode(receipt.value, channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=65_536)
    assert not isinstance(event, Reject), event
    policy = IdentityPolicy()
    claimed, _ = claims(event, policy, b"secret")
    signed_up = decode(
        orjson.dumps({**orjson.loads(receipt.value), "identifiers": {"email": "ann@shop.example"}}),
        channels=frozenset(TOUCHPOINT_CHANNELS),
        max_bytes=65_536,
    )
    assert not isinstance(signed_up, Reject), signed_up
    assert claims(signed_up, policy, b"secret")[0] == claimed


async def test_a_redelivered_action_does_nothing(world: World) -> None:
    await world.worker()([action()])
    world.now += MINUTE

    assert ([], 1) == (await world.worker()([action()]), len(world.sent))


async def test_two_workers_with_one_action_send_once(world: World) -> None:
    world.hold = asyncio.Event()
    slow = asyncio.create_task(world.worker()([action()]))
    while not world.sent:
        await asyncio.sleep(0.01)
    other = await world.worker()([action()])
    world.hold.set()

    assert ([], [("Email Sent", "")], 1) == (other, told(await slow), len(world.sent))


@pytest.mark.parametrize("point", ["deliver:claimed", "deliver:sent"])
async def test_a_worker_that_dies_before_it_stores_the_result_does_not_make_a_message_go_out_twice(
    world: World, point: str
) -> None:
    world.die_at = point
    with pytest.raises(Killed):
        await world.worker()([action()])
    world.die_at, sent = "", len(world.sent)
    redelivered = await world.worker()([action()])
    early = await world.worker().send_due()
    world.now += LEASE_MS
    ((event, reason),) = told(await world.worker().send_due())

    assert ([], [], sent) == (redelivered, early, len(world.sent))
    assert ("Email Failed", True) == (event, reason.startswith("not known whether it arrived"))


@pytest.mark.parametrize("point", ["deliver:settled", "deliver:published"])
async def test_a_worker_that_dies_before_the_receipt_is_acknowledged_publishes_the_same_receipt_again(
    world: World, point: str
) -> None:
    world.die_at = point
    with pytest.raises(Killed):
        await world.worker()([action()])
    world.die_at, world.now = "", world.now + MINUTE
    (receipt,) = await world.worker()([action()])

    value = orjson.loads(receipt.value)
    assert ("Email Sent", "2026-11-22T12:00:00.000Z", 1) == (value["event"], value["occurred_at"], len(world.sent))


@pytest.mark.parametrize("point", ["deliver:settled", "deliver:published"])
async def test_the_result_of_a_later_attempt_is_published_even_if_its_worker_dies(world: World, point: str) -> None:
    world.outcomes = [SendResult("retry", "greylisted")]
    await world.worker()([action()])
    world.now, world.die_at = world.now + MINUTE, point
    with pytest.raises(Killed):
        await world.worker().send_due()
    world.die_at = ""
    early = await world.worker().send_due()
    world.now += LEASE_MS

    assert ([], [("Email Sent", "")], 2) == (early, told(await world.worker().send_due()), len(world.sent))


async def test_a_message_that_was_certainly_not_accepted_is_retried_until_it_is(world: World) -> None:
    world.outcomes = [SendResult("retry", "greylisted"), SendResult("retry", "still"), SendResult("sent")]
    worker = world.worker(retries={"tries": 5, "first_pause": "1m", "longest_pause": "1h"})
    first = await worker([action()])
    at_once = await worker.send_due()
    world.now += MINUTE
    second = await worker.send_due()
    world.now += 2 * MINUTE
    third = await worker.send_due()
    world.now += 60 * MINUTE
    after = await worker.send_due()

    assert ([], [], [], [("Email Sent", "")], []) == (first, at_once, second, told(third), after)
    assert 3 == len(world.sent)


async def test_attempts_are_bounded(world: World) -> None:
    world.outcomes = [SendResult("retry", f"try {number}") for number in range(9)]
    worker = world.worker(retries={"tries": 3, "first_pause": "1s"})
    found = await worker([action()])
    for _ in range(5):
        world.now += MINUTE
        found += await worker.send_due()

    assert ([("Email Failed", "given up after 3 attempts: try 2")], 3) == (told(found), len(world.sent))


async def test_the_pause_that_a_server_asks_for_is_kept(world: World) -> None:
    world.outcomes = [SendResult("retry", "busy", retry_after_ms=10 * MINUTE)]
    worker = world.worker()
    await worker([action()])
    world.now += 10 * MINUTE - 1
    early = await worker.send_due()
    world.now += 1

    assert ([], [("Email Sent", "")]) == (early, told(await worker.send_due()))


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        pytest.param(SendResult("bounced", "550 no such user"), ("Email Bounced", "550 no such user"), id="bounced"),
        pytest.param(SendResult("refused", "554 spam"), ("Email Failed", "554 spam"), id="refused"),
        pytest.param(
            SendResult("unknown", "time-out"),
            ("Email Failed", "not known whether it arrived, and not sent again for that: time-out"),
            id="nobody knows",
        ),
        pytest.param(
            SendResult("retry", "busy", 3_600_000 * 24),
            ("Email Failed", "it expires before the next attempt: busy"),
            id="too late by then",
        ),
    ],
)
async def test_a_final_result_is_not_retried(world: World, outcome: SendResult, expected: tuple[str, str]) -> None:
    world.outcomes = [outcome]
    worker = world.worker(retries={"longest_pause": "2d"})
    found = await worker([action(expires_at="2026-11-23T12:00:00.000Z")])
    world.now += 48 * 60 * MINUTE

    assert ([expected], [], 1) == (told(found), await worker.send_due(), len(world.sent))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        pytest.param({"expires_at": "2026-11-22T11:59:59.999Z"}, "it expired before it could be sent", id="too late"),
        pytest.param({"template": "nope"}, "template nope.email: no such template", id="no template"),
    ],
)
async def test_a_message_that_cannot_be_sent_fails_with_its_reason(
    world: World, fields: dict[str, Any], reason: str
) -> None:
    assert ([("Email Failed", reason)], []) == (told(await world.worker()([action(**fields)])), world.sent)


async def test_a_missing_value_fails_and_is_named(world: World) -> None:
    world.people[ANN] = new_profile(ANN)

    ((event, reason),) = told(await world.worker()([action()]))

    assert ("Email Failed", []) == (event, world.sent)
    assert "template hello.email.en.text line 1: profile.traits.name is not known" == reason


async def test_a_message_that_was_being_sent_during_an_erasure_has_no_receipt(world: World) -> None:
    world.hold = asyncio.Event()
    sending = asyncio.create_task(world.worker()([action()]))
    while not world.sent:
        await asyncio.sleep(0.01)
    await RedisDeliveryLedger(world.redis, world.namespace).forget([ANN])
    world.hold.set()

    assert [] == await sending
    assert [] == await world.worker().send_due()


async def test_what_a_mail_server_said_is_not_kept_once_the_receipt_is_published(world: World) -> None:
    world.outcomes = [SendResult("refused", "550 <ann@shop.example> is unknown")]
    await world.worker()([action()])

    assert {b"state", b"attempt"} == set(await world.redis.hgetall(f"{{{world.namespace}}}:delivered:m1"))


async def test_an_erased_person_gets_no_message_and_no_receipt(world: World) -> None:
    world.outcomes = [SendResult("retry", "greylisted")]
    worker = world.worker()
    await worker([action()])
    world.people[ANN] = None
    world.now += 60 * MINUTE

    assert ([], 1) == (await worker.send_due(), len(world.sent))
    assert not await world.redis.hexists(f"{{{world.namespace}}}:delivered:m1", "action")


@pytest.mark.parametrize("channel", ["email", "app_push"], ids=["an adapter", "a topic"])
async def test_no_message_goes_to_an_address_that_has_passed_to_another_person(world: World, channel: str) -> None:
    world.passed_on = True
    worker = world.worker()

    assert ([], []) == (await worker([action(channel=channel)]), await worker([action(channel=channel)]))
    assert ([], []) == (await worker.send_due(), world.sent)


async def test_a_push_token_reaches_the_person_who_logged_in_with_it_last(world: World, stack: Settings) -> None:
    token, mail = {"type": "push_token", "value": "token"}, {"type": "email", "value": "family@home.example"}
    policy, secret = identity_policy(stack), stack.identity_secret.get_secret_value().encode()
    store = RedisIdentityStore(world.redis, world.namespace, policy)
    people = StoredPeople(RedisProfileStore(world.redis, world.namespace), store, policy, secret)

    async def logs_in(who: str, minute: int) -> str:
        named = [{"type": "user_id", "value": who}, token, mail]
        event = read(touchpoint("Signed In", identifiers=named, event_id=who, occurred_at=at(minutes=minute)))
        request, _ = request_for(event, policy, secret, who.encode(), NOON)
        return str((await store.resolve([request]))[0].profile_id)

    ann = await logs_in("ann", 1)
    at_first = await people.reached_at(ann, token)
    ben = await logs_in("ben", 2)

    assert (True, False, True) == (at_first, await people.reached_at(ann, token), await people.reached_at(ben, token))
    assert [True, True] == [await people.reached_at(who, mail) for who in (ann, ben)]
    assert await people.reached_at(ann, {"type": "push_token", "value": "a token that nobody has"})


async def test_an_address_stays_in_the_ledger_only_until_the_receipt_is_acknowledged(world: World) -> None:
    world.outcomes = [SendResult("retry", "greylisted")]
    worker, entry = world.worker(), f"{{{world.namespace}}}:delivered:m1"
    await worker([action()])
    during = await world.redis.hget(entry, "action")
    world.now += 60 * MINUTE
    await worker.send_due()
    after = await world.redis.hgetall(entry)

    assert b"Ann@Shop.Example" in (during or b"")
    assert all(b"Ann@" not in value for value in after.values())


async def test_a_channel_without_an_adapter_goes_to_its_topic(world: World) -> None:
    phone = {"type": "phone", "value": "+493012345"}
    (handed,) = await world.worker()([action(channel="sms", address=phone, identifiers=[phone])])

    value = orjson.loads(handed.value)
    assert ("deliver.sms", ANN.encode()) == (handed.topic, handed.key)
    assert ("m1", "Hello Ann", phone) == (value["message_id"], value["text"], value["address"])


async def test_a_message_of_a_channel_without_topic_and_adapter_fails_instead_of_stopping_the_worker(
    world: World,
) -> None:
    """The file was right when the message was decided, and is another now."""
    ((event, _),) = told(await world.worker()([action(channel="kiosk", address=None)]))

    assert ("Kiosk Failed", []) == (event, world.sent)


async def test_a_webhook_step_that_is_not_set_up_goes_to_a_topic_with_its_context(world: World) -> None:
    (handed,) = await world.worker()(
        [action(channel="webhook", template="", address={"type": "webhook", "value": "accounts"}, identifiers=[])]
    )

    value = orjson.loads(handed.value)
    assert ("deliver.webhook", "accounts", {"event": {}, "run": {}}) == (
        handed.topic,
        value["address"]["value"],
        value["context"],
    )


async def test_a_bug_in_an_adapter_does_not_send_twice_or_affect_other_messages(world: World) -> None:
    class Broken(World):
        async def send(self, message: OutboundMessage, now_ms: int) -> SendResult:
            if message.key == "m1":
                raise ZeroDivisionError("a bug")
            return SendResult("sent")

    broken = Broken(world.redis, world.namespace, people=world.people)
    found = told(await broken.worker()([action(), action(idempotency_key="m2")]))

    assert ["Email Failed", "Email Sent"] == [event for event, _ in found]


@pytest.mark.parametrize(
    ("purpose", "expected"),
    [
        pytest.param("marketing", "https://shop.example/u?m=m1", id="marketing"),
        pytest.param("transactional", "", id="part of a contract"),
    ],
)
async def test_one_can_unsubscribe_from_marketing_alone(world: World, purpose: str, expected: str) -> None:
    await world.worker(unsubscribe_url="https://shop.example/u?m={message_id}")([action(purpose=purpose)])

    assert [expected] == [message.unsubscribe_url for message in world.sent]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"{}", id="no key"),
        pytest.param(b'{"idempotency_key": 7, "channel": "email", "profile_id": "p"}', id="a number as key"),
        pytest.param(
            b'{"idempotency_key": "m", "channel": "email", "profile_id": "p", "expires_at": "soon"}', id="no time"
        ),
    ],
)
async def test_a_record_that_is_no_action_becomes_a_dead_letter(world: World, value: bytes) -> None:
    (letter,) = await world.worker()([Arrived(value)])

    assert ("dead-letters", "deliver") == (letter.topic, orjson.loads(letter.value)["stage"])


PHONE = {"type": "phone", "value": "+37529"}


@pytest.mark.parametrize(
    ("fields", "result", "people", "expected"),
    [
        pytest.param({}, "sent", {}, ("email", "sent"), id="sent"),
        pytest.param({}, "bounced", {}, ("email", "bounced"), id="bounced"),
        pytest.param({}, "refused", {}, ("email", "failed"), id="failed"),
        pytest.param({}, "sent", {ANN: None}, ("email", "dropped"), id="the person was erased"),
        pytest.param({"channel": "sms", "address": PHONE}, "sent", {}, ("sms", "handed_over"), id="for a topic"),
    ],
)
async def test_a_message_is_counted_by_its_channel_and_outcome(
    world: World, fields: dict[str, Any], result: SendStatus, people: dict[str, Any], expected: tuple[str, str]
) -> None:
    world.outcomes, world.people = [SendResult(result)], world.people | people
    await world.worker()([action(**fields)])

    assert {expected: 1} == counted(world, metrics.MESSAGES)
    assert {("deliver",): 1} == counted(world, metrics.RECEIVED)


async def test_a_retried_and_redelivered_message_is_counted_once(world: World) -> None:
    world.outcomes = [SendResult("retry", "greylisted")]
    await world.worker()([action()])
    assert {} == counted(world, metrics.MESSAGES)
    world.now += MINUTE
    await world.worker().send_due()
    await world.worker()([action()])

    assert {("email", "sent"): 1} == counted(world, metrics.MESSAGES)
