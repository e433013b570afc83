"""The command group `hooks`: list webhook sources, try a mapping on a payload, check all mappings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.arguments import AsJson
from deploy.cli.output import fail, print_json, print_table
from deploy.cli.streams import reading


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    hooks = typer.Typer(help="Webhooks of shops and providers.", no_args_is_help=True)
    hooks.command("list")(hooks_list)
    hooks.command("try")(hooks_try)
    hooks.command("lint")(hooks_lint)
    app.add_typer(hooks, name="hooks")


def hooks_list(as_json: AsJson = False) -> None:
    """Print the webhook sources: mapping, signature, and how many secrets are set; with --json their events too."""
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.hook_checks import describe_hooks
    from deploy.settings import settings

    try:
        rows = describe_hooks(settings())
    except DefinitionError as error:
        fail(str(error))
    if as_json:
        print_json(rows)
        return
    headings = ["source", "mapping", "channel", "signature", "path", "secrets"]
    print_table(headings, [[str(row[name]) for name in headings] for row in rows], text_columns=5)


def hooks_try(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE|FILE.yaml", help="A webhook source, or a file of a mapping.")
    ],
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="A payload: JSON, or the text of a form.")],
    header: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A header of the request.")] = None,
    query: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of its address.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the touchpoints that come of a payload, and what is ignored or refused; publish nothing.

    The signature is not checked. Exit code 1 if anything is refused.
    """
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.hook_checks import PayloadError, try_payload
    from deploy.settings import settings

    headers, parameters = _pairs(header, "--header"), _pairs(query, "--query")
    with reading(file) as (lines, _):
        raw = b"".join(lines)
    try:
        outcome = try_payload(settings(), source, raw, headers, parameters)
    except (DefinitionError, PayloadError) as error:
        fail(str(error))
    if as_json:
        print_json(outcome._asdict())
    else:
        for touchpoint in outcome.touchpoints:
            print_json(touchpoint)
        for reason, count in outcome.ignored.items():
            print(f"ignored: {reason}" + (f" ({count:,} records)" if count > 1 else ""))
        for refusal in outcome.refused:
            print(f"refused: record {refusal['index']}: {refusal['message']}")
        if outcome.missing_headers:
            print(f"not given: {', '.join(f'--header {name}=…' for name in outcome.missing_headers)}")
        print(f"{len(outcome.touchpoints):,} touchpoints, {len(outcome.refused):,} refused")
    if outcome.refused:
        raise typer.Exit(1)


def hooks_lint(
    files: Annotated[list[Path] | None, typer.Argument(exists=True, help="Mappings; else those in force.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check mappings, and name what is probably misspelt; exit code 1 at an error."""
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.hook_checks import lint_mappings
    from deploy.settings import settings

    try:
        count, hints = lint_mappings(settings(), files)
    except DefinitionError as error:
        fail(str(error))
    if as_json:
        print_json({"mappings": count, "hints": hints})
        return
    for hint in hints:
        print(f"hint: {hint}")
    print(f"{count:,} mappings, {len(hints):,} hints")


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in texts or ():
        name, found, value = text.partition("=")
        if not found or not name:
            raise typer.BadParameter(f"{option} is written as NAME=VALUE")
        pairs[name.strip()] = value.strip()
    return pairs
