"""An operator finds out why records were refused and publishes them again."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.connections.kafka import kafka_connection
from deploy.operations.provision import migrate
from deploy.operations.sources import collect_for, load_sources
from deploy.settings import Settings
from processors.intake.segment_calls import Arrival
from schemas.dead_letters import DeadLetter
from schemas.topics import Topic
from sinks.clickhouse.client import connect
from sinks.kafka.producer import create_topics
from tests.support.builders import touchpoint
from tests.support.databases import create_database
from tests.support.topic_reader import everything

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 23, tzinfo=UTC)
BAD_BYTES = b"\x1b[31m\xff{'a': 1}"
COLUMNS = [
    "topic", "partition", "offset", "received_at", "stage", "reason", "field", "message", "key_base64", "value_base64",
]  # fmt: skip


def row(topic: str, offset: int, reason: str, key: bytes, value: bytes, partition: int = 0) -> list[Any]:
    received_at = datetime(2026, 11, 22, 10, offset, tzinfo=UTC)
    texts = [b64encode(raw).decode() for raw in (key, value)]
    return [topic, partition, offset, received_at, "identify", reason, "", f"record {offset}\x1b[2J", *texts]


@pytest.fixture
def web(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The full name of a topic, three of whose records are dead letters; one of them was written twice."""
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    topic = stack.topic_prefix + "touchpoints.web"
    create_topics(kafka_connection(stack), [Topic(topic, "key", -1)], partitions=1, replicas=1)
    create_database(stack.clickhouse_url, stack.clickhouse_database)
    migrate(stack)
    client = connect(stack.clickhouse_url, stack.clickhouse_database)
    try:
        rows = [
            row(topic, 1, "not_json", b"k1", BAD_BYTES),
            row(topic, 2, "invalid_field", b"", b'{"a": 1}'),
            row(topic, 3, "not_json", b"k3", b""),
        ]
        client.insert("dead_letters", rows, COLUMNS)
        client.insert("dead_letters", rows[:1], COLUMNS)
        yield topic
    finally:
        client.close()


def run(*arguments: str) -> tuple[int, str, str]:
    outcome = CliRunner().invoke(app, ["dead-letters", *arguments])
    return outcome.exit_code, outcome.stdout, outcome.stderr


