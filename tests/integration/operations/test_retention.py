"""Kafka keeps no event longer than its mark is known: a worker refuses to start where it would."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations import doctor
from deploy.operations.provision import apply_topics
from deploy.operations.retention import KeptTooLongError, check_retention, kept_too_long
from deploy.settings import Settings
from schemas.durations import DAY_MS

pytestmark = pytest.mark.integration


def keep(settings: Settings, topic: str, days: int) -> None:
    """Let a topic keep its records for so many days; -1: for ever."""
    kept_ms = days * DAY_MS if days > 0 else -1
    entry = ConfigEntry("retention.ms", str(kept_ms), incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ResourceType.TOPIC, settings.topic_prefix + topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    admin.incremental_alter_configs([change])[change].result(10)


def test_topics_that_we_create_keep_events_less_long_than_their_marks(stack: Settings) -> None:
    apply_topics(stack)

    check_retention(stack)


@pytest.mark.parametrize("topic", ["touchpoints.web", "resolved-touchpoints"])
@pytest.mark.parametrize(("days", "shown"), [(30, "31 days"), (14, "15 days"), (-1, "for ever")])
def test_a_topic_that_keeps_them_longer_is_named(stack: Settings, topic: str, days: int, shown: str) -> None:
    apply_topics(stack)
    keep(stack, topic, days)

    with pytest.raises(KeptTooLongError, match=rf"{topic} \({shown}\).*--shorten-retention"):
        check_retention(stack)


def test_other_topics_may_keep_their_records(stack: Settings) -> None:
    apply_topics(stack)
    keep(stack, "decisions", 400)
    keep(stack, "touchpoints.web", 13)

    check_retention(stack)


def test_a_worker_refuses_to_start_doctor_says_why_and_the_command_mends_it(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    apply_topics(stack)
    keep(stack, "touchpoints.web", 30)
    refused = [CliRunner().invoke(app, ["worker", role]) for role in ("identify", "profile")]
    (found,) = (check for check in doctor.servers(stack) if check.name == "kafka")
    mended = CliRunner().invoke(app, ["topics", "apply", "--shorten-retention"])

    assert [1, 1] == [result.exit_code for result in refused]
    assert all("would count twice" in result.stderr.replace("\n", " ") for result in refused)
    assert (False, True) == (found.ok, "--shorten-retention" in found.hint)
    assert "1 topics keep events less long now" in mended.stdout
    assert {} == kept_too_long(stack)


def test_a_broker_that_does_not_answer_keeps_no_worker_from_waiting_for_it(stack: Settings) -> None:
    away = stack.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})

    check_retention(away, timeout_s=1)
