"""The table of channels, and what else lists channels: the migrations, which are never edited, and the policy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from processors.decisions.labels import channel_label, message_label, messages_label
from schemas.channels import (
    ADDRESS_TYPE_OF,
    ADDRESS_TYPES,
    ADDRESS_TYPES_OF,
    ADDRESSED_CHANNELS,
    CHANNELS,
    CHANNELS_OF_KIND,
    DELIVERABLE_CHANNELS,
    KIND_OF_PREFIX,
    NO_ADDRESS_TYPES,
    TOUCHPOINT_CHANNELS,
    event_prefix,
    message_channel,
)
from schemas.decisions.policy import MessagePolicy
from schemas.events.messages import STEPS
from schemas.topics import deliver_topic, topics, touchpoint_topic

MIGRATIONS = Path(__file__).parents[3] / "sinks/migrations"
MIGRATION = (MIGRATIONS / "0013_messages.sql").read_text("utf-8")


def test_the_views_of_messages_know_the_channels_of_the_table_and_their_addresses() -> None:
    text = (MIGRATIONS / "0054_own_address_types.sql").read_text("utf-8")
    view = text.split("message_channels {{on_cluster}}")[1].split("COMMENT 'What it takes")[0]
    further = re.findall(r"channel = '(\w+)', \['(\w+)'\]", view)

    assert dict(re.findall(r"\('(\w+)', '(\w+)', \d+, \d\)", view)) == ADDRESS_TYPE_OF
    assert [(name, kind) for name, (_, *others) in ADDRESS_TYPES_OF.items() for kind in others] == further
    assert set(re.findall(r"'(\w+)'", text.split("type NOT IN (")[1].split(")")[0])) == NO_ADDRESS_TYPES
    assert NO_ADDRESS_TYPES.isdisjoint(ADDRESS_TYPES)


def test_the_views_of_messages_know_the_events_of_the_table() -> None:
    view = MIGRATION.split("COMMENT 'What each message event means")[0]
    nouns = view.split("AS noun")[0].rpartition("arrayJoin([")[2]
    verbs = view.split("AS verb")[0].rpartition("arrayJoin([")[2]
    others = view.rpartition("arrayJoin([")[2]
    pairs = {part: re.findall(r"\('([\w ]+)', '(\w+)'\)", part) for part in (nouns, verbs)}
    found = {f"{noun} {verb}": (kind, step) for noun, kind in pairs[nouns] for verb, step in pairs[verbs]}
    found |= {name: (kind, step) for name, kind, step in re.findall(r"\('([\w ]+)', '(\w+)', '(\w+)'\)", others)}

    assert dict(pairs[nouns]) == KIND_OF_PREFIX
    assert found == STEPS


def test_every_channel_of_the_table_that_needs_a_topic_has_it() -> None:
    names = [topic.name for topic in topics()]

    assert {touchpoint_topic(name) for name in TOUCHPOINT_CHANNELS} < set(names)
    assert {deliver_topic(name) for name in DELIVERABLE_CHANNELS} < set(names)
    assert len(names) == len(set(names))


def test_every_channel_with_an_address_or_message_events_is_deliverable() -> None:
    with_messages = {name for name, channel in CHANNELS.items() if channel.address_type or channel.kind}

    assert with_messages == set(ADDRESSED_CHANNELS) <= set(DELIVERABLE_CHANNELS)
    assert {"direct_mail", "webhook"} == set(DELIVERABLE_CHANNELS) - set(ADDRESSED_CHANNELS)


def test_the_default_policy_sends_to_the_addresses_of_the_table() -> None:
    assert ADDRESS_TYPE_OF == {name: rule.address for name, rule in MessagePolicy().channels.items()}


@pytest.mark.parametrize(
    ("kind", "stated", "channel"),
    [
        ("email", "web", "email"),
        ("push", "web_push", "web_push"),
        ("push", "app", "app_push"),
        ("kiosk", "store", "kiosk"),
    ],
)
def test_a_message_event_is_of_its_own_channel_where_its_kind_has_several(kind: str, stated: str, channel: str) -> None:
    assert message_channel(kind, stated) == channel


def test_both_channels_of_push_are_one_kind() -> None:
    assert ("web_push", "app_push") == CHANNELS_OF_KIND["push"]


@pytest.mark.parametrize(
    ("channel", "prefix"),
    [("app_push", "Push"), ("whatsapp", "WhatsApp"), ("direct_mail", "Direct Mail"), ("kiosk", "Kiosk")],
)
def test_receipts_begin_with_the_prefix_of_the_channel(channel: str, prefix: str) -> None:
    assert event_prefix(channel) == prefix


@pytest.mark.parametrize(
    ("channel", "labels"),
    [
        ("email", ("e-mail", "e-mails", "e-mail")),
        ("sms", ("SMS", "SMS", "SMS")),
        ("whatsapp", ("WhatsApp message", "WhatsApp messages", "WhatsApp")),
        ("direct_mail", ("direct mail message", "direct mail messages", "direct mail")),
        ("", ("message", "messages", "message")),
    ],
)
def test_people_read_labels(channel: str, labels: tuple[str, str, str]) -> None:
    assert labels == (message_label(channel), messages_label(channel), channel_label(channel))
