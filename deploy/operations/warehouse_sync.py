"""Finds out which rows of a warehouse have changed since the last run, and writes them as a file to be imported.

What earlier runs brought is read from history, so a run that was killed is simply run again: rows whose events are
stored are as they were, and others get the same ids as before, which count once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from deploy.operations.warehouse_rows import WarehouseError, WarehouseRow, warehouse_rows
from deploy.settings import Settings
from schemas.intake.file_mappings import FileMapping
from schemas.intake.syncs import SyncDefinition
from schemas.time import text_of_ms
from sinks.clickhouse.syncs import count_keys, known_rows


@dataclass(slots=True)
class SyncChanges:
    """What a run has found.

    Attributes:
        rows: Rows of the query.
        changed: Rows that are new, or are not as they were.
        unchanged: Rows that are as they were.
        without_key: Rows whose key is empty: they are left out.
        repeated: Rows whose key an earlier row had: they are left out.
        missing: People of earlier runs who are not in the query any more: nothing is done to them.
    """

    rows: int = 0
    changed: int = 0
    unchanged: int = 0
    without_key: int = 0
    repeated: int = 0
    missing: int = 0


def find_changes(
    definition: SyncDefinition,
    settings: Settings,
    client: Any,
    file: Path,
    run_ms: int,
    progress: Callable[[int], None] = lambda _: None,
) -> SyncChanges:
    """Run the query, and write the rows that have changed as JSON Lines for `mapping_of`.

    Args:
        definition: The sync.
        settings: The deployment.
        client: A clickhouse-connect client of the deployment.
        file: The file to write; it has personal data, and only its owner may read it.
        run_ms: When the run began, milliseconds since 1970.
        progress: Takes the number of rows that were read.

    Raises:
        WarehouseError: The query cannot be run, or lacks a column of the definition.
    """
    found, seen, matched = SyncChanges(), set[int](), 0
    secret = settings.identity_secret.get_secret_value().encode()[:64]
    needed = {*definition.compared(), *([definition.changed_at] if definition.changed_at else [])}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    with warehouse_rows(definition, settings) as batches, file.open("wb") as lines:
        for batch in batches:
            if batch and (lacking := sorted(needed - set(batch[0]))):
                raise WarehouseError(f"the query has no column {', '.join(lacking)}: it has {', '.join(batch[0])}")
            keyed: dict[str, WarehouseRow] = {}
            for row in batch:
                found.rows += 1
                value = row[definition.identifiers[definition.key]]
                if value is None or not str(value).strip():
                    found.without_key += 1
                    continue
                key = _digest([definition.key, str(value).strip()], secret)
                if int(key, 16) in seen:
                    found.repeated += 1
                    continue
                seen.add(int(key, 16))
                keyed[key] = row
            known = known_rows(client, definition.source, definition.name, keyed)
            matched += len(known)
            for key, row in keyed.items():
                content = _digest([[name, row[name]] for name in definition.compared()], secret)
                before = known.get(key)
                if before is not None and before.row == content:
                    found.unchanged += 1
                    continue
                found.changed += 1
                number = before.number + 1 if before else 0
                lines.write(orjson.dumps(_changed(definition, row, f"{key}:{content}:{number}", run_ms)) + b"\n")
            progress(found.rows)
    found.missing = count_keys(client, definition.source, definition.name) - matched
    return found


def mapping_of(definition: SyncDefinition) -> FileMapping:
    """Return the mapping of the file of changed rows."""
    value = {
        "kind": "people",
        "source": definition.source,
        "channel": definition.channel,
        "events": [
            {
                "event": "Identify",
                "event_id": ["_sync_id"],
                "occurred_at": {"get": "_sync_at", "as": "time"},
                "identifiers": {kind: {"get": _name(column)} for kind, column in definition.identifiers.items()},
                "traits": {trait: {"get": _name(column)} for trait, column in definition.traits.items()},
                "context": {
                    "sync": {"fields": {"name": {"value": definition.name}, "run": {"get": "_sync_run"}}},
                },
            }
        ],
    }
    return FileMapping.model_validate(value)


def _changed(definition: SyncDefinition, row: WarehouseRow, id_: str, run_ms: int) -> WarehouseRow:
    run = text_of_ms(run_ms)
    stated = row[definition.changed_at] if definition.changed_at else None
    values = {name: row[name] for name in definition.compared()}
    return {**values, "_sync_id": f"{definition.name}:{id_}", "_sync_at": stated or run, "_sync_run": run}


def _name(column: str) -> str:
    """Write a column as an expression of JMESPath."""
    return json.dumps(column)


def _digest(value: Any, secret: bytes) -> str:
    return blake2b(orjson.dumps(value), digest_size=8, key=secret).hexdigest()
