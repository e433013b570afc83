"""Connections to databases of others, by SQLAlchemy, which is an extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def sql_connection(url: str, rows_at_once: int) -> Iterator[Any]:
    """Open a connection of SQLAlchemy whose results are streamed; whatever was done with it is rolled back.

    Args:
        url: `dialect+driver://user:password@host/database`.
        rows_at_once: The most rows that are held in memory.

    Raises:
        ModuleNotFoundError: SQLAlchemy or the driver is not installed.
        SQLAlchemyError: The URL is none, or no server answers there.
    """
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        address = make_url(url)
    except ValueError:  # what it takes for a port may be the rest of a password
        raise ArgumentError("the port of the URL is no number") from None
    engine = create_engine(address)
    try:
        with engine.connect() as connection:
            yield connection.execution_options(stream_results=True, max_row_buffer=rows_at_once)
            connection.rollback()
    finally:
        engine.dispose()
