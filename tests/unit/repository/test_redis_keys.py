"""The key table of `sinks/redis/README.md` has every key that the Redis stores and their scripts name, and no other."""

from __future__ import annotations

import re
from pathlib import Path

STORES = Path(__file__).parents[3] / "sinks" / "redis"
IN_LUA = re.compile(r"prefix \.\. '([a-z_:]+)'")
IN_PYTHON = re.compile(
    r"\{[^{}]*(?:prefix|prefixes\[shard\]|_shared)(?:\([^{}]*\))?\}([a-z_:]+)|\{\{\{namespace\}\}\}:([a-z_:]+)"
)
IN_TABLE = re.compile(r"`([a-z_:]+?)(?:<[^`]*)?`")


def named_in_code() -> set[str]:
    """Return the constant first part of every key."""
    lua = {name for file in (STORES / "lua").glob("*.lua") for name in IN_LUA.findall(file.read_text("utf-8"))}
    python = {
        first or second for file in STORES.glob("*.py") for first, second in IN_PYTHON.findall(file.read_text("utf-8"))
    }
    return lua | python


def named_in_table() -> set[str]:
    """Return the constant first part of every key in the first column of the table."""
    rows = re.findall(r"^\| (`.*?) \|", (STORES / "README.md").read_text("utf-8"), re.MULTILINE)
    return {name for row in rows for name in IN_TABLE.findall(row)}


def test_the_key_table_is_complete() -> None:
    assert named_in_code() == named_in_table()
