"""ClickHouse over HTTP: a client for queries, a sink for inserts.

An insert has three outcomes: stored; the server cannot take it now (`StoreDown`: retry, nothing is wrong with the
rows); the server refuses rows (`RowsRefused`: a retry is pointless). Every error that is not certainly about the rows
counts as the second, so that no outage turns into dead letters.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import ssl
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
import clickhouse_connect
import orjson
from clickhouse_connect.driver.exceptions import ClickHouseError

INSERT_SETTINGS = {
    # Defaults differ between versions of the server, so each setting is explicit.
    "async_insert": "0",
    "wait_end_of_query": "1",
    "insert_deduplicate": "1",
    "deduplicate_blocks_in_dependent_materialized_views": "1",
    "date_time_input_format": "best_effort",
    "input_format_skip_unknown_fields": "1",
    "optimize_on_insert": "0",  # rows of one id are merged when parts are merged and read, not here too
    "input_format_null_as_default": "1",
    "input_format_json_read_objects_as_strings": "1",  # a column of text takes a JSON object or list as its bytes
    "input_format_json_read_arrays_as_strings": "1",
    "input_format_parallel_parsing": "0",  # "(at row 7)" in an error then counts from the insert's first row
    "max_partitions_per_insert_block": "0",  # years of history may arrive in one insert
}

MAX_KNOWN_SOURCES = 10_000
"""The most sources whose starts a sink keeps in memory; producers may name any."""
MAX_ROWS_TRIED_ALONE = 8
"""The most refused rows of a batch that are found one by one; after that, the batch is halved."""

# The server's error codes that mean "this row": texts that do not parse, values that do not fit, broken constraints.
ROW_ERRORS = frozenset(
    {6, 25, 26, 27, 33, 34, 38, 41, 53, 69, 70, 72, 117, 130, 131, 321, 349, 376, 407, 441, 469, 675, 676, 691}
)

_FIRST_DELIVERIES = """
    WITH recorded AS
    (
        SELECT event_hash, max(delivery) AS delivery
        FROM event_deliveries
        WHERE event_hash IN (SELECT cityHash64(source, event_id) FROM asked)
        GROUP BY event_hash
    )
    SELECT asked.source, asked.event_id, toInt64(bitNot(recorded.delivery))
    FROM asked
    INNER JOIN recorded ON cityHash64(asked.source, asked.event_id) = recorded.event_hash
    FORMAT JSONCompactEachRow
"""
_SOURCE_STARTS = """
    SELECT source, toInt64(toUnixTimestamp64Milli(min(first_received_at)))
    FROM source_starts
    WHERE source IN (SELECT source FROM asked)
    GROUP BY source
    FORMAT JSONCompactEachRow
"""

_CODE = re.compile(r"Code: (\d+)")
_AT_ROW = re.compile(r":? *\(at row (\d+)\)")


def without_deduplication() -> dict[str, Any]:
    """Return the settings of an insert that is stored even if the same rows were inserted before.

    It has a token of its own: the setting that turns deduplication off has another name in each version of the server.
    """
    return {"async_insert": 0, "insert_deduplication_token": secrets.token_hex(8)}


class StoreDown(Exception):  # noqa: N818 - a state of the server, not a fault of the call
    """ClickHouse cannot serve the call now: it is unreachable, overloaded, read-only or misconfigured. Retry later."""


class RowsRefused(Exception):  # noqa: N818 - an outcome that callers tell from StoreDown
    """ClickHouse refuses the insert because of its rows; none of them is stored.

    Attributes:
        row: The index of the row that the server names; None when it names none.
    """

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


def connect(url: str, database: str | None = None, *, timeout_s: int = 300, ca_file: str = "") -> Any:
    """Open a synchronous clickhouse-connect client, for queries and migrations.

    Args:
        url: `http://user:password@host:8123` or `https://…`; the path is ignored.
        database: The client's default database.
        timeout_s: Longest wait for an answer, in seconds.
        ca_file: CA certificates (PEM) that sign the server's; empty: those of the system.

    Raises:
        StoreDown: No server answers there, or it refuses this user.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    try:
        return clickhouse_connect.get_client(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or (8443 if secure else 8123),
            username=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            secure=secure,
            ca_cert=(ca_file or ssl.get_default_verify_paths().cafile) if secure else None,
            database=database or "__default__",
            autogenerate_session_id=False,  # a session would forbid two queries at once
            connect_timeout=min(timeout_s, 5),
            send_receive_timeout=timeout_s,
        )
    except (ClickHouseError, OSError) as error:
        raise StoreDown(f"ClickHouse at {parts.hostname}:{parts.port}: {_first_line(str(error))}") from error


