"""What an event gets: what was found out, never over what its producer says; and the verdict whether a bot did it."""

from __future__ import annotations

from typing import Any

import pytest

from processors.enrichment.enrichment import Enrichment, LocationDatabase, Place, is_bot, truncated
from processors.enrichment.user_agents import RULES
from schemas.enrichment.bots import NO_USER_AGENT
from tests.support.builders import order, touchpoint
from tests.unit.enrichment.test_user_agents import SHIPPED

IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"  # noqa: E501
PAGE = {"url": "https://shop.example/"}
PLACES = {"203.0.113.9": Place("DE", "Berlin"), "198.51.100.7": Place("FR", "")}
MAILGUN_APPLE: dict[str, Any] = {"client-info": {"bot": "apple"}}
MAILGUN_NONE: dict[str, Any] = {"client-info": {"bot": ""}}
LOCATIONS = LocationDatabase(lambda address: PLACES.get(address, Place()), "Test-City 2026-11-01")


def enriched(event: dict[str, Any], enrich: Enrichment | None = None) -> dict[str, str]:
    (enrich or Enrichment(SHIPPED, LOCATIONS))(event)
    return dict(event.get("enriched", {}))


def viewed(**context: Any) -> dict[str, Any]:
    return touchpoint(context=context)


def about(event: str, user_agent: str = "", /, **properties: Any) -> dict[str, Any]:
    context = {"context": {"user_agent": user_agent}} if user_agent else {}
    return touchpoint(event, "email", properties={"message_id": "m1", **properties}, **context)


def test_an_event_gets_what_its_user_agent_and_its_address_show() -> None:
    found = enriched(viewed(user_agent=IPHONE, ip="203.0.113.9", page=PAGE))

    assert {
        "device": "mobile", "os": "iOS", "browser": "Mobile Safari", "country": "DE", "city": "Berlin",
        "by": f"{RULES}, Test-City 2026-11-01",
    } == found  # fmt: skip


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(touchpoint(), id="no context"),
        pytest.param(viewed(locale="de-DE"), id="neither user agent nor address"),
        pytest.param(viewed(user_agent="Firefox"), id="a user agent that says nothing"),
        pytest.param(viewed(ip="10.0.0.1"), id="an address that is nowhere"),
        pytest.param(viewed(ip="not an address"), id="no address"),
    ],
)
def test_nothing_found_leaves_the_event_as_it_is(event: dict[str, Any]) -> None:
    assert {} == enriched(event)


@pytest.mark.parametrize(
    ("geo", "expected"),
    [
        ({"country": "PL"}, {}),
        ({"city": "Mexico"}, {}),
        ({"country": "Germany"}, {"country": "DE"}),
        ({"country": "Atlantis"}, {}),
        ({"latitude": 1.0}, {"country": "DE", "city": "Berlin"}),
        ({"country": ""}, {"country": "DE", "city": "Berlin"}),
        ({"country": 7}, {"country": "DE", "city": "Berlin"}),
    ],
    ids=str,
)
def test_a_place_that_the_producer_names_is_not_looked_up(geo: dict[str, Any], expected: dict[str, str]) -> None:
    found = enriched(viewed(geo=geo, ip="203.0.113.9"))

    assert expected == {name: value for name, value in found.items() if name != "by"}


