"""The till's client: what is recorded is sent, once each, whatever the network, the clock and the collector do."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy.clients import till as till_module
from deploy.clients.till import CollectorError, ReceiptConflictError, Till, TillError

Answer = tuple[int, Any] | None
"""A status and a body; None: the connection is closed without an answer."""


class FakeCollector:
    """Answers as it is told, and keeps what it was sent.

    Attributes:
        answers: What the next requests with events are answered; afterwards everything is accepted.
        batches: The events of each request.
        sums: The answers to questions about a day, the last one for ever.
        ahead_s: How far its clock is ahead of this machine's.
    """

    def __init__(self) -> None:
        self.answers: list[Callable[[list[Any]], Answer]] = []
        self.batches: list[list[dict[str, Any]]] = []
        self.sums: list[dict[str, Any]] = [{"status": "confirmed"}]
        self.ahead_s = 0.0
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/v1/till-sums"):
                    self._answer(200, fake.sums[0] if len(fake.sums) == 1 else fake.sums.pop(0))
                else:
                    self._answer(200, {"alive": True})

            def do_POST(self) -> None:
                events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.batches.append(events)
                answer = fake.answers.pop(0)(events) if fake.answers else accepted(events)
                if answer is not None:
                    self._answer(*answer)

            def _answer(self, status: int, body: Any) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(int(time.time() + fake.ahead_s))

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def sent(self) -> list[dict[str, Any]]:
        """Every event that came in, in order, repetitions too."""
        return [event for batch in self.batches for event in batch]

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def accepted(events: list[Any]) -> Answer:
    return 200, {"success": True, "accepted": len(events), "rejected": []}


def refusing(*places: int) -> Callable[[list[Any]], Answer]:
    rejected = [{"index": place, "field": "properties.order_id", "message": "it should be a text"} for place in places]
    return lambda events: (200, {"accepted": len(events) - len(places), "rejected": rejected})


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    fake = FakeCollector()
    yield fake
    fake.stop()


def till_at(path: Path, collector: FakeCollector, till_id: str = "berlin-4") -> Till:
    return Till(path / "till.db", till_id=till_id, url=collector.url, write_key="k")


@pytest.fixture
def till(tmp_path: Path, collector: FakeCollector) -> Iterator[Till]:
    made = till_at(tmp_path, collector)
    yield made
    made.close()


def seconds(instant: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(instant.replace("Z", "+00:00")).timestamp()


def test_a_sale_is_sent_with_the_receipt_the_amount_and_the_customer(till: Till, collector: FakeCollector) -> None:
    products = [{"product_id": "p1", "price": "49.90"}]
    till.sale("1001", "49.90", "EUR", products=products, identifiers={"loyalty_id": "L-20"}, day="2026-11-20")

    sent = till.send()

    [event] = collector.sent
    expected = {
        "event_id": "berlin-4:1001:Order Completed",
        "event": "Order Completed",
        "channel": "store",
        "identifiers": {"loyalty_id": "L-20"},
        "properties": {
            "order_id": "berlin-4-1001",
            "receipt_id": "1001",
            "total": "49.90",
            "products": products,
            "currency": "EUR",
            "till": {"id": "berlin-4", "day": "2026-11-20", "number": 1, "amount": "49.90"},
        },
        "occurred_at": event["occurred_at"],
    }
    assert ((1, 0, 0), expected) == (sent, event)
    assert abs(seconds(event["occurred_at"]) - time.time()) < 5


def test_what_is_recorded_without_a_network_is_there_after_a_restart(tmp_path: Path, collector: FakeCollector) -> None:
    before = Till(tmp_path / "till.db", till_id="berlin-4", url="http://127.0.0.1:9", write_key="k")
    event_id = before.sale("1", "5.00", "EUR")
    with pytest.raises(CollectorError, match="does not answer"):
        before.send()
    before.close()

    after = till_at(tmp_path, collector)

    assert (1, (1, 0, 0), [event_id]) == (after.waiting(), after.send(), [one["event_id"] for one in collector.sent])


def test_what_is_on_disk_survives_a_kill(tmp_path: Path, collector: FakeCollector) -> None:
    code = (
        "import os, sys; from deploy.clients.till import Till\n"
        f"t = Till({str(tmp_path / 'till.db')!r}, till_id='berlin-4', url={collector.url!r}, write_key='k')\n"
        "for n in range(50):\n    t.sale(str(n), '1.00', 'EUR')\n"
        "os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[3])

    till = till_at(tmp_path, collector)

    assert (-9, (50, 0, 0)) == (killed.returncode, till.send())


def test_an_answer_that_is_lost_repeats_the_same_ids_and_times(till: Till, collector: FakeCollector) -> None:
    till.sale("1", "5.00", "EUR")
    collector.answers = [lambda _: None]
    with pytest.raises(CollectorError):
        till.send()
    time.sleep(0.02)

    till.send()

    first, second = collector.batches
    assert first == second


def test_the_same_receipt_again_is_the_same_event(till: Till, collector: FakeCollector) -> None:
    ids = {till.sale("1", "5.00", "EUR"), till.sale("1", "5.00", "EUR")}
    till.send()
    ids.add(till.sale("1", "5.00", "EUR"))

    assert (1, (0, 0, 0)) == (len(ids), till.send())


def test_a_receipt_with_another_content_is_an_error_and_changes_nothing(till: Till, collector: FakeCollector) -> None:
    till.sale("1", "5.00", "EUR")

    with pytest.raises(ReceiptConflictError, match="berlin-4:1:Order Completed is recorded already"):
        till.sale("1", "6.00", "EUR")
    till.send()
    assert ["5.00"] == [one["properties"]["total"] for one in collector.sent]


def test_sale_and_refund_of_one_receipt_number_are_two_events(till: Till, collector: FakeCollector) -> None:
    till.sale("1", "20.00", "EUR")
    till.refund("2", "5.00", "EUR", of_receipt="1")
    till.send()

    assert [("berlin-4-1", "20.00", "20.00", 1), ("berlin-4-1", "5.00", "-5.00", 2)] == [
        (p["order_id"], p["total"], p["till"]["amount"], p["till"]["number"])
        for p in (one["properties"] for one in collector.sent)
    ]


def test_a_refused_event_is_kept_with_its_reason_and_stops_no_other(till: Till, collector: FakeCollector) -> None:
    for number in range(3):
        till.sale(str(number), "1.00", "EUR")
    collector.answers = [refusing(1)]

    sent = till.send()

    [refused] = till.refused()
    assert ((2, 1, 0), "berlin-4:1:Order Completed") == (sent, refused.event_id)
    assert "properties.order_id: it should be a text" == refused.reason


def test_a_corrected_event_is_sent_with_its_id_number_and_time(till: Till, collector: FakeCollector) -> None:
    till.sale("1", "1.00", "EUR")
    collector.answers = [refusing(0)]
    till.send()
    [refused] = till.refused()

    till.correct(refused.event_id, {**refused.body, "properties": {"order_id": "o-1", "total": "1.00"}})
    till.send()

    before, after = collector.sent
    assert ("o-1", before["properties"]["till"], []) == (
        after["properties"]["order_id"], after["properties"]["till"], till.refused(),
    )  # fmt: skip
    assert (before["event_id"], before["occurred_at"]) == (after["event_id"], after["occurred_at"])


def test_a_request_that_is_too_large_is_halved_until_the_culprit_is_alone(till: Till, collector: FakeCollector) -> None:
    for number in range(8):
        till.sale(str(number), "1.00", "EUR")

    def too_large(events: list[Any]) -> Answer:
        if any(one["properties"]["receipt_id"] == "5" for one in events):
            return 413, {"code": "too_large", "message": "too large"}
        return accepted(events)

    collector.answers = [too_large] * 30

    assert (7, 1, 0) == till.send()
    assert ["berlin-4:5:Order Completed"] == [one.event_id for one in till.refused()]


@pytest.mark.parametrize(("status", "final"), [(401, True), (403, True), (404, True), (429, False), (503, False)])
def test_what_cannot_be_taken_now_waits(till: Till, collector: FakeCollector, status: int, final: bool) -> None:
    till.sale("1", "1.00", "EUR")
    collector.answers = [lambda _: (status, {"code": "x", "message": "not now"})]

    with pytest.raises(CollectorError, match=f"answers {status}: not now") as caught:
        till.send()
    assert (final, 1) == (caught.value.final, till.waiting())


def test_pauses_grow_to_five_minutes_and_are_short_again_after_a_success(till: Till, collector: FakeCollector) -> None:
    till.sale("1", "1.00", "EUR")
    pauses = []
    collector.answers = [lambda _: (503, {"message": "down"})] * 12
    for _ in range(12):
        with pytest.raises(CollectorError):
            till.send()
        pauses.append(till.pause_s())
    till.send()

    assert 1 <= pauses[0] <= 2
    assert 150 <= pauses[-1] <= 300
    assert till.pause_s() <= 1


def test_an_event_is_dated_by_the_server_where_the_tills_clock_is_wrong(till: Till, collector: FakeCollector) -> None:
    collector.ahead_s = 86_400 * 400
    till.sale("1", "1.00", "EUR")
    time.sleep(0.3)
    till.send()

    [event] = collector.sent
    assert abs(seconds(event["occurred_at"]) - (time.time() + collector.ahead_s)) < 60
    assert "context" not in event


def test_a_clock_that_is_set_between_two_sales_keeps_their_order(
    till: Till, collector: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    monkeypatch.setattr("deploy.clients.till.time.time", lambda: now() - 86_400 * 365 * 30)
    till.sale("1", "1.00", "EUR")
    monkeypatch.setattr("deploy.clients.till.time.time", now)
    till.sale("2", "1.00", "EUR")
    till.send()

    first, second = (seconds(one["occurred_at"]) for one in collector.sent)
    assert 0 <= second - first < 5


def test_a_time_of_1970_from_before_a_restart_is_doubtful_and_not_sent_as_it_is(
    tmp_path: Path, collector: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    till = till_at(tmp_path, collector)
    till.sale("0", "1.00", "EUR")
    till.send()  # a time of the server is known
    now = time.time
    monkeypatch.setattr("deploy.clients.till.time.time", lambda: 300.0)
    till.sale("1", "1.00", "EUR")
    monkeypatch.setattr("deploy.clients.till.time.time", now)
    till.close()
    with sqlite3.connect(tmp_path / "till.db") as db:
        db.execute("UPDATE events SET run = 'another start'")
    till_at(tmp_path, collector).send()

    event = collector.sent[-1]
    assert abs(seconds(event["occurred_at"]) - time.time()) < 5
    assert {"time_doubtful": True} == event["context"]


def test_a_day_is_declared_by_currency_and_confirmed(till: Till, collector: FakeCollector) -> None:
    till.sale("1", "10.10", "EUR", day="2026-11-20")
    till.sale("2", Decimal("20.20"), "EUR", day="2026-11-20")
    till.refund("3", "5.00", "EUR", of_receipt="1", day="2026-11-20")
    till.sale("4", "7", "CHF", day="2026-11-20")
    till.sale("5", "99.00", "EUR", day="2026-11-21")
    till.record("Loyalty Points Earned", "1", properties={"points": 10}, day="2026-11-20")

    found = till.close_day("2026-11-20")

    declaration = collector.sent[-1]
    assert ("confirmed", "Till Closed") == (found.status, declaration["event"])
    assert {
        "till_id": "berlin-4",
        "business_day": "2026-11-20",
        "events": 4,
        "amounts": [{"currency": "CHF", "amount": "7"}, {"currency": "EUR", "amount": "25.30"}],
    } == declaration["properties"]


def test_a_contested_day_is_sent_again_once_with_the_same_ids(till: Till, collector: FakeCollector) -> None:
    till.sale("1", "1.00", "EUR", day="2026-11-20")
    till.sale("2", "2.00", "EUR", day="2026-11-20")
    collector.sums = [{"status": "contested", "missing": [[2, 2]]}, {"status": "confirmed"}]

    found = till.close_day("2026-11-20", wait_s=0)

    ids = [one["event_id"] for one in collector.sent if one["event"] != "Till Closed"]
    assert ("confirmed", ids[:2]) == (found.status, ids[2:])


def test_a_day_that_stays_contested_names_what_is_missing(till: Till, collector: FakeCollector) -> None:
    till.sale("1", "1.00", "EUR", day="2026-11-20")
    collector.sums = [{"status": "contested", "missing": [[1, 1]], "declared": {"events": 1}, "stored": {"events": 0}}]

    found = till.close_day("2026-11-20", wait_s=0)

    assert ("contested", ((1, 1),), 0) == (found.status, found.missing, found.stored["events"])


def test_pruned_receipts_are_still_known_and_not_sent_again(till: Till, collector: FakeCollector) -> None:
    till.sale("1", "1.00", "EUR", day="2026-11-20")
    till.send()

    assert (1, 0) == (till.prune("2026-11-21"), till.resend("2026-11-20"))
    till.sale("1", "1.00", "EUR", day="2026-11-20")
    till.sale("2", "1.00", "EUR", day="2026-11-20")
    till.send()
    assert [1, 2] == [one["properties"]["till"]["number"] for one in collector.sent]


@pytest.mark.parametrize("amount", [1.5, "ten", "NaN", "1,50", None])
def test_what_is_no_amount_is_refused_at_the_till(till: Till, amount: Any) -> None:
    with pytest.raises(TillError, match="is no amount"):
        till.sale("1", amount, "EUR")


def test_the_file_of_another_till_is_refused(till: Till, tmp_path: Path, collector: FakeCollector) -> None:
    till.sale("1", "1.00", "EUR")

    with pytest.raises(TillError, match="queue of another till"):
        till_at(tmp_path, collector, "berlin_4")


def test_a_file_that_is_no_queue_is_refused(tmp_path: Path, collector: FakeCollector) -> None:
    (tmp_path / "till.db").write_bytes(b"not a database" * 100)

    with pytest.raises(TillError, match="cannot be used as the till's queue"):
        till_at(tmp_path, collector)


def test_two_processes_record_into_one_file(tmp_path: Path, collector: FakeCollector) -> None:
    code = (
        "import sys; from deploy.clients.till import Till\n"
        f"t = Till({str(tmp_path / 'till.db')!r}, till_id='berlin-4', url={collector.url!r}, write_key='k')\n"
        "for n in range(40):\n    t.sale(sys.argv[1] + str(n), '1.00', 'EUR', day='2026-11-20')\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, name], cwd=Path(__file__).parents[3]) for name in ("a", "b")
    ]
    assert [0, 0] == [one.wait(60) for one in running]
    till_at(tmp_path, collector).send()

    numbers = sorted(one["properties"]["till"]["number"] for one in collector.sent)
    assert list(range(1, 81)) == numbers


def test_the_file_runs_alone(tmp_path: Path, collector: FakeCollector) -> None:
    (tmp_path / "till.py").write_text(Path(till_module.__file__).read_text())
    (tmp_path / "key").write_text("k\n")
    line = {"event": "Order Completed", "key": "1", "amount": "5.00", "currency": "EUR", "day": "2026-11-20"}
    options = ["--till", "berlin-4", "--url", collector.url, "--key-file", "key"]

    def run(*arguments: str, given: str = "") -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-I", "till.py", *options, *arguments],
            cwd=tmp_path, input=given, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    assert (0, "berlin-4:1:Order Completed\n") == run("record", "-", given=json.dumps(line))
    assert (0, "1 wait\n") == run("status")
    assert (0, "1 accepted, 0 refused\n0 wait\n") == run("send")
    assert (0, "2026-11-20: confirmed, declared {}, stored {}\n") == run("close", "2026-11-20")
