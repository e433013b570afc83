"""The commands `throughline identity …` and `profile export|rebuild|erase`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from deploy.cli.main import app
from deploy.operations.provision import apply_topics
from deploy.settings import Settings
from tests.support.builders import at, order, touchpoint, visit
from tests.support.in_process_pipeline import Town, town
from tests.support.stack import Addresses, corner

pytestmark = pytest.mark.integration

ANN, BEN = {"user_id": "ann", "email": "ann@shop.example"}, {"crm_id": "ben", "phone": "+14155552671"}
BROWSER = {"anonymous_id": "browser-1"}


@pytest.fixture(scope="module")
def shop(servers: Addresses) -> Iterator[Settings]:
    with corner(servers) as settings:
        apply_topics(settings)
        yield settings


@pytest.fixture(autouse=True)
def deployment(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.settings.settings", lambda: shop)


@pytest.fixture(scope="module")
def people(shop: Settings) -> dict[str, str]:
    """Ann and Ben, whom a call to support has joined by mistake; profile id by name of who was first."""
    return asyncio.run(live(shop))


async def live(settings: Settings) -> dict[str, str]:
    mistake = {"user_id": "ann", "phone": "+14155552671"}
    async with town(settings) as here:
        published = await here.live(
            visit("Email", identifiers=BROWSER, event_id="visit"),
            order("hers", "10.00", identifiers=ANN | BROWSER, event_id="order"),
            order("his", "30.00", identifiers=BEN, occurred_at=at(days=1), event_id="till"),
            touchpoint("Call Ended", "call_center", identifiers=mistake, event_id="call"),
        )
        await here.live(touchpoint("Call Ended", "call_center", identifiers={"user_id": "carl", **BROWSER}))
        return {"ann": published[1]["profile_id"], "ben": published[2]["profile_id"]}


def run(*arguments: str, lines: str = "") -> Result:
    return CliRunner().invoke(app, arguments, input=lines)


def asked(*arguments: str) -> Any:
    """What a command prints as JSON."""
    result = run(*arguments, "--json")
    assert 0 == result.exit_code, result.stderr
    return json.loads(result.stdout)


def lines(*events: dict[str, Any] | str) -> str:
    return "\n".join(event if isinstance(event, str) else json.dumps(event) for event in events)


def test_a_file_of_events_is_resolved_in_order_and_broken_lines_are_named() -> None:
    first = touchpoint(identifiers=BROWSER, event_id="e1")
    second = touchpoint(identifiers={"user_id": "ann"}, event_id="e2")
    both = touchpoint(identifiers=BROWSER | {"user_id": "ann"}, event_id="e3")
    bad = touchpoint(occurred_at="yesterday", event_id="e4")
    result = run("identity", "resolve", "-", lines=lines(first, second, "{", "", bad, both))
    answers = [json.loads(line) for line in result.stdout.splitlines()]

    assert ["e1", "e2", "e3"] == [answer["event_id"] for answer in answers]
    assert ["anchor", "event_id", "merged", "profile_id", "refused"] == sorted(answers[0])
    assert [{"winner": answers[1]["profile_id"], "loser": answers[0]["profile_id"]}] == answers[2]["merged"]
    assert 1 == result.exit_code
    for said in ("line 3: event: The record is not JSON", "line 5: occurred_at: occurred_at is 'yesterday'", "2 lines"):
        assert said in result.stderr


def test_the_final_person_of_every_event_is_printed_after_the_last_one(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(lines(
        touchpoint(identifiers=BROWSER), touchpoint(identifiers={"user_id": "ann"}), touchpoint(identifiers={}),
        touchpoint(identifiers=BROWSER | {"user_id": "ann"}),
    ))  # fmt: skip
    result = run("identity", "resolve", str(file), "--final")
    answers = [json.loads(line) for line in result.stdout.splitlines()]

    assert 0 == result.exit_code
    ann = answers[1]["profile_id"]
    assert [ann, ann, None, ann] == [answer["final_profile_id"] for answer in answers]


def test_a_policy_is_tried_without_any_consequence(people: dict[str, str], tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text('types:\n  - {type: "*", limit: 1}\n')
    events = lines(*(touchpoint(identifiers={"user_id": "ann", "cookie": f"c{number}"}) for number in range(2)))
    result = run("identity", "resolve", "-", "--policy", str(policy), lines=events)

    assert [[], ["limit"]] == [
        [refusal["rule"] for refusal in json.loads(line)["refused"]] for line in result.stdout.splitlines()
    ]
    assert 4 == asked("profile", "show", "user_id:ann")["event_count"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("resolve", "nowhere.jsonl"), "cannot read nowhere.jsonl", id="no file"),
        pytest.param(("resolve", "-", "--policy", "nowhere.yaml"), "nowhere.yaml: cannot be read", id="no policy"),
        pytest.param(
            ("unmerge", "phone:+14155550000"), "no profile has the identifier phone:+14155550000", id="unknown"
        ),
        pytest.param(("unmerge", "email:null"), "email:null identifies no person", id="placeholder"),
        pytest.param(("unmerge", "user_id:ann", "user_id:carl"), "user_id:carl is of another profile", id="two people"),
        pytest.param(
            ("erase", "email:nobody@shop.example"), "no person is known by email:nobody@shop.example", id="nobody"
        ),
        pytest.param(("refusals", "--release", "user_id:ann"), "user_id:ann is not in quarantine", id="no quarantine"),
    ],
)
def test_an_impossible_command_fails_with_a_clear_message(
    people: dict[str, str], arguments: tuple[str, ...], said: str
) -> None:
    result = run("identity", *arguments)

    assert (1, "") == (result.exit_code, result.stdout)
    assert said in result.stderr


def test_an_identifier_is_written_with_its_type() -> None:
    result = run("identity", "unmerge", "ann")

    assert (2, True) == (result.exit_code, "write TYPE:VALUE" in result.stderr)


def test_a_preview_of_an_unmerge_changes_nothing(people: dict[str, str]) -> None:
    previews = [run("identity", "unmerge", "phone:(415) 555-2671", "crm_id:ben") for _ in range(2)]

    assert [0, 0] == [preview.exit_code for preview in previews]
    assert previews[0].stdout == previews[1].stdout
    for said in ("would lose 1 crm_id, 1 phone: 1 events, 1 orders", "would keep 1 anonymous_id, 1 email, 1 user_id"):
        assert said in previews[0].stdout


def test_explain_lists_merges_and_refusals(people: dict[str, str]) -> None:
    page = run("identity", "explain", "user_id:ann").stdout

    for said in ("merge of", "(by event call; shared_identifier)", "refuse: anonymous_id"):
        assert said in page


def test_refusals_lists_the_identifiers_with_the_most_refusals(people: dict[str, str]) -> None:
    (refused,) = asked("identity", "refusals")

    assert ("anonymous_id", 1, False) == (refused["type"], refused["refusals"], refused["quarantined"])


def test_an_export_has_everything_that_is_known(people: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "ann.json"
    result = run("profile", "export", "user_id:ann", "--out", str(out))
    exported = json.loads(out.read_text())

    assert (0, "") == (result.exit_code, result.stdout)
    assert (4, 5) == (exported["profile"]["event_count"], len(exported["identifiers"]))
    assert ["call", "order", "till", "visit"] == sorted(event["event_id"] for event in exported["events"])
    assert "merge" in {change["kind"] for change in exported["identity_changes"]}


def test_a_profile_is_rebuilt_from_history(people: dict[str, str]) -> None:
    before = asked("profile", "show", "user_id:ann")
    rebuilt = asked("profile", "rebuild", "user_id:ann", "email:ann@shop.example")
    after = asked("profile", "show", "user_id:ann")

    assert {before["profile_id"]: 4} == rebuilt
    assert {"active_customers", "engaged_web"} <= after["summary"]["segments"].keys()  # no worker had evaluated them
    before["summary"]["segments"] = after["summary"]["segments"]
    assert {**before, "version": before["version"] + 1} == after


def test_an_erasure_is_previewed_and_can_be_repeated(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    people = asyncio.run(live(stack))
    preview = asked("identity", "erase", "user_id:ann")
    wait = ("--timeout-s", "1")  # no relay runs here that would bring the erasure into the log
    receipt = asked("identity", "erase", "user_id:ann", "--yes", *wait)
    asyncio.run(relayed(stack))
    again = asked("profile", "erase", "user_id:ann", "--yes", *wait)

    assert {"anonymous_id": 1, "crm_id": 1, "email": 1, "phone": 1, "user_id": 1} == preview["identifiers"]
    assert (4, 2) == (preview["rows"]["touchpoints"], preview["rows"]["order_events"])
    assert {people["ann"], people["ben"]} == set(receipt["profile_ids"])
    assert (4, 2, 1) == (
        receipt["stores"]["clickhouse"]["touchpoints"],
        receipt["stores"]["clickhouse"]["order_events"],
        receipt["stores"]["redis_profiles"],
    )
    assert any("Kafka keeps the bytes" in remains for remains in receipt["remains"])
    assert receipt["profile_ids"][0] == again["profile_ids"][0]
    assert "touchpoints" not in again["stores"]["clickhouse"]


async def relayed(settings: Settings) -> None:
    async with town(settings) as here:
        await Town.relay(here)
