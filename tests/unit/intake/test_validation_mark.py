"""A record that the collector has marked is trusted; any other is validated in full, and no mark is an error."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from typing import Any

import orjson
import pytest

from processors.identity.stage import Identify
from processors.intake import record_forms
from processors.intake.collect import Collect, CollectResult
from processors.intake.decode import decode
from processors.intake.record_forms import decode_record
from processors.intake.segment_calls import Arrival
from processors.intake.validation_mark import CANONICAL_FORM, VALIDATED_HEADER, ValidationMark
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.dead_letters import Reason
from schemas.events import limits
from schemas.events.json_schema import text
from schemas.identity.policy import IdentityPolicy
from schemas.intake.sources import Source
from schemas.outcomes import Reject
from schemas.records import Headers, Outgoing
from tests.support.builders import touchpoint

MARK = ValidationMark(b"secret")
ALL = frozenset(TOUCHPOINT_CHANNELS)
MAX_BYTES = 65_536
SCHEMA_OF_FORM = {
    1: "5b7f777aeb0e984d",
    2: "c7e869b952dbdd8f",
    3: "9b6a48383cfc4056",
    4: "f2894d2f0bc709b4",
    5: "7906af3f67ee4628",
    6: "0d9b70c4be61c0ec",
    7: "019423b51ba61140",
    8: "8cac96629fa33913",
    9: "b69fe26a4705603f",
}


@dataclass
class Read:
    """A record as it is read from Kafka."""

    value: bytes | None
    headers: Headers = ()
    key: bytes | None = b"k"
    topic: str = "touchpoints.web"
    partition: int = 0
    offset: int = 0
    timestamp: int = 1_795_000_000_000


def collect(*events: Any, max_bytes: int = MAX_BYTES) -> CollectResult:
    collector = Collect(
        channels=ALL, max_event_bytes=max_bytes, key=lambda event: b"key", topic_prefix="", mark=MARK
    )  # fmt: skip
    arrivals = [Arrival(datetime.now(UTC), None, str(number)) for number in range(len(events))]
    return collector.touchpoints("till", Source(channel="store"), events, arrivals)


def record_of(event: Any, **options: int) -> Outgoing:
    [record] = collect(event, **options).outgoing
    return record


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Values that were validated in full."""
    values: list[bytes] = []

    def counted(value: bytes, **options: Any) -> Any:
        values.append(value)
        return decode(value, **options)

    monkeypatch.setattr(record_forms, "decode", counted)
    return values


def read(value: bytes | None, headers: Headers, *, mark: ValidationMark = MARK, **options: Any) -> Any:
    return decode_record(Read(value, headers), mark, **{"channels": ALL, "max_bytes": MAX_BYTES, **options})


def test_a_marked_record_is_parsed_and_not_validated_again(validated: list[bytes]) -> None:
    event = touchpoint("Order Completed", channel="web", properties={"order_id": 7, "revenue": 49.9, "currency": "eur"})
    record = record_of(event)
    trusted = read(record.value, record.headers)

    assert [] == validated
    assert decode(orjson.dumps({**event, "source": "till"}), channels=ALL, max_bytes=MAX_BYTES) == trusted


def test_the_stage_identify_trusts_the_mark(validated: list[bytes]) -> None:
    identities: Any = None
    stage = Identify(
        identities, policy=IdentityPolicy(), secret=b"secret", channels=ALL, max_event_bytes=MAX_BYTES
    )  # fmt: skip
    record = record_of(touchpoint(channel="web"))
    for headers in (record.headers, ()):
        stage._claim(Read(record.value, headers))

    assert [record.value] == validated


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((), id="absent"),
        pytest.param(((VALIDATED_HEADER, None),), id="without a value"),
        pytest.param(((VALIDATED_HEADER, b""),), id="empty"),
        pytest.param(((VALIDATED_HEADER, b"true"),), id="guessed"),
        pytest.param(((VALIDATED_HEADER, bytes(16)),), id="zeros"),
        pytest.param((("throughline-other", MARK.headers(b"{}")[0][1]),), id="under another name"),
    ],
)
def test_a_forged_mark_means_full_validation(headers: Headers, validated: list[bytes]) -> None:
    value = b"{}"

    assert Reason.MISSING_FIELD == read(value, headers).reason
    assert [value] == validated


