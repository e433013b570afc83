"""The AsyncAPI document is valid, complete, and its schemas say of an event what the published one says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator  # type: ignore[import-untyped]
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.asyncapi import document, text
from deploy.settings import Settings
from processors.identity.stage import Resolved, _write
from schemas.dead_letters import Reason, dead_letter
from schemas.identity.resolution import IdentityChange, Resolution
from schemas.outcomes import Ok
from schemas.records import UnloggedRecord
from schemas.topics import topics
from tests.support.builders import order, touchpoint

OFFICIAL = Path(__file__).parents[2] / "support/asyncapi-3.0.0.schema.json.gz"
"""The schema of AsyncAPI 3.0 documents, of the npm package @asyncapi/specs 6.11.1, Apache-2.0."""

SETTINGS = Settings(topic_prefix="eu.", kafka_bootstrap="kafka-a:9092, kafka-b:9092", channels=("web", "store"))
DOCUMENT = document(SETTINGS)


def validator(name: str) -> Any:
    """Validates what a schema of the document describes."""
    resource = Resource.from_contents(json.loads(json.dumps(DOCUMENT)), default_specification=DRAFT7)
    registry: Registry[Any] = Registry().with_resource("urn:document", resource)
    return Draft7Validator({"$ref": f"urn:document#/components/schemas/{name}"}, registry=registry)


def test_the_document_is_valid_by_asyncapis_own_schema() -> None:
    official = json.loads(gzip.decompress(OFFICIAL.read_bytes()))
    errors = [f"{'/'.join(map(str, one.absolute_path))}: {one.message[:200]}" for one in (
        Draft7Validator(official).iter_errors(json.loads(text(SETTINGS)))
    )]  # fmt: skip

    assert [] == errors
    assert not Draft7Validator(official).is_valid({**DOCUMENT, "channel": {}})


def test_every_reference_leads_somewhere() -> None:
    def references(node: Any) -> Any:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for inner in node.values():
                yield from references(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from references(inner)

    def is_there(reference: str) -> bool:
        node: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            if part not in node:
                return False
            node = node[part]
        return True

    found = set(references(DOCUMENT))
    assert len(found) > 30
    assert [] == sorted(one for one in found if not (one.startswith("#/") and is_there(one)))


def test_every_topic_of_the_deployment_is_a_channel_that_is_received_or_sent() -> None:
    names = {topic.name for topic in topics(SETTINGS.channels)}
    received = {"touchpoints.web", "touchpoints.store", "collector"}
    operations = DOCUMENT["operations"].values()

    assert names | {"collector"} == DOCUMENT["channels"].keys()
    assert {"eu.touchpoints.web", "eu.dead-letters"} < {one["address"] for one in DOCUMENT["channels"].values()}
    assert received == {
        one["channel"]["$ref"].removeprefix("#/channels/") for one in operations if one["action"] == "receive"
    }
    assert {"kafka-a:9092", "kafka-b:9092", "127.0.0.1:8088"} == {one["host"] for one in DOCUMENT["servers"].values()}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (order("o1"), True),
        (touchpoint("Order Completed", properties={}), False),
        (touchpoint("Product Viewed", properties={"price": "1,5"}), False),
        (touchpoint("Email Opened", properties=None, campaign=None), True),
        ({**touchpoint(), "colour": "red"}, False),
    ],
)
def test_the_embedded_schema_of_touchpoints_accepts_and_refuses_as_the_published_one(
    event: Any, expected: bool
) -> None:
    assert expected == validator("Touchpoint").is_valid(event)


def test_what_the_pipeline_writes_is_as_the_document_says() -> None:
    record = UnloggedRecord("touchpoints.web", 0, 1, 1_795_341_600_000, b"", b"{}")
    letter = json.loads(dead_letter(record, "identify", Reason.NOT_JSON, "why").value)
    event: Any = {**touchpoint(), "identifiers": [], "source": "shop"}
    resolved = _write(Resolved(record, event, [], Resolution("1", None, None)))
    change = IdentityChange(1, "bind", "p", anchors=(("a", "email"),))._asdict()
    assert isinstance(resolved, Ok)

    for name, value in (
        ("DeadLetter", letter), ("ResolvedTouchpoint", json.loads(resolved.value.value)),
        ("IdentityChange", json.loads(json.dumps(change))),
    ):  # fmt: skip
        assert [] == [one.message for one in validator(name).iter_errors(value)], name
    assert not validator("IdentityChange").is_valid({**change, "kind": "guess"})


def test_the_command_prints_the_document_or_writes_it(tmp_path: Path) -> None:
    out = tmp_path / "asyncapi.json"
    printed = CliRunner().invoke(app, ["schema", "export", "--asyncapi"])
    written = CliRunner().invoke(app, ["schema", "export", "--asyncapi", "--out", str(out)])

    assert (0, 0, printed.stdout) == (printed.exit_code, written.exit_code, out.read_text("utf-8"))
    assert "3.0.0" == json.loads(printed.stdout)["asyncapi"]
