"""A till's client for the collector: sales are kept on disk first and sent when there is a network.

One file, the standard library alone, Python 3.9 or newer: copy it to the till, or translate it. From a program:

    till = Till("till.db", till_id="berlin-4", url="https://events.shop.example", write_key="…")
    till.sale("1001", "49.90", "EUR", products=[...], identifiers={"loyalty_id": "L-20"})   # on disk when it returns
    till.send()                                                                             # as often as you like
    till.close_day()                                                                        # confirmed, or why not

From a shell: `python till.py --help`. A client in another language should keep the same promises:

1. **Durable before done.** `record` returns after the event is on disk (SQLite, `synchronous = FULL`).
2. **Ids are made once**, when the event is recorded, from the till, the receipt and the event. Recording a receipt
   again gives the same id, and sending it again changes nothing.
3. **Times do not follow the clock.** An event is dated when it is first sent: by the server's clock, less the time that
   has passed since it was recorded. Later sendings repeat that time.
4. **Each answer is final for what it names.** An accepted event is never sent again by itself; a refused one stays on
   disk with the reason until it is corrected; anything else stays and is sent again, with growing pauses.
5. **The day is compared.** Events are numbered by till and business day. `close_day` declares how many there were and
   their sum by currency, and the collector confirms it or says which numbers are missing.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import sqlite3
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

MAX_EVENTS = 200
"""Events in one request."""
MAX_BYTES = 400_000
"""Bytes in one request, unless one event alone is larger."""
MAX_ID_CHARS = 100
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 300.0
MAX_CLOCK_ERROR_S = 2.0
"""A clock that is wrong by less is taken as right: the server tells its time in whole seconds."""
TIMEOUT_S = 30.0
_EARLIEST = 1_735_689_600.0
"""The start of 2025: a till's clock that says less is wrong."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    day TEXT NOT NULL,
    number INTEGER NOT NULL,          -- among the events of the day that count for its sum, from 1; 0: does not count
    amount TEXT NOT NULL,
    currency TEXT NOT NULL,
    body TEXT NOT NULL,               -- the event without its time, JSON
    recorded_wall REAL NOT NULL,      -- seconds since 1970 by the till's clock
    recorded_run REAL NOT NULL,       -- seconds since the machine was started, which nobody can set
    known_after REAL NOT NULL,        -- the last time by the server's clock that was known then; 0: none
    run TEXT NOT NULL,                -- which start of the machine that was
    occurred_at TEXT,                 -- set when it is first sent, and never changed
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'accepted', 'refused')),
    reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS events_by_state ON events (state, place);
CREATE INDEX IF NOT EXISTS events_by_day ON events (day, number);
CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY, server_time REAL NOT NULL, error REAL NOT NULL);
"""


class TillError(Exception):
    """The till cannot go on: its message says what is wrong and what to do."""


class ReceiptConflictError(TillError):
    """A receipt that is recorded already is recorded with another content."""


class CollectorError(TillError):
    """The collector cannot be reached, or takes nothing now. Nothing is lost: send again later.

    Attributes:
        retry_after_s: Pause that the collector asks for, in seconds; 0: it does not say.
        final: A retry changes nothing before somebody acts, as with a wrong write key.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0, *, final: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.final = final


class Sent(NamedTuple):
    """The result of one `send`.

    Attributes:
        accepted: Events that the collector has accepted now.
        refused: Events that it has refused now; `Till.refused` has the reasons.
        waiting: Events that still wait.
    """

    accepted: int
    refused: int
    waiting: int


class RefusedEvent(NamedTuple):
    """An event that the collector has refused.

    Attributes:
        event_id: Its id.
        reason: The field and the rule, as the collector names them.
        body: The event without its time.
    """

    event_id: str
    reason: str
    body: dict[str, Any]


