"""Names of files, classes, functions and fields use the words of the field, as listed in CONTRIBUTING."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
RETIRED = {
    "apart": "separated",
    "chance": "sampling",
    "complaint": "definition_error",
    "crossing": "failpoint",
    "gathering": "group_commit",
    "leaf": "identifier_hash",
    "newcomer": "first_event",
    "nobody": "unowned, unknown",
    "nobodys": "unowned, shared",
    "pace": "watermark",
    "patience": "retry",
    "patient": "retrying",
    "stranger": "unknown_person",
    "strangers": "unknown_people",
    "surely": "a condition",
    "tells": "handlers",
    "tenure": "former_owner",
    "told": "acknowledged",
    "whom": "person",
    "whose": "owner",
    "worths": "expected_values",
}
"""Words that were our own dialect, and the field's words for the same."""
FILES = [
    path.relative_to(ROOT)
    for layer in ("schemas", "processors", "sinks", "deploy")
    for path in sorted((ROOT / layer).rglob("*.py"))
    if "__pycache__" not in path.parts
]


def names_of(tree: ast.AST) -> Iterator[str]:
    """Find every name that a module gives: classes, functions, parameters, variables, fields."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name
            case ast.arg():
                yield node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr
            case ast.alias(asname=str(name)):
                yield name


def words_of(name: str) -> set[str]:
    """Split a name: `_of_newcomer`, `NewcomerKept` and `NEWCOMERS_KEPT` are words in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


@pytest.mark.parametrize("name", ["_of_newcomer", "OfNewcomer", "OF_NEWCOMER", "of_newcomer2"])
def test_names_are_split_into_words(name: str) -> None:
    assert {"of", "newcomer"} == words_of(name)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_name_uses_a_retired_word(file: Path) -> None:
    names = {*names_of(ast.parse((ROOT / file).read_text("utf-8"))), *file.with_suffix("").parts}
    found = {name: RETIRED[word] for name in names for word in words_of(name) & RETIRED.keys()}

    assert {} == found, f"use the field's word: {found}"


@pytest.mark.parametrize("word", sorted(RETIRED))
def test_every_retired_word_is_in_the_list_for_contributors(word: str) -> None:
    assert f"`{word}`" in CONTRIBUTING
