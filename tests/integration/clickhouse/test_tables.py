"""The reference for analysts is up to date, its queries run, and the user `analyst` reads within limits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from deploy.local.clickhouse_server import ClickHouse
from deploy.settings import Settings
from sinks.clickhouse.access import DEFINED_VIEWS, define_views
from sinks.clickhouse.client import connect
from sinks.clickhouse.tables import Question, describe, markdown, questions
from tests.integration.reporting.test_finite_numbers import with_addresses
from tests.integration.reporting.test_money import sold
from tests.integration.reporting.test_report_page import fill, profiles_of
from tests.support.stack import unavailable
from tests.support.warehouse import Warehouse

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
LOCAL_AND_CONTAINER = ("deploy/local/clickhouse-users.xml", "deploy/clickhouse/analyst.xml")
GRANTS = re.compile(r"<query>(.*?)</query>")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """A server with the users of the local stack and the tables under their usual name."""
    folder = tmp_path_factory.mktemp("analyst")
    found = ClickHouse("clickhouse", folder / "data", folder / "log")
    try:
        found.start()
    except ModuleNotFoundError as error:
        unavailable(str(error))
    try:
        fill_and_define_views(found)
        yield found
    finally:
        found.stop(1)


def fill_and_define_views(server: ClickHouse) -> None:
    """Make the tables with events that have addresses, and let the analyst read the views."""
    database = Warehouse(Settings(clickhouse_url=server.address, clickhouse_database="throughline"))
    database.store(*with_addresses())
    assert "" == define_views(database.client, "throughline")
    database.client.close()


def answer(server: ClickHouse, sql: str) -> str:
    """Ask as the analyst; `ok` or the code of the server's refusal."""
    client = connect(server.address.replace("://", "://analyst:@"), "throughline")
    try:
        client.query(sql)
    except ClickHouseError as error:
        code = re.search(r"Code: (\d+)", str(error))
        return code[1] if code else str(error)
    finally:
        client.close()
    return "ok"


def test_the_reference_is_up_to_date(tables: Warehouse) -> None:
    written = markdown(describe(tables.client), questions())

    assert written == (ROOT / "sinks/TABLES.md").read_text("utf-8"), (
        "run: throughline schema tables --out sinks/TABLES.md"
    )


def test_every_question_has_an_answer(tables: Warehouse) -> None:
    asked = questions()
    fill(tables)
    at_risk = sold("long ago", 99, "20.00", at=datetime.now(UTC) - timedelta(days=90))
    tables.store(at_risk)
    tables.insert("profiles", *profiles_of([at_risk]))

    silent = [one.name for one in asked[:10] if not tables.rows(one.sql)]  # test_questions.py has those of the others

    assert (25, []) == (len(asked), silent)


def test_a_view_with_parameters_names_one_without_that_has_its_columns(tables: Warehouse) -> None:
    comments = dict(
        tables.rows("SELECT name, comment FROM system.tables WHERE database = currentDatabase() AND name LIKE 'v\\_%'")
    )
    plain = {
        name for (name,) in tables.rows("SELECT DISTINCT table FROM system.columns WHERE database = currentDatabase()")
    }
    named = {
        name: re.search(r"The columns are those of (v_\w+)\.", comments[name]) for name in sorted(set(comments) - plain)
    }

    assert ["v_attribution", "v_funnel", "v_touchpoints_of"] == list(named)
    assert [] == [name for name, found in named.items() if found is None or found[1] not in plain]
    for found in filter(None, named.values()):
        tables.rows(f"SELECT * FROM {found[1]} LIMIT 5")


def test_the_notebook_runs(tables: Warehouse) -> None:
    fill(tables)
    cells = json.loads((ROOT / "deploy/examples/first_analysis.ipynb").read_text("utf-8"))["cells"]
    names: dict[str, Any] = {}

    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)

    assert ["Email", "TV"] == [names["romi"][0]["channel"], names["romi"][-1]["channel"]]
    assert "(all)" == names["drop_off"][0].key
    assert {"(all)", "email"} == set(names["answers"])


@pytest.mark.parametrize("one", questions(), ids=lambda one: one.name)
def test_an_answer_is_short(one: Question) -> None:
    lines = one.sql.splitlines()

    assert (True, True) == (len(lines) <= 6, max(map(len, lines)) <= 120)


@pytest.mark.parametrize("one", questions(), ids=lambda one: one.name)
def test_a_question_is_asked_in_a_sentence(one: Question) -> None:
    assert re.fullmatch(r"[A-Z].+\?", one.question)


@pytest.mark.parametrize("one", questions(), ids=lambda one: one.name)
def test_the_analyst_may_ask_it(server: ClickHouse, one: Question) -> None:
    assert "ok" == answer(server, one.sql)


