"""Many callers' records go to Kafka as one batch, and each caller hears what became of his own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from schemas.records import Outgoing, RecordsTooLargeError
from sinks.kafka.group_commit import GroupCommitPublisher, OverloadedError
from sinks.kafka.producer import KafkaPublisher, PublishFailedError


class Broker(KafkaPublisher):
    """Confirms a batch when the test lets it, or fails it."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.answers = asyncio.Semaphore(0)
        self.down: Exception | None = None

    async def send(self, records: Sequence[Outgoing]) -> None:
        self.batches.append([record.value for record in records])
        await self.answers.acquire()
        if self.down is not None:
            raise self.down


def record(text: str) -> Outgoing:
    return Outgoing("topic", b"", text.encode())


async def started(*sends: asyncio.Task[None]) -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_records_sent_while_a_batch_is_written_form_the_next_batch() -> None:
    broker = Broker()
    gathering = GroupCommitPublisher(broker, 1_000)
    sends = [asyncio.create_task(gathering.send([record("1")]))]
    await started(*sends)
    sends += [asyncio.create_task(gathering.send([record(text), record(text)])) for text in "23"]
    await started(*sends)
    broker.answers.release()
    await sends[0]
    assert [True, False, False] == [send.done() for send in sends]
    broker.answers.release()
    await asyncio.gather(*sends)

    assert ([[b"1"], [b"2", b"2", b"3", b"3"]], 0) == (broker.batches, gathering.waiting_bytes)


@pytest.mark.parametrize("error", [PublishFailedError("no answer"), KeyError("a bug")])
async def test_a_failed_batch_fails_the_calls_in_it_and_no_other(error: Exception) -> None:
    broker = Broker()
    gathering = GroupCommitPublisher(broker, 1_000)
    broker.down = error
    sends = [asyncio.create_task(gathering.send([record(text)])) for text in "12"]
    await started(*sends)
    broker.answers.release()
    outcomes = await asyncio.gather(*sends, return_exceptions=True)
    broker.down = None
    broker.answers.release()
    await gathering.send([record("3")])

    assert [PublishFailedError, PublishFailedError] == [type(outcome) for outcome in outcomes]
    assert [[b"1", b"2"], [b"3"]] == broker.batches


async def test_a_record_that_is_too_large_fails_its_own_call_alone() -> None:
    broker = Broker()
    gathering = GroupCommitPublisher(broker, 1_000)
    first = asyncio.create_task(gathering.send([record("0")]))
    await started(first)
    broker.answers.release()
    calls = [[record("1")], [record("2"), record("3")], [record("4")], [record("5"), record("6")]]
    sends = [asyncio.create_task(gathering.send(call)) for call in calls]
    await first
    await started(*sends)
    broker.down = RecordsTooLargeError([2, 4, 5], "too large")
    broker.answers.release()
    outcomes = await asyncio.gather(*sends, return_exceptions=True)

    assert [b"1", b"2", b"3", b"4", b"5", b"6"] == broker.batches[-1]
    assert [(), (1,), (), (0, 1)] == [getattr(outcome, "places", ()) for outcome in outcomes]
    assert [None, None] == [outcomes[0], outcomes[2]]
    assert 0 == gathering.waiting_bytes


async def test_the_records_of_a_call_cancelled_before_its_batch_are_not_written() -> None:
    broker = Broker()
    gathering = GroupCommitPublisher(broker, 1_000)
    first = asyncio.create_task(gathering.send([record("1")]))
    await started(first)
    gone, stays = (asyncio.create_task(gathering.send([record(text)])) for text in "23")
    await started(gone, stays)
    gone.cancel()
    broker.answers.release()
    broker.answers.release()
    await stays

    assert ([[b"1"], [b"3"]], 0) == (broker.batches, gathering.waiting_bytes)


async def test_a_call_beyond_the_waiting_bytes_is_refused_at_once_but_a_large_one_alone_is_not() -> None:
    broker = Broker()
    gathering = GroupCommitPublisher(broker, 10)
    large = asyncio.create_task(gathering.send([record("x" * 20)]))
    await started(large)
    with pytest.raises(OverloadedError):
        await gathering.send([record("y")])
    broker.answers.release()
    await large
    broker.answers.release()
    await gathering.send([record("y")])

    assert 2 == len(broker.batches)