def published(settings: Settings, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Keys and values of the records of the topic's one partition, in order."""
    found = everything(settings, topic.removeprefix(settings.topic_prefix))
    return [(key, value) for _, _, key, value in found]


def test_the_list_counts_each_record_once_and_shows_the_newest_first(web: str) -> None:
    code, out, err = run("list", "--json", "--limit", "2")

    assert (0, [3, 2]) == (code, [letter["offset"] for letter in json.loads(out)])
    assert "3 dead letters: not_json 2, invalid_field 1" in err


@pytest.mark.parametrize(
    ("narrowed", "expected"),
    [
        pytest.param(["--reason", "invalid_field"], [2], id="reason"),
        pytest.param(["--stage", "record"], [], id="stage"),
        pytest.param(["--topic", "elsewhere' OR '1'='1"], [], id="topic"),
        pytest.param(["--from", "2026-11-22T10:02:00"], [3, 2], id="from"),
        pytest.param(["--to", "2026-11-22T10:02:00"], [1], id="to"),
        pytest.param(["--to", "2026-11-22T12:02:00+0200"], [1], id="to, in another zone"),
        pytest.param(["--from", "2026-11-22", "--to", "2026-11-23"], [3, 2, 1], id="a day"),
    ],
)
def test_the_list_can_be_narrowed(web: str, narrowed: list[str], expected: list[int]) -> None:
    code, out, _ = run("list", "--json", *narrowed)

    assert (0, expected) == (code, [letter["offset"] for letter in json.loads(out)])


def test_what_is_printed_for_people_cannot_steer_the_terminal(web: str) -> None:
    listed, shown = run("list"), run("show", web, "0", "1")

    assert (0, 0) == (listed[0], shown[0])
    assert "\x1b" not in listed[1] + shown[1]
    assert r"value        \x1b[31m\xff{'a': 1}" in shown[1].splitlines()


def test_show_has_the_original_bytes(web: str) -> None:
    code, out, _ = run("show", web, "0", "1", "--json")
    shown = json.loads(out)

    assert (0, "k1", b64encode(BAD_BYTES).decode()) == (code, shown["key"], shown["value_base64"])
    assert 1 == run("show", web, "0", "99")[0]


def test_what_the_collector_refused_is_shown_by_the_partition_that_it_never_had(web: str, stack: Settings) -> None:
    client = connect(stack.clickhouse_url, stack.clickhouse_database)
    client.insert("dead_letters", [row(web, 7, "missing_field", b"", b'{"type": "track"}', partition=-1)], COLUMNS)
    client.close()
    code, out, _ = run("show", web, "-1", "7", "--json")

    assert (0, {"type": "track"}) == (code, json.loads(json.loads(out)["value"]))


def test_replay_publishes_the_original_keys_and_bytes_to_the_original_topic(web: str, stack: Settings) -> None:
    code, out, err = run("replay", "--json")

    expected = {"matching": {"not_json": 2, "invalid_field": 1}, "published": 3, "dry_run": False, "refused": 0}
    assert (0, expected) == (code, json.loads(out)), err
    assert [(b"k1", BAD_BYTES), (None, b'{"a": 1}'), (b"k3", b"")] == published(stack, web)


def test_a_second_replay_publishes_what_was_refused_since_and_nothing_else(web: str, stack: Settings) -> None:
    assert 0 == run("replay", "--reason", "invalid_field")[0]
    code, out, err = run("replay", "--json")
    assert (0, {"not_json": 2}, 2) == (code, json.loads(out)["matching"], json.loads(out)["published"]), err
    assert "left out 1 that were published before" in err

    client = connect(stack.clickhouse_url, stack.clickhouse_database)
    client.insert("dead_letters", [row(web, 4, "not_json", b"k1", BAD_BYTES)], COLUMNS)  # refused again
    # The log was lost, and another record has the offset.
    client.insert(
        "dead_letters",
        [[*row(web, 3, "not_json", b"", b"new")[:3], NOW, *row(web, 3, "not_json", b"", b"new")[4:]]],
        COLUMNS,
    )
    client.close()
    assert 2 == json.loads(run("replay", "--dry-run", "--json")[1])["matching"]["not_json"]
    assert 2 == json.loads(run("replay", "--json")[1])["published"]
    assert 0 == json.loads(run("replay", "--json")[1])["published"]
    assert [b'{"a": 1}', BAD_BYTES, b"", b"new", BAD_BYTES] == [value for _, value in published(stack, web)]


def test_replay_again_publishes_all(web: str, stack: Settings) -> None:
    assert [3, 0, 3] == [json.loads(run("replay", "--json", *more)[1])["published"] for more in ([], [], ["--again"])]
    assert 6 == len(published(stack, web))


def test_what_was_not_published_is_not_left_out_later(
    web: str, stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 == run("replay", "--dry-run")[0]
    elsewhere = stack.model_copy(update={"kafka_bootstrap": "127.0.0.1:9"})
    with monkeypatch.context() as patch:
        patch.setattr("sinks.kafka.producer.DELIVERY_TIMEOUT_S", -4)
        patch.setattr("deploy.settings.settings", lambda: elsewhere)
        assert 1 == run("replay")[0]

    assert 3 == json.loads(run("replay", "--json")[1])["published"]


def test_replay_publishes_no_event_that_a_browsers_key_has_forged(web: str, stack: Settings) -> None:
    call = {
        "event_id": "order-4712", "event": "Order Completed", "channel": "web", "occurred_at": "2026-11-22T09:00:00Z",
        "identifiers": [{"type": "email", "value": "victim@shop.example", "verified": True}],
        "properties": {"order_id": "4712", "revenue": "99999.00", "currency": "EUR"},
    }  # fmt: skip
    arrival = Arrival(datetime(2026, 11, 22, 10, tzinfo=UTC), None, "r-1")
    collected = collect_for(stack).calls("web", load_sources(stack)["web"], [(call, "track")], [arrival])
    [letter] = [DeadLetter.model_validate_json(one.value) for one in collected.outgoing]
    older = orjson.dumps({**call, "source": "web"})  # as such calls were kept once
    client = connect(stack.clickhouse_url, stack.clickhouse_database)
    rows = [row(web, offset, "missing_field", b"", value, -1) for offset, value in enumerate((letter.value, older), 7)]
    client.insert("dead_letters", [[*one[:4], "collect", *one[5:]] for one in rows], COLUMNS)
    client.close()
    code, out, err = run("replay", "--stage", "collect", "--json")

    assert (0, 0, 2) == (code, json.loads(out)["published"], json.loads(out)["refused"]), err
    assert "identifiers are more than this write key counts for" in err
    assert [] == published(stack, web)
    shown = json.loads(run("show", web, "-1", "7", "--json")[1])
    assert {"call": call, "source": "web", "verb": "track"} == json.loads(shown["value"])


def test_replay_can_be_narrowed_and_tried_dry(web: str, stack: Settings) -> None:
    assert 0 == run("replay", "--dry-run")[0]
    assert [] == published(stack, web)

    assert 0 == run("replay", "--reason", "invalid_field", "--topic", web)[0]
    assert [(None, b'{"a": 1}')] == published(stack, web)


def test_an_unknown_reason_is_a_usage_error_and_a_store_that_is_down_a_failure(
    web: str, stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2 == run("list", "--reason", "bad_luck")[0]

    elsewhere = stack.model_copy(update={"clickhouse_url": "http://127.0.0.1:9"})
    monkeypatch.setattr("deploy.settings.settings", lambda: elsewhere)
    code, _, err = run("list")
    assert (1, True) == (code, "Is it running?" in err)


def test_replay_with_a_transform_shows_first_and_publishes_what_is_accepted_once_it_is_told_to(
    web: str, stack: Settings, tmp_path: Path
) -> None:
    client = connect(stack.clickhouse_url, stack.clickhouse_database)
    old = {**touchpoint(event_id="old"), "occurred_at": None}
    client.insert("dead_letters", [row(web, 8, "missing_field", b"", orjson.dumps(old))], COLUMNS)
    client.close()
    file = tmp_path / "fix.yaml"
    file.write_text("name: fix\nsteps: [{default: {occurred_at: '2026-11-22T09:00:00Z'}}]\n")
    shown = run("replay", "--with", str(file), "--json")
    before = published(stack, web)
    done = run("replay", "--with", str(file), "--apply", "--json")

    assert (0, []) == (shown[0], before)
    counts = json.loads(shown[1])
    assert (1, 0, 3) == (counts["would_publish"], counts["published"], counts["refused"])
    assert (0, 1) == (done[0], json.loads(done[1])["published"])
    [event] = [orjson.loads(value or b"") for _, value in published(stack, web)]
    assert ("old", ["fix@1"]) == (event["event_id"], event["context"]["transformed"])
    assert 0 == json.loads(run("replay", "--with", str(file), "--apply", "--json")[1])["published"]
    assert 2 == run("replay", "--apply")[0]
