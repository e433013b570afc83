"""Exports history to a data lake as Parquet, a file for each day of each view, and keeps it as the history is now.

A day is written when it is new, or when what the view shows of it has changed since. A day whose rows are all gone, of
erased people for example, loses its file. The manifest says what each file has; it is written last, and now and then on
the way, so that an export that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import orjson

from deploy.operations.lake_files import PART, Lake, LakeError
from deploy.operations.permissions import HIDDEN_COLUMNS
from schemas.time import clock_ms, text_of_ms
from sinks.clickhouse.lake import (
    WHOLE,
    Dataset,
    Fingerprint,
    columns_key,
    datasets,
    fingerprints,
    parquet,
    recorded_until,
    schema_version,
)

MANIFEST = "manifest.json"
FORMAT = 1
"""Of the manifest."""
CHECKPOINT_S = 5.0
_CHUNK_BYTES = 1 << 20


@dataclass(slots=True)
class DatasetExport:
    """What an export did with one dataset.

    Attributes:
        name: The view or table.
        days: Days that it has now, of those that were asked for.
        written: Days whose file was written.
        removed: Days that have no rows any more.
        rows: Rows that were written.
        bytes: Bytes that were written.
    """

    name: str
    days: int = 0
    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0


def export(
    client: Any,
    lake: Lake,
    names: Sequence[str],
    *,
    timezone: str,
    first: date | None = None,
    last: date | None = None,
    dry_run: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> list[DatasetExport]:
    """Bring the files of views and tables up to date.

    Args:
        client: A clickhouse-connect client.
        lake: Where the files are.
        names: Of the views and tables.
        timezone: Of days.
        first: First day; None: from the beginning.
        last: Last day; None: to the end. A dataset without days is written whole.
        dry_run: Write nothing; say what would be written.
        progress: Takes lines.

    Raises:
        LakeError: The manifest is of another kind, or the files cannot be written.
        UnknownDatasetError: There is no such view or table.
    """
    asked = datasets(client, names, HIDDEN_COLUMNS)
    manifest = _read(lake)
    if (known := manifest.get("timezone", timezone)) != timezone:
        raise LakeError(f"its days are those of {known}, and not of {timezone}: export to another place")
    run = _Run(client, lake, timezone, manifest, dry_run, progress)
    run.note_state()
    done = [run.export(one, first, last) for one in asked]
    if not dry_run:
        run.write_manifest()
    return done


class _Run:
    def __init__(
        self,
        client: Any,
        lake: Lake,
        timezone: str,
        manifest: dict[str, Any],
        dry_run: bool,
        progress: Callable[[str], None],
    ) -> None:
        self._client, self._lake, self._timezone = client, lake, timezone
        self._manifest, self._dry_run, self._progress = manifest, dry_run, progress
        self._checkpoint = time.monotonic()

    def note_state(self) -> None:
        """Note as of when, in which schema."""
        self._manifest.update(
            format=FORMAT,
            as_of=text_of_ms(clock_ms()),
            recorded_until=recorded_until(self._client),
            schema_version=schema_version(self._client),
            timezone=self._timezone,
        )

    def export(self, dataset: Dataset, first: date | None, last: date | None) -> DatasetExport:
        """Bring one dataset up to date."""
        done = DatasetExport(dataset.name)
        known = self._manifest.setdefault("datasets", {}).get(dataset.name, {})
        files: dict[str, Any] = known.get("files", {})
        columns = [one._asdict() for one in dataset.columns]
        form = hashlib.sha256(columns_key(dataset).encode()).hexdigest()[:16]
        now = fingerprints(self._client, dataset, self._timezone, first, last)
        done.days = len(now)
        entry = {"meaning": dataset.comment, "day_column": dataset.day, "columns": columns, "files": files}
        stale = [day for day, found in now.items() if not _is(files.get(day), found, form)]
        if not self._dry_run:
            self._manifest["datasets"][dataset.name] = entry
        for place, day in enumerate(stale, 1):
            done.written.append(day)
            done.rows += now[day].rows
            if not self._dry_run:
                files[day] = {**self._write(dataset, day, now[day]), "form": form}
                done.bytes += files[day]["bytes"]
                self._progress(f"{dataset.name} {day}: {place:,} of {len(stale):,} files")
                self._save_sometimes()
        for day in [day for day in files if day not in now and _within(day, first, last)]:
            done.removed.append(day)
            if not self._dry_run:
                self._lake.remove(files.pop(day)["path"])
        return done

    def write_manifest(self) -> None:
        """Write the manifest aside and move it to its place."""
        file = self._lake.scratch() / f"{MANIFEST}{PART}"
        file.write_bytes(orjson.dumps(self._manifest, option=orjson.OPT_INDENT_2))
        self._lake.put(file, MANIFEST)
        self._checkpoint = time.monotonic()

    def _save_sometimes(self) -> None:
        if time.monotonic() - self._checkpoint >= CHECKPOINT_S:
            self.write_manifest()

    def _write(self, dataset: Dataset, day: str, found: Fingerprint) -> dict[str, Any]:
        """Write the file of a day. Rows that come meanwhile are in it, and the next export finds the day changed."""
        path = f"{dataset.name}/{day}.parquet"
        file = self._lake.scratch() / f"{dataset.name}-{day}{PART}"
        digest, size = _copy(parquet(self._client, dataset, self._timezone, day), file)
        self._lake.put(file, path)
        return {
            "path": path,
            "rows": found.rows,
            "bytes": size,
            "sha256": digest,
            "content": found.content,
            "as_of": text_of_ms(clock_ms()),
        }


def _copy(stream: Any, file: Path) -> tuple[str, int]:
    """Write a stream to a file; return the SHA-256 of its bytes and their number."""
    digest, size = hashlib.sha256(), 0
    try:
        with file.open("wb") as target:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += target.write(chunk)
    finally:
        stream.close()
    with file.open("rb") as written:  # a server that breaks off in the middle leaves no foot
        written.seek(-min(size, 4), os.SEEK_END)
        if written.read() != b"PAR1":
            raise LakeError("ClickHouse broke off in the middle of a file: see its log, then export again")
    return digest.hexdigest(), size


def _read(lake: Lake) -> dict[str, Any]:
    content = lake.read(MANIFEST)
    if content is None:
        return {}
    try:
        manifest: dict[str, Any] = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise LakeError(f"{MANIFEST} cannot be read: {error}") from None
    if manifest.get("format") != FORMAT:
        raise LakeError(f"{MANIFEST} is of another kind: it is not of `throughline export`, or of a newer release")
    return manifest


def _is(file: dict[str, Any] | None, found: Fingerprint, form: str) -> bool:
    """Return whether a file has what a day has now, in the columns of now."""
    return file is not None and (file["rows"], file["content"], file["form"]) == (*found, form)


def _within(day: str, first: date | None, last: date | None) -> bool:
    if day == WHOLE:
        return True
    which = date.fromisoformat(day)
    return (first is None or first <= which) and (last is None or which <= last)
