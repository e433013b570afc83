"""A mail of our own through a real mail server: its link is followed, it is the touch, and one click unsubscribes.

The site shows its slot to somebody who gets no mail.
"""

from __future__ import annotations

import re
from base64 import b64encode
from email.message import EmailMessage
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from deploy.settings import Settings
from tests.e2e.test_journey_story import fills, mails, said, settings  # noqa: F401 - fixtures
from tests.support.collector import RunningCollector
from tests.support.mail_server import MailServer
from tests.support.pipeline import Pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

FIREFOX = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"}
SCANNER = {"User-Agent": "Mozilla/5.0 (compatible; Barracuda Sentinel)"}
DELIVERY = """
sender: Shop <news@shop.example>
channels: {email: {through: smtp}}
links: {hosts: [shop.example]}
preferences: {topics: {promotion: {en: Offers, de: Angebote}}}
"""

SLOT = """
name: site_banner
description: Reminds of the cart.
channel: web
candidates: [{name: cart, if: {attribute: cart.lines, gte: 1}, message: cart-reminder, campaign: cart-on-site}]
"""
SOURCES = """
sources:
  web: {channel: web, kind: browser, origins: ["*"]}
  server: {channel: api, reads: [consent, cart, segments]}
"""


def ask(url: str, method: str = "GET", form: Any = None, **headers: str) -> tuple[HTTPResponse, str]:
    """Ask as a browser does, but follow no redirection."""
    parts = urlsplit(url)
    connection = HTTPConnection(str(parts.hostname), parts.port, timeout=20)
    try:
        body = None if form is None else urlencode(form)
        kind = {} if form is None else {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request(method, parts.path, body, {**kind, **headers})
        response = connection.getresponse()
        return response, response.read().decode("utf-8", "replace")
    finally:
        connection.close()


def html_of(mail: EmailMessage) -> str:
    page = mail.get_body(("html",))
    assert page is not None
    return str(page.get_content())


def address(mail: EmailMessage, path: str) -> str:
    """The address of a mail that leads to this path of the collector."""
    found = re.search(rf'(?:href|src)="(http://[^"]+{path}[^"]+)"', html_of(mail))
    assert found is not None, html_of(mail)
    return found[1]


def of_links(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    """What came of links: the event, whose it is, and whether a program did it."""
    return pipeline.rows(
        "SELECT t.event, i.address, t.is_bot FROM v_touchpoints AS t"
        " INNER JOIN (SELECT profile_id, any(JSONExtractString(identifiers, 1, 'value')) AS address"
        " FROM touchpoints WHERE event = 'Identify' GROUP BY profile_id) AS i USING profile_id"
        " WHERE t.event LIKE 'Email %' AND t.event NOT IN ('Email Sent') ORDER BY ALL"
    )


def test_links_and_the_site_earn_their_touches_and_one_click_unsubscribes(
    settings: Settings,  # noqa: F811
    tmp_path: Path,
    mails: MailServer,  # noqa: F811
) -> None:
    settings.delivery_file.write_text(DELIVERY, "utf-8")
    (settings.definitions_dir / "slots").mkdir()
    (settings.definitions_dir / "slots" / "site-banner.yaml").write_text(SLOT, "utf-8")
    (tmp_path / "sources.yaml").write_text(SOURCES, "utf-8")
    settings = settings.model_copy(update={"sources_file": tmp_path / "sources.yaml"})
    service = RunningCollector(settings, tmp_path)
    settings = settings.model_copy(update={"collector_public_url": service.url})
    with Pipeline(settings, tmp_path) as pipeline:
        service.start()
        pipeline.publish(
            *(
                said(
                    "Identify", who, traits={"locale": locale}, consent={"marketing": True, "channels": {"email": True}}
                )
                for who, locale in (("ann", "de-AT"), ("ben", "en"))
            )
        )
        pipeline.drain()
        pipeline.publish(*(fills(who, "lamp") for who in ("ann", "ben")))
        pipeline.wait(lambda: len(mails.mails) >= 2)
        pipeline.drain()
        mail_of = {str(mail["To"]).partition("@")[0]: mail for mail in mails.mails}
        ann, ben = mail_of["ann"], mail_of["ben"]

        # A scanner opens every address of Ben's mail, and changes nothing about Ben.
        assert "ben@shop.example" not in html_of(ben)
        for path in ("/c/", "/u/", "/p/", "/o/"):
            assert ask(address(ben, path), **SCANNER)[0].status in (200, 302)
        # Ann follows the link of hers, and orders.
        response, _ = ask(address(ann, "/c/"), **FIREFOX)
        to = urlsplit(response.headers["Location"])
        assert (302, "shop.example", "/cart") == (response.status, to.hostname, to.path)
        assert ("email", "cart-abandonment") == tuple(
            parse_qs(to.query)[f"utm_{name}"][0] for name in ("medium", "campaign")
        )
        pipeline.publish(
            said("Page Viewed", "ann", channel="web", properties={"url": "https://shop.example/cart"}),
            *(
                said("Order Completed", who, channel="api", properties={
                    "order_id": f"order of {who}", "revenue": "49.90", "currency": "EUR"})
                for who in ("ann", "ben")
            ),
        )  # fmt: skip
        pipeline.drain()
        # Both had come by themselves before; a message has brought one of them back.
        assert [("order of ann", "Email", "cart-abandonment", 1.0)] == pipeline.rows(
            "SELECT conversion_id, channel, campaign, sum(credit) FROM v_attribution_default"
            " WHERE model = 'last_non_direct' AND channel != 'Direct' GROUP BY ALL ORDER BY ALL"
        )

        # Her preferences, in German; Ben's mail program unsubscribes him by one click.
        page = ask(address(ann, "/p/"), **FIREFOX)[1]
        assert "Ihre Einstellungen" in page
        assert 'name="channel.email" value="yes" checked>E-Mail' in page
        assert 'name="topic.promotion" value="yes" checked>Angebote' in page
        answers = [("asked", "channel.email"), ("channel.email", "yes"), ("asked", "topic.promotion")]
        saved = ask(address(ann, "/p/"), "POST", answers, **FIREFOX)[1]
        assert "Ihre Einstellungen sind gespeichert." in saved
        one_click = str(ben["List-Unsubscribe"]).strip("<>")
        assert "List-Unsubscribe=One-Click" == ben["List-Unsubscribe-Post"]
        assert 200 == ask(one_click, "POST", {"List-Unsubscribe": "One-Click"})[0].status
        pipeline.drain()

        # What the call centre reads of Ben is what he has just said.
        key = "Basic " + b64encode(b"server-key:").decode()
        read = service.get("/v1/profiles/email:ben@shop.example?fields=consent", Authorization=key)
        assert (200, False) == (read.status, read.body["consent"]["channels"]["email"]["granted"])

        page = ask(address(ann, "/p/"), **FIREFOX)[1]
        assert 'name="channel.email" value="yes" checked>' in page
        assert 'name="topic.promotion" value="yes">Angebote' in page
        assert 'name="channel.email" value="yes">E-mail' in ask(address(ben, "/p/"), **FIREFOX)[1]
        assert [
            ("Email Link Clicked", "ann@shop.example", 0), ("Email Link Clicked", "ben@shop.example", 1),
            ("Email Opened", "ben@shop.example", 1), ("Email Unsubscribed", "ben@shop.example", 0),
        ] == of_links(pipeline)  # fmt: skip
        assert 2 == pipeline.value("SELECT uniqExact(profile_id) FROM v_touchpoints WHERE event LIKE 'Email %'")
        assert 0 == pipeline.value("SELECT sum(difference) FROM v_accounting")

        # Dana was never asked about mail. The site reminds her of her cart, and what she follows there is the touch.
        pipeline.publish(fills("dana", "lamp"))
        pipeline.drain()
        asked = {"slot": "site_banner", "person": "email:dana@shop.example", "request_id": "r1"}
        shown, again = (service.post("/v1/decide", asked) for _ in range(2))
        assert (200, shown.body) == (again.status, again.body)
        assert "Still in your cart: Lamp." == shown.body["content"]["text"]
        clicked = shown.body["track"]["clicked"]
        campaign, properties = clicked["context"]["campaign"], clicked["properties"]
        follows = said(clicked["event"], "dana", channel="web", campaign=campaign, properties=properties)
        assert 200 == service.post("/v1/touchpoints", follows).status
        pipeline.drain()
        bought = {"order_id": "order of dana", "revenue": "49.90", "currency": "EUR"}
        pipeline.publish(said("Order Completed", "dana", channel="api", properties=bought))
        pipeline.drain()
        assert [("sent", "cart", shown.body["decision_id"])] == pipeline.rows(
            "SELECT outcome, step, toString(decision_id) FROM v_decisions WHERE journey = 'site_banner'"
        )
        assert [("cart-on-site", 1.0)] == pipeline.rows(
            "SELECT campaign, sum(credit) FROM v_attribution_default"
            " WHERE model = 'last_non_direct' AND conversion_id = 'order of dana' AND credit > 0 GROUP BY ALL"
        )
    service.process.stop(10)
