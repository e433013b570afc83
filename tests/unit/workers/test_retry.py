"""A store that is down is waited for; any other error goes through."""

import pytest

from deploy.operations.metrics import PrometheusMeter
from deploy.workers.failpoints import make_failpoint
from deploy.workers.retry import with_retry
from sinks.clickhouse.client import ClickHouseSink
from sinks.kafka.producer import KafkaPublisher
from sinks.redis.people import LedgerOfPeople


class Store:
    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def write(self, value: int) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return value

    def name(self) -> str:
        return "store"


async def test_a_store_that_is_down_is_tried_until_it_answers() -> None:
    store = Store(ConnectionError("one"), ConnectionError("two"))

    answer = await with_retry(store, down=(ConnectionError,), longest_pause_s=0.01).write(7)

    assert 7 == answer
    assert 3 == store.calls


async def test_an_error_that_waiting_cannot_mend_goes_through_at_once() -> None:
    store = Store(ValueError("a bug"))

    with pytest.raises(ValueError, match="a bug"):
        await with_retry(store, down=(ConnectionError,), longest_pause_s=0.01).write(7)

    assert 1 == store.calls


@pytest.mark.parametrize(
    ("port", "store"),
    [(KafkaPublisher, "kafka"), (LedgerOfPeople, "redis"), (ClickHouseSink, "clickhouse"), (Store, "other")],
)
async def test_a_retry_is_counted_for_the_store_that_did_not_answer(port: type, store: str) -> None:
    meter, down = PrometheusMeter(), Store(ConnectionError("one"), ConnectionError("two"))
    down.__class__ = type(port.__name__, (Store,), {"__module__": port.__module__})

    await with_retry(down, down=(ConnectionError,), longest_pause_s=0.01, meter=meter).write(7)

    assert 2 == meter.registry.get_sample_value("throughline_store_retries_total", {"store": store})


def test_what_is_no_coroutine_is_left_alone() -> None:
    assert "store" == with_retry(Store(), down=(ConnectionError,), longest_pause_s=1).name()


@pytest.mark.parametrize("wrong", ["identify", "identify:resolved", "identify:resolved:soon"])
def test_a_failpoint_of_another_form_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected stage:point:n"):
        make_failpoint(wrong)


def test_failpoints_that_are_not_named_do_nothing() -> None:
    make_failpoint("")("identify:resolved")
    make_failpoint("identify:resolved:2")("identify:taken")
    make_failpoint("identify:resolved:2")("identify:resolved")
