"""The documents tell the truth: what they name exists, and what exists is named in the document of its readers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from deploy.settings import Settings, secret_settings
from processors.attribution.rules import MODELS
from schemas.topics import TOUCHPOINTS_PREFIX, topics
from tests.support.commands import names

ROOT = Path(__file__).parents[3]
DOCUMENTS = [
    str(path.relative_to(ROOT))
    for layer in (".", "schemas", "processors", "sinks", "deploy", "tests")
    for path in sorted((ROOT / layer).glob("*.md" if layer == "." else "**/*.md"))
    if path.name not in ("CHANGELOG.md", "TABLES.md")
]
TEXT = {document: (ROOT / document).read_text("utf-8") for document in DOCUMENTS}
PAGES = ("README.md", "schemas/README.md", "processors/README.md", "sinks/README.md", "deploy/README.md",
         "deploy/definitions/README.md")  # fmt: skip
"""The pages of users; every other document is about a room of the code."""
LONGEST_FRONT_DOOR_LINES = 150
LONGEST_ROOM_LINES = 40
CODE = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", "\n".join(TEXT[page] for page in PAGES), re.DOTALL))
COMMANDS = set(names())
MIGRATIONS = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "sinks/migrations").glob("*.sql")))
PARTS_OF_A_ROOM = ("gates", "importers", "html", "terminal", "simulator", "lua")
"""Folders that belong to the room above them, whose README names them."""
ROOMS = sorted(
    {
        str(path.parent.relative_to(ROOT))
        for layer in ("schemas", "processors", "sinks", "deploy")
        for path in (ROOT / layer).rglob("*.py")
        if path.parent.name not in PARTS_OF_A_ROOM and path.parent != ROOT / layer
    }
)
LONGER_ROOMS = {"sinks/redis": 72}
"""Rooms with more lines, and why: the table of all keys."""
MADE_ON_THE_WAY = (".venv", ".peers", ".throughline", ".kafka", "bench.json", "deploy/.env")


def named_paths(text: str) -> set[str]:
    """Find what looks like a path of the tree: a known folder and what is below, a link's target, a file at the top."""
    below = re.findall(r"(?<![\w./-])(?:schemas|processors|sinks|deploy|tests|\.ci)/[\w./-]*\w", text)
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    return {*below, *linked}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_that_is_named_exists(document: str) -> None:
    below = (ROOT / document).parent
    paths = {path for path in named_paths(TEXT[document]) if not path.startswith(MADE_ON_THE_WAY)}

    assert [] == sorted(path for path in paths if not (ROOT / path).exists() and not (below / path).exists())


def test_the_front_door_is_short() -> None:
    assert len(TEXT["README.md"].splitlines()) <= LONGEST_FRONT_DOOR_LINES


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_reached_from_the_front_door(page: str) -> None:
    assert page == "README.md" or f"]({page})" in TEXT["README.md"]


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_short_readme(room: str) -> None:
    lines = (ROOT / room / "README.md").read_text("utf-8").splitlines()

    assert 0 < len(lines) <= LONGER_ROOMS.get(room, LONGEST_ROOM_LINES)


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_of_a_room_is_named_in_its_readme(room: str) -> None:
    text = (ROOT / room / "README.md").read_text("utf-8")
    modules = {path.name for path in (ROOT / room).glob("*.py")} - {"__init__.py"}
    folders = {f"{path.name}/" for path in (ROOT / room).iterdir() if path.name in PARTS_OF_A_ROOM}

    assert [] == sorted(name for name in modules | folders if not re.search(rf"(?<![\w-]){re.escape(name)}", text))


def test_paths_are_found_in_text() -> None:
    assert {"schemas/topics.py", "LICENSE", ".ci/run"} == named_paths("see `schemas/topics.py`, [it](LICENSE), .ci/run")


def settings_row(name: str, field: FieldInfo) -> str:
    """Write a setting the way the README's table has it."""
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    if isinstance(default, Path):
        default = default.relative_to(ROOT)
    elif isinstance(default, tuple):
        default = ",".join(default)
    shown = "empty" if default == "" else "none" if default is None else f"`{default}`"
    return f"| `THROUGHLINE_{name.upper()}` | {shown} | {field.description} |"


@pytest.mark.parametrize("setting", Settings.model_fields)
def test_every_setting_has_its_row_in_the_table(setting: str) -> None:
    assert settings_row(setting, Settings.model_fields[setting]) in TEXT["deploy/README.md"].splitlines()


def test_every_variable_that_is_named_is_a_setting() -> None:
    named = {name for page in PAGES for name in re.findall(r"THROUGHLINE_[A-Z_]*[A-Z]", TEXT[page])} - {
        "THROUGHLINE_HOME"
    }

    settings = {f"THROUGHLINE_{name.upper()}" for name in Settings.model_fields}

    assert set() == named - settings - {f"THROUGHLINE_{name.upper()}_FILE" for name in secret_settings()}


@pytest.mark.parametrize("command", sorted(COMMANDS), ids=" ".join)
def test_every_command_is_named(command: tuple[str, ...]) -> None:
    assert "throughline " + " ".join(command) in CODE


def test_every_command_that_is_named_exists() -> None:
    first_words = {command[0] for command in COMMANDS}
    groups = {command[0] for command in COMMANDS if len(command) > 1}
    called = re.findall(r"(?<![\w./-])(?:\.venv/bin/)?throughline ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", CODE)

    assert [] == [
        f"throughline {first} {second}"
        for first, second in called
        if first not in first_words or (first in groups and (first, second) not in COMMANDS)
    ]


@pytest.mark.parametrize("topic", [topic.name for topic in topics(channels=[])])
def test_every_topic_is_named(topic: str) -> None:
    assert f"`{topic}`" in TEXT["processors/README.md"]


def test_the_topics_of_producers_are_named() -> None:
    assert f"`{TOUCHPOINTS_PREFIX}<channel>`" in TEXT["schemas/README.md"]


def test_the_views_and_tables_that_are_named_are_those_of_the_migrations() -> None:
    page = TEXT["sinks/README.md"]
    made = set(re.findall(r"CREATE (?:TABLE|VIEW) IF NOT EXISTS \{\{database\}\}\.(\w+)", MIGRATIONS))
    tables = set(re.findall(r"`(\w+)`", page[page.index("\nTables:") : page.index("Nothing in them expires")]))
    views = set(re.findall(r"\bv_\w+", CODE))

    assert set() == (tables | views) - made


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_attribution_model_is_in_the_table(model: str) -> None:
    assert f"`{model}`" in TEXT["sinks/README.md"]


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_make_targets_that_are_named_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = re.findall(r"`make ([a-z-]+)", (ROOT / document).read_text("utf-8"))

    assert set() == set(named) - targets


def test_the_front_door_and_the_help_of_the_demo_have_the_same_number_of_events() -> None:
    counts = re.compile(r"([0-9]+,000) events")
    readme, demo = ((ROOT / file).read_text("utf-8") for file in ("README.md", "deploy/cli/demo.py"))

    assert counts.findall(readme)[:1] == counts.findall(demo)[:1] != []
