"""Four customers, the shipped journeys, a real mail server: from an event to a message, its receipt and the reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.settings import DEFINITIONS, Settings
from tests.support.builders import touchpoint
from tests.support.mail_server import MailServer, mail_server
from tests.support.pipeline import Pipeline
from tests.support.prometheus import scraped

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

HURRY = {
    # The shipped journeys, with seconds for hours, e-mail alone and nobody held out.
    "cart-abandonment.yaml": [("timeout: 1h", "timeout: 2s"), ("[web_push, app_push, email]", "[email]")],
    "price-drop.yaml": [("[app_push, web_push, email]", "[email]")],
}
POLICY = 'holdout: {share: 0}\nquiet_hours: {"*": null}\n'
DELIVERY = "sender: Shop <news@shop.example>\nchannels: {email: {through: smtp}}\n"


def hurried(folder: Path) -> Path:
    """Write down definitions with which a story is over in seconds."""
    for part in ("segments", "templates"):
        shutil.copytree(DEFINITIONS / part, folder / part)
    (folder / "journeys").mkdir()
    for name, changes in HURRY.items():
        text = (DEFINITIONS / "journeys" / name).read_text("utf-8")
        for written, instead in (("holdout: 0.1", "holdout: 0"), *changes):
            assert written in text
            text = text.replace(written, instead)
        (folder / "journeys" / name).write_text(text, "utf-8")
    (folder / "policy.yaml").write_text(POLICY, "utf-8")
    (folder / "delivery.yaml").write_text(DELIVERY, "utf-8")
    return folder


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as found:
        yield found


@pytest.fixture
def settings(stack: Settings, tmp_path: Path, mails: MailServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    folder = hurried(tmp_path / "definitions")
    found = stack.model_copy(
        update={
            "definitions_dir": folder,
            "policy_file": folder / "policy.yaml",
            "delivery_file": folder / "delivery.yaml",
            "smtp_url": SecretStr(mails.url),
        }
    )
    monkeypatch.setattr("deploy.settings.settings", lambda: found)
    return found


def said(name: str, who: str, **fields: Any) -> dict[str, Any]:
    """An event of now."""
    return touchpoint(
        name, identifiers={"email": f"{who}@shop.example"}, occurred_at=datetime.now(UTC).isoformat(), **fields
    )


def joins(who: str, *, agrees: bool = True) -> dict[str, Any]:
    return said("Identify", who, consent={"marketing": agrees, "channels": {"email": agrees}})


def fills(who: str, product: str) -> dict[str, Any]:
    about = {"cart_id": f"cart of {who}", "product_id": product, "name": "Lamp", "price": "49.90", "currency": "EUR"}
    return said("Product Added", who, properties=about)


def of_product(event: str, **about: Any) -> dict[str, Any]:
    return {**said(event, "nobody", channel="api", properties={"product_id": "sofa", **about}), "identifiers": []}


def costs(product: str, price: str) -> dict[str, Any]:
    return of_product("Price Changed", product_id=product, name="Sofa", price=price, currency="EUR")


def why(who: str) -> str:
    told = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["journeys", "why", f"email:{who}@shop.example"])
    assert 0 == told.exit_code, told.output
    return told.stdout


def test_a_cart_an_order_a_refusal_and_a_price(settings: Settings, tmp_path: Path, mails: MailServer) -> None:
    with Pipeline(settings, tmp_path) as pipeline:
        pipeline.publish(
            *(joins(who) for who in ("ann", "ben", "dana")),
            joins("cem", agrees=False),
            of_product("Product Updated", name="Sofa", quantity=0, store_id="minsk-1"),
            said("Product Viewed", "dana", properties={"product_id": "sofa", "price": "499.00", "currency": "EUR"}),
        )
        pipeline.drain()
        pipeline.publish(
            *(fills(who, "lamp") for who in ("ann", "ben", "cem")),
            said("Order Completed", "ben", properties={
                "order_id": "o1", "cart_id": "cart of ben", "revenue": "49.90", "currency": "EUR"}),
            costs("sofa", "399.00"),  # the first that is known
            of_product("Stock Changed", quantity=4, store_id="minsk-1"),  # where she never was
        )  # fmt: skip
        decided = "SELECT count() FROM v_decisions"
        pipeline.wait(lambda: pipeline.value(decided) >= 3)
        pipeline.drain()

        assert {("ann@shop.example", "Your cart is waiting"), ("dana@shop.example", "The price has dropped")} == {
            (mail["To"], mail["Subject"]) for mail in mails.mails
        }
        assert 2 == len(mails.mails)
        texts = [body.get_content() for mail in mails.mails if (body := mail.get_body(("plain",))) is not None]
        assert 1 == sum("Sofa now costs €399.00" in text for text in texts)
        assert [("sofa", "Sofa", 399.0)] == pipeline.rows("SELECT product_id, name, toFloat64(price) FROM v_prices")
        assert [
            ("cart_abandonment", "sent", "", "email"), ("cart_abandonment", "suppressed", "consent", ""),
            ("price_drop", "sent", "", "email"),
        ] == pipeline.rows("SELECT journey, outcome, gate, channel FROM v_decisions ORDER BY ALL")  # fmt: skip
        # What became of the messages came back as events of the people who got them.
        keys = "SELECT profile_id, idempotency_key FROM v_decisions WHERE outcome = 'sent' ORDER BY ALL"
        receipts = (
            "SELECT profile_id, JSONExtractString(properties, 'message_id') FROM v_touchpoints"
            " WHERE event = 'Email Sent' ORDER BY ALL"
        )
        assert sorted(mails.keys) == sorted(key for _, key in pipeline.rows(keys))
        assert pipeline.rows(keys) == pipeline.rows(receipts)
        assert 0 == pipeline.value("SELECT sum(difference) FROM v_accounting")

        assert "message cart-reminder: Sent by e-mail" in why("ann")
        counted, _ = scraped(tmp_path, "deliver")
        assert (2, 2) == (counted["messages_total email sent"], counted["records_received_total deliver"])
        assert "Order Completed" in why("ben")
        assert "message" not in why("ben")
        assert "message cart-reminder: Not sent" in why("cem")
        assert "message price-drop: Sent by e-mail" in why("dana")
