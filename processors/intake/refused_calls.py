"""The dead letters of calls and webhooks that are no touchpoints, and the rights of their sources.

A call is kept inside an object, `{"call": …, "source": …, "verb": …}`, so that its text is never read as a touchpoint:
otherwise the sender of a call with a public write key would decide what `dead-letters replay` publishes. A replay
translates the call again, with the rights of its source. A record of a webhook is kept likewise, `{"record": …,
"scope": …, "source": …}`, and mapped again by the mapping that its source has then.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from processors.intake.mapping import CompiledMapping, MappedRecord, Payload
from processors.intake.segment_calls import beyond_browser_rights
from schemas.dead_letters import Reason
from schemas.intake.sources import Source
from schemas.outcomes import Reject

CLOUD_EVENT = "cloud_event"
"""The verb of a CloudEvent. Only a server may send one, so the letter of another source that has it is a call."""


class RefusedCall(NamedTuple):
    """A call of an SDK, or a CloudEvent, that is no touchpoint.

    Attributes:
        call: What the client sent, without its write key.
        source: Name of the source whose write key it came with.
        verb: The kind of call, as far as the client named it.
        sent_at: When its batch was sent, by the client's clock; None if the batch does not say.
    """

    call: object
    source: str
    verb: object
    sent_at: object = None

    def as_json(self) -> dict[str, Any]:
        """The value of its dead letter."""
        return {name: value for name, value in self._asdict().items() if name != "sent_at" or value is not None}


WHOLE = "_whole"
"""The key of a scope that says that the record is a whole payload, which its mapping could not split into records."""


class RefusedRecord(NamedTuple):
    """A record of a webhook that gave a refusal.

    Attributes:
        record: The record as it came.
        scope: What its mapping reads beside it, such as some headers.
        source: Name of its source.
    """

    record: object
    scope: dict[str, Any]
    source: str

    def split(self, mapping: CompiledMapping, received_at: datetime) -> list[MappedRecord] | Reject:
        """Return it as a mapping takes it; a payload that could not be split is split now."""
        if self.scope.get(WHOLE) is not True:
            return [MappedRecord(self.record, self.scope)]
        headers, query = (self.scope.get(name) or {} for name in ("_headers", "_query"))
        return mapping.records(Payload(self.record, received_at, headers, query))


def refused_record(kept: dict[str, Any]) -> RefusedRecord | None:
    """Read the value of a dead letter; None if it holds no record of a webhook."""
    if kept.keys() != {"record", "scope", "source"} or not isinstance(kept["scope"], dict):
        return None
    return RefusedRecord(**kept)


def refused_call(kept: dict[str, Any]) -> RefusedCall | None:
    """Read the value of a dead letter; None if it holds a touchpoint."""
    if not {"call", "source", "verb"} <= kept.keys() <= {"call", "source", "verb", "sent_at"}:
        return None
    return RefusedCall(**kept)


def beyond_rights(event: dict[str, Any], source: Source) -> Reject | None:
    """Return the part of a stored touchpoint that its source may not send.

    A touchpoint that was translated from a call is within these rights. A letter in the client's own form may exceed
    them: refused calls were once stored in that form.

    Args:
        event: A touchpoint, valid or not.
        source: The source of the write key; a server has all rights.
    """
    if source.kind == "server":
        return None
    if beyond := beyond_browser_rights(event.get("event"), event.get("channel"), source):
        return beyond
    identifiers, consent = event.get("identifiers") or [], event.get("consent") or {}
    if not isinstance(identifiers, list) or not all(_may_name(one, source) for one in identifiers):
        return Reject(Reason.INVALID_FIELD, "identifiers", "identifiers are more than this write key counts for.")
    if not isinstance(consent, dict) or not consent.keys() <= set(source.consent.values()):
        return Reject(Reason.INVALID_FIELD, "consent", "consent is more than this write key counts for.")
    return None


def _may_name(identifier: object, source: Source) -> bool:
    if not isinstance(identifier, dict) or identifier.get("verified"):
        return False
    kind = identifier.get("type")
    return isinstance(kind, str) and source.joins_by(kind)