@pytest.mark.parametrize("user", ["analyst", "default"])
def test_explain_writes_no_expressions_of_all_columns(server: ClickHouse, user: str) -> None:
    with connect(server.address.replace("://", f"://{user}:@"), "throughline") as client:
        plan = client.command("EXPLAIN SELECT * FROM v_conversions")

    assert ("Aggregating" in plan, len(plan) < 50_000) == (True, True)  # pretty: 470,000, and gigabytes for questions


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        pytest.param("SELECT * FROM v_touchpoints", "ok", id="events"),
        pytest.param("SELECT * FROM v_accounting", "ok", id="accounting"),
        pytest.param("SELECT 1 SETTINGS max_threads = 1", "ok", id="settings within limits"),
        pytest.param("SELECT * FROM information_schema.tables", "ok", id="names of tables"),
        pytest.param("SELECT * FROM INFORMATION_SCHEMA.COLUMNS", "ok", id="names of columns"),
        pytest.param("SELECT password FROM system.users", "497", id="users"),
        pytest.param("SELECT identifiers FROM touchpoints", "497", id="addresses"),
        pytest.param("SELECT context FROM touchpoints", "497", id="contexts of tables"),
        pytest.param("SELECT properties FROM touchpoints", "497", id="properties of tables"),
        pytest.param("SELECT document FROM profiles", "497", id="profiles"),
        pytest.param("SELECT value_base64 FROM dead_letters", "497", id="raw records"),
        pytest.param("INSERT INTO spend (date) VALUES ('2026-01-01')", "497", id="write"),
        pytest.param("DROP VIEW v_funnel", "497", id="drop"),
        pytest.param("SELECT * FROM file('/etc/passwd', 'LineAsString')", "497", id="the server's files"),
        pytest.param("SELECT * FROM url('http://127.0.0.1:1/', 'TSV', 'a String')", "497", id="the network"),
        pytest.param("SELECT 1 SETTINGS max_memory_usage = 90000000000", "452", id="more memory"),
        pytest.param("SELECT 1 SETTINGS max_execution_time = 0", "452", id="for ever"),
        pytest.param("SELECT 1 SETTINGS max_memory_usage = 0", "452", id="all memory"),
        pytest.param("SELECT number FROM numbers(20000000)", "396", id="too many rows"),
    ],
)
def test_the_analyst_reads_within_limits(server: ClickHouse, sql: str, code: str) -> None:
    assert code == answer(server, sql)


def test_what_is_no_address_stays(server: ClickHouse) -> None:
    client = connect(server.address.replace("://", "://analyst:@"), "throughline")
    properties, context = zip(
        *client.query("SELECT properties, context FROM v_touchpoints ORDER BY event_id").result_rows, strict=True
    )
    message = client.query("SELECT message_id FROM v_messages").result_rows
    client.close()

    said = json.loads(properties[0])
    assert ("mail.example", "Call  or mail.example.") == (said["email"], said["comment"])
    assert "<m1@mail.example>" == json.loads(properties[2])["message_id"] == message[0][0]
    assert ("203.0.113.0", "2001:db8:1::") == (json.loads(context[0])["ip"], json.loads(context[1])["ip"])


def test_the_refusal_names_the_right_that_is_missing(server: ClickHouse) -> None:
    client = connect(server.address.replace("://", "://analyst:@"), "throughline")

    with pytest.raises(
        ClickHouseError, match=r"necessary to have the grant SELECT\(context\) ON throughline\.touchpoints"
    ):
        client.query("SELECT context FROM touchpoints")
    client.close()


def test_views_of_addresses_have_the_rights_of_who_migrates_also_after_a_later_migration(server: ClickHouse) -> None:
    admin = connect(server.address)
    definers = "SELECT name, definer FROM system.tables WHERE database = 'throughline' AND definer != ''"
    before = dict(admin.query(definers).result_rows)
    admin.command("ALTER TABLE throughline.v_coupons MODIFY SQL SECURITY INVOKER")
    define_views(admin, "throughline")
    after = dict(admin.query(definers).result_rows)
    admin.close()

    assert dict.fromkeys(DEFINED_VIEWS, "default") == before == after


def test_the_analyst_reads_the_views_of_addresses(server: ClickHouse) -> None:
    codes = {view: answer(server, f"SELECT * FROM {view} LIMIT 1") for view in DEFINED_VIEWS}

    assert dict.fromkeys(DEFINED_VIEWS, "ok") == codes


def test_who_may_not_define_views_gets_advice(server: ClickHouse) -> None:
    client = connect(server.address.replace("://", "://analyst:@"), "throughline")
    advice = define_views(client, "throughline")
    client.close()

    assert "GRANT ALTER VIEW MODIFY SQL SECURITY ON throughline.* TO `analyst`" in advice


def test_a_bi_tool_finds_the_views_with_their_columns_and_no_other_database(server: ClickHouse) -> None:
    admin = connect(server.address)
    admin.command("CREATE DATABASE IF NOT EXISTS payroll")
    admin.command("CREATE TABLE IF NOT EXISTS payroll.salaries (amount UInt32) ENGINE = MergeTree ORDER BY amount")
    admin.close()
    client = connect(server.address.replace("://", "://analyst:@"), "throughline")
    columns = client.query("SELECT table_name, column_name FROM information_schema.columns").result_rows
    tables = client.query("SELECT table_schema, table_name FROM information_schema.tables").result_rows
    client.close()

    assert {("v_conversions", "net_revenue"), ("v_ltv", "lifetime_value")} <= {tuple(row) for row in columns}
    assert ("throughline", "v_conversions") in {tuple(row) for row in tables}
    assert "salaries" not in {row[0] for row in columns} | {row[1] for row in tables}


def test_containers_give_the_analyst_the_same_rights() -> None:
    local, container = ((ROOT / file).read_text("utf-8") for file in LOCAL_AND_CONTAINER)

    assert GRANTS.findall(local) == GRANTS.findall(container) != []
    assert re.findall(r"<max_\w+>\d+</max_\w+>", local) == re.findall(r"<max_\w+>\d+</max_\w+>", container)
    assert ("<no_password/>" in local, "<no_password/>" in container) == (True, False)
