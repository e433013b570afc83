"""Whatever dies, each step of a journey happens once: crash at every point, restart, compare with what must follow."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from deploy.local.process import ChildProcess
from deploy.operations.roles import ROLES
from deploy.settings import Settings
from schemas.topics import ACTIONS, DECISIONS, JOURNEY_EVENTS
from sinks.redis.outbox import waiting_in_shards
from tests.support.builders import touchpoint
from tests.support.mail_server import MailServer, mail_server
from tests.support.pipeline import Pipeline
from tests.support.stack import Addresses, corner
from tests.support.topic_reader import distinct_records

pytestmark = [pytest.mark.fault, pytest.mark.timed]

FILES = {
    "journeys/nudge.yaml": """
name: nudge
description: Writes twice to whoever leaves a cart.
entry: {event: Product Added, key: cart_id}
re_entry: once
exit_when: [{event: Order Completed, key: cart_id}]
steps:
  - delay: 1s
  - {id: first, message: hello, channel: email}
  - delay: 1s
  - {id: second, message: hello, channel: email}
""",
    "journeys/help.yaml": """
name: help
description: Offers help to whoever does not finish a checkout.
entry: {event: Checkout Started, key: cart_id}
exit_when: [{event: Order Completed, key: cart_id}]
steps:
  - delay: 8s
  - {message: hello, channel: email}
""",
    "templates/hello.yaml": """
description: Says hello.
channels:
  email: {en: {subject: Hello, html: <p>Hello</p>, text: Hello}}
