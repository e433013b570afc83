"""Delivery without a server: when it is tried again, what receipts are called, what a definition needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from deploy.operations.definition_files import DefinitionError, load
from deploy.settings import Settings
from deploy.workers.deliver_stage import adapters
from processors.decisions.receipts import Receipts
from processors.delivery.settlement import Settlement, pause_ms, receipt
from schemas.decisions.policy import MessagePolicy
from schemas.delivery.outbound import DeliveryDefinitions, Retries
from schemas.events.messages import STEPS

RETRIES = Retries(tries=9, first_pause=1_000, longest_pause=60_000)
SMTP = "sender: a@b.example\nchannels: {email: {through: smtp}}\n"
WEBHOOK = 'sender: a@b.example\nwebhooks: {crm: {url: "https://crm.example/"}}\n'


@pytest.mark.parametrize(("attempt", "whole"), [(1, 1_000), (2, 2_000), (5, 16_000), (7, 60_000), (90, 60_000)])
def test_pauses_double_up_to_the_longest_and_lose_up_to_half(attempt: int, whole: int) -> None:
    pauses = [pause_ms(RETRIES, f"message {number}", attempt) for number in range(200)]

    assert whole / 2 <= min(pauses) < 0.6 * whole < 0.9 * whole < max(pauses) <= whole


def test_a_replay_waits_as_long() -> None:
    assert pause_ms(RETRIES, "m", 3) == pause_ms(RETRIES, "m", 3) != pause_ms(RETRIES, "other", 3)


def told(channel: str, step: str, **fields: Any) -> dict[str, Any]:
    action = {"idempotency_key": "m1", "profile_id": "p", "channel": channel, "identifiers": [], **fields}
    found = receipt(action, Settlement(step, "why", 1_795_348_800_000))
    assert found is not None
    value: dict[str, Any] = orjson.loads(found.value)
    return value


@pytest.mark.parametrize("step", ["Sent", "Bounced", "Failed"])
@pytest.mark.parametrize("channel", MessagePolicy().channels)
def test_receipts_are_called_as_everybody_calls_them(channel: str, step: str) -> None:
    assert told(channel, step)["event"] in STEPS


def test_receipts_of_a_further_channel_are_called_as_the_resolver_expects() -> None:
    handlers = Receipts(["direct_mail"], frozenset()).handlers

    assert told("direct_mail", "Failed")["event"] in handlers


def test_each_step_of_a_message_has_an_id_of_its_own_and_always_the_same() -> None:
    ids = [told("email", step)["event_id"] for step in ("Sent", "Failed", "Sent")]

    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize(
    ("settled", "channel"),
    [
        pytest.param(Settlement("", "erased", 1), "email", id="nobody is told of someone erased"),
        pytest.param(Settlement("Sent", "", 1), "webhook", id="a webhook step has no receiver"),
    ],
)
def test_some_things_have_no_receipt(settled: Settlement, channel: str) -> None:
    assert receipt({"idempotency_key": "m", "profile_id": "p", "channel": channel}, settled) is None


@pytest.mark.parametrize(
    ("written", "settings", "said"),
    [
        pytest.param(SMTP, {}, "THROUGHLINE_SMTP_URL", id="no mail server"),
        pytest.param(WEBHOOK, {}, "THROUGHLINE_WEBHOOK_SECRET", id="no secret"),
        pytest.param(WEBHOOK, {"webhook_secret": SecretStr("whsec_%%")}, "comes Base64", id="no Base64"),
        pytest.param(
            WEBHOOK,
            {"webhook_secret": SecretStr("s"), "webhook_networks": ("10.0.0.0/99",)},
            "10.0.0.0/99",
            id="network",
        ),
    ],
)
def test_a_missing_setting_is_named_at_the_start(
    tmp_path: Path, written: str, settings: dict[str, Any], said: str
) -> None:
    file = tmp_path / "delivery.yaml"
    file.write_text(written, "utf-8")

    with pytest.raises(DefinitionError) as error:
        adapters(Settings(delivery_file=file, **settings), load(file, DeliveryDefinitions))

    assert said in str(error.value)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        pytest.param("sender: nobody\n", "delivery.yaml:1:1: sender", id="no address"),
        pytest.param(
            "sender: a@b.c\nunsubscribe_url: http://b.c/\n", "delivery.yaml:2:1: unsubscribe_url", id="no place"
        ),
        pytest.param("sender: a@b.c\nchannels: {sms: {through: webhook}}\n", "belong together", id="which webhook"),
        pytest.param(
            "sender: a@b.c\nchannels: {sms: {through: webhook, webhook: x}}\n", "there is no webhook x", id="no webhook"
        ),
        pytest.param('sender: a@b.c\nwebhooks: {x: {url: "ftp://b.c/"}}\n', "webhooks.x.url", id="no web address"),
    ],
)
def test_a_wrong_definition_is_named_with_its_place(tmp_path: Path, written: str, said: str) -> None:
    file = tmp_path / "delivery.yaml"
    file.write_text(written, "utf-8")

    with pytest.raises(DefinitionError) as error:
        load(file, DeliveryDefinitions)

    assert said in str(error.value)
