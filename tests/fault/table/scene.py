"""The deployment that faults happen to: servers, workers and a mail server, and what they hold of one row."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import orjson
import redis
from pydantic import SecretStr

from deploy.local.server import ServerFailedError
from deploy.local.servers import Servers
from deploy.settings import Settings
from sinks.redis.keys import patterns
from sinks.redis.outbox import waiting_in_shards
from sinks.redis.packing import unpack
from tests.fault.table.oracle import Seen
from tests.fault.table.traffic import REMINDED_AFTER_S, Traffic
from tests.support.mail_server import MailServer, mail_server
from tests.support.pipeline import Pipeline
from tests.support.stack import corner

Stack = Literal["local", "durable"]
_FILES = {
    "journeys/reminder.yaml": f"""
name: reminder
description: Writes to whoever leaves a cart.
entry: {{event: Product Added, key: cart_id}}
exit_when: [{{event: Order Completed, key: cart_id}}]
steps:
  - delay: {REMINDED_AFTER_S}s
  - {{message: hello, channel: email}}
""",
    "templates/hello.yaml": """
description: Says hello.
channels:
  email: {en: {subject: Hello, html: <p>Hello</p>, text: Hello}}
""",
    "policy.yaml": 'holdout: {share: 0}\nquiet_hours: {"*": null}\ncaps: []\n',
    "delivery.yaml": "sender: Shop <news@shop.example>\nchannels: {email: {through: smtp}}\n",
}
_IN_DOUBT = "not known whether it arrived"
_THROUGH_WITHIN_S = 600
_STARTS = 5


@dataclass
class Scene:
    """A deployment.

    Attributes:
        stack: `local`: the small broker; `durable`: Apache Kafka, and Valkey's disk has what is committed.
        servers: Its servers.
        pipeline: Its workers.
        mails: Where its letters go.
        traffic: What comes in during the row of now.
    """

    stack: Stack
    servers: Servers
    pipeline: Pipeline
    mails: MailServer
    traffic: Traffic = field(init=False)

    @property
    def valkey(self) -> redis.Redis:
        """A client of the server of identities and profiles; close it."""
        return redis.Redis.from_url(self.pipeline.settings.redis_url)

    def start_server(self, name: str) -> None:
        """Start a server again, also on a machine on which it needs longer than a minute.

        Raises:
            ServerFailedError: It did not come up in five tries.
        """
        for left in reversed(range(_STARTS)):
            try:
                self.servers[name].start()
                return
            except ServerFailedError:
                if not left:
                    raise

    def restart_dead_workers(self) -> int:
        """Start again what has ended, as a supervisor would; returns how many."""
        dead = [name for name, worker in self.pipeline.workers.items() if not worker.alive]
        for name in dead:
            self.pipeline.start(name)
        return len(dead)

    def wait_until_through(self) -> None:
        """Wait until all that came in is processed and no letter is due any more.

        Raises:
            AssertionError: Ten minutes did not suffice; it says what is left.
        """
        deadline = time.monotonic() + _THROUGH_WITHIN_S
        while True:
            self.restart_dead_workers()
            try:
                self.pipeline.drain(20)
                with self.valkey as client:
                    timers = self._waiting(client)
                    # A claim whose worker is gone is in doubt three minutes later: let those be over.
                    key = f"{{{self.pipeline.settings.redis_namespace}}}:delivery:due"
                    if claims := client.zrange(key, 0, -1):
                        client.zadd(key, dict.fromkeys(claims, 0))
                    if not timers and not claims:
                        return
                raise AssertionError(f"{timers} timers and {len(claims)} claims are left")
            except (AssertionError, redis.RedisError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _waiting(self, client: redis.Redis) -> int:
        return waiting_in_shards(client, self.pipeline.settings.redis_namespace, "ZCARD", "timers")

    def see(self) -> Seen:
        """Read what the stores and the mail server hold of the row of now."""
        name, ask = self.traffic.name, self.pipeline.rows
        ours = {"name": f"{name}-"}
        events = ask(
            "SELECT event_id, toString(profile_id), count() FROM v_touchpoints"
            " WHERE startsWith(event_id, {name:String}) GROUP BY ALL", **ours,
        )  # fmt: skip
        revenue = ask(
            "SELECT event_id, revenue FROM v_conversions"
            " WHERE conversion_type = 'purchase' AND startsWith(event_id, {name:String})", **ours,
        )  # fmt: skip
        rows: Counter[str] = Counter()
        for event_id, _, count in events:
            rows[event_id] += count
        profiles = {event_id: profile for event_id, profile, _ in events}
        stored = dict(ask("SELECT toString(profile_id), count() FROM v_touchpoints GROUP BY ALL"))
        doubt = ask(
            "SELECT toString(profile_id), count() FROM v_touchpoints WHERE event = 'Email Failed'"
            " AND startsWith(JSONExtractString(properties, 'reason'), {reason:String}) GROUP BY ALL", reason=_IN_DOUBT,
        )  # fmt: skip
        persons = {profiles[one]: sent.person for one, sent in self.traffic.ledger.events.items() if one in profiles}
        letters = Counter(str(mail["To"]) for mail in self.mails.mails)
        unaccounted = self.pipeline.value("SELECT sum(abs(difference)) FROM v_accounting") or 0
        unaccounted += self.pipeline.value("SELECT sum(missing) FROM v_missing_offsets") or 0
        return Seen(
            rows=rows,
            profiles=profiles,
            revenue=dict(revenue),
            stored=stored,
            counted=self._counted(),
            letters={person: count for person, count in letters.items() if person.startswith(f"{name}-")},
            in_doubt={persons[profile]: count for profile, count in doubt if profile in persons},
            unaccounted=int(unaccounted),
        )

    def _counted(self) -> dict[str, int]:
        with self.valkey as client:
            keys = client.scan_iter(match=patterns(self.pipeline.settings.redis_namespace, "profile:*")[1], count=1000)
            reading = client.pipeline(transaction=False)
            for key in keys:
                reading.hget(key, "document")
            documents = [orjson.loads(unpack(found)) for found in reading.execute() if found]
        return {one["profile_id"]: one["event_count"] for one in documents}


@contextmanager
def scene(stack: Stack, home: Path) -> Iterator[Scene]:
    """Bring up a deployment whose only journey reminds of carts."""
    folder = home / "definitions"
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    servers = Servers(home / "servers", broker="kafka" if stack == "durable" else "tansu")
    with servers, corner(servers.settings) as plain, mail_server() as mails:
        settings = Settings(
            **{
                **dict(plain), "definitions_dir": folder, "policy_file": folder / "policy.yaml",
                "delivery_file": folder / "delivery.yaml", "smtp_url": SecretStr(mails.url),
                "redis_durability": "disk" if stack == "durable" else "off", "store_retry_max_s": 2.0,
            }
        )  # fmt: skip
        with Pipeline(settings, home) as pipeline:
            yield Scene(stack, servers, pipeline, mails)
