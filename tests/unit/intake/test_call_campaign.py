"""The campaign of a call is what its link was meant to say: completed from the address, never overridden."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.intake.call_campaign import campaign_of_call
from processors.intake.decode import decode
from tests.support.builders import touchpoint

SHOP = "https://shop.example/"
SPRING = {"source": "newsletter", "medium": "email", "name": "spring"}


def campaign(query: str, given: Any = None) -> object:
    """The campaign of a page, by its whole address."""
    return campaign_of_call(given, {"url": SHOP + query}, None)


@pytest.mark.parametrize(
    "query",
    [
        "?utm_source=newsletter&utm_medium=email&utm_campaign=spring",
        "?utm_source=newsletter&amp;utm_medium=email&amp;utm_campaign=spring",
        "?utm_source=newsletter&amp;amp;utm_medium=email&amp;amp;utm_campaign=spring",
        "?utm_source=newsletter&amp%3Butm_medium=email&amp%3Butm_campaign=spring",
        "?utm_source=newsletter&#038;utm_medium=email&#038;utm_campaign=spring",
        "?utm_source=newsletter&#38;utm_medium=email&#x26;utm_campaign=spring",
        "?utm_source=newsletter#038;utm_medium=email#038;utm_campaign=spring",
        "?ref=1?utm_source=newsletter&utm_medium=email&utm_campaign=spring",
        "?utm_source=newsletter?utm_medium=email?utm_campaign=spring",
        "?utm_source=newsletter&utm_medium=email&utm_campaign=spring?fbclid=Iw1",
        "?utm_source=newsletter&utm_medium=email&utm_campaign=spring?gclid=Cj0&x=1",
        "?utm_source=newsletter;utm_medium=email;utm_campaign=spring",
        "#utm_source=newsletter&utm_medium=email&utm_campaign=spring",
        "#/jeans?utm_source=newsletter&utm_medium=email&utm_campaign=spring",
        "?size=32#top?utm_source=newsletter&utm_medium=email&utm_campaign=spring",
        "?UTM_SOURCE=newsletter&UTM_Medium=email&Utm_Campaign=spring",
        "&utm_source=newsletter&utm_medium=email&utm_campaign=spring",
        "?a=b&%20utm_source=newsletter&utm_medium=email&utm_campaign=spring",
    ],
)  # fmt: skip
def test_an_address_is_read_as_it_was_meant(query: str) -> None:
    assert SPRING == campaign(query)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?my_utm_source=x&xutm_medium=y", None),
        ("?utm_source=&utm_medium=", None),
        ("?q=utm_source", None),
        ("?utm_nonsense=1", None),
        ("?utm_campaign=lamp;x&utm_source=a?b", {"name": "lamp;x", "source": "a?b"}),
        ("?utm_content=camp;us%26co", {"content": "camp;us&co"}),
        ("?utm_source=shop%3Futm_medium%3Demail", {"source": "shop?utm_medium=email"}),
        ("?utm_source=a#utm_medium=b", {"source": "a"}),
        ("?utm_content=" + "x" * 600, {"content": "x" * 500}),
    ],
)
def test_what_only_looks_like_a_parameter_is_none(query: str, expected: object) -> None:
    assert expected == campaign(query)


@pytest.mark.parametrize(
    ("given", "query", "expected"),
    [
        (
            {"source": "newsletter", "utm_medium": "email"}, "?utm_source=newsletter&amp;utm_medium=email",
            {"source": "newsletter", "utm_medium": "email", "medium": "email"},
        ),
        ({"source": "newsletter"}, "?utm_source=newsletter&amp;utm_medium=email&utm_campaign=spring", SPRING),
        ({"source": "newsletter", "medium": None, "name": ""}, "?utm_medium=email&utm_campaign=spring", SPRING),
        ({"source": "Crm"}, "?utm_source=crm&utm_medium=email", {"source": "Crm", "medium": "email"}),
        ({"utm_source": "a", "utm_id": "b"}, "", {"utm_source": "a", "utm_id": "b", "source": "a", "id": "b"}),
        # guards: a campaign is not overridden, nor mixed with another one
        ({"source": "google"}, "?utm_source=other&utm_medium=email", {"source": "google"}),
        ({"source": "google", "medium": "cpc"}, "?utm_source=google&utm_medium=organic&utm_campaign=x",
         {"source": "google", "medium": "cpc"}),
        ({"source": "google", "utm_source": "bing"}, "", {"source": "google", "utm_source": "bing"}),
        ({"source": ["google"]}, "?utm_medium=email", {"source": ["google"], "medium": "email"}),
        ("spring", "?utm_medium=email", "spring"),
    ],
)  # fmt: skip
def test_a_campaign_that_an_sdk_has_parsed_is_completed_from_the_address_and_never_overridden(
    given: Any, query: str, expected: object
) -> None:
    assert expected == campaign(query, given)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ({"search": "?utm_source=newsletter&amp;utm_medium=email&amp;utm_campaign=spring"}, SPRING),
        ({"search": "utm_source=newsletter&utm_medium=email&utm_campaign=spring"}, SPRING),
        # a browser takes what follows `#` of `&#038;` for the fragment, which `search` leaves out
        ({"search": "?utm_source=newsletter&",
          "url": SHOP + "?utm_source=newsletter&#038;utm_medium=email&#038;utm_campaign=spring"}, SPRING),
        ({"search": "?ref=1?utm_source=facebook&utm_medium=cpc"}, {"source": "facebook", "medium": "cpc"}),
        ({"search": "?utm_medium=email", "url": SHOP + "?utm_medium=other&utm_source=x"}, {"medium": "email"}),
        ({"search": 5, "url": ["x"]}, None),
        ("https://shop.example/?utm_source=x", None),
    ],
)  # fmt: skip
def test_the_query_of_a_page_counts_before_its_whole_address(page: Any, expected: object) -> None:
    assert expected == campaign_of_call(None, page, None)


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        (
            {"campaign": {"source": "Network", "name": "Install", "ad_group": 5}},
            {"source": "Network", "name": "Install"},
        ),
        ({"campaign": {"source": ["x"], "medium": ""}}, None),
        ({"campaign": "spring"}, None),
        (["campaign"], None),
    ],
)
def test_the_campaign_of_an_attributed_install_is_among_its_properties(properties: Any, expected: object) -> None:
    assert expected == campaign_of_call(None, None, properties)
    assert {"source": "own"} == campaign_of_call({"source": "own"}, None, properties)


def test_a_campaign_that_is_handed_out_is_no_part_of_what_is_remembered() -> None:
    page = {"url": SHOP + "?utm_source=a"}
    first: Any = campaign_of_call(None, page, None)
    first["medium"] = "changed"

    assert {"source": "a"} == campaign_of_call(None, page, None)


pieces = st.lists(
    st.sampled_from(["?", "&", "#", ";", "amp;", "#038;", "utm_source", "utm_medium", "=", "a", "/", "%26"])
)


@given(pieces.map("".join))
def test_any_address_gives_texts_or_nothing(query: str) -> None:
    found = campaign(query)

    assert found is None or (isinstance(found, dict) and found and all(found.values()))


def decoded(name: str = "Page Viewed", **fields: Any) -> Any:
    """A raw touchpoint as a worker reads it from Kafka; the collector validates `/v1/touchpoints` likewise."""
    event = orjson.dumps(touchpoint(name, **fields))
    return decode(event, channels=frozenset({"web"}), max_bytes=65_536)


SPRING_QUERY = "?utm_source=newsletter&utm_medium=email&utm_campaign=spring"


@pytest.mark.parametrize(
    "fields",
    [
        {"context": {"page": {"url": SHOP + SPRING_QUERY}}},
        {"context": {"page": {"search": SPRING_QUERY}}},
        {"context": {"page": {"url": SHOP + SPRING_QUERY.replace("&", "&amp;")}}},
        {"context": {"page": {"url": SHOP + "#" + SPRING_QUERY[1:]}}},
        {"context": {"page": {"url": SHOP + SPRING_QUERY}}, "campaign": {}},
        {"context": {"page": {"url": SHOP + SPRING_QUERY}}, "campaign": None},
        {"context": {"page": {"url": SHOP + SPRING_QUERY}}, "campaign": {"source": "newsletter"}},
        {"name": "Order Completed", "context": {"page": {"url": SHOP + SPRING_QUERY}}, "properties": {"order_id": "o"}},
        {"properties": {"url": SHOP + SPRING_QUERY}},
        {"properties": {"search": SPRING_QUERY}},
    ],
    ids=[
        "url",
        "search",
        "escaped",
        "fragment",
        "empty",
        "null",
        "part of it",
        "an order",
        "properties",
        "their search",
    ],
)
def test_the_campaign_in_the_page_address_of_a_raw_touchpoint_counts(fields: dict[str, Any]) -> None:
    event = decoded(**fields)

    assert SPRING == event["campaign"]
    assert event == decode(orjson.dumps(event), channels=frozenset({"web"}), max_bytes=65_536)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"context": {"page": {"url": SHOP + SPRING_QUERY}}, "campaign": {"source": "google", "medium": "cpc"}},
         {"source": "google", "medium": "cpc"}),
        ({"context": {"page": {"url": SHOP + SPRING_QUERY}}, "campaign": {"channel": "Radio"}},
         {"channel": "Radio", **SPRING}),
        ({"context": {"page": {"url": SHOP, "referrer": "https://a.example/" + SPRING_QUERY}}}, None),
        ({"context": {"page": {"url": SHOP}}, "properties": {"url": SHOP + SPRING_QUERY}}, None),
        ({"name": "Product Viewed", "properties": {"url": SHOP + SPRING_QUERY}}, None),
        ({"name": "Link Clicked", "properties": {"url": SHOP + SPRING_QUERY}}, None),
        ({"name": "Email Link Clicked", "properties": {"link_url": SHOP + SPRING_QUERY}}, None),
    ],
    ids=["another one", "a channel", "a referrer", "not its page", "a product's address", "a link", "a mail's link"],
)  # fmt: skip
def test_a_raw_touchpoint_keeps_its_own_campaign_and_gets_none_from_elsewhere(
    fields: dict[str, Any], expected: object
) -> None:
    assert expected == decoded(**fields).get("campaign")


def test_what_no_store_keeps_is_mended_in_a_campaign_from_an_address() -> None:
    event = decoded(context={"page": {"url": SHOP + "?utm_source=news%00letter"}})

    assert {"source": "news\ufffdletter"} == event["campaign"]