class ClickHouseSink:
    """Inserts JSON rows. It connects at its first insert, in the event loop that runs then.

    Args:
        url: As for `connect`.
        database: The database of the tables.
        timeout_s: Longest wait for one insert, in seconds.
        ca_file: As for `connect`.
    """

    def __init__(self, url: str, database: str, *, timeout_s: float = 60.0, ca_file: str = "") -> None:
        parts = urlsplit(url)
        self._ca_file = ca_file
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self._address = f"{parts.scheme}://{host}:{parts.port or (8443 if parts.scheme == 'https' else 8123)}/"
        self._headers = {
            "X-ClickHouse-User": unquote(parts.username or "default"),
            "X-ClickHouse-Key": unquote(parts.password or ""),
            "X-ClickHouse-Database": database,
        }
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=5)
        self._session: aiohttp.ClientSession | None = None
        self._source_starts: dict[str, int] = {}
        self._noted_starts: dict[str, str] = {}

    async def insert(self, table: str, rows: Sequence[bytes], token: str) -> None:
        """Insert all rows or none; the server is atomic for each partition, which is a month.

        Args:
            table: The table's name.
            rows: Each one JSON object.
            token: Names the batch. The same token with the same bytes is stored once, however often it is repeated;
                with an empty token every insert is stored.

        Raises:
            StoreDown: Retry later; some of the rows may be stored.
            RowsRefused: A row is refused; none is stored.
        """
        if not rows:
            return
        body = b"\n".join(rows)
        settings = {**INSERT_SETTINGS, "query": f"INSERT INTO {table} FORMAT JSONEachRow"}
        if token:
            # With a hash of the rows: after the loss of a Kafka log, the same offsets are given to other records.
            digest = hashlib.blake2b(body, digest_size=16).hexdigest()
            settings["insert_deduplication_token"] = f"{token}:{digest}"
        else:
            settings.update({name: str(value) for name, value in without_deduplication().items()})
        await self._post(settings, body, f"insert into {table}")

    async def insert_all(self, table: str, rows: Sequence[bytes], token: str) -> list[tuple[int, str]]:
        """Insert every row that the server takes; a refused row does not affect its neighbours.

        The server names the row at which it stopped. That row is inserted alone, since after broken JSON the server
        names the next row; if it is refused again, it is left out and the others are inserted. If it is stored, or
        after `MAX_ROWS_TRIED_ALONE` refused rows, the batch is halved until each refused row is alone: sending nearly
        all of a large batch again for each of a thousand refused rows would take minutes.

        Returns:
            The refused rows: index and the server's message, in order.

        Raises:
            StoreDown: Retry the whole call later.
        """
        refused: dict[int, str] = {}
        waiting = list(range(len(rows)))
        while waiting:
            try:
                await self.insert(table, [rows[index] for index in waiting], token)
                break
            except RowsRefused as refusal:
                named = refusal.row is not None and refusal.row < len(waiting) and len(refused) < MAX_ROWS_TRIED_ALONE
                suspect = waiting[refusal.row] if named and refusal.row is not None else None
                message = None if suspect is None else await self._refusal(table, rows[suspect], token)
                if suspect is None or message is None:
                    await self._halve(table, rows, waiting, token, refused)
                    break
                refused[suspect] = message
                waiting.remove(suspect)
        return sorted(refused.items())

    async def note_source_starts(self, starts: Mapping[str, str]) -> None:
        """Record when the first of these events of each source was received: only what is news to this sink.

        The table keeps the earliest time of each source, so it does not matter in which order, how often and by how
        many workers it is written.

        Args:
            starts: Source → the time, as an event has it; texts sort as their times.

        Raises:
            StoreDown: Retry later.
        """
        known = self._noted_starts
        news = {source: at for source, at in starts.items() if source not in known or at < known[source]}
        if not news:
            return
        rows = [orjson.dumps({"source": source, "first_received_at": at}) for source, at in news.items()]
        await self.insert_all("source_starts", rows, "")  # a time that is refused is so in its event's own row too
        if len(known) + len(news) > MAX_KNOWN_SOURCES:
            known.clear()
        known.update(news)

    async def sources_heard_by(self, sources: Collection[str], received_ms: int) -> set[str]:
        """Return those sources of which an event is recorded that was received at a time or before.

        A replay may bring an earlier event of a source and nothing a later start, so only a source that is known to be
        old enough is not asked about again.

        Args:
            sources: Their names.
            received_ms: The time, milliseconds since 1970.

        Raises:
            StoreDown: Retry later.
        """

        def old() -> set[str]:
            return {one for one in sources if one in known and known[one] <= received_ms}

        known = self._source_starts
        if asked := sorted(set(sources) - old()):
            known.update(await self._ask(_SOURCE_STARTS, "source String", [(one,) for one in asked], "source starts"))
        return old()

    async def first_deliveries(self, events: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """Read the first recorded delivery of events.

        Args:
            events: Source and event id of each.

        Returns:
            Source and event id → when it was received, milliseconds since 1970. An event that is not recorded is left
            out.

        Raises:
            StoreDown: Retry later.
        """
        rows = await self._ask(_FIRST_DELIVERIES, "source String, event_id String", events, "first deliveries")
        return {(source, event_id): received_ms for source, event_id, received_ms in rows}

    async def _ask(self, query: str, structure: str, rows: Sequence[tuple[str, ...]], what: str) -> list[Any]:
        """Ask about rows, which the query reads from a table `asked`."""
        form = aiohttp.FormData()
        lines = b"\n".join(map(orjson.dumps, rows))
        form.add_field("asked", lines, filename="asked", content_type="application/octet-stream")
        settings = {
            "query": query,
            "asked_structure": structure,
            "asked_format": "JSONCompactEachRow",
            "output_format_json_quote_64bit_integers": "0",
        }
        answer = await self._post(settings, form, what)
        return [orjson.loads(line) for line in answer.splitlines()]

    async def _post(self, settings: Mapping[str, str], data: bytes | aiohttp.FormData, what: str) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, headers=self._headers, connector=aiohttp.TCPConnector(ssl=self._tls())
            )
        try:
            async with self._session.post(self._address, params=settings, data=data) as response:
                if response.status != 200:
                    raise _failure(response, await response.text(errors="replace"))
                return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise StoreDown(f"{what}: {type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _tls(self) -> ssl.SSLContext | bool:
        """Return how the server is verified."""
        try:
            return ssl.create_default_context(cafile=self._ca_file) if self._ca_file else True
        except OSError as error:
            raise StoreDown(f"the CA file {self._ca_file}: {error}") from error

    async def _refusal(self, table: str, row: bytes, token: str) -> str | None:
        """Insert one row; return the server's message when it is refused, None when it is stored."""
        try:
            await self.insert(table, [row], token)
        except RowsRefused as refusal:
            return str(refusal)
        return None

    async def _halve(
        self, table: str, rows: Sequence[bytes], waiting: list[int], token: str, refused: dict[int, str]
    ) -> None:
        middle = (len(waiting) + 1) // 2
        for half in (waiting[:middle], waiting[middle:]):
            try:
                await self.insert(table, [rows[index] for index in half], token)
            except RowsRefused as refusal:
                if len(half) == 1:
                    refused[half[0]] = str(refusal)
                else:
                    await self._halve(table, rows, half, token, refused)


def _failure(response: aiohttp.ClientResponse, text: str) -> Exception:
    message = _first_line(text)
    code = response.headers.get("X-ClickHouse-Exception-Code") or (_CODE.search(text) or ["", "0"])[1]
    if int(code) not in ROW_ERRORS:
        return StoreDown(f"HTTP {response.status}: {message}")
    row = _AT_ROW.search(text)
    return RowsRefused(_AT_ROW.sub("", message), int(row[1]) - 1 if row else None)


def _first_line(text: str, limit: int = 500) -> str:
    return text.strip().partition("\n")[0][:limit]
