"""`throughline profile show` and `identity explain`: an operator asks about a person."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from deploy.cli.main import app
from deploy.connections.redis import async_redis_client
from deploy.operations.provision import migrate
from deploy.settings import Settings
from processors.identity.claims import candidate_profile, claims, event_key
from processors.profiles.stage import update
from processors.recording.rows import identity_rows
from schemas.events.touchpoint import read
from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import ResolveRequest
from schemas.time import ms_of_text
from sinks.clickhouse.client import ClickHouseSink
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.outbox import RedisOutbox, identity_outbox
from sinks.redis.profiles import RedisProfileStore
from tests.support.builders import at, touchpoint
from tests.support.databases import create_database

pytestmark = [pytest.mark.integration, pytest.mark.on_cluster]

STRANGER = "4ad3f1c0-0000-0000-0000-000000000000"


@pytest.fixture
def people(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Ann, who has a cart, an order and a trait that tries to steer the terminal, and Bob; profile id by name."""
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    product = {"product_id": "lamp", "name": "[bold]Lamp", "price": "49.90", "currency": "EUR"}
    order = {"order_id": "o1", "revenue": "120.00", "currency": "EUR", "products": [{"product_id": "chair"}]}
    ann = {"user_id": "42", "email": "Ann@shop.example"}
    events = [
        touchpoint("Product Added", occurred_at=at(days=2), properties=product),
        touchpoint("Order Completed", "app", identifiers=ann, occurred_at=at(days=1), properties=order),
        touchpoint(
            "Identify",
            identifiers={**ann, "anonymous_id": "browser-1"},
            traits={"first_name": "Ann", "title": "\x1b[31mred"},
            consent={"marketing": True, "channels": {"sms": False}},
        ),
        touchpoint("Page Viewed", identifiers={"crm_id": "42", "loyalty_id": "L:7"}),
    ]
    return asyncio.run(_arrive(stack, events))


async def _arrive(stack: Settings, events: list[dict[str, Any]]) -> dict[str, str]:
    policy, secret = IdentityPolicy(), stack.identity_secret.get_secret_value().encode()
    async with async_redis_client(stack, timeout_s=10) as redis:
        identities = RedisIdentityStore(redis, stack.redis_namespace, policy)
        found = []
        for number, sent in enumerate(events):
            event = read(sent)
            named, clear = claims(event, policy, secret)
            key, candidate = (
                event_key(event["source"], event["event_id"]),
                candidate_profile(event["source"], event["event_id"], secret),
            )
            received = ms_of_text(at(days=3))
            asked = ResolveRequest(
                event["event_id"], key, bytes([number] * 8), received, ms_of_text(at()), named, candidate
            )
            (resolution,) = await identities.resolve([asked])
            body = {**sent, "identifiers": clear, "profile_id": resolution.profile_id, "received_at": at(days=3)}
            found.append(body)
        await update(RedisProfileStore(redis, stack.redis_namespace), found)
    return {"ann": found[2]["profile_id"], "bob": found[3]["profile_id"]}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("who", ["user_id:42", "email:ANN@shop.example", "ann@shop.example", "browser-1"])
def test_a_person_is_found_by_any_identifier(people: dict[str, str], who: str) -> None:
    shown = run("profile", "show", who, "--json")

    assert (0, people["ann"]) == (shown.exit_code, json.loads(shown.stdout)["profile_id"])


def test_a_person_is_found_by_profile_id_in_any_case(people: dict[str, str]) -> None:
    shown = run("profile", "show", people["ann"].upper(), "--json")

    assert people["ann"] == json.loads(shown.stdout)["profile_id"]


def test_a_value_may_have_a_colon_in_it(people: dict[str, str]) -> None:
    assert people["bob"] == json.loads(run("profile", "show", "L:7", "--json").stdout)["profile_id"]


def test_the_json_has_the_whole_person(people: dict[str, str]) -> None:
    person = json.loads(run("profile", "show", "user_id:42", "--json").stdout)

    assert {"anonymous_id": 1, "email": 1, "user_id": 1} == person["identifiers"]
    assert (3, ["lamp"], "120.00") == (
        person["event_count"],
        [line["product_id"] for line in person["cart"]],
        person["orders"]["by_currency"]["EUR"]["net"],
    )


