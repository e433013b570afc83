"""Values and errors of other databases, as a sync takes them."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from deploy.operations.warehouse_rows import WarehouseError, warehouse_rows
from deploy.settings import Settings
from schemas.intake.syncs import SyncDefinition

pytest.importorskip("sqlalchemy")


def rows(url: str, query: str) -> list[dict[str, Any]]:
    definition = SyncDefinition.model_validate(
        {
            "name": "members", "source": "warehouse", "database": "crm", "query": query,
            "key": "user_id", "identifiers": {"user_id": "id"}, "traits": {"points": "points"},
        }
    )  # fmt: skip
    with warehouse_rows(definition, Settings(sync_databases=SecretStr(f"crm={url}"))) as batches:
        return [row for batch in batches for row in batch]


def test_numbers_that_json_has_not_are_text_or_nothing(tmp_path: Path) -> None:
    sqlite3.register_converter("whole", int)
    sqlite3.register_converter("exact", lambda text: Decimal(text.decode()))
    found = rows(
        f"sqlite:///{tmp_path}/crm.db?detect_types={sqlite3.PARSE_COLNAMES}",
        """SELECT '18446744073709551616' AS "id [whole]", '18446744073709551615' AS "points [whole]",
        'NaN' AS "share [exact]", '-Infinity' AS "least [exact]", '1.10' AS "price [exact]" """,
    )

    assert [
        {"id": "18446744073709551616", "points": 18446744073709551615, "share": None, "least": None, "price": "1.10"}
    ] == found


@pytest.mark.parametrize("url", ["postgresql://ada:s3@cret:pass@crm/shop", "postgresql://ada@crm:port/shop"])
def test_a_url_with_a_wrong_port_is_said_without_its_password(url: str) -> None:
    with pytest.raises(WarehouseError, match="the URL of crm is not of the form dialect") as refused:
        rows(url, "SELECT 1")

    assert "pass" not in str(refused.value)
