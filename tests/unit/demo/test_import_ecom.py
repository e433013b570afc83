"""The public data set of a web shop as touchpoint events."""

from __future__ import annotations

import gzip
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.demo.ecom import COLUMNS, EVENTS, MEMBER, DownloadError, download, table, touchpoints
from deploy.operations.definition_files import touch_rules
from deploy.operations.importers.tables import TableError
from deploy.settings import Settings
from processors.intake.decode import decode
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.events.envelope import is_historical
from schemas.outcomes import Reject

HEADER = ",".join(COLUMNS) + "\n"


def row(
    event: str = "home", time: str = "2024-03-13 10:00:00", user: str = "u1", session: str = "s1", **more: str
) -> str:
    channel = more.get("channel", "organic")
    return f"{user},{session},{event},{time},desktop,{channel},2024-01,new\n"


def events(*rows: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in touchpoints([HEADER, *rows])]


@pytest.mark.parametrize(("theirs", "ours"), EVENTS.items(), ids=EVENTS)
def test_each_event_has_a_name_and_is_valid(theirs: str, ours: str) -> None:
    (line,) = touchpoints([HEADER, row(theirs)])
    event = decode(line, channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=65_536)
    assert not isinstance(event, Reject), event
    assert ours == event["event"]


def test_the_history_of_another_shop_is_told_later_and_starts_no_journey() -> None:
    assert [True, True] == [is_historical(event) for event in events(row(), row("purchase", session="s2"))]


def test_events_come_in_order_of_time() -> None:
    found = events(row(time="2024-03-13 10:00:05"), row(time="2024-03-13 10:00:01", user="u2", session="s2"))
    expected = ["2024-03-13T10:00:01.000Z", "2024-03-13T10:00:05.000Z"]
    assert expected == [event["occurred_at"] for event in found]


def test_events_of_one_second_keep_the_order_of_the_table() -> None:
    found = events(row("payment_details"), row("purchase"))
    expected = [
        ("Payment Info Entered", "2024-03-13T10:00:00.000Z"),
        ("Order Completed", "2024-03-13T10:00:00.001Z"),
    ]
    assert expected == [(event["event"], event["occurred_at"]) for event in found]


def test_the_same_table_gives_the_same_events() -> None:
    rows = [row("product_view"), row("add_to_cart"), row("purchase")]
    assert events(*rows) == events(*rows)


def test_equal_rows_are_different_events() -> None:
    first, second = events(row(), row())
    assert first["event_id"] != second["event_id"]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        pytest.param("paid_search", "Paid Search", id="paid search"),
        pytest.param("email", "Email", id="email"),
        pytest.param("organic", "Organic Search", id="organic"),
        pytest.param("social", "Organic Social", id="social"),
        pytest.param("direct", "Direct", id="direct"),
    ],
)
def test_the_touch_rules_find_the_acquisition_channel(theirs: str, ours: str) -> None:
    (event,) = events(row(channel=theirs))
    assert ours == touch_rules(Settings()).classify(event).marketing_channel


def test_only_the_first_event_of_a_user_carries_it() -> None:
    later = [
        row(time="2024-03-14 10:00:00", channel="email"),
        row(time="2024-03-20 10:00:00", session="s2", channel="email"),
    ]
    found = events(row(channel="email"), *later)
    assert ["campaign" in event for event in found] == [True, False, False]


def test_an_order_contains_the_cart_since_the_last_order() -> None:
    found = events(
        row("product_view", "2024-03-13 10:00:00"),
        row("add_to_cart", "2024-03-13 10:00:01"),
        row("add_to_cart", "2024-03-13 10:00:02"),
        row("purchase", "2024-03-13 10:00:03"),
        row("add_to_cart", "2024-03-20 10:00:02", session="s2"),
        row("purchase", "2024-03-20 10:00:03", session="s2"),
    )
    viewed, _, _, first, _, second = (event["properties"] for event in found)
    pieces = [(product["product_id"], product["quantity"]) for product in first["products"]]
    assert [(viewed["product_id"], 2)] == pieces
    assert f"{2 * float(viewed['price']):.2f}" == first["revenue"]
    assert [(viewed["product_id"], 1)] == [(p["product_id"], p["quantity"]) for p in second["products"]]


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        pytest.param([], "line 1: the file is empty", id="empty"),
        pytest.param(["user_id\n"], "line 1, column session_id: missing", id="column missing"),
        pytest.param([HEADER.replace("event", "what")], "line 1, column event: missing", id="column renamed"),
        pytest.param([HEADER, row("dance")], "line 2, column event: 'dance': expected one of home", id="event"),
        pytest.param([HEADER, row(time="13.03.2024")], "line 2, column timestamp: '13.03.2024': expected", id="time"),
        pytest.param([HEADER, row(channel="tv")], "line 2, column acquisition_channel: 'tv': expected", id="channel"),
        pytest.param([HEADER, row(user="")], "line 2, column user_id: empty", id="nobody"),
        pytest.param([HEADER, "a,b\n"], "line 2: 2 values, expected 8", id="cut off"),
    ],
)
def test_a_table_of_another_form_is_an_error_with_line_and_column(lines: list[str], error: str) -> None:
    with pytest.raises(TableError) as refused:
        list(touchpoints(lines))
    assert str(refused.value).startswith(error)


def test_the_table_is_read_plain_compressed_or_from_the_package(tmp_path: Path) -> None:
    text = HEADER + row()
    plain, packed, package = tmp_path / "a.csv", tmp_path / "a.csv.gz", tmp_path / "a.whl"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile(package, "w") as wheel:
        wheel.writestr(MEMBER, gzip.compress(text.encode()))
    assert [[HEADER, row()]] * 3 == [table(plain), table(packed), table(package)]


def test_another_package_is_an_error(tmp_path: Path) -> None:
    package = tmp_path / "a.whl"
    with zipfile.ZipFile(package, "w") as wheel:
        wheel.writestr("other.txt", "")
    with pytest.raises(DownloadError, match="does not hold the table"):
        table(package)


def test_a_download_happens_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise AssertionError("downloaded again")

    wheel = tmp_path / "retentioneering-5.2.4-py3-none-any.whl"
    wheel.touch()
    monkeypatch.setattr(subprocess, "run", no_network)
    assert wheel == download(tmp_path)


def test_the_error_of_a_failed_download_has_an_alternative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess((), 1, "", "ERROR: noise\nERROR: No matching distribution\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(
        DownloadError, match="No matching distribution\nGive the table yourself: throughline import ecom FILE"
    ):
        download(tmp_path)
