"""A database that tests of views share: creating a hundred tables and views takes longer than most of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stack import Addresses, corner
from tests.support.warehouse import Warehouse, warehouse


@pytest.fixture(scope="session")
def one_database(servers: Addresses) -> Iterator[Warehouse]:
    with corner(servers) as settings, warehouse(settings) as found:
        yield found


@pytest.fixture
def tables(one_database: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """Empty tables with all views, which commands find too."""
    monkeypatch.setattr("deploy.settings.settings", lambda: one_database.settings)
    empty(one_database)
    return one_database


def empty(database: Warehouse) -> None:
    """Remove all rows."""
    filled = database.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        " AND name != 'schema_migrations' AND total_rows > 0"
    )
    for (name,) in filled:
        database.client.command(f"TRUNCATE TABLE {name} SYNC")
