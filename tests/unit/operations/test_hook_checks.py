"""`throughline hooks`: what an operator sees of webhook sources and mappings, without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.definition_files import DefinitionError
from deploy.operations.hooks import hook_secrets, load_hooks
from deploy.operations.sources import load_sources
from deploy.settings import DEFINITIONS, Settings, settings
from schemas.intake.sources import Source
from tests.support.definition_places import without_columns
from tests.support.webhooks import PAYLOADS

MAPPING = """\
source: shop
signature: {scheme: hmac_sha256, header: X-Signature}
events:
  - when: _header.topic == 'order'
    event: Order Complete
    event_id: id
"""


@pytest.fixture(autouse=True)
def fresh_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THROUGHLINE_HOOK_SECRETS", "shopify=a,shopify=b,stripe=whsec_1")
    settings.cache_clear()


def run(*arguments: object, text: str | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["hooks", *map(str, arguments)], input=text)
    return result.exit_code, result.output


def test_the_sources_are_listed_with_their_paths_and_the_number_of_their_secrets() -> None:
    code, output = run("list", "--json")
    rows = {row["source"]: row for row in json.loads(output)}

    assert 0 == code
    assert ("/v1/hooks/shopify", "hmac_sha256", 2) == tuple(
        rows["shopify"][name] for name in ("path", "signature", "secrets")
    )
    assert (1, 0) == (rows["stripe"]["secrets"], rows["square"]["secrets"])
    assert {"Order Completed", "Order Refunded", "Stock Changed"} <= set(rows["square"]["events"])


def test_every_shipped_mapping_is_used_by_a_source_and_has_no_hint() -> None:
    hooks = load_hooks(Settings(), load_sources(Settings()))

    assert {path.stem for path in (DEFINITIONS / "hooks").glob("*.yaml")} == {
        hook.source.hook for hook in hooks.values()
    }
    assert (0, f"{len(hooks)} mappings, 0 hints\n") == run("lint")


def test_a_payload_is_tried_by_the_name_of_a_source_or_by_a_file() -> None:
    order = PAYLOADS / "shopify" / "orders_create.json"
    header = "x-shopify-TOPIC=orders/create"
    by_name = run("try", "shopify", order, "--header", header, "--json")
    by_file = run("try", DEFINITIONS / "hooks" / "shopify.yaml", order, "--header", header, "--json")

    assert by_name == by_file
    [event] = json.loads(by_name[1])["touchpoints"]
    assert (0, "order:820982911946154508") == (by_name[0], event["event_id"])


def test_a_header_that_the_mapping_reads_and_that_is_not_given_is_named() -> None:
    code, output = run("try", "shopify", PAYLOADS / "shopify" / "orders_create.json")

    assert 0 == code
    assert ["ignored: no rule applies", "not given: --header x-shopify-topic=…", "0 touchpoints, 0 refused"] == (
        output.splitlines()
    )


def test_a_payload_of_which_something_is_refused_ends_with_1_and_names_the_expression() -> None:
    order = json.loads((PAYLOADS / "shopify" / "orders_create.json").read_text("utf-8"))
    code, output = run("try", "shopify", "-", "--header", "X-Shopify-Topic=orders/create",
                       text=json.dumps({**order, "total_price": "much"}))  # fmt: skip

    assert 1 == code
    assert "refused: record 0: properties.total is 'much', which is `total_price`: it should be a plain" in output


def test_a_form_is_a_payload_and_any_other_text_is_not() -> None:
    form = run("try", "woocommerce", "-", text="webhook_id=15")
    other = run("try", "woocommerce", "-", text="<xml/>")

    assert (0, True) == (form[0], "no rule applies" in form[1])
    assert (1, True) == (other[0], "the payload is neither JSON" in other[1])


def test_a_payload_without_records_says_so() -> None:
    assert (0, ["ignored: it holds no record", "0 touchpoints, 0 refused"]) == (
        (found := run("try", "stripe", "-", text="{}"))[0],
        found[1].splitlines(),
    )


@pytest.mark.parametrize("name", ["shopfy", "server", "no/such.yaml"])
def test_a_source_without_webhooks_is_an_error_that_names_those_with(name: str) -> None:
    code, output = run("try", name, "-", text="{}")

    assert 1 == code
    assert "no such webhook source, mapping or file; sources: shopify, woocommerce" in output


def test_the_linter_names_what_is_probably_misspelt(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(MAPPING, "utf-8")

    assert [
        f"hint: {path}: an expression reads _header; did you mean _headers?",
        f"hint: {path}:5: events.0.event: Order Complete is no known event; did you mean Order Completed?",
        "1 mappings, 2 hints",
    ] == without_columns(run("lint", path)[1]).splitlines()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("hmac_sha256", "hmac_sha1", "x.yaml:2: signature.scheme: there is no scheme hmac_sha1; did you mean "
         "hmac_sha256?"),
        ("header:", "headers:", "x.yaml:2: signature.header: is missing"),
        ("X-Signature", "X-Signature, encoding: base32", "x.yaml:2: signature.encoding: should be 'base64' or 'hex'"),
        ("event_id: id", "event_id: id(", "x.yaml:6: events.0.event_id: 'id(' is no JMESPath"),
    ],
)  # fmt: skip
def test_an_error_in_a_mapping_names_file_line_and_place(tmp_path: Path, old: str, new: str, problem: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(MAPPING.replace(old, new), "utf-8")
    code, output = run("lint", path)

    assert 1 == code
    assert problem in without_columns(output)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("shop", "part 1 should be source=secret, with one of the sources that have a hook: shop"),
        ("shop=a,till=verysecret", "part 2 should be source=secret"),
        ("shop=", "part 1 should be source=secret"),
    ],
)
def test_an_error_in_the_secrets_is_said_without_them(setting: str, problem: str) -> None:
    with pytest.raises(DefinitionError) as error:
        hook_secrets(setting, {"shop": Source(channel="web", hook="shopify")})

    assert problem in without_columns(str(error.value))
    assert "verysecret" not in str(error.value)


def test_a_secret_may_hold_equals_signs_and_have_a_part() -> None:
    hooks = {"shop": Source(channel="web", hook="shopify"), "wa": Source(channel="whatsapp", hook="whatsapp")}

    assert {"shop": {"": ("a=", "b")}, "wa": {"": ("app",), "verify_token": ("v",)}} == hook_secrets(
        "shop=a=, shop=b,wa=app,wa:verify_token=v", hooks
    )


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{channel: web, hook: shpify}", "sources.yaml:2: sources.shop.hook: there is no mapping shpify in"),
        ("{channel: web, kind: browser, hook: shopify}", "a webhook comes from a server"),
    ],
)
def test_a_source_with_a_hook_that_cannot_be_is_an_error(tmp_path: Path, source: str, problem: str) -> None:
    path = tmp_path / "sources.yaml"
    path.write_text(f"sources:\n  shop: {source}\n", "utf-8")
    own = Settings(sources_file=path, hook_secrets="")

    with pytest.raises(DefinitionError) as error:
        load_hooks(own, load_sources(own))

    assert problem in without_columns(str(error.value))
