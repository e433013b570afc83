"""Logs as JSON: one object a line, whatever a library logs."""

from __future__ import annotations

import json
import logging
import logging.config
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.operations.logs import JsonLines, Lines, logging_config
from deploy.settings import Settings


@pytest.fixture
def as_json() -> Iterator[logging.Handler]:
    """The handler of the root logger, as the setting makes it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logging.config.dictConfig(logging_config(Settings(log_format="json"), "identify"))
    yield root.handlers[0]
    root.handlers[:] = handlers
    root.setLevel(level)


def line(handler: logging.Handler, message: str, *args: Any, **more: Any) -> dict[str, Any]:
    record = logging.getLogger("a.logger").makeRecord("a.logger", logging.WARNING, "f", 1, message, args, **more)
    text = handler.format(record)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_record_is_one_line_with_its_process_and_time(as_json: logging.Handler) -> None:
    found = line(as_json, "event %s\nwas refused: %s", "e1", "☃", exc_info=None)

    assert ("warning", "identify", "a.logger") == (found["level"], found["process"], found["logger"])
    assert "event e1\nwas refused: ☃" == found["message"]
    assert found["at"].endswith("Z")
    assert "error" not in found


def test_an_error_is_in_the_same_line(as_json: logging.Handler) -> None:
    try:
        raise ValueError("wrong")
    except ValueError as error:
        found = line(as_json, "it failed", exc_info=(ValueError, error, error.__traceback__))

    assert "ValueError" == found["error"]
    assert "raise ValueError" in found["stack"]


def test_a_terminal_gets_text() -> None:
    config = logging_config(Settings(), "collector")

    assert "[%(asctime)s] %(levelname)s %(message)s" == config["formatters"]["line"]["format"]


@pytest.mark.parametrize("formatter", [JsonLines("deliver"), Lines("%(message)s")], ids=["json", "text"])
def test_an_error_that_quotes_an_address_keeps_it_out_of_the_log(formatter: logging.Formatter) -> None:
    error = ValueError("550 5.1.1 <ada.lovelace+x@shop.example>: no such user")
    message = "message 42 to bob@shop.co.uk by smtp://user:secret@mail.shop.example:587"
    said = formatter.format(logging.LogRecord("a", logging.ERROR, "", 1, message, (), (ValueError, error, None)))

    assert [] == [one for one in ("ada", "lovelace", "bob", "secret") if one in said]
    assert [True] * 3 == [one in said for one in ("550 5.1.1", "message 42", "@mail.shop.example:587")]
