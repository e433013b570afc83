"""What is stored of a profile is small for a visitor who came once, and the same JSON when it is read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.profiles.document import encode, profile_of_event
from sinks.redis.packing import PACKED_BYTES, pack, unpack
from tests.support.builders import touchpoint

OF_THE_FIRST_DICTIONARY = "01c31971660616a64626460646a6204722f150a20833326b01"
texts = st.text(max_size=40)
documents = st.dictionaries(
    texts, st.one_of(st.integers(-(2**53), 2**53), texts, st.lists(texts, max_size=4)), max_size=40
)


@given(documents)
def test_what_was_packed_is_read_as_it_was(document: dict[str, Any]) -> None:
    json = orjson.dumps(document)

    assert json == unpack(pack(json))


def test_a_visitor_with_one_page_view_takes_half() -> None:
    json = encode(
        profile_of_event(touchpoint("Page Viewed", identifiers=[], context={"locale": "it-IT"}))
        | {"profile_id": "0" * 36}
    )

    assert 2 * len(pack(json)) < len(json)


def test_a_large_document_stays_as_it_is() -> None:
    json = orjson.dumps({"text": "x" * PACKED_BYTES})

    assert json is pack(json)


def test_what_was_packed_by_an_earlier_release_is_still_read() -> None:
    document = {"channels": {"web": [1, 1796085242025, 1796085242025, "Page Viewed"]}, "event_count": 1}

    assert document == orjson.loads(unpack(bytes.fromhex(OF_THE_FIRST_DICTIONARY)))


@pytest.mark.parametrize("stored", [b"", b"\x01damaged", b"\x02of a later release", b"null"])
def test_what_cannot_be_read_is_stored_as_it_was(stored: bytes) -> None:
    assert stored == pack(unpack(stored))
