"""Folders of published versions below the home: written when needed, removed when long unused."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.operations.definition_bundle import FOLDERS_KEPT, Bundle, note_use, read_bundle, settings_of
from deploy.operations.definition_files import load_markets
from deploy.settings import Settings
from schemas.durations import DAY_S
from schemas.time import clock_ms


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THROUGHLINE_HOME", str(tmp_path))
    return tmp_path / "definitions"


def bundle(number: int) -> Bundle:
    return Bundle({"policy.yaml": f"# {number}"})


def age(folder: Path, bundle_or_name: Bundle | str, days: float) -> None:
    name = bundle_or_name if isinstance(bundle_or_name, str) else bundle_or_name.version
    at = clock_ms() / 1000 - days * DAY_S
    os.utime(folder / name, (at, at))


def there(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def test_the_folders_that_were_used_last_are_kept_and_those_used_within_a_day(folder: Path) -> None:
    bundles = [bundle(number) for number in range(FOLDERS_KEPT + 5)]
    for one in bundles:
        settings_of(Settings(), one)
    for number, one in enumerate(bundles):
        age(folder, one, 2 + number)
    (folder / "tmpkilled").mkdir()
    age(folder, "tmpkilled", 2)
    assert len(bundles) + 1 == len(there(folder))

    in_force, recent = bundles[-1], bundles[-2]
    note_use(in_force.version)
    settings_of(Settings(), recent)
    new = bundle(-1)
    settings_of(Settings(), new)

    kept = [new, in_force, recent, *bundles[: FOLDERS_KEPT - 3]]
    assert {one.version for one in kept} == there(folder)


def test_a_folder_that_was_removed_is_written_again(folder: Path) -> None:
    old = bundle(0)
    settings_of(Settings(), old)
    age(folder, old, 9)
    for number in range(1, FOLDERS_KEPT + 1):
        settings_of(Settings(), bundle(number))
    assert old.version not in there(folder)

    note_use(old.version)
    assert "# 0" == settings_of(Settings(), old).policy_file.read_text("utf-8")


def test_many_at_once_see_whole_folders(folder: Path) -> None:
    def use(number: int) -> str:
        settings = settings_of(Settings(), bundle(number % 20))
        age(folder, bundle((number + 7) % 20), 0)
        return settings.policy_file.read_text("utf-8")

    for number in range(20):
        settings_of(Settings(), bundle(number))
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(use, range(200)))

    assert [f"# {number % 20}" for number in range(200)] == texts


def test_a_home_that_may_only_be_read_is_used_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = settings_of(Settings(), bundle(0))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("deploy.operations.definition_bundle._locked", refuse)

    assert written == settings_of(Settings(), bundle(0))


def test_a_version_has_the_table_of_markets_and_an_older_one_that_of_the_deployment(
    folder: Path, tmp_path: Path
) -> None:
    ours = tmp_path / "ours.yaml"
    ours.write_text("default: all\nmarkets: {all: {}}\n", "utf-8")
    settings = Settings(markets_file=ours)
    published = read_bundle(settings)
    ours.write_text("default: rest\nmarkets: {rest: {}}\n", "utf-8")

    assert "all" == load_markets(settings_of(settings, published)).default
    assert "rest" == load_markets(settings_of(settings, bundle(0))).default
    assert published.version != read_bundle(settings).version
