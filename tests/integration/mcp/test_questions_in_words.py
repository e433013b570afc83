"""A client of the Model Context Protocol asks the questions of the README, and what it may not ask."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.types import CallToolResult

from deploy.local.clickhouse_server import ClickHouse
from deploy.mcp.answers import Answers, CannotAnswerError
from deploy.settings import Settings
from sinks.clickhouse.access import define_views
from sinks.clickhouse.bounded_sql import Bounds
from tests.integration.clickhouse.test_questions import ANSWERS, store_story
from tests.integration.reporting.test_finite_numbers import ADDRESSES, with_addresses
from tests.support.stack import unavailable
from tests.support.warehouse import Warehouse

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
TEN = re.findall(
    r"^\| (.+\?) \| `(.+)` \|$",
    (ROOT / "sinks/README.md").read_text("utf-8").partition("## Ask in words")[2].partition("\n## ")[0],
    re.MULTILINE,
)
OWN_ANSWERS: dict[str, list[list[Any]]] = {
    "How many people bought, and for how much?": [[2, 180]],
    "What comes in, and from where?": [["shop", "Order Completed", 3], ["shop", "Products Searched", 2]],
    "How many of those who search order within a week?": [[1, "Products Searched", 1], [2, "Order Completed", 1]],
}
RECORDS = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A server with the user `analyst`, and a few people whose story is known."""
    folder = tmp_path_factory.mktemp("asked")
    found = ClickHouse("clickhouse", folder / "data", folder / "log")
    try:
        found.start()
    except ModuleNotFoundError as error:
        unavailable(str(error))
    settings = Settings(clickhouse_url=found.address, clickhouse_database="throughline")
    try:
        database = Warehouse(settings)
        store_story(database)
        assert "" == define_views(database.client, "throughline")
        database.client.close()
        yield settings
    finally:
        found.stop(1)


@pytest.fixture
def answers(server: Settings) -> Answers:
    return Answers(server, Bounds(max_rows=100, timeout_s=120))


def alike(cell: Any) -> Any:
    """A cell as JSON has it, with numbers as numbers: an answer has decimals as text."""
    match cell:
        case list() | tuple():
            return [alike(one) for one in cell]
        case date():
            return cell.isoformat()
        case int() | float() | Decimal():
            return float(cell)
        case str() if re.fullmatch(r"-?\d+(\.\d+)?", cell):
            return float(cell)
    return cell


def structured(result: CallToolResult) -> Any:
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


async def test_a_client_asks_the_ten_questions_of_the_page_and_gets_sql_rows_time_and_account(
    server: Settings, tmp_path: Path
) -> None:
    started = StdioServerParameters(
        command=sys.executable,
        args=["-m", "deploy.cli.program", "mcp", "--timeout-s", "120"],
        cwd=ROOT,
        env={"THROUGHLINE_CLICKHOUSE_URL": server.clickhouse_url, "THROUGHLINE_HOME": str(tmp_path)},
    )
    found: dict[str, Any] = {}
    async with Client(stdio_client(started)) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        views = structured(await client.call_tool("list_views", {}))["result"]
        rfm = structured(await client.call_tool("describe_view", {"name": "v_rfm"}))
        for question, answered_by in TEN:
            if answered_by.startswith("SELECT"):
                result = await client.call_tool("run_sql", {"sql": answered_by})
            else:
                result = await client.call_tool("run_question", {"name": answered_by})
            found[question] = structured(result)
        agreed = structured(await client.call_tool("reconcile", {}))
        refused = await client.call_tool("run_sql", {"sql": "DROP TABLE touchpoints"})

    expected = {
        question: ANSWERS[f"{by}.sql"] if f"{by}.sql" in ANSWERS else OWN_ANSWERS[question] for question, by in TEN
    }
    assert 10 == len(TEN)
    assert {question: alike(rows) for question, rows in expected.items()} == {
        question: alike(answer["rows"]) for question, answer in found.items()
    }
    assert {True} == {tool.annotations.read_only_hint for tool in tools.values() if tool.annotations}
    assert {"v_conversions", "v_attribution"} <= {view["name"] for view in views}
    assert ("profile_id", True) == (rfm["columns"][0]["name"], all(column["meaning"] for column in rfm["columns"]))
    for answer in found.values():
        account = answer["standing"]["account"]
        assert answer["sql"].startswith(("SELECT", "WITH"))
        assert ("2026-11-11T12:00:01Z", False) == (answer["standing"]["recorded_until"], answer["truncated"])
        assert (RECORDS, RECORDS, 0) == (account["received"], account["stored"], account["difference"])
        assert "v_accounting" in account["sql"]
    assert (0, 0) == (agreed["not_adding_up_count"], agreed["days_summed_wrongly"])
    assert [("shop", RECORDS, 0)] == [(row["source"], row["stored"], row["difference"]) for row in agreed["by_source"]]
    assert refused.is_error
    assert "Only one SELECT is run" in str(refused.content)


