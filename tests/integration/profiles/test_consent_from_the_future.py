"""A consent dated 2099 is withdrawn by a later "no", through every way into the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.settings import Settings
from tests.support.builders import touchpoint
from tests.support.collector import RunningCollector, collector
from tests.support.pipeline import Pipeline
from tests.support.stack import Addresses, corner

pytestmark = pytest.mark.integration


class Entrances(Pipeline):
    """A pipeline with a collector beside it."""

    service: RunningCollector

    def through_kafka(self, event: dict[str, Any]) -> None:
        self.send("store", orjson.dumps(event), "key")
        self.flush()

    def through_publish(self, event: dict[str, Any]) -> None:
        assert 1 == self.publish_lines([orjson.dumps(event)])

    def through_the_collector(self, event: dict[str, Any]) -> None:
        assert 200 == self.service.post("/v1/touchpoints", event).status


@pytest.fixture(scope="module")
def entrances(servers: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entrances]:
    home = tmp_path_factory.mktemp("entrances")
    with corner(servers) as settings, Entrances(settings, home) as pipeline, collector(settings, home) as service:
        pipeline.service = service
        yield pipeline


@pytest.mark.parametrize(
    "entrance", [Entrances.through_kafka, Entrances.through_publish, Entrances.through_the_collector]
)
def test_a_later_no_wins(
    entrances: Entrances, entrance: Callable[[Entrances, dict[str, Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = entrance.__name__

    def answer(yes: bool, occurred_at: str) -> dict[str, Any]:
        said = {"marketing": yes, "channels": {"email": yes}}
        return touchpoint(
            "Consent Updated", "store", identifiers={"user_id": name}, occurred_at=occurred_at, consent=said
        )

    yes = answer(True, "2099-01-01T00:00:00.000Z")
    entrance(entrances, yes)
    entrances.drain()
    assert (True, True) == consent(entrances.settings, monkeypatch, name)

    no = answer(False, datetime.now(UTC).isoformat(timespec="milliseconds"))
    entrance(entrances, no)
    entrances.drain()
    assert (False, False) == consent(entrances.settings, monkeypatch, name)

    kept = "JSONExtractString(context, 'original_timestamp')"
    ids = f"event_id IN ('{yes['event_id']}', '{no['event_id']}')"
    rows = entrances.rows(
        f"SELECT occurred_at <= received_at, {kept} FROM touchpoints FINAL WHERE {ids} ORDER BY received_at"
    )
    assert [(1, "2099-01-01T00:00:00.000Z"), (1, "")] == [tuple(row) for row in rows]


def consent(settings: Settings, patch: pytest.MonkeyPatch, user: str) -> tuple[bool, bool]:
    patch.setattr("deploy.settings.settings", lambda: settings)
    outcome = CliRunner().invoke(app, ["profile", "show", f"user_id:{user}", "--json"])
    assert 0 == outcome.exit_code, outcome.stderr
    found = orjson.loads(outcome.stdout)["consent"]
    return found["purposes"]["marketing"]["granted"], found["channels"]["email"]["granted"]
