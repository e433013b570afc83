"""Visits, what brought them, and bots: as SDKs report them, with what every model of attribution makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.field_events import Field, Inputs

pytestmark = pytest.mark.e2e

INPUTS = Inputs()

# analytics.js names no session. Then its server reports the order.
INPUTS.call(
    "web",
    """
{"batch": [
 {"type": "page", "anonymousId": "a-1", "messageId": "v1", "timestamp": "2026-11-01T10:00:00Z", "context": {"page":
  {"url": "https://shop.example/jeans", "path": "/jeans", "referrer": "https://www.google.com/", "search": "",
   "title": "Jeans"}}},
 {"type": "track", "event": "Product Viewed", "anonymousId": "a-1", "messageId": "v2",
  "timestamp": "2026-11-01T10:02:00Z", "properties": {"product_id": "P-1"},
  "context": {"page": {"url": "https://shop.example/jeans", "referrer": "https://www.google.com/"}}},
 {"type": "page", "anonymousId": "a-1", "messageId": "v3", "timestamp": "2026-11-01T13:00:00Z",
  "context": {"page": {"url": "https://shop.example/", "referrer": ""}}}]}
""",
)
INPUTS.call(
    "server",
    """
{"type": "track", "event": "Order Completed", "anonymousId": "a-1", "messageId": "v4",
 "timestamp": "2026-11-01T13:10:00Z", "properties": {"order_id": "V-1", "revenue": 40, "currency": "EUR"}}
""",
)
# Pauses below 30 minutes; an event that comes late and closes a pause; two devices of one person; an id that is given.
INPUTS.call(
    "web",
    """
{"batch": [
 {"type": "page", "anonymousId": "a-p", "messageId": "p1", "timestamp": "2026-11-01T10:00:00Z"},
 {"type": "page", "anonymousId": "a-p", "messageId": "p2", "timestamp": "2026-11-01T10:29:00Z"},
 {"type": "page", "anonymousId": "a-l", "messageId": "l1", "timestamp": "2026-11-01T10:00:00Z"},
 {"type": "page", "anonymousId": "a-l", "messageId": "l2", "timestamp": "2026-11-01T10:50:00Z"},
 {"type": "page", "anonymousId": "a-d1", "userId": "two", "messageId": "d1", "timestamp": "2026-11-01T10:00:00Z"},
 {"type": "page", "anonymousId": "a-d2", "userId": "two", "messageId": "d2", "timestamp": "2026-11-01T10:01:00Z"},
 {"type": "page", "anonymousId": "a-s", "messageId": "s1", "timestamp": "2026-11-01T10:00:00Z",
  "context": {"sessionId": "long"}},
 {"type": "page", "anonymousId": "a-s", "messageId": "s2", "timestamp": "2026-11-01T11:30:00Z",
  "context": {"sessionId": "long"}}]}
