"""Lets a user read what views show without the columns with addresses that they read.

A view with `SQL SECURITY DEFINER` is run with the rights of its definer, so whoever may read it needs no right on what
it reads, and what it leaves out, such as addresses, stays out of reach. The views that read the properties or the
context of events have the user that migrates as definer. Views are altered, not created anew: a migration that replaces
one says nothing about it. All other views have none, since a view inside a view is then planned twice as slowly.
"""

from __future__ import annotations

import re
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

DEFINED_VIEWS = (
    "message_events",
    "v_channel_reachability",
    "v_coupons",
    "v_event_catalogue",
    "v_event_properties",
    "v_experiment_people",
    "v_messages",
    "v_plan_violations",
    "v_points",
    "v_reconciliation",
    "v_scores",
    "v_sessions",
    "v_till_sums",
    "v_touchpoints",
)
"""The views that read columns which analysts may not."""

_DENIED = re.compile(r"Code: 497|ACCESS_DENIED")


def define_views(client: Any, database: str, on_cluster: str = "") -> str:
    """Make the user of the client the definer of `DEFINED_VIEWS`, where they have another one, or none.

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
        WHERE database = {database:String} AND engine = 'View' AND name IN {views:Array(String)}
            AND {user:String} !=
                replaceAll(extract(create_table_query, 'DEFINER = (\\S+) SQL SECURITY DEFINER'), '`', '')
        ORDER BY name
        """,
        parameters={"database": database, "user": user, "views": list(DEFINED_VIEWS)},
    ).result_rows
    try:
        for (view,) in views:
            client.command(f"ALTER TABLE {database}.{view} {on_cluster} MODIFY SQL SECURITY DEFINER DEFINER = {name}")
    except ClickHouseError as error:
        if not _DENIED.search(str(error)):
            raise
        return (
            f"Views need rights on columns: ClickHouse refuses {user} to define them. Let a user with rights say\n"
            f"  GRANT ALTER VIEW MODIFY SQL SECURITY ON {database}.* TO {name}\n"
            "and run `throughline migrate` again. Until then, who has no rights on these columns gets ACCESS_DENIED."
        )
    return ""