""",
    "policy.yaml": 'holdout: {share: 0}\nquiet_hours: {"*": null}\ncaps: []\n',
    "delivery.yaml": "sender: Shop <news@shop.example>\nchannels: {email: {through: smtp}}\n",
}
LIFE_OF_A_RUN = {"journey_entered": 1, "waiting": 2, "exited": 1}
IN_DOUBT = "not known whether it arrived"


@dataclass
class Shop:
    """A pipeline with two journeys, and how many people have filled a cart in it."""

    pipeline: Pipeline
    mails: MailServer
    carts: int = 0

    def wave(self, people: int) -> None:
        """Let so many people fill a cart."""
        everybody = range(self.carts, self.carts + people)
        self.happen("Product Added", everybody, product_id="lamp")
        self.carts += people

    def timers(self) -> int:
        """How many people have a timer."""
        with redis.Redis.from_url(self.pipeline.settings.redis_url) as client:
            return waiting_in_shards(client, self.pipeline.settings.redis_namespace, "ZCARD", "timers")

    def happen(self, name: str, people: Iterable[int], **properties: str) -> None:
        """Let something happen to the cart of each of these people, who agree to messages."""
        now = (datetime.now(UTC) - timedelta(seconds=1)).isoformat(timespec="milliseconds")
        for number in people:
            self.pipeline.publish(
                touchpoint(
                    name,
                    identifiers={"email": f"p{number}@shop.example"},
                    event_id=f"{name} {number}",
                    occurred_at=now,
                    consent={"marketing": True, "channels": {"email": True}},
                    properties={"cart_id": f"c{number}", "order_id": f"o{number}", **properties},
                )
            )

    def crash(self, role: str, *points: str) -> None:
        """Let a worker die at each point in turn, while people fill carts; then let one live."""
        for point in points:
            self.wave(5)
            self._see_die(self.pipeline.start(role, crash_at=f"{point}:1"))
        self.pipeline.start(role)

    def _see_die(self, worker: ChildProcess) -> None:
        self.pipeline.wait(lambda: not worker.alive, 60, lambda: f"it did not crash:\n{worker.last_log_lines(20)}")
        assert 137 == worker.exit_code, worker.last_log_lines()

    def kill(self, *roles: str) -> None:
        """Kill workers as soon as there is something to do for them, and start others in their place."""
        seen = self.ended()
        self.pipeline.wait(lambda: self.ended() > seen)
        for role in roles:
            self.pipeline.workers[role].kill()
            self.pipeline.start(role)

    def ended(self) -> int:
        """How many runs are over, as far as is known."""
        return int(self.pipeline.value("SELECT uniqExact(run_id) FROM journey_events WHERE kind = 'exited'"))

    def finish(self) -> None:
        """Wait until all runs are over and everything is told."""
        self.pipeline.wait(
            lambda: self.ended() >= self.carts, 120, lambda: f"only {self.ended()} of {self.carts} runs are over"
        )
        self.pipeline.drain(180)  # a busy machine is not a fault: the slower it is, the more carts were filled
        # A claim whose worker is gone is in doubt three minutes later: let them be over.
        with redis.Redis.from_url(self.pipeline.settings.redis_url) as client:
            key = f"{{{self.pipeline.settings.redis_namespace}}}:delivery:due"
            if claims := client.zrange(key, 0, -1):
                client.zadd(key, dict.fromkeys(claims, 0))
                self.pipeline.wait(lambda: not client.zcard(key), 30)
                self.pipeline.drain(180)

    def published(self, topic: str) -> list[dict[str, Any]]:
        """Every record of a topic; copies, which the relay may make, count once."""
        return distinct_records(self.pipeline.settings, topic)

    def assert_each_step_happened_once(self, *, doubt: bool = False) -> None:
        """Compare with what must follow from the carts; with `doubt`, it may be unknown whether a mail was sent."""
        told, decided, orders = map(self.published, (JOURNEY_EVENTS, DECISIONS, ACTIONS))
        runs: dict[str, Counter[str]] = {}
        for row in told:
            runs.setdefault(row["run_id"], Counter())[row["kind"]] += 1
        # No row exists in two versions: nothing was decided twice.
        assert len(told) == len({row["id"] for row in told})
        assert len(decided) == len({row["decision_id"] for row in decided})
        assert (self.carts, dict.fromkeys(runs, LIFE_OF_A_RUN)) == (len(runs), runs)
        messages = sorted((run, step) for run in runs for step in ("first", "second"))
        assert messages == sorted((row["run_id"], row["step"]) for row in decided if row["outcome"] == "sent")
        assert messages == sorted((row["run_id"], row["step"]) for row in orders)

        receipts = self.pipeline.rows(
            "SELECT JSONExtractString(properties, 'message_id'), event, JSONExtractString(properties, 'reason')"
            " FROM touchpoints FINAL WHERE event LIKE 'Email %'"
        )
        sent = {key for key, event, _ in receipts if event == "Email Sent"}
        lost = [(key, reason) for key, event, reason in receipts if event == "Email Failed"]
        assert sorted(row["idempotency_key"] for row in orders) == sorted(key for key, _, _ in receipts)
        assert [] == [reason for _, reason in lost if not (doubt and reason.startswith(IN_DOUBT))]
        assert sorted(key for key, _ in lost) == sorted(
            row["idempotency_key"] for row in decided if row["outcome"] == "failed"
        )
        arrived = self.mails.keys
        assert len(arrived) == len(set(arrived))
        assert sent <= set(arrived) <= sent | {key for key, _ in lost}
        assert 0 == self.pipeline.value("SELECT sum(difference) FROM v_accounting")


@contextmanager
def shop(settings: Settings, home: Path, *roles: str) -> Iterator[Shop]:
    """Open with these workers."""
    folder = home / "definitions"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    with mail_server() as mails:
        changes = {
            "definitions_dir": folder,
            "policy_file": folder / "policy.yaml",
            "delivery_file": folder / "delivery.yaml",
            "smtp_url": SecretStr(mails.url),
        }
        with Pipeline(settings.model_copy(update=changes), home, roles=roles) as pipeline:
            yield Shop(pipeline, mails)


def _profile_workers_crash(one: Shop) -> None:
    one.crash("profile", "profile:taken", "profile:written", "timers:fired", "outbox:published")


def _delivery_workers_crash(one: Shop) -> None:
    one.crash("deliver", *(f"deliver:{point}" for point in ("taken", "claimed", "sent", "settled", "published")))


def _workers_are_killed(one: Shop) -> None:
    over = threading.Event()

    def fill_carts() -> None:
        while not over.wait(0.2):
            one.wave(3)

    filling = threading.Thread(target=fill_carts)
    filling.start()
    try:
        one.kill("profile", "deliver")
        one.kill("profile")
    finally:
        over.set()
        filling.join()


def _an_outage(one: Shop) -> None:
    one.pipeline.publish(touchpoint())
    one.pipeline.drain()  # all workers are up
    one.carts = 20
    one.happen("Checkout Started", range(one.carts))
    one.pipeline.wait(lambda: one.timers() == one.carts)
    one.pipeline.workers["profile"].kill()
    one.happen("Order Completed", range(one.carts), revenue="1.10", currency="EUR")
    time.sleep(9)  # their timers come due, and the orders wait
    one.pipeline.start("profile")


DISTURBANCES: dict[str, tuple[Callable[[Shop], None], tuple[str, ...]]] = {
    "profile": (_profile_workers_crash, ("identify", "record", "deliver")),
    "deliver": (_delivery_workers_crash, ("identify", "profile", "record")),
    "killed": (_workers_are_killed, ROLES),
    "outage": (_an_outage, ROLES),
}


@pytest.fixture(scope="module")
def disturbed(servers: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Shop]]]:
    """Disturb some shops at once: most of the time, each waits for the broker to miss a worker that has died."""

    def live(disturb: Callable[[Shop], None], one: Shop) -> Shop:
        disturb(one)
        one.finish()
        return one

    with ExitStack() as opened, ThreadPoolExecutor() as threads:
        found = {}
        for name, (disturb, roles) in DISTURBANCES.items():
            settings = opened.enter_context(corner(servers))
            one = opened.enter_context(shop(settings, tmp_path_factory.mktemp(name), *roles))
            found[name] = threads.submit(live, disturb, one)
        yield found


def test_a_profile_worker_that_dies_between_any_two_steps_repeats_and_loses_none(
    disturbed: dict[str, Future[Shop]],
) -> None:
    disturbed["profile"].result().assert_each_step_happened_once()


def test_a_delivery_worker_that_dies_between_any_two_steps_sends_nothing_twice(
    disturbed: dict[str, Future[Shop]],
) -> None:
    disturbed["deliver"].result().assert_each_step_happened_once(doubt=True)


def test_kill_9_of_the_workers_under_load_repeats_and_loses_no_step(disturbed: dict[str, Future[Shop]]) -> None:
    disturbed["killed"].result().assert_each_step_happened_once(doubt=True)


def test_after_an_outage_the_order_that_waited_is_heard_before_the_timer(disturbed: dict[str, Future[Shop]]) -> None:
    one = disturbed["outage"].result()
    exits = [row["detail"]["reason"] for row in one.published(JOURNEY_EVENTS) if row["kind"] == "exited"]

    assert ([], ["exit_when: Order Completed"] * one.carts) == (one.published(DECISIONS), exits)