NOT_A_SELECT = "Only one SELECT is run"
NO_VIEW = "no view that may be asked"


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        pytest.param("INSERT INTO spend (date) VALUES ('2026-01-01')", NOT_A_SELECT, id="insert"),
        pytest.param("INSERT INTO spend SELECT * FROM spend", NOT_A_SELECT, id="insert of a select"),
        pytest.param("ALTER TABLE spend DELETE WHERE 1", NOT_A_SELECT, id="delete"),
        pytest.param("GRANT ALL ON *.* TO analyst", NOT_A_SELECT, id="grant"),
        pytest.param("SET max_threads = 3", NOT_A_SELECT, id="set"),
        pytest.param("SHOW TABLES", NOT_A_SELECT, id="show"),
        pytest.param("SELECT * FROM (EXPLAIN SELECT 1)", NO_VIEW, id="explain within"),
        pytest.param("SELECT 1; DROP TABLE spend", "Multi-statements", id="two statements"),
        pytest.param("SELECT 1 /* */ -- ;\n; SELECT 2", "Multi-statements", id="two statements behind comments"),
        pytest.param("SELECT * FROM system.users", "out of reach", id="users"),
        pytest.param("SELECT * FROM information_schema.tables", "out of reach", id="names of tables"),
        pytest.param("SELECT * FROM touchpoints", NO_VIEW, id="table"),
        pytest.param('SELECT * FROM "throughline" . `profiles`', NO_VIEW, id="quoted table"),
        pytest.param("SELECT 1 IN touchpoints", NO_VIEW, id="members of a table"),
        pytest.param("SELECT 1 WHERE (1, 2) NOT IN (throughline.profiles)", NO_VIEW, id="no members of a table"),
        pytest.param("WITH profiles AS (SELECT 1) SELECT 1 IN (SELECT 1 FROM profiles)", NO_VIEW, id="name of a table"),
        pytest.param("SELECT * FROM v_audit_log", NO_VIEW, id="acts of the staff"),
        pytest.param("SELECT * FROM url('http://127.0.0.1:1/', 'TSV', 'a String')", NO_VIEW, id="the network"),
        pytest.param("SELECT * FROM file('/etc/passwd', 'LineAsString')", NO_VIEW, id="a file as a table"),
        pytest.param("SELECT file('/etc/passwd')", "not for questions", id="a file as a value"),
        pytest.param("SELECT arrayMap(file, ['/etc/passwd'])", "not for questions", id="a file by a function's name"),
        pytest.param("SELECT * APPLY(file) FROM (SELECT '/etc/passwd')", "Leave out APPLY", id="a file by columns"),
        pytest.param("SELECT * APPLY(x -> (SELECT 1 FROM spend)) FROM v_rfm", "Leave out APPLY", id="table by columns"),
        pytest.param("SELECT 'x\u2028     ExpressionList' IN system.one", "out of reach", id="a line within a text"),
        pytest.param("SELECT * FROM remote('127.0.0.1', throughline.profiles)", NO_VIEW, id="another server"),
        pytest.param("SELECT * FROM merge('throughline', '.*')", NO_VIEW, id="all tables"),
        pytest.param("SELECT * FROM view(SELECT 1 FROM profiles)", NO_VIEW, id="a view of a table"),
        pytest.param("SELECT sleep(3)", "not for questions", id="waiting"),
        pytest.param("SELECT 1 FORMAT Native", "Leave out FORMAT", id="another form"),
        pytest.param("SELECT 1 INTO OUTFILE 'x'", "Leave out FORMAT", id="into a file"),
        pytest.param("SELECT (SELECT 1 SETTINGS max_threads = 4)", "Leave out SETTINGS", id="settings"),
        pytest.param("SELECT 1 SETTINGS max_execution_time = 0", "max_execution_time", id="for ever"),
        pytest.param("SELECT 1 AS `a\n  TableIdentifier v_rfm`", "quoted name", id="a name of two lines"),
        pytest.param("SELECT nothing FROM v_rfm", "Unknown expression identifier `nothing`", id="unknown column"),
        pytest.param("SELECT '" + "x" * 20_000 + "'", "longer than 20,000 characters", id="long"),
        pytest.param("", "Empty query", id="empty"),
    ],
)
def test_what_is_not_one_select_on_views_is_refused_with_the_reason(answers: Answers, sql: str, reason: str) -> None:
    with pytest.raises(CannotAnswerError, match=re.escape(reason)):
        answers.sql(sql)


