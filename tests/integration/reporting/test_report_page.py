"""The report: one page that stands alone, and whose every figure a query finds."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.engines import load_segments
from processors.profiles.document import apply, encode, new_profile
from processors.recording.rows import profile_row
from sinks.clickhouse.rfm import publish_rfm
from sinks.clickhouse.spend import insert_spend
from tests.integration.conftest import empty
from tests.integration.decisions.test_message_views import knows, message
from tests.integration.reporting.test_behaviour import did
from tests.integration.reporting.test_money import sold, spent
from tests.support.builders import DAY_ONE
from tests.support.stack import unavailable
from tests.support.warehouse import Warehouse, resolved

pytestmark = pytest.mark.integration

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


def fill(tables: Warehouse) -> None:
    """Forty people over six weeks: what every part of the page needs."""
    hour, week = timedelta(hours=1), timedelta(days=7)
    events: list[dict[str, Any]] = []
    for who in range(1, 41):
        start = DAY_ONE + who % 6 * week
        touches = ("Paid Search", "Email", "<Display>", "Direct")[: 1 + who % 4]
        events += [
            resolved(f"{who} {place}", who, start - (5 - place) * hour, touch) for place, touch in enumerate(touches)
        ]
        events.append(knows(who, start - 6 * hour, "email", consent={"channels": {"email": who % 3 > 0}}))
        events += message(who, who, start - 6 * hour, "Delivered", *(["Link Clicked"] if who % 4 == 1 else []))
        events.append(did("Product Viewed", who, start - DAY_ONE, properties={"product_id": "p-1"}))
        if who % 2:
            events.append(sold(f"o{who}", who, f"{10 + who}.50", at=start + hour))
        if who % 5 == 1:
            events.append(sold(f"again {who}", who, "30.00", at=start + 2 * week))
    tables.store(*events)
    tables.insert("profiles", *profiles_of(events))
    insert_spend(tables.client, [spent("Paid Search", "120.00"), spent("Email", "8.00"), spent("TV", "75.00")])
    publish_rfm(tables.client, load_segments(tables.settings).rfm)


def profiles_of(events: list[dict[str, Any]]) -> list[bytes]:
    """The snapshots of the profiles that these events make."""
    documents: dict[str, dict[str, Any]] = {}
    for event in events:
        apply(documents.setdefault(event["profile_id"], new_profile(event["profile_id"])), event)
    return [profile_row(profile_id, 1, encode(document)) for profile_id, document in documents.items()]


@pytest.fixture(scope="module")
def database(one_database: Warehouse) -> Warehouse:
    pytest.importorskip("vl_convert")
    empty(one_database)
    fill(one_database)
    return one_database


@pytest.fixture(scope="module")
def page(database: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("report") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deploy.settings.settings", lambda: database.settings)
        printed = CliRunner().invoke(app, ["report", "--html", str(file)])
    assert 0 == printed.exit_code, printed.output
    return file.read_text("utf-8")


def rows_of(page: str, title: str) -> list[list[str]]:
    section = page[page.index(f"<h2>{title}</h2>") :].partition("</section>")[0]
    body = section[section.index("<tbody>") : section.index("</tbody>")]
    return [
        [unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", row)] for row in re.findall(r"<tr>(.*?)</tr>", body)
    ]


def test_every_figure_is_found_by_the_query_that_the_page_shows(database: Warehouse, page: str) -> None:
    sections = re.findall(r"<section><h2>(.*?)</h2>.*?<pre>(.*?)</pre>", page, re.DOTALL)

    assert 7 == len(sections)
    for title, sql in sections:
        found = database.client.query(unescape(sql), parameters={"model": "linear"}).named_results()
        numbers = {cell for row in found for value in row.values() for cell in _ways_to_write(value)}
        shown = rows_of(page, title)
        assert shown, title
        assert [] == [cell for row in shown for cell in row if cell not in numbers | {"(none)"}], title


def _ways_to_write(value: Any) -> set[str]:
    """How the page may write a value of the database."""
    if value is None:
        return {"–"}
    if isinstance(value, int | float):
        return {f"{int(value):,}", f"{value:,.2f}", f"{value:,.1%}"}
    return {str(value)}


def test_totals_are_those_of_the_database(database: Warehouse, page: str) -> None:
    orders, revenue, customers = database.rows(
        "SELECT count(), sum(revenue), uniq(profile_id) FROM v_conversions WHERE conversion_type = 'purchase'"
    )[0]
    totals = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert (f"{orders}", f"{revenue:,.2f}", f"{customers}", "203.00") == tuple(
        totals[name] for name in ("Orders", "Revenue, EUR", "New customers", "Spent on marketing")
    )


def test_the_page_needs_nothing_else_and_shows_names_as_they_are(page: str) -> None:
    assert [] == re.findall(r"<(?:script|link|img|iframe)\b|(?:src|href)=|url\(|@import", page)
    assert 14 == page.count("<svg")
    assert (False, True) == ("Lines are intervals" in page, "No margin is set" in page)
    assert ("&lt;Display&gt;" in page, "<Display>" in page) == (True, False)


@pytest.mark.parametrize("width", [pytest.param(500, id="phone"), pytest.param(1200, id="desktop")])
def test_a_browser_shows_the_page_without_scrolling_sideways(page: str, tmp_path: Path, width: int) -> None:
    if CHROMIUM is None:
        unavailable("there is no Chromium: apt-get install chromium")
    file, probe, picture = (tmp_path / name for name in ("report.html", "probe.html", "report.png"))
    file.write_text(page, "utf-8")
    measure = (
        "<script>document.title = JSON.stringify([document.documentElement.scrollWidth, innerWidth,"
        " [...document.querySelectorAll('svg')].filter(one => one.getBoundingClientRect().width > 250).length])"
        "</script>"
    )
    probe.write_text(page.replace("</body>", measure + "</body>"), "utf-8")
    browser = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},3000",
    ]  # fmt: skip

    dumped = subprocess.run([*browser, "--dump-dom", probe.as_uri()], capture_output=True, text=True, timeout=120)
    subprocess.run([*browser, f"--screenshot={picture}", file.as_uri()], capture_output=True, timeout=120, check=True)

    content, inner, pictures = json.loads(unescape(re.findall(r"<title>(.*?)</title>", dumped.stdout)[0]))
    assert (True, 7) == (content <= inner, pictures)
    assert (width, 3000) == struct.unpack(">II", picture.read_bytes()[16:24])
    assert picture.stat().st_size > 30_000


def test_a_page_about_nothing_says_so(tables: Warehouse, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")

    printed = CliRunner().invoke(app, ["report", "--html", str(tmp_path / "report.html")])

    assert 0 == printed.exit_code, printed.output
    assert "No orders yet" in (tmp_path / "report.html").read_text("utf-8")