""",
)

# One click on an advertisement, whose campaign the SDK repeats with every call; days later one in a mail.
_AD = '{"sessionId": "s1", "campaign": {"source": "google", "medium": "cpc", "name": "autumn"}}'
INPUTS.call(
    "web",
    f"""
{{"batch": [
 {{"type": "page", "anonymousId": "a-2", "messageId": "t1", "timestamp": "2026-11-02T10:00:00Z", "context": {_AD}}},
 {{"type": "track", "event": "Product Viewed", "anonymousId": "a-2", "messageId": "t2",
   "timestamp": "2026-11-02T10:01:00Z", "context": {_AD}}},
 {{"type": "track", "event": "Product Added", "anonymousId": "a-2", "messageId": "t3",
   "timestamp": "2026-11-02T10:02:00Z", "context": {_AD}}},
 {{"type": "track", "event": "Checkout Started", "anonymousId": "a-2", "messageId": "t4",
   "timestamp": "2026-11-02T10:03:00Z", "context": {_AD}}},
 {{"type": "page", "anonymousId": "a-2", "messageId": "t5", "timestamp": "2026-11-05T09:00:00Z",
   "context": {{"sessionId": "s2", "campaign": {{"source": "crm", "medium": "email", "name": "reminder"}}}}}}]}}
{{"batch": [
 {{"type": "page", "anonymousId": "a-2r", "messageId": "tr1", "timestamp": "2026-11-02T10:00:00Z", "context": {_AD}}},
 {{"type": "page", "anonymousId": "a-2r", "messageId": "tr2", "timestamp": "2026-11-02T10:01:00Z", "context": {_AD}}},
 {{"type": "track", "event": "Order Completed", "anonymousId": "a-2r", "messageId": "tr3",
   "timestamp": "2026-11-02T10:09:00Z", "context": {_AD},
   "properties": {{"order_id": "T-2r", "revenue": 10, "currency": "EUR"}}}}]}}
{{"batch": [
 {{"type": "page", "anonymousId": "a-2v", "messageId": "tv1", "timestamp": "2026-11-02T10:00:00Z", "context": {_AD}}},
 {{"type": "page", "anonymousId": "a-2v", "messageId": "tv2", "timestamp": "2026-11-03T10:00:00Z",
   "context": {_AD.replace("s1", "s2")}}}]}}
""",
)
INPUTS.call(
    "server",
    """
{"type": "track", "event": "Order Completed", "anonymousId": "a-2", "messageId": "t6",
 "timestamp": "2026-11-05T09:10:00Z", "properties": {"order_id": "T-2", "revenue": 100, "currency": "EUR"}}
