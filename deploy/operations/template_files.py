"""Loads the texts of messages, one template a file; an error names file, line and path."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from deploy.operations.definition_files import DefinitionError, Position, each_loaded, load, position_of, yaml_files
from processors.delivery.templates import TemplateError, Templates
from schemas.delivery.templates import Layout, TemplateDefinition

LAYOUT = "_layout"


def load_templates(folder: Path) -> Templates:
    """Read and compile templates: one a file, named after the file; `_layout.yaml` is the frame of every e-mail.

    Raises:
        DefinitionError: A file is not valid, or a template does not parse.
    """
    files = {path.stem: path for path in yaml_files(folder)}
    layout = load(files[LAYOUT], Layout) if LAYOUT in files else None
    names = [name for name in files if name != LAYOUT]
    definitions = dict(
        zip(names, each_loaded(partial(load, files[name], TemplateDefinition) for name in names), strict=True)
    )
    try:
        return Templates(definitions, layout)
    except TemplateError as error:
        found = [text_place(folder, one) for one in (error, *error.further)]
        raise DefinitionError(
            "\n".join(f"{path}:{position}: {'.'.join(where)}: {text}" for path, position, where, text in found)
        ) from error


def text_place(folder: Path, error: TemplateError) -> tuple[Path, Position, tuple[str, ...], str]:
    """Return the file of an error in a text, where it is, its path and the message."""
    path = next(path for path in yaml_files(folder) if path.stem == error.template)
    where = error.path if error.template == LAYOUT else ("channels", *error.path)
    position = position_of(path, where)
    # A text in a block begins on the line after its key, indented alike in all its lines.
    lines = path.read_text("utf-8").splitlines()
    if error.line and lines[position.line - 1].rstrip().endswith(("|", ">", "|-", ">-", "|+", ">+")):
        first = next((line for line in lines[position.line :] if line.strip()), "")
        indent = len(first) - len(first.lstrip())
        position = Position(position.line + error.line, indent + max(error.column, 1))
    return path, position, where, error.message
