"""An event and a definition that break the same rule are told the same."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from pydantic import BaseModel

from deploy.operations.definition_files import DefinitionError, load
from processors.intake.decode import decode
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.outcomes import Reject
from schemas.validation_messages import broken_rule
from tests.support.builders import touchpoint


class Definition(BaseModel):
    """A definition with the fields of the events below."""

    event: str = ""
    verified: bool = True
    quantity: int = 1


@pytest.mark.parametrize(
    ("field", "value", "event", "rule"),
    [
        ("event", 7, touchpoint(event=7), "should be a text"),  # type: ignore[arg-type]
        (
            "verified", "maybe", touchpoint(identifiers=[{"type": "email", "value": "a", "verified": "maybe"}]),
            "should be true or false",
        ),
    ],
)  # fmt: skip
def test_the_rule_is_worded_once(tmp_path: Path, field: str, value: object, event: object, rule: str) -> None:
    (tmp_path / "x.yaml").write_text(f"{field}: {orjson.dumps(value).decode()}\n", "utf-8")

    found = decode(orjson.dumps(event), channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=65_536)
    with pytest.raises(DefinitionError) as raised:
        load(tmp_path / "x.yaml", Definition)

    assert isinstance(found, Reject)
    assert found.message.endswith(f"it {rule}.")
    assert str(raised.value).endswith(f": {field}: {rule}")


@pytest.mark.parametrize(
    ("kind", "message", "rule"),
    [
        (
            "int_parsing",
            "Input should be a valid integer, unable to parse string as an integer",
            "should be a whole number",
        ),
        ("greater_than", "Input should be greater than 0", "should be greater than 0"),
        ("value_error", "Value error, say either within or calendar", "say either within or calendar"),
        ("money", "it should have at most 4 decimals", "it should have at most 4 decimals"),
    ],
)
def test_messages_of_pydantic_lose_their_formal_beginning(kind: str, message: str, rule: str) -> None:
    assert broken_rule(kind, message) == rule
