"""The commands `import people|orders|events|products`: rows of a file as touchpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deploy.cli.arguments import Yes
from deploy.cli.output import fail, print_json, write_text
from deploy.cli.publish import SummaryAsJson
from deploy.cli.stores import Stores, clickhouse, with_stores
from deploy.cli.streams import progress_bar

if TYPE_CHECKING:
    from deploy.operations.importers.import_rows import DryRun, ImportFiles, JudgedRow
    from schemas.intake.file_mappings import FileMapping, ImportKind

_PREVIEW_ROWS = 10
_SAMPLE_ROWS = 500
_ROWS_PER_LOOKUP = 2_000
_MAX_LINE_CHARS = 700

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help=".csv, .tsv, .jsonl, .ndjson or .parquet.")]
Map = Annotated[
    Path | None, typer.Option("--map", exists=True, dir_okay=False, help="The mapping; without it, it is guessed.")
]
DryRunOnly = Annotated[
    bool, typer.Option("--dry-run", help="Judge all rows and count what they would do; publish nothing.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where an earlier import has stopped.")]
SourceOption = Annotated[str, typer.Option(help="The source of the events; else that of the mapping, or `import`.")]
Encoding = Annotated[str, typer.Option(help="Of a CSV or JSON Lines file, such as cp1252; for the guess.")]
Timezone = Annotated[str, typer.Option(help="Of times without an offset, IANA name; for the guess.")]
Currency = Annotated[str, typer.Option(help="Of amounts, where no column has it; for the guess.")]
Dates = Annotated[
    Literal["day-first", "month-first"] | None, typer.Option(help="How to read 04/05/2026; for the guess.")
]
Decimal = Annotated[Literal[",", "."] | None, typer.Option(help="The decimal separator of numbers; for the guess.")]


def _command(kind: ImportKind, meaning: str) -> Callable[..., None]:
    """Make the command that imports one kind of rows.

    Args:
        kind: What a row is about.
        meaning: Its text of `--help`.
    """

    def command(
        file: File,
        map_: Map = None,
        dry_run: DryRunOnly = False,
        resume: Resume = False,
        yes: Yes = False,
        source: SourceOption = "",
        encoding: Encoding = "utf-8",
        timezone: Timezone = "",
        currency: Currency = "",
        dates: Dates = None,
        decimal: Decimal = None,
        as_json: SummaryAsJson = False,
    ) -> None:
        guess = _options(source, encoding, timezone, currency, dates, decimal)
        _import(kind, file, map_, guess, dry_run=dry_run, resume=resume, yes=yes, as_json=as_json)

    command.__doc__ = meaning
    return command


import_people = _command(
    "people",
    """Import customers: identifiers, traits, consent and its proof; a column for each, one person a row.

    Without --map the columns are guessed from the header (English, German, and the exports of Shopify, WooCommerce,
    Mailchimp and Klaviyo), and written to a file that you can correct. Ten rows are shown; --dry-run judges all of
    them, --yes publishes. A second import of the same rows changes nothing, and no imported person is welcomed.
    """,
)
import_orders = _command(
    "orders",
    """Import orders, one a row or one line item a row: rows of one order that follow each other become one.

    As `import people`: guess, ten rows, --dry-run, --yes. They count in profiles and reports, and start no journey.
    """,
)
import_events = _command(
    "events",
    """Import events, one a row: columns for name, time and person, all others become properties.

    As `import people`: guess, ten rows, --dry-run, --yes. They count in profiles and reports, and start no journey.
    """,
)
import_products = _command(
    "products",
    """Import products, one a row: name, category, address, price of a market, stock of a store or online.

    As `import people`: guess, ten rows, --dry-run, --yes. They are the catalogue from the time of the file on, unless
    a later price or stock is known; nobody is told of a price that has dropped.
    """,
)


def _options(
    source: str, encoding: str, timezone: str, currency: str, dates: Any, decimal: str | None
) -> dict[str, Any]:
    from deploy.settings import settings

    return {
        "source": source,
        "encoding": encoding,
        "zone": timezone or settings().timezone,
        "currency": currency.upper() or settings().currency,
        "date_order": dates,
        "decimal": decimal,
    }


def _import(
    kind: ImportKind,
    path: Path,
    map_: Path | None,
    options: dict[str, Any],
    *,
    dry_run: bool,
    resume: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from deploy.operations.importers.import_rows import ImportFiles

    files = ImportFiles(path)
    with advice():
        mapping_file = map_ or _guessed(kind, files, options)
        mapping = _mapping(mapping_file, options["source"])
        if mapping.kind not in (None, kind):
            fail(f"{mapping_file}: it is the mapping of {mapping.kind}: give --map, or delete it to have one guessed")
        if dry_run:
            dry_run_of(files, mapping, as_json=as_json)
        elif yes or resume:
            publish_file(files, mapping, resume=resume, as_json=as_json)
        else:
            preview_of(files, mapping, f"throughline import {kind} {files.path} --map {mapping_file}")


@contextmanager
def advice() -> Iterator[None]:
    """Turn the errors of files and mappings into exit code 1 and their message."""
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.importers.import_rows import ImportFailedError
    from deploy.operations.importers.mapping_guess import GuessError
    from deploy.operations.importers.row_files import RowFileError
    from deploy.operations.importers.value_forms import AmbiguousFormError

    try:
        yield
    except (DefinitionError, ImportFailedError, GuessError, RowFileError, AmbiguousFormError) as error:
        fail(str(error))


def _guessed(kind: ImportKind, files: ImportFiles, options: dict[str, Any]) -> Path:
    """Write the guess of a mapping, unless there is one from before that may have been corrected."""
    from deploy.operations.importers.mapping_guess import GuessOptions, guess_mapping
    from deploy.operations.importers.row_files import RowFile, fingerprint
    from schemas.intake.file_mappings import FileFormat

    if files.mapping.exists():
        typer.echo(f"mapping: {files.mapping}, from before; delete it to have it guessed again", err=True)
        return files.mapping
    fingerprint(files.path, options["encoding"])
    rows = RowFile(files.path, FileFormat(encoding=options["encoding"]))
    sample = [row.values for row in islice(rows, _SAMPLE_ROWS) if not row.problem]
    guess = GuessOptions(**{**options, "source": options["source"] or "import"})
    write_text(guess_mapping(kind, rows.columns, sample, guess), files.mapping)
    typer.echo(f"mapping: guessed, and written to {files.mapping}", err=True)
    return files.mapping


def _mapping(path: Path, source: str) -> FileMapping:
    from deploy.operations.definition_files import load
    from schemas.intake.file_mappings import FileMapping

    mapping = load(path, FileMapping)
    return mapping.model_copy(update={"source": source}) if source else mapping


def preview_of(files: ImportFiles, mapping: FileMapping, command: str) -> None:
    """Show what comes of the first rows of a file; the command is the one that was given."""
    from deploy.operations.importers.import_rows import judged_rows
    from deploy.settings import settings

    for one in islice(judged_rows(files, mapping, settings()), _PREVIEW_ROWS):
        for event in one.events:
            print(f"line {one.row.line}: {json.dumps(event, ensure_ascii=False)}"[:_MAX_LINE_CHARS])
        for reason in one.reasons:
            print(f"line {one.row.line}: refused: {reason}")
        if one.ignored:
            print(f"line {one.row.line}: left out: {one.ignored}")
    typer.echo(f"nothing is published yet: judge all rows with `{command} --dry-run`, import with --yes", err=True)


def dry_run_of(files: ImportFiles, mapping: FileMapping, *, as_json: bool, more: dict[str, Any] | None = None) -> None:
    """Judge all rows of a file, and print what they would do; `more` is added to the JSON."""
    from deploy.operations.importers.import_rows import DryRun, judged_rows
    from deploy.operations.importers.known_people import KnownPeople
    from deploy.operations.importers.row_files import fingerprint
    from deploy.settings import settings
    from sinks.clickhouse.history import stored_event_ids

    found = DryRun()
    fingerprint(files.path, mapping.file.encoding)

    async def compare(stores: Stores) -> None:
        people = KnownPeople(stores.identities.owners, stores.policy, stores.secret)
        with clickhouse() as client, progress_bar("dry run", files.path.stat().st_size) as progress:
            rows = judged_rows(files, mapping, settings(), progress)
            while step := list(islice(rows, _ROWS_PER_LOOKUP)):
                events = _count(step, found)
                ids = [event["event_id"] for event in events]
                stored = stored_event_ids(client, mapping.source, ids) if ids else set()
                fresh = [event for event in events if event["event_id"] not in stored]
                found.people["unchanged"] += len(events) - len(fresh)
                found.people.update(await people.compare(fresh))

    with_stores(compare)
    _print_dry_run(found, as_json=as_json, more=more or {})


def _count(step: Sequence[JudgedRow], found: DryRun) -> list[dict[str, Any]]:
    """Count judged rows; return their events."""
    for one in step:
        found.rows += 1
        if one.ignored:
            found.ignored[one.ignored] += 1
        if one.reasons:
            found.refused += 1
            if len(found.reasons) < found.MAX_REASONS:
                found.reasons.append((one.row.line, one.reasons[0]))
    return [event for one in step for event in one.events]


def _print_dry_run(found: DryRun, *, as_json: bool, more: dict[str, Any]) -> None:
    if as_json:
        counts = {**more, "rows": found.rows, "events": dict(found.people), "ignored": dict(found.ignored)}
        print_json({**counts, "refused": found.refused, "reasons": found.reasons})
        return
    words = {
        "new": "would make a new person",
        "changed": "would change a known person",
        "merged": "would join people who are two now",
        "unchanged": "are stored already",
        "impersonal": "are of no person",
    }
    print(f"{found.rows:,} rows; of their events")
    for name, meaning in words.items():
        print(f"{found.people[name]:10,} {meaning}")
    for reason, count in found.ignored.most_common():
        print(f"{count:10,} rows are left out: {reason}")
    print(f"{found.refused:10,} rows would be refused")
    for line, reason in found.reasons:
        print(f"  line {line}: {reason}")
    if found.refused > len(found.reasons):
        print(f"  … and {found.refused - len(found.reasons):,} more")


def publish_file(
    files: ImportFiles, mapping: FileMapping, *, resume: bool, as_json: bool, more: dict[str, Any] | None = None
) -> None:
    """Publish the rows of a file, and print what came of them; `more` is added to the JSON."""
    from deploy.operations.importers.import_rows import begin, import_rows
    from deploy.settings import settings
    from sinks.clickhouse.history import stored_event_ids

    state = begin(files, mapping, resume=resume)
    if state.done:
        typer.echo(f"nothing is left to be done: {files.state} says that the import has ended", err=True)
    elif state.rows:
        typer.echo(f"goes on after row {state.rows:,}", err=True)
    if not state.done:
        with clickhouse() as client, progress_bar("import", files.path.stat().st_size) as progress:

            def known(source: str, ids: Sequence[str]) -> set[str]:
                return stored_event_ids(client, source, ids)

            import_rows(files, mapping, settings(), state, known, progress=progress)
    if as_json:
        print_json({**(more or {}), **asdict(state)})
        return
    print(f"{state.rows:,} rows: published {state.published:,} events, {state.unchanged:,} were stored already")
    if state.published:
        by_itself = "by themselves where `throughline up` or the service `backfill` runs, else by the next backfill"
        typer.echo(f"note: segments are dated by when old events happened {by_itself}", err=True)
    if state.mended:
        print(f"{state.mended:,} events have a detail that was mended or set aside: see `context.mended`")
    if state.ignored:
        print(f"{state.ignored:,} rows were left out by the mapping")
    if state.refused:
        print(f"{state.refused:,} rows were refused, with their reasons in {files.refused}")
