"""The published JSON Schema is that of the models, and says of an event what the models say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import ValidationError
from typer.testing import CliRunner

from deploy.cli.main import app
from schemas.events.json_schema import FILE, text, touchpoint_schema
from schemas.events.touchpoint import EVENT_NAMES, read
from tests.support.builders import order, touchpoint

SCHEMA: dict[str, Any] = orjson.loads(FILE.read_bytes())
VALIDATOR = Draft202012Validator(SCHEMA)


def accepted_by_the_models(event: Any) -> bool:
    try:
        read(event)
    except ValidationError:
        return False
    return True


def test_the_published_file_is_what_the_models_export() -> None:
    assert text() == FILE.read_text("utf-8"), "run `throughline schema export --out schemas/touchpoint.schema.json`"


def test_the_schema_is_a_valid_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_known_event_belongs_to_exactly_one_alternative() -> None:
    named = [option["properties"]["event"] for option in touchpoint_schema()["oneOf"]]
    names = [name for event in named for name in event.get("enum", [event["const"]] if "const" in event else [])]

    assert sorted(EVENT_NAMES) == sorted(names)


def test_the_command_prints_the_schema_or_writes_it(tmp_path: Path) -> None:
    out = tmp_path / "schema.json"
    printed = CliRunner().invoke(app, ["schema", "export"])
    written = CliRunner().invoke(app, ["schema", "export", "--out", str(out)])

    assert (0, text(), 0, text()) == (printed.exit_code, printed.stdout, written.exit_code, out.read_text("utf-8"))


def test_the_command_fails_with_the_reason_where_it_cannot_write(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["schema", "export", "--out", str(tmp_path / "no" / "schema.json")])

    assert (1, True) == (outcome.exit_code, "No such file" in outcome.stderr)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(order("o1"), True, id="order"),
        pytest.param(touchpoint("Order Completed", properties={}), False, id="order without a number"),
        pytest.param(touchpoint("Order Completed"), False, id="order without properties"),
        pytest.param(touchpoint("Email Opened", properties={"campaign_id": 5, "anything": [1]}), True, id="extra keys"),
        pytest.param(touchpoint("Email Opened", properties=None, campaign=None), True, id="nulls"),
        pytest.param(touchpoint("Product Viewed", properties={"quantity": None}), True, id="null quantity"),
        pytest.param(touchpoint("Product Viewed", properties={"quantity": 0}), True, id="no pieces"),
        pytest.param(
            touchpoint("Order Completed", properties={"order_id": "o", "products": [{"quantity": "-0.5"}]}),
            True,
            id="goods that come back",
        ),
        pytest.param(touchpoint("Product Viewed", properties={"quantity": -1e10}), False, id="too many come back"),
        pytest.param(touchpoint("Product Viewed", properties={"price": "1,5"}), False, id="decimal comma"),
        pytest.param(touchpoint("Product Viewed", properties={"price": -1.5}), True, id="number as price"),
        pytest.param(touchpoint("Product Viewed", properties={"price": 10**12}), False, id="large price"),
        pytest.param(touchpoint("Product Viewed", properties={"price_minor": "5"}), False, id="minor units as text"),
        pytest.param(
            touchpoint("Price Changed", properties={"product_id": 1, "price_minor": 5, "currency": "EUR"}),
            True,
            id="minor",
        ),
        pytest.param(touchpoint("Price Changed", properties={"product_id": 1}), False, id="no new price"),
        pytest.param(touchpoint("Call Ended", properties={"direction": "sideways"}), False, id="unknown direction"),
        pytest.param(touchpoint("Fitting Room Booked", properties={"room": {"n": 5}}), True, id="custom"),
        pytest.param(touchpoint("Fitting Room Booked", properties={"revenue": "x"}), False, id="custom revenue"),
        pytest.param(touchpoint(identifiers=[{"type": "user_id", "value": 5}]), True, id="list of identifiers"),
        pytest.param(touchpoint(identifiers={"email": ["a@b.example"], "phone": None}), True, id="map of identifiers"),
        pytest.param(touchpoint(identifiers={"user_id": 1.5}), False, id="float identifier"),
        pytest.param(touchpoint(identifiers=[{"type": "user_id"}]), False, id="identifier without a value"),
        pytest.param(touchpoint(consent={"marketing": True, "channels": {"sms": False}}), True, id="consent"),
        pytest.param(touchpoint(consent={"marketing": "yes"}), False, id="consent as text"),
        pytest.param(touchpoint(consent={"sms": True}), False, id="misspelt consent"),
        pytest.param(touchpoint(received_at=5), True, id="received_at is ignored"),
        pytest.param(touchpoint(userId="u"), False, id="unknown field"),
        pytest.param(touchpoint(event_id=None), False, id="no event_id"),
        pytest.param(touchpoint(event_id=" "), False, id="blank event_id"),
        pytest.param([], False, id="a list"),
    ],
)
def test_schema_and_models_agree(event: Any, expected: bool) -> None:
    assert (expected, expected) == (accepted_by_the_models(event), VALIDATOR.is_valid(event))
