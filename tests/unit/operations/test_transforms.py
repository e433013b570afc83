"""Transforms of a deployment: which source has which, what a public key may not write, and letters corrected by one."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from pydantic import SecretStr

from deploy.operations.dead_letters import Replayer, ReplayRecord
from deploy.operations.definition_files import DefinitionError
from deploy.operations.sources import collect_for, load_sources
from deploy.operations.transforms import load_transform, load_transforms, transforms_in_force
from deploy.settings import DEFINITIONS, Settings
from processors.intake.segment_calls import Arrival
from schemas.dead_letters import DeadLetter
from schemas.events.touchpoint import read
from schemas.intake.transforms import Transform
from sinks.clickhouse.dead_letters import StoredDeadLetter
from tests.support.builders import touchpoint

RECEIVED = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
NO_TIME = {"name": "no-time", "steps": [{"default": {"occurred_at": "2026-11-22T09:00:00Z"}}]}
WITHOUT_TIME = {name: value for name, value in touchpoint(source="old", event_id="w1").items() if name != "occurred_at"}


def deployment(folder: Path, content: Any, **source: Any) -> Settings:
    """A deployment with one source more, whose transform is given."""
    (folder / "transforms").mkdir()
    (folder / "transforms" / "old.yaml").write_text(yaml.safe_dump(content))
    sources = yaml.safe_load((DEFINITIONS / "sources.yaml").read_text())["sources"]
    sources = {name: one for name, one in sources.items() if "hook" not in one}
    sources["old"] = {"channel": "store", "transform": "old", **source}
    (folder / "sources.yaml").write_text(yaml.safe_dump({"sources": sources}))
    return Settings(definitions_dir=folder, sources_file=folder / "sources.yaml")


def letter(value: Any, stage: str = "identify", topic: str = "touchpoints.web") -> StoredDeadLetter:
    raw = value if isinstance(value, bytes) else orjson.dumps(value)
    return StoredDeadLetter(
        topic=topic, partition=0, offset=7, received_at=RECEIVED, stored_at=RECEIVED, stage=stage, field="",
        reason="missing_field", message="no", key_base64="", value_base64=b64encode(raw).decode(),
    )  # fmt: skip


def outcome(found: StoredDeadLetter, transform: Any) -> list[ReplayRecord] | str:
    return Replayer(Settings(), Transform.model_validate(transform)).records(found)


def corrected(found: StoredDeadLetter, transform: Any) -> ReplayRecord:
    records = outcome(found, transform)
    assert not isinstance(records, str), records
    [record] = records
    return record


def test_a_source_has_the_transform_that_it_names_and_the_shipped_ones_have_none(tmp_path: Path) -> None:
    settings = deployment(tmp_path, NO_TIME)

    assert {"old": "no-time@1"} == {
        name: one.label for name, one in load_transforms(settings, load_sources(settings)).items()
    }
    assert transforms_in_force(Settings(), load_sources(Settings())) is None
    assert "example@1" == load_transform(DEFINITIONS / "transforms" / "example.yaml").label


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({}, False),
        ({"write_keys": "old=k"}, True),
        ({"hook_secrets": "old:a=k"}, True),
        ({"write_keys": "web=k"}, False),
    ],
    ids=["no key", "a write key", "a secret", "the key of another"],
)
def test_the_channel_of_a_source_counts_once_the_source_may_send(
    tmp_path: Path, given: dict[str, str], refused: bool
) -> None:
    settings = deployment(tmp_path, NO_TIME).model_copy(
        update={"channels": ("web", "app", "api"), **{name: SecretStr(value) for name, value in given.items()}}
    )
    if refused:
        with pytest.raises(DefinitionError, match=r"sources.old.channel: 'store' is not in THROUGHLINE_CHANNELS"):
            load_sources(settings)
    else:
        assert "store" == load_sources(settings)["old"].channel


def test_a_file_that_does_not_exist_is_named_with_the_line_that_asks_for_it(tmp_path: Path) -> None:
    settings = deployment(tmp_path, NO_TIME, transform="odl")

    with pytest.raises(DefinitionError, match=r"sources.yaml:\d+:\d+: sources.old.transform: .* did you mean old\?"):
        load_transforms(settings, load_sources(settings))


@pytest.mark.parametrize(
    "step",
    [
        {"set": {"identifiers.user_id": "properties.who"}},
        {"set": {"channel": "properties.who"}},
        {"default": {"consent.marketing": True}},
        {"set": {"event": "properties.name"}},
        {"rename": {"properties.name": "event"}},
    ],
    ids=["identifiers", "channel", "consent", "name by an expression", "name by a rename"],
)
def test_the_transform_of_a_public_key_gives_it_no_rights(tmp_path: Path, step: dict[str, Any]) -> None:
    settings = deployment(tmp_path, {"name": "x", "steps": [step]}, kind="browser")

    with pytest.raises(DefinitionError, match="anybody has the key"):
        load_transforms(settings, load_sources(settings))


@pytest.mark.parametrize("name", [{"value": "Page Viewed"}, {"get": "event", "lookup": {"pv": "Page Viewed"}}])
def test_the_transform_of_a_public_key_may_correct_a_name_to_those_that_it_lists(
    tmp_path: Path, name: dict[str, Any]
) -> None:
    settings = deployment(tmp_path, {"name": "x", "steps": [{"set": {"event": name}}]}, kind="browser")

    assert ["old"] == [*load_transforms(settings, load_sources(settings))]


def test_a_letter_is_corrected_judged_and_published_to_the_topic_of_its_channel() -> None:
    moved = {**NO_TIME, "steps": [*NO_TIME["steps"], {"set": {"channel": {"value": "store"}}}]}
    record = corrected(letter(WITHOUT_TIME), moved)
    event = read(orjson.loads(record.value))

    assert ("touchpoints.store", "w1", ["no-time@1"]) == (
        record.topic, event["event_id"], event["context"]["transformed"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        pytest.param(letter({**WITHOUT_TIME, "event": 5}), "invalid_field: event", id="refused still"),
        pytest.param(letter(b"{nope"), "not_json", id="no JSON"),
        pytest.param(letter(WITHOUT_TIME, "record", "resolved-touchpoints"), "of the stage record", id="another stage"),
    ],
)
def test_what_is_refused_still_stays_a_letter_with_the_reason(found: StoredDeadLetter, reason: str) -> None:
    assert str(outcome(found, NO_TIME)).startswith(reason)


def test_a_letter_of_the_collector_is_corrected_within_the_rights_of_its_source() -> None:
    call = {"userId": "u", "event": "Order Refunded", "messageId": "m", "properties": {"bon": "B1"}}
    settings = Settings()
    sources = load_sources(settings)
    arrival = Arrival(RECEIVED, None, "r-1")
    [refused] = collect_for(settings).calls("server", sources["server"], [(call, "track")], [arrival]).outgoing
    stored = StoredDeadLetter(**DeadLetter.model_validate_json(refused.value).model_dump(), stored_at=RECEIVED)
    rename = {"name": "bon", "steps": [{"rename": {"properties.bon": "properties.order_id"}}]}

    record = corrected(stored, rename)
    assert "B1" == orjson.loads(record.value)["properties"]["order_id"]
    assert str(outcome(stored, NO_TIME)).startswith("missing_field: properties.order_id")


def test_the_deployment_judges_after_its_transforms(tmp_path: Path) -> None:
    settings = deployment(tmp_path, NO_TIME)
    source = load_sources(settings)["old"]
    collected = collect_for(settings).touchpoints("old", source, [WITHOUT_TIME], [Arrival(RECEIVED, None, "1")])

    assert (1, []) == (collected.accepted, collected.refusals)
