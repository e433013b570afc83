"""The command `permissions`: what each role needs of the three servers."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from deploy.cli.arguments import AsJson


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("permissions")(permissions)


def permissions(
    role: Annotated[
        str, typer.Option("--role", help="collector, identify, profile, record, deliver, operator or analyst.")
    ],
    user: Annotated[str, typer.Option("--user", help="Name of the user; by default that of the role.")] = "",
    as_json: AsJson = False,
) -> None:
    """Print the least rights that a role needs: Kafka ACLs, an ACL user of Redis or Valkey, ClickHouse grants.

    Topics, keys and the database have the names of the settings. Put a password in place of PASSWORD.
    """
    from deploy.operations.permissions import (
        GRANTEES,
        clickhouse_grants,
        kafka_commands,
        kafka_permissions,
        redis_rules,
    )
    from deploy.settings import settings

    if role not in GRANTEES:
        raise typer.BadParameter(f"{role!r}: expected {', '.join(GRANTEES)}", param_hint="--role")
    user = user or role
    kafka = kafka_commands(kafka_permissions(role, settings()), user)
    redis, clickhouse = redis_rules(role, settings()), clickhouse_grants(role, settings(), user)
    if as_json:
        print(json.dumps({"kafka": kafka, "redis": redis, "clickhouse": clickhouse}, indent=2))
        return
    print(f"# Kafka: for Apache Kafka's tool, with --bootstrap-server and --command-config; {user} is the principal")
    print("\n".join(kafka) or "# no right needed")
    print("\n# Redis or Valkey")
    print(f"ACL SETUSER {user} on '>PASSWORD' {' '.join(map(_quoted, redis))}" if redis else "# no right needed")
    print("\n-- ClickHouse")
    if clickhouse:
        clickhouse = [f"CREATE USER IF NOT EXISTS `{user}` IDENTIFIED BY 'PASSWORD'", *clickhouse]
    print("\n".join(f"{statement};" for statement in clickhouse) or "-- no right needed")


def _quoted(rule: str) -> str:
    return f"'{rule}'" if "~" in rule else rule
