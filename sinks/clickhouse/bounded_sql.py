"""Runs SQL of somebody who is not trusted, a program that writes queries for example: one SELECT on views, bounded.

The line that holds is the user `analyst` of the server: it reads only, within limits, and no column with addresses. In
front of it stands this check, which refuses earlier, more, and with an advice. The server's own parser reads the SQL
(`formatQuery`, `EXPLAIN AST`), so that nothing is understood here otherwise than there, and what runs is the text that
the server wrote of what it understood, not the text that came.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from clickhouse_connect.driver.exceptions import ClickHouseError

MAX_SQL_CHARACTERS = 20_000
HIDDEN_VIEWS = frozenset({"v_audit_log"})
"""Views that are not for questions: of whom the staff is, not what people do."""

_FORMAT = "JSONCompactEachRowWithNamesAndTypes"
_OUTPUT = {
    "wait_end_of_query": 1,  # an error has its status then, instead of standing at the end of half an answer
    "output_format_json_quote_decimals": 1,
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_denormals": 0,
    "output_format_json_validate_utf8": 1,  # half a character, as of substring, is shown as U+FFFD
}
_TABLE_FUNCTIONS = frozenset({"numbers", "generate_series", "generateseries", "values", "zeros"})
_REFUSED_FUNCTION = re.compile(
    r"file|dict(get|has|is).*|joinget.*|sleep.*|get(setting|macro|serversetting|clienthttpheader|serverport).*"
    r"|catboostevaluate|evalmlmethod|hostname|fqdn|viewexplain|hascolumnintable|ai[a-z]*|showcertificate|displayname"
    r"|tcpport|serveruuid",
    re.IGNORECASE,
)
"""Functions that read something else than views, tell of the server, or only take time. Of the first, the server's
rights let `file` pass where its files are not in a directory of their own, as on the local stack."""
_IN = re.compile(r"(global)?(not)?(null)?(not)?in(ignoreset)?", re.IGNORECASE)
_STATEMENTS = frozenset({"SelectQuery", "SelectWithUnionQuery", "SelectIntersectExceptQuery", "TablesInSelectQuery"})

_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|`((?:[^`\\]|\\.)*)`", re.DOTALL)
_PLAIN_NAME = re.compile(r"[^\\`\"'\x00-\x1f]*")
_NODE = re.compile(r"( *)([A-Za-z]+) *(.*?)(?: \(alias .*?\))?(?: \(children \d+\))?$")
_MESSAGE = re.compile(r"DB::Exception: (.*)", re.DOTALL)
_CODE = re.compile(r"[Cc]ode: (\d+)")
_ADVICE = {
    "159": "Ask for a shorter period, or for sums instead of rows.",
    "160": "Ask for a shorter period, or for sums instead of rows.",
    "241": "Ask for a shorter period, fewer groups, or sums instead of rows.",
    "497": "Only views that analysts may read can be asked.",
    "201": "The quota of the user `analyst` is used up for this hour.",
}


class RefusedSqlError(ValueError):
    """The SQL is not one SELECT on views within the limits, or the server refuses it; the message is for its author."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of a query.

    Attributes:
        max_rows: The most rows that an answer has.
        max_bytes: The most bytes of an answer.
        timeout_s: The longest time that a query runs.
        max_memory_bytes: The most memory that it takes.
    """

    max_rows: int = 200
    max_bytes: int = 1_000_000
    timeout_s: int = 30
    max_memory_bytes: int = 2_000_000_000


@dataclass(frozen=True, slots=True)
class BoundedAnswer:
    """The answer to a query.

    Attributes:
        sql: The SQL that ran.
        columns: Name and type of each column.
        rows: JSON values; decimals and times as text, what is not a finite number as null.
        truncated: Whether there are more rows than these.
    """

    sql: str
    columns: list[tuple[str, str]]
    rows: list[list[Any]]
    truncated: bool


@dataclass(slots=True)
class _Node:
    kind: str
    text: str
    depth: int
    parent: _Node | None = None
    below: list[_Node] = field(default_factory=list)


def readable_views(client: Any) -> dict[str, str]:
    """Return the views of the client's database that may be asked, with their comments, by name."""
    rows = client.query(
        "SELECT name, comment FROM system.tables"
        " WHERE database = currentDatabase() AND engine = 'View' AND startsWith(name, 'v_') ORDER BY name"
    ).result_rows
    return {name: comment for name, comment in rows if name not in HIDDEN_VIEWS}


