"""Where the mappings of webhook sources come from: shipped ones, and a deployment's own in their place."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy.operations.definition_files import DefinitionError
from deploy.operations.hooks import load_hooks
from deploy.operations.sources import load_sources
from deploy.settings import DEFINITIONS, Settings
from tests.support.hook_signatures import SECRETS

OWN = """\
source: sendgrid
signature: {scheme: header, header: X-Token}
events: [{event: Ours, event_id: id}]
"""


def deployment(folder: Path, **files: str) -> Settings:
    (folder / "hooks").mkdir()
    for name, text in files.items():
        (folder / "hooks" / f"{name}.yaml").write_text(text, "utf-8")
    return Settings(definitions_dir=folder, hook_secrets=SecretStr(SECRETS))


def test_every_shipped_mapping_has_a_source_and_is_valid() -> None:
    settings = Settings()

    hooks = load_hooks(settings, load_sources(settings))

    assert {file.stem for file in (DEFINITIONS / "hooks").glob("*.yaml")} == {
        hook.source.hook for hook in hooks.values()
    }


def test_definitions_of_an_older_release_or_of_ones_own_need_no_copy_of_the_shipped_mappings(tmp_path: Path) -> None:
    settings = deployment(tmp_path)

    assert "sendgrid" in load_hooks(settings, load_sources(settings))


def test_a_mapping_of_ones_own_takes_the_place_of_the_shipped_one(tmp_path: Path) -> None:
    settings = deployment(tmp_path, sendgrid=OWN)

    hooks = load_hooks(settings, load_sources(settings))

    assert "Ours" == hooks["sendgrid"].mapping.definition.events[0].event.value
    assert hooks["mailgun"].mapping.definition.events[0].event.value != "Ours"


def test_a_mapping_that_exists_nowhere_is_an_error_that_names_line_and_known_ones(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text("sources:\n  mail: {channel: email, hook: sendgird}\n", "utf-8")
    settings = deployment(tmp_path).model_copy(
        update={"sources_file": tmp_path / "sources.yaml", "hook_secrets": SecretStr("")}
    )

    with pytest.raises(
        DefinitionError, match=r"sources.yaml:2:\d+: sources.mail.hook: there is no mapping sendgird .*sendgrid"
    ):
        load_hooks(settings, load_sources(settings))
