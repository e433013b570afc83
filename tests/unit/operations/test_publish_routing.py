"""Where `publish` sends a line, by which key, and what it refuses."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from deploy.operations.publish import LineRouter, NotPublishableError, PublishSummary, contract_check
from deploy.settings import Settings
from tests.support.builders import touchpoint


@pytest.fixture
def router() -> LineRouter:
    return LineRouter(("web", "store"), "t.", b"secret")


def key(router: LineRouter, identifiers: Any) -> bytes | None:
    return router.route(orjson.dumps({"event_id": "e1", "channel": "web", "identifiers": identifiers}))[1]


@pytest.mark.parametrize("channel", ["web", "store"])
def test_a_line_goes_to_the_topic_of_its_channel(router: LineRouter, channel: str) -> None:
    assert f"t.touchpoints.{channel}" == router.route(orjson.dumps(touchpoint(channel=channel)))[0]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"event_id": 5}, id="event_id is a number"),
        pytest.param({"occurred_at": "yesterday"}, id="no time"),
        pytest.param({"identifiers": "anonymous"}, id="identifiers are a text"),
        pytest.param({"identifiers": [None, 5, {"type": ["email"], "value": "a"}]}, id="identifiers of any shape"),
        pytest.param({"identifiers": {"user_id": None}}, id="identifier without a value"),
    ],
)
def test_a_line_with_a_known_channel_has_a_topic_whatever_else_is_wrong(
    router: LineRouter, fields: dict[str, Any]
) -> None:
    assert "t.touchpoints.web" == router.route(orjson.dumps(touchpoint(**fields)))[0]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(b"{", "not JSON: ", id="cut off"),
        pytest.param(b"\xff\xfe", "not JSON: ", id="not UTF-8"),
        pytest.param(b'{"channel":"web","revenue":NaN}', "not JSON: ", id="NaN"),
        pytest.param(b"[]", "a touchpoint is a JSON object, this is a list", id="a list"),
        pytest.param(b"{}", "channel: missing; it names the topic", id="no channel"),
        pytest.param(
            b'{"channel":"mars"}', "channel: 'mars' is not known; add it to THROUGHLINE_CHANNELS", id="unknown"
        ),
        pytest.param(b'{"channel":{"a":1}}', "channel: {'a': 1} is not known", id="channel is an object"),
    ],
)
def test_a_line_without_a_topic_is_refused_with_the_reason(router: LineRouter, line: bytes, reason: str) -> None:
    with pytest.raises(NotPublishableError) as refused:
        router.route(line)
    assert str(refused.value).startswith(reason)


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [
        pytest.param("user_id", "email", id="user_id before email"),
        pytest.param("crm_id", "loyalty_id", id="crm_id before loyalty_id"),
        pytest.param("email", "phone", id="email before phone"),
        pytest.param("device_id", "anonymous_id", id="device_id before anonymous_id"),
        pytest.param("anonymous_id", "badge", id="a known type before the operator's own"),
    ],
)
def test_the_strongest_identifier_makes_the_key(router: LineRouter, stronger: str, weaker: str) -> None:
    both = [{"type": weaker, "value": "b"}, {"type": stronger, "value": "a"}]
    assert key(router, [{"type": stronger, "value": "a"}]) == key(router, both)


def test_the_shorthand_map_gives_the_same_key(router: LineRouter) -> None:
    assert key(router, [{"type": "email", "value": "a@b.example"}]) == key(router, {"email": "a@b.example"})


def test_the_case_of_an_address_does_not_change_the_key(router: LineRouter) -> None:
    assert key(router, {"email": "a@b.example"}) == key(router, {"email": " A@B.example "})


def test_equal_values_of_two_types_have_two_keys(router: LineRouter) -> None:
    assert key(router, {"user_id": "7"}) != key(router, {"crm_id": "7"})


def test_no_address_stands_in_a_key(router: LineRouter) -> None:
    found = key(router, {"email": "ada@b.example"})
    assert found is not None
    assert b"ada" not in found


def test_another_secret_gives_another_key() -> None:
    one, other = (LineRouter(("web",), "", secret) for secret in (b"one", b"other"))
    assert key(one, {"user_id": "7"}) != key(other, {"user_id": "7"})


def test_an_event_without_identifiers_is_keyed_by_its_own_id(router: LineRouter) -> None:
    assert b"e1" == key(router, [])


def test_an_event_with_neither_has_no_key(router: LineRouter) -> None:
    assert router.route(b'{"channel":"web"}')[1] is None


def test_strict_names_the_field_and_the_rule() -> None:
    reason = contract_check(Settings())(orjson.dumps(touchpoint(occurred_at="2026-11-01T10:00:00")))
    assert reason is not None
    assert "occurred_at" in reason
    assert "offset" in reason


def test_strict_has_nothing_against_a_good_event() -> None:
    assert contract_check(Settings())(orjson.dumps(touchpoint())) is None


def test_the_first_problems_are_kept_and_all_are_counted() -> None:
    outcome = PublishSummary(refused=100)
    for number in range(100):
        outcome.problem(f"line {number}: x")
    assert (20, 100, False) == (len(outcome.problems), outcome.refused, outcome.ok)
