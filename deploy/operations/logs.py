"""Logs of workers, the collector and the console: lines for a terminal, or one JSON object a line for a log store.

A log line names events and people by their ids at most, never by names or addresses. What a library says is passed on
as it is, and so is the text of an error, but for e-mail addresses: an error may quote what it could not read.
"""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

from schemas.time import text_of_ms

if TYPE_CHECKING:
    from deploy.settings import Settings


_ADDRESS = re.compile(r"[\w.+%'-]{1,64}@(?=[\w-]+(?:\.[\w-]+)+)")


def without_addresses(text: str) -> str:
    """Return a text in which e-mail addresses have `…` in place of the part before the @."""
    return _ADDRESS.sub("…@", text) if "@" in text else text


class Lines(logging.Formatter):
    """Writes a record as lines for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and those of an error's stack."""
        return without_addresses(super().format(record))


class JsonLines(logging.Formatter):
    """Writes a record as a JSON object in one line: `at`, `level`, `process`, `logger`, `message`, `error`.

    Args:
        process: Which process of the product it is: `identify`, `collector`, …
    """

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; what is no text of JSON's is written as Python shows it."""
        line: dict[str, Any] = {
            "at": text_of_ms(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": without_addresses(record.getMessage()),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line |= {
                "error": record.exc_info[0].__name__,
                "stack": without_addresses(self.formatException(record.exc_info)),
            }
        return json.dumps(line, default=repr)


def logging_config(settings: Settings, process: str) -> dict[str, Any]:
    """Return the configuration of a process' logs, for `logging.config.dictConfig`."""
    as_text = {"class": f"{__name__}.{Lines.__name__}", "format": "[%(asctime)s] %(levelname)s %(message)s"}
    as_json = {"()": JsonLines, "process": process}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": as_json if settings.log_format == "json" else as_text},
        "handlers": {"line": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": settings.log_level, "handlers": ["line"]},
    }