def test_the_json_has_what_follows_from_the_profile(people: dict[str, str]) -> None:
    summary = json.loads(run("profile", "show", "user_id:42", "--json").stdout)["summary"]

    assert ("1", None) == (summary["rfm"]["score"][1], summary["preferred"]["hour"])
    assert ["the person has said no to marketing by SMS"] == summary["reach"]["sms"][:1]
    assert ["ClickHouse, which has the events, is down"] == [line.partition(": ")[2] for line in summary["incomplete"]]


def test_the_page_shows_the_person_and_nothing_that_steers_the_terminal(people: dict[str, str]) -> None:
    shown = run("profile", "show", "user_id:42")

    assert 0 == shown.exit_code
    assert f"Ann · {people['ann']} · 3 events" in shown.stdout
    for fact in ("ann@shop.example", "net 120.00", "[bold]Lamp", "49.90 EUR", "marketing", r"\x1b[31mred"):
        assert fact in shown.stdout
    assert "\x1b" not in shown.stdout


@pytest.mark.parametrize(
    ("who", "advice"),
    [
        pytest.param("nobody", "no person is known by nobody: write the type before the value", id="unknown value"),
        pytest.param("user_id:7", "no person is known by user_id:7", id="unknown identifier"),
        pytest.param(STRANGER, f"no person is known by {STRANGER}", id="unknown profile"),
        pytest.param("null", "no person is known by null", id="a placeholder is nobody"),
        pytest.param("42", "42 is 2 people; say which: user_id:42, crm_id:42", id="ambiguous value"),
    ],
)
@pytest.mark.parametrize("command", [("profile", "show"), ("identity", "explain")], ids=" ".join)
def test_who_is_not_found_is_said_clearly(
    people: dict[str, str], command: tuple[str, str], who: str, advice: str
) -> None:
    shown = run(*command, who)

    assert (1, "") == (shown.exit_code, shown.stdout)
    assert advice in shown.stderr


@pytest.mark.parametrize("name", ["ann", "bob"])
def test_an_erased_person_is_not_shown(people: dict[str, str], stack: Settings, name: str) -> None:
    async def erase() -> None:
        async with async_redis_client(stack, timeout_s=10) as redis:
            await redis.set(f"{{{stack.redis_namespace}}}:alias:{people[name]}", "!")

    asyncio.run(erase())

    assert (1, f"{people[name]}: this person was erased\n") == _told(run("profile", "show", people[name]))


def test_a_server_that_is_down_is_named_with_advice(people: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Settings(redis_url="redis://127.0.0.1:1/0")
    monkeypatch.setattr("deploy.settings.settings", lambda: nowhere)
    code, said = _told(run("profile", "show", "user_id:42"))

    assert (1, True) == (code, "THROUGHLINE_REDIS_URL" in said)


def _told(result: Result) -> tuple[int, str]:
    return result.exit_code, result.stderr


def test_explain_names_the_events_that_brought_a_person_together(people: dict[str, str], stack: Settings) -> None:
    async def record() -> None:
        async with async_redis_client(stack, timeout_s=10) as redis:
            outbox = RedisOutbox(redis, identity_outbox(stack.redis_namespace))
            changes = [orjson.loads(record.value) for _, record in await outbox.pending(100)]
        sink = ClickHouseSink(stack.clickhouse_url, stack.clickhouse_database)
        for change in changes:
            for table, row in identity_rows({**change, "occurred_at": at()}):
                await sink.insert(table, [row], "")
        await sink.close()

    create_database(stack.clickhouse_url, stack.clickhouse_database)
    migrate(stack)
    asyncio.run(record())
    explained = json.loads(run("identity", "explain", "ann@shop.example", "--json").stdout)

    assert (people["ann"], ["anonymous_id", "email", "user_id"]) == (
        explained["profile_id"],
        sorted(one["type"] for one in explained["identifiers"]),
    )
    assert ["bind", "bind", "merge"] == [change["kind"] for change in explained["changes"]]

    page = run("identity", "explain", "ann@shop.example").stdout

    assert f"profile {people['ann']}: 1 anonymous_id, 1 email, 1 user_id\n" in page
    assert f"merge of {explained['changes'][-1]['from_profile_id']}: " in page


def test_explain_without_clickhouse_still_names_the_identifiers(people: dict[str, str]) -> None:
    explained = run("identity", "explain", "user_id:42", "--json")

    assert (0, None, 3) == (
        explained.exit_code,
        json.loads(explained.stdout)["changes"],
        len(json.loads(explained.stdout)["identifiers"]),
    )
    assert "no history" in explained.stderr
