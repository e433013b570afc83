"""The commands `backup` and `restore`."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli.acts import noted_act
from deploy.cli.arguments import AsJson
from deploy.cli.output import fail, print_json
from deploy.cli.stores import exit_on_store_error

Where = Annotated[
    str,
    typer.Argument(
        metavar="PATH", help="Below `backups.allowed_path` of ClickHouse, or S3(…), Disk(…) as ClickHouse writes it."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(where: Where, as_json: AsJson = False) -> None:
    """Back up the deployment while it runs: ClickHouse, with the published definitions, and the recorder's place.

    ClickHouse writes it on its own machine or to an object store. The identity secret is not in it: keep it elsewhere.
    """
    from deploy.operations.backup import NotRestoredError, back_up
    from deploy.settings import settings
    from schemas.time import text_of_time

    with exit_on_store_error(), noted_act("backup", "all"):
        try:
            note = back_up(settings(), where)
        except NotRestoredError as error:
            fail(str(error))
    if as_json:
        print_json({"made_at": text_of_time(note.made_at), "events": note.events, "partitions": len(note.offsets)})
    else:
        print(f"{note.events:,} events and everything else of {text_of_time(note.made_at)} are in the backup")


def restore(
    where: Where,
    replace: Annotated[bool, typer.Option("--replace", help="Delete the events that the database has.")] = False,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into ClickHouse; the recorder then reads again what Kafka has since. Stop all workers before.

    Afterwards start `record`, alone, wait until `throughline status` shows no lag of it, and where Redis was lost run
    `throughline rebuild`. Nothing is decided or sent anew. Who was erased after the backup has to be erased again.
    """
    from deploy.operations.backup import NotRestoredError
    from deploy.operations.backup import restore as restore_backup
    from deploy.settings import settings
    from schemas.time import text_of_time

    with exit_on_store_error():
        try:
            found = restore_backup(
                settings(), where, replace=replace, progress=lambda line: typer.echo(f"  {line}", err=True)
            )
        except NotRestoredError as error:
            fail(str(error))
    with noted_act("restore", "all", detail=f"of {text_of_time(found.note.made_at)}"):
        pass
    if as_json:
        print_json(
            {
                "made_at": text_of_time(found.note.made_at),
                "events": found.events,
                "migrations": found.migrations,
                "unread": found.unread,
                "lost": found.lost,
                "snapshots": found.snapshots,
            }
        )
        return
    print(f"{found.events:,} events of {text_of_time(found.note.made_at)} are back, {found.unread:,} records follow")
    if (fewer := found.note.events - found.events) > 0:
        print(f"{fewer:,} rows that were counted when it was begun are not among them: stored twice, erased or expired")
    if found.lost:
        print(f"{found.lost:,} records that came after the backup are gone: Kafka does not have them any more")
    if found.snapshots:
        print(f"{found.snapshots:,} live profiles will be stored again")
    else:
        print("Redis has no people: start `throughline worker record`, alone, then `throughline rebuild`")
    print(f"Erase again who was erased since {text_of_time(found.note.made_at)}: the receipts name them")
