"""Identity changes are counted by kind when Kafka has confirmed them."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import pytest

from deploy.operations.metrics import PrometheusMeter
from processors.identity.changes import CountedChanges
from schemas.metrics import IDENTITY_CHANGES
from schemas.records import Outgoing


class Publisher:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def send(self, records: Sequence[Outgoing], /) -> None:
        if self.error:
            raise self.error


def change(kind: str, event_id: str = "e1") -> Outgoing:
    value = {"version": 1, "kind": kind, "profile_id": "p1", "event_id": event_id}
    return Outgoing("identity-changes", b"p1", orjson.dumps(value))


def counted(meter: PrometheusMeter, kind: str) -> float | None:
    return meter.registry.get_sample_value(IDENTITY_CHANGES.name, {"kind": kind})


async def test_confirmed_changes_are_counted_by_kind_whatever_their_event_is_called() -> None:
    meter = PrometheusMeter()
    changes = change("merge"), change("split"), change("merge", '"kind":"erase"'), change("ann@shop.example")
    await CountedChanges(Publisher(), meter).send([*changes, Outgoing("decisions", b"p1", changes[0].value)])

    assert (2, 1, 1, None) == tuple(counted(meter, kind) for kind in ("merge", "split", "other", "erase"))


async def test_what_the_broker_does_not_confirm_is_not_counted() -> None:
    meter = PrometheusMeter()
    with pytest.raises(ConnectionError):
        await CountedChanges(Publisher(ConnectionError()), meter).send([change("merge")])

    assert counted(meter, "merge") is None
