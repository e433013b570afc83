"""The stage: what is kept after each answer, what waits, and what is decided anew after a pause."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson
import pytest

from deploy.operations.definition_files import touch_rules
from deploy.settings import Settings
from processors.export.decisions import Person
from processors.export.stage import LONGEST_PAUSE_MS, Export
from processors.export.triggers import Wanted, wanted_of
from schemas.durations import DAY_MS, HOUR_MS
from schemas.export.destinations import Destination
from schemas.export.exports import Conversion, ExportAnswer, ExportEntry, ExportItem
from tests.unit.export.test_decisions import KNOWN, NOW, ORDER, destination

RULES = touch_rules(Settings())
SENT = ExportAnswer("sent", "HTTP 200")


class Memory:
    """Facts of a test."""

    def __init__(self, *conversions: Conversion) -> None:
        self.found = list(conversions)
        self.rows: dict[tuple[str, str, int], ExportEntry] = {}
        self.document: dict[str, Any] = KNOWN
        self.kept: list[str] = []

    async def conversions(self, ids: Collection[str], goals: Collection[str]) -> list[Conversion]:
        return [one for one in self.found if one.conversion_id in ids and one.goal in goals]

    async def conversions_of(self, people: Collection[str], goals: Collection[str], since_ms: int) -> list[str]:
        return [one.conversion_id for one in self.found if one.profile_id in people and one.converted_ms > since_ms]

    async def people(self, destination: Destination, conversions: Sequence[Conversion]) -> Mapping[str, Person]:
        return {one.profile_id: Person(self.document) for one in conversions}

    async def entries(self, destination: str, ids: Collection[str]) -> list[ExportEntry]:
        return [one for one in self.rows.values() if one.conversion_id in ids]

    async def waiting(self, destination: str) -> list[str]:
        return [one.conversion_id for one in self.rows.values() if one.reason == "not_yet"]

    async def keep(self, entries: Sequence[ExportEntry]) -> None:
        for one in entries:
            self.rows[one.conversion_id, one.kind, one.number] = one
            self.kept.append(one.reason or one.state)


class Network:
    """A network that gives prepared answers, and then takes everything."""

    most = 2

    def __init__(self, *answers: ExportAnswer) -> None:
        self.answers = list(answers)
        self.got: list[list[str]] = []

    async def send(self, items: list[ExportItem], now_ms: int) -> list[ExportAnswer]:
        self.got.append([one.event_id for one in items])
        return [self.answers.pop(0) if self.answers else SENT for _ in items]

    async def close(self) -> None:
        """Nothing is open."""


class Pauses:
    """Notes pauses, and does something in the first one."""

    def __init__(self, then: Any = None) -> None:
        self.waited: list[int] = []
        self._then = then

    async def __call__(self, wait_ms: int) -> None:
        self.waited.append(wait_ms)
        if self._then:
            self._then()


def stage(facts: Memory, network: Network, pauses: Pauses | None = None, through: str = "webhook") -> Export:
    return Export(destination(through), facts, network, clock=lambda: NOW, pause=pauses or Pauses())


def orders(count: int) -> list[Conversion]:
    return [ORDER._replace(conversion_id=str(number), order_id=str(number)) for number in range(count)]


ALL = Wanted(frozenset(map(str, range(9))))


async def test_a_batch_leaves_in_parts_and_each_part_is_kept_after_its_answer() -> None:
    facts, network = Memory(*orders(3)), Network()
    await stage(facts, network)(ALL)
    await stage(facts, network)(ALL)

    assert [["0", "1"], ["2"]] == network.got
    assert ["sent"] * 3 == facts.kept


async def test_a_refusal_costs_one_export_and_keeps_the_words_of_the_network() -> None:
    facts, network = Memory(*orders(2)), Network(ExportAnswer("refused", "100: Invalid parameter"))
    await stage(facts, network)(ALL)
    await stage(facts, network)(ALL)

    assert [("refused", "100: Invalid parameter"), ("sent", "HTTP 200")] == [
        (one.state, one.answer) for one in facts.rows.values()
    ]
    assert [["0", "1"]] == network.got


async def test_an_outage_is_waited_for_with_growing_pauses_and_nothing_is_lost_or_kept_meanwhile() -> None:
    down = ExportAnswer("later", "HTTP 503")
    facts, network, pauses = Memory(*orders(1)), Network(*[down] * 12), Pauses()
    await stage(facts, network, pauses)(ALL)

    assert [1000, 2000, 4000, 8000] == pauses.waited[:4]
    assert LONGEST_PAUSE_MS == pauses.waited[-1]
    assert (["sent"], 13) == (facts.kept, facts.rows["0", "conversion", 0].attempt)


@pytest.mark.parametrize(
    ("asked_ms", "kept_ms"),
    [
        pytest.param(90_000, 90_000, id="as asked for"),
        pytest.param(365 * DAY_MS, HOUR_MS, id="a date by a wrong clock stops nothing for ever"),
    ],
)
async def test_a_pause_that_the_network_asks_for_is_kept_for_an_hour_at_most(asked_ms: int, kept_ms: int) -> None:
    pauses = Pauses()
    await stage(Memory(*orders(1)), Network(ExportAnswer("later", "HTTP 429", asked_ms)), pauses)(ALL)

    assert [kept_ms] == pauses.waited


async def test_refused_credentials_pause_the_destination_and_refuse_no_export() -> None:
    facts, pauses = Memory(*orders(2)), Pauses()
    await stage(facts, Network(*[ExportAnswer("unauthorised", "190: token")] * 4), pauses)(ALL)

    assert ([60_000, 60_000], ["sent", "sent"]) == (pauses.waited, facts.kept)


async def test_consent_that_is_withdrawn_during_an_outage_counts() -> None:
    facts = Memory(*orders(1))

    def withdraw() -> None:
        facts.document = KNOWN | {"consent": {}}

    network = Network(ExportAnswer("later", "HTTP 503"))
    await stage(facts, network, Pauses(withdraw))(ALL)

    assert (["no_consent"], 1) == (facts.kept, len(network.got))


async def test_a_process_that_dies_between_answer_and_ledger_sends_again_under_the_same_name() -> None:
    facts, network = Memory(*orders(1)), Network()

    def die(point: str) -> None:
        raise KeyboardInterrupt(point)

    dying = Export(destination("webhook"), facts, network, clock=lambda: NOW, pause=Pauses(), failpoint=die)
    with pytest.raises(KeyboardInterrupt, match="export:sent"):
        await dying(ALL)
    await stage(facts, network)(ALL)

    assert ([["0"], ["0"]], ["sent"]) == (network.got, facts.kept)


async def test_a_merge_looks_at_the_conversions_of_the_person() -> None:
    facts, network = Memory(ORDER), Network()
    await stage(facts, network)(Wanted(people=frozenset({"p1"})))

    assert [["1001"]] == network.got


async def test_what_the_network_was_not_ready_for_is_tried_again() -> None:
    facts, network = Memory(ORDER), Network(SENT, ExportAnswer("not_yet", "TOO_RECENT_CONVERSION"))
    export = stage(facts, network, through="google")
    await export(Wanted(frozenset({"1001"})))
    facts.found = [ORDER._replace(refunded=Decimal(10))]
    await export(Wanted(frozenset({"1001"})))
    waiting = await facts.waiting("d")
    await export.retry()

    assert (["1001"], [], ["sent", "not_yet", "sent"]) == (waiting, await facts.waiting("d"), facts.kept)


class Read:
    """A record."""

    def __init__(self, value: Any, topic: str = "t.resolved-touchpoints") -> None:
        self.topic, self.partition, self.offset, self.timestamp, self.key, self.headers = topic, 0, 0, 0, b"", ()
        self.value = value if isinstance(value, bytes) else orjson.dumps(value)


def test_a_batch_concerns_its_goals_refunds_and_merges_and_a_broken_record_nothing() -> None:
    def event(name: str, event_id: str, **properties: Any) -> Read:
        return Read({"event": name, "channel": "web", "source": "shop", "event_id": event_id, "properties": properties})

    changes = "t.identity-changes"
    records: list[Any] = [
        event("Page Viewed", "e1"),
        event("Order Completed", "e2", order_id="1001", revenue="10", currency="EUR"),
        event("Order Refunded", "e3", order_id="1002", revenue="10", currency="EUR"),
        event("Signed Up", "e4"),
        Read({"kind": "merge", "profile_id": "p1"}, changes),
        Read({"kind": "bind", "profile_id": "p2"}, changes),
        Read(b"{broken"),
        Read(b""),
    ]

    assert Wanted(frozenset({"1001", "1002"}), frozenset({"p1"})) == wanted_of(records, RULES, {"purchase"})
    assert ":shop::e4" in wanted_of(records, RULES, {"signup"}).conversions
    assert not wanted_of(records[:1], RULES, {"purchase"})
