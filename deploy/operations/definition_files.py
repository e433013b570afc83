"""Loads the YAML files that operators and marketers edit: `deploy/definitions`, or those that the settings name.

Only plain data is read (no tags, no anchors that run code), duplicate keys are refused, and an error names the file,
the line, the column and the path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from deploy.operations.definition_errors import Place, definition_errors
from deploy.settings import Settings
from processors.enrichment.user_agents import UserAgents
from processors.recording.touch_rules import TouchRules
from schemas.durations import DEFINITION_FILE
from schemas.enrichment.bots import BotDefinitions
from schemas.identity.policy import IdentityPolicy, known_region
from schemas.markets import MarketDefinitions
from schemas.recording.touches import TouchDefinitions
from schemas.territory import Territory

Model = TypeVar("Model", bound=BaseModel)
Loaded = TypeVar("Loaded")

MAX_DEPTH, MAX_PLACES = 60, 100_000
"""The greatest nesting and the most values of a definition: references can multiply the values of a small file."""


class Position(NamedTuple):
    """A place in a file, as editors count: line and column, both from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


class DefinitionError(Exception):
    """A definition file is not valid; each line of the message names file, line, column, path and what was expected."""


def each_loaded(loads: Iterable[Callable[[], Loaded]]) -> list[Loaded]:
    """Load several files or parts, and report the errors of all of them at once.

    Raises:
        DefinitionError: At least one is not valid.
    """
    loaded, errors = [], []
    for one in loads:
        try:
            loaded.append(one())
        except DefinitionError as error:
            errors.append(str(error))
    if errors:
        raise DefinitionError("\n".join(dict.fromkeys(errors)))
    return loaded


def load(path: Path, model: type[Model]) -> Model:
    """Read a YAML file into a model.

    Raises:
        DefinitionError: The file cannot be read, is not plain YAML, repeats a key, or breaks a rule of the model.
    """
    places: dict[Place, Position] = {}
    value = _read(path, places)
    try:
        return model.model_validate(value, context=DEFINITION_FILE)
    except ValidationError as invalid:
        found = [
            f"{path}:{_nearest(places, where)}: {'.'.join(map(str, where)) or '(file)'}: {message}"
            for where, message in definition_errors(invalid, value, model)
        ]
        raise DefinitionError("\n".join(found)) from invalid


def _read(path: Path, places: dict[Place, Position]) -> Any:
    """Read a file as plain data, noting every place."""
    try:
        document = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
        return _plain(document, (), places, path) if document is not None else {}
    except OSError as error:
        raise DefinitionError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DefinitionError(f"{path}: not a text in UTF-8") from error
    except yaml.MarkedYAMLError as error:
        position = _position(error.problem_mark) if error.problem_mark else Position(1, 1)
        raise DefinitionError(f"{path}:{position}: not YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        raise DefinitionError(f"{path}: not YAML: the character U+{error.character:04X} is not allowed") from error


def position_of(path: Path, where: Place) -> Position:
    """Return a place in a loadable file; that of the innermost enclosing place if it is not there."""
    places: dict[Place, Position] = {}
    document = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    if document is not None:
        _plain(document, (), places, path)
    return _nearest(places, where)


def _nearest(places: dict[Place, Position], where: Place) -> Position:
    return next((places[where[:n]] for n in range(len(where), -1, -1) if where[:n] in places), Position(1, 1))


def _position(mark: yaml.Mark) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def _plain(node: yaml.Node, at: Place, places: dict[Place, Position], path: Path) -> Any:
    """Turn a YAML node into plain data, noting every place: that of its name, if that is in the same line."""
    found = _position(node.start_mark)
    if at not in places or places[at].line != found.line:
        places[at] = found
    if len(at) > MAX_DEPTH or len(places) > MAX_PLACES:
        # References (*name) can make a small file endless.
        place = ".".join(map(str, at[:3]))
        raise DefinitionError(f"{path}:{places[at]}: {place}: too much, or in itself: references (*name) multiply")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*at, index), places, path) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            plain = isinstance(key_node, yaml.ScalarNode) and key_node.value != "<<"
            # As it is written: YAML reads yes, no, on and off as true and false, and 007 as 7.
            key = key_node.value if plain and _scalar(key_node, path) is not None else None
            position = _position(key_node.start_mark)
            if key is None:
                place = f"{path}:{position}: {'.'.join(map(str, at)) or '(file)'}"
                raise DefinitionError(f"{place}: a name before a colon should be a single word or text")
            if key in mapping:
                raise DefinitionError(f"{path}:{position}: {'.'.join(map(str, (*at, key)))}: given twice")
            places[*at, key] = position
            mapping[key] = _plain(value_node, (*at, key), places, path)
        return mapping
    return _scalar(node, path)


def _scalar(node: yaml.Node, path: Path) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except ValueError as error:  # such as the 45th of a month
        raise DefinitionError(f"{path}:{_position(node.start_mark)}: {node.value}: {error}") from error
    finally:
        loader.dispose()


def identity_policy(settings: Settings) -> IdentityPolicy:
    """Read the identity policy, with the regions of telephone numbers by market.

    Raises:
        DefinitionError: The file is not a valid policy, or the table of markets is not valid.
    """
    markets = load_markets(settings)
    policy = load(settings.identity_file, IdentityPolicy)
    policy = policy.model_copy(
        update={
            "market_regions": {**markets.phone_regions, **policy.market_regions},
            "store_countries": {**markets.store_countries, **policy.store_countries},
        }
    )
    if "default_region" in policy.model_fields_set:
        return policy
    try:
        known_region(settings.default_region)
    except ValueError as error:
        raise DefinitionError(f"THROUGHLINE_DEFAULT_REGION: {error}") from None
    return policy.model_copy(update={"default_region": settings.default_region})


def touch_rules(settings: Settings) -> TouchRules:
    """Read the rules that classify events as touches and conversions.

    Raises:
        DefinitionError: The file has no valid rules.
    """
    return TouchRules(load(settings.touches_file, TouchDefinitions))


def load_markets(settings: Settings) -> MarketDefinitions:
    """Read the table of markets.

    Raises:
        DefinitionError: The file is not valid, or its markets contradict each other; every place is named.
    """
    markets = load(settings.markets_file, MarketDefinitions)
    problems = [
        f"{settings.markets_file}:{position_of(settings.markets_file, where)}: {'.'.join(map(str, where))}: {message}"
        for where, message in markets.conflicts()
    ]
    if problems:
        raise DefinitionError("\n".join(problems))
    return markets


def load_territory(settings: Settings) -> Territory:
    """Read the table of markets, with the time zone of the deployment.

    Raises:
        DefinitionError: As of `load_markets`, or there is no such time zone.
    """
    try:
        return Territory.of(settings.timezone, load_markets(settings))
    except ValueError as error:
        raise DefinitionError(f"THROUGHLINE_TIMEZONE: {error}") from None


def user_agents(settings: Settings) -> UserAgents:
    """Build the reader of user agents, with the operator's own bots and exceptions.

    Raises:
        DefinitionError: The file is not valid.
    """
    return UserAgents(load(settings.bots_file, BotDefinitions))


def yaml_files(folder: Path) -> list[Path]:
    """List the YAML files of a folder, by name; none when the folder does not exist."""
    return sorted(path for path in folder.glob("*.y*ml") if path.suffix in (".yaml", ".yml"))
