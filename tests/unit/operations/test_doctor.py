"""What `throughline doctor` shows and what it keeps to itself."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from deploy.cli.main import app, main
from deploy.local.ports import LOOPBACK
from deploy.operations.doctor import Check, examine, public_settings, servers, without_password
from deploy.operations.predictions import examine_predictions
from deploy.settings import Settings
from deploy.settings import settings as read

NOWHERE = {
    "kafka_bootstrap": "127.0.0.1:1",
    "redis_url": "redis://:s3cret@127.0.0.1:1/0",
    "clickhouse_url": "http://app:s3cret@127.0.0.1:1",
}


@pytest.fixture(scope="module")
def nowhere() -> Settings:
    return Settings.model_validate({**NOWHERE, "identity_secret": "s3cret"})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0", id="no password"),
        pytest.param("redis://:s3cret@cache:6379/0", "redis://:***@cache:6379/0", id="password alone"),
        pytest.param("https://app:s3@cret@ch.example:8443/?a=1", "https://app:***@ch.example:8443/?a=1", id="at in it"),
        pytest.param("redis://c:1/0?password=s3&db=1", "redis://c:1/0?password=***&db=1", id="in the query"),
        pytest.param("127.0.0.1:9092", "127.0.0.1:9092", id="no URL at all"),
    ],
)
def test_passwords_in_addresses_are_hidden(url: str, expected: str) -> None:
    assert without_password(url) == expected


def test_no_secret_is_shown_anywhere(nowhere: Settings) -> None:
    seen = [*public_settings(nowhere).values(), *(f"{check.found} {check.hint}" for check in examine(nowhere))]
    assert [text for text in seen if "s3cret" in text] == []


def test_every_setting_is_public_settings(nowhere: Settings) -> None:
    assert set(public_settings(nowhere)) == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("url", "through", "ok", "said"),
    [
        pytest.param("smtp://mail:25", "topic", True, "no channel goes through smtp", id="set and not used"),
        pytest.param("", "smtp", False, "THROUGHLINE_SMTP_URL is not set", id="used and not set"),
        pytest.param("smtp://mail:25", "smtp", True, "email through it", id="set and used"),
    ],
)
def test_a_mail_server_that_is_not_used_is_named(
    tmp_path: Path, nowhere: Settings, url: str, through: str, ok: bool, said: str
) -> None:
    (tmp_path / "delivery.yaml").write_text(
        f"sender: a@b.example\nunsubscribe_url: https://b.example/{{message_id}}\nchannels:\n"
        f"  email: {{through: {through}}}\n"
    )
    settings = nowhere.model_copy(update={"smtp_url": SecretStr(url), "delivery_file": tmp_path / "delivery.yaml"})
    (check,) = (check for check in examine(settings) if check.name == "smtp")

    assert (ok, True) == (check.ok, said in check.found)


def test_a_server_that_does_not_answer_fails_with_what_to_set(nowhere: Settings) -> None:
    found = {check.name: (check.ok, check.hint) for check in servers(nowhere)}
    hint = "start the local stack with `throughline up`, or set THROUGHLINE_"
    assert found == {
        "kafka": (False, hint + "KAFKA_BOOTSTRAP"),
        "redis": (False, hint + "REDIS_URL"),
        "clickhouse": (False, hint + "CLICKHOUSE_URL"),
    }


def test_a_clickhouse_that_is_frozen_is_said_in_a_line(
    nowhere: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for module in ("doctor", "predictions"):
        monkeypatch.setattr(f"deploy.operations.{module}._TIMEOUT_S", 1)
    with socket.create_server((LOOPBACK, 0)) as silent:
        address = f"http://{LOOPBACK}:{silent.getsockname()[1]}"
        frozen = nowhere.model_copy(update={"clickhouse_url": address})
        (found,) = (check.found for check in servers(frozen) if check.name == "clickhouse")
        predictions = examine_predictions(frozen, 0)

    assert (f"{address}: does not answer", None) == (found, predictions)
    assert ("", "") == capfd.readouterr()


@pytest.mark.parametrize(
    ("secret", "hinted"),
    [
        pytest.param(Settings.model_fields["identity_secret"].default, True, id="the default"),
        pytest.param(SecretStr("my own"), False, id="your own"),
    ],
)
def test_the_default_identity_secret_is_pointed_out(
    nowhere: Settings, secret: SecretStr, hinted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.operations.doctor.servers", lambda _: [])
    checks: list[Check] = examine(nowhere.model_copy(update={"identity_secret": secret}))
    assert [bool(check.hint) for check in checks if check.name == "identity secret"] == [hinted]


@pytest.mark.parametrize(
    ("secret", "bootstrap", "ok"),
    [
        pytest.param(Settings.model_fields["identity_secret"].default, "127.0.0.1:1,localhost:1", True, id="local"),
        pytest.param(Settings.model_fields["identity_secret"].default, "127.0.0.1:1,b.example:1", False, id="default"),
        pytest.param(SecretStr(""), "127.0.0.1:1", False, id="empty"),
        pytest.param(SecretStr("my own"), "b-1.example:1", True, id="your own"),
    ],
)
def test_a_default_or_empty_secret_is_a_failure_outside_the_local_stack(
    nowhere: Settings, secret: SecretStr, bootstrap: str, ok: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("servers", "_profiles", "_people"):  # nobody has to answer for this
        monkeypatch.setattr(f"deploy.operations.doctor.{name}", lambda *_: [])
    checks = examine(nowhere.model_copy(update={"identity_secret": secret, "kafka_bootstrap": bootstrap}))

    assert [ok] == [check.ok for check in checks if check.name == "identity secret"]


def test_a_bracket_in_what_was_found_is_shown(nowhere: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.settings.settings", lambda: nowhere)
    monkeypatch.setattr(
        "deploy.operations.doctor.examine", lambda *_: [Check("x", True, "a [b]", "pip install -e '.[local]'")]
    )
    shown = CliRunner().invoke(app, ["doctor"]).output

    assert ("x: a [b]" in shown, "'.[local]'" in shown) == (True, True)


@pytest.mark.parametrize("command", ["up", "status"])
def test_a_wrong_setting_is_said_in_a_line_without_its_value(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"HOME": str(tmp_path), "CURRENCY": "euro-s3cret", "SCORES_EVERY": "1m"}.items():
        monkeypatch.setenv(f"THROUGHLINE_{name}", value)
    monkeypatch.setattr("sys.argv", ["throughline", command])
    read.cache_clear()
    with pytest.raises(SystemExit) as ended:
        main()
    currency, scores = str(ended.value).splitlines()

    assert currency.startswith("THROUGHLINE_CURRENCY: ")
    assert "ISO 4217" in currency
    assert scores.startswith("THROUGHLINE_SCORES_EVERY: '1m' is less than 10 minutes (How old")
    assert "s3cret" not in currency