@pytest.mark.parametrize(
    "key", [b"secret", blake2b(key=b"secret").digest(), blake2b(b"validation mark", key=b"secret").digest()]
)
def test_a_hash_with_the_identity_secret_itself_is_no_mark(key: bytes, validated: list[bytes]) -> None:
    forged = [(VALIDATED_HEADER, blake2b(b"{}", digest_size=16, key=key).digest())]

    assert isinstance(read(b"{}", forged), Reject)
    assert [b"{}"] == validated


def test_a_value_that_was_changed_after_it_was_marked_is_validated(validated: list[bytes]) -> None:
    record = record_of(touchpoint(channel="web"))
    tampered = record.value.replace(b'"verified":false', b'"verified":true')
    event = read(tampered, record.headers)

    assert tampered != record.value
    assert [tampered] == validated
    assert event["identifiers"][0]["verified"]  # as of any producer who may write to the topic


@pytest.mark.parametrize(
    "mark", [ValidationMark(b"another"), ValidationMark(b"secret", canonical_form=CANONICAL_FORM + 1)]
)
def test_the_mark_of_another_secret_or_form_costs_a_validation_and_nothing_else(
    mark: ValidationMark, validated: list[bytes]
) -> None:
    record = record_of(touchpoint(channel="web", identifiers={"user_id": 7}))

    assert orjson.loads(record.value) == read(record.value, record.headers, mark=mark)
    assert [record.value] == validated


def test_the_limits_of_the_deployment_hold_for_marked_records() -> None:
    record = record_of(touchpoint(channel="web"))

    assert Reason.UNKNOWN_CHANNEL == read(record.value, record.headers, channels=frozenset({"store"})).reason
    assert Reason.TOO_LARGE == read(record.value, record.headers, max_bytes=len(record.value) - 1).reason
    assert Reason.NOT_AN_OBJECT == read(None, record.headers).reason


def test_other_headers_beside_the_mark_do_no_harm(validated: list[bytes]) -> None:
    record = record_of(touchpoint(channel="web"))

    assert isinstance(read(record.value, [("traceparent", b"00"), *record.headers, ("empty", None)]), dict)
    assert [] == validated


@pytest.mark.parametrize(
    ("event", "max_bytes"),
    [
        pytest.param(touchpoint(channel="web", identifiers={"user_id": 7}), 0, id="more bytes"),
        pytest.param(
            touchpoint(
                "Order Completed",
                channel="web",
                identifiers={"user_id": [str(n) for n in range(50)]},
                properties={"order_id": "7", "currency": "EUR", **{f"p{n}": n for n in range(limits.MAX_KEYS - 20)}},
            ),
            400_000,
            id="more keys",
        ),
    ],
)
def test_an_event_whose_canonical_form_breaks_a_limit_goes_as_it_was_sent(event: Any, max_bytes: int) -> None:
    sent = {**event, "source": "till"}
    limit = max_bytes or len(orjson.dumps(sent))
    record = record_of(event, max_bytes=limit)

    assert (sent, ()) == (orjson.loads(record.value), record.headers)
    assert isinstance(read(record.value, record.headers, max_bytes=limit), dict)


def test_without_a_secret_there_is_no_mark() -> None:
    with pytest.raises(ValueError, match="THROUGHLINE_IDENTITY_SECRET"):
        ValidationMark(b"")


def test_a_change_of_the_contract_is_a_new_canonical_form() -> None:
    """When this fails, raise CANONICAL_FORM and note the digest: older collectors' records are then validated again."""

    def rules(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: rules(inner) for name, inner in part.items() if name not in ("description", "title")}
        return [rules(inner) for inner in part] if isinstance(part, list) else part

    digest = sha256(json.dumps(rules(json.loads(text())), sort_keys=True).encode()).hexdigest()[:16]
    assert SCHEMA_OF_FORM[CANONICAL_FORM] == digest
