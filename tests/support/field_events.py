"""One deployment that gets many payloads as SDKs, tills and shops write them, for stories that share its pipeline."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from deploy.connections.redis import redis_client
from deploy.operations.bots import judge_all_bots
from deploy.operations.deployment import Deployment, open_deployment
from deploy.operations.person_lookup import FoundPerson, UnknownPersonError, find_person
from deploy.settings import Settings
from processors.profiles.document import read_profile
from processors.profiles.view import view
from sinks.clickhouse.client import connect
from sinks.redis.keys import patterns
from tests.support.collector import RunningCollector
from tests.support.pipeline import Pipeline

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"

SOURCES = """
sources:
  web: {channel: web, kind: browser, origins: ["*"], max_delay_days: null}  # these pages report days of long ago
  app: {channel: app, kind: browser, origins: ["*"], max_delay_days: null}
  phone: {channel: app, kind: browser, origins: ["*"]}
  server: {channel: api, max_delay_days: null}
  shop: {channel: web, kind: browser}
  pos-berlin: {channel: store, orders: own}
  pos-wien: {channel: store, orders: own}
  pos-chain: {channel: store, orders: {by: store_id}}
"""


class Call(NamedTuple):
    """A request of an SDK: the source whose key it has, its path, and its body when it is sent."""

    source: str
    path: str
    body: Callable[[], dict[str, Any]]


@dataclass
class Inputs:
    """What is published.

    Attributes:
        calls: Requests to the collector, in order.
        records: Events on the topics of their channels, in order.
        late_calls: Requests once the rest is stored, and the marks of seen events have expired.
        late_records: Events of that time.
    """

    calls: list[Call] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    late_calls: list[Call] = field(default_factory=list)
    late_records: list[dict[str, Any]] = field(default_factory=list)

    def call(self, source: str, text: str, path: str = "/v1/batch") -> None:
        """Add requests, written as JSON one after the other; a call that is no batch is one of its own."""
        for body in documents(text):
            self.add_call(source, path, body if "batch" in body else {"batch": [body]})

    def add_call(self, source: str, path: str, body: dict[str, Any], *, late: bool = False) -> None:
        """Add one request."""
        (self.late_calls if late else self.calls).append(Call(source, path, lambda: body))

    def dated_call(self, source: str, body: Callable[[], dict[str, Any]], *, late: bool = False) -> None:
        """Add a request whose body depends on the time at which it is sent."""
        (self.late_calls if late else self.calls).append(Call(source, "/v1/batch", body))

    def event(self, text: str) -> None:
        """Add events, written as JSON one after the other."""
        self.records += documents(text)


def documents(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects that stand one after the other in a text."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text.rstrip()):
        while text[at].isspace():
            at += 1
        found, at = decoder.raw_decode(text, at)
        yield found


class Field:
    """The deployment once everything has come in.

    Attributes:
        settings: Its settings.
        rejected: What the collector has refused, by message id.
    """

    def __init__(self, pipeline: Pipeline, service: RunningCollector) -> None:
        self.settings = pipeline.settings
        self.rejected: dict[str, dict[str, Any]] = {}
        self._pipeline = pipeline
        self._service = service

    def publish(self, everything: Iterable[Inputs]) -> None:
        """Publish all inputs and wait until they are stored."""
        inputs = list(everything)
        self._send([one for part in inputs for one in part.calls], [one for part in inputs for one in part.records])
        self._let_marks_expire()
        self._send(
            [one for part in inputs for one in part.late_calls], [one for part in inputs for one in part.late_records]
        )

    def _send(self, calls: list[Call], records: list[dict[str, Any]]) -> None:
        self._pipeline.publish(*records)
        for call in calls:
            body = call.body()
            answer = self._service.post(call.path, body, f"{call.source}-key", **{"User-Agent": CHROME})
            assert answer.status == 200, (answer, body)
            for refused in answer.body["rejected"]:
                self.rejected[body["batch"][refused["index"]]["messageId"]] = refused
        self._pipeline.drain(120)
        judge_all_bots(self._pipeline.settings)

    def _let_marks_expire(self) -> None:
        """Have it as weeks later: no mark is left, and sources were heard long ago."""
        with redis_client(self.settings, timeout_s=10) as client:
            namespace = self.settings.redis_namespace
            wanted = (patterns(namespace, "marks:*")[0], patterns(namespace, "applied:*")[1])
            marks = [key for one in wanted for key in client.scan_iter(one, count=1000)]
            assert marks
            client.delete(*marks)
        tables = connect(self.settings.clickhouse_url, self.settings.clickhouse_database)
        tables.command(
            "INSERT INTO source_starts SELECT source, first_received_at - toIntervalDay(20) FROM source_starts"
        )
        tables.close()

    def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Ask ClickHouse."""
        return self._pipeline.rows(sql, **parameters)

    def person(self, who: str, source: str = "") -> str:
        """The live profile of `TYPE:VALUE`; empty: nobody has it."""

        async def find(stores: Deployment) -> str:
            try:
                found: FoundPerson = await find_person(stores, who, source)
            except UnknownPersonError:
                return ""
            return found.profile_id

        return str(asyncio.run(self._ask(find)))

    def profile(self, who: str) -> dict[str, Any]:
        """The profile of `TYPE:VALUE`, as `throughline profile show` has it."""

        async def read(stores: Deployment) -> dict[str, Any]:
            stored = await stores.profiles.get((await find_person(stores, who)).profile_id)
            assert stored is not None
            return view(read_profile(stored))

        return dict(asyncio.run(self._ask(read)))

    def document(self, who: str) -> dict[str, Any]:
        """The stored document of `TYPE:VALUE`, as segments and journeys read it."""

        async def read(stores: Deployment) -> dict[str, Any]:
            stored = await stores.profiles.get((await find_person(stores, who)).profile_id)
            assert stored is not None
            return read_profile(stored)

        return asyncio.run(self._ask(read))

    async def _ask(self, question: Any) -> Any:
        async with open_deployment(self.settings) as stores:
            return await question(stores)

    def events_of(self, who: str) -> list[str]:
        """The ids of a person's events in ClickHouse."""
        return [
            row[0]
            for row in self.rows(
                "SELECT event_id FROM v_touchpoints WHERE profile_id = {who:UUID} ORDER BY event_id",
                who=self.person(who),
            )
        ]

    def net(self, who: str) -> dict[str, str]:
        """A person's net revenue in the profile, by currency."""
        orders = self.profile(who)["orders"]
        return {currency: sums["net"] for currency, sums in orders["by_currency"].items()}

    def conversion(self, order_id: str) -> list[tuple[float, float, str]]:
        """Revenue, net revenue and currency of the conversions of an order id, by name space."""
        return [
            (float(revenue), float(net), currency)
            for revenue, net, currency in self.rows(
                "SELECT revenue, net_revenue, currency FROM v_conversions WHERE order_id = {order:String}"
                " ORDER BY conversion_id",
                order=order_id,
            )
        ]

    def credits(self, order_id: str) -> dict[str, dict[str, float]]:
        """Credited revenue of an order by model and marketing channel, of every model that gives all of it."""
        return self._credits.get(order_id, {})

    @cached_property
    def _credits(self) -> dict[str, dict[str, dict[str, float]]]:
        found: dict[str, dict[str, dict[str, float]]] = {}
        for order_id, model, channel, revenue in self.rows(
            "SELECT conversion_id, model, channel, round(sum(revenue_credit), 2) FROM v_attribution_default"
            " WHERE conversion_type = 'purchase' AND credit > 0 AND model != 'participation' GROUP BY ALL"
        ):
            found.setdefault(order_id, {}).setdefault(model, {})[channel] = revenue
        return found

    def touches(self, who: str) -> list[str]:
        """The marketing channels of a person's touches, in order."""
        return [channel for (channel,) in self._touches.get(self.person(who), [])]

    @cached_property
    def _touches(self) -> dict[str, list[tuple[Any, ...]]]:
        return self._by_person("SELECT profile_id, channel FROM v_touches ORDER BY touched_at, event_id")

    def visits(self, who: str) -> list[tuple[Any, ...]]:
        """What brought a person's visits, and how many events each has, in order."""
        return self._visits.get(self.person(who), [])

    @cached_property
    def _visits(self) -> dict[str, list[tuple[Any, ...]]]:
        return self._by_person("SELECT profile_id, marketing_channel, events FROM v_sessions ORDER BY started_at")

    def _by_person(self, sql: str) -> dict[str, list[tuple[Any, ...]]]:
        found: dict[str, list[tuple[Any, ...]]] = {}
        for person, *row in self.rows(sql):
            found.setdefault(str(person), []).append(tuple(row))
        return found

    def event(self, event_id: str, source: str = "") -> dict[str, Any]:
        """An event as it is stored: its time, properties, context and what it is to attribution."""
        (row,) = self.rows(
            "SELECT occurred_at, received_at, touch, marketing_channel, campaign, properties, context, profile_id"
            " FROM v_touchpoints WHERE event_id = {event:String} AND ({source:String} IN ('', source))",
            event=event_id,
            source=source,
        )
        names = ("occurred_at", "received_at", "touch", "channel", "campaign", "properties", "context", "person")
        found = dict(zip(names, row, strict=True))
        return {**found, **{name: json.loads(found[name] or "{}") for name in ("properties", "context")}}

    def mended(self, event_id: str) -> list[tuple[str, str]]:
        """Field and rule of what was mended in an event."""
        return sorted((one["field"], one["rule"]) for one in self.event(event_id)["context"].get("mended", []))

    def dead_letters(self, text: str) -> list[tuple[Any, ...]]:
        """Reason, field and message of the dead letters whose value has a text in it."""
        return self.rows(
            "SELECT reason, field, message FROM dead_letters FINAL"
            " WHERE position(base64Decode(value_base64), {text:String}) > 0",
            text=text,
        )


def settings_for(stack: Settings, home: Path) -> Settings:
    """Settings of the deployment: sources, regions and own hosts as its operator would declare them."""
    sources, identity, touches = home / "sources.yaml", home / "identity.yaml", home / "touches.yaml"
    sources.write_text(SOURCES)
    identity.write_text("regions: {pos-marseille: FR}\n")
    shipped = stack.touches_file.read_text("utf-8")
    assert "own_hosts: []" in shipped
    touches.write_text(shipped.replace("own_hosts: []", "own_hosts: [shop.example]"))
    return stack.model_copy(update={"sources_file": sources, "identity_file": identity, "touches_file": touches})