def checked_sql(client: Any, sql: str) -> str:
    """Return the SQL as the server writes it, if it is one SELECT on views that may be asked.

    Args:
        client: A clickhouse-connect client of the user `analyst`.
        sql: What somebody wrote.

    Raises:
        RefusedSqlError: It is something else.
    """
    if len(sql) > MAX_SQL_CHARACTERS:
        raise RefusedSqlError(f"The SQL is longer than {MAX_SQL_CHARACTERS:,} characters.")
    if "\x00" in sql:
        raise RefusedSqlError("The SQL has a NUL character.")
    try:
        written = str(client.query("SELECT formatQuery({sql:String})", parameters={"sql": sql}).first_row[0])
        if not all(_PLAIN_NAME.fullmatch(name) for name in _QUOTED.findall(written)):
            raise RefusedSqlError("A quoted name has a quote, a backslash or a line break: name it otherwise.")
        tree = client.raw_query(f"EXPLAIN AST {written}").decode()
        named = client.query("SELECT database, name FROM system.tables WHERE database = currentDatabase()").result_rows
        databases = {name.casefold() for (name,) in client.query("SELECT name FROM system.databases").result_rows}
        functions = {name.casefold() for (name,) in client.query("SELECT name FROM system.functions").result_rows}
    except ClickHouseError as error:
        raise RefusedSqlError(server_message(error)) from None
    home = named[0][0] if named else ""
    check = _Check(home, {name for _, name in named}, databases, functions, readable_views(client))
    check.examine(_parsed(tree))
    return written


def run(client: Any, sql: str, bounds: Bounds, parameters: Mapping[str, Any] | None = None) -> BoundedAnswer:
    """Run a SELECT that was checked, or is ours, within limits.

    Raises:
        RefusedSqlError: The server refuses it, or it went beyond the time or the memory.
    """
    settings = {
        **_OUTPUT,
        "max_result_rows": bounds.max_rows + 1,
        "result_overflow_mode": "break",
        "max_execution_time": bounds.timeout_s,
        "max_memory_usage": bounds.max_memory_bytes,
    }
    try:
        answer = client.raw_stream(sql, parameters=parameters, settings=settings, fmt=_FORMAT)
    except ClickHouseError as error:
        raise RefusedSqlError(server_message(error)) from None
    try:
        return _read(sql, answer, bounds)
    finally:
        answer.close()


def server_message(error: Exception) -> str:
    """Return what the server says, in a line without its version and address, with an advice where there is one."""
    code = _CODE.search(str(error))
    advice = _ADVICE.get(code[1], "") if code else ""
    return f"{bare_message(error)}. {advice}".strip()


def bare_message(error: Exception) -> str:
    """Return what the server says, in a line without its version and address."""
    text = str(error)
    found = _MESSAGE.search(text)
    message = re.split(r" \([A-Z_]+\) \(version|\. \(for url| \(for url|: In scope ", found[1] if found else text)[0]
    return " ".join(message.split())[:600].rstrip(".")


def _read(sql: str, answer: Any, bounds: Bounds) -> BoundedAnswer:
    """Read names, types and rows; what is beyond a limit stays unread."""
    data = answer.read(bounds.max_bytes + 1)
    lines = data[: bounds.max_bytes].splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    if len(whole) < 2:
        raise RefusedSqlError(f"A single row has more than {bounds.max_bytes:,} bytes: ask for less of it.")
    names, types, *rows = (orjson.loads(line) for line in whole[: bounds.max_rows + 2])
    truncated = len(whole) - 2 > bounds.max_rows or len(data) > bounds.max_bytes
    if truncated and not rows:
        raise RefusedSqlError(f"A single row has more than {bounds.max_bytes:,} bytes: ask for less of it.")
    return BoundedAnswer(sql, list(zip(names, types, strict=True)), rows, truncated)