def test_a_select_keeps_its_comments_brackets_and_names_of_its_own(answers: Answers) -> None:
    found = answers.sql("WITH bought AS (SELECT * FROM v_conversions) SELECT (count()) AS n FROM bought -- FORMAT x; y")

    assert ([["n", "UInt64"]], [[3]]) == ([[one.name, one.type] for one in found.columns], found.rows)


def test_texts_may_have_breaks_and_names_may_be_like_those_of_functions(answers: Answers) -> None:
    found = answers.sql("SELECT 'one\u2028two\x0bthree\x85' AS text, max(aisle) FROM (SELECT 7 AS aisle)")

    assert [["one\u2028two\x0bthree\x85", 7]] == found.rows


def test_half_a_character_is_shown_as_a_mark(answers: Answers) -> None:
    assert [["Gr\ufffd", "Grü"]] == answers.sql("SELECT substring('Grün', 1, 3), substringUTF8('Grün', 1, 3)").rows


def test_an_answer_is_cut_off_and_says_so(server: Settings, answers: Answers) -> None:
    by_rows = answers.sql("SELECT number FROM numbers(1000000000)")
    fewer = answers.sql("SELECT number FROM numbers(100)", max_rows=7)
    by_bytes = Answers(server, Bounds(max_bytes=10_000, timeout_s=120)).sql("SELECT repeat('x', 3000) FROM numbers(50)")
    all_of_them = answers.sql("SELECT number FROM numbers(100)")

    assert [(100, True), (7, True), (3, True), (100, False)] == [
        (one.row_count, one.truncated) for one in (by_rows, fewer, by_bytes, all_of_them)
    ]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        pytest.param("SELECT count() FROM numbers(1000000000000)", "Ask for a shorter period", id="time"),
        pytest.param("SELECT length(groupArray(number)) FROM numbers(100000000)", "fewer groups", id="memory"),
        pytest.param("SELECT repeat('x', 900000)", "single row", id="a huge row"),
    ],
)
def test_a_question_without_end_is_ended_with_an_advice(server: Settings, sql: str, reason: str) -> None:
    bounded = Answers(server, Bounds(max_bytes=10_000, timeout_s=1, max_memory_bytes=50_000_000))

    with pytest.raises(CannotAnswerError, match=reason):
        bounded.sql(sql)


def test_without_clickhouse_the_answer_is_a_sentence() -> None:
    nowhere = Answers(Settings(clickhouse_url="http://127.0.0.1:1"), Bounds())

    with pytest.raises(CannotAnswerError, match="ClickHouse does not answer"):
        nowhere.views()


def test_an_event_shows_no_address(server: Settings, answers: Answers) -> None:
    database = Warehouse(server)
    database.store(*({**one, "event_id": f"with addresses {one['event_id']}"} for one in with_addresses()))
    database.client.close()
    found = answers.sql("SELECT * FROM v_touchpoints WHERE startsWith(event_id, 'with addresses')")

    assert (3, []) == (found.row_count, [address for address in ADDRESSES if address in str(found.rows)])
