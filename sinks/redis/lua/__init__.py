"""The Lua scripts that change several keys in one atomic step. Each file's head says what it takes and answers."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def source(name: str) -> str:
    """Read `sinks/redis/lua/<name>.lua`."""
    return (files(__name__) / f"{name}.lua").read_text("utf-8")
