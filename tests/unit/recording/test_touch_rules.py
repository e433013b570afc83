"""The rules that ship: what is a touch, of which marketing channel, and what converts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from deploy.operations.definition_files import DefinitionError, load
from deploy.settings import DEFINITIONS
from processors.recording.touch_rules import Touch, TouchRules
from schemas.recording.touches import TouchDefinitions

FILE = DEFINITIONS / "touches.yaml"


@pytest.fixture(scope="module")
def rules() -> TouchRules:
    return TouchRules(load(FILE, TouchDefinitions))


def brought(channel: str, conflict: str = "", click_id: str = "") -> Touch:
    return Touch("campaign", channel, conflict, click_id)


def event(name: str = "Page Viewed", channel: str = "web", **fields: Any) -> dict[str, Any]:
    return {"event_id": "e", "event": name, "channel": channel, **fields}


def from_campaign(source: str = "", medium: str = "", name: str = "") -> dict[str, Any]:
    values = {"source": source, "medium": medium, "name": name}
    return event(campaign={key: value for key, value in values.items() if value})


def visit(referrer: str = "", url: str = "https://www.shop.example/jeans") -> dict[str, Any]:
    page = {"url": url, "referrer": referrer} if referrer else {"url": url}
    return event(context={"session_id": "s1", "page": page})


def installed(**campaign: Any) -> dict[str, Any]:
    return event("Install Attributed", "app", properties={"provider": "p", "campaign": campaign})


def advert(name: str, network: str) -> dict[str, Any]:
    return event(name, "ads", properties={"network": network})


@pytest.mark.parametrize(
    ("given", "touch"),
    [
        # Google Analytics' default channel groups
        pytest.param(from_campaign("google", "cpc"), brought("Paid Search"), id="paid search"),
        pytest.param(from_campaign("Google", "CPC"), brought("Paid Search"), id="capital letters"),
        pytest.param(from_campaign("facebook", "paid_social"), brought("Paid Social"), id="paid social"),
        pytest.param(from_campaign("youtube", "cpc"), brought("Paid Video"), id="paid video"),
        pytest.param(from_campaign("amazon", "ppc"), brought("Paid Shopping"), id="paid shopping by source"),
        pytest.param(from_campaign("x", "cpc", "summer shopping"), brought("Paid Shopping"), id="by campaign"),
        pytest.param(from_campaign("x", "cpc", "workshop"), brought("Paid Other"), id="no shop in a workshop"),
        pytest.param(from_campaign("x", "cpc", "my eShop"), brought("Paid Shopping"), id="an eShop"),
        pytest.param(from_campaign("x", "retargeting"), brought("Paid Other"), id="paid other"),
        pytest.param(from_campaign("dv360", "banner"), brought("Display"), id="display"),
        pytest.param(from_campaign("x", "y", "Cross-network 1"), brought("Cross-network"), id="cross-network"),
        pytest.param(from_campaign("newsletter", "email"), brought("Email"), id="e-mail"),
        pytest.param(from_campaign("awin", "affiliate"), brought("Affiliates"), id="affiliates"),
        pytest.param(from_campaign("instagram", "story"), brought("Organic Social"), id="organic social"),
        pytest.param(from_campaign("x", "organic"), brought("Organic Search"), id="organic search by medium"),
        pytest.param(from_campaign("leaflet", "qr"), brought("Offline Media"), id="a code on paper"),
        pytest.param(from_campaign("crm", "web_push"), brought("Web Push"), id="web push by medium"),
        pytest.param(from_campaign("crm", "push"), brought("App Push"), id="push by medium"),
        pytest.param(from_campaign(name="autumn"), brought("Unassigned"), id="a campaign that says little"),
        # A source that says it all, where there is no medium
        pytest.param(from_campaign("newsletter"), brought("Email"), id="a newsletter"),
        pytest.param(from_campaign("Newsletter_2026-KW47"), brought("Email"), id="one of many"),
        pytest.param(from_campaign("news-letter"), brought("Email"), id="with a hyphen"),
        pytest.param(from_campaign("e-mailing"), brought("Email"), id="a mailing"),
        pytest.param(from_campaign("mailchimp"), brought("Email"), id="a mailing tool"),
        pytest.param(from_campaign("hs_email"), brought("Email"), id="a mailing tool's own word"),
        pytest.param(from_campaign("newsletter", name="shopping week"), brought("Email"), id="about shopping"),
        pytest.param(from_campaign("podcast"), brought("Audio"), id="a podcast"),
        pytest.param(from_campaign("qr-code"), brought("Offline Media"), id="a code"),
        pytest.param(from_campaign("affiliates"), brought("Affiliates"), id="affiliates without a medium"),
        pytest.param(from_campaign("newsletter", "cpc"), brought("Paid Other"), id="a place in another's newsletter"),
        pytest.param(from_campaign("newsletter", "affiliate"), brought("Affiliates"), id="an affiliate's newsletter"),
        pytest.param(from_campaign("newsletter", "sms"), brought("SMS"), id="a newsletter by text"),
        pytest.param(from_campaign("newsletter-whatsapp"), brought("Unassigned"), id="a newsletter elsewhere"),
        pytest.param(from_campaign("newsletters4u"), brought("Email"), id="newsletters of a name"),
        pytest.param(from_campaign("newsletterly"), brought("Unassigned"), id="a longer word"),
        pytest.param(from_campaign("mailingo"), brought("Unassigned"), id="another longer word"),
        pytest.param(from_campaign("daily news"), brought("Unassigned"), id="no letter"),
        pytest.param(from_campaign("spring-sale"), brought("Unassigned"), id="a name of one's own"),
        # What shows where a visitor came from, without a campaign
        pytest.param(visit(), Touch("session", "Direct"), id="nothing"),
        pytest.param(visit("https://www.google.co.uk/search"), Touch("session", "Organic Search"), id="search engine"),
        pytest.param(visit("https://mail.google.com/"), Touch("session", "Email"), id="web mail"),
        pytest.param(visit("android-app://com.google.android.gm/"), Touch("session", "Email"), id="mail app"),
        pytest.param(visit("https://l.facebook.com/l.php"), Touch("session", "Organic Social"), id="social network"),
        pytest.param(visit("https://t.co/x"), Touch("session", "Organic Social"), id="short link"),
        pytest.param(visit("https://chatgpt.com/"), Touch("session", "AI Assistant"), id="assistant"),
        pytest.param(visit("https://blog.example.org/"), Touch("referral", "Referral"), id="another site"),
        pytest.param(visit("https://checkout.shop.example/"), Touch("session", "Direct"), id="our own subdomain"),
        pytest.param(visit("https://www.paypal.com/"), Touch("return", ""), id="back from paying"),
        pytest.param(visit(url="https://a.example/?gclid=x"), brought("Paid Search", "", "gclid"), id="click id"),
        pytest.param(visit(url="https://a.example/?b&ttclid=x"), brought("Paid Social", "", "ttclid"), id="second one"),
        pytest.param(visit(url="https://shop.example/?notgclid=x"), Touch("session", "Direct"), id="part of a name"),
        pytest.param(event(), Touch("session", "Direct"), id="no session id, no campaign"),
        pytest.param(event("Identify", campaign={"name": "x"}), Touch("visit", ""), id="who it is, on a landing page"),
        pytest.param(event("Identify", "api", campaign={"name": "x"}), Touch("", ""), id="who it is, by a server"),
        pytest.param(event("Application Opened", "app"), Touch("session", "Direct"), id="an app opened"),
        pytest.param(event("Email Opened", "web"), Touch("", ""), id="a message shown in a browser is no visit"),
        pytest.param(event(campaign={"channel": "Radio"}), brought("Radio"), id="a visit's channel is named"),
        pytest.param(installed(source="Facebook", name="s"), Touch("rule", "Paid Social"), id="an install"),
        pytest.param(installed(source="Some Network"), Touch("rule", "Unassigned"), id="of an unknown network"),
        pytest.param(installed(source={}), Touch("rule", "Direct"), id="brought by nothing"),
        # Own channels
        pytest.param(event("Email Link Clicked", "email"), Touch("rule", "Email"), id="mail clicked"),
        pytest.param(event("Email Opened", "email", campaign={"name": "x"}), Touch("", ""), id="mail opened"),
        pytest.param(event("SMS Replied", "sms"), Touch("rule", "SMS"), id="text answered"),
        pytest.param(event("WhatsApp Link Clicked", "whatsapp"), Touch("rule", "WhatsApp"), id="WhatsApp"),
        pytest.param(event("Messenger Message Link Clicked", "messenger"), Touch("rule", "Messenger"), id="Messenger"),
        pytest.param(event("Telegram Message Link Clicked", "telegram"), Touch("rule", "Telegram"), id="Telegram"),
        pytest.param(event("Push Notification Tapped", "app"), Touch("rule", "App Push"), id="push on the phone"),
        pytest.param(event("Push Link Clicked", "web"), Touch("rule", "Web Push"), id="push in the browser"),
        pytest.param(event("Push Link Clicked", "web_push"), Touch("rule", "Web Push"), id="push on its channel"),
        pytest.param(event("Store Visited", "store"), Touch("rule", "In-Store"), id="a shop"),
        pytest.param(event("Call Started", "call_center"), Touch("rule", "Call Centre"), id="a call"),
        pytest.param(event("Direct Mail Sent", "direct_mail"), Touch("rule", "Direct Mail"), id="a letter"),
        pytest.param(event("Ad Impression", "offline_media"), Touch("rule", "Offline Media"), id="a poster"),
        pytest.param(advert("Ad Clicked", "Google"), Touch("rule", "Paid Search"), id="an ad"),
        pytest.param(advert("Ad Impression", "google"), Touch("rule", "Display"), id="seen"),
        pytest.param(advert("Ad Impression", "some network"), Touch("rule", "Display"), id="unknown"),
        pytest.param(event("Social Post Liked", "social"), Touch("rule", "Organic Social"), id="a like"),
        pytest.param(event("Price Changed", "api"), Touch("", ""), id="about a product"),
        # The producer knows best
        pytest.param(event("Email Opened", "email", campaign={"channel": "E 1"}), Touch("rule", "E 1"), id="named"),
    ],
)  # fmt: skip
def test_an_event_is_a_touch_of(rules: TouchRules, given: dict[str, Any], touch: Touch) -> None:
    assert touch == rules.classify(given)
    assert touch == rules.classify(given), "the remembered answer is another one"


ORDER_OF_A_SERVER: dict[str, Any] = {
    "identifiers": [{"type": "email", "value": "a@b.example"}],
    "order": {"source_kind": "server"},
}


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        pytest.param({}, "", id="no browser: it is nobody's visit"),
        pytest.param({"campaign": {"source": "google", "medium": "cpc"}}, "campaign", id="what brought the buyer"),
        pytest.param({"identifiers": [{"type": "anonymous_id", "value": "a"}]}, "session", id="a browser"),
        pytest.param({"identifiers": [{"type": "device_id", "value": "d"}]}, "session", id="a phone"),
        pytest.param({"context": {"session_id": "s"}}, "session", id="a session"),
        pytest.param({"order": {"source_kind": "browser"}}, "session", id="the page itself"),
        pytest.param({"order": {"namespace": "berlin"}}, "session", id="a source that nobody has declared a server"),
    ],
)
def test_an_order_that_a_server_tells_is_an_event_of_a_visit_if_it_names_one(
    rules: TouchRules, fields: dict[str, Any], kind: str
) -> None:
    assert kind == rules.classify(event("Order Completed", **{**ORDER_OF_A_SERVER, **fields})).kind


@pytest.mark.parametrize("name", ["Checkout Started", "Checkout Step Completed", "Cart Viewed", "Identify"])
def test_what_a_server_tells_of_a_checkout_or_a_customer_is_no_event_of_a_visit_unless_it_names_the_browser(
    rules: TouchRules, name: str
) -> None:
    told = event(name, **ORDER_OF_A_SERVER)
    named = {**told, "identifiers": [{"type": "anonymous_id", "value": "a"}]}

    assert ("", True) == (rules.classify(told).kind, rules.classify(named).kind in ("visit", "session"))


@pytest.mark.parametrize(
    ("url", "campaign", "found"),
    [
        pytest.param("/?utm_source=x&gclid=Abc-1%2B", {}, ("gclid", "Abc-1+"), id="in the address"),
        pytest.param("/?gad_source=1&gclid=Abc", {}, ("gclid", "Abc"), id="beside what names no click"),
        pytest.param("/?gad_source=1", {}, ("", ""), id="only what names no click"),
        pytest.param("/?a=1&amp;irclickid=I.7", {}, ("irclickid", "I.7"), id="an affiliate's, escaped"),
        pytest.param("/", {"gclid": "Q"}, ("gclid", "Q"), id="a field of the campaign"),
        pytest.param(
            "/?gclid=OLD", {"source": "linkedin"}, ("", ""), id="another network's is no click on this campaign"
        ),
        pytest.param("/?sccid=s", {}, ("ScCid", "s"), id="in lower case"),
    ],
)
def test_the_click_id_is_kept(rules: TouchRules, url: str, campaign: dict[str, Any], found: tuple[str, str]) -> None:
    given = {**visit(url=f"https://shop.example{url}"), "campaign": campaign}

    name = rules.classify(given).click_id

    assert found == (name, rules.click_id(given, name) if name else "")


def test_odd_values_in_custom_events_are_no_obstacle(rules: TouchRules) -> None:
    odd = event("Spaceship Landed", properties={"network": "x", "url": 7, "referrer": "not an address", "search": None})

    assert Touch("session", "Direct") == rules.classify(odd)


@pytest.mark.parametrize(
    ("given", "goals"),
    [
        pytest.param(event("Order Completed", "store"), ["purchase"], id="an order"),
        pytest.param(event("Signed Up"), ["signup"], id="a registration"),
        pytest.param(event("Order Updated", "api"), ["purchase"], id="an update of an order"),
        pytest.param(event("Receipt Issued", "store"), ["purchase"], id="a till's receipt"),
        pytest.param(event("Order Cancelled"), [], id="a cancellation"),
        pytest.param(event("Order Refunded"), [], id="a refund"),
    ],
)
def test_an_event_reaches(rules: TouchRules, given: dict[str, Any], goals: list[str]) -> None:
    assert goals == rules.goals(given)


def test_a_goal_may_belong_to_some_channels_only() -> None:
    definitions = TouchDefinitions.model_validate(
        {**SMALL, "goals": [{"name": "store_purchase", "events": ["Order Completed"], "channels": ["store"]}]}
    )
    rules = TouchRules(definitions)

    assert [["store_purchase"], []] == [rules.goals(event("Order Completed", where)) for where in ("store", "web")]


SMALL: dict[str, Any] = {
    "goals": [{"name": "purchase", "events": ["Order Completed"]}],
    "touches": [{"touch": "always", "arrived_by": ["campaign"]}],
    "marketing_channels": [{"name": "Search", "source": ["$engines"]}, {"name": "Other"}],
    "lists": {"engines": ["google"]},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"lists": {}}, "there is no list 'engines'", id="unknown list"),
        pytest.param({"marketing_channels": [{"name": "X", "medium": ["y"]}]}, "match everything", id="no last resort"),
        pytest.param({"goals": SMALL["goals"] * 2}, "two goals have the same name", id="goal twice"),
        pytest.param({"goals": [{"name": "all", "events": ["X"]}]}, "cannot be called all", id="reserved name"),
        pytest.param(
            {"touches": [{"touch": "sometimes"}]},
            "'always', 'once_per_visit', 'first_of_session' or 'never'",
            id="unknown word",
        ),
        pytest.param({"touches": [{"touch": "always", "evnts": ["X"]}]}, "Extra inputs", id="misspelt condition"),
        pytest.param(
            {"marketing_channels": [{"name": "X", "medium_matches": "("}, {"name": "Y"}]},
            "not a regular expression",
            id="pattern",
        ),
    ],
)
def test_definitions_that_cannot_work_are_refused(change: dict[str, Any], said: str) -> None:
    TouchDefinitions.model_validate(SMALL)

    with pytest.raises(ValidationError, match=said):
        TouchDefinitions.model_validate({**SMALL, **change})


def test_an_error_names_file_line_and_path(tmp_path: Path) -> None:
    file = tmp_path / "touches.yaml"
    file.write_text(FILE.read_text("utf-8").replace("touch: first_of_session", "touch: first"), "utf-8")
    line = next(n for n, text in enumerate(file.read_text("utf-8").splitlines(), 1) if "touch: first" in text)

    with pytest.raises(DefinitionError, match=rf"touches.yaml:{line}:\d+: touches.6.touch: "):
        load(file, TouchDefinitions)


def test_the_spend_of_the_documentation_can_meet_its_credit(rules: TouchRules) -> None:
    """Channels of the contract that operators book spend under exist in the file, spelt the same."""
    names = {rule["name"] for rule in yaml.safe_load(FILE.read_text("utf-8"))["marketing_channels"]}

    assert set() == {
        "Web Push", "App Push", "WhatsApp", "Messenger", "Telegram", "SMS", "Email", "Call Centre", "In-Store",
        "Offline Media", "Direct", "Paid Search", "Organic Search", "Paid Social", "Organic Social", "Display",
        "Affiliates", "Referral",
    } - names  # fmt: skip
