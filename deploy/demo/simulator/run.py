"""Simulates the retailer for some days; yields its events as JSON lines in order of delivery."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import blake2b
from typing import Any

from deploy.demo.simulator import behaviour, bots, messages, service
from deploy.demo.simulator.retailer import money
from deploy.demo.simulator.world import World
from schemas.durations import DAY_MS


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a simulation. The same options give the same bytes.

    Attributes:
        people: Number of people.
        seed: Seed of the random numbers.
        days: Number of days.
        start: The first day.
        junk: Share of lines that are broken, 0 up to 0.5.
    """

    people: int = 2_000
    seed: int = 1
    days: int = 60
    start: date = date(2026, 9, 1)
    junk: float = 0.01

    def __post_init__(self) -> None:
        if self.people < 1 or self.days < 1 or not 0 <= self.junk <= 0.5:
            raise ValueError("people and days must be at least 1, junk between 0 and 0.5")

    @property
    def run(self) -> str:
        """Prefix of every id of the run: other options never repeat an id of this run."""
        text = f"{self.people} {self.seed} {self.days} {self.start} {self.junk}"
        return blake2b(text.encode(), digest_size=5).hexdigest()


class Simulation:
    """One simulation. Read `lines` to the end first: spend, truth and counts are complete after that."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._world = World(options.seed, options.people, options.days, options.start, options.junk, options.run)

    def lines(self) -> Iterator[bytes]:
        """Yield every event as a JSON line without a line end, in order of delivery."""
        world = self._world
        behaviour.begin(world)
        messages.begin(world)
        service.begin(world)
        bots.begin(world)
        today = 0
        while (task := world.next()) is not None:
            ms, act, subject = task
            if ms // DAY_MS > today:
                today = ms // DAY_MS
                yield from world.outbox.deliver(today)
            act(world, ms, subject)
        yield from world.outbox.deliver(None)

    def counts(self) -> dict[str, int]:
        """Return the numbers of lines, distinct valid events, exact duplicates, broken lines and orders."""
        outbox = self._world.outbox
        return {
            "lines": outbox.events + outbox.duplicates + outbox.broken,
            "events": outbox.events,
            "duplicates": outbox.duplicates,
            "junk": outbox.broken,
            "orders": self._world.orders,
        }

    def spend(self) -> Iterator[tuple[str, ...]]:
        """Yield the cost of marketing as rows of `advertising.SPEND_COLUMNS`."""
        return self._world.ledger.lines()

    def sales(self) -> Iterator[tuple[str, str, str]]:
        """Yield what each order is worth, whatever its reports say: its id, revenue and what was given back of it.

        The id is that of all name spaces, as `v_conversions.conversion_id`; amounts are without tax and shipping.
        """
        for key, sale in self._world.sales.items():
            yield key, money(sale.revenue_cents), money(sale.refunded_cents)

    def purchases(self) -> Iterator[tuple[int, date, float]]:
        """Yield who has ordered, on which day, and for how much after refunds, whatever identities are known."""
        for sale in self._world.sales.values():
            day = self.options.start + timedelta(days=sale.ms // DAY_MS)
            yield sale.person.index, day, (sale.revenue_cents - sale.refunded_cents) / 100

    def truth(self) -> Iterator[dict[str, Any]]:
        """Yield the expected result of identity resolution: for each person, the groups of linked identifiers.

        A group should be one profile; two groups, or two persons, should never share a profile. A browser that a
        household shares is in no group.
        """
        for person in self._world.people:
            groups = [[list(pair) for pair in group] for group in person.profiles()]
            if groups:
                yield {"person": person.index, "profiles": groups, "shared": bool(person.shared)}
