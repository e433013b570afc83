"""The Lua scripts, each an atomic step over several keys. The head of a file describes its arguments and its answer."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def source(name: str) -> str:
    """Read `sinks/redis/lua/<name>.lua`."""
    return (files(__name__) / f"{name}.lua").read_text("utf-8")
