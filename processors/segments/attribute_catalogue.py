"""Catalogue of attributes: finds the reader of an attribute by its name.

The readers are in `profile_attributes.py`, `purchase_attributes.py`, `computed_attributes.py`, `event_aggregates.py`.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from processors.segments import computed_attributes, profile_attributes, purchase_attributes
from processors.segments.event_aggregates import Aggregate, aggregate
from processors.segments.reader import Reader
from schemas.segments.attributes import Attribute, find_attribute
from schemas.segments.definitions import SegmentDefinitions


class UnknownAttributeError(LookupError):
    """There is no attribute of this name."""


class Catalogue:
    """The readers of all attributes under one set of definitions.

    Args:
        definitions: The computed traits, and the parameters of computed attributes.
        zone: Time zone in which a date in a filter begins.
    """

    def __init__(self, definitions: SegmentDefinitions, zone: ZoneInfo) -> None:
        self._definitions = definitions
        self._fixed = {
            **profile_attributes.readers(),
            **purchase_attributes.readers(),
            **computed_attributes.readers(definitions),
        }
        self._traits = {
            trait.name: aggregate(
                Aggregate(trait.function, frozenset(trait.event), trait.of, trait.where, trait.within), zone
            )
            for trait in definitions.traits
        }
        self._found: dict[str, tuple[Attribute, Reader]] = {}

    def find(self, name: str) -> tuple[Attribute, Reader]:
        """Return an attribute and its reader.

        Raises:
            UnknownAttributeError: There is no attribute of this name.
        """
        known = self._found.get(name)
        if known is None:
            found = find_attribute(name)
            if found is None:
                raise UnknownAttributeError(f"there is no attribute {name!r}")
            attribute, member = found
            known = self._found[name] = attribute, self._reader(attribute, member)
        return known

    def _reader(self, attribute: Attribute, member: str) -> Reader:
        if not member:
            if attribute.name.startswith("scores."):
                return profile_attributes.score_reader(attribute.name.removeprefix("scores."))
            return self._fixed[attribute.name]
        head, _, tail = attribute.name.partition(".<")
        rest = tail.partition(">")[2].removeprefix(".")
        return self._member(head, member, rest if rest else tail.partition(">")[0])

    def _member(self, head: str, member: str, rest: str) -> Reader:
        if head == "channels":
            return profile_attributes.channel_reader(rest, member)
        if head == "events":
            return profile_attributes.event_reader(rest, member)
        if head == "messages":
            return profile_attributes.message_reader(rest, member)
        if head == "addresses":
            return profile_attributes.address_reader(rest, member)
        if head == "engagement":
            return computed_attributes.engagement_reader(member, self._definitions.engagement)
        if head == "computed":
            return self._trait(member)
        return _FAMILIES[head](member)

    def _trait(self, name: str) -> Reader:
        if name not in self._traits:
            raise UnknownAttributeError(f"there is no computed trait {name!r}")
        return self._traits[name]


_FAMILIES = {
    "traits": profile_attributes.trait_reader,
    "reach": profile_attributes.reach_reader,
    "consent.channels": lambda channel: profile_attributes.consent_reader("channels", channel),
    "consent.purposes": lambda purpose: profile_attributes.consent_reader("purposes", purpose),
    "orders.by_channel": purchase_attributes.channel_orders_reader,
    "orders.revenue_in": purchase_attributes.currency_revenue_reader,
}
