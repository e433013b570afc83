"""Writes the audit log. An act that ClickHouse cannot take now waits in a file of the home and is stored by the next.

Whoever pauses a journey must be able to while ClickHouse is down, and the act must be on record afterwards.
"""

from __future__ import annotations

import fcntl
import json
import logging
from pathlib import Path
from typing import Any
from uuid import uuid4

from clickhouse_connect.driver.exceptions import ClickHouseError

from deploy.connections.clickhouse import clickhouse_client
from deploy.settings import Settings
from schemas.time import clock_ms, ms_of_text, text_of_time, time_of_ms
from sinks.clickhouse.audit_log import Act, Outcome, Via, insert_acts
from sinks.clickhouse.client import StoreDown

log = logging.getLogger(__name__)

_DETAIL_CHARACTERS = 500


class AuditTrail:
    """Notes acts.

    Args:
        settings: Of the deployment.
        home: The directory of the file in which acts wait.
        via: Where the acts come from.
    """

    def __init__(self, settings: Settings, home: Path, via: Via) -> None:
        self._settings = settings
        self._file = home / "audit-waiting.jsonl"
        self._via = via

    def note(self, actor: str, act: str, subject: str, outcome: Outcome, detail: str = "") -> Act:
        """Store an act, and those that wait; it never raises, since the act itself has happened already.

        Args:
            actor: Who.
            act: What, a verb.
            subject: On whom or what: a profile id, the name of a journey or a segment; never an address.
            outcome: How it ended.
            detail: More, in words; never an address.
        """
        noted = Act(
            str(uuid4()),
            time_of_ms(clock_ms()),
            actor,
            self._via,
            act,
            subject,
            outcome,
            detail[:_DETAIL_CHARACTERS],
        )
        try:
            self._store(noted)
        except (StoreDown, ClickHouseError, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            log.error("the audit log cannot be written now, the act waits in %s: %s", self._file, reason)
            self._wait(noted)
        return noted

    def _store(self, noted: Act) -> None:
        client = clickhouse_client(self._settings, timeout_s=10)
        try:
            insert_acts(client, [noted])
            if self._file.exists():
                self._store_waiting(client)
        finally:
            client.close()

    def _store_waiting(self, client: Any) -> None:
        with self._file.open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            insert_acts(client, [act for line in file if (act := _read(line))])
            file.truncate(0)

    def _wait(self, noted: Act) -> None:
        line = json.dumps({**noted._asdict(), "acted_at": text_of_time(noted.acted_at)})
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(line + "\n")
        except OSError:
            log.exception("an act is nowhere but in this log: %s", line)


def _read(line: str) -> Act | None:
    """Read an act that waits; None: the machine stopped while the line was written."""
    try:
        fields = json.loads(line)
        return Act(**{**fields, "acted_at": time_of_ms(ms_of_text(fields["acted_at"]))})
    except (ValueError, TypeError, KeyError):
        log.error("a line in the audit log's file is no act: %s", line.strip())
        return None
