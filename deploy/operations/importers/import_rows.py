"""Imports the rows of a file: maps and judges them, leaves out what is stored already, and publishes the rest.

Every event is marked as historical, so it starts no journey. Its id comes from the row, so a row that is published
twice, after a kill or by a second import, counts once. A state file beside the imported one says how many rows the
broker has confirmed.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from hashlib import blake2b
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from deploy.operations.importers.row_files import REFUSED_COLUMNS, Row, RowFile, escaped, fingerprint
from deploy.operations.plans import plan_in_force
from deploy.operations.publish import KafkaNotReadyError, publish
from deploy.operations.sources import load_sources
from deploy.operations.transforms import transforms_in_force
from deploy.settings import Settings
from processors.intake.decode import too_large, validate
from processors.intake.mapping import CompiledMapping, MappedRecord
from schemas.events.envelope import HISTORICAL
from schemas.events.mending import MENDED
from schemas.events.touchpoint import Event
from schemas.intake.file_mappings import FILE_TIME, ROW_HASH, ROWS, FileMapping
from schemas.outcomes import Reject
from schemas.time import text_of_time, time_of_ms

ROWS_PER_STEP = 10_000
"""Rows between two writes of the state: as many are published a second time after a kill."""
ROWS_PER_PROGRESS = 500

Progress = Callable[[int, int], None]
KnownIds = Callable[[str, Sequence[str]], set[str]]
"""Takes a source and ids of its events; returns those that are stored already."""


class ImportFailedError(RuntimeError):
    """An import that stopped; the message says why and how it goes on."""


class JudgedRow(NamedTuple):
    """What becomes of a row.

    Attributes:
        row: The row.
        events: Its valid events, in their canonical form.
        lines: The same as they are published.
        reasons: Why it, or one of its rules, gives no event.
        ignored: Why the mapping leaves it out; empty if it does not.
    """

    row: Row
    events: Sequence[Event] = ()
    lines: Sequence[bytes] = ()
    reasons: Sequence[str] = ()
    ignored: str = ""


class RowJudge:
    """Maps rows and judges their events as the pipeline will.

    Args:
        mapping: The mapping of the file.
        settings: The deployment.
        file_time: When the file was last changed.

    Raises:
        DefinitionError: The tracking plan, the sources or a transform is not valid.
    """

    def __init__(self, mapping: FileMapping, settings: Settings, file_time: datetime) -> None:
        self._mapping = CompiledMapping(mapping)
        self._source, self._channel = mapping.source, mapping.channel or "api"
        self._names = sorted(self._mapping.names)
        self._channels, self._max_bytes = frozenset(settings.channels), settings.max_event_bytes
        self._plan = plan_in_force(settings)
        self._transforms = transforms_in_force(settings, load_sources(settings))
        stated = text_of_time(file_time)
        self._scope: dict[str, Any] = {"_headers": {}, "_query": {}, "_received_at": stated, FILE_TIME: stated}

    def __call__(self, row: Row) -> JudgedRow:
        """Map and judge one row."""
        if row.problem:
            return JudgedRow(row, reasons=(row.problem,))
        scope = {**self._scope, ROW_HASH: self._hash(row.values)}
        result = self._mapping.apply(MappedRecord(row.values, scope))
        reasons = [rejected.message for _, rejected in result.refusals]
        events, lines = [], []
        for mapped in result.events:
            event = {"channel": self._channel, **mapped.event, "source": self._source}
            event["context"] = {HISTORICAL: True, **event.get("context", {})}
            line, judged = self._judge(event)
            if isinstance(judged, Reject):
                reasons.append(judged.message)
            else:
                events.append(judged)
                lines.append(line)
        return JudgedRow(row, events, lines, reasons, result.ignored)

    def _judge(self, event: dict[str, Any]) -> tuple[bytes, Event | Reject]:
        line = orjson.dumps(event)
        if len(line) > self._max_bytes:
            return line, too_large(line, self._max_bytes)
        changed = event if self._transforms is None else self._transforms(event)
        judged = validate(changed, line if changed is event else None, channels=self._channels)
        if self._plan is not None and not isinstance(judged, Reject):
            return line, self._plan.apply(judged) or judged
        return line, judged

    def _hash(self, values: Mapping[str, Any]) -> str:
        """Hash the columns that the mapping reads: others may come and go without making an event another one."""
        read = {name: values.get(name) for name in self._names if name != ROWS}
        lines = [{name: row.get(name) for name in self._names} for row in values.get(ROWS, ())]
        return blake2b(orjson.dumps([read, lines]), digest_size=8).hexdigest()


@dataclass
class ImportState:
    """How far an import has come; the content of the state file.

    Attributes:
        digest: Of the file.
        mapping: Of the mapping.
        rows: Rows that are done: confirmed by the broker, refused or left out.
        published: Events that the broker has confirmed.
        unchanged: Events that were left out, since they are stored already.
        refused: Rows that gave no event, or not all of them.
        ignored: Rows that the mapping leaves out.
        mended: Events of which a detail was mended or set aside.
        refused_bytes: Size of the file of refused rows.
        done: The import has ended.
    """

    digest: str
    mapping: str
    rows: int = 0
    published: int = 0
    unchanged: int = 0
    refused: int = 0
    ignored: int = 0
    mended: int = 0
    refused_bytes: int = 0
    done: bool = False

    def save(self, path: Path) -> None:
        """Replace the state file in one step."""
        draft = path.with_name(f"{path.name}.new")
        with draft.open("wb") as file:
            file.write(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    @classmethod
    def load(cls, path: Path) -> ImportState | None:
        """Read a state file; None: there is none that can be read."""
        try:
            return cls(**orjson.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class ImportFiles:
    """The files of an import: the imported one, and those that stand beside it."""

    path: Path

    @property
    def mapping(self) -> Path:
        """The mapping that was guessed."""
        return self.path.with_suffix(".map.yaml")

    @property
    def state(self) -> Path:
        """How far the import has come."""
        return self.path.with_suffix(".import.json")

    @property
    def refused(self) -> Path:
        """The refused rows, with reason and line."""
        return self.path.with_suffix(".refused.csv")

    @property
    def changed_at(self) -> datetime:
        """When the imported file was last changed."""
        return time_of_ms(self.path.stat().st_mtime * 1000)


@dataclass
class _RefusedRows:
    """The file of refused rows: written to its end before the state says so."""

    path: Path
    columns: Sequence[str]
    size: int = 0

    def __post_init__(self) -> None:
        if self.path.exists():
            os.truncate(self.path, self.size)

    def add(self, rows: Sequence[JudgedRow]) -> None:
        """Append rows and wait until they are on the disk."""
        if not rows:
            return
        text = StringIO()
        writer = csv.writer(text)
        if not self.size:
            writer.writerow([*REFUSED_COLUMNS, *map(escaped, self.columns)])
        for judged in rows:
            for values in judged.row.values.get(ROWS) or [judged.row.values]:
                cells = [_cell(values.get(name)) for name in self.columns]
                writer.writerow([judged.row.line, *map(escaped, ["; ".join(judged.reasons), *cells])])
        with self.path.open("ab") as file:
            file.write(text.getvalue().encode("utf-8", "replace"))
            file.flush()
            os.fsync(file.fileno())
            self.size = file.tell()


def begin(files: ImportFiles, mapping: FileMapping, *, resume: bool) -> ImportState:
    """Return the state to import from: the beginning, or where an earlier import has stopped.

    Raises:
        RowFileError: The file is not of the mapping's encoding.
        ImportFailedError: It is to be resumed, and the file or the mapping has changed since.
    """
    digest = fingerprint(files.path, mapping.file.encoding)
    state = ImportState(digest, _digest(mapping))
    found = ImportState.load(files.state) if resume else None
    if found is None:
        return state
    changed = "the file" if found.digest != state.digest else "the mapping" if found.mapping != state.mapping else ""
    if changed:
        raise ImportFailedError(
            f"{changed} has changed since the import began: import it from the beginning, without --resume; rows that"
            " are the same count once"
        )
    return found


def import_rows(
    files: ImportFiles, mapping: FileMapping, settings: Settings, state: ImportState, known: KnownIds,
    *, progress: Progress | None = None,
) -> None:  # fmt: skip
    """Import the rows that the state leaves to be done.

    Args:
        files: The file.
        mapping: Its mapping.
        settings: The deployment.
        state: From `begin`; it is changed, and written to the disk after each step.
        known: Finds events that are stored already.
        progress: Called with the numbers of rows and of bytes that were read.

    Raises:
        ImportFailedError: The broker did not confirm all events; what the state says is done stays done.
        RowFileError: The file cannot be read.
    """
    rows = RowFile(files.path, mapping.file)
    judge = RowJudge(mapping, settings, files.changed_at)
    refused = _RefusedRows(files.refused, rows.columns, state.refused_bytes)
    remaining = islice(iter(rows), state.rows, None)
    while step := list(islice(_counted(remaining, rows, state.rows, progress), ROWS_PER_STEP)):
        judged = [judge(row) for row in step]
        lines, unchanged = _new_lines(judged, mapping.source, known)
        try:
            outcome = publish(lines, settings)
        except KafkaNotReadyError as error:
            raise ImportFailedError(f"{error}; then go on with --resume") from None
        if not outcome.ok:
            problem = next(iter(outcome.problems), "no answer")
            raise ImportFailedError(f"Kafka did not confirm every event ({problem}): go on with --resume")
        bad = [one for one in judged if one.reasons]
        refused.add(bad)
        state.rows += len(step)
        state.published += outcome.published
        state.unchanged += unchanged
        state.refused += len(bad)
        state.ignored += sum(bool(one.ignored) for one in judged)
        state.mended += sum(MENDED in event.get("context", ()) for one in judged for event in one.events)
        state.refused_bytes = refused.size
        state.save(files.state)
    state.done = True
    state.save(files.state)


@dataclass(slots=True)
class DryRun:
    """What an import would do.

    Attributes:
        rows: Rows of the file.
        people: Events by what they would do: `new` people, `changed` (of one known person), `merged` (of several known
            people, whom they would join), `unchanged` (stored already, or twice in the file), `impersonal`.
        ignored: Rows that the mapping leaves out, by reason.
        refused: Refused rows.
        reasons: Line and reason of the first refused rows.
    """

    MAX_REASONS = 20

    rows: int = 0
    people: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)


def judged_rows(
    files: ImportFiles, mapping: FileMapping, settings: Settings, progress: Progress | None = None
) -> Iterator[JudgedRow]:
    """Map and judge the rows of a file, one after the other."""
    rows = RowFile(files.path, mapping.file)
    judge = RowJudge(mapping, settings, files.changed_at)
    return (judge(row) for row in _counted(iter(rows), rows, 0, progress))


def _counted(rows: Iterator[Row], file: RowFile, start: int, progress: Progress | None) -> Iterator[Row]:
    for number, row in enumerate(rows, start=start + 1):
        if progress is not None and not number % ROWS_PER_PROGRESS:
            progress(number, file.position)
        yield row


def _new_lines(judged: Sequence[JudgedRow], source: str, known: KnownIds) -> tuple[list[bytes], int]:
    """Return the lines to publish, and the number of events that are stored already."""
    events = [(event["event_id"], line) for one in judged for event, line in zip(one.events, one.lines, strict=True)]
    stored = known(source, [event_id for event_id, _ in events]) if events else set()
    lines = [line for event_id, line in events if event_id not in stored]
    return lines, len(events) - len(lines)


def _digest(mapping: FileMapping) -> str:
    return blake2b(mapping.model_dump_json().encode(), digest_size=8).hexdigest()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
