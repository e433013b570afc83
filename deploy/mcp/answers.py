"""Answers to questions about the history: each with the SQL that ran, how far events are recorded, and the account.

Questions are asked as the user `analyst` of ClickHouse, whatever user the deployment has otherwise.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError
from pydantic import BaseModel, Field

from deploy.connections.clickhouse import analyst_client
from deploy.settings import Settings
from schemas.time import clock_ms, time_of_ms
from sinks.clickhouse.attribution import check
from sinks.clickhouse.bounded_sql import (
    BoundedAnswer,
    Bounds,
    RefusedSqlError,
    checked_sql,
    readable_views,
    run,
    server_message,
)
from sinks.clickhouse.client import StoreDown
from sinks.clickhouse.tables import questions

ACCOUNT_LIFE_S = 30.0
"""How old an account may be before it is drawn up anew; its time stands beside it."""
MOST_ROWS = 2_000
"""The most rows that an answer may be asked to have."""
MAX_ALERTS = 50

_RECORDED_UNTIL = "SELECT max(received_at) FROM touchpoints"
_OUTCOMES = (
    "SELECT sum(received), sum(stored), sum(duplicate), sum(suppressed), sum(dead_lettered), sum(difference),"
    " (SELECT sum(missing) FROM v_missing_offsets) FROM v_accounting"
)
_BY_SOURCE = (
    "SELECT source, sum(received) AS received, sum(stored) AS stored, sum(duplicate) AS duplicate,"
    " sum(suppressed) AS suppressed, sum(dead_lettered) AS dead_lettered, sum(difference) AS difference"
    " FROM v_accounting GROUP BY source ORDER BY source"
)
_NOT_ADDING_UP = "SELECT * FROM v_reconciliation WHERE alert ORDER BY day, conversion_type, model"
_COLUMNS = (
    "SELECT name, type, comment FROM system.columns"
    " WHERE database = currentDatabase() AND table = {view:String} ORDER BY position"
)
_PARAMETERS = (
    "SELECT arrayDistinct(extractAll(create_table_query, '\\\\{(\\\\w+:[^}]+)\\\\}')) FROM system.tables"
    " WHERE database = currentDatabase() AND name = {view:String}"
)


class CannotAnswerError(Exception):
    """A question that has no answer; the message says why, to who asked."""


class Account(BaseModel):
    """Where the records of all producers ended: received = stored + duplicate + suppressed + dead_lettered."""

    received: int = Field(description="Records whose outcome is known.")
    stored: int = Field(description="Distinct events stored.")
    duplicate: int = Field(description="Further deliveries of an event.")
    suppressed: int = Field(description="Left out on purpose: consent, erasure.")
    dead_lettered: int = Field(description="Refused, with the original bytes kept.")
    difference: int = Field(description="received minus all outcomes: 0, or something was counted twice.")
    without_outcome: int = Field(description="Records without any outcome yet: work in progress, or lost.")
    drawn_up_at: datetime = Field(description="When this account was drawn up.")
    sql: str = Field(description="The SQL of this account.")


class Standing(BaseModel):
    """How far the answer reaches, and whether the events behind it add up."""

    recorded_until: datetime | None = Field(description="When the newest recorded event arrived; null: none has.")
    asked_at: datetime = Field(description="When the question was asked.")
    account: Account


class Column(BaseModel):
    """A column of an answer or of a view."""

    name: str
    type: str
    meaning: str = ""


class View(BaseModel):
    """A view that may be asked."""

    name: str
    meaning: str
    parameters: list[str] = Field(
        default=[], description="name:Type of each; call the view like a function: v_name(name = value, …)."
    )
    columns: list[Column] = []


class Question(BaseModel):
    """A question that has its SQL already."""

    name: str
    question: str
    sql: str


class Answer(BaseModel):
    """Rows, and what they rest on."""

    question: str = ""
    sql: str = Field(description="The SQL that ran.")
    columns: list[Column]
    rows: list[list[Any]] = Field(description="Decimals and times are text.")
    row_count: int = Field(description="Rows of this answer.")
    truncated: bool = Field(description="Whether there are more rows than these.")
    standing: Standing


class Reconciliation(BaseModel):
    """Whether orders, conversions and credits agree, and where the records of each source ended."""

    days_compared: int = Field(description="Days of a goal and model.")
    not_adding_up: list[dict[str, Any]] = Field(description=f"Those that do not add up, at most {MAX_ALERTS}.")
    not_adding_up_count: int
    conversions: int
    stored_otherwise: int = Field(description="Conversions whose stored credits are not what they are now.")
    days_summed_wrongly: int
    warnings: list[str]
    by_source: list[dict[str, Any]]
    sql: list[str]
    standing: Standing


class Answers:
    """Answers questions as the user `analyst`.

    Args:
        settings: Of the deployment.
        bounds: The limits of a query; fewer or more rows may be asked for.
    """

    def __init__(self, settings: Settings, bounds: Bounds) -> None:
        self._settings = settings
        self._bounds = bounds
        self._lock = threading.Lock()
        self._opened: Any = None
        self._account: tuple[float, Account] | None = None

    def views(self) -> list[View]:
        """List the views, without their columns."""
        return [View(name=name, meaning=comment) for name, comment in self._asked(readable_views).items()]

    def view(self, name: str) -> View:
        """Describe one view.

        Raises:
            CannotAnswerError: There is none of that name.
        """
        views = self._asked(readable_views)
        if name not in views:
            raise CannotAnswerError(f"There is no view {name!r} that may be asked: list_views names them.")

        def read(client: Any) -> View:
            columns = client.query(_COLUMNS, parameters={"view": name}).result_rows
            parameters = client.query(_PARAMETERS, parameters={"view": name}).first_row[0] if not columns else []
            return View(
                name=name,
                meaning=views[name],
                parameters=parameters,
                columns=[Column(name=column, type=kind, meaning=meaning) for column, kind, meaning in columns],
            )

        found: View = self._asked(read)
        return found

    def questions(self) -> list[Question]:
        """List the questions that have their SQL already."""
        return [Question(name=one.name.removesuffix(".sql"), question=one.question, sql=one.sql) for one in questions()]

    def answer(self, name: str, max_rows: int | None = None) -> Answer:
        """Answer one of `questions`.

        Raises:
            CannotAnswerError: There is none of that name, or it took too long.
        """
        one = {question.name: question for question in self.questions()}.get(name.removesuffix(".sql"))
        if one is None:
            raise CannotAnswerError(f"There is no question {name!r}: list_questions names them.")
        sql = one.sql
        return self._answer(self._asked(lambda client: run(client, sql, self._bounded(max_rows))), one.question)

    def sql(self, sql: str, max_rows: int | None = None) -> Answer:
        """Run somebody's SQL, if it is one SELECT on views that may be asked.

        Raises:
            CannotAnswerError: It is something else, or the server refuses it.
        """
        found = self._asked(lambda client: run(client, checked_sql(client, sql), self._bounded(max_rows)))
        return self._answer(found)

    def reconciliation(self) -> Reconciliation:
        """Compare orders, conversions and credits, and account for the records of each source."""
        compared = self._asked(check)
        sources = self._asked(lambda client: list(client.query(_BY_SOURCE).named_results()))
        return Reconciliation(
            days_compared=compared.days,
            not_adding_up=[asdict(row) for row in compared.alerts[:MAX_ALERTS]],
            not_adding_up_count=len(compared.alerts),
            conversions=compared.conversions,
            stored_otherwise=compared.outdated,
            days_summed_wrongly=compared.days_off,
            warnings=compared.warnings[:MAX_ALERTS],
            by_source=sources,
            sql=[_NOT_ADDING_UP, _BY_SOURCE],
            standing=self._standing(),
        )

    def _answer(self, found: BoundedAnswer, question: str = "") -> Answer:
        return Answer(
            question=question,
            sql=found.sql,
            columns=[Column(name=name, type=kind) for name, kind in found.columns],
            rows=found.rows,
            row_count=len(found.rows),
            truncated=found.truncated,
            standing=self._standing(),
        )

    def _bounded(self, max_rows: int | None) -> Bounds:
        rows = self._bounds.max_rows if max_rows is None else max(1, min(max_rows, MOST_ROWS))
        return Bounds(rows, self._bounds.max_bytes, self._bounds.timeout_s, self._bounds.max_memory_bytes)

    def _standing(self) -> Standing:
        """Say how far events are recorded, now, and what became of them, as of half a minute ago at most."""
        until = self._asked(lambda client: client.query(_RECORDED_UNTIL).first_row[0])
        return Standing(
            recorded_until=until.replace(tzinfo=UTC) if until.year > 1970 else None,
            asked_at=time_of_ms(clock_ms()),
            account=self._drawn_up(),
        )

    def _drawn_up(self) -> Account:
        known = self._account
        if known is not None and time.monotonic() < known[0] + ACCOUNT_LIFE_S:
            return known[1]
        values = self._asked(lambda client: client.query(_OUTCOMES).first_row)
        names = ("received", "stored", "duplicate", "suppressed", "dead_lettered", "difference", "without_outcome")
        account = Account(**dict(zip(names, values, strict=True)), drawn_up_at=time_of_ms(clock_ms()), sql=_OUTCOMES)
        self._account = (time.monotonic(), account)
        return account

    def _asked(self, question: Any) -> Any:
        """Ask with a client, and say in a sentence why there is no answer.

        Raises:
            CannotAnswerError: ClickHouse is down, or refuses.
        """
        try:
            return question(self._client())
        except RefusedSqlError as error:
            raise CannotAnswerError(str(error)) from None
        except StoreDown as error:
            raise CannotAnswerError(f"ClickHouse does not answer: {error}") from None
        except ClickHouseError as error:
            raise CannotAnswerError(server_message(error)) from None

    def _client(self) -> Any:
        with self._lock:
            if self._opened is None:
                self._opened = analyst_client(self._settings, timeout_s=self._bounds.timeout_s + 30)
            return self._opened
