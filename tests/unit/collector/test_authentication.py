"""A source is found by its write keys, and an error in their setting shows none of them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from deploy.collector.authentication import WriteKeys
from deploy.operations.definition_files import DefinitionError, load
from deploy.settings import Settings
from schemas.intake.sources import Source, SourceDefinitions

SOURCES = {
    "web": Source(channel="web", kind="browser", origins=("https://shop.example",)),
    "pos": Source(channel="store"),
}


def test_each_key_names_its_source_and_both_count_while_one_replaces_the_other() -> None:
    keys = WriteKeys("web=old, web=new=,pos=secret", SOURCES)

    assert ["web", "web", "pos", None, None] == [keys.source(key) for key in ("old", "new=", "secret", "", "Old")]


@pytest.mark.parametrize("written", ["secret", "shop=secret", "web=", "=secret"])
def test_a_part_that_is_no_key_of_a_source_is_an_error_that_does_not_show_it(written: str) -> None:
    with pytest.raises(DefinitionError, match="part 2 should be source=key, with one of the sources web, pos") as error:
        WriteKeys(f"web=1, {written}", SOURCES)
    assert "secret" not in str(error.value)


def test_two_sources_cannot_share_a_key() -> None:
    with pytest.raises(DefinitionError, match="pos has a key that another source has too"):
        WriteKeys("web=1,pos=1", SOURCES)


def test_pages_may_send_from_the_origins_that_are_listed() -> None:
    assert [True, False, False] == [
        SOURCES["web"].allows("https://shop.example"), SOURCES["web"].allows("https://shop.example.evil"),
        SOURCES["pos"].allows("https://shop.example"),
    ]  # fmt: skip
    assert Source(channel="web", kind="browser", origins=("*",)).allows("null")


@pytest.mark.parametrize(
    "wrong",
    [
        {"channel": "web", "origins": ["*"]},
        {"channel": "web", "join_by": ["email"]},
        {"channel": "web", "kind": "browser", "verified": ["email"]},
        {"channel": "web", "kind": "browser", "origins": ["shop.example"]},
        {"channel": "web", "kind": "browser", "origins": ["https://shop.example/"]},
        {"channel": "web", "currency": "euro"},
        {"channel": "web", "consent": {"C1": "email"}},
        {"chanel": "web"},
    ],
)
def test_a_source_with_rights_of_another_kind_or_an_unknown_field_is_an_error(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Source.model_validate(wrong)


def test_the_shipped_sources_have_known_channels() -> None:
    shipped = load(Settings().sources_file, SourceDefinitions).sources

    assert {"web", "app", "server", "tills"} == {name for name, source in shipped.items() if source.hook is None}
    assert {source.channel for source in shipped.values()} <= set(Settings().channels)


@pytest.mark.parametrize("url", ["localhost:8088", "http://127.0.0.1", "https://127.0.0.1:8088", "http://h:99999", ""])
def test_the_collectors_url_has_scheme_host_and_port(url: str) -> None:
    with pytest.raises(ValidationError, match="write it as http://127"):
        Settings(collector_url=url)


@pytest.mark.parametrize("url", ["events.shop.example", "ftp://events.shop.example", "https://", "https://a.example?b"])
def test_a_public_address_that_no_page_could_call_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="write it as https"):
        Settings(collector_public_url=url)


def test_a_public_address_may_have_a_path() -> None:
    assert (
        "https://shop.example/events"
        == Settings(collector_public_url="https://shop.example/events/").collector_public_url
    )
