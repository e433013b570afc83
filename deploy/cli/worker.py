"""The command `worker`: runs one role, or all that every deployment has on one machine."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli.output import fail


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("worker")(worker)


def worker(
    role: Annotated[str, typer.Argument(help="identify, profile, record, deliver, export, or all.")],
) -> None:
    """Run a worker until it is stopped; start more of a role to share its work."""
    from deploy.operations.roles import ROLES
    from deploy.settings import settings

    if role == "all":
        from deploy.local.supervisor import run_workers

        run_workers(settings())
    elif role in ROLES:
        from deploy.operations.definition_files import DefinitionError
        from deploy.operations.lost_people import check_layout, check_people
        from deploy.operations.provision import wait_for_schema
        from deploy.operations.reachable_kafka import wait_for_kafka
        from deploy.operations.retention import KeptTooLongError, check_retention
        from deploy.workers.app import run
        from sinks.clickhouse.migrate import SchemaMismatchError
        from sinks.redis.layout import UnmigratedStateError
        from sinks.redis.people import LostPeopleError

        try:
            wait_for_kafka(role, settings())
            if role in ("identify", "profile"):
                check_retention(settings())
            check_layout(settings())
            if role == "record":
                wait_for_schema(settings())
            else:  # a rebuild needs the recorder
                check_people(settings())
            run(role, settings())
        except (
            DefinitionError,
            KeptTooLongError,
            LostPeopleError,
            SchemaMismatchError,
            UnmigratedStateError,
        ) as error:
            fail(str(error))
    elif role == "export":
        from deploy.operations.definition_files import DefinitionError
        from deploy.operations.reachable_kafka import wait_for_kafka
        from deploy.workers.export import run_export

        try:
            wait_for_kafka("export", settings())
            run_export(settings())
        except DefinitionError as error:
            fail(str(error))
    else:
        raise typer.BadParameter(f"{role!r}: expected {', '.join(ROLES)}, export or all")