""",
)

# A mail brings the visitor; the browser takes the way back from paying or signing in for a new visit.
RETURNS = {
    "a-3": "https://shop.app/pay/abc",
    "a-3-shopify": "https://checkout.shopify.com/1/checkouts/2",
    "a-3-pay": "https://pay.amazon.com/",
    "a-3-amazon": "https://www.amazon.de/ap/signin",
    "a-3-apple": "https://appleid.apple.com/",
    "a-3-paypal": "https://www.paypal.com/checkoutnow",
    "a-3-bank": "https://secure5.arcot.example/acs",
}
NO_RETURNS = {
    "a-3-blog": ("https://blog.example/best-jeans", "Referral"),
    "a-3-goods": ("https://www.amazon.de/dp/B01", "Organic Shopping"),
}


def mail_and_return(who: str, referrer: str, *, order: bool = True) -> list[dict[str, Any]]:
    def seen(number: int, name: str, time: str, **fields: Any) -> dict[str, Any]:
        return {
            "event_id": f"{who}-{number}", "event": name, "channel": "web", "source": "shop",
            "occurred_at": f"2026-11-03T{time}Z", "identifiers": {"anonymous_id": who}, **fields,
        }  # fmt: skip

    mail = {"source": "crm", "medium": "email", "name": "sale"}
    page = {"url": "https://shop.example/thanks", "referrer": referrer}
    found = [
        seen(1, "Page Viewed", "10:00:00", campaign=mail,
             context={"session_id": "s1", "page": {"url": "https://shop.example/?utm_source=crm"}}),
        seen(2, "Page Viewed", "10:20:00", context={"session_id": "s2", "page": page}),
    ]  # fmt: skip
    bought = {"order_id": f"P-{who}", "revenue": "60", "currency": "EUR"}
    return [*found, seen(3, "Order Completed", "10:20:01", properties=bought)] if order else found


INPUTS.records += [event for who, referrer in RETURNS.items() for event in mail_and_return(who, referrer)]
INPUTS.records += [
    event for who, (referrer, _) in NO_RETURNS.items() for event in mail_and_return(who, referrer, order=False)
]

# Whose site is it? Page, referrer, marketing channel.
SITES = [
    ("https://checkout.shop.example/", "https://account.shop.example/login", "Direct"),
    ("https://de.shop.example/", "https://fr.shop.example/", "Direct"),
    ("https://shop.example/", "https://SHOP.example.:443/", "Direct"),
    ("", "https://www.shop.example/", "Direct"),
    ("https://shop.co.uk/", "https://blog.co.uk/", "Referral"),
    ("https://ada.github.io/", "https://bob.github.io/", "Referral"),
    ("https://shop.example/", "https://myshop.example/", "Referral"),
]
INPUTS.records += [
    {
        "event_id": f"sub-{number}", "event": "Page Viewed", "channel": "web", "source": "shop",
        "occurred_at": "2026-11-03T10:00:00Z", "identifiers": {"anonymous_id": f"a-4-{number}"},
        "context": {"session_id": "s9", "page": {**({"url": page} if page else {}), "referrer": referrer}},
    }
    for number, (page, referrer, _) in enumerate(SITES, 1)
]  # fmt: skip

# Click ids that contradict, addresses with `&amp;`, a second question mark or a campaign that was cut wrongly.
LINKS = {"g1": "Organic Social", "g2": "Paid Search", "g3": "Organic Search", "g4": "Paid Search", "g5": "Email"}
ADDRESSES = {
    "u1": ("Email", "spring"), "u2": ("Paid Social", ""), "u3": ("Email", ""), "u4": ("Email", "spring"),
    "u5": ("Affiliates", "hand"),
}  # fmt: skip
INPUTS.call(
    "web",
    """
{"type": "page", "anonymousId": "g-1", "messageId": "g1", "context": {"sessionId": "s",
 "campaign": {"source": "linkedin"}, "page": {"url": "https://shop.example/?utm_source=linkedin&gclid=OLD1",
 "referrer": "https://www.linkedin.com/"}}}
{"type": "page", "anonymousId": "g-2", "messageId": "g2", "context": {"sessionId": "s",
 "page": {"url": "https://shop.example/?gad_source=1&gad_campaignid=123", "referrer": "https://www.google.com/"}}}
{"type": "page", "anonymousId": "g-3", "messageId": "g3", "context": {"sessionId": "s", "page":
 {"url": "https://shop.example/?utm_source=google&utm_medium=organic&utm_campaign=maps&gclid=X",
  "referrer": "https://www.google.com/"}}}
{"type": "page", "anonymousId": "g-4", "messageId": "g4", "context": {"sessionId": "s",
 "page": {"url": "https://shop.example/?gclid=NEW1", "referrer": ""}}}
{"type": "page", "anonymousId": "g-5", "messageId": "g5", "context": {"sessionId": "s",
 "page": {"url": "https://shop.example/?utm_source=crm&utm_medium=email&fbclid=F1", "referrer": ""}}}
{"type": "page", "anonymousId": "u-1", "messageId": "u1", "context": {"sessionId": "s", "page":
 {"search": "?utm_source=newsletter&amp;utm_medium=email&amp;utm_campaign=spring",
  "url": "https://shop.example/?utm_source=newsletter&amp;utm_medium=email&amp;utm_campaign=spring"}}}
{"type": "page", "anonymousId": "u-2", "messageId": "u2", "context": {"sessionId": "s", "page":
 {"search": "?ref=1?utm_source=facebook&utm_medium=cpc",
  "url": "https://shop.example/?ref=1?utm_source=facebook&utm_medium=cpc"}}}
{"type": "page", "anonymousId": "u-3", "messageId": "u3", "context": {"sessionId": "s",
 "campaign": {"source": "newsletter", "utm_medium": "email"},
 "page": {"url": "https://shop.example/?utm_source=newsletter&amp;utm_medium=email"}}}
{"type": "page", "anonymousId": "u-4", "messageId": "u4", "context": {"sessionId": "s", "page":
 {"url": "https://shop.example/#utm_source=newsletter&#038;utm_medium=email&#038;utm_campaign=spring"}}}
{"type": "page", "anonymousId": "u-5", "messageId": "u5", "context": {"sessionId": "s",
 "campaign": {"source": "partner", "medium": "affiliate", "name": "hand"},
 "page": {"url": "https://shop.example/?utm_source=newsletter&amp;utm_medium=email&amp;utm_campaign=spring"}}}
