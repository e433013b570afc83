"""Finds the reader of an attribute by its name."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from processors.segments import computed_attributes as worked_out
from processors.segments import profile_attributes as readers
from processors.segments import purchase_attributes as purchases
from processors.segments.event_aggregates import Aggregate, aggregate
from processors.segments.reader import Reader
from schemas.segments.attributes import Attribute, find
from schemas.segments.definitions import SegmentDefinitions


class UnknownAttributeError(LookupError):
    """There is no attribute of this name."""


class Catalogue:
    """The readers of all attributes under one set of definitions.

    Args:
        definitions: Gives computed traits and the parameters of those that are built in.
        zone: Where a date in a filter begins.
    """

    def __init__(self, definitions: SegmentDefinitions, zone: ZoneInfo) -> None:
        self._definitions = definitions
        self._listed = {**readers.listed(), **purchases.listed(), **worked_out.listed(definitions)}
        self._computed = {
            trait.name: aggregate(
                Aggregate(trait.function, frozenset(trait.event), trait.of, trait.where, trait.within), zone
            )
            for trait in definitions.traits
        }
        self._found: dict[str, tuple[Attribute, Reader]] = {}

    def find(self, name: str) -> tuple[Attribute, Reader]:
        """Look an attribute up.

        Raises:
            UnknownAttributeError: There is none of this name.
        """
        known = self._found.get(name)
        if known is None:
            found = find(name)
            if found is None:
                raise UnknownAttributeError(f"there is no attribute {name!r}")
            attribute, member = found
            known = self._found[name] = attribute, self._reader(attribute, member)
        return known

    def _reader(self, attribute: Attribute, member: str) -> Reader:
        if not member:
            if attribute.name.startswith("scores."):
                return readers.of_score(attribute.name.removeprefix("scores."))
            return self._listed[attribute.name]
        head, _, tail = attribute.name.partition(".<")
        rest = tail.partition(">")[2].removeprefix(".")
        return self._member(head, member, rest if rest else tail.partition(">")[0])

    def _member(self, head: str, member: str, rest: str) -> Reader:
        if head == "channels":
            return readers.of_channel(rest, member)
        if head == "events":
            return readers.of_event(rest, member)
        if head == "messages":
            return readers.of_messages(rest, member)
        if head == "addresses":
            return readers.of_addresses(rest, member)
        if head == "engagement":
            return worked_out.engagement(member, self._definitions.engagement)
        if head == "computed":
            return self._trait(member)
        return _SIMPLE[head](member)

    def _trait(self, name: str) -> Reader:
        if name not in self._computed:
            raise UnknownAttributeError(f"there is no computed trait {name!r}")
        return self._computed[name]


_SIMPLE = {
    "traits": readers.of_trait,
    "reach": readers.of_reach,
    "consent.channels": lambda channel: readers.of_consent("channels", channel),
    "consent.purposes": lambda purpose: readers.of_consent("purposes", purpose),
    "orders.by_channel": purchases.of_channel,
    "orders.revenue_in": purchases.of_currency,
}
