"""Reads the scripts of `sinks/lua`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def source(name: str) -> str:
    """Read `sinks/lua/<name>.lua`."""
    return (files("sinks") / "lua" / f"{name}.lua").read_text("utf-8")