def _parsed(text: str) -> _Node:
    """Read the lines of `EXPLAIN AST`, which are indented by one blank a level."""
    root: _Node | None = None
    last: _Node | None = None
    for line in text.removesuffix("\n").split("\n"):  # the server escapes no other break, such as U+2028, in texts
        found = _NODE.match(line)
        if not found:
            raise RefusedSqlError("The server has read the SQL in a form that is not known here.")
        node = _Node(found[2], found[3], len(found[1]))
        parent = last
        while parent is not None and parent.depth >= node.depth:
            parent = parent.parent
        if parent is None:
            if root is not None:
                raise RefusedSqlError("Ask one SELECT at a time.")
            root = node
        else:
            node.parent = parent
            parent.below.append(node)
        last = node
    if root is None:
        raise RefusedSqlError("There is no SQL.")
    return root


class _Check:
    """Refuses what is no SELECT on views.

    Args:
        home: The database of the views; empty: it has none.
        tables: All that it has.
        databases: All databases, in lower case.
        functions: All functions, in lower case.
        views: The views that may be asked.
    """

    def __init__(
        self,
        home: str,
        tables: Collection[str],
        databases: Collection[str],
        functions: Collection[str],
        views: Collection[str],
    ) -> None:
        self._home, self._tables, self._databases, self._views = home, tables, databases, views
        self._functions = functions

    def examine(self, root: _Node) -> None:
        """Raise `RefusedSqlError` at the first thing that is not allowed."""
        if root.kind != "SelectWithUnionQuery":
            raise RefusedSqlError("Only one SELECT is run, and nothing that writes, explains, shows or sets.")
        if len(root.below) != 1:
            raise RefusedSqlError(
                "Leave out FORMAT, SETTINGS and INTO OUTFILE: answers have one form and fixed limits."
            )
        for node in _all(root):
            self._examine(node)

    def _examine(self, node: _Node) -> None:
        if node.kind == "Set":
            raise RefusedSqlError("Leave out SETTINGS: the limits are fixed.")
        if node.kind.endswith("Query") and node.kind not in _STATEMENTS:
            raise RefusedSqlError("Only one SELECT is run, and nothing that writes, explains, shows or sets.")
        if node.kind == "ColumnsApplyTransformer":  # its function, and all that is within, is not in the tree
            raise RefusedSqlError("Leave out APPLY: write the function around each column.")
        if node.kind == "TableIdentifier":
            self._table(node.text)
        elif node.kind == "Identifier":
            self._name(node.text)
        elif node.kind == "Function":
            if node.parent is not None and node.parent.kind == "TableExpression":
                self._table_function(node.text)
            elif _REFUSED_FUNCTION.fullmatch(node.text):
                raise RefusedSqlError(f"The function {node.text} is not for questions.")
            elif _IN.fullmatch(node.text):
                self._members(node)

    def _name(self, name: str) -> None:
        """A function may be named where a lambda may stand, as in `arrayMap(upper, texts)`."""
        if name.casefold() in self._functions and _REFUSED_FUNCTION.fullmatch(name):
            raise RefusedSqlError(f"{name} is a function that is not for questions: name a column otherwise.")

    def _members(self, function: _Node) -> None:
        """Examine `x IN name`, where the name is a table, unless there is none of that name."""
        for arguments in function.below:
            for argument in arguments.below[1:]:
                if argument.kind == "Identifier":
                    database, dot, _ = argument.text.partition(".")
                    if not dot or database.casefold() in self._databases:
                        self._table(argument.text)

    def _table(self, name: str) -> None:
        """A name without a database that is no table's is that of a WITH, or unknown to the server too."""
        database, dot, table = name.rpartition(".")
        if dot and database != self._home:
            raise RefusedSqlError(f"{name} is out of reach: ask views, which list_views names.")
        if table not in self._views and (dot or table in self._tables):
            raise RefusedSqlError(f"{table} is no view that may be asked: list_views names them.")

    def _table_function(self, name: str) -> None:
        database, dot, table = name.rpartition(".")
        if (table in self._views and database in ("", self._home)) or (not dot and name.casefold() in _TABLE_FUNCTIONS):
            return
        raise RefusedSqlError(f"{name}(…) is no view that may be asked: list_views names them.")


def _all(node: _Node) -> Iterator[_Node]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        waiting.extend(one.below)
