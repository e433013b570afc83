"""Links of our own messages: what is signed, which links are followed, and what event comes of them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from pydantic import SecretStr

from deploy.operations.message_links import link_tokens
from deploy.settings import Settings
from processors.delivery import link_events
from processors.delivery.link_events import Visitor
from processors.delivery.link_tokens import LinkTokens
from processors.delivery.links import LinkWriter
from processors.identity.claims import claim, claims
from processors.identity.stage import request_for
from schemas.delivery.links import LinkRules, MessageLink
from schemas.delivery.templates import Rendered
from schemas.events.touchpoint import read
from schemas.identity.policy import IdentityPolicy
from schemas.records import Outgoing

NOW = 1_795_342_530_000
OLD, NEW = "a key of last year's", "a key of this year's"
BASE = "https://links.shop.example"
POLICY, SECRET = IdentityPolicy(), b"secret"
ADDRESS = {"type": "email", "value": "ann@shop.example"}
LINK = MessageLink("click", "m1", "email", "email", b"\1" * 16, NOW // 1000, "de", target="https://shop.example/sofa")


def writer(**rules: Any) -> LinkWriter:
    return LinkWriter(
        LinkTokens([NEW]),
        BASE,
        LinkRules.model_validate({"hosts": ["shop.example"], **rules}),
        lambda kind, value: claim(kind, value, POLICY, SECRET),
    )


def action(**fields: Any) -> dict[str, Any]:
    return {
        "idempotency_key": "m1", "profile_id": "p1", "channel": "email", "journey": "welcome", "template": "hello",
        "campaign": {"name": "autumn", "id": "7"}, "identifiers": [ADDRESS], "address": ADDRESS, **fields,
    }  # fmt: skip


def written(rendered: Rendered, document: dict[str, Any] | None = None, **fields: Any) -> Rendered:
    """The message as it leaves."""
    rules = fields.pop("rules", {})
    links = writer(**rules).of(action(**fields), document or {}, NOW)
    assert links is not None
    return links.replaced(rendered)


def target(address: str) -> str:
    """Where an address of the collector leads."""
    found = LinkTokens([NEW]).read(address.removeprefix(f"{BASE}/c/"), "click")
    assert found is not None, address
    return found.target


def href(page: str) -> str:
    """The first link of a page."""
    found = re.search(r'href="([^"]*)"', page)
    assert found is not None
    return found[1]


def event_of(record: Outgoing) -> dict[str, Any]:
    """What the pipeline reads."""
    event: dict[str, Any] = orjson.loads(record.value)
    assert read(event)["event_id"] == event["event_id"]
    return event


def test_a_token_says_the_same_after_a_rotation_of_keys() -> None:
    token = LinkTokens([OLD]).sign(LINK)

    assert LINK == LinkTokens([NEW, OLD]).read(token, "click")
    assert LinkTokens([NEW]).read(token, "click") is None


def test_a_message_from_before_the_first_key_goes_on_working_after_it() -> None:
    sent = link_tokens(Settings()).sign(LINK)

    assert LINK == link_tokens(Settings(link_secret=SecretStr(f"{NEW}, derived"))).read(sent, "click")
    assert link_tokens(Settings(link_secret=SecretStr(NEW))).read(sent, "click") is None


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda token: token[:-4] + "AAAA", id="another target"),
        pytest.param(lambda token: "A" + token[1:], id="another signature"),
        pytest.param(lambda token: token[:20], id="cut off"),
        pytest.param(lambda token: "", id="empty"),
        pytest.param(lambda token: "é" * 30, id="no Base64"),
        pytest.param(lambda token: token * 100, id="huge"),
    ],
)
def test_a_spoilt_token_is_none(spoil: Any) -> None:
    assert LinkTokens([NEW]).read(spoil(LinkTokens([NEW]).sign(LINK)), "click") is None


def test_a_token_for_the_image_redirects_nowhere() -> None:
    assert LinkTokens([NEW]).read(LinkTokens([NEW]).sign(LINK._replace(kind="open")), "click") is None


@pytest.mark.parametrize("secrets", [[], ["short"], [NEW, ""]])
def test_a_key_that_can_be_guessed_is_refused(secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="THROUGHLINE_LINK_SECRET"):
        LinkTokens(secrets)


def test_no_address_of_a_message_holds_personal_data() -> None:
    found = writer().of(action(), {}, NOW)

    assert found is not None
    token = found.unsubscribe_url.removeprefix(f"{BASE}/u/")
    link = LinkTokens([NEW]).read(token, "unsubscribe")
    assert link is not None
    assert ADDRESS["value"].partition("@")[0] not in [str(part) for part in link]
    assert "@" not in repr(link._replace(identifier_hash=b""))


def test_a_link_gets_the_parameters_of_its_campaign() -> None:
    page = written(
        Rendered("en", html='<a class="b" href="https://www.shop.example/sofa?a=1&amp;b=2#top">Sofa</a>')
    ).html

    parts = urlsplit(target(href(page)))
    assert ("https", "www.shop.example", "/sofa", "top") == (parts.scheme, parts.netloc, parts.path, parts.fragment)
    assert {
        "a": ["1"], "b": ["2"], "utm_source": ["throughline"], "utm_medium": ["email"], "utm_campaign": ["autumn"],
        "utm_id": ["7"], "utm_content": ["hello"],
    } == parse_qs(parts.query)  # fmt: skip


def test_a_link_that_its_author_has_tagged_keeps_its_campaign() -> None:
    address = "https://shop.example/sofa?utm_campaign=mine"

    assert address == target(href(written(Rendered("en", html=f'<a href="{address}">Sofa</a>')).html))


@pytest.mark.parametrize(
    ("path", "escaped"),
    [
        pytest.param("söfa?q=ü#ö", "s%C3%B6fa?q=%C3%BC#%C3%B6", id="letters of other alphabets"),
        pytest.param("a%20b?q=%C3%BC", "a%20b?q=%C3%BC", id="escaped already"),
        pytest.param("a\x00{b}", "a%00%7Bb%7D", id="no characters of an address"),
    ],
)
def test_a_link_leads_to_an_address_that_a_header_can_hold(path: str, escaped: str) -> None:
    page = written(
        Rendered("en", html=f'<a data-href="none" href="https://shop.example/{path}">'), rules={"utm_source": ""}
    ).html

    found = re.search(r' href="([^"]*)"', page)
    assert found is not None
    assert f"https://shop.example/{escaped}" == target(found[1])


@pytest.mark.parametrize(
    "tag",
    [
        pytest.param('<a href="https://evil.example/?shop.example">', id="another host"),
        pytest.param('<a href="https://shop.example.evil.example/">', id="a host that looks like ours"),
        pytest.param('<a href="https://shop.example@evil.example/">', id="a user that looks like ours"),
        pytest.param('<a href="mailto:help@shop.example">', id="a mailbox"),
        pytest.param('<a href="shop://sofa">', id="an app"),
        pytest.param('<a data-untracked href="https://shop.example/legal">', id="untracked by its author"),
        pytest.param(f'<a href="{BASE}/u/abc">', id="an address of the collector"),
        pytest.param('<a href="https://[shop.example/">', id="malformed"),
        pytest.param(f'<a href="https://shop.example/{"x" * 2000}">', id="too long"),
        pytest.param('<a href="https://evil.example%2f.shop.example/">', id="a host with a slash"),
        pytest.param('<a href="https://evil.example;.shop.example/">', id="a host with a semicolon"),
        pytest.param('<a href="https://evil.example\u200b.shop.example/">', id="a host with a space of no width"),
        pytest.param('<a href="https://evil.example。shop.example/">', id="a host with another full stop"),
        pytest.param(f'<a href="https://shop.example/{"商" * 1000}">', id="too long once it is escaped"),
        pytest.param('<link href="https://shop.example/style.css">', id="no link to follow"),
    ],
)
def test_any_other_link_stays_as_it_is(tag: str) -> None:
    assert tag == written(Rendered("en", html=tag), rules={"opens": False}).html


def test_links_of_a_text_are_followed_without_the_full_stop_after_them() -> None:
    text = written(Rendered("en", text="Look: https://shop.example/sofa. (Or https://other.example)")).text

    found = re.fullmatch(r"Look: (\S+)\. \(Or https://other\.example\)", text)
    assert found is not None
    assert target(found[1]).startswith("https://shop.example/sofa?utm_source=")


def test_the_image_is_the_last_of_the_body() -> None:
    page = written(Rendered("en", html="<html><body><p>Hello</p></body></html>")).html

    assert re.fullmatch(
        r"<html><body><p>Hello</p><img src=\"https://links.shop.example/o/[\w-]+\.gif\" [^>]+></body></html>", page
    )


def test_the_links_of_who_does_not_want_to_be_measured_are_not_followed_and_unsubscription_works() -> None:
    page = '<body><a href="https://shop.example/sofa">Sofa</a></body>'
    document = {"consent": {"purposes": {"analytics": [False, NOW]}}}
    links = writer().of(action(), document, NOW)

    assert page == written(Rendered("en", html=page), document).html
    assert links is not None
    assert links.unsubscribe_url.startswith(f"{BASE}/u/")


@pytest.mark.parametrize(
    ("channel", "channels"), [("app_push", ["email"]), ("sms", ["sms"])], ids=["of an app", "longer than three SMS"]
)
def test_a_message_that_would_not_work_with_longer_links_keeps_its_own(channel: str, channels: list[str]) -> None:
    rendered = Rendered("en", text="x" * 380 + " https://shop.example/sofa", link="https://shop.example/sofa")

    assert rendered.text == written(rendered, channel=channel, rules={"channels": channels}).text


def test_a_message_without_a_person_has_no_links() -> None:
    assert writer().of(action(identifiers=[], address=None), {}, NOW) is None


def test_a_click_is_an_event_of_the_person_who_got_the_message() -> None:
    record = link_events.clicked(_sent(), Visitor("GET", "Mozilla/5.0 (X11)", "192.0.2.7"), NOW + 60_000)

    event = event_of(record)
    assert "touchpoints.email" == record.topic
    assert {
        "event": "Email Link Clicked", "channel": "email", "source": "throughline",
        "campaign": {"id": "7", "name": "autumn"},
        "context": {"ip": "192.0.2.7", "user_agent": "Mozilla/5.0 (X11)"},
    }.items() <= event.items()  # fmt: skip
    assert {"message_id": "m1", "journey_id": "welcome", "template_id": "hello", "method": "GET"}.items() <= event[
        "properties"
    ].items()
    by_hash, clear = claims(read(event), POLICY, SECRET)
    by_value, _ = claims(read({**event, "identifiers": [ADDRESS]}), POLICY, SECRET)
    assert (by_value, []) == (by_hash, clear)


def test_a_click_claims_its_person_for_the_time_at_which_the_message_was_sent() -> None:
    event = read(event_of(link_events.clicked(_sent(), Visitor(), NOW + 86_400_000)))

    request, _ = request_for(event, POLICY, SECRET, b"origin", NOW + 86_400_000)

    assert NOW == request.occurred_ms


@pytest.mark.parametrize(
    "value", ["", "email", "email:12", f"email:{'0' * 32}", f"email:{'g' * 32}:1", f":{'0' * 32}:1"]
)
def test_a_hash_that_is_none_names_nobody(value: str) -> None:
    event = {**event_of(link_events.clicked(_sent(), Visitor(), NOW)), "identifiers": []}

    assert ((), []) == claims({**read(event), "identifiers": [
        {"type": "identifier_hash", "value": value, "verified": False}
    ]}, POLICY, SECRET)  # fmt: skip


def test_a_hash_that_another_source_sends_names_nobody() -> None:
    """It is in a message's links: else a forwarded mail and a page's key would be enough to become its person."""
    event = {**event_of(link_events.clicked(_sent(), Visitor(), NOW)), "source": "web"}
    event["identifiers"].append({"type": "anonymous_id", "value": "of-somebody-else"})

    found, clear = claims(read(event), POLICY, SECRET)

    assert (["anonymous_id"], 1) == ([one.type for one in found], len(clear))


def _sent() -> MessageLink:
    found = writer().of(action(), {}, NOW)
    assert found is not None
    return found.link._replace(target="https://shop.example/sofa")


def _ids(*visits: tuple[int, Visitor]) -> int:
    return len({event_of(link_events.clicked(LINK, visitor, at))["event_id"] for at, visitor in visits})


def test_a_click_twice_in_one_second_is_one_and_a_filter_does_not_take_its_place() -> None:
    person, scanner = Visitor("GET", "Mozilla/5.0 (X11)", "192.0.2.7"), Visitor("HEAD", "Barracuda", "198.51.100.9")

    assert 1 == _ids((NOW, person), (NOW + 400, person))
    assert 2 == _ids((NOW, person), (NOW + 1_000, person))
    assert 2 == _ids((NOW, person), (NOW, scanner))


def test_an_unsubscription_says_that_a_button_was_pressed_and_not_by_which_program() -> None:
    event = event_of(link_events.unsubscribed(LINK, NOW))

    assert ("Email Unsubscribed", "POST") == (event["event"], event["properties"]["method"])
    assert "context" not in event


def test_answers_about_channels_and_topics_are_consent() -> None:
    event = event_of(link_events.preferences(LINK, {"email": True, "sms": False}, {"promotion": False}, NOW))

    assert "Consent Updated" == event["event"]
    assert {"channels": {"email": True, "sms": False}, "topics": {"promotion": False}, "marketing": True} == event[
        "consent"
    ]


def test_who_wants_no_channel_has_not_agreed_to_marketing() -> None:
    assert {"channels": {"email": False}} == event_of(link_events.preferences(LINK, {"email": False}, {}, NOW))[
        "consent"
    ]
