"""State of a simulation: the agenda of tasks, the random numbers, and the desire to buy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from heapq import heappop, heappush
from math import exp
from random import Random
from typing import Any

from deploy.demo.simulator.advertising import EFFECT, EFFECT_HALF_LIFE_DAYS, MESSAGE_MICROS, Campaign, Ledger
from deploy.demo.simulator.delivery import Outbox
from deploy.demo.simulator.people import Person, population
from deploy.demo.simulator.retailer import Product, Store, catalogue
from deploy.demo.simulator.tills import Tills
from schemas.durations import DAY_MS, HOUR_MS

BASE_LOG_ODDS = -3.4
"""Of buying at an opportunity, without any recent touch."""


@dataclass(slots=True)
class Sale:
    """One order, for the events that follow it, and the truth about it.

    Attributes:
        person: Who has ordered.
        order_id: Its number where it was ordered.
        revenue_cents: What it is worth, without tax and shipping.
        refunded_cents: What was given back of that.
        channel: Where it was ordered.
        source: Who reports what becomes of it.
        slots: Slots of the identifiers in those reports.
        store: The shop; None: it was not ordered in one.
        ms: When, in milliseconds since the start.
    """

    person: Person
    order_id: str
    revenue_cents: int
    refunded_cents: int
    channel: str
    source: str
    slots: tuple[str, ...]
    store: Store | None
    ms: int

    @property
    def is_numbered_by_store(self) -> bool:
        """Whether another shop has orders of the same number."""
        return self.store is not None and self.store.closes_days


Task = Callable[["World", int, Any], None]


class World:
    """State of one simulation.

    Attributes:
        rng: The only source of random numbers.
        people: All people, by index.
        products: The catalogue, best sellers first.
        outbox: Delivers events.
        ledger: Books the cost of marketing.
        tills: Receipts and business days of the shops that close their days.
        sales: The orders, by the id that they have among those of all name spaces.
        end_ms: No task begins after this time, in milliseconds since the start.
        on_abandoned: Called when a person leaves a session with a full cart.
    """

    def __init__(self, seed: int, count: int, days: int, start: date, junk: float, run: str) -> None:
        self.rng = Random(seed)
        self.end_ms = days * DAY_MS
        self.products: list[Product] = catalogue(self.rng)
        self.people: list[Person] = population(self.rng, count, run)
        self.outbox = Outbox(self.rng, start, run, junk, self.end_ms)
        self.ledger = Ledger(start)
        self.run = run
        self.tills = Tills()
        self.sales: dict[str, Sale] = {}
        self.orders = 0
        self.on_abandoned: Callable[[World, int, Person], None] = lambda world, ms, person: None
        self._agenda: list[tuple[int, int, Task, Any]] = []
        self._planned = 0

    def plan(self, ms: int, task: Task, subject: Any) -> None:
        """Plan `task` at `ms`, unless that is after the end."""
        if ms < self.end_ms:
            self._planned += 1
            heappush(self._agenda, (ms, self._planned, task, subject))

    def next(self) -> tuple[int, Task, Any] | None:
        """Take the earliest task from the agenda."""
        if not self._agenda:
            return None
        ms, _, task, subject = heappop(self._agenda)
        return ms, task, subject

    def random_waking_time(self, day: int) -> int:
        """Draw a time of `day`, in milliseconds: most between 8 and 22 o'clock, the evening busiest."""
        draw = self.rng.random()
        return day * DAY_MS + int((6.5 + 14.5 * (1 - (1 - draw) ** 1.6)) * HOUR_MS)

    def random_article(self) -> int:
        """Draw the index of an article: best sellers more often."""
        draw = self.rng.random()
        return int(draw * draw * len(self.products))

    def apply_touch(self, person: Person, ms: int, channel: str) -> None:
        """Add the true effect of a touch of a marketing channel to the person's desire."""
        person.desire = self.desire(person, ms) + EFFECT[channel]
        person.desire_ms = ms

    def desire(self, person: Person, ms: int) -> float:
        """Return the remaining effect of earlier touches: it halves every `EFFECT_HALF_LIFE_DAYS`."""
        return float(person.desire * 0.5 ** ((ms - person.desire_ms) / (EFFECT_HALF_LIFE_DAYS * DAY_MS)))

    def reduce_desire(self, person: Person, ms: int) -> None:
        """Reduce the desire of a person who has bought."""
        person.desire = 0.2 * self.desire(person, ms)
        person.desire_ms = ms

    def buys(self, person: Person, ms: int, bias: float = 0.0) -> bool:
        """Return whether the person buys at this opportunity, by a logistic model of the log-odds."""
        return self.rng.random() < 1 / (1 + exp(-(BASE_LOG_ODDS + bias + self.desire(person, ms))))

    def message_cost(self, ms: int, channel: str, source: str, name: str, creative: str, sent: bool) -> None:
        """Book the cost of a message (`sent`) or of a click on one."""
        campaign = Campaign(channel, source, "", name, (), impression_micros=MESSAGE_MICROS[channel])
        self.ledger.add(ms // DAY_MS, campaign, creative, impressions=int(sent), clicks=int(not sent))
