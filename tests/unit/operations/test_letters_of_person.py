"""An erasure finds every dead letter that names the person, also one that keeps a part of a very large record."""

from __future__ import annotations

from base64 import b64encode
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from deploy.operations.definition_files import identity_policy
from deploy.operations.deployment import Deployment
from deploy.operations.erasure import letters_of_person
from deploy.settings import Settings
from tests.support.builders import touchpoint

PROFILE = "0b0f7e5a-3a6e-4c9e-9a53-6f7c2f6f2c11"
WHOSE: list[dict[str, Any]] = [{"type": "user_id", "value": "77"}]
OTHERS: list[dict[str, Any]] = [{"type": "user_id", "value": "78"}]


def found(key: bytes, value: bytes) -> bool:
    """Whether a stored dead letter is one of the person with the user id 77."""
    row = ("resolved-touchpoints", 0, 7, b64encode(key).decode(), b64encode(value).decode())
    tables = SimpleNamespace(query=lambda *_: SimpleNamespace(result_rows=[row]))
    deployment = SimpleNamespace(tables=tables, policy=identity_policy(Settings()), secret=b"s")
    return bool(letters_of_person(cast(Deployment, deployment), {("user_id", "77")}, frozenset({PROFILE})))


@pytest.mark.parametrize(
    ("key", "event", "expected"),
    [
        (b"", {"identifiers": WHOSE}, True),
        (b"", {"identifiers": {"user_id": [77]}}, True),
        (b"", {"profile_id": PROFILE}, True),
        (PROFILE.encode(), {}, True),
        (
            b"",
            {"identifiers": OTHERS, "profile_id": PROFILE.replace("0b", "1b"), "properties": {"quantity": 77}},
            False,
        ),
    ],
)
@pytest.mark.parametrize("size", [None, -9_000], ids=["whole", "truncated"])
def test_a_letter_of_the_person(key: bytes, event: dict[str, Any], expected: bool, size: int | None) -> None:
    value = orjson.dumps({**touchpoint(), **event, "traits": {"about": "x" * 10_000}})

    assert expected == found(key, value[:size])


@pytest.mark.parametrize("value", [b"", b"\xff", b'{"identifiers": [', b'"identifiers":' + b"[" * 60_000, b"[]", b"7"])
def test_a_letter_that_names_no_person(value: bytes) -> None:
    assert not found(b"", value)