def test_what_the_producer_says_stays_in_the_context() -> None:
    context = {"device": {"type": "watch"}, "os": {"name": "Other"}, "user_agent": IPHONE}
    event = viewed(**context)

    enriched(event)

    assert context == event["context"]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        pytest.param(viewed(user_agent="Googlebot/2.1", page=PAGE), "crawler", id="a crawler"),
        pytest.param(viewed(user_agent="curl/8.5.0", page=PAGE), "library", id="a library that shows a page"),
        pytest.param(viewed(user_agent=NO_USER_AGENT, page=PAGE), "no_user_agent", id="a page without a user agent"),
        pytest.param(viewed(user_agent="python-requests/2.31.0"), None, id="a server of one's own on the channel web"),
        pytest.param(
            touchpoint("Screen Viewed", "app", context={"user_agent": "okhttp/4.12.0"}), None, id="a library in an app"
        ),
        pytest.param(
            touchpoint("Screen Viewed", "app", context={"user_agent": NO_USER_AGENT}), None, id="an app without one"
        ),
        pytest.param(order("o1", context={"user_agent": "Googlebot/2.1", "page": PAGE}), None, id="an order"),
        pytest.param(
            touchpoint("Consent Updated", context={"user_agent": "HeadlessChrome/130"}), None, id="a consent"
        ),
        pytest.param(about("Email Opened", sg_machine_open=True), "provider", id="SendGrid: a machine opened"),
        pytest.param(about("Email Opened", sg_machine_open=False), None, id="SendGrid: none did"),
        pytest.param(about("Email Opened", "", **MAILGUN_APPLE), "provider", id="Mailgun: Apple's"),
        pytest.param(about("Email Link Clicked", "", **MAILGUN_NONE), None, id="Mailgun: nobody's"),
        pytest.param(about("Email Link Clicked", is_machine="true"), "provider", id="a text that means yes"),
        pytest.param(about("Email Link Clicked", machine="false"), None, id="a text that means no"),
        pytest.param(about("Email Link Clicked", method="HEAD"), "provider", id="only the head of the page was read"),
        pytest.param(about("Email Link Clicked", method="GET"), None, id="the page was read"),
        pytest.param(about("Email Link Clicked", "BarracudaCentral"), "mail_scanner", id="a mail scanner's click"),
        pytest.param(about("Email Unsubscribed", "Mimecast URL Protect"), "mail_scanner", id="its unsubscription"),
        pytest.param(about("Email Unsubscribed", IPHONE), None, id="a person's unsubscription"),
        pytest.param(about("Email Opened", "Mozilla/5.0"), "prefetch", id="Apple's privacy protection"),
        pytest.param(about("Email Link Clicked", "Mozilla/5.0"), None, id="it clicks nothing"),
        pytest.param(about("Email Opened", "via ggpht.com GoogleImageProxy"), None, id="Gmail, for its reader"),
        pytest.param(about("Email Delivered", "Googlebot/2.1", machine=True), None, id="a delivery is nobody's act"),
        pytest.param(about("Email Bounced", "curl/8", machine=True), None, id="nor is a bounce"),
        pytest.param(touchpoint("Product Viewed", properties={"machine": True}), None, id="a product, a machine"),
    ],
)  # fmt: skip
def test_a_bot_gets_a_verdict_and_its_event_stays(event: dict[str, Any], reason: str | None) -> None:
    found = enriched(event)

    assert (reason, reason is not None) == (found.get("bot"), is_bot(event))


def test_the_verdict_of_one_event_is_not_that_of_another_with_the_same_user_agent() -> None:
    enrich = Enrichment(SHIPPED)
    events = [about("Email Opened", IPHONE, machine=True), about("Email Opened", IPHONE), viewed(user_agent=IPHONE)]

    assert ["provider", None, None] == [enriched(event, enrich).get("bot") for event in events]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.9", "203.0.113.0"),
        ("2001:db8:85a3:8d3:1319:8a2e:370:7348", "2001:db8:85a3::"),
        ("::ffff:203.0.113.9", "203.0.113.0"),
        (" 203.0.113.9 ", "203.0.113.0"),
        ("unknown", ""),
        ("203.0.113.9, 10.0.0.1", ""),
    ],
)
def test_the_network_of_an_address(address: str, expected: str) -> None:
    assert expected == truncated(address)


@pytest.mark.parametrize(
    ("policy", "kept"), [("full", {"ip": "203.0.113.9"}), ("truncated", {"ip": "203.0.113.0"}), ("none", {})]
)
def test_an_address_is_kept_as_the_setting_says_once_its_place_is_known(policy: Any, kept: dict[str, str]) -> None:
    event = viewed(ip="203.0.113.9")

    found = enriched(event, Enrichment(SHIPPED, LOCATIONS, policy))

    assert ("DE", kept) == (found["country"], event["context"])


def test_what_is_no_address_is_not_kept_where_addresses_are_truncated() -> None:
    event = viewed(ip="ada's laptop")

    enriched(event, Enrichment(SHIPPED, LOCATIONS, "truncated"))

    assert {} == event["context"]


def test_long_texts_are_read_and_not_cached() -> None:
    asked: list[str] = []

    def locate(address: str) -> Place:
        asked.append(address)
        return Place("DE")

    enrich = Enrichment(SHIPPED, LocationDatabase(locate, "Test"))
    found = [enriched(viewed(ip=address), enrich) for address in ("203.0.113.9", "x" * 1_001) for _ in range(2)]

    assert ["203.0.113.9", "x" * 1_001, "x" * 1_001] == asked
    assert ["DE"] * 4 == [one["country"] for one in found]
