"""A resolved record of another version, or of nobody's making, is rejected with its reason; it raises nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
import pytest

from processors.stream.resolved import parse_resolved
from schemas.dead_letters import Reason
from schemas.outcomes import Ok, Reject
from schemas.records import Headers
from tests.support.profiles import resolved

GOOD = resolved()


class Raw(NamedTuple):
    value: bytes | None
    offset: int = 0
    topic: str = "resolved-touchpoints"
    partition: int = 0
    timestamp: int = 0
    key: bytes | None = b""
    headers: Headers = ()


def without(name: str) -> dict[str, Any]:
    return {field: value for field, value in GOOD.items() if field != name}


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(GOOD, id="as it is"),
        pytest.param({**GOOD, "profile_id": None}, id="about no person"),
        pytest.param({**GOOD, "consent_v2": {"new": True}}, id="with a field of a newer version"),
    ],
)
def test_a_resolved_touchpoint_is_parsed(event: dict[str, Any]) -> None:
    assert Ok(event) == parse_resolved(Raw(orjson.dumps(event)))


@pytest.mark.parametrize(
    ("value", "reason", "field"),
    [
        pytest.param(None, Reason.NOT_JSON, "", id="a tombstone"),
        pytest.param(b"{", Reason.NOT_JSON, "", id="no JSON"),
        pytest.param(b"\xff", Reason.NOT_JSON, "", id="no UTF-8"),
        pytest.param(b"[]", Reason.NOT_AN_OBJECT, "", id="a list"),
        pytest.param(b"{}", Reason.MISSING_FIELD, "event_id", id="an empty object"),
        *(
            pytest.param(orjson.dumps(without(name)), Reason.MISSING_FIELD, name, id=f"no {name}")
            for name in ("event_id", "event", "occurred_at", "received_at", "profile_id")
        ),
        *(
            pytest.param(orjson.dumps({**GOOD, name: 7}), Reason.INVALID_FIELD, name, id=f"another {name}")
            for name in ("event_id", "event", "occurred_at", "received_at", "profile_id")
        ),
        pytest.param(orjson.dumps({**GOOD, "profile_id": ""}), Reason.INVALID_FIELD, "profile_id", id="empty person"),
    ],
)
def test_anything_else_is_rejected(value: bytes | None, reason: Reason, field: str) -> None:
    outcome = parse_resolved(Raw(value))

    assert isinstance(outcome, Reject)
    assert (reason, field) == (outcome.reason, outcome.field)