@dataclass(frozen=True)
class DaySum:
    """A business day as the till and the collector count it.

    Attributes:
        day: The business day, `2026-11-20`.
        status: `confirmed`: the same on both sides. `contested`: they differ. `open`: the collector does not know yet.
        declared: Events and sums by currency, as the till has declared them.
        stored: The same, as they are stored.
        missing: Numbers of events that are not stored, as ranges of first and last.
    """

    day: str
    status: str
    declared: Mapping[str, Any] = field(default_factory=dict)
    stored: Mapping[str, Any] = field(default_factory=dict)
    missing: tuple[tuple[int, int], ...] = ()


class Till:
    """A queue of events on disk, and what sends it.

    Several processes may use one file: a program that records, and `till.py run` that sends.

    Args:
        file: The SQLite file; it is made if it is not there.
        till_id: The till's name, unique among all tills that share a write key.
        url: The collector, such as `https://events.shop.example`.
        write_key: The write key of a source of kind `server`.
        day_ends_hour: The hour, local time, until which an event belongs to the day before.

    Raises:
        TillError: The file belongs to another till, or is no SQLite file.
    """

    def __init__(
        self, file: str | Path, *, till_id: str, url: str, write_key: str,
        day_ends_hour: int = 0, channel: str = "store",
    ) -> None:  # fmt: skip
        self.till_id = till_id
        self._url = url.rstrip("/")
        self._authorization = "Basic " + base64.b64encode(f"{write_key}:".encode()).decode()
        self._day_ends_hour = day_ends_hour
        self._channel = channel
        self._run = _start_id()
        self._failures = 0
        try:
            self._db = sqlite3.connect(str(file), timeout=30, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise TillError(f"{file} cannot be used as the till's queue: {error}") from error
        prefix = f"{till_id}:"
        other = self._db.execute(
            "SELECT event_id FROM events WHERE substr(event_id, 1, ?) != ? LIMIT 1", (len(prefix), prefix)
        ).fetchone()
        if other is not None:
            raise TillError(f"{file} is the queue of another till, which has recorded {other[0]!r}: give each its own")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # Recording

    def sale(self, receipt: str, amount: str | Decimal, currency: str, **parts: Any) -> str:
        """Record a sale.

        Args:
            receipt: The receipt's number; numbers may start anew on another till, not on this one.
            amount: What the customer has paid; negative for an exchange that pays out.
            currency: ISO 4217.
            **parts: As for `record`: `products`, `identifiers`, `properties`, `day` …

        Returns:
            The event's id.
        """
        return self._money_event("Order Completed", receipt, amount, currency, 1, parts)

    def refund(self, receipt: str, amount: str | Decimal, currency: str, *, of_receipt: str, **parts: Any) -> str:
        """Record money that is given back.

        Args:
            receipt: The number of the refund's own receipt.
            amount: What is given back, a positive amount.
            currency: ISO 4217.
            of_receipt: The receipt of the sale; `properties={"order_id": …}` for an order of another till or shop.
            **parts: As for `record`.
        """
        parts["properties"] = {"order_id": f"{self.till_id}-{of_receipt}", **parts.get("properties", {})}
        return self._money_event("Order Refunded", receipt, amount, currency, -1, parts)

    def record(
        self, event: str, key: str | None = None, *, amount: str | Decimal | None = None, currency: str = "",
        properties: Mapping[str, Any] | None = None, products: Iterable[Mapping[str, Any]] = (),
        day: date | str | None = None, **parts: Mapping[str, Any],
    ) -> str:  # fmt: skip
        """Record any event; it is on disk when this returns.

        Args:
            event: Its name, such as `Loyalty Points Earned`.
            key: What makes it unique on this till, such as a receipt's number; without it the event is a new one.
            amount: What it adds to the day's sum; None: it is no part of the sum.
            currency: ISO 4217, with an amount.
            properties: What it was about.
            products: The lines of the receipt.
            day: The business day; by default the one of now.
            **parts: `identifiers` (`{"loyalty_id": "L-20"}`), `traits`, `consent`, `campaign`, `context` of the event.

        Returns:
            Its id. The same key again gives the same id and changes nothing.

        Raises:
            ReceiptConflictError: The key is recorded with another content.
            TillError: The amount is none, or the content is no JSON.
        """
        event_id = f"{self.till_id}:{key or uuid.uuid4().hex}:{event}"
        if len(event_id) > MAX_ID_CHARS:
            raise TillError(
                f"{event_id!r} is longer than the {MAX_ID_CHARS} characters of an event's id: shorten the key"
            )
        business_day = str(day or self._business_day())
        about = {**(properties or {}), **({"products": list(products)} if products else {})}
        sum_text = "" if amount is None else _amount_text(amount)
        if amount is not None:
            about["currency"] = currency
        body = {"event_id": event_id, "event": event, "channel": self._channel, **parts, "properties": about}
        with self._transaction():
            known = self._db.execute("SELECT body FROM events WHERE event_id = ?", (event_id,)).fetchone()
            if known is not None:
                before = json.loads(known[0] or "null")
                if before is not None:
                    before["properties"].pop("till", None)
                if before not in (None, json.loads(_json(body))):
                    raise ReceiptConflictError(
                        f"{event_id} is recorded already, with another content: give the correction a number of its own"
                    )
                return event_id
            number = 0
            if amount is not None:
                last = self._db.execute("SELECT max(number) FROM events WHERE day = ?", (business_day,)).fetchone()[0]
                number = (last or 0) + 1
                about["till"] = {"id": self.till_id, "day": business_day, "number": number, "amount": sum_text}
            self._db.execute(
                "INSERT INTO events (event_id, day, number, amount, currency, body, recorded_wall, recorded_run,"
                " known_after, run) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    event_id,
                    business_day,
                    number,
                    sum_text,
                    currency,
                    _json(body),
                    time.time(),
                    _running_s(),
                    self._known_time(),
                    self._run,
                ),
            )
        return event_id

    def correct(self, event_id: str, body: Mapping[str, Any]) -> None:
        """Replace the content of a refused event, so that it is sent again; its id, number and time stay.

        Raises:
            TillError: There is no such refused event.
        """
        with self._transaction():
            before = next((one.body for one in self.refused() if one.event_id == event_id), None)
            if before is None:
                raise TillError(f"no refused event has the id {event_id!r}")
            counted = {name: before["properties"][name] for name in ("till",) if name in before["properties"]}
            after = {**body, "event_id": event_id, "properties": {**body.get("properties", {}), **counted}}
            self._db.execute(
                "UPDATE events SET body = ?, state = 'waiting', reason = '' WHERE event_id = ?",
                (_json(after), event_id),
            )

    # Sending

    def send(self) -> Sent:
        """Send what waits, oldest first, until nothing waits.

        Raises:
            CollectorError: The collector cannot be reached or takes nothing now; what it has not answered still waits.
        """
        accepted = refused = 0
        limit = MAX_EVENTS
        while batch := self._next_batch(limit):
            try:
                answer = self._post("/v1/touchpoints", [one for _, one in batch])
            except _WholeRequestRefusedError as error:
                if len(batch) > 1:
                    limit = max(1, len(batch) // 2)  # too large together, or one of them cannot be read
                    continue
                self._settle(batch, {0: str(error)})
                refused, limit = refused + 1, MAX_EVENTS
                continue
            reasons = {
                int(one["index"]): f"{one['field'] or 'event'}: {one['message']}" for one in answer.get("rejected", ())
            }
            self._settle(batch, reasons)
            accepted, refused = accepted + len(batch) - len(reasons), refused + len(reasons)
        return Sent(accepted, refused, self.waiting())

    def run(self, every_s: float = 5.0) -> None:
        """Send for ever, with pauses that grow while the collector cannot be reached. Ends by Ctrl-C.

        Raises:
            CollectorError: A retry changes nothing, as with a wrong write key.
        """
        while True:
            try:
                self.send()
                pause_s = every_s
            except CollectorError as error:
                if error.final:
                    raise
                pause_s = error.retry_after_s or self.pause_s()
                print(f"{error}; trying again in {pause_s:.0f} s", file=sys.stderr, flush=True)
            time.sleep(pause_s)

    def pause_s(self) -> float:
        """Return how long to wait after the failures so far, in seconds: doubling, half of it by chance."""
        longest = min(FIRST_PAUSE_S * 2.0 ** min(self._failures, 20), LONGEST_PAUSE_S)
        return longest * (0.5 + random.random() / 2)  # a power cut ends for all tills of a street at once

    def resend(self, day: date | str) -> int:
        """Let every event of a day wait again, with the same ids, numbers and times; return how many there are."""
        with self._transaction():
            return self._db.execute(
                "UPDATE events SET state = 'waiting' WHERE day = ? AND state = 'accepted' AND body != ''", (str(day),)
            ).rowcount

    # The day

    def close_day(self, day: date | str | None = None, *, wait_s: float = 60.0) -> DaySum:
        """Send everything, declare the day's sum, and compare it with what is stored.

        When the collector contests the day, all of it is sent once more and compared again. A day may be closed again
        after further events: the last declaration counts.

        Args:
            day: The business day; by default the one of now.
            wait_s: How long to wait for what was sent to be stored, each time.

        Raises:
            CollectorError: As `send`.
        """
        day = str(day or self._business_day())
        self.send()
        self._declare(day)
        found = self._compared(day, wait_s)
        if found.status != "confirmed" and self.resend(day):
            self.send()
            found = self._compared(day, wait_s)
        return found

    def day_sum(self, day: date | str) -> DaySum:
        """Ask the collector how it counts a day.

        Raises:
            CollectorError: It cannot say now.
        """
        query = urllib.parse.urlencode({"till": self.till_id, "day": str(day)})
        answer = self._request("GET", f"/v1/till-sums?{query}", None)
        missing = tuple((int(first), int(last)) for first, last in answer.get("missing", ()))
        return DaySum(str(day), answer["status"], answer.get("declared") or {}, answer.get("stored") or {}, missing)

    def _declare(self, day: str) -> None:
        rows = self._db.execute("SELECT amount, currency FROM events WHERE day = ? AND number > 0", (day,)).fetchall()
        sums: dict[str, Decimal] = {}
        for amount, currency in rows:
            sums[currency] = sums.get(currency, Decimal(0)) + Decimal(amount)
        amounts = [{"currency": currency, "amount": format(amount, "f")} for currency, amount in sorted(sums.items())]
        declaration = {"till_id": self.till_id, "business_day": day, "events": len(rows), "amounts": amounts}
        self.record("Till Closed", f"{day}:{uuid.uuid4().hex}", properties=declaration, day=day)
        self.send()

    def _compared(self, day: str, wait_s: float) -> DaySum:
        """Ask until the day is confirmed or the time is over: what is accepted is stored some seconds later."""
        deadline, pause_s = time.monotonic() + wait_s, 0.5
        while True:
            found = self.day_sum(day)
            left_s = deadline - time.monotonic()
            if found.status == "confirmed" or left_s <= 0:
                return found
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, 5.0)

    # What is there

    def waiting(self) -> int:
        """Return how many events wait."""
        return int(self._db.execute("SELECT count(*) FROM events WHERE state = 'waiting'").fetchone()[0])

    def refused(self) -> list[RefusedEvent]:
        """Return the events that the collector has refused, oldest first."""
        rows = self._db.execute("SELECT event_id, reason, body FROM events WHERE state = 'refused' ORDER BY place")
        return [RefusedEvent(event_id, reason, json.loads(body)) for event_id, reason, body in rows]

    def prune(self, before: date | str) -> int:
        """Remove the content of accepted events of days before one, which then cannot be sent again; return how many.

        Their ids and numbers stay: a receipt that is recorded again is still known.
        """
        with self._transaction():
            return self._db.execute(
                "UPDATE events SET body = '' WHERE state = 'accepted' AND day < ? AND body != ''", (str(before),)
            ).rowcount

    # Inside

    def _money_event(
        self, event: str, receipt: str, amount: str | Decimal, currency: str, sign: int, parts: dict[str, Any]
    ) -> str:
        text = _amount_text(amount)
        named = {"order_id": f"{self.till_id}-{receipt}", "receipt_id": receipt, "total": text}
        parts["properties"] = {**named, **parts.get("properties", {})}
        return self.record(event, receipt, amount=sign * Decimal(text), currency=currency, **parts)

    def _next_batch(self, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Return the oldest events that wait, with their places; their times are set for good first."""
        rows = self._db.execute(
            "SELECT place, body, occurred_at, recorded_wall, recorded_run, known_after, run FROM events"
            " WHERE state = 'waiting' ORDER BY place LIMIT ?",
            (limit,),
        ).fetchall()
        if any(row[2] is None for row in rows):
            self._request("GET", "/health", None)  # its answer tells the time
        batch: list[tuple[int, dict[str, Any]]] = []
        size = 0
        with self._transaction():
            for place, body, occurred_at, wall, run_time, known_after, run in rows:
                size += len(body)
                if batch and size > MAX_BYTES:
                    break
                event = json.loads(body)
                if occurred_at is None:
                    moment, doubtful = self._moment(wall, run_time if run == self._run else None, known_after)
                    occurred_at = _instant(moment) + ("?" if doubtful else "")
                    self._db.execute("UPDATE events SET occurred_at = ? WHERE place = ?", (occurred_at, place))
                event["occurred_at"] = occurred_at.rstrip("?")
                if occurred_at.endswith("?"):
                    event["context"] = {**event.get("context", {}), "time_doubtful": True}
                batch.append((place, event))
        return batch

    def _moment(self, wall: float, run_time: float | None, known_after: float) -> tuple[float, bool]:
        """Return when an event happened, in seconds since 1970 by the server's clock, and whether that is doubtful.

        Args:
            wall: The till's clock when it was recorded.
            run_time: Seconds since the machine was started, then; None: it was started again since.
            known_after: A time by the server's clock before it; 0: none is known.
        """
        error = self._clock_error()
        now = time.time() + error
        if run_time is not None:
            return now - (_running_s() - run_time), False
        moment = wall + error
        if max(known_after, _EARLIEST) - MAX_CLOCK_ERROR_S <= moment <= now + MAX_CLOCK_ERROR_S:
            return min(moment, now), False
        return known_after or now, True  # the clock was wrong then, and nobody knows by how much

    def _settle(self, batch: list[tuple[int, dict[str, Any]]], reasons: Mapping[int, str]) -> None:
        with self._transaction():
            for index, (place, _) in enumerate(batch):
                reason = reasons.get(index, "")
                self._db.execute(
                    "UPDATE events SET state = ?, reason = ? WHERE place = ?",
                    ("refused" if reason else "accepted", reason, place),
                )

    def _business_day(self) -> str:
        now = datetime.fromtimestamp(time.time() + self._clock_error(), timezone.utc).astimezone()
        return (now - timedelta(hours=self._day_ends_hour)).date().isoformat()

    def _clock_error(self) -> float:
        row = self._db.execute("SELECT error FROM clock").fetchone()
        return float(row[0]) if row else 0.0

    def _known_time(self) -> float:
        row = self._db.execute("SELECT server_time FROM clock").fetchone()
        return float(row[0]) if row else 0.0

    def _note_time(self, header: str | None, asked_at: float, answered_at: float) -> None:
        """Note how wrong the till's clock is, by the time in the server's answer."""
        try:
            server_time = parsedate_to_datetime(header or "").timestamp() + 0.5
        except (TypeError, ValueError):
            server_time = answered_at
        error = server_time - (asked_at + answered_at) / 2
        error = error if abs(error) > MAX_CLOCK_ERROR_S else 0.0
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?, ?)", (server_time, error))

    def _post(self, path: str, events: list[dict[str, Any]]) -> dict[str, Any]:
        return self._request("POST", path, _json(events).encode())

    def _request(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        headers = {"Authorization": self._authorization, "Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, data=body, headers=headers, method=method)
        asked_at = time.time()
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                content = response.read()
                self._note_time(response.headers.get("Date"), asked_at, time.time())
                answer: dict[str, Any] = json.loads(content)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except (OSError, ValueError) as error:
            self._failures += 1
            raise CollectorError(f"the collector at {self._url} does not answer: {error}") from error
        self._failures = 0
        return answer

    def _refusal(self, error: urllib.error.HTTPError) -> TillError:
        try:
            message = json.loads(error.read())["message"]
        except (OSError, ValueError, KeyError, TypeError):
            message = str(error.reason)
        said = f"the collector at {self._url} answers {error.code}: {message}"
        if error.code in (401, 403, 404, 405):
            return CollectorError(said, final=True)
        if error.code == 429 or error.code >= 500:
            self._failures += 1
            pause = error.headers.get("Retry-After", "")
            return CollectorError(said, float(pause) if pause.isdecimal() else 0.0)
        return _WholeRequestRefusedError(message)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


class _WholeRequestRefusedError(TillError):
    """The collector refuses a request as a whole, such as one that is too large."""


def _running_s() -> float:
    """Seconds since the machine was started, sleep included where the system can say so."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return float(time.monotonic() if boot_time is None else time.clock_gettime(boot_time))


def _start_id() -> str:
    """Name the start of the machine whose seconds `_running_s` counts; where the system has no name, this process."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return uuid.uuid4().hex


def _amount_text(amount: str | Decimal) -> str:
    try:
        exact = Decimal(amount) if isinstance(amount, (str, Decimal)) else None
    except InvalidOperation:
        exact = None
    if exact is None or not exact.is_finite():
        raise TillError(f'{amount!r} is no amount: give a Decimal, or a text such as "49.90"')
    return format(exact, "f")


def _instant(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError) as error:
        raise TillError(f"the event is no JSON: {error}") from error


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} {value!r}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="till.py", description="Keep a till's events on disk and send them.")
    parser.add_argument("--file", default="till.db", help="the queue (default: %(default)s)")
    parser.add_argument("--till", required=True, metavar="ID", help="the till's name")
    parser.add_argument("--url", required=True, help="the collector, such as https://events.shop.example")
    parser.add_argument("--key-file", required=True, type=Path, help="a file with the write key")
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="record JSON lines: the arguments of Till.record by name")
    recording.add_argument("lines", metavar="FILE", help="- for standard input")
    commands.add_parser("send", help="send what waits")
    commands.add_parser("run", help="send for ever")
    commands.add_parser("status", help="what waits, what was refused")
    again = commands.add_parser("resend", help="send a whole day again: nothing is counted twice")
    again.add_argument("day")
    closing = commands.add_parser("close", help="declare a day's sum and compare; exit code 1 unless it is confirmed")
    closing.add_argument("day", nargs="?")
    options = parser.parse_args(arguments)
    try:
        key = options.key_file.read_text().strip()
        till = Till(options.file, till_id=options.till, url=options.url, write_key=key)
        return _run_command(till, options)
    except (TillError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _run_command(till: Till, options: argparse.Namespace) -> int:
    if options.command == "record":
        lines = sys.stdin if options.lines == "-" else Path(options.lines).read_text().splitlines()
        for number, line in enumerate(lines, 1):
            try:
                print(till.record(**json.loads(line)), flush=True)
            except (TypeError, ValueError) as error:
                raise TillError(f"line {number}: {error}") from error
    elif options.command == "run":
        till.run()
    elif options.command == "resend":
        print(f"{till.resend(options.day)} events wait again")
        till.send()
    elif options.command == "close":
        found = till.close_day(options.day)
        print(f"{found.day}: {found.status}, declared {dict(found.declared)}, stored {dict(found.stored)}")
        for first, last in found.missing:
            print(f"not stored: {first}" if first == last else f"not stored: {first} to {last}")
        return 0 if found.status == "confirmed" else 1
    else:
        if options.command == "send":
            sent = till.send()
            print(f"{sent.accepted} accepted, {sent.refused} refused")
        print(f"{till.waiting()} wait")
        for refused in till.refused():
            print(f"refused: {refused.event_id}: {refused.reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
