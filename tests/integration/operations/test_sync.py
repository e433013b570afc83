"""A sync publishes the rows of a warehouse that have changed, once, and guesses nothing about those that are gone."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from typer.testing import CliRunner, Result

from deploy.cli.main import app
from deploy.connections.clickhouse import clickhouse_client
from deploy.operations.provision import apply_topics
from deploy.settings import Settings
from schemas.intake.syncs import SyncDefinition
from tests.integration.operations.test_import_files import happened, published

pytestmark = pytest.mark.integration

Member = tuple[str, str | None, str, int]
ADA, BOB = ("7", "ada@shop.example", "gold", 120), ("8", "bob@shop.example", "silver", 5)


class Shop:
    """A deployment with a warehouse that has a table of members.

    Args:
        settings: Of the deployment.
        folder: For the definition, and for the warehouse if it is SQLite.
        database: As in the definition.
    """

    def __init__(self, settings: Settings, folder: Path, database: str) -> None:
        self.settings, self._folder, self._database = settings, folder, database
        self.definition = folder / "members.yaml"
        self._seen: set[str] = set()
        table = f"{settings.clickhouse_database}.members" if database == "clickhouse" else "members"
        self._query = f"SELECT id, email, tier, points FROM {table} ORDER BY email, id"
        self.define()

    def define(self, **changes: Any) -> None:
        """Write the definition."""
        definition = {
            "name": "members", "source": "warehouse", "database": self._database, "query": self._query,
            "key": "user_id", "identifiers": {"user_id": "id", "email": "email"},
            "traits": {"tier": "tier", "points": "points"},
            **changes,
        }  # fmt: skip
        self.definition.write_text(json.dumps(definition), "utf-8")

    def has(self, *members: Member) -> None:
        """Let the warehouse have these members, and no others."""
        if self._database == "clickhouse":
            client = clickhouse_client(self.settings)
            client.command("DROP TABLE IF EXISTS members SYNC")
            client.command(
                "CREATE TABLE members (id String, email Nullable(String), tier String, points UInt32)"
                " ENGINE = MergeTree ORDER BY id"
            )
            client.insert("members", members, column_names=["id", "email", "tier", "points"])
            client.close()
            return
        with sqlite3.connect(self._folder / "crm.db") as crm:
            crm.execute("DROP TABLE IF EXISTS members")
            crm.execute("CREATE TABLE members (id TEXT, email TEXT, tier TEXT, points INTEGER)")
            crm.executemany("INSERT INTO members VALUES (?, ?, ?, ?)", members)
        crm.close()

    def run(self, *options: str) -> dict[str, Any]:
        """Run the sync; return what it says."""
        ran = run(self.definition, *options, "--json")
        assert 0 == ran.exit_code, ran.output
        said: dict[str, Any] = json.loads(ran.stdout)
        return said

    def new_events(self) -> list[dict[str, Any]]:
        """Return the events that were published since the last call, each once, and let them be stored."""
        events = {one["event_id"]: one for one in published(self.settings) if one["event_id"] not in self._seen}
        self._seen |= set(events)
        happened(self.settings, list(events.values()))
        return list(events.values())


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["sync", *map(str, words)])


@pytest.fixture(params=["clickhouse", "crm"])
def shop(request: pytest.FixtureRequest, stack: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shop:
    settings = stack.model_copy(update={"sync_databases": SecretStr(f"crm=sqlite:///{tmp_path}/crm.db")})
    monkeypatch.setattr("deploy.settings.settings", lambda: settings)
    monkeypatch.setenv("THROUGHLINE_HOME", str(tmp_path / "home"))
    apply_topics(settings)
    happened(settings, [])
    return Shop(settings, tmp_path, request.param)


def test_only_rows_that_have_changed_are_published_and_once(shop: Shop, tmp_path: Path) -> None:
    shop.has(ADA, BOB)
    planned = shop.run("--dry-run")
    nothing = shop.new_events()
    first = shop.run("--yes")
    repeated = shop.run("--yes")  # before the first run is stored: the same ids
    events = shop.new_events()
    again = shop.run("--yes")
    shop.has((*ADA[:3], 130), ("9", None, "silver", 0), ("9", None, "gold", 0), ("", "x@shop.example", "gold", 1))
    later = shop.run("--yes")
    changed = shop.new_events()
    shop.has(ADA)
    back = shop.run("--yes")
    changed_back = shop.new_events()

    assert (2, {"new": 2}, []) == (
        planned["query"]["changed"],
        {k: v for k, v in planned["events"].items() if v},
        nothing,
    )
    assert [2, 2, 0] == [one["published"] for one in (first, repeated, again)]
    assert (2, 2, 0) == (len(events), again["query"]["unchanged"], again["query"]["missing"])
    ada = next(one for one in events if one["traits"]["tier"] == "gold")
    assert ("Identify", "warehouse", {"tier": "gold", "points": 120}) == (ada["event"], ada["source"], ada["traits"])
    assert {("user_id", "7"), ("email", "ada@shop.example")} == {
        (one["type"], one["value"]) for one in ada["identifiers"]
    }
    assert ("members", True) == (ada["context"]["sync"]["name"], ada["context"]["historical"])
    assert (4, 2, 1, 1, 1) == tuple(
        later["query"][key] for key in ("rows", "changed", "repeated", "without_key", "missing")
    )
    assert {130, 0} == {one["traits"]["points"] for one in changed}
    assert (1, [120]) == (back["published"], [one["traits"]["points"] for one in changed_back])
    assert ada["event_id"] != changed_back[0]["event_id"]
    assert [] == [one for one in events if "ada" in one["event_id"]]
    assert [] == list((tmp_path / "home/syncs").glob("*.jsonl"))


def test_what_cannot_be_synced_is_said(shop: Shop) -> None:
    def said() -> str:
        ran = run(shop.definition, "--yes")
        assert 1 == ran.exit_code
        return ran.stderr

    shop.has(ADA)
    shop.define(query="SELECT nothing FROM nowhere")
    refused = said()
    assert ("refuses the query" in refused, "http" in refused) == (True, False)
    shop.define(query="SELECT 'x' AS id, 'y' AS email, 1 AS points")
    assert "the query has no column tier: it has id, email, points" in said()
    shop.define(database="elsewhere")
    assert "THROUGHLINE_SYNC_DATABASES has no elsewhere=URL" in said()
    shop.define(key="crm_id")
    assert "crm_id is none of the identifiers user_id, email" in said()
    assert [] == shop.new_events()


def test_the_shipped_example_is_a_definition() -> None:
    import yaml

    example = yaml.safe_load((Path(__file__).parents[3] / "deploy/examples/sync.yaml").read_text("utf-8"))

    assert "user_id" == SyncDefinition.model_validate(example).key
    with pytest.raises(ValidationError, match="name of a column that a sync adds"):
        SyncDefinition.model_validate({**example, "traits": {"x": "_sync_id"}})
