"""Reads the scripts of `sinks/redis/lua`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def source(name: str) -> str:
    """Read `sinks/redis/lua/<name>.lua`."""
    return (files("sinks.redis") / "lua" / f"{name}.lua").read_text("utf-8")
