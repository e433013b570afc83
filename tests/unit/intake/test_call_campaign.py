"""The campaign of a call is what its link was meant to say: completed from the address, never overridden."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.intake.call_campaign import campaign_of_call

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
