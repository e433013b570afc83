"""What each role may do: complete, and the same wherever it is written down."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

from deploy.operations.permissions import GRANTEES, clickhouse_grants, redis_keys
from deploy.settings import Settings
from tests.unit.repository.test_redis_keys import named_in_table

ROOT = Path(__file__).parents[3]
SETTINGS = Settings(redis_namespace="shop", clickhouse_database="throughline")
OF_OPERATORS = {"migration", "replay:anchors", "replay:free", "segments:backfill"}
"""Keys of migrations, rebuilds and backfills, which are commands."""


def test_every_redis_key_is_some_workers() -> None:
    workers = [role for role in GRANTEES if role != "operator"]
    patterns = [pattern for role in workers for keys in redis_keys(role, SETTINGS) for pattern in keys]
    spaces = "{shop}:", "{shop:007}:"
    keys = {name: [f"{space}{name}{rest}" for space in spaces for rest in ("", "x")] for name in named_in_table()}

    assert OF_OPERATORS == {
        name for name, written in keys.items() if not any(fnmatch(one, two) for one in written for two in patterns)
    }


def test_the_analysts_file_has_the_grants_that_are_printed() -> None:
    text = (ROOT / "deploy" / "clickhouse" / "analyst.xml").read_text("utf-8")
    in_file = re.findall(r"<query>(.*?)</query>", text)

    assert in_file == [
        re.sub(r" (?:TO|FROM) `analyst`$", "", one) for one in clickhouse_grants("analyst", SETTINGS, "analyst")
    ]
