"""Logs of workers, the collector and the console: lines for a terminal, or one JSON object a line for a log store.

A log line names events and people by their ids at most, never by names or addresses. What a library says is passed on
as it is, and so is the text of an error.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from schemas.time import text_of_ms

if TYPE_CHECKING:
    from deploy.settings import Settings


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
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line |= {"error": record.exc_info[0].__name__, "stack": self.formatException(record.exc_info)}
        return json.dumps(line, default=repr)


def logging_config(settings: Settings, process: str) -> dict[str, Any]:
    """Return the configuration of a process' logs, for `logging.config.dictConfig`."""
    as_text = {"format": "[%(asctime)s] %(levelname)s %(message)s"}
    as_json = {"()": JsonLines, "process": process}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": as_json if settings.log_format == "json" else as_text},
        "handlers": {"line": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": settings.log_level, "handlers": ["line"]},
    }
