"""A channel of the message policy that has no way out is an error at load, not a stopped deliver worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.definition_files import DefinitionError, load
from deploy.operations.engines import load_decision_engine, load_definitions, load_policy
from deploy.settings import Settings
from deploy.workers.deliver_stage import build_deliver
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.delivery.outbound import DeliveryDefinitions

SENDER = "sender: Shop <news@shop.example>\n"
TO_CRM = (
    SENDER + "channels: {kiosk: {through: webhook, webhook: crm}}\nwebhooks: {crm: {url: 'https://crm.example/x'}}\n"
)


def deployment(folder: Path, policy: str, delivery: str = SENDER, **more: Any) -> Settings:
    (folder / "policy.yaml").write_text(policy, "utf-8")
    (folder / "delivery.yaml").write_text(delivery, "utf-8")
    files: dict[str, Any] = {"policy_file": folder / "policy.yaml", "delivery_file": folder / "delivery.yaml"}
    return Settings(definitions_dir=folder, **files, **more)


POLICY = (
    "when_capped: suppress\nchannels:\n  email: {address: email}\n  kiosk: {address: null}\nquiet_hours: {}\ncaps: []\n"
)
NO_TOPIC = (
    "policy.yaml:4:3: channels.kiosk: there is no topic deliver.kiosk that its messages could go to: send them through "
    "a webhook in "
)


def test_a_channel_without_a_topic_and_without_an_adapter_is_refused_with_its_line(tmp_path: Path) -> None:
    settings = deployment(tmp_path, POLICY)

    with pytest.raises(DefinitionError) as raised:
        load_definitions(settings)

    assert str(raised.value).startswith(
        f"{tmp_path}/{NO_TOPIC}{tmp_path}/delivery.yaml, or use a channel that has a topic"
    )
    assert "telegram, direct_mail, webhook" in str(raised.value)


def test_neither_the_profile_worker_nor_the_deliver_worker_starts_with_it(tmp_path: Path) -> None:
    settings = deployment(tmp_path, POLICY)
    unused: Any = None

    with pytest.raises(DefinitionError, match=r"channels\.kiosk"):
        load_decision_engine(settings)
    with pytest.raises(DefinitionError, match=r"channels\.kiosk"):
        build_deliver(
            settings,
            rules=unused,
            ledger=unused,
            publisher=unused,
            profiles=unused,
            identities=unused,
            related=unused,
            catalogue=unused,
            coupons=unused,
            clock=unused,
            failpoint=unused,
        )


def test_the_linter_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = deployment(tmp_path, POLICY)
    monkeypatch.setattr("deploy.settings.settings", lambda: settings)

    outcome = CliRunner().invoke(app, ["journeys", "lint"])

    assert 1 == outcome.exit_code
    assert NO_TOPIC in outcome.stdout + outcome.stderr


def test_direct_mail_needs_no_address_and_has_a_topic(tmp_path: Path) -> None:
    settings = deployment(tmp_path, "channels: {direct_mail: {address: null}}\nquiet_hours: {}\ncaps: []\n")

    assert ["direct_mail"] == list(load_definitions(settings).policy.channels)


def test_a_channel_of_the_operators_own_goes_out_through_an_adapter(tmp_path: Path) -> None:
    settings = deployment(tmp_path, POLICY, TO_CRM, channels=(*TOUCHPOINT_CHANNELS, "kiosk"))

    assert ["email", "kiosk"] == list(load_policy(settings, load(settings.delivery_file, DeliveryDefinitions)).channels)


def test_its_receipts_need_a_topic_too(tmp_path: Path) -> None:
    settings = deployment(tmp_path, POLICY, TO_CRM)

    with pytest.raises(
        DefinitionError,
        match=r"policy\.yaml:4:3: channels\.kiosk: .*touchpoints\.kiosk: add kiosk to THROUGHLINE_CHANNELS",
    ):
        load_definitions(settings)
