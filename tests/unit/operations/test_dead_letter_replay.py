"""What a replay makes of a dead letter: no write key that everybody can read says more by it than to the collector."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from deploy.operations.dead_letters import Replayer, ReplayRecord, replay
from deploy.operations.definition_files import DefinitionError
from deploy.operations.sources import collect_for, load_sources
from deploy.settings import Settings
from processors.intake.decode import decode
from processors.intake.segment_calls import Arrival
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.dead_letters import DeadLetter, Truncation
from schemas.outcomes import Reject
from sinks.clickhouse.dead_letters import StoredDeadLetter
from tests.support.builders import touchpoint

RECEIVED = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
FORGED = {
    "event_id": "order-4712",
    "event": "Order Completed",
    "channel": "store",
    "occurred_at": "2026-11-22T09:00:00Z",
    "identifiers": [{"type": "email", "value": "victim@shop.example", "verified": True}],
    "properties": {"order_id": "4712", "revenue": "99999.00", "currency": "EUR"},
    "consent": {"marketing": True},
}


def stored(value: Any, *, stage: str = "collect", topic: str = "touchpoints.web", **fields: Any) -> StoredDeadLetter:
    raw = value if isinstance(value, bytes) else orjson.dumps(value)
    letter = {
        "topic": topic, "partition": -1, "offset": 7, "received_at": RECEIVED, "stored_at": RECEIVED, "stage": stage,
        "reason": "missing_field", "field": "", "message": "no", "key_base64": "",
        "value_base64": b64encode(raw).decode(),
    }  # fmt: skip
    return StoredDeadLetter(**{**letter, **fields})


def letter_of(
    call: Any, verb: str | None = "track", source: str = "web", settings: Settings | None = None
) -> DeadLetter:
    """The dead letter that the collector makes of a refused call."""
    found = settings or Settings()
    arrival = Arrival(RECEIVED, None, "r-1")
    collected = collect_for(found).calls(source, load_sources(found)[source], [(call, verb)], [arrival])
    [outgoing] = collected.outgoing
    assert "dead-letters" == outgoing.topic, outgoing
    return DeadLetter.model_validate_json(outgoing.value)


def again(letter: DeadLetter | StoredDeadLetter, settings: Settings | None = None) -> ReplayRecord | str:
    if isinstance(letter, DeadLetter):
        letter = StoredDeadLetter(**letter.model_dump(), stored_at=RECEIVED)
    found = Replayer(settings or Settings()).records(letter)
    if isinstance(found, str):
        return found
    [record] = found
    return record


def test_a_refused_call_that_looks_like_a_touchpoint_is_kept_as_none_and_replayed_as_none() -> None:
    letter = letter_of(FORGED)
    reread = decode(letter.value, channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=65_536)

    assert {"call": FORGED, "source": "web", "verb": "track"} == orjson.loads(letter.value)
    assert "touchpoints.web" == letter.topic  # not the one that the call names
    assert isinstance(reread, Reject)
    assert str(again(letter)).startswith("missing_field: userId")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({}, "channel"),
        ({"channel": "web"}, "identifiers"),
        ({"channel": "web", "identifiers": [{"type": "user_id", "value": "7", "verified": True}]}, "identifiers"),
        ({"channel": "web", "identifiers": {"email": "victim@shop.example"}}, "identifiers"),
        ({"channel": "web", "identifiers": [{"type": "email", "value": "victim@shop.example"}]}, "identifiers"),
        ({"channel": "web", "identifiers": ["user_id"]}, "identifiers"),
        ({"channel": "web", "identifiers": []}, "consent"),
        ({"channel": "web", "identifiers": [], "consent": "yes"}, "consent"),
        ({"channel": "web", "event": "Price Changed"}, "event"),
        ({"channel": None}, "channel"),
    ],
)
def test_a_forged_touchpoint_of_an_older_letter_is_not_replayed(more: dict[str, Any], field: str) -> None:
    found = again(stored({**FORGED, **more, "source": "web"}))

    assert isinstance(found, str)
    assert found.startswith("invalid_field: ")
    assert field in found


def test_a_letter_of_a_source_that_is_gone_or_of_none_is_not_replayed() -> None:
    for event in ({**FORGED, "source": "gone"}, FORGED, {**FORGED, "source": ["web"]}):
        assert "invalid_field: Its source is not defined any more." == again(stored(event))
    for value in (b"", b"[]", b"\xff", b'"nested too deep to be written"'):
        assert str(again(stored(value))).startswith("not_an_object")


def test_what_a_server_sent_is_replayed_with_a_servers_rights() -> None:
    record = again(stored({**FORGED, "source": "server"}))

    assert isinstance(record, ReplayRecord)
    event = orjson.loads(record.value)
    assert ("touchpoints.store", "order-4712", "server") == (record.topic, event["event_id"], event["source"])
    assert event["identifiers"][0]["verified"]


def test_a_call_that_was_refused_for_its_channel_is_translated_once_the_source_may_name_it(tmp_path: Path) -> None:
    call = {"userId": "7", "event": "Seen", "context": {"channel": "app"}, "timestamp": "2026-11-22T12:00:00Z"}
    letter = letter_of({**call, "writeKey": "w"})
    sources = tmp_path / "sources.yaml"
    sources.write_text("sources: {web: {channel: app, kind: browser}}")
    settings = Settings(sources_file=sources, topic_prefix="t-")
    records = [again(letter, settings) for _ in range(2)]

    assert str(again(letter)).startswith("invalid_field: context.channel")
    assert b"writeKey" not in letter.value
    [first, second] = [one for one in records if isinstance(one, ReplayRecord)]
    event = orjson.loads(first.value)
    assert first == second  # so the second one is a duplicate
    assert ("t-touchpoints.app", "app", "web") == (first.topic, event["channel"], event["source"])
    assert "2026-11-22T10:00:00.000Z" == event["occurred_at"]  # not later than it came in
    assert [{"type": "user_id", "value": "7", "verified": False}] == event["identifiers"]


def test_the_clock_of_the_client_is_corrected_as_it_would_have_been() -> None:
    call = {"userId": "7", "event": "Seen", "messageId": "m", "timestamp": "2026-11-22T08:00:00Z"}
    value = {"call": call, "source": "web", "verb": "track", "sent_at": "2026-11-22T08:30:00Z"}
    record = again(stored(value))

    assert isinstance(record, ReplayRecord)
    assert "2026-11-22T09:30:00.000Z" == orjson.loads(record.value)["occurred_at"]


def test_a_translated_event_that_a_limit_kept_out_is_replayed_when_the_limit_is_raised() -> None:
    call = {"userId": "7", "event": "Seen", "messageId": "m", "properties": {"a": "x" * 2_000}}
    letter = letter_of(call, settings=Settings(max_event_bytes=1_024))

    assert str(again(letter, Settings(max_event_bytes=1_024))).startswith("too_large")
    assert isinstance(again(letter), ReplayRecord)


def test_a_record_that_another_stage_refused_is_replayed_byte_by_byte() -> None:
    letter = stored(b"\xff{", stage="identify", topic="t-touchpoints.web", key_base64=b64encode(b"k").decode())

    assert ReplayRecord("t-touchpoints.web", b"k", b"\xff{") == again(letter)


def test_a_letter_that_does_not_keep_the_whole_record_is_not_replayed() -> None:
    cut = stored(b"{" * 10, stage="identify", message=f"too large {Truncation(0, 0, 10, 2_000_000)}")

    place = f"{cut.topic} {cut.partition} {cut.offset}"
    assert f"truncated: the letter does not keep the whole record, which is at {place}" == again(cut)
    over_http = again(stored(b"{" * 10, message=cut.message))
    assert "truncated: the letter does not keep the whole record, which is in no topic: send it again" == over_http


def test_a_dry_run_counts_what_would_be_published_and_what_would_not() -> None:
    letters = [stored(FORGED | {"source": "web"}), stored(touchpoint(), stage="identify"), stored(b"x", stage="record")]
    outcome = replay(letters, Settings(kafka_bootstrap="127.0.0.1:9"), dry_run=True)

    assert (2, 1, "") == (outcome.published, outcome.refused.total(), outcome.failure)


def test_sources_that_cannot_be_read_are_an_error_and_no_replay(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text("sources: {web: {channel: mars}}")
    with pytest.raises(DefinitionError, match="mars"):
        Replayer(Settings(sources_file=tmp_path / "sources.yaml", write_keys=SecretStr("web=k")))
