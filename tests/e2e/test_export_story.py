"""Orders leave to networks: each once, with its click, its refund and its merge; not without consent; none waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.settings import Settings
from tests.support.builders import order, touchpoint
from tests.support.networks import Networks, networks
from tests.support.pipeline import Pipeline

pytestmark = pytest.mark.e2e

AGREED = {"marketing": True}
ROWS = (
    "SELECT destination, conversion_id, kind, number, state, reason, value FROM v_conversion_exports"
    " WHERE destination != 'stuck' ORDER BY ALL"
)


def told(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    """The value that a destination was told last of each conversion."""
    return {conversion: value for _, conversion, _, _, state, _, value in rows if state == "sent"}


def ago(minutes: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat(timespec="milliseconds")


def destinations(folder: Path, url: str) -> None:
    (folder / "destinations").mkdir(parents=True)
    sections: dict[str, dict[str, Any]] = {
        "meta": {"through": "meta", "meta": {"pixel_id": "1", "api": url}},
        "partner": {"through": "webhook", "webhook": {"url": f"{url}/partner"}},
        "stuck": {"through": "tiktok", "tiktok": {"pixel_code": "C4", "api": url}},
    }
    for name, section in sections.items():
        rules = [{"goal": "purchase", "event": "Purchase"}]
        file = {"destination": name, "description": name, "start": "earliest", "conversions": rules, **section}
        (folder / "destinations" / f"{name}.yaml").write_text(yaml.safe_dump(file))


def visit(browser: str, click: str) -> dict[str, Any]:
    page = {"url": f"https://shop.example/?fbclid={click}"}
    return touchpoint(
        identifiers={"anonymous_id": browser}, context={"page": page, "user_agent": "Mozilla/5.0"}, occurred_at=ago(9)
    )


def bought(order_id: str, who: str, **fields: Any) -> dict[str, Any]:
    return order(
        order_id, identifiers={"email": f"{who}@shop.example"} | fields.pop("also", {}), occurred_at=ago(5), **fields
    )


def test_conversions_leave_once_with_what_became_of_them(stack: Settings, tmp_path: Path) -> None:
    with networks() as outside:
        destinations(tmp_path / "definitions", outside.url)
        exporting = {
            "definitions_dir": str(tmp_path / "definitions"), "destination_secrets": "meta=m,stuck=t",
            "webhook_secret": "a key of the test", "webhook_hosts": "127.0.0.1", "webhook_networks": "127.0.0.0/8",
        }  # fmt: skip
        with Pipeline(stack, tmp_path) as pipeline:
            tell(pipeline, outside, exporting)


def tell(pipeline: Pipeline, outside: Networks, exporting: dict[str, str]) -> None:
    def exported(rows: int) -> None:
        # What the two others have; the one that hangs is waited for by nobody.
        pipeline.wait(lambda: len(pipeline.rows(ROWS)) >= rows, said=lambda: str(pipeline.rows(ROWS)))

    # A process dies between an answer and the ledger.
    dying = pipeline.start("export", "dying", crash_at="export:sent:1", **exporting)
    pipeline.publish(
        visit("browser-ann", "F1"), bought("1001", "ann", also={"anonymous_id": "browser-ann"}, consent=AGREED)
    )
    pipeline.wait(lambda: not dying.alive)
    pipeline.start("export", **exporting)
    exported(2)

    assert {"1001"} == {one["event_id"] for one in [*outside.meta, *outside.partner]}
    assert 3 <= len(outside.meta) + len(outside.partner) <= 4  # one of them again, under the same name
    assert {"partner:purchase:1001"} == set(outside.ids)
    user = outside.meta[-1]["user_data"]
    assert ([sha256(b"ann@shop.example").hexdigest()], "F1") == (user["em"], user["fbc"].rpartition(".")[2])

    # Somebody who has not agreed; a refund that is told twice; a merge after the export.
    refund = touchpoint(
        "Order Refunded", identifiers={"email": "ann@shop.example"}, occurred_at=ago(4),
        properties={"order_id": "1001", "revenue": "30.00", "currency": "EUR"},
    )  # fmt: skip
    pipeline.publish(bought("1002", "ben"), bought("1003", "cid", consent=AGREED), refund, refund)
    exported(8)
    again = touchpoint("Signed In", identifiers={"email": "cid@shop.example", "anonymous_id": "browser-cid"})
    pipeline.publish(visit("browser-cid", "F3"))
    pipeline.drain()
    pipeline.publish(again | {"occurred_at": ago(1)})
    exported(10)
    pipeline.drain()

    assert [
        ("meta", "1001", "conversion", 0, "sent", "", 100),
        ("meta", "1001", "value", 1, "sent", "", 70),
        ("meta", "1002", "conversion", 0, "withheld", "no_consent", 100),
        ("meta", "1003", "conversion", 0, "sent", "", 100),
        ("meta", "1003", "match", 0, "withheld", "not_adjustable", 100),
        ("partner", "1001", "conversion", 0, "sent", "", 100),
        ("partner", "1001", "value", 1, "sent", "", 70),
        ("partner", "1002", "conversion", 0, "withheld", "no_consent", 100),
        ("partner", "1003", "conversion", 0, "sent", "", 100),
        ("partner", "1003", "match", 0, "sent", "", 100),
    ] == pipeline.rows(ROWS)
    assert [("Refund", 30.0)] == [
        (one["event_name"], one["custom_data"]["value"]) for one in outside.meta if one["event_name"] != "Purchase"
    ]
    adjustments = [one for one in outside.partner if one["kind"] != "conversion"]
    assert [("value", "1001", "70"), ("match", "1003", "100")] == [
        (one["kind"], one["adjusts"], one["value"]) for one in adjustments
    ]
    assert {"fbclid": "F3"} == adjustments[-1]["click_ids"]
    assert [("meta", 3, 2, 1, 1), ("partner", 3, 2, 1, 1)] == pipeline.rows(
        "SELECT destination, sum(conversions), sum(sent), sum(no_consent), sum(with_click_id)"
        " FROM v_conversion_match_rates WHERE destination != 'stuck' GROUP BY destination ORDER BY destination"
    )

    # The one that hung has lost nothing, and learns of the state of now: at once, or by an adjustment if the call that
    # hangs is answered after all.
    assert (True, []) == (outside.asked > 0, outside.tiktok)
    outside.open.set()
    of_stuck = ROWS.replace("!=", "=")
    pipeline.wait(
        lambda: told(pipeline.rows(of_stuck)) == {"1001": 70, "1003": 100}, said=lambda: str(pipeline.rows(of_stuck))
    )
    assert [("1002", "no_consent")] == [(row[1], row[5]) for row in pipeline.rows(of_stuck) if row[4] == "withheld"]
    assert {"1001", "1003"} <= {one["event_id"] for one in outside.tiktok}