""",
)


# The same address in a touchpoint of a producer of its own, on Kafka and over HTTP; one has a campaign by hand.
RAW = {"raw-kafka": "Email", "raw-http": "Email", "raw-hand": "Paid Search"}


def raw(key: str, **fields: Any) -> dict[str, Any]:
    address = "https://shop.example/?utm_source=newsletter&amp;utm_medium=email&amp;utm_campaign=spring"
    return {
        "event_id": key, "event": "Page Viewed", "channel": "web", "source": "shop",
        "occurred_at": "2026-11-03T10:00:00Z", "identifiers": {"anonymous_id": key},
        "context": {"page": {"url": address}}, **fields,
    }  # fmt: skip


INPUTS.records += [raw("raw-kafka"), raw("raw-hand", campaign={"source": "google", "medium": "cpc"})]
INPUTS.add_call("server", "/v1/touchpoints", {"batch": [raw("raw-http")]})


# A mail filter opens every link of a message seconds after its delivery; people open one.
def mail(who: str, step: str, time: str, **properties: Any) -> dict[str, Any]:
    return {
        "event_id": f"{who} {step} {time}", "event": f"Email {step}", "channel": "email", "source": "mailer",
        "occurred_at": f"2026-11-06T{time}Z", "identifiers": {"email": f"{who}@filter.example"},
        "properties": {"message_id": f"m-{who}", **properties},
    }  # fmt: skip


INPUTS.records += [
    mail("scanned", "Delivered", "10:00:00"),
    *(
        mail("scanned", "Link Clicked", f"10:00:{seconds}", link_id=link)
        for seconds, link in (("01", "a"), ("01.5", "b"), ("02", "unsubscribe"), ("02.4", "c"), ("03", "d"))
    ),
    mail("scanned", "Unsubscribed", "10:00:02.100", method="GET"),
    mail("scanned", "Link Clicked", "11:00:00", link_id="a"),
    mail("quick", "Delivered", "10:00:00"),
    mail("quick", "Link Clicked", "10:00:20", link_id="a"),
    mail("reader", "Delivered", "10:00:00"),
    *(mail("reader", "Link Clicked", f"10:0{n}:00", link_id=f"l{n}") for n in range(1, 4)),
    mail("leaver", "Delivered", "10:00:00"),
    mail("leaver", "Unsubscribed", "10:05:00", method="POST"),
]
INPUTS.late_records += [
    {
        "event_id": "l0", "event": "Page Viewed", "channel": "web", "source": "web",
        "occurred_at": "2026-11-01T10:25:00Z", "identifiers": {"anonymous_id": "a-l"},
    }
]  # fmt: skip


def test_visits_without_session_ids_are_told_by_pauses(field: Field) -> None:
    assert [("Organic Search", 2), ("Direct", 1)] == field.visits("anonymous_id:a-1")
    assert {"Organic Search": 40.0} == field.credits("V-1")["last_non_direct"]
    assert {"Direct": 40.0} == field.credits("V-1")["last_touch"]
    assert {"Organic Search": 20.0, "Direct": 20.0} == field.credits("V-1")["linear"]


@pytest.mark.parametrize(
    ("who", "events"),
    [
        ("anonymous_id:a-p", [2]),
        ("anonymous_id:a-l", [3]),
        ("user_id:two", [1, 1]),
        ("anonymous_id:a-s", [2]),
    ],
    ids=["a pause of 29 minutes", "a late event closes a pause", "two devices", "the producer's own id"],
)
def test_where_a_visit_ends(field: Field, who: str, events: list[int]) -> None:
    assert events == [count for _, count in field.visits(who)]


def test_one_visit_with_a_campaign_in_its_address_is_one_touch(field: Field) -> None:
    assert ["Paid Search", "Email"] == field.touches("anonymous_id:a-2")
    for model in ("linear", "position_based"):
        assert {"Paid Search": 50.0, "Email": 50.0} == field.credits("T-2")[model]
    assert [(1,)] == field.rows("SELECT sum(conversions) FROM v_paths WHERE path = ['Paid Search', 'Email']")


def test_reloads_and_the_order_add_no_touch_and_another_visit_does(field: Field) -> None:
    assert ["Paid Search"] == field.touches("anonymous_id:a-2r")
    assert {"Paid Search": 10.0} == field.credits("T-2r")["linear"]
    assert ["Paid Search", "Paid Search"] == field.touches("anonymous_id:a-2v")


@pytest.mark.parametrize("who", RETURNS)
def test_back_from_paying_every_model_credits_the_mail(field: Field, who: str) -> None:
    credits_by_model = field.credits(f"P-{who}")

    assert {"first_touch", "last_touch", "last_non_direct", "linear", "time_decay", "position_based"} <= set(
        credits_by_model
    )
    assert [{"Email": 60.0}] == list({str(one): one for one in credits_by_model.values()}.values())
    assert ["Email"] == field.touches(f"anonymous_id:{who}")


@pytest.mark.parametrize("who", NO_RETURNS)
def test_another_site_without_a_checkout_brings_a_visitor(field: Field, who: str) -> None:
    assert ["Email", NO_RETURNS[who][1]] == field.touches(f"anonymous_id:{who}")


@pytest.mark.parametrize("number", range(1, len(SITES) + 1), ids=[f"{page} from {ref}" for page, ref, _ in SITES])
def test_hosts_of_one_registrable_domain_are_one_site(field: Field, number: int) -> None:
    assert [SITES[number - 1][2]] == field.touches(f"anonymous_id:a-4-{number}")


@pytest.mark.parametrize("key", LINKS)
def test_a_click_id_vouches_for_its_own_network(field: Field, key: str) -> None:
    assert [LINKS[key]] == field.touches(f"anonymous_id:{key[0]}-{key[1]}")


def test_contradicting_click_ids_are_counted(field: Field) -> None:
    found = field.rows("SELECT example_event_id FROM v_campaign_conflicts ORDER BY ALL")

    assert {("g1",), ("g3",), ("g5",)} == set(found)


@pytest.mark.parametrize("key", ADDRESSES)
def test_an_address_is_read_as_it_was_meant(field: Field, key: str) -> None:
    event = field.event(key)

    assert ADDRESSES[key] == (event["channel"], event["campaign"])


@pytest.mark.parametrize("key", RAW)
def test_the_address_of_a_raw_touchpoint_is_read_likewise(field: Field, key: str) -> None:
    assert [RAW[key]] == field.touches(f"anonymous_id:{key}")


def test_a_scan_of_a_mail_is_one_click_of_the_person_who_came_later(field: Field) -> None:
    profile = field.profile("email:scanned@filter.example")

    assert 1 == profile["messages"]["email"]["clicked"]["times"]
    assert {} == profile["consent"]["channels"]
    assert ["Email"] == field.touches("email:scanned@filter.example")
    assert [("link_scan", 6)] == field.rows("SELECT reason, sum(events) FROM v_bots GROUP BY reason")


@pytest.mark.parametrize(("who", "clicks"), [("quick", 1), ("reader", 3)])
def test_people_who_click_once_or_read_on_are_heard(field: Field, who: str, clicks: int) -> None:
    assert clicks == field.profile(f"email:{who}@filter.example")["messages"]["email"]["clicked"]["times"]
    assert ["Email"] * clicks == field.touches(f"email:{who}@filter.example")


def test_messages_show_who_answered_and_who_left(field: Field) -> None:
    found = field.rows(
        "SELECT message_id, responded, unsubscribed FROM v_messages WHERE message_id LIKE 'm-%' ORDER BY ALL"
    )

    assert [("m-leaver", 0, 1), ("m-quick", 1, 0), ("m-reader", 1, 0), ("m-scanned", 1, 0)] == found
    assert not field.profile("email:leaver@filter.example")["consent"]["channels"]["email"]["granted"]
