"""Commands that prepare servers, without these servers."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations import provision
from deploy.settings import Settings


@pytest.mark.parametrize(
    ("command", "said"),
    [
        pytest.param(["topics", "apply"], "Kafka at 127.0.0.1:1: ", id="topics"),
        pytest.param(["migrate"], "ClickHouse at 127.0.0.1:1: ", id="tables"),
    ],
)
def test_a_server_that_is_down_is_named_in_two_lines(
    monkeypatch: pytest.MonkeyPatch, command: list[str], said: str
) -> None:
    nowhere = Settings(kafka_bootstrap="127.0.0.1:1", clickhouse_url="http://127.0.0.1:1")
    monkeypatch.setattr("deploy.settings.settings", lambda: nowhere)
    monkeypatch.setattr(provision, "LONGEST_WAIT_S", 0.2)

    result = CliRunner().invoke(app, command)
    lines = result.stderr.splitlines()

    assert (1, 2, True) == (result.exit_code, len(lines), lines[0].startswith(said))
