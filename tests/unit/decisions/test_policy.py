"""The message policy: the shipped file says what the defaults are, and errors name what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from deploy.operations.definition_files import DefinitionError, load
from schemas.decisions.policy import CapRule, MessagePolicy
from schemas.durations import DAY_MS, HOUR_MS, MINUTE_MS, Duration, duration_text

SHIPPED = Path("deploy/definitions/policy.yaml")


def test_the_shipped_file_says_what_the_defaults_are() -> None:
    assert MessagePolicy() == load(SHIPPED, MessagePolicy)


def test_equal_policies_are_equal_as_json_whatever_the_order_of_their_sets() -> None:
    written = MessagePolicy().model_dump(mode="json")["transactional"]["bypass"]

    assert ["caps", "consent", "holdout", "priority", "quiet_hours", "send_time"] == written


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("caps: [{limit: 3}]", "caps.0: say either within", id="a cap without a period"),
        pytest.param("caps: [{limit: 3, within: 7d, calendar: day}]", "say either within", id="a cap with two periods"),
        pytest.param("caps: [{limit: -1, within: 7d}]", "caps.0.limit", id="a cap below zero"),
        pytest.param("caps: [{limit: 1, within: soon}]", "caps.0.within", id="a length of time that is none"),
        pytest.param("caps: [{limit: 1, channel: fax, within: 7d}]", "fax", id="a cap on a channel that is not there"),
        pytest.param('quiet_hours: {fax: {start: "21:00", end: "09:00"}}', "fax", id="quiet on an unknown channel"),
        pytest.param(
            'quiet_hours: {"*": {start: "09:00", end: "09:00"}}', "leave no time", id="quiet hours all day long"
        ),
        pytest.param('quiet_hours: {"*": {start: "25:00", end: "09:00"}}', "start", id="an hour that no clock shows"),
        pytest.param("transactional: {bypass: [suppression]}", "bypass", id="nobody bypasses suppression"),
        pytest.param("holdout: {share: 1.5}", "holdout.share", id="more than all people"),
        pytest.param("send_time: {rhythm: [1, 2]}", "send_time.rhythm", id="a day of two hours"),
        pytest.param("quiet_hour: {}", "quiet_hour", id="a misspelt name"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text, "utf-8")

    with pytest.raises(DefinitionError) as refused:
        load(file, MessagePolicy)

    assert said in str(refused.value)
    assert f"{file}:1" in str(refused.value)


def test_left_out_caps_and_quiet_hours_speak_of_the_listed_channels_only(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("channels: {viber: {address: viber_id}, sms: {address: phone}}")
    policy = load(tmp_path / "policy.yaml", MessagePolicy)

    assert ({"sms", None}, ["*"]) == ({rule.channel for rule in policy.caps}, list(policy.quiet_hours))


def test_a_stated_cap_on_a_channel_that_is_not_listed_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("channels: {viber: {address: viber_id}}\ncaps: [{limit: 1, channel: whatsapp, within: 7d}]")
    with pytest.raises(DefinitionError) as error:
        load(path, MessagePolicy)

    assert (
        f"{path}:1:1: (file): caps speaks of whatsapp, which is not among `channels` (viber): add "
        "`whatsapp: {address: …}` there, or remove it from caps"
    ) == str(error.value)


def test_a_cap_that_is_not_rolling_is_remembered_through_the_longest_day() -> None:
    assert 25 * HOUR_MS == CapRule(limit=1, calendar="day").longest_ms


@pytest.mark.parametrize(
    ("written", "expected"),
    [("30m", 30 * MINUTE_MS), ("24h", DAY_MS), ("7 days", 7 * DAY_MS), ("1 Hour", HOUR_MS), ("2w", 14 * DAY_MS)],
)
def test_a_length_of_time_is_read_short_and_in_words(written: str, expected: int) -> None:
    assert expected == TypeAdapter(Duration).validate_python(written)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (7 * DAY_MS, "7 days"),
        (DAY_MS, "1 day"),
        (36 * HOUR_MS, "36 hours"),
        (90 * MINUTE_MS, "90 minutes"),
        (5, "5 milliseconds"),
    ],
)
def test_a_length_of_time_is_said_in_its_largest_whole_unit(length: int, expected: str) -> None:
    assert expected == duration_text(length)
