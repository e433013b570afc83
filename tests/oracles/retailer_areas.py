"""The simulated retailer in twelve areas, in which a channel can be switched off: what it really causes is known.

Desire, its decay and the odds of buying are those of the demo's retailer (`deploy/demo/simulator`), for all people at
once. Two retailers of one seed draw the same numbers: they differ by what a channel causes, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

import numpy as np
from numpy.typing import NDArray

from deploy.demo.simulator.advertising import EFFECT, EFFECT_HALF_LIFE_DAYS
from deploy.demo.simulator.world import BASE_LOG_ODDS

AREAS = tuple(f"area {number:02d}" for number in range(12))
TOUCHES_A_DAY = {"Paid Search": 0.03, "Email": 0.05, "Paid Social": 0.04, "Display": 0.06, "Direct": 0.03}
"""How many touches a person has on a day; of Direct more, the more the person wants to buy."""
_PEOPLE_OF_AN_AREA, _VISITS_A_DAY = 400, 0.3
_CHANNELS = tuple(TOUCHES_A_DAY)
_RATES = np.array([list(TOUCHES_A_DAY.values())]).T
_EFFECTS = np.array([EFFECT[channel] for channel in _CHANNELS])
_DIRECT = _CHANNELS.index("Direct")
_AREA_OF = np.repeat(np.arange(len(AREAS)), _PEOPLE_OF_AN_AREA)


class Retailer:
    """People in areas, day by day.

    Attributes:
        day: Number of days that have passed.
        orders: Orders of each day by area.
        touches: (day, person, channel), in order of days.
        buyers: (day, person) of each order.
    """

    def __init__(self, seed: int) -> None:
        self._draw = np.random.default_rng(seed)
        self._phase, self._levels = self._draw.uniform(0, 90), self._draw.uniform(0.6, 1.4, len(AREAS))
        self._desire = np.zeros(len(_AREA_OF))
        self.day = 0
        self.orders: dict[str, list[float]] = {area: [] for area in AREAS}
        self.touches: list[tuple[int, int, str]] = []
        self.buyers: list[tuple[int, int]] = []

    def run(self, days: int, off: str = "", areas: Collection[str] = AREAS) -> Self:
        """Go on for some days.

        Args:
            days: How many.
            off: A channel that is switched off; empty: none.
            areas: Where it is.
        """
        silent = np.isin(_AREA_OF, [AREAS.index(area) for area in areas])
        for _ in range(days):
            touched, buys = self._one_day(_CHANNELS.index(off) if off else None, silent)
            for area, number in zip(AREAS, np.bincount(_AREA_OF[buys], minlength=len(AREAS)), strict=True):
                self.orders[area].append(float(number))
            channels, people = np.nonzero(touched)
            self.touches += [
                (self.day, int(who), _CHANNELS[channel]) for channel, who in zip(channels, people, strict=True)
            ]
            self.buyers += [(self.day, int(person)) for person in np.flatnonzero(buys)]
            self.day += 1
        return self

    def forget(self) -> Self:
        """Remove what was recorded; people and their desire stay."""
        for days in self.orders.values():
            days.clear()
        self.touches.clear()
        self.buyers.clear()
        return self

    def _one_day(self, off: int | None, silent: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return who was touched by which channel, and who bought. Draws the same numbers whatever is switched off."""
        people = len(_AREA_OF)
        chances = self._draw.random((len(_CHANNELS), people))
        opportunity, bought = self._draw.random(people), self._draw.random(people)
        noise = self._draw.normal(1, 0.04, len(AREAS))
        self._desire *= 0.5 ** (1 / EFFECT_HALF_LIFE_DAYS)
        likely = np.repeat(_RATES, people, axis=1)
        likely[_DIRECT] *= 1 + 2 * np.minimum(self._desire, 2)
        touched = chances < likely
        if off is not None:
            touched[off, silent] = False
        self._desire += _EFFECTS @ touched
        season = (1 + 0.2 * np.sin(2 * np.pi * (self.day + self._phase) / 90)) * (1 + 0.2 * (self.day % 7 >= 5))
        visits = (_VISITS_A_DAY * self._levels * season * noise)[_AREA_OF]
        buys = (opportunity < visits) & (bought < 1 / (1 + np.exp(-(BASE_LOG_ODDS + self._desire))))
        self._desire[buys] *= 0.2
        return touched, buys
