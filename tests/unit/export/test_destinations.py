"""The files of destinations: the shipped ones load, and an error names the place and what was meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from deploy.operations.definition_files import DefinitionError
from deploy.operations.destinations import adapter_of, destination_secrets, load_destinations
from deploy.operations.permissions import kafka_permissions
from deploy.settings import DEFINITIONS, Settings

GOOD: dict[str, Any] = {
    "destination": "meta",
    "description": "d",
    "through": "meta",
    "conversions": [{"goal": "purchase", "event": "Purchase"}],
    "meta": {"pixel_id": 12},
}


def errors(tmp_path: Path, **changes: Any) -> str:
    file = tmp_path / "meta.yaml"
    file.write_text(yaml.safe_dump({name: one for name, one in (GOOD | changes).items() if one is not None}))
    with pytest.raises(DefinitionError) as error:
        load_destinations(Settings(), [file])
    return str(error.value)


def test_the_shipped_destinations_load_and_none_of_them_is_served() -> None:
    found = load_destinations(Settings(definitions_dir=DEFINITIONS))

    assert {"meta", "google", "tiktok", "microsoft", "webhook"} == {one.through for one in found}
    assert [] == [one.name for one in found if one.enabled]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"meta": {"pixel": 1}}, "did you mean pixel_id?", id="a misspelt name"),
        pytest.param({"meta": None}, "`meta: {pixel_id:", id="no section, with an example"),
        pytest.param({"through": "facebook"}, "meta", id="an unknown network"),
        pytest.param({"tiktok": {"pixel_code": "C"}}, "tiktok: belongs to another", id="two sections"),
        pytest.param({"max_age": "90d"}, "of the last 62 days at most", id="older than the network takes"),
        pytest.param({"max_age": 7}, "7 has no unit", id="a number without a unit"),
        pytest.param({"conversions": [{"goal": "purchas", "event": "P"}]}, "did you mean purchase?", id="a goal"),
        pytest.param({"conversions": []}, "conversions", id="no conversion"),
        pytest.param({"conversions": GOOD["conversions"] * 2}, "purchase is there twice", id="a goal twice"),
        pytest.param({"meta": {"pixel_id": 1, "api": "http://evil.example"}}, "meta.api", id="plain HTTP elsewhere"),
        pytest.param(
            {
                "through": "google", "meta": None,
                "google": {"customer_id": 1, "service_account_file": "/k"},
            },
            "number of the conversion action", id="a name where Google has numbers",
        ),
    ],
)  # fmt: skip
def test_an_error_says_where_it_is_and_what_was_expected(tmp_path: Path, changes: Any, expected: str) -> None:
    found = errors(tmp_path, **changes)

    assert expected in found
    assert str(tmp_path / "meta.yaml:") in found


def test_two_destinations_of_one_name_are_an_error(tmp_path: Path) -> None:
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for file in files:
        file.write_text(yaml.safe_dump(GOOD))

    with pytest.raises(DefinitionError, match=r"b.yaml:1:1: destination: meta is the name of .*a.yaml too"):
        load_destinations(Settings(), files)


def deployment(tmp_path: Path, secrets: str) -> Settings:
    folder = tmp_path / "destinations"
    folder.mkdir()
    (folder / "meta.yaml").write_text(yaml.safe_dump(GOOD))
    (folder / "out.yaml").write_text(
        yaml.safe_dump(
            {name: one for name, one in GOOD.items() if name != "meta"}
            | {"destination": "out", "through": "topic", "topic": {"topic": "exports"}}
        )
    )
    return Settings(definitions_dir=tmp_path, destination_secrets=SecretStr(secrets))


def test_a_secret_that_is_missing_or_of_no_destination_is_named_and_never_shown(tmp_path: Path) -> None:
    settings = deployment(tmp_path, "metta=very-secret")
    found = load_destinations(settings)
    with pytest.raises(DefinitionError) as unknown:
        destination_secrets(settings, found)
    with pytest.raises(DefinitionError, match=r"meta: THROUGHLINE_DESTINATION_SECRETS lacks meta=…, its access token"):
        adapter_of(found[0], {}, settings)

    assert ("one of meta, out" in str(unknown.value), "very-secret" in str(unknown.value)) == (True, False)


def test_the_rights_of_the_worker_are_those_of_its_destinations(tmp_path: Path) -> None:
    found = {(one.resource, one.name, one.operation) for one in kafka_permissions("export", deployment(tmp_path, ""))}

    assert {
        ("group", "throughline-export-meta", "Read"), ("group", "throughline-export-out", "Read"),
        ("topic", "exports", "Write"), ("topic", "resolved-touchpoints", "Read"),
        ("topic", "identity-changes", "Read"),
    } <= found  # fmt: skip
    assert {"exports"} == {name for _, name, operation in found if operation == "Write"}
