"""Loads what operators and marketers edit: the YAML files of `deploy/definitions`, or those that the settings name.

Only plain data is read (no tags, no anchors that run code), duplicate keys are refused, and an error names the file,
the line and the path of what is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from deploy.operations.definition_errors import complaint
from deploy.settings import Settings
from processors.recording.touch_rules import TouchRules
from schemas.durations import WRITTEN
from schemas.identity.policy import IdentityPolicy, known_region
from schemas.recording.touches import TouchDefinitions

Model = TypeVar("Model", bound=BaseModel)
Path_ = tuple[str | int, ...]

MOST_DEEP, MOST_PLACES = 60, 100_000
"""No definition nests so far, or has so many places."""


class DefinitionError(Exception):
    """A definition file is not what its model asks for; the message names file, line, path and what was expected."""


def load(path: Path, model: type[Model]) -> Model:
    """Read a YAML file into a model.

    Raises:
        DefinitionError: The file cannot be read, is not plain YAML, repeats a key, or breaks a rule of the model.
    """
    lines: dict[Path_, int] = {}
    value = _read(path, lines)
    try:
        return model.model_validate(value, context=WRITTEN)
    except ValidationError as invalid:
        where, message = complaint(invalid, value, model)
        line = _nearest(lines, where)
        raise DefinitionError(f"{path}:{line}: {'.'.join(map(str, where)) or '(file)'}: {message}") from invalid


def _read(path: Path, lines: dict[Path_, int]) -> Any:
    """Read a file as plain data, noting the line of every path."""
    try:
        document = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
        return _plain(document, (), lines, path) if document is not None else {}
    except OSError as error:
        raise DefinitionError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DefinitionError(f"{path}: not a text in UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DefinitionError(f"{path}:{line}: not YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        raise DefinitionError(f"{path}: not YAML: the character U+{error.character:04X} is not allowed") from error


def line_of(path: Path, where: Path_) -> int:
    """Find the line of a place in a file that could be loaded; of what is around it if the file does not name it."""
    lines: dict[Path_, int] = {}
    document = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    if document is not None:
        _plain(document, (), lines, path)
    return _nearest(lines, where)


def _nearest(lines: dict[Path_, int], where: Path_) -> int:
    return next((lines[where[:n]] for n in range(len(where), -1, -1) if where[:n] in lines), 1)


def _plain(node: yaml.Node, at: Path_, lines: dict[Path_, int], path: Path) -> Any:
    """Turn a YAML node into plain data, noting the line of every path."""
    lines[at] = node.start_mark.line + 1
    if len(at) > MOST_DEEP or len(lines) > MOST_PLACES:
        # References (*name) can make a small file endless.
        place = ".".join(map(str, at[:3]))
        raise DefinitionError(f"{path}:{lines[at]}: {place}: too much, or in itself: references (*name) multiply")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*at, index), lines, path) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            plain = isinstance(key_node, yaml.ScalarNode) and key_node.value != "<<"
            key = _scalar(key_node, path) if plain else None
            if not isinstance(key, str | int):
                place = f"{path}:{key_node.start_mark.line + 1}: {'.'.join(map(str, at)) or '(file)'}"
                raise DefinitionError(f"{place}: a name before a colon should be a single word or text")
            if key in found:
                raise DefinitionError(
                    f"{path}:{key_node.start_mark.line + 1}: {'.'.join(map(str, (*at, key)))}: given twice"
                )
            found[key] = _plain(value_node, (*at, key), lines, path)
        return found
    return _scalar(node, path)


def _scalar(node: yaml.Node, path: Path) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except ValueError as error:  # such as the 45th of a month
        raise DefinitionError(f"{path}:{node.start_mark.line + 1}: {node.value}: {error}") from error
    finally:
        loader.dispose()


def identity_policy(settings: Settings) -> IdentityPolicy:
    """Read the identity policy.

    Raises:
        DefinitionError: The file is not what the policy's model asks for.
    """
    policy = load(settings.identity_file, IdentityPolicy)
    if "default_region" in policy.model_fields_set:
        return policy
    try:
        known_region(settings.default_region)
    except ValueError as error:
        raise DefinitionError(f"THROUGHLINE_DEFAULT_REGION: {error}") from None
    return policy.model_copy(update={"default_region": settings.default_region})


def touch_rules(settings: Settings) -> TouchRules:
    """Read which events are touches and conversions.

    Raises:
        DefinitionError: The file is not what the rules' model asks for.
    """
    return TouchRules(load(settings.touches_file, TouchDefinitions))
