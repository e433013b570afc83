"""The catalogue as it is defined: all statements are kept, and the last by time of the event counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from schemas.products import Change, Fact, FactKey


class Catalogue:
    """Keeps products in memory, and the watchers of one of them.

    Args:
        watchers: Product → who looked at it.
    """

    def __init__(self, watchers: Mapping[str, Sequence[str]] | None = None) -> None:
        self._watchers = watchers or {}
        self._stated: list[Fact] = []
        self._answers: dict[Fact, Change] = {}

    async def state(self, facts: Sequence[Fact]) -> list[Change]:
        return [self._state(fact) for fact in facts]

    async def products(self, product_ids: Iterable[str]) -> dict[str, dict[FactKey, str]]:
        found: dict[str, dict[FactKey, str]] = {}
        for fact in sorted(self._stated, key=lambda one: (one.at_ms, one.event)):
            if fact.product_id in product_ids:
                found.setdefault(fact.product_id, {})[fact.key] = fact.value
        return found

    async def watchers(self, product_id: str) -> list[str]:
        return list(self._watchers.get(product_id, ()))

    def _state(self, fact: Fact) -> Change:
        if fact not in self._answers:
            known = [one for one in self._stated if (one.product_id, one.key) == (fact.product_id, fact.key)]
            last = max(known, key=lambda one: (one.at_ms, one.event), default=None)
            stands = last is None or (last.at_ms, last.event) < (fact.at_ms, fact.event)
            self._answers[fact] = Change(stands, last.value if last and stands else None)
            self._stated.append(fact)
        return self._answers[fact]
