"""Lets a user read what views show without the tables that they read.

A view with `SQL SECURITY DEFINER` is run with the rights of its definer, so whoever may read it needs no right on a
table, and what a view leaves out, such as addresses, stays out of reach. The views of analysts, `v_…`, have the user
that migrates as definer. They are altered, not created anew: a migration that replaces a view says nothing about it.
"""

from __future__ import annotations

import re
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

_DENIED = re.compile(r"Code: 497|ACCESS_DENIED")


def define_views(client: Any, database: str, on_cluster: str = "") -> str:
    """Make the user of the client the definer of the views `v_…` that have another one, or none.

    Args:
        client: A clickhouse-connect client of the user that migrates.
        database: The migrated database.
        on_cluster: As in `migrate`: put after every view's name.

    Returns:
        Advice if the server refuses it, else an empty text. Then the views are as they were: they need the rights of
        who reads them on all that they read, and nothing else is different.
    """
    user = str(client.query("SELECT currentUser()").first_row[0])
    name = f"`{user.replace('`', '``')}`"
    views = client.query(
        r"""
        SELECT name FROM system.tables
        WHERE database = {database:String} AND engine = 'View' AND startsWith(name, 'v_')
            AND {user:String} !=
                replaceAll(extract(create_table_query, 'DEFINER = (\\S+) SQL SECURITY DEFINER'), '`', '')
        ORDER BY name
        """,
        parameters={"database": database, "user": user},
    ).result_rows
    try:
        for (view,) in views:
            client.command(f"ALTER TABLE {database}.{view} {on_cluster} MODIFY SQL SECURITY DEFINER DEFINER = {name}")
    except ClickHouseError as error:
        if not _DENIED.search(str(error)):
            raise
        return (
            f"Views need rights on tables: ClickHouse refuses {user} to define them. Let a user with these rights say\n"
            f"  GRANT ALTER VIEW MODIFY SQL SECURITY ON {database}.* TO {name}\n"
            "and run `throughline migrate` again. Until then, a user who may read the views alone gets ACCESS_DENIED."
        )
    return ""
