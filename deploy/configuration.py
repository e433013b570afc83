"""Loads what operators and marketers edit: the YAML files of `deploy/definitions`, or those that the settings name.

Only plain data is read (no tags, no anchors that run code), duplicate keys are refused, and an error names the file,
the line and the path of what is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from deploy.settings import Settings
from processors.touches import TouchRules
from schemas.policy import IdentityPolicy
from schemas.touches import TouchDefinitions

Model = TypeVar("Model", bound=BaseModel)
Path_ = tuple[str | int, ...]


class DefinitionError(Exception):
    """A definition file is not what its model asks for; the message names file, line, path and what was expected."""


def load(path: Path, model: type[Model]) -> Model:
    """Read a YAML file into a model.

    Raises:
        DefinitionError: The file cannot be read, is not plain YAML, repeats a key, or breaks a rule of the model.
    """
    lines: dict[Path_, int] = {}
    try:
        document = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
        value = _plain(document, (), lines, path) if document is not None else {}
    except OSError as error:
        raise DefinitionError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DefinitionError(f"{path}:{line}: not YAML: {error.problem}") from error
    try:
        return model.model_validate(value)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        where = tuple(first["loc"])
        line = _nearest(lines, where)
        raise DefinitionError(f"{path}:{line}: {'.'.join(map(str, where)) or '(file)'}: {first['msg']}") from invalid


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
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*at, index), lines, path) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(key_node)
            if key in found:
                raise DefinitionError(
                    f"{path}:{key_node.start_mark.line + 1}: {'.'.join(map(str, (*at, key)))}: given twice"
                )
            found[key] = _plain(value_node, (*at, key), lines, path)
        return found
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
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
    return policy.model_copy(update={"default_region": settings.default_region})


def touch_rules(settings: Settings) -> TouchRules:
    """Read which events are touches and conversions.

    Raises:
        DefinitionError: The file is not what the rules' model asks for.
    """
    return TouchRules(load(settings.touches_file, TouchDefinitions))
