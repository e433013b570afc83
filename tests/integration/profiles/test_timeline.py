"""The time line of a person: all channels, decisions and merges, newest first, page by page."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner, Result

from deploy.cli.main import app
from processors.identity.claims import all_claims
from processors.recording.decision_rows import decision_rows
from schemas.identity.policy import IdentityPolicy
from sinks.redis.keys import person_prefix
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, instant, person, resolved

pytestmark = pytest.mark.integration

SENT, HELD_BACK = "Sent by e-mail: nothing speaks against it.", "Not sent: the person has said no to marketing."


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["profile", "timeline", *arguments])


def decided(number: int, who: int, hours: int, outcome: str, reason: str, channel: str = "") -> dict[str, Any]:
    return {
        "decision_id": person(number), "decided_at": instant(DAY_ONE + timedelta(hours=hours)),
        "profile_id": person(who), "journey": "welcome", "journey_version": "v1", "run_id": "r", "step": "1",
        "message": "hello", "channel": channel, "purpose": "marketing", "tags": [], "campaign": "", "outcome": outcome,
        "gate": "", "reason": reason, "until": None, "idempotency_key": f"k{number}", "variant": "", "holdout": "",
        "propensity": None, "gates": [], "event_id": "e1",
    }  # fmt: skip


@pytest.fixture
def anna(tables: Warehouse) -> str:
    """Anna on three channels; she was two people until hour 4: the second had a store visit and a decision."""
    tables.store(
        resolved("e1", 1, DAY_ONE),
        resolved("e2", 1, DAY_ONE, source="app", event="Product Viewed", properties={"product_id": "p1"}),
        resolved("e3", 2, DAY_ONE + timedelta(hours=1), channel="store", event="Receipt Issued"),
        resolved("e5", 1, DAY_ONE + timedelta(hours=5), channel="email", event="Email Opened"),
        resolved("named", 3, DAY_ONE, event="Product Viewed", properties={"product_id": "p1", "name": "Lamp"}),
    )
    for row in (
        decided(11, 2, 2, "suppressed", HELD_BACK),
        decided(12, 1, 5, "sent", SENT, "email"),
        decided(13, 3, 2, "sent", SENT, "email"),
    ):
        for table, written in decision_rows(row):
            tables.insert(table, written)
    tables.change(
        {
            "version": 9, "kind": "merge", "profile_id": person(1), "from_profile_id": person(2),
            "anchors": [[person(2), "email"]], "event_id": "e4",
            "occurred_at": instant(DAY_ONE + timedelta(hours=4)), "rule": "shared_identifier",
        }
    )  # fmt: skip

    async def keep() -> None:
        settings = tables.settings
        async with Redis.from_url(settings.redis_url) as redis:
            await redis.hset(f"{person_prefix(settings.redis_namespace, person(1))}profile:{person(1)}", mapping={
                "version": 1, "document": json.dumps({"profile_id": person(1), "event_count": 4})})  # fmt: skip
            await redis.set(f"{{{settings.redis_namespace}}}:alias:{person(2)}", person(1))

    asyncio.run(keep())
    secret = tables.settings.identity_secret.get_secret_value().encode()
    (claim,) = all_claims("email", "gone@shop.example", IdentityPolicy(), secret, "")
    tables.change(
        {
            "version": 10, "kind": "erase", "profile_id": person(7), "from_profile_id": "", "event_id": "",
            "anchors": [[claim.anchor, "email"]], "occurred_at": instant(DAY_ONE), "rule": "erasure",
        }
    )  # fmt: skip
    return person(1)


WHOLE = [
    ("decision", SENT),
    ("event", "e5"),
    ("merge", person(2)),
    ("decision", HELD_BACK),
    ("event", "e3"),
    ("event", "e2"),
    ("event", "e1"),
]


def told(entries: list[dict[str, Any]]) -> list[tuple[str, str]]:
    names = {"event": "event_id", "decision": "reason", "merge": "from_profile_id"}
    return [(one["kind"], one[names[one["kind"]]]) for one in entries]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
def test_pages_together_are_the_whole_newest_first(anna: str, limit: int) -> None:
    entries, page, pages = [], "", 0
    while page is not None:
        answer = json.loads(run(anna, "--json", "--limit", str(limit), "--page", page).stdout)
        entries += answer["entries"]
        page, pages = answer["next"], pages + 1

    assert (WHOLE, -(-len(WHOLE) // limit)) == (told(entries), pages)


def test_the_id_of_a_merged_profile_leads_to_the_whole_person(anna: str) -> None:
    answer = json.loads(run(person(2), "--json").stdout)

    assert (anna, WHOLE) == (answer["profile_id"], told(answer["entries"]))


def test_the_page_has_the_name_of_a_product_that_the_person_saw_without_one(anna: str) -> None:
    shown = CliRunner().invoke(app, ["profile", "show", anna, "--json"])
    summary = json.loads(shown.stdout)["summary"]

    assert ({"p1": "Lamp"}, []) == (summary["product_names"], summary["incomplete"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(["--channel", "email"], [WHOLE[0], WHOLE[1]], id="a channel, of which a merge has none"),
        pytest.param(["--from", instant(DAY_ONE + timedelta(hours=4))], WHOLE[:3], id="from a time"),
        pytest.param(["--to", instant(DAY_ONE + timedelta(hours=1))], WHOLE[5:], id="to a time, which is not in it"),
        pytest.param(["--from", "2100-01-01"], [], id="a day without anything"),
    ],
)
def test_it_is_narrowed(anna: str, options: list[str], expected: list[tuple[str, str]]) -> None:
    assert expected == told(json.loads(run(anna, "--json", *options).stdout)["entries"])


@pytest.mark.parametrize(
    ("who", "said"),
    [
        pytest.param("email:gone@shop.example", "this person was erased", id="erased, by address"),
        pytest.param("gone@shop.example", "this person was erased", id="erased, by value"),
        pytest.param("email:other@shop.example", "no person is known by", id="unknown"),
        pytest.param(person(99), "no person is known by", id="unknown profile"),
    ],
)
def test_someone_erased_and_someone_unknown_are_said_to_be_so(anna: str, who: str, said: str) -> None:
    shown = run(who)

    assert (1, "") == (shown.exit_code, shown.stdout)
    assert said in shown.stderr
